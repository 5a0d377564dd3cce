# SPDX-License-Identifier: Apache-2.0
"""reference.md and reference.c: what a client may call, for people."""

import json


def _allowed(field):
    words = []
    for key, text in (("min", "from"), ("max", "to"), ("multiple", "in steps of"), ("min_chars", "characters from"),
                      ("max_chars", "characters to"), ("max_bytes", "bytes at most")):
        if key in field.spec:
            words.append(f"{text} {field.spec[key]}")
    if field.has_default:
        words.append(f"default `{json.dumps(field.spec['default'])}`" if field.spec["default"] != "" else "default empty")
    elif field.is_optional:
        words.append("may be missing")
    if field.spec.get("when") == "off":
        words.append("changes only while off")
    return ", ".join(words)


def _table(fields):
    if not fields:
        return "None.\n"
    rows = "".join(f"| `{f.name}` | {f.type} | {_allowed(f)} | {f.about} |\n" for f in fields)
    return "| name | type | allowed | what |\n|---|---|---|---|\n" + rows


def reference_md(model):
    out = ["# The management API\n", f"Made from `schemas/` (hash {model.hash}).\n"]
    for noun, about in model.nouns:
        out.append(f"## {noun}\n\n{about}\n")
        for method in (m for m in model.methods if m.noun == noun):
            notes = f"Right: `{method.right}`. Answer: {method.result}."
            notes += " Needs a WebSocket." if method.is_stream else ""
            out.append(f"### {method.name}\n\n{method.about} {notes}\n\n{_table(method.args.fields)}")
    out.append("## Objects\n")
    for record in model.ordered_records():
        if not record.name.endswith("_args") and record.name != "settings":
            out.append(f"### {record.name}\n\n{record.about}\n\n{_table(record.fields)}")
    for enum in model.enums.values():
        rows = "".join(f"- `{v}`: {about}\n" for v, about in enum.values.items())
        out.append(f"### {enum.name}\n\n{rows}")
    settings = model.records["settings"]
    out.append(f"## Settings of a VM\n\n{_table(settings.fields)}")
    out.append("Known, and refused with NotSupported in this version: " + ", ".join(f"`{n}`" for n in settings.reserved) +
               "; and all that begin with " + ", ".join(f"`{p}`" for p in settings.prefixes) + ".\n")
    out.append("## Errors\n\n| code | name | exit status of hvadm | when |\n|---|---|---|---|\n" +
               "".join(f"| {e['code']} | {e['name']} | {e['exit']} | {e['about']} |\n" for e in model.errors))
    return "\n".join(out)


def _line(text, indent):
    """A paragraph, which hvadm wraps."""
    return f"{indent}{text}\n"


def _fields_text(fields):
    out = ""
    for field in fields:
        allowed = _allowed(field).replace("`", "")
        out += _line(f"{field.name}  ({field.type}{'; ' + allowed if allowed else ''})", "  ")
        out += _line(field.about, "      ")
    return out


def _method_page(method):
    text = _line(f"{method.about} Right: {method.right}. Answer: {method.result}." +
                 (" Needs a WebSocket." if method.is_stream else ""), "")
    return method.name, _line(method.about, "    "), text + "\n" + (_fields_text(method.args.fields) or "  No arguments.\n")


def _pages(model):
    """(name, about, text) of what can be asked for: a line each paragraph, whose indentation holds for all of it."""
    yield from (_method_page(method) for method in model.methods)
    for record in model.ordered_records():
        if not record.name.endswith("_args") and record.name != "settings":
            yield record.name, record.about, f"{_line(record.about, '')}\n{_fields_text(record.fields)}"
    for enum in model.enums.values():
        yield enum.name, "", "".join(f"  {v}\n{_line(about, '      ')}" for v, about in enum.values.items())
    yield "settings", "Settings of a VM.", _fields_text(model.records["settings"].fields)
    yield "errors", "Errors.", "".join(f"  {e['code']} {e['name']}  (exit status of hvadm: {e['exit']})\n" + _line(e["about"], "      ")
                                      for e in model.errors)


def _c_text(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return "\n      ".join(f'"{line}\\n"' for line in escaped.splitlines()) or '""'


def reference_c(model):
    """The same for a terminal, as hvadm shows it."""
    rows = "".join(f'    {{ "{name}", {_c_text(about) if about else "NULL"},\n      {_c_text(text)} }},\n'
                   for name, about, text in _pages(model))
    return ("/* Made by api/gen. */\n#include \"api/gen/tables.h\"\n\n"
            f"const struct api_page api_pages[] = {{\n{rows}}};\nconst size_t api_page_count = sizeof(api_pages) / sizeof(api_pages[0]);\n")
