/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks and drives in a saved VM. Its state fits only disks that nobody has written to since: of a
 * VHDX its own data write GUID says so, of another file its size and time.
 */
#include "vmwp/worker/storage_priv.h"

#include "vmwp/state/parts.h"

#include <string.h>
#include <sys/stat.h>

/* ---- what is plugged ---- */

static uint64_t hash(uint64_t sum, const void *bytes, size_t length)
{
    const uint8_t *next = bytes;

    for (size_t i = 0; i < length; i++)
        sum = (sum ^ next[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    return sum;
}

static uint64_t hash_device(const char *id, unsigned kind, unsigned controller, unsigned lun)
{
    const uint32_t numbers[] = { kind, controller, lun };

    return hash(hash(UINT64_C(0xcbf29ce484222325), id, strlen(id)), numbers, sizeof(numbers));
}

/* Sums, for the order says nothing. */
static uint64_t hash_controllers(const struct wp_definition *definition)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < definition->n_controllers; i++)
        sum += hash_device(definition->controllers[i].instance, UINT32_MAX,
                           definition->controllers[i].number, 0);
    return sum;
}

uint64_t wp_storage_fingerprint(const struct wp_storage *storage)
{
    uint64_t sum = hash_controllers(storage->config.definition);

    HV_LIST_FOREACH (node, &storage->units) {
        const struct unit *unit = HV_LIST_ENTRY(node, struct unit, node);

        sum += hash_device(unit->id, unit->kind, unit->controller, unit->lun);
    }
    return sum;
}

uint64_t wp_definition_fingerprint(const struct wp_definition *definition)
{
    uint64_t sum = hash_controllers(definition);

    for (size_t i = 0; i < definition->n_disks; i++) {
        const struct wp_disk *disk = &definition->disks[i];

        sum += hash_device(disk->id, disk->kind, disk->controller, disk->lun);
    }
    return sum;
}

/* ---- which files ---- */

/* A file as it was. */
struct trait {
    bool has_guid; /* then it alone counts */
    struct hv_guid guid;
    uint64_t bytes;
    uint64_t changed_s;
    uint32_t changed_ns;
};

static int get_trait(int fd, struct trait *ret, struct hv_error **reterr)
{
    hv_autofree struct blk_probe *probe = calloc(1, sizeof(*probe));
    struct stat st;
    int r;

    if (!probe)
        return -ENOMEM;
    if (fstat(fd, &st) < 0)
        return -errno;
    *ret = (struct trait){ .bytes = (uint64_t)st.st_size,
                           .changed_s = (uint64_t)st.st_mtim.tv_sec,
                           .changed_ns = (uint32_t)st.st_mtim.tv_nsec };
    r = blk_image_probe(fd, "image", NULL, probe, reterr);
    if (r < 0)
        return r;
    ret->has_guid = probe->format == BLK_FORMAT_VHDX;
    ret->guid = probe->data_write;
    return 0;
}

static bool is_same(const struct trait *a, const struct trait *b)
{
    if (a->has_guid || b->has_guid)
        return a->has_guid && b->has_guid && hv_guid_equal(&a->guid, &b->guid);
    return a->bytes == b->bytes && a->changed_s == b->changed_s && a->changed_ns == b->changed_ns;
}

static void visit_trait(struct hv_fields *fields, struct trait *trait)
{
    hv_field_bool(fields, &trait->has_guid);
    hv_field_bytes(fields, trait->guid.bytes, sizeof(trait->guid.bytes));
    hv_field_u64(fields, &trait->bytes);
    hv_field_u64(fields, &trait->changed_s);
    hv_field_u32(fields, &trait->changed_ns);
}

/* A disk or drive with its files as they were. */
struct traits {
    char id[HV_GUID_TEXT_BYTES];
    uint32_t n_files;
    struct trait files[WP_MAX_CHAIN];
};

static void visit_traits(struct hv_fields *fields, struct traits *traits)
{
    hv_field_bytes(fields, traits->id, HV_GUID_TEXT_BYTES - 1);
    traits->id[HV_GUID_TEXT_BYTES - 1] = '\0';
    hv_field_count(fields, &traits->n_files, WP_MAX_CHAIN);
    for (uint32_t i = 0; i < traits->n_files; i++)
        visit_trait(fields, &traits->files[i]);
}

/* What is told of a device; false: nothing. */
static bool find_traits(const struct state_image *image, const char *id, struct traits *ret)
{
    struct hv_fields fields = state_image_fields(image, STATE_IMAGES, 0);
    uint32_t n = 0;

    hv_field_count(&fields, &n, WP_MAX_DISKS);
    for (uint32_t i = 0; i < n; i++) {
        visit_traits(&fields, ret);
        if (hv_fields_ok(&fields) && strcmp(ret->id, id) == 0)
            return true;
    }
    return false;
}

