# SPDX-License-Identifier: Apache-2.0
"""dbus.h, dbus.c and org.hvstack.vmms1.policy: the schema as D-Bus interfaces, by one mechanical rule.

A method whose arguments name a VM, job or group stands on that object's path, in the interface of its noun; any
other stands on the root object, in its noun's interface, or in Manager as verb and noun. What every call
must give, and settings, are arguments in the order of the schema; the rest goes by name into one dictionary
at the end.
A method that changes something answers a job's path ("/": done, no job) before its result. A noun's `text`
names methods without that dictionary whose result is one text.
"""

from emit_c import HEAD, quote, upper

PREFIX = "org.hvstack.Vmms1."
SIGNATURES = {"BOOL": "b", "U32": "u", "U64": "t", "DOUBLE": "d", "TEXT": "s", "JSON": "s", "ENUM": "s",
              "RECORD": "a{sv}", "FIELDS": "as"}
OBJECTS = {"vm": "VM", "job": "JOB", "group": "GROUP"}
# Interfaces whose properties are the fields of an object, and what is told only as invalid when it changes.
PROPERTIES = {("ROOT", "Host"): "host", ("VM", "Vm"): "vm", ("JOB", "Job"): "job",
              ("GROUP", "Group"): "group"}
LARGE = {"settings", "devices", "available_verbs", "pending_config", "members"}
SILENT = {"on_time_ms"}


def camel(name):
    return "".join(word[:1].upper() + word[1:] for word in name.replace(".", "_").split("_"))


def signature(field):
    one = SIGNATURES[field.kind]
    return "a" + one if field.is_list else one


class Member:
    def __init__(self, method, model):
        self.method, self.name = method, camel(method.verb)
        fields = method.args.fields
        keys = [f for f in fields if f.name in OBJECTS and not f.is_optional]
        self.object = OBJECTS[keys[0].name] if keys else "ROOT"
        self.key = keys[0].name if keys else ""
        noun = camel(method.noun)
        spec = model.dbus.get(method.noun, {})
        self.interface = spec.get("interface", noun)
        if not keys and self.interface == noun and method.noun in OBJECTS:
            self.interface, self.name = "Manager", self.name + noun
        self.name = spec.get("members", {}).get(method.verb, self.name)
        self.is_text = method.verb in spec.get("text", [])
        rest = [f for f in fields if f.name != self.key]
        self.given = [f for f in rest if f.ref == "settings" or not (f.is_optional or f.has_default)]
        self.options = [f for f in rest if f not in self.given]

    def xml(self):
        rows = [f'      <arg name="{f.name}" type="{signature(f)}" direction="in"/>' for f in self.given]
        if not self.is_text:
            rows.append('      <arg name="options" type="a{sv}" direction="in"/>')
        if self.method.changes:
            rows.append('      <arg name="job" type="o" direction="out"/>')
        result = "s" if self.is_text else "a{sv}"
        rows.append(f'      <arg name="result" type="{result}" direction="out"/>')
        return f'    <method name="{self.name}">\n' + "\n".join(rows) + "\n    </method>\n"


def interfaces(model):
    """(object, interface) -> members, in the order of the schema; streams are no calls."""
    found = {}
    for method in model.methods:
        if not method.is_stream:
            member = Member(method, model)
            found.setdefault((member.object, member.interface), []).append(member)
    for key, record in PROPERTIES.items():
        if record in model.records:
            found.setdefault(key, [])
    return found


def _is_silent(field, where):
    """Nothing tells of changes of the host; times run on by themselves."""
    return where == "ROOT" or field.name in SILENT


def _property_xml(field, where):
    signal = "false" if _is_silent(field, where) else "invalidates" if field.name in LARGE else "true"
    return (f'    <property name="{camel(field.name)}" type="{signature(field)}" access="read">\n'
            f'      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="{signal}"/>\n'
            f'    </property>\n')


SIGNALS = {
    "EventLog": '    <signal name="Event">\n'
                + "".join(f'      <arg name="{n}" type="{t}"/>\n' for n, t in
                          (("seq", "t"), ("type", "s"), ("object", "o"), ("event", "a{sv}")))
                + "    </signal>\n",
}


# Methods that are no single one of the schema.
MORE = {
    "Manager": '    <method name="CallJson">\n'
               + "".join(f'      <arg name="{n}" type="s" direction="{d}"/>\n' for n, d in
                         (("method", "in"), ("params", "in"), ("answer", "out")))
               + "    </method>\n",
    # The port's bytes, both ways, until the VM is off.
    "Console": '    <method name="Open">\n'
               + "".join(f'      <arg name="{n}" type="{t}" direction="{d}"/>\n' for n, t, d in
                         (("options", "a{sv}", "in"), ("stream", "h", "out"), ("result", "a{sv}", "out")))
               + "    </method>\n",
}


