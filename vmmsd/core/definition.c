/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/core/definition.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"
#include "vmmsd/core/core_priv.h"

#include <inttypes.h>
#include <string.h>

int vmms_definition_write(const struct api_settings *settings, char **ret)
{
    struct json_writer out = { 0 };

    json_begin_object(&out);
    json_key(&out, "version");
    json_put_u64(&out, API_CONFIG_VERSION);
    json_key(&out, "settings");
    api_record_write(&api_record_settings, settings, UINT64_MAX, &out);
    json_end_object(&out);
    return json_writer_take(&out, ret, NULL);
}

static int check_version(const struct json_value *root, struct api_error **reterr)
{
    const struct json_value *value = json_get(root, "version");
    uint64_t version;

    if (!value || json_u64(value, &version) < 0)
        return api_error_set(reterr, API_E_FAILED, "config.damaged", NULL,
                             "a definition without a version");
    if (version != API_CONFIG_VERSION)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "config.version", NULL,
                             "a definition of version %" PRIu64 "; this program knows %d", version,
                             API_CONFIG_VERSION);
    return 0;
}

int vmms_definition_read(const char *text, struct api_settings *ret, struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *settings;
    struct json_fault fault;
    int r;

    r = json_parse(text, strlen(text), &json_limits_request, &doc, &fault);
    if (r == -EBADMSG)
        return api_error_set(reterr, API_E_FAILED, "config.damaged", NULL,
                             "a definition that is not JSON (%s)", fault.text);
    if (r < 0)
        return r;
    r = check_version(json_doc_root(doc), reterr);
    if (r < 0)
        return r;
    settings = json_get(json_doc_root(doc), "settings");
    if (!settings)
        return api_error_set(reterr, API_E_FAILED, "config.damaged", NULL,
                             "a definition without settings");
    r = api_record_read(&api_record_settings, settings, NULL, ret, reterr);
    if (r == 0 && !ret->name) {
        api_settings_fini(ret);
        r = api_error_set(reterr, API_E_FAILED, "config.damaged", NULL,
                          "a definition without a name");
    }
    return r;
}

int vmms_staged_write(const struct api_pending_config *staged, char **ret)
{
    struct json_writer out = { 0 };

    *ret = NULL;
    if (vmms_staged_is_empty(staged))
        return 0;
    api_record_write(&api_record_pending_config, staged, UINT64_MAX, &out);
    return json_writer_take(&out, ret, NULL);
}

int vmms_staged_read(const char *text, struct api_pending_config *ret, struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;
    int r;

    *ret = (struct api_pending_config){ 0 };
    if (!text)
        return 0;
    r = json_parse(text, strlen(text), &json_limits_reply, &doc, &fault);
    if (r == -EBADMSG)
        return api_error_set(reterr, API_E_FAILED, "config.damaged", NULL,
                             "staged changes that are not JSON (%s)", fault.text);
    return r < 0
               ? r
               : api_record_read(&api_record_pending_config, json_doc_root(doc), NULL, ret, reterr);
}
