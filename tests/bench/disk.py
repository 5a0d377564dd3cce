# SPDX-License-Identifier: Apache-2.0
"""Disks: fio in a Debian guest on hvstack's soft backend and in QEMU's TCG, side by side."""
import contextlib
import pathlib
import shutil
import statistics
import subprocess
import tempfile

from clock import told_tsc
from stack import CACHE, TOP, Shell, Stack, cpu_seconds

DISK = CACHE / "disk"
SECONDS = 3
PATIENCE_S = 1800  # for a guest to boot, or for fio to say something, on a host that is busy with other things
PROMPT = r"^guest: shell"
SIZE = "1G"
# What fio calls it, what it is called here, block bytes
LOADS = [("randread", "4 KiB random read", 4096), ("randwrite", "4 KiB random write", 4096),
         ("read", "1 MiB read", 1 << 20), ("write", "1 MiB write", 1 << 20)]
DEPTHS = (1, 32)
TERSE_IOPS = {"read": 7, "write": 48}  # fields of fio's terse output, version 3


class Fio:
    """A guest with fio, its data disks, and the process that runs it."""

    def __init__(self, shell, pid, disks):
        self.shell, self.pid, self.disks = shell, pid, disks
        self.n = 0

    def run(self, image, load, block, depth, limits):
        """Requests per second, and the process's CPU time for each of them.

        fio itself says when its job begins and ends: its start, which is long in a guest on a
        software CPU, is not measured."""
        self.n += 1
        marks = [f"@{when}{self.n}@" for when in ("from", "to")]
        says = " ".join(f"--exec_{when}run='echo {mark} >/dev/ttyS0; true'" for when, mark in zip(("pre", "post"), marks))
        command = (f"cd /tmp && fio --minimal --terse-version=3 --name=j --filename=/dev/{self.disks[image]} "
                   f"--ioengine=libaio --direct=1 --randrepeat=0 --invalidate=0 --rw={load} --bs={block} "
                   f"--iodepth={depth} {limits} {says}")
        self.shell.begin(command)
        times = []
        for mark in marks:
            self.shell.wait_for(f"^{mark}$", PATIENCE_S)
            times.append(cpu_seconds(self.pid))
        line = next(li for li in self.shell.end(command, PATIENCE_S).splitlines() if li.startswith("3;fio"))
        fields = line.split(";")
        iops = float(fields[TERSE_IOPS[load.removeprefix("rand")]])
        requests = sum(int(fields[at]) for at in (5, 46)) * 1024 / block
        return iops, (times[1] - times[0]) / requests


class PeerShell(Shell):
    """The same shell on the serial console of a QEMU, which is its standard input and output."""

    def __init__(self, words, path):  # pylint: disable=super-init-not-called
        self.attach(words, None, path, PROMPT, PATIENCE_S)


def make_images(work):
    subprocess.run([TOP / "tests/guest/debian-disk", DISK], check=True)
    for side in ("ours", "theirs"):
        subprocess.run(["cp", "--sparse=always", DISK / "debian.raw", work / f"{side}.raw"], check=True)
        subprocess.run(["truncate", "-s", SIZE, work / f"{side}-data.raw"], check=True)
    for name in ("ours-data.vhdx", "theirs-data.qcow2"):
        subprocess.run(["qemu-img", "create", "-q", "-f", name.split(".")[1], work / name, SIZE], check=True)


