# SPDX-License-Identifier: Apache-2.0
"""The schema as Python objects, checked: a mistake in it stops the build with a sentence."""

import hashlib
import json
import pathlib

KINDS = {"bool": "BOOL", "u32": "U32", "u64": "U64", "double": "DOUBLE", "string": "TEXT", "label": "TEXT",
         "path": "TEXT", "vm_ref": "TEXT", "group_ref": "TEXT", "json": "JSON"}
FORMS = {"label": "LABEL", "path": "PATH", "vm_ref": "VM_REF", "group_ref": "LABEL"}
C_TYPES = {"BOOL": "bool", "U32": "uint32_t", "U64": "uint64_t", "DOUBLE": "double", "TEXT": "char *",
           "JSON": "char *", "FIELDS": "uint64_t"}
FIELD_KEYS = {"name", "type", "about", "optional", "default", "required", "min", "max", "multiple", "min_chars",
              "max_chars", "max_bytes", "max_items", "when", "file", "unit"}
REF_BYTES = 256
PLAN_ID = {"name": "plan_id", "type": "label", "min_chars": 1, "max_bytes": 64, "optional": True,
           "about": "Of a plan: refuse with GenerationConflict when anything in it has moved since."}
PLAN = {"name": "plan", "type": "bool", "default": False, "about": "Check everything, change nothing, tell what would happen."}
EXPECTED = {"name": "expected_generation", "type": "u64", "optional": True,
            "about": "Refuse with GenerationConflict when the {}'s generation is another one."}
QUEUE = {"name": "queue", "type": "bool", "default": False,
         "about": "Wait for what is in the way instead of failing with JobConflict; only so many may wait."}
KEPT_DAYS = 7
CALL_ARGS = [
    {"name": "idempotency_key", "type": "label", "min_chars": 1, "max_bytes": 128, "optional": True,
     "about": f"For {KEPT_DAYS} days a repeated call of the same caller with the same key does nothing more: it gets the "
              "first call's answer. A call that failed leaves its key free."},
    {"name": "deadline_ms", "type": "u64", "min": 1, "max": 31536000000, "optional": True,
     "about": "Fail with Timeout when this call has not had its turn so long after it came; a start is taken back then."},
]
JOB_ARGS = [
    {"name": "idempotency_key", "type": "label", "min_chars": 1, "max_bytes": 128, "optional": True,
     "about": "A repeated call with the same key gives the first call's job."},
    {"name": "deadline_ms", "type": "u64", "min": 1, "max": 31536000000, "optional": True,
     "about": "Stop the job when it has not ended so long after this call."},
    {"name": "reason", "type": "label", "max_bytes": 512, "optional": True, "about": "Why, kept with the job."},
    {"name": "wait", "type": "bool", "default": False, "about": "Answer when the job has ended: with it, or its error."},
]


class SchemaError(Exception):
    pass


class Enum:
    def __init__(self, name, values):
        self.name, self.values = name, values


class Field:
    def __init__(self, spec, where):
        unknown = set(spec) - FIELD_KEYS
        if unknown:
            raise SchemaError(f"{where}: unknown keys {sorted(unknown)}")
        self.name, self.about = spec["name"], spec["about"]
        self.spec, self.where = spec, f"{where}.{self.name}"
        self.type = spec["type"]
        self.is_list = self.type.startswith("list:")
        base = self.type.removeprefix("list:")
        self.ref = base.split(":", 1)[1] if ":" in base else None
        if base == "settings":
            self.kind, self.ref = "RECORD", "settings"
        elif base.startswith("enum:"):
            self.kind = "ENUM"
        elif base.startswith("object:"):
            self.kind = "RECORD"
        elif base.startswith("fields:"):
            self.kind = "FIELDS"
        elif base in KINDS:
            self.kind = KINDS[base]
        else:
            raise SchemaError(f"{self.where}: no such type {self.type}")
        self.form = FORMS.get(base, "ANY")
        self.has_default = "default" in spec
        self.is_optional = bool(spec.get("optional"))
        self.c_name = self.name.replace(".", "_")
        if base in ("vm_ref", "group_ref"):
            self.spec = {"min_chars": 1, "max_bytes": REF_BYTES, **spec}

    def c_type(self):
        if self.kind == "RECORD":
            return f"struct api_{self.ref} "
        if self.kind == "ENUM":
            return f"enum api_{self.ref} "
        c_type = C_TYPES[self.kind]
        return c_type if c_type.endswith("*") else c_type + " "

    def limit(self, key):
        default = 0
        if key == "max":
            default = 0xffffffff if self.kind == "U32" else 0xffffffffffffffff
        return self.spec.get(key, default)


