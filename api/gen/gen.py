#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""gen.py API_DIR CONFIG_DIR OUTPUT...: write each OUTPUT, known by its file name."""

import pathlib
import sys

import emit_c
import emit_dbus
import emit_reference
import model

EMITTERS = {"types.h": emit_c.types_h, "tables.h": emit_c.tables_h, "tables.c": emit_c.tables_c,
            "dbus.h": emit_dbus.dbus_h, "dbus.c": emit_dbus.dbus_c, "org.hvstack.vmms1.policy": emit_dbus.polkit_policy,
            "reference.md": emit_reference.reference_md, "reference.c": emit_reference.reference_c}


def main(argv):
    try:
        schema = model.Model(argv[1], argv[2])
    except (model.SchemaError, KeyError, ValueError) as error:
        sys.exit(f"schemas: {error!r}")
    for output in map(pathlib.Path, argv[3:]):
        output.write_text(EMITTERS[output.name](schema))


if __name__ == "__main__":
    main(sys.argv)
