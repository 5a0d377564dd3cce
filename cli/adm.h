/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of hvadm share: the connection, the way to say things, the table of verbs. */
#pragma once

#include "api/client/client.h"
#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <getopt.h>
#include <stdarg.h>

struct adm {
    /* read only */
    const char *address;
    bool is_json;
    bool is_plan;
    bool is_no_wait;
    bool is_queue;
    const char *plan_id;  /* or NULL */
    const char *key;      /* of the call that changes something, or NULL */
    uint64_t deadline_ms; /* of the same, from now; 0: none */
    uint64_t patience_ms; /* with a service that goes away while it is listened to */
    struct api_client *client;
};

struct adm_sheet;

struct adm_command {
    /* read only */
    const char *noun;
    const char *verb;
    const char *usage; /* what follows the verb */
    const char *about;
    const char *more;                                   /* options, a line each; or NULL */
    int (*run)(struct adm *adm, int argc, char **argv); /* argv[0] is the verb; an exit status */
};

extern const struct adm_command adm_commands[];
extern const size_t adm_command_count;

enum { ADM_USAGE = 2 };

/* Say an error on stderr; returns its exit status. error: freed; NULL: out of memory. */
int adm_fail(const struct adm *adm, struct api_error *error);
/* Wrong use: a sentence, and where help is. Returns ADM_USAGE. */
int adm_usage(const char *verb, const char *format, ...) HV_PRINTF(2, 3);
/* The word that getopt_long() has just refused, and the sentence that says so. */
const char *adm_refused_word(char *const *argv);
int adm_bad_option(const char *verb, char *const *argv);
/* Of a verb without options: its words, from (*argv)[1] on; "--" is none. An exit status. */
int adm_read_words(const char *verb, int *argc, char ***argv);
/* 0, or what adm_fail returned, when the service cannot be named. */
int adm_connect(struct adm *adm);

/* Begin params: {"vm": name, with `plan` where asked for. The caller closes the object. */
void adm_begin_params(const struct adm *adm, struct json_writer *out, const char *vm);
/* Into an object that is being written: how often and until when it may be done. */
void adm_put_bounds(const struct adm *adm, struct json_writer *out);
/* End the object and take the text; aborts without memory. */
char *adm_end_params(struct json_writer *out);

/* Call, print the raw result with --json, else hand it to `print`. An exit status. */
int adm_call(struct adm *adm, enum api_method method, char *params,
             void (*print)(const union api_result *result));
/* Get a result for further use; prints the error itself. params is freed. An exit status. */
int adm_get(struct adm *adm, enum api_method method, char *params, union api_result *ret);

/* away.c */
struct adm_absence {
    bool was_there;    /* at all */
    uint64_t since_ns; /* monotonic; 0: it is there */
};
/* Is it the service that is missing, and not something that it refuses? */
bool adm_is_away(const struct api_error *error);
/* A call failed so. Where it is that the service has gone away, tell so and let a moment pass:
 * true, call again by a new client, error is freed. false: it was never there, or has been away for
 * longer than one has patience, or the deadline is over. */
bool adm_await_service(struct adm *adm, struct adm_absence *absence, uint64_t deadline_ns,
                       struct api_error **error);
void adm_service_is_there(struct adm_absence *absence);

/* bulk.c */
/* The VMs that a verb is for. */
struct adm_targets {
    /* read only */
    char **refs;
    char **names; /* as told to people */
    size_t count;
    bool is_group;
};
void adm_targets_fini(struct adm_targets *targets);
/* Parameters of vm.list or group.list for ids and names: those of a group alone (NULL: all), and
 * the page after the one that told `after` (NULL: the first). */
char *adm_page_params(const char *group, const char *after);
/* The VMs that are named, or those of a group where `group` is given. An exit status. */
int adm_read_targets(struct adm *adm, const char *verb, const char *group, int argc, char **argv,
                     struct adm_targets *ret);
/* Call a method for one of them; of a group's each gets a line that says what became of it. params:
 * taken. An exit status. */
int adm_call_target(struct adm *adm, enum api_method method, char *params,
                    const struct adm_targets *targets, size_t at);

