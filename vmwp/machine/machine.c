/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/machine/machine.h"

#include "hvcore/vp.h"
#include "vmwp/loader/loader.h"
#include "vmwp/machine/chipset.h"
#include "vmwp/machine/saved_priv.h"

#include <string.h>

struct wp_machine {
    struct hv_partition *partition;
    struct ldr_layout layout;
    struct wp_chipset chipset;
    char *cmdline;
    int kernel_fd;
    int initrd_fd;
};

static int make_partition(struct wp_machine *machine, const struct wp_machine_config *config,
                          struct hv_error **reterr)
{
    struct hv_partition_config partition_config = {
        .backend = config->backend,
        .kvm_fd = config->kvm_fd,
        .n_vps = config->n_vps,
        .ram_bytes = config->ram_bytes,
        .tsc = config->tsc,
        .chipset = &wp_chipset_ops,
        .chipset_opaque = &machine->chipset,
        .log = config->log,
    };
    int r;

    r = hv_partition_new(&partition_config, &machine->partition, reterr);
    if (r < 0)
        return r;
    r = ldr_layout_add_ram(&machine->layout, hv_partition_gpa(machine->partition));
    if (r < 0)
        return hv_error_set(reterr, r, "vm.memory.reserve",
                            "The host cannot map the guest's memory: %s.", strerror(-r));
    return hv_partition_seal_memory(machine->partition, reterr);
}

/* Offsets in the local APIC's page and what firmware leaves there: AMD64 vol. 2, 16.3 and 16.4. */
enum {
    LAPIC_SPURIOUS = 0xf0,
    LAPIC_LINT0 = 0x350,
    LAPIC_LINT1 = 0x360,
    LAPIC_ENABLED_SPURIOUS_15 = 0x10f,
    LAPIC_EXTINT = 0x700,
    LAPIC_NMI = 0x400,
};

static void set_lapic(struct hv_vp_state *state, unsigned offset, uint32_t value)
{
    memcpy(state->lapic + offset, &value, sizeof(value));
}

/* No firmware runs, but kernels expect its virtual wire: the 8259 pair reaches the first processor
 * through LINT0. */
static void wire_lapic(struct hv_vp_state *state)
{
    set_lapic(state, LAPIC_SPURIOUS, LAPIC_ENABLED_SPURIOUS_15);
    set_lapic(state, LAPIC_LINT0, LAPIC_EXTINT);
    set_lapic(state, LAPIC_LINT1, LAPIC_NMI);
}

static int enter_kernel(struct wp_machine *machine, const struct ldr_boot *boot)
{
    hv_autofree struct hv_vp_state *state = malloc(sizeof(*state));
    struct hv_vp *vp = hv_partition_vp(machine->partition, 0);
    int r;

    if (!state)
        return -ENOMEM;
    r = hv_vp_get_state(vp, state);
    if (r < 0)
        return r;
    r = ldr_boot_enter(boot, hv_partition_gpa(machine->partition), state);
    if (r < 0)
        return r;
    wire_lapic(state);
    return hv_vp_set_state(vp, state);
}

/* Tables, kernel and initrd into RAM, the boot state into VP 0. */
static int load(struct wp_machine *machine, struct hv_error **reterr)
{
    struct hv_gpa_space *space = hv_partition_gpa(machine->partition);
    struct ldr_acpi_config acpi = wp_chipset_acpi(hv_partition_n_vps(machine->partition));
    struct ldr_config config = {
        .space = space,
        .layout = &machine->layout,
        .kernel_fd = machine->kernel_fd,
        .initrd_fd = machine->initrd_fd,
        .cmdline = machine->cmdline,
    };
    struct ldr_boot boot;
    int r;

    r = ldr_acpi_write(space, &machine->layout, &acpi, &config.rsdp, reterr);
    if (r < 0)
        return r;
    r = ldr_load(&config, &boot, reterr);
    if (r < 0)
        return r;
    r = enter_kernel(machine, &boot);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.machine.entry",
                            "The first processor cannot be put at the kernel's entry: %s.",
                            strerror(-r));
    return 0;
}

static int assemble(struct wp_machine *machine, const struct wp_machine_config *config,
                    struct hv_error **reterr)
{
    int r;

    r = ldr_layout_init(&machine->layout, config->ram_bytes, reterr);
    if (r < 0)
        return r;
    r = make_partition(machine, config, reterr);
    if (r < 0)
        return r;
    r = wp_chipset_wire(&machine->chipset, machine->partition, &machine->layout, config, reterr);
    if (r < 0)
        return r;
    hv_partition_pause_time(machine->partition);
    return config->image
               ? wp_machine_restore(machine->partition, &machine->chipset, config->image, reterr)
               : load(machine, reterr);
}

int wp_machine_new(const struct wp_machine_config *config, struct wp_machine **ret,
                   struct hv_error **reterr)
{
    HV_CLEANUP(wp_machine_freep) struct wp_machine *machine = NULL;
    int r;

    machine = calloc(1, sizeof(*machine));
    if (!machine)
        return -ENOMEM;
    machine->kernel_fd = config->kernel_fd;
    machine->initrd_fd = config->initrd_fd;
    r = wp_chipset_init(&machine->chipset);
    if (r < 0)
        return r;
    machine->cmdline = strdup(config->cmdline ? config->cmdline : "");
    if (!machine->cmdline)
        return -ENOMEM;
    r = assemble(machine, config, reterr);
    if (r < 0)
        return r;
    *ret = HV_TAKE_PTR(machine);
    return 0;
}

struct wp_machine *wp_machine_free(struct wp_machine *machine)
{
    if (!machine)
        return NULL;
    wp_chipset_fini(&machine->chipset);
    if (machine->partition)
        machine->partition = hv_partition_free(machine->partition);
    free(machine->cmdline);
    free(machine);
    return NULL;
}

int wp_machine_reset(struct wp_machine *machine, struct hv_error **reterr)
{
    int r;

    wp_chipset_reset(&machine->chipset);
    hv_partition_reset(machine->partition);
    r = hv_gpa_discard(hv_partition_gpa(machine->partition));
    if (r < 0)
        return hv_error_set(reterr, r, "vm.memory.discard",
                            "The guest's memory cannot be emptied: %s.", strerror(-r));
    return load(machine, reterr);
}

void wp_machine_pause_time(struct wp_machine *machine)
{
    wp_chipset_stop_clock(&machine->chipset);
    hv_partition_pause_time(machine->partition);
}

void wp_machine_resume_time(struct wp_machine *machine)
{
    hv_partition_resume_time(machine->partition);
    wp_chipset_start_clock(&machine->chipset);
}

struct hv_partition *wp_machine_partition(struct wp_machine *machine)
{
    return machine->partition;
}

struct con *wp_machine_console(struct wp_machine *machine, unsigned port)
{
    hv_assert(port >= 1 && port <= WP_MACHINE_N_COM);
    return machine->chipset.con[port - 1];
}

void wp_machine_describe(struct wp_machine *machine, struct state_head *ret)
{
    wp_partition_describe(machine->partition, ret);
}

int wp_machine_save(struct wp_machine *machine, struct state_writer *writer)
{
    int r = wp_partition_save(machine->partition, writer);

    return r < 0 ? r : wp_chipset_save(&machine->chipset, writer);
}
