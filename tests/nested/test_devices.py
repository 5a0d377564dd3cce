# SPDX-License-Identifier: Apache-2.0
"""Hyper-V's devices on a KVM that is real: drivers, disk, heartbeat, shutdown, exits per request."""
import pathlib
import re
import subprocess

import pytest
from nested import run_nested, stack_files
from stack import BUILD, GUEST, HYPERV_DRIVERS, TOP

HERE = pathlib.Path(__file__).resolve().parent
DEPTH, REQUESTS = 32, 4000
# A machine that emulates the host slower than that mostly counts what time brings, and not what reads do.
SLOW_MS = 5000
# Of the drivers, or about what they drive; what the emulated machine's slowness brings isn't.
WARNING = re.compile(r"^devices: warning .*(hv_|hyperv|Hyper-V|vmbus|storvsc|scsi|\bsd|clocksource|WARNING|I/O error).*", re.M)
POWEROFF = "#!/bin/busybox sh\n/bin/busybox sync\nexec /bin/busybox poweroff -f\n"


def initrd(folder, flavour):
    """The guest with the kernel's Hyper-V drivers, and our programs laid over it."""
    subprocess.run([TOP / "packaging/guest/prepare", GUEST, flavour], check=True)
    subprocess.run([TOP / "tests/guest/hyperv-initrd", GUEST, flavour], check=True)
    root = folder / "root"
    programs = {"test/devices": (HERE / "guest-devices").read_bytes(),
                "test/deep": (BUILD / "tests/guest/deep").read_bytes(), "sbin/poweroff": POWEROFF.encode()}
    for name, content in programs.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        (root / name).chmod(0o755)
    over = subprocess.run([GUEST / "busybox", "cpio", "-o", "-H", "newc"], cwd=root, check=True,
                          input="\n".join(["test", "sbin", *programs]).encode(), capture_output=True).stdout
    made = folder / "initrd"
    # Each archive begins at a multiple of four bytes.
    base = (GUEST / f"initrd-hyperv-{flavour}.img").read_bytes()
    made.write_bytes(base + bytes(-len(base) % 4) + over)
    return made


@pytest.mark.parametrize("flavour, cpus", [("cloud", 1), ("cloud", 2), ("generic", 2)])
def test_a_guest_uses_its_devices_on_kvm(tmp_path, flavour, cpus):
    files = stack_files() + [(GUEST / f"vmlinuz-{flavour}", f"/guest/vmlinuz-{flavour}"),
                             (initrd(tmp_path, flavour), f"/guest/initrd-{flavour}")]
    status, said = run_nested(HERE / "boot-devices", DEPTH, REQUESTS, SLOW_MS, flavour, cpus, memory=2048, files=files)
    assert status == 0 and "\ndevices done\n" in said, said[-6000:]
    assert not re.search(r"BUG:|Oops|Call Trace|devices: cannot", said), said[-6000:]
    assert sorted(re.findall(r"^devices: bound ([0-9a-f-]{36} \S+)$", said, re.M)) == HYPERV_DRIVERS, said
    again = re.findall(r"^devices: bound again (.*)$", said, re.M)
    assert sorted(again) == sorted(2 * HYPERV_DRIVERS), said
    assert "devices: clock hyperv_clocksource_tsc_page" in said, said
    assert "Hypervisor detected: Microsoft Hyper-V" in said and "Vmbus version:5.3" in said, said
    assert not WARNING.search(said), said
    sums = dict(re.findall(r"^devices: (wrote|read|disk|image) ([0-9a-f]{32})", said, re.M))
    assert sums["wrote"] == sums["read"] and sums["disk"] == sums["image"], said
    assert "heartbeat seen" in said and "the image is whole" in said and "shut down" in said, said
    assert re.search(r"^state +off", said, re.M | re.I) and re.search(r"^backend +kvm", said, re.M), said
    print("\n".join(re.findall(r"^of 1000 reads.*$", said, re.M)))
    if "few exits" not in said:
        took_ms = min(int(ms) for ms in re.findall(r"in flight, (\d+) ms in all", said))
        assert took_ms > SLOW_MS, said
        pytest.skip(f"all holds but the count of exits: the emulated host needs {took_ms} ms for {REQUESTS} reads")