/* settings.c: "KEY=VALUE" and options into a settings object that is being written, all there is in
 * the writer. */
int adm_put_setting(struct json_writer *out, const char *key, const char *value);
int adm_put_assignment(struct json_writer *out, const char *assignment);
/* A file, named from where the caller stands: the service stands elsewhere. */
void adm_put_path(struct json_writer *out, const char *value);
/* Images that are to be made first. */
struct adm_images {
    struct {
        char *path;
        char *params; /* of image.create */
    } * items;
    size_t count;
};
void adm_images_fini(struct adm_images *images);
/* Make them, or with --plan tell so. Returns an exit status. */
int adm_images_make(struct adm *adm, struct adm_images *images);

/* A device object out of FILE[,read-only][,format=F][,controller=N][,lun=N], or out of
 * new=FILE,size=SIZE[,parent=FILE], which adds to *images; a comma in a file's name is written
 * twice. With --plan nothing is written for what is yet to be made. Returns an exit status. */
int adm_put_disk(const struct adm *adm, struct json_writer *out, const char *kind, const char *text,
                 struct adm_images *images);
/* "512M", "2GiB", "1048576": bytes. */
bool adm_parse_size(const char *text, uint64_t *ret);
bool adm_parse_seconds(const char *text, uint64_t *ret_ms);

/* plan.c */
/* The plan in a result, or NULL. */
const struct api_plan *adm_plan_of(enum api_method method, const union api_result *result);
/* What the call would be answered with, or NULL: it would go well. */
struct api_error *adm_plan_error(const struct api_plan *plan);
void adm_print_plan(const struct api_plan *plan);
void adm_put_diff(struct adm_sheet *sheet, const struct api_plan_diff *diff);

/* output.c */
enum {
    ADM_MAX_COLUMNS = 12,
    ADM_USUAL_WIDTH = 80,
    ADM_READABLE_WIDTH = 100,
    ADM_ANY_WIDTH = 1 << 20
};

struct adm_column {
    const char *title;
    int width; /* in a table that is fixed: how wide; in a sheet: it may be cut to so much, 0: not
                */
    bool is_right;
    bool is_wrapped; /* of a sheet, the last one: goes on in the next line */
};
void adm_table_head(const struct adm_column *columns, size_t count);
void adm_table_row(const struct adm_column *columns, size_t count, const char *const *cells);
/* How wide the output may be: COLUMNS, or the terminal's width, or any. */
int adm_output_width(void);
int adm_width_of(int fd);
/* How many columns of a terminal clean text takes. */
int adm_text_width(const char *clean);
/* Bytes of so much of it as is so wide at most. ret_width: how wide that is */
size_t adm_text_prefix(const char *clean, int max, int *ret_width);
/* Clean text: in a cell, cut where it is longer; or from column `indent` on, in lines up to `width`
 * that begin there. */
void adm_print_cell(const char *clean, int width, bool is_right, bool is_last);
void adm_print_wrapped(const char *clean, int indent, int width);
/* Text of ours, a line each paragraph, in lines that are as long as can be read well. */
void adm_print_text(const char *text);

/* sheet.c: a table whose columns are as wide as what is in them */
/* columns NULL: of pairs, without a title */
struct adm_sheet *adm_sheet_new(const struct adm_column *columns, size_t count);
void adm_sheet_row(struct adm_sheet *sheet, const char *const *cells);
void adm_put_pair(struct adm_sheet *sheet, const char *key, const char *format, ...)
    HV_PRINTF(3, 4);
/* Print and free it, or free it alone. */
void adm_sheet_print(struct adm_sheet *sheet);
void adm_sheet_free(struct adm_sheet *sheet);

void adm_print_json(const struct json_value *value);
/* Text of a guest or client for a terminal: control characters become '?'. Freed by the caller. */
char *adm_clean(const char *text);
char *adm_clean_text(const char *format, va_list args) HV_PRINTF(1, 0);
void adm_format_bytes(uint64_t bytes, char *ret, size_t room);
void adm_format_duration(uint64_t ms, char *ret, size_t room);
void adm_format_time(uint64_t ms, char *ret, size_t room);
const char *adm_state_name(enum api_vm_state state);

