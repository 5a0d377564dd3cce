#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""embed.py OUTPUT SQL...: the numbered migrations as C text, in order."""

import json
import pathlib
import sys


def main(argv):
    rows = []
    for number, path in enumerate(sorted(map(pathlib.Path, argv[2:])), start=1):
        if int(path.stem) != number:
            sys.exit(f"{path}: migration {number} is missing")
        rows.append("".join(f"    {json.dumps(line)}\n" for line in path.read_text().splitlines(keepends=True)) + "    ,\n")
    text = "/* Made from migrations/: do not edit. */\n#pragma once\n\n"
    text += "static const char *const migrations[] = {\n" + "".join(rows) + "};\n"
    pathlib.Path(argv[1]).write_text(text)


if __name__ == "__main__":
    main(sys.argv)
