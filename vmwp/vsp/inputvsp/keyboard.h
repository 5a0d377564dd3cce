/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The synthetic keyboard: keys pressed and released for the guest's driver, text typed on a US
 * layout.
 *
 * What is typed is queued, and sent as fast as the guest makes room; what doesn't fit into the
 * queue is refused whole. Nothing is queued before the guest's driver runs: keys that nobody hears
 * are an error, not a surprise for later.
 *
 * thread: io. spec: hyperv-keyboard.c of Linux 6.1
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/fields.h"
#include "vmwp/vsp/inputvsp/keymap.h"
#include "vmwp/vsp/vsp.h"

struct vsp_keyboard;

enum { VSP_KEYBOARD_MAX_EVENTS = 8192 };

struct vsp_keyboard_config {
    /* public */
    struct vmbus_server *server; /* outlives the keyboard, unless it is gone when that is freed */
    struct hv_log log;
};

/* Offer it. Returns 0, -ENOMEM or an errno of vmbus_offer_channel. */
int vsp_keyboard_new(const struct vsp_keyboard_config *config, struct vsp_keyboard **ret);
/* Take the offer back. Nothing but free may be called afterwards. */
void vsp_keyboard_revoke(struct vsp_keyboard *kbd);
/* After revoke, or when the server is gone. */
struct vsp_keyboard *vsp_keyboard_free(struct vsp_keyboard *kbd);

/* pause, resume, reset, free */
extern const struct vsp_ops vsp_keyboard_ops;

/* Its part of a saved VM, out, while paused; or into a new one, before the bus opens it again. */
void vsp_keyboard_visit(struct vsp_keyboard *kbd, struct hv_fields *fields);

/* Does a driver of the guest's listen? */
bool vsp_keyboard_is_ready(const struct vsp_keyboard *kbd);
/* How many events wait for room. */
unsigned vsp_keyboard_n_queued(const struct vsp_keyboard *kbd);

/* All that follow return 0 (queued whole), -ENOTCONN (no driver listens), -ENOBUFS (it doesn't fit)
 * or -EINVAL, each with a sentence. */

/* Type UTF-8 text. -EINVAL: a US keyboard has no key for one of the characters, which is named;
 * nothing was typed. */
int vsp_keyboard_type_text(struct vsp_keyboard *kbd, const char *text, struct hv_error **reterr);
/* Press or release one key; a key that is down may be pressed again, as by autorepeat. */
int vsp_keyboard_press(struct vsp_keyboard *kbd, struct vsp_key key, struct hv_error **reterr);
int vsp_keyboard_release(struct vsp_keyboard *kbd, struct vsp_key key, struct hv_error **reterr);
/* Press keys one after the other, and release them backwards. */
int vsp_keyboard_chord(struct vsp_keyboard *kbd, const struct vsp_key *keys, unsigned n,
                       struct hv_error **reterr);
/* The chord that reboots or unlocks. */
int vsp_keyboard_ctrl_alt_del(struct vsp_keyboard *kbd, struct hv_error **reterr);
/* Bytes of scan code set 1, with prefixes E0 and E1 and bit 7 for releases. -EINVAL: a prefix with
 * nothing behind it. */
int vsp_keyboard_type_scancodes(struct vsp_keyboard *kbd, const uint8_t *codes, size_t n,
                                struct hv_error **reterr);
/* Was it pressed and not released since? */
bool vsp_keyboard_is_pressed(const struct vsp_keyboard *kbd, struct vsp_key key);
