/* SPDX-License-Identifier: Apache-2.0 */
/* A world for vmmsd's core: a store that may refuse, workers that may do anything, clients, all
 * carried out one step at a time by chance from a seed. */
#pragma once

#include "vmmsd/core/core.h"

struct world;

struct world *world_new(uint64_t seed);
struct world *world_free(struct world *world);
struct vmms_core *world_core(struct world *world);

/* One random thing happens. */
void world_step(struct world *world);
/* Everything outstanding is carried out, without failures, until nothing is left to do. */
void world_settle(struct world *world);

uint64_t world_open_calls(const struct world *world);