/* jobs.c: wait for a job to end, with its progress on a terminal; then print the job with --json,
 * else hand it to `print` (may be NULL) when it is done. timeout_ms: UINT64_MAX for none. An exit
 * status: that of its error where it failed. */
int adm_follow_job(struct adm *adm, uint64_t job, uint64_t timeout_ms,
                   void (*print)(const struct api_job *job));
/* Call a method that makes a job, and follow it; with --no-wait tell its number, with --plan what
 * it would do. params: taken. ret_followed: its number where it was followed; may be NULL. */
int adm_call_job(struct adm *adm, enum api_method method, char *params,
                 void (*print)(const struct api_job *job), uint64_t *ret_followed);
/* A line for each text, under the title `first`, then `next`. */
void adm_put_lines(struct adm_sheet *sheet, const char *first, const char *next, char **texts,
                   size_t count);
/* The error that a job ended with, or NULL. */
struct api_error *adm_job_error(const struct api_job *job);

/* Words that verbs know; NULL: no more. */
const char *adm_wait_goal(size_t index);
const char *adm_top_order(size_t index);

int adm_cmd_api(struct adm *adm, int argc, char **argv);
int adm_cmd_apply(struct adm *adm, int argc, char **argv);
int adm_cmd_vhd(struct adm *adm, int argc, char **argv);
int adm_cmd_vhd_info(struct adm *adm, int argc, char **argv);
int adm_cmd_job_list(struct adm *adm, int argc, char **argv);
int adm_cmd_job(struct adm *adm, int argc, char **argv);
int adm_cmd_complete(struct adm *adm, int argc, char **argv);
int adm_cmd_create(struct adm *adm, int argc, char **argv);
int adm_cmd_list(struct adm *adm, int argc, char **argv);
int adm_cmd_show(struct adm *adm, int argc, char **argv);
int adm_cmd_set(struct adm *adm, int argc, char **argv);
int adm_cmd_rename(struct adm *adm, int argc, char **argv);
int adm_cmd_delete(struct adm *adm, int argc, char **argv);
int adm_cmd_power(struct adm *adm, int argc, char **argv);
int adm_cmd_console(struct adm *adm, int argc, char **argv);
int adm_cmd_wait(struct adm *adm, int argc, char **argv);
int adm_cmd_stats(struct adm *adm, int argc, char **argv);
int adm_cmd_top(struct adm *adm, int argc, char **argv);
int adm_cmd_add(struct adm *adm, int argc, char **argv);
int adm_cmd_remove(struct adm *adm, int argc, char **argv);
int adm_cmd_insert(struct adm *adm, int argc, char **argv);
int adm_cmd_eject(struct adm *adm, int argc, char **argv);
int adm_cmd_shutdown(struct adm *adm, int argc, char **argv);
int adm_cmd_type(struct adm *adm, int argc, char **argv);
int adm_cmd_group_create(struct adm *adm, int argc, char **argv);
int adm_cmd_group_list(struct adm *adm, int argc, char **argv);
int adm_cmd_group_show(struct adm *adm, int argc, char **argv);
int adm_cmd_group_set(struct adm *adm, int argc, char **argv);
int adm_cmd_group_delete(struct adm *adm, int argc, char **argv);
int adm_cmd_group_members(struct adm *adm, int argc, char **argv);
int adm_cmd_guest_show(struct adm *adm, int argc, char **argv);
int adm_cmd_guest_kvp(struct adm *adm, int argc, char **argv);
int adm_cmd_guest_cp(struct adm *adm, int argc, char **argv);
int adm_cmd_host_show(struct adm *adm, int argc, char **argv);
int adm_cmd_host_ping(struct adm *adm, int argc, char **argv);
int adm_cmd_host_backup(struct adm *adm, int argc, char **argv);
int adm_cmd_host_stop_vms(struct adm *adm, int argc, char **argv);
int adm_cmd_events(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_init(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_show(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_invite(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_list(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_revoke(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_renew(struct adm *adm, int argc, char **argv);
int adm_cmd_remote_enroll(struct adm *adm, int argc, char **argv);