class Record:
    def __init__(self, name, about, fields, strict=False):
        if len(fields) > 63:
            raise SchemaError(f"{name}: more than 63 fields")
        if len({f.c_name for f in fields}) != len(fields):
            raise SchemaError(f"{name}: a field stands twice")
        self.name, self.about, self.fields, self.strict = name, about, fields, strict
        self.is_patch, self.reserved, self.prefixes = False, [], []

    def records(self):
        return [f.ref for f in self.fields if f.kind == "RECORD"]


class Method:
    def __init__(self, noun, verb, spec):
        self.noun, self.verb, self.about = noun, verb, spec["about"]
        self.name, self.c_name = f"{noun}.{verb}", f"{noun}_{verb}"
        self.right, self.result = spec["right"], spec["result"]
        self.changes, self.is_stream = bool(spec.get("changes")), bool(spec.get("stream"))
        self.is_job = bool(spec.get("job"))
        args = list(spec["args"]) + (JOB_ARGS if self.is_job else CALL_ARGS if self.changes else [])
        if self.changes:
            args += [PLAN, PLAN_ID]
            if self.is_job or any(a["type"] == "vm_ref" for a in args):
                args.append(QUEUE)
            for subject in ("VM", "group"):
                if any(a["type"] == f"{subject.lower()}_ref" for a in args):
                    args.append({**EXPECTED, "about": EXPECTED["about"].format(subject)})
        self.args = Record(f"{self.c_name}_args", self.about, [Field(a, self.name) for a in args], strict=True)


class Model:
    def __init__(self, api_dir, config_dir):
        self.enums, self.records, self.methods, self.nouns = {}, {}, [], []
        self.errors, self.dbus = [], {}
        digest = hashlib.sha256()
        config_path = pathlib.Path(config_dir) / "vm.json"
        paths = sorted(pathlib.Path(api_dir).glob("*.json"))
        for path in paths + [config_path]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        self.hash = digest.hexdigest()[:16]
        for path in paths:
            self._load(json.loads(path.read_text()), path.name)
        self._load_settings(json.loads(config_path.read_text()))
        self._check()

    def _load(self, document, where):
        for name, values in document.get("enums", {}).items():
            self.enums[name] = Enum(name, values)
        for name, spec in document.get("objects", {}).items():
            self._add(Record(name, spec["about"], [Field(f, f"{where}:{name}") for f in spec["fields"]]))
        self.errors += document.get("errors", [])
        if "noun" in document:
            self.nouns.append((document["noun"], document["about"]))
            self.dbus[document["noun"]] = document.get("dbus", {})
        for verb, spec in document.get("methods", {}).items():
            method = Method(document["noun"], verb, spec)
            self.methods.append(method)
            self._add(method.args)

    def _load_settings(self, document):
        fields = [Field(f, "settings") for f in document["settings"]]
        settings = Record("settings", "A VM's settings.", fields, strict=True)
        settings.is_patch = True
        settings.reserved, settings.prefixes = document["reserved"], document["reserved_prefixes"]
        taken = {f.name for f in fields} & set(settings.reserved)
        if taken:
            raise SchemaError(f"settings that are also reserved: {sorted(taken)}")
        self.config_version = document["version"]
        self._add(settings)

    def _add(self, record):
        if record.name in self.records:
            raise SchemaError(f"two objects are called {record.name}")
        self.records[record.name] = record

    def _check(self):
        for record in self.records.values():
            for field in record.fields:
                if field.kind == "ENUM" and field.ref not in self.enums:
                    raise SchemaError(f"{field.where}: no enum {field.ref}")
                if field.kind in ("RECORD", "FIELDS") and field.ref not in self.records:
                    raise SchemaError(f"{field.where}: no object {field.ref}")
        for method in self.methods:
            if method.result not in self.records:
                raise SchemaError(f"{method.name}: no object {method.result}")
            for name in method.args.records():
                self.records[name].strict = True

    def ordered_records(self):
        """Records such that each stands after those it holds."""
        done, order = set(), []

        def visit(name, path):
            if name in path:
                raise SchemaError(f"objects hold each other: {path + [name]}")
            if name in done:
                return
            for other in self.records[name].records():
                visit(other, path + [name])
            done.add(name)
            order.append(self.records[name])

        for name in self.records:
            visit(name, [])
        return order
