/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI configuration mechanism 1 (ports 0xcf8 to 0xcff) in front of bus 0, on which there is a host
 * bridge without functions of its own, or nothing at all.
 *
 * source: PCI Local Bus Specification 3.0, 3.2.2.3.2
 */
#pragma once

#include "hvcore/io.h"

#include <pthread.h>

struct dev_pcicfg_config {
    /* public */
    bool has_host_bridge;
    const struct hv_io_ops *reset_ops; /* who answers byte accesses to 0xcf9, or NULL */
    void *reset_opaque;
};

struct dev_pcicfg_state {
    uint32_t address;
    uint16_t bridge_command;
    uint8_t bridge_line; /* interrupt line register, scratch */
};

struct dev_pcicfg {
    /* private */
    pthread_mutex_t lock;
    struct dev_pcicfg_config config;
    struct dev_pcicfg_state state;
};

/* The config is copied. Mapping adds the addresses; 0 or an errno of hv_io_space_add. No VP runs.
 */
void dev_pcicfg_init(struct dev_pcicfg *chip, const struct dev_pcicfg_config *config);
void dev_pcicfg_fini(struct dev_pcicfg *chip);
int dev_pcicfg_map(struct dev_pcicfg *chip, struct hv_io_space *ports);

/* A hard reset of the machine; and the whole state, out and in, while no VP runs. set returns 0, or
 * -EINVAL when a chip cannot be in that state. */
void dev_pcicfg_reset(struct dev_pcicfg *chip);
void dev_pcicfg_get_state(struct dev_pcicfg *chip, struct dev_pcicfg_state *ret);
int dev_pcicfg_set_state(struct dev_pcicfg *chip, const struct dev_pcicfg_state *state);