@contextlib.contextmanager
def ours(work):
    with Stack() as stack:
        stack.hvadm("vm", "create", "disk", "--cpus", 1, "--memory", "1G", "--backend", "soft",
                    "--kernel", DISK / "vmlinuz", "--initrd", DISK / "initrd.img",
                    "--cmdline", f"console=ttyS0 panic=-1 root=/dev/sda1 quiet{told_tsc()}", "--disk", work / "ours.raw")
        stack.hvadm("vm", "start", "disk")
        shell = Shell(stack, "disk", PROMPT, PATIENCE_S)
        # Added one after the other: the guest names them in that order.
        for path, name in (("ours-data.raw", "sdb"), ("ours-data.vhdx", "sdc")):
            stack.hvadm("vm", "add", "disk", "disk", work / path)
            shell.run(f"while [ ! -b /dev/{name} ]; do sleep 0.1; done", PATIENCE_S)
        yield Fio(shell, stack.worker_pid("disk"), {"raw": "sdb", "grown": "sdc"})
        shell.close()


@contextlib.contextmanager
def theirs(work):
    words = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-m", "1G", "-nodefaults", "-no-user-config",
             "-display", "none", "-no-reboot", "-chardev", "stdio,id=con", "-serial", "chardev:con",
             "-kernel", DISK / "vmlinuz", "-initrd", DISK / "initrd.img",
             "-append", f"console=ttyS0 panic=-1 root=/dev/vda1 quiet{told_tsc()}"]
    for name in ("theirs.raw", "theirs-data.raw", "theirs-data.qcow2"):
        words += ["-drive", f"file={work / name},format={name.split('.')[1]},if=virtio"]
    shell = PeerShell(words, work / "console")
    try:
        yield Fio(shell, shell.process.pid, {"raw": "vdb", "grown": "vdc"})
    finally:
        shell.close()


def measure(guests, runs, images, loads, depths):
    """Rows of both, one after the other and each first in turn, so that they meet the same weather."""
    rows = {}
    for turn in range(runs):
        for image in images:
            for load, title, block in loads:
                for depth in depths:
                    pair = [None, None]
                    for side in (0, 1) if turn % 2 == 0 else (1, 0):
                        pair[side] = guests[side].run(image, load, block, depth,
                                                      f"--time_based --runtime={SECONDS} --size={SIZE}")
                    rows.setdefault((image, title, block, depth), []).append(pair)
    return rows


def ratio(pairs, column):
    """The median of the rounds' ratios, and from where to where they went."""
    ratios = [a[column] / b[column] for a, b in pairs]
    return f"{statistics.median(ratios):6.2f} {min(ratios):5.2f}-{max(ratios):<5.2f}"


def show(title, rows):
    print(f"\n{title}")
    print(f"{'':19} {'depth':>5} {'':>5} {'hvstack':>9} {'QEMU':>9} {'ratio':>6} {'from-to':^11} {'CPU us/IO':>10} {'QEMU':>8} "
          f"{'ratio':>6} {'from-to':^11}")
    for (_, name, block, depth), pairs in rows.items():
        (a, ca), (b, cb) = ([statistics.median(p[side][i] for p in pairs) for i in (0, 1)] for side in (0, 1))
        is_big = block > 4096
        scale, unit = (block / 1e6, "MB/s") if is_big else (1, "IOPS")
        print(f"{name:19} {depth:5} {unit:>5} {a * scale:9.0f} {b * scale:9.0f} {ratio(pairs, 0)} "
              f"{ca * 1e6:10.1f} {cb * 1e6:8.1f} {ratio(pairs, 1)}", flush=True)


def disk(runs):
    """Data disks of 1 GiB, written to once before, so that nothing grows while it is measured and
    what is read lies in the host's cache; both sides leave that cache on."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="hvs."))
    try:
        make_images(work)
        with ours(work) as mine, theirs(work) as peer:
            for guest in (mine, peer):
                for image in guest.disks:
                    guest.run(image, "write", 1 << 20, 4, "")
            for image, title in (("raw", "raw images on both sides"),
                                 ("grown", "a dynamic VHDX beside a qcow2, both all allocated")):
                show(f"fio in a guest (libaio, direct), storvsc beside virtio-blk: {title}, medians of {runs}",
                     measure((mine, peer), runs, [image], LOADS, DEPTHS))
    finally:
        shutil.rmtree(work, ignore_errors=True)
