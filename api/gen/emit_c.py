# SPDX-License-Identifier: Apache-2.0
"""types.h, tables.h and tables.c: structs, and the schema as tables over them."""

import json

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by api/gen from schemas/: do not edit. */\n"


def upper(name):
    out = ""
    for i, c in enumerate(name):
        out += "_" if c.isupper() and i and not name[i - 1].isupper() else ""
        out += c.upper()
    return out.replace(".", "_").replace("-", "_")


def quote(text):
    return json.dumps(text)


def _enum(enum):
    rows = ",\n".join(f"    API_{upper(enum.name)}_{upper(v)}" for v in enum.values)
    return f"enum api_{enum.name} {{\n{rows}\n}};\n"


def _struct(record):
    lines = [f"/* {record.about} */", f"struct api_{record.name} {{", "    uint64_t has;"]
    if record.is_patch:
        lines.append("    uint64_t cleared;")
    for field in record.fields:
        star = "*" if field.is_list else ""
        lines.append(f"    {field.c_type()}{star}{field.c_name};")
        if field.is_list:
            lines.append(f"    size_t n_{field.c_name};")
    lines.append("};")
    prefix = f"API_{upper(record.name)}_HAS_"
    for i, field in enumerate(record.fields):
        lines.append(f"#define {prefix}{upper(field.c_name)} (UINT64_C(1) << {i})")
    return "\n".join(lines) + "\n"


def types_h(model):
    out = [HEAD, "#pragma once\n", "#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n"]
    out.append("enum api_error_code {\n    API_E_NONE = 0,\n" +
               ",\n".join(f"    API_E_{upper(e['name'])} = {e['code']}" for e in model.errors) + "\n};\n")
    out += [_enum(e) for e in model.enums.values()]
    out += [_struct(r) for r in model.ordered_records()]
    out.append("enum api_method {\n" + "".join(f"    API_METHOD_{upper(m.c_name)},\n" for m in model.methods) +
               "    API_METHOD_COUNT\n};\n")
    out.append("union api_args {\n    uint64_t has;\n" +
               "".join(f"    struct api_{m.args.name} {m.c_name};\n" for m in model.methods) + "};\n")
    results = sorted({m.result for m in model.methods})
    out.append("union api_result {\n    uint64_t has;\n" + "".join(f"    struct api_{r} {r};\n" for r in results) + "};\n")
    for record in model.ordered_records():
        out.append(f"void api_{record.name}_fini(struct api_{record.name} *value);\n"
                   f"int api_{record.name}_copy(const struct api_{record.name} *from, struct api_{record.name} *ret);")
    return "\n".join(out) + "\n"


def tables_h(model):
    out = [HEAD, "#pragma once\n", '#include "api/gen/types.h"', '#include "api/rpc/error.h"', '#include "api/rpc/record.h"\n']
    out.append(f'#define API_SCHEMA_HASH "{model.hash}"')
    out.append(f"#define API_CONFIG_VERSION {model.config_version}\n")
    out.append("struct api_method_info {\n    /* read only */\n    const char *name;\n    const char *noun;\n"
               "    const char *verb;\n    const char *about;\n    const char *right;\n    bool is_change;\n    bool is_job;\n    bool is_stream;\n"
               "    const struct api_record *args;\n    const struct api_record *result;\n};\n")
    out.append("struct api_noun_info {\n    /* read only */\n    const char *name;\n    const char *about;\n};\n")
    out.append("extern const struct api_method_info api_methods[API_METHOD_COUNT];")
    out.append("extern const struct api_noun_info api_nouns[];\nextern const size_t api_noun_count;")
    out.append("extern const struct api_error_info api_error_table[];\nextern const size_t api_error_count;")
    out.append("/* reference.c, which hvadm alone has: a page of the reference, a line each paragraph. */\n"
               "struct api_page {\n    const char *name;\n    const char *about; /* of a method: lines; else may be NULL */\n    const char *text;\n};\n"
               "extern const struct api_page api_pages[];\nextern const size_t api_page_count;")
    out += [f"extern const struct api_enum api_enum_{e};" for e in model.enums]
    out += [f"extern const struct api_record api_record_{r.name};" for r in model.ordered_records()]
    return "\n".join(out) + "\n"


def _default(field, model):
    if not field.has_default:
        return []
    value = field.spec["default"]
    parts = [".has_default = true"]
    if field.kind == "ENUM":
        parts.append(f".default_number = {list(model.enums[field.ref].values).index(value)}")
    elif field.kind == "TEXT":
        parts.append(f".default_text = {quote(value)}")
    else:
        parts.append(f".default_number = {int(value)}ull")
    return parts


