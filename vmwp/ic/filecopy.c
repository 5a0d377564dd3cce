/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/filecopy.h"

#include "vmwp/ic/text.h"
#include "vmwp/ic/wire_priv.h"

#include <string.h>
#include <sys/stat.h>

enum { OP_START = 0, OP_WRITE = 1, OP_COMPLETE = 2, OP_CANCEL = 3 };
enum { FLAG_OVERWRITE = 1, FLAG_CREATE_FOLDERS = 2 };

enum {
    HEADER_BYTES = 36, /* u32 operation, two GUIDs that nobody reads */
    PATH_BYTES = (IC_FILECOPY_PATH_UNITS + 1) * 2,
    START_BYTES = HEADER_BYTES + 2 * PATH_BYTES + 4 + 8,
    WRITE_BYTES = HEADER_BYTES + 16 + IC_FILECOPY_PIECE_BYTES /* always whole */
};

enum phase { IDLE, STARTING, WRITING, COMPLETING, CANCELLING };

struct ic_filecopy {
    struct ic_channel *channel;
    enum phase phase;
    int fd;
    uint64_t at, piece, total;
    bool is_cancelled;
    void (*progress)(void *opaque, uint64_t done_bytes, uint64_t total_bytes);
    ic_done_fn *done;
    void *opaque;
    /* why the part is being removed */
    int result;
    struct hv_error *error;
};

static const struct ic_kind kind = {
    .name = "file copy",
    .type = IC_GUID(0x34d14be3, 0xdee4, 0x41c8, 0x9a, 0xe7, 0x6b, 0x17, 0x49, 0x77, 0xc1, 0x92),
    .instance = IC_GUID(0xeb765408, 0x105f, 0x49b6, 0xb4, 0xaa, 0xc1, 0x23, 0xb6, 0x4d, 0x17, 0xd4),
    .message = IC_MESSAGE_FILECOPY,
    .n_versions = 1,
    .versions = { { 1, 1 } },
    .max_body_bytes = WRITE_BYTES,
};

static const char what_copy[] = "copy the file into the guest";

static void answered(void *opaque, const struct ic_reply *reply);

static void finish(struct ic_filecopy *fc, int r, const struct hv_error *error)
{
    ic_done_fn *done = fc->done;

    fc->phase = IDLE;
    fc->fd = hv_close(fc->fd);
    fc->done = NULL;
    if (done)
        done(fc->opaque, r, error);
}

/* What cancels may have to wait until what wasn't answered is. */
static void send(struct ic_filecopy *fc, enum phase phase, const void *body, uint32_t bytes)
{
    uint64_t timeout_ms = IC_FILECOPY_ANSWER_MS + (phase == CANCELLING ? IC_HOLD_MS : 0);

    fc->phase = phase;
    /* Whatever refuses it has closed the channel, and that has been told already. */
    (void)ic_channel_request(fc->channel, body, bytes, timeout_ms * HV_NS_PER_MS, answered, fc);
}

static void send_header(struct ic_filecopy *fc, enum phase phase, uint32_t operation)
{
    uint8_t body[HEADER_BYTES] = { 0 };
    struct ic_writer out = ic_writer(body, sizeof(body));

    ic_put_u32(&out, operation);
    send(fc, phase, body, sizeof(body));
}

/* Have the guest remove its part, then tell why. Takes error over. */
static void abandon(struct ic_filecopy *fc, int r, struct hv_error *error)
{
    fc->result = r;
    fc->error = hv_error_free(fc->error);
    fc->error = error;
    if (ic_channel_state(fc->channel) == IC_READY) {
        send_header(fc, CANCELLING, OP_CANCEL);
        return;
    }
    finish(fc, r, error);
    fc->error = hv_error_free(fc->error);
}