def interface_xml(where, name, members, record):
    out = f'  <interface name="{PREFIX}{name}">\n'
    out += "".join(m.xml() for m in members) + MORE.get(name, "") + SIGNALS.get(name, "")
    out += "".join(_property_xml(f, where) for f in record.fields) if record else ""
    return out + "  </interface>\n"


def dbus_h(model):
    return (HEAD + '''#pragma once

#include "api/gen/tables.h"

#define API_DBUS_PREFIX "''' + PREFIX + '''"

/* What an object path stands for. */
enum api_dbus_object { API_DBUS_ROOT, API_DBUS_VM, API_DBUS_JOB, API_DBUS_GROUP };

struct api_dbus_method {
    /* read only */
    const char *member;
    enum api_method method;
    const char *signature;    /* of the call */
    const char *key;          /* the argument that the object's path stands for, or "" */
    const char *const *given; /* names of the arguments before the dictionary, ends in NULL */
    bool is_text; /* no dictionary; the result is its only field, JSON, as text */
};

struct api_dbus_property {
    /* read only */
    const char *name;
    const char *signature;
    bool is_large;  /* told only as invalid when it changes */
    bool is_silent; /* changes all the time: never told */
};

struct api_dbus_interface {
    /* read only */
    enum api_dbus_object object;
    const char *name; /* whole */
    const char *xml;
    const struct api_dbus_method *methods;
    size_t n_methods;
    const struct api_record *record;            /* whose fields its properties are, or NULL */
    const struct api_dbus_property *properties; /* as many, in the same order */
};

extern const struct api_dbus_interface api_dbus_interfaces[];
extern const size_t api_dbus_interface_count;
''')


def _c_text(text):
    return "\n    ".join(quote(line + "\n") for line in text.splitlines())


def _method_row(member):
    given = ", ".join([quote(f.name) for f in member.given] + ["NULL"])
    is_text = "true" if member.is_text else "false"
    call = "".join(map(signature, member.given)) + ("" if member.is_text else "a{sv}")
    return (f"    {{ {quote(member.name)}, API_METHOD_{upper(member.method.c_name)}, {quote(call)}, "
            f"{quote(member.key)},\n      (const char *const[]){{ {given} }}, {is_text} }},\n")


def dbus_c(model):
    out, rows = [HEAD, '#include "api/gen/dbus.h"\n'], ""
    for (where, name), members in interfaces(model).items():
        record = model.records.get(PROPERTIES.get((where, name)))
        c_name = f"{where.lower()}_{name.lower()}"
        methods, properties = "NULL", "NULL"
        if members:
            methods = f"methods_{c_name}"
            out.append(f"static const struct api_dbus_method {methods}[] = {{\n" + "".join(map(_method_row, members)) + "};\n")
        if record:
            properties = f"properties_{c_name}"
            flag = {True: "true", False: "false"}
            out.append(f"static const struct api_dbus_property {properties}[] = {{\n" + "".join(
                f"    {{ {quote(camel(f.name))}, {quote(signature(f))}, {flag[f.name in LARGE]}, {flag[_is_silent(f, where)]} }},\n"
                for f in record.fields) + "};\n")
        pointer = f"&api_record_{record.name}" if record else "NULL"
        rows += (f"    {{ API_DBUS_{where}, {quote(PREFIX + name)},\n    {_c_text(interface_xml(where, name, members, record))},\n"
                 f"      {methods}, {len(members)}, {pointer}, {properties} }},\n")
    out.append(f"const struct api_dbus_interface api_dbus_interfaces[] = {{\n{rows}}};\n")
    out.append(f"const size_t api_dbus_interface_count = {len(interfaces(model))};\n")
    return "\n".join(out)


def polkit_policy(model):
    """One action per right: reading is for whoever sits at the machine, the rest for administrators."""
    out = ['<?xml version="1.0" encoding="UTF-8"?>',
           '<!DOCTYPE policyconfig PUBLIC "-//freedesktop//DTD PolicyKit Policy Configuration 1.0//EN"',
           '  "http://www.freedesktop.org/standards/PolicyKit/1/policyconfig.dtd">',
           "<!-- Made by api/gen from schemas/: do not edit. -->", "<policyconfig>",
           "  <vendor>hvstack</vendor>"]
    for right in sorted({m.right for m in model.methods}):
        names = ", ".join(m.name for m in model.methods if m.right == right)
        active = "yes" if right.endswith(".read") else "auth_admin_keep"
        action = right.replace("_", "-")
        out += [f'  <action id="org.hvstack.vmms1.{action}">',
                f"    <description>Virtual machines: {names}</description>",
                f"    <message>Authentication is required for {names}</message>",
                "    <defaults>", "      <allow_any>no</allow_any>", "      <allow_inactive>no</allow_inactive>",
                f"      <allow_active>{active}</allow_active>", "    </defaults>", "  </action>"]
    return "\n".join(out + ["</policyconfig>"]) + "\n"