def _field(record, field, model):
    struct = f"struct api_{record.name}"
    parts = [f".name = {quote(field.name)}", f".about = {quote(field.about)}", f".kind = API_KIND_{field.kind}",
             f".offset = offsetof({struct}, {field.c_name})"]
    if field.form != "ANY":
        parts.append(f".form = API_TEXT_{field.form}")
    if field.is_optional:
        parts.append(".is_optional = true")
    if field.is_list:
        parts.append(f".is_list = true, .count_offset = offsetof({struct}, n_{field.c_name})")
    if field.spec.get("file"):
        parts.append(".is_file = true")
    if field.spec.get("when") == "off":
        parts.append(".is_off_only = true")
    if field.spec.get("unit") == "bytes":
        parts.append(".is_bytes = true")
    if field.kind in ("U32", "U64"):
        parts.append(f".min = {field.limit('min')}ull, .max = {field.limit('max')}ull, .multiple = {field.limit('multiple')}ull")
    for key in ("min_chars", "max_chars", "max_bytes", "max_items"):
        if field.limit(key):
            parts.append(f".{key} = {field.limit(key)}")
    if field.kind == "ENUM":
        parts.append(f".enumeration = &api_enum_{field.ref}")
    if field.kind in ("RECORD", "FIELDS"):
        parts.append(f".record = &api_record_{field.ref}")
    return "    { " + ",\n      ".join(parts + _default(field, model)) + " },\n"


def _names(name, values):
    rows = "".join(f"    {quote(v)},\n" for v in values)
    return f"static const char *const {name}[] = {{\n{rows}    NULL,\n}};\n"


def _record(record, model):
    out, name = "", record.name
    fields = "NULL"
    if record.fields:
        out += f"static const struct api_field fields_{name}[] = {{\n"
        out += "".join(_field(record, f, model) for f in record.fields) + "};\n"
        fields = f"fields_{name}"
    parts = [f".name = {quote(name)}", f".about = {quote(record.about)}", f".size = sizeof(struct api_{name})",
             f".fields = {fields}", f".n_fields = {len(record.fields)}"]
    if record.strict:
        parts.append(".is_strict = true")
    if record.is_patch:
        out += _names(f"reserved_{name}", record.reserved) + _names(f"prefixes_{name}", record.prefixes)
        parts.append(f".is_patch = true, .cleared_offset = offsetof(struct api_{name}, cleared)")
        parts.append(f".reserved = reserved_{name}, .reserved_prefixes = prefixes_{name}")
    out += f"const struct api_record api_record_{name} = {{\n    " + ",\n    ".join(parts) + "\n};\n"
    out += (f"void api_{name}_fini(struct api_{name} *value)\n{{\n    api_record_fini(&api_record_{name}, value);\n}}\n"
            f"int api_{name}_copy(const struct api_{name} *from, struct api_{name} *ret)\n{{\n"
            f"    return api_record_copy(&api_record_{name}, from, ret);\n}}\n")
    return out


def _method(m):
    flags = (".is_change = true, " if m.changes else "") + (".is_job = true, " if m.is_job else "") + (".is_stream = true, " if m.is_stream else "")
    return (f"    [API_METHOD_{upper(m.c_name)}] = {{ .name = {quote(m.name)}, .noun = {quote(m.noun)}, "
            f".verb = {quote(m.verb)},\n      .about = {quote(m.about)}, .right = {quote(m.right)},\n      {flags}"
            f".args = &api_record_{m.args.name}, .result = &api_record_{m.result} }},\n")


def tables_c(model):
    out = [HEAD, '#include "api/gen/tables.h"\n']
    for enum in model.enums.values():
        out.append(_names(f"values_{enum.name}", enum.values))
        out.append(f"const struct api_enum api_enum_{enum.name} = {{ .name = {quote(enum.name)}, "
                   f".values = values_{enum.name}, .n_values = {len(enum.values)} }};\n")
    out += [_record(r, model) for r in model.ordered_records()]
    out.append("const struct api_method_info api_methods[API_METHOD_COUNT] = {\n" + "".join(map(_method, model.methods)) + "};\n")
    out.append("const struct api_noun_info api_nouns[] = {\n" +
               "".join(f"    {{ {quote(n)}, {quote(a)} }},\n" for n, a in model.nouns) +
               f"}};\nconst size_t api_noun_count = {len(model.nouns)};\n")
    out.append("const struct api_error_info api_error_table[] = {\n" +
               "".join(f"    {{ API_E_{upper(e['name'])}, {quote(e['name'])}, {e['exit']}, {quote(e['about'])} }},\n"
                       for e in model.errors) + f"}};\nconst size_t api_error_count = {len(model.errors)};\n")
    return "\n".join(out)