/* Are these files those? 0, 1: another, or an errno. */
static int compare(const struct traits *traits, const int *fds, size_t n_files,
                   struct hv_error **reterr)
{
    if (traits->n_files != n_files)
        return 1;
    for (size_t i = 0; i < n_files; i++) {
        struct trait now;
        int r = get_trait(fds[i], &now, reterr);

        if (r < 0)
            return r;
        if (!is_same(&traits->files[i], &now))
            return 1;
    }
    return 0;
}

static int check_disk(const struct wp_disk *disk, const struct state_image *image,
                      struct hv_error **reterr)
{
    struct traits traits;
    int fds[WP_MAX_CHAIN], r;
    char field[32];

    (void)snprintf(field, sizeof(field), "devices.%u:%u", disk->controller, disk->lun);
    if (!find_traits(image, disk->id, &traits))
        return hv_error_set_field(reterr, -EINVAL, "vm.saved_state.devices", field,
                                  "The saved state tells nothing of the disk at %u:%u.",
                                  disk->controller, disk->lun);
    for (size_t i = 0; i < disk->n_chain; i++)
        fds[i] = disk->chain[i].fd;
    r = compare(&traits, fds, disk->n_chain, reterr);
    if (r <= 0)
        return r;
    return hv_error_set_field(
        reterr, -ESTALE, "vm.saved_state.disk_changed", field,
        "The disk at %u:%u (%.200s) was changed after the VM was saved, and "
        "the guest would destroy it. Put the image back as it was, or discard "
        "the saved state.",
        disk->controller, disk->lun, disk->chain[0].path);
}

int wp_storage_check_images(const struct wp_definition *definition, const struct state_image *image,
                            struct hv_error **reterr)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < definition->n_disks; i++)
        if (definition->disks[i].kind == WP_DISK_DISK)
            r = check_disk(&definition->disks[i], image, reterr);
    return r;
}

/* ---- out ---- */

int wp_storage_flush(struct wp_storage *storage, struct hv_error **reterr)
{
    HV_LIST_FOREACH (node, &storage->units) {
        struct unit *unit = HV_LIST_ENTRY(node, struct unit, node);
        int r = unit->disk ? blk_disk_flush(unit->disk) : 0;

        if (r < 0 && r != -EROFS)
            return hv_error_set(reterr, r, "vm.storage.flush",
                                "The disk at %u:%u cannot be flushed: %s.", unit->controller,
                                unit->lun, strerror(-r));
    }
    return 0;
}

static int save_unit(const struct unit *unit, struct hv_fields *fields, struct hv_error **reterr)
{
    struct traits traits = { .n_files = (uint32_t)unit->n_files };
    int r = 0;

    memcpy(traits.id, unit->id, sizeof(traits.id));
    for (size_t i = 0; r == 0 && i < unit->n_files; i++)
        r = get_trait(unit->fds[i], &traits.files[i], reterr);
    visit_traits(fields, &traits);
    return r;
}

static int save_images(struct wp_storage *storage, struct state_writer *writer,
                       struct hv_error **reterr)
{
    struct hv_fields fields = hv_fields_writer();
    uint32_t n = 0;
    int r = 0;

    HV_LIST_FOREACH (counted, &storage->units)
        n++;
    hv_field_u32(&fields, &n);
    HV_LIST_FOREACH (node, &storage->units) {
        r = r < 0 ? r : save_unit(HV_LIST_ENTRY(node, struct unit, node), &fields, reterr);
    }
    if (r < 0) {
        hv_fields_fini(&fields);
        return r;
    }
    return state_writer_part(writer, STATE_IMAGES, 0, &fields);
}

int wp_storage_save(struct wp_storage *storage, struct state_writer *writer,
                    struct hv_error **reterr)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < WP_MAX_CONTROLLERS; i++) {
        struct hv_fields fields = hv_fields_writer();

        if (!storage->controllers[i].storvsp)
            continue;
        storvsp_controller_settle(storage->controllers[i].storvsp);
        storvsp_controller_save(storage->controllers[i].storvsp, &fields);
        r = state_writer_part(writer, STATE_STORAGE, i, &fields);
    }
    return r < 0 ? r : save_images(storage, writer, reterr);
}

/* ---- and back ---- */

/* A guest whose drive has another medium now is told as when it was changed before its eyes. */
static void note_medium(struct wp_storage *storage, const struct unit *unit,
                        const struct state_image *image)
{
    struct traits traits;

    if (find_traits(image, unit->id, &traits) &&
        compare(&traits, unit->fds, unit->n_files, NULL) == 0)
        return;
    storvsp_note_medium(storage->controllers[unit->controller].storvsp, unit->lun);
}

int wp_storage_restore(struct wp_storage *storage, const struct state_image *image)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < WP_MAX_CONTROLLERS; i++) {
        struct hv_fields fields = state_image_fields(image, STATE_STORAGE, i);

        if (storage->controllers[i].storvsp)
            r = storvsp_controller_restore(storage->controllers[i].storvsp, &fields);
    }
    HV_LIST_FOREACH (node, &storage->units) {
        const struct unit *unit = HV_LIST_ENTRY(node, struct unit, node);

        if (r == 0 && unit->kind == WP_DISK_DVD)
            note_medium(storage, unit, image);
    }
    return r;
}
