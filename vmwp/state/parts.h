/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a saved VM beside its RAM, by the letters that stand in the file. A part's fields
 * are described by the function of its owner that visits them; that function reads every version
 * up to the one in parts.c.
 */
#pragma once

#include "vmwp/state/state.h"

#define STATE_PARTITION STATE_ID('P', 'A', 'R', 'T')
#define STATE_VP        STATE_ID('V', 'P', ' ', ' ') /* instance: its index */
#define STATE_PIC       STATE_ID('P', 'I', 'C', ' ')
#define STATE_IOAPIC    STATE_ID('I', 'O', 'A', 'P')
#define STATE_PIT       STATE_ID('P', 'I', 'T', ' ')
#define STATE_RTC       STATE_ID('R', 'T', 'C', ' ')
#define STATE_UART      STATE_ID('U', 'A', 'R', 'T') /* instance: 0 or 1 */
#define STATE_PM        STATE_ID('P', 'M', ' ', ' ')
#define STATE_I8042     STATE_ID('8', '0', '4', '2')
#define STATE_PCICFG    STATE_ID('P', 'C', 'I', ' ')
#define STATE_MISC      STATE_ID('M', 'I', 'S', 'C')
#define STATE_CONSOLE   STATE_ID('C', 'O', 'N', 'S') /* instance: 0 or 1 */
#define STATE_VMBUS     STATE_ID('V', 'B', 'U', 'S')
#define STATE_INBOX     STATE_ID('V', 'B', 'I', 'N')
#define STATE_STORAGE   STATE_ID('S', 'C', 'S', 'I') /* instance: the controller's number */
#define STATE_IMAGES    STATE_ID('I', 'M', 'G', 'S')
#define STATE_SERVICES  STATE_ID('S', 'V', 'C', 'S')
#define STATE_SERVICE   STATE_ID('S', 'V', 'C', ' ') /* instance: enum ic_service */

/* The version of a part that this program writes, and the newest it reads; 0: there is no such. */
uint16_t state_part_version(uint32_t id);
