/* SPDX-License-Identifier: Apache-2.0 */
/* A worker under test, started as vmmsd starts one, and a client of its control channel. */
#pragma once

#include "tests/lib/cmocka.h"

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#define TEST_VM_ID  "01020304-0506-0708-090a-0b0c0d0e0f10"
#define TEST_SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define TEST_PATH   "/org/hvstack/Worker1"
#define TEST_NAME   "org.hvstack.Worker1"
#define TEST_DENIED "org.freedesktop.DBus.Error.AccessDenied"
#define TEST_EPOCH  5

struct test_worker {
    char dir[64];
    char socket_path[96];
    int words_fd;
    pid_t pid;
};

/* BACKEND of the environment, or soft. */
const char *test_backend(void);

/* Start VMWP (environment) on KERNEL; extra: more fields of the definition, each with a leading
 * comma, or "". A definition instead of all that: given whole as `definition`. */
void test_worker_start(struct test_worker *worker, const char *extra, const char *definition);
/* Wait for its end, at most ten seconds. Returns the wait status. */
int test_worker_wait(struct test_worker *worker);
void test_worker_free(struct test_worker *worker);

/* The last words as JSON text, static. */
const char *test_worker_words(struct test_worker *worker);

sd_bus *test_connect(const struct test_worker *worker);
/* Hello; returns 0 or a negative errno as sd-bus maps the error. */
int test_hello(sd_bus *bus, const char *secret, uint64_t epoch);
/* Connect and say Hello rightly. */
sd_bus *test_client(const struct test_worker *worker);

/* Call a method without arguments; returns its D-Bus error name (static) or NULL. */
const char *test_call(sd_bus *bus, const char *method);

/* Wait for the next StateChanged and check its state and cause; *ret_detail (may be NULL): a number
 * in the detail, or 0. */
void test_expect_state(sd_bus *bus, const char *state, const char *cause, uint64_t *ret_detail);

/* A console stream on port 1. */
int test_console(sd_bus *bus, uint64_t from, uint64_t *ret_start);
/* Read until the stream has shown `text`. */
void test_expect_text(int fd, const char *text);
