/* SPDX-License-Identifier: Apache-2.0 */
/* Words about one VM, with fields by which the journal finds them. */
#include "vmmsd/spawn/worker_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 900, FIELDS_BYTES = 256 };

void vmms_worker_say(const struct worker *worker, enum hv_log_level level, const char *message_id,
                     const char *format, ...)
{
    char text[TEXT_BYTES], fields[FIELDS_BYTES], unit[VMMS_UNIT_NAME_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    vmms_unit_name(worker->row.id, unit);
    /* journalctl -u shows what root says about a unit with that of the unit itself. */
    (void)snprintf(fields, sizeof(fields), "%s%s%sHVSTACK_VM=%.36s\nOBJECT_SYSTEMD_UNIT=%s",
                   message_id ? "MESSAGE_ID=" : "", message_id ? message_id : "",
                   message_id ? "\n" : "", worker->row.id, unit);
    hv_log_printf(worker->spawner->config.log, level, fields, "%s", text);
}

void vmms_worker_say_end(const struct worker *worker, const struct vmms_fact *fact)
{
    const char *why = fact->error ? fact->error->message : fact->message;
    bool is_death = fact->error ||
                    (fact->cause && strcmp(fact->cause, "worker_died") == 0 && !worker->is_doomed);

    vmms_worker_say(worker, is_death ? HV_LOG_WARNING : HV_LOG_INFO,
                    is_death ? MESSAGE_WORKER_DIED : MESSAGE_WORKER_ENDED,
                    "VM %s no longer runs: %s.%s%.400s", worker->row.settings.name,
                    worker->is_doomed && !fact->error ? "turned off"
                    : fact->cause                     ? fact->cause
                                                      : "unknown",
                    why ? " " : "", why ? why : "");
}