/* Fill data with the next piece: all of it, as long as fstat had said the file is. */
static int read_piece(struct ic_filecopy *fc, uint8_t *data, struct hv_error **reterr)
{
    uint64_t left = fc->total - fc->at, done = 0;

    fc->piece = left < IC_FILECOPY_PIECE_BYTES ? left : IC_FILECOPY_PIECE_BYTES;
    while (done < fc->piece) {
        ssize_t n = pread(fc->fd, data + done, fc->piece - done, (off_t)(fc->at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hv_error_set(reterr, -errno, "guest.copy.source", "Cannot read the source: %s.",
                                strerror(errno));
        if (n == 0)
            return hv_error_set(reterr, -EIO, "guest.copy.source",
                                "The source became shorter while it was copied.");
        done += (uint64_t)n;
    }
    return 0;
}

static void send_piece(struct ic_filecopy *fc)
{
    uint8_t body[WRITE_BYTES] = { 0 };
    struct ic_writer out = ic_writer(body, sizeof(body));
    struct hv_error *error = NULL;
    int r = read_piece(fc, body + HEADER_BYTES + 16, &error);

    if (r < 0) {
        abandon(fc, r, error);
        return;
    }
    ic_put_u32(&out, OP_WRITE);
    ic_put_zeroes(&out, HEADER_BYTES - 4 + 4);
    ic_put_u64(&out, fc->at);
    ic_put_u32(&out, (uint32_t)fc->piece);
    send(fc, WRITING, body, sizeof(body));
}

static void go_on(struct ic_filecopy *fc)
{
    struct hv_error *error = NULL;

    if (fc->is_cancelled) {
        hv_error_set(&error, -ECANCELED, "guest.copy.cancelled", "The copy was cancelled.");
        abandon(fc, -ECANCELED, error);
    } else if (fc->at < fc->total) {
        send_piece(fc);
    } else {
        send_header(fc, COMPLETING, OP_COMPLETE);
    }
}

static int judge(const struct ic_reply *reply, struct hv_error **reterr)
{
    int r = ic_reply_judge(reply, what_copy, reterr);

    if (r == -EREMOTEIO && reply->status == (uint32_t)IC_STATUS_EXISTS)
        return -EEXIST;
    if (r == -EREMOTEIO && reply->status == (uint32_t)IC_STATUS_DISK_FULL)
        return -ENOSPC;
    return r;
}

/* A start that was refused has left nothing; one that wasn't answered may have. */
static void handle_failure(struct ic_filecopy *fc, const struct ic_reply *reply, int r,
                           struct hv_error *error)
{
    if (fc->phase == STARTING && reply->outcome == IC_ANSWERED) {
        finish(fc, r, error);
        hv_error_free(error);
        return;
    }
    abandon(fc, r, error);
}

static void answered(void *opaque, const struct ic_reply *reply)
{
    struct ic_filecopy *fc = opaque;
    struct hv_error *error = NULL;
    int r;

    if (fc->phase == IDLE)
        return;
    if (fc->phase == CANCELLING) {
        error = HV_TAKE_PTR(fc->error);
        finish(fc, fc->result, error);
        hv_error_free(error);
        return;
    }
    r = judge(reply, &error);
    if (r < 0) {
        handle_failure(fc, reply, r, error);
    } else if (fc->phase == COMPLETING) {
        finish(fc, 0, NULL);
    } else {
        if (fc->phase == WRITING) {
            fc->at += fc->piece;
            if (fc->progress)
                fc->progress(fc->opaque, fc->at, fc->total);
        }
        go_on(fc);
    }
}

/* Where does the name begin in an absolute path? 0: it isn't absolute. In Linux a backslash is a
 * letter like others. */
static size_t split(const char *path)
{
    const char *separators = path[0] == '/' ? "/" : "/\\";
    size_t length = strlen(path);

    if (path[0] != '/' && (length < 3 || path[1] != ':' || !strchr("/\\", path[2])))
        return 0;
    while (length > 0 && !strchr(separators, path[length - 1]))
        length--;
    return length;
}

/* The guest makes UTF-8 of it again, in a field of as many bytes as units here. */
static bool put_text(struct ic_writer *out, const char *text)
{
    uint8_t field[PATH_BYTES];

    if (strlen(text) > IC_FILECOPY_PATH_UNITS || ic_text_put(text, field, sizeof(field)) <= 0)
        return false;
    ic_put(out, field, sizeof(field));
    return true;
}

/* The folder keeps its separator at the end: Linux' daemon makes only the folders before one. */
static bool put_start(const struct ic_filecopy_request *request, uint64_t total,
                      uint8_t body[static START_BYTES])
{
    struct ic_writer out = ic_writer(body, START_BYTES);
    size_t at = split(request->path);
    char folder[IC_FILECOPY_PATH_UNITS + 1];
    const char *name = request->path + at;

    if (at == 0 || at >= sizeof(folder))
        return false;
    memcpy(folder, request->path, at);
    folder[at] = '\0';
    if (*name == '\0')
        name = request->name ? request->name : "";
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return false;
    ic_put_u32(&out, OP_START);
    ic_put_zeroes(&out, HEADER_BYTES - 4);
    if (!put_text(&out, name) || !put_text(&out, folder))
        return false;
    ic_put_u32(&out, (request->may_overwrite ? FLAG_OVERWRITE : 0) |
                         (request->may_create_folders ? FLAG_CREATE_FOLDERS : 0));
    ic_put_u64(&out, total);
    return !out.is_full;
}

static int check_source(int fd, uint64_t *ret_total, struct hv_error **reterr)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return hv_error_set_field(reterr, -errno, "guest.copy.source", "source",
                                  "Cannot read the source: %s.", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return hv_error_set_field(reterr, -EINVAL, "guest.copy.source", "source",
                                  "The source is not a regular file.");
    *ret_total = (uint64_t)st.st_size;
    return 0;
}

int ic_filecopy_start(struct ic_filecopy *fc, const struct ic_filecopy_request *request,
                      struct hv_error **reterr)
{
    uint8_t body[START_BYTES] = { 0 };
    hv_autofd int fd = request->fd;
    uint64_t total = 0;
    int r = ic_channel_need(fc->channel, what_copy, reterr);

    if (r < 0)
        return r;
    if (fc->phase != IDLE || ic_channel_is_busy(fc->channel))
        return hv_error_set(reterr, -EBUSY, "guest.copy.busy",
                            "Another file is being copied into the guest.");
    r = check_source(fd, &total, reterr);
    if (r < 0)
        return r;
    if (!put_start(request, total, body))
        return hv_error_set_field(reterr, -EINVAL, "guest.copy.path", "path",
                                  "The path in the guest must be absolute, its folder and name at "
                                  "most %d bytes of UTF-8 each.",
                                  IC_FILECOPY_PATH_UNITS);
    fc->fd = HV_TAKE_FD(fd);
    fc->at = 0;
    fc->total = total;
    fc->is_cancelled = false;
    fc->progress = request->progress;
    fc->done = request->done;
    fc->opaque = request->opaque;
    send(fc, STARTING, body, sizeof(body));
    return 0;
}

/* Heeded when the guest has answered what it was asked last. */
void ic_filecopy_cancel(struct ic_filecopy *fc)
{
    fc->is_cancelled = true;
}

int ic_filecopy_new(const struct ic_filecopy_config *config, struct ic_filecopy **ret)
{
    struct ic_filecopy *fc = calloc(1, sizeof(*fc));
    int r;

    if (!fc)
        return -ENOMEM;
    fc->fd = -1;
    r = ic_channel_new(
        &(struct ic_channel_config){
            .kind = &kind, .clock = config->clock, .server = config->server, .log = config->log },
        &fc->channel);
    if (r < 0) {
        free(fc);
        return r;
    }
    *ret = fc;
    return 0;
}

struct ic_filecopy *ic_filecopy_free(struct ic_filecopy *fc, bool is_server_gone)
{
    if (!fc)
        return NULL;
    ic_channel_free(fc->channel, is_server_gone);
    hv_close(fc->fd);
    hv_error_free(fc->error);
    free(fc);
    return NULL;
}

void ic_filecopy_reset(struct ic_filecopy *fc)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    if (fc->phase == IDLE)
        return;
    hv_error_set(&error, -ECONNRESET, "guest.service.closed",
                 "The guest was reset while the file was copied.");
    fc->error = hv_error_free(fc->error);
    finish(fc, -ECONNRESET, error);
}

struct ic_channel *ic_filecopy_channel(struct ic_filecopy *fc)
{
    return fc->channel;
}

bool ic_filecopy_is_busy(const struct ic_filecopy *fc)
{
    return fc->phase != IDLE;
}
