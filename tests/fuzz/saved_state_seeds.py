#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Seeds for fuzz_saved_state: a bus with an open channel, one with sub-channels, RAM, a console."""
import pathlib
import struct

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds/saved_state"
PARTITION, VP, PIC, CONSOLE, VMBUS, INBOX, SERVICES, RAM, HEAD, NEW = range(10)
HIDDEN, OFFERED, OPEN, BROKEN, RESCINDED = range(5)


def chunk(which, payload, version=1, flags=1, instance=0):
    return bytes([which, version, flags, instance]) + struct.pack("<H", len(payload)) + payload


def gpadl(number, first, pages):
    return struct.pack("<IIIBIQI", number, pages, pages, 0, 1, first, pages << 12)


def channel(relid, state, device=1, index=0, primary=0, ring=0, gpadls=()):
    out = struct.pack("<I", relid) + bytes([1]).ljust(16, b"\0") + bytes([device]).ljust(16, b"\0")
    out += struct.pack("<IIBIII", index, primary, state, 0, ring, 2 if state == OPEN else 0)
    out += struct.pack("<I", len(gpadls)) + b"".join(gpadls)
    if state == OPEN:
        out += struct.pack("<IIIB", 0, 0, 8, 1) + struct.pack("<III", 16, 16, 0)
    return out


def bus(channels, queued=()):
    out = struct.pack("<IBBI", 5 << 16 | 3, 1, 1, 1) + struct.pack("<I", len(queued))
    out += b"".join(struct.pack("<I", len(m)) + m for m in queued)
    return out + struct.pack("<I", len(channels)) + b"".join(channels)


def ram(gpa, pages, content=b"\1\2\3"):
    return struct.pack("<Q", gpa) + (1 << pages).__sub__(1).to_bytes(32, "little") + content


def main():
    one = channel(3, OPEN, ring=5, gpadls=[gpadl(5, 0x1000, 4)])
    sub = channel(9, OPEN, index=1, primary=3, ring=6, gpadls=[gpadl(6, 0x8000, 4), gpadl(7, 0x20000, 2)])
    seeds = {
        "open": bytes([0]) + chunk(VMBUS, bus([one])) + chunk(RAM, ram(0x1000, 8, b"\x08")),
        "sub": bytes([0]) + chunk(VMBUS, bus([one, channel(4, OFFERED, 2), channel(8, RESCINDED, 3), sub], [b"\1" * 24])),
        "hidden": bytes([0]) + chunk(VMBUS, bus([channel(1, HIDDEN, 3), channel(2, BROKEN, 2)])),
        "ram": bytes([0]) + chunk(RAM, ram(0, 16)) + chunk(RAM, ram(1 << 32, 4)),
        "raw": bytes([4]) + chunk(RAM, ram(0, 16)),
        "console": bytes([0]) + chunk(CONSOLE, struct.pack("<QI", 4, 4) + b"text" + struct.pack("<I", 2) + b"in"),
        "vp": bytes([0]) + chunk(VP, bytes(7000)) + chunk(PARTITION, bytes(72)) + chunk(NEW, b"x", flags=0),
        "end": bytes([2]) + chunk(PIC, bytes(35)) + chunk(INBOX, bytes(4)) + chunk(SERVICES, bytes(4)),
        "file": bytes([1]) + b"HVSAVE01" + struct.pack("<II", 1, 0) + bytes(24),
    }
    SEEDS.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (SEEDS / name).write_bytes(data)


if __name__ == "__main__":
    main()
