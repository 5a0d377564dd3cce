#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds for the image targets: images made by image-tool, as the pieces that aren't zeroes.

blk_seeds.py IMAGE_TOOL
"""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

MIB = 1 << 20
SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"
# name, size, kind, block, logical sector, changes
IMAGES = {
    "vhdx": [("empty", 5 * MIB, "dynamic", MIB, 512, 0), ("used", 5 * MIB, "dynamic", MIB, 512, 6),
             ("fixed", 3 * MIB, "fixed", MIB, 512, 3), ("4k", 4 * MIB, "dynamic", MIB, 4096, 4)],
    "vhd": [("empty", 5 * MIB, "dynamic", 524288, 0, 0), ("used", 5 * MIB, "dynamic", 524288, 0, 6),
            ("fixed", MIB, "fixed", 0, 0, 0)],
}


def pieces(data):
    """Runs of 512-byte sectors that aren't zeroes, without the zeroes at their ends. Of payload,
    only the start."""
    out = struct.pack("<BI", 1, len(data))
    for at in range(0, len(data), 512):
        sector = data[at:at + 512].rstrip(b"\0")
        if sector and len(out) < 24000:
            out += struct.pack("<IH", at // 4, len(sector)) + sector
    return out


def write(kind, name, data):
    folder = SEEDS / f"blk_{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(pieces(data))


def child_of(tool, folder, kind, parent):
    child = folder / f"child.{kind}"
    subprocess.run([tool, "create", child, kind, "differencing", "0", "0", "0", parent], check=True)
    write(kind, "child", child.read_bytes())


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, images in IMAGES.items():
            for title, size, disk, block, sector, changes in images:
                path = folder / f"{title}.{kind}"
                subprocess.run([tool, "create", path, kind, disk, str(size), str(block),
                                str(sector)], check=True)
                if changes:
                    subprocess.run([tool, "random", "3", str(changes), path, folder / "model"],
                                   check=True)
                    os.unlink(folder / "model")
                write(kind, title, path.read_bytes())
            child_of(tool, folder, kind, folder / f"empty.{kind}")


main()
