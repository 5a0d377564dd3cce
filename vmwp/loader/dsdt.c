/* SPDX-License-Identifier: Apache-2.0 */
/* What the DSDT says: power states and the devices that cannot be found by looking. */
#include "vmwp/loader/acpi_priv.h"
#include "vmwp/loader/aml_priv.h"

static void name_integer(struct aml *aml, const char *name, uint64_t value)
{
    aml_name(aml, name);
    aml_integer(aml, value);
}

static void name_eisa_id(struct aml *aml, const char *name, const char *id)
{
    aml_name(aml, name);
    aml_eisa_id(aml, id);
}

static void power_states(struct aml *aml, const struct ldr_acpi_config *config)
{
    aml_name(aml, "_S5_");
    aml_package(aml, 4);
    aml_integer(aml, config->s5_type);
    aml_integer(aml, config->s5_type);
    aml_integer(aml, 0);
    aml_integer(aml, 0);
    aml_end(aml);
}

struct isa_device {
    const char *name;
    const char *id;
    unsigned uid;
    uint16_t port;
    uint8_t n_ports;
    uint8_t irq;
};

static void put_isa_device(struct aml *aml, const struct isa_device *device)
{
    aml_device(aml, device->name);
    name_eisa_id(aml, "_HID", device->id);
    name_integer(aml, "_UID", device->uid);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_io(aml, device->port, device->n_ports);
    aml_irq(aml, device->irq);
    aml_end(aml);
    aml_end(aml);
}

static void isa_devices(struct aml *aml, const struct ldr_acpi_config *config)
{
    static const struct isa_device com[2] = {
        { "COM1", "PNP0501", 1, 0x3f8, 8, 4 },
        { "COM2", "PNP0501", 2, 0x2f8, 8, 3 },
    };
    static const struct isa_device rtc = { "RTC0", "PNP0B00", 0, 0x70, 2, 8 };

    for (unsigned i = 0; i < 2; i++)
        if (config->has_com[i])
            put_isa_device(aml, &com[i]);
    put_isa_device(aml, &rtc);
}

/* The root bridge of bus 0: ports but its own, the VGA window, the window below 4 GiB. */
static void pci_root(struct aml *aml)
{
    aml_device(aml, "PCI0");
    name_eisa_id(aml, "_HID", "PNP0A03");
    name_integer(aml, "_UID", 0);
    name_integer(aml, "_BBN", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_bus_numbers(aml, 0, 0xff);
    aml_io(aml, 0xcf8, 8);
    aml_io_window(aml, 0x0000, 0x0cf7);
    aml_io_window(aml, 0x0d00, 0xffff);
    aml_memory_window_32(aml, 0xa0000, 0xbffff);
    aml_memory_window_32(aml, LDR_PCI_WINDOW_FIRST, LDR_PCI_WINDOW_END - 1);
    aml_end(aml);
    aml_end(aml);
}

/*
 * The module device with the two windows, and VMBus in it, which must have a _CRS of its own: the
 * legacy interrupt that real firmware names.
 *
 * spec: drivers/hv/vmbus_drv.c, vmbus_acpi_add (a failing walk of the device's own _CRS ends it)
 */
static void vmbus(struct aml *aml, const struct ldr_layout *layout)
{
    aml_device(aml, "VMOD");
    aml_name(aml, "_HID");
    aml_string(aml, "ACPI0004");
    name_integer(aml, "_UID", 0);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_memory_window_32(aml, LDR_VMBUS_WINDOW_FIRST, LDR_VMBUS_WINDOW_END - 1);
    aml_memory_window_64(aml, layout->vmbus_high_first,
                         layout->vmbus_high_first + layout->vmbus_high_bytes - 1);
    aml_end(aml);

    aml_device(aml, "VMBS");
    aml_name(aml, "_HID");
    aml_string(aml, "VMBUS");
    name_integer(aml, "_UID", 0);
    name_integer(aml, "_STA", 0x0f);
    aml_name(aml, "_CRS");
    aml_resources(aml);
    aml_irq(aml, 5);
    aml_end(aml);
    aml_end(aml);

    aml_end(aml);
}

size_t ldr_dsdt_write(const struct ldr_layout *layout, const struct ldr_acpi_config *config,
                      void *ret, size_t bytes)
{
    struct aml aml = aml_writer(ret, bytes);

    power_states(&aml, config);
    aml_scope(&aml, "_SB_");
    if (config->has_pci)
        pci_root(&aml);
    isa_devices(&aml, config);
    if (config->has_vmbus)
        vmbus(&aml, layout);
    aml_end(&aml);
    return aml_ok(&aml) ? aml.used : 0;
}
