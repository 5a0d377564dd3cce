/* SPDX-License-Identifier: Apache-2.0 */
/* The directories that the service lives in. */
#pragma once

#include "hvcore/base/error.h"

/* Make sure that path is a directory of ours that nobody else can look into. */
int vmms_directory_prepare(const char *path, struct hv_error **reterr);

/* Take the exclusive lock on a state directory; held as long as the descriptor is open. */
int vmms_directory_lock(const char *path, int *ret_fd, struct hv_error **reterr);

/* Would socket names below that runtime directory be short enough? */
int vmms_directory_check_sockets(const char *path, struct hv_error **reterr);
