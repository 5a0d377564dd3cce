# SPDX-License-Identifier: Apache-2.0
"""A Debian on the last of a chain of eleven VHDX images, through one life: its disk, its services, its ends.

The tests stand in the order of that life, since a boot costs half a minute on the soft backend; each finds
the guest up, whatever the one before left. HVSTACK_TEST_PAUSE is for how many seconds the guest is paused
(default 20)."""
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from stack import CACHE, COMPLAINTS, Shell, Stack

DISK = CACHE / "disk"
CMDLINE = "console=ttyS0 root=/dev/sda1 panic=-1"
DEPTH = 10
PAUSE = int(os.environ.get("HVSTACK_TEST_PAUSE", "20"))
DAEMONS = "hv-kvp-daemon hv-vss-daemon hv-fcopy-daemon"
DRIVER_WARNING = re.compile(r"\] (hv_|hyperv|scsi |sd |blk_update|EXT4-fs)", re.I)
# Says of each line that it is on the disk when it is: what was said must never be lost.
WRITER = b"""import os
out = os.open("/root/count", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
number = 0
while True:
    number += 1
    os.write(out, b"%d\\n" % number)
    os.fsync(out)
    if number % 20 == 0:  # and blocks of the image that were not there
        with open("/root/grown%d" % (number % 400), "wb") as grown:
            grown.write(os.urandom(3 << 20))
            os.fsync(grown.fileno())
    print("kept", number, flush=True)
"""


def until(true, what, timeout=30):
    """Wait until it is true, and return that."""
    deadline = time.monotonic() + timeout
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.2)
    return found


@dataclasses.dataclass
class Guest:
    """A VM, the root shell on its console, and the image it writes to."""

    stack: Stack
    top: pathlib.Path
    name: str = "disk"
    shell: Shell = None

    def up(self):
        if self.stack.state(self.name) != "running":
            self.stack.hvadm("vm", "start", self.name)
            self.sit_down()
        return self

    def sit_down(self):
        self.leave()
        self.shell = Shell(self.stack, self.name)
        assert self.run("systemctl is-system-running --wait", 120) == "running"

    def come_again(self):
        """It starts once more under the same console."""
        self.shell.started()
        assert self.run("systemctl is-system-running --wait", 120) == "running"

    def leave(self):
        if self.shell:
            self.shell.close()
        self.shell = None

    def run(self, command, timeout=60):
        return self.shell.run(command, timeout)

    def hvadm(self, *words, **kwargs):
        return self.stack.hvadm(*words, **kwargs).stdout

    def show(self):
        return json.loads(self.hvadm("--json", "guest", "show", self.name))

    def answers(self):
        """Its heart beats and its daemon has told what it is."""
        self.hvadm("vm", "wait", self.name, "--for", "heartbeat", "--timeout", 60, timeout=90)
        return until(lambda: (now := self.show()).get("host_name") and now, "what the guest is")

    def sees(self, text):
        return until(lambda: text in self.run("cat /dev/vcs1"), f"{text!r} on tty1")


@pytest.fixture(name="life", scope="module")
def _life():
    with Stack() as stack:
        images = [stack.dir / "base.vhdx"] + [stack.dir / f"{n}.vhdx" for n in range(1, DEPTH + 1)]
        stack.hvadm("vhd", "convert", DISK / "debian.raw", images[0], timeout=120)
        for parent, child in zip(images, images[1:]):
            stack.hvadm("vhd", "create", child, "--parent", parent)
        stack.hvadm("vm", "create", "disk", "--cpus", 2, "--memory", "1G", "--backend", "soft",
                    "--kernel", DISK / "vmlinuz", "--initrd", DISK / "initrd.img", "--cmdline", CMDLINE,
                    "--disk", images[-1], "--set", "integration.guest_services=true")
        guest = Guest(stack, images[-1])
        yield guest
        guest.leave()


@pytest.fixture(name="guest")
def _guest(life):
    return life.up()


def test_systemd_comes_up_on_hyper_v_from_the_disk(guest):
    assert guest.run("systemctl --failed --no-legend") == ""
    assert guest.run("systemd-detect-virt") == "microsoft"
    assert guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == \
        "hyperv_clocksource_tsc_page"
    assert guest.run(f"systemctl is-active {DAEMONS}").split() == ["active"] * 3
    assert "root=/dev/sda1" in guest.run("cat /proc/cmdline")
    assert guest.run("findmnt -no SOURCE,FSTYPE /").split() == ["/dev/sda1", "ext4"]
    log = guest.run("dmesg")
    assert "Vmbus version:5.3" in log and not COMPLAINTS.search(log)
    warnings = guest.run("dmesg -l warn,err,crit,alert,emerg").splitlines()
    assert not [line for line in warnings if DRIVER_WARNING.search(line)]


def test_its_programs_write_all_over_the_disk_and_read_it_back(guest):
    job = "--filename=/root/random --size=48M --bs=4k --rw=randwrite --iodepth=8 --ioengine=libaio --direct=1"
    done = guest.run(f"fio --name=all {job} --verify=crc32c --minimal >/dev/null && echo verified", 240)
    assert done.endswith("verified")


def test_it_tells_what_it_is(guest):
    told = guest.answers()
    assert told["heartbeat"] == "ok" and told["os"] == "Debian GNU/Linux" and told["host_name"] == "guest"
    assert told["kernel"] == guest.run("uname -r")
    assert {s["service"]: s["status"] for s in told["services"]} == dict.fromkeys(
        ["heartbeat", "shutdown", "time_sync", "kvp", "vss", "guest_services"], "ok")


def pool(guest):
    """The pairs in its pool of those that the host gave: records of 512 and 2048 bytes with NULs after."""
    words = guest.run("""python3 -c 'd = open("/var/lib/hyperv/.kvp_pool_0", "rb").read()\n"""
                      """for i in range(0, len(d), 2560): print(d[i:i + 512].split(b"\\0")[0].decode(), """
                      """d[i + 512:i + 2560].split(b"\\0")[0].decode(), sep="=")'""")
    return sorted(line for line in words.replace("> ", "").splitlines() if "=" in line)


def test_it_is_given_pairs_and_files(guest, tmp_path):
    guest.answers()
    guest.hvadm("guest", "kvp", "disk", "add", "colour=blue", "size=9")
    assert until(lambda: len(now := pool(guest)) == 2 and now, "two pairs") == ["colour=blue", "size=9"]
    guest.hvadm("guest", "kvp", "disk", "set", "colour=dark green")
    guest.hvadm("guest", "kvp", "disk", "rm", "size")
    assert until(lambda: len(now := pool(guest)) == 1 and now, "one pair") == ["colour=dark green"]
    listed = guest.hvadm("guest", "kvp", "disk")
    assert re.search(r"^host +colour +dark green$", listed, re.M)

    given = tmp_path / "given.bin"
    given.write_bytes(os.urandom(3_000_001))
    guest.hvadm("guest", "cp", "disk", given, "/root/new place/got.bin", "--create-path")
    assert guest.run("sha256sum <'/root/new place/got.bin'").split()[0] == \
        hashlib.sha256(given.read_bytes()).hexdigest()
    again = guest.stack.hvadm("guest", "cp", "disk", given, "/root/new place/got.bin", check=False)
    assert again.returncode != 0 and again.stderr.strip()


def log_in(guest):
    """At tty1 and nowhere else, and leave a line in a file."""
    guest.sees("guest login:")
    guest.hvadm("vm", "type", "disk", "root", "--enter")
    guest.sees("Password:")
    guest.hvadm("vm", "type", "disk", "guest", "--enter")
    guest.sees("guest: shell")
    guest.hvadm("vm", "type", "disk", "echo 'Hello, {World}_42 ~!' >/root/typed", "--enter")
    assert until(lambda: guest.run("cat /root/typed 2>/dev/null || :"), "a line in the file").endswith("Hello, {World}_42 ~!")


def test_somebody_logs_in_by_typing(guest):
    guest.run("rm -f /root/typed")
    log_in(guest)


def test_a_paused_guest_is_told_of_and_finds_the_right_time(guest):
    guest.answers()
    slept = float(guest.run("cut -d' ' -f1 /proc/uptime"))
    guest.hvadm("vm", "pause", "disk")
    assert guest.stack.state("disk") == "paused"
    assert guest.show()["heartbeat"] == "paused"
    time.sleep(PAUSE)
    assert guest.show()["heartbeat"] == "paused"
    guest.hvadm("vm", "resume", "disk")
    guest.answers()
    before = time.time()
    theirs, up = map(float, guest.run("echo $(date +%s.%N) $(cut -d' ' -f1 /proc/uptime)").split())
    assert before - 2 < theirs < time.time() + 2
    assert up - slept < PAUSE  # it has not lived through the pause
    assert not COMPLAINTS.search(guest.run("dmesg"))


def test_a_heartbeat_that_ends_is_told_of_and_drivers_come_again(guest):
    guest.answers()
    guest.run(f"systemctl stop {DAEMONS} && rmmod hv_utils hyperv_keyboard")
    until(lambda: guest.show()["heartbeat"] in ("no_contact", "lost_communication"), "the loss")
    late = guest.stack.hvadm("vm", "wait", "disk", "--for", "heartbeat", "--timeout", 1, check=False)
    assert late.returncode == 5
    assert guest.stack.hvadm("vm", "shutdown", "disk", check=False).returncode != 0
    guest.run(f"modprobe hyperv_keyboard && modprobe hv_utils && systemctl start {DAEMONS}")
    assert guest.answers()["heartbeat"] == "ok"
    guest.run(r"rm -f /root/typed; printf '\033c' >/dev/tty1; systemctl restart getty@tty1")
    log_in(guest)


def heartbeats(guest):
    events = map(json.loads, guest.hvadm("--json", "events", "--limit", 1000).splitlines())
    return [(e["data"]["from"], e["data"]["to"]) for e in events
            if e["type"] == "guest.heartbeat_changed" and e.get("vm_name") == guest.name]


def test_a_guest_that_falls_silent_is_told_to_be_lost_and_found_again(guest):
    """It halts its processors: every channel stays open, the VM runs, and nothing is answered."""
    guest.answers()
    guest.shell.type("""sync; python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0xcdef0123)'""")
    guest.shell.wait_for("reboot: System halted", 30)
    silent = time.monotonic()
    until(lambda: guest.show()["heartbeat"] == "lost", "the loss", 60)
    assert time.monotonic() - silent > 15  # ten beats of two seconds are missed first
    shown = guest.show()
    assert shown["heartbeat_age_ms"] > 15000
    assert {s["service"]: s["status"] for s in shown["services"]}["heartbeat"] == "lost"
    assert re.search("^state +lost$", guest.hvadm("guest", "show", guest.name), re.M)
    assert guest.stack.state(guest.name) == "running"
    assert guest.stack.json("vm", "show", guest.name)["heartbeat"] == "lost"
    assert heartbeats(guest)[-1] == ("ok", "lost")
    late = guest.stack.hvadm("vm", "wait", guest.name, "--for", "heartbeat", "--timeout", 1, check=False)
    assert late.returncode == 5
    guest.hvadm("vm", "reset", guest.name)
    guest.come_again()
    assert guest.answers()["heartbeat"] == "ok"
    assert heartbeats(guest)[-1] == ("no_contact", "ok")


def boot_id(guest):
    return guest.run("cat /proc/sys/kernel/random/boot_id")


def test_it_restarts_when_asked(guest):
    guest.answers()
    first = boot_id(guest)
    guest.hvadm("vm", "reboot", "disk", timeout=150)
    guest.come_again()
    assert boot_id(guest) != first
    assert guest.answers()["heartbeat"] == "ok"
    assert guest.run("systemctl --failed --no-legend") == ""


def test_another_kernel_takes_over_bus_and_disk(guest):
    first = boot_id(guest)
    guest.run("kexec -l /boot/vmlinuz-$(uname -r) --initrd=/boot/initrd.img-$(uname -r) --reuse-cmdline && sync")
    guest.shell.type("kexec -e")
    guest.come_again()
    assert boot_id(guest) != first
    assert guest.answers()["heartbeat"] == "ok"
    log = guest.run("dmesg")
    assert "Vmbus version:5.3" in log and not COMPLAINTS.search(log)


def pull_the_plug(guest):
    guest.hvadm("vm", "off", "disk")
    return "turn_off"


def kill_the_worker(guest):
    os.kill(guest.stack.worker_pid("disk"), signal.SIGKILL)
    guest.stack.wait_state("disk", "off")
    return "worker_died"


@pytest.mark.parametrize("end", [pull_the_plug, kill_the_worker])
def test_what_was_kept_survives_a_sudden_end(guest, tmp_path, end):
    guest.answers()
    (tmp_path / "writer.py").write_bytes(WRITER)
    guest.hvadm("guest", "cp", "disk", tmp_path / "writer.py", "/root/writer.py", "--overwrite")
    guest.shell.type("python3 /root/writer.py")
    guest.shell.wait_for(r"^kept 300$", 60)
    cause = end(guest)
    shown = guest.stack.json("vm", "show", "disk")
    assert shown["state"] == "off" and shown["cause"] == cause
    time.sleep(0.5)  # what it had said is on its way to the console's reader
    kept = int(re.findall(r"^kept (\d+)$", guest.shell.text(), re.M)[-1])
    guest.hvadm("guest", "kvp", "disk", "add", f"{cause}=told while it was off")
    guest.up()
    until(lambda: f"{cause}=told while it was off" in pool(guest), "the pair")
    assert "EXT4-fs (sda1): recovery complete" in guest.run("dmesg")
    lines = guest.run("head -c 100000 /root/count").split()
    assert lines[:kept] == [str(n) for n in range(1, kept + 1)]


def raw_of(guest, image):
    """The disk as others see it: our converted copy, checked and compared by qemu-img."""
    flat, raw = guest.stack.dir / "flat.vhdx", guest.stack.dir / "flat.raw"
    guest.hvadm("vhd", "convert", image, flat, timeout=120)
    guest.hvadm("vhd", "convert", image, raw, timeout=120)
    subprocess.run(["qemu-img", "check", "-q", flat], check=True)
    subprocess.run(["qemu-img", "compare", "-q", flat, raw], check=True)
    return f"{raw}?offset=1048576"


def test_an_orderly_end_leaves_a_clean_disk(guest, tmp_path):
    guest.answers()
    digest = guest.run("sha256sum </root/random").split()[0]
    guest.hvadm("vm", "shutdown", "disk", timeout=150)
    shown = guest.stack.json("vm", "show", "disk")
    assert shown["state"] == "off" and shown["cause"] == "guest_shutdown"
    guest.leave()
    # qemu-img opens no differencing VHDX: these are ours to check, the base and a flat copy are its.
    for image in sorted(guest.stack.dir.glob("*.vhdx")):
        assert "No damage" in guest.hvadm("vhd", "check", image)
    base = guest.stack.dir / "base.vhdx"
    subprocess.run(["qemu-img", "check", "-q", base], check=True)
    subprocess.run(["qemu-img", "compare", "-q", base, DISK / "debian.raw"], check=True)
    partition = raw_of(guest, guest.top)
    fsck = subprocess.run(["e2fsck", "-fn", partition], capture_output=True, text=True, check=False)
    assert fsck.returncode == 0, fsck.stdout + fsck.stderr
    subprocess.run(["debugfs", "-R", f"dump /root/random {tmp_path}/random", partition], check=True,
                   capture_output=True)
    assert hashlib.sha256((tmp_path / "random").read_bytes()).hexdigest() == digest


@pytest.fixture(name="generic", scope="module")
def _generic(life):
    """The same disk under Debian's generic kernel, in a VM of its own."""
    if life.stack.state("disk") != "off":
        life.stack.hvadm("vm", "off", "disk")
    top = life.stack.dir / "generic.vhdx"
    life.stack.hvadm("vhd", "create", top, "--parent", life.stack.dir / "base.vhdx")
    life.stack.hvadm("vm", "create", "generic", "--cpus", 2, "--memory", "1G", "--backend", "soft",
                     "--kernel", DISK / "vmlinuz-generic", "--initrd", DISK / "initrd-generic.img",
                     "--cmdline", CMDLINE, "--disk", top, "--set", "integration.guest_services=true")
    guest = Guest(life.stack, top, "generic").up()
    yield guest
    guest.leave()


def test_the_generic_kernel_comes_up_on_the_same_disk(generic):
    assert re.fullmatch(r"6\.1\.0-\d+-amd64", generic.run("uname -r"))
    assert generic.run("systemctl --failed --no-legend") == ""
    assert generic.run("systemd-detect-virt") == "microsoft"
    assert generic.run(f"systemctl is-active {DAEMONS}").split() == ["active"] * 3
    bound = generic.run("for at in /sys/bus/vmbus/devices/*; do basename $(readlink $at/driver); done").split()
    assert sorted(bound) == ["hv_storvsc", *["hv_utils"] * 6, "hyperv_keyboard"]
    log = generic.run("dmesg")
    assert "Vmbus version:5.3" in log and not COMPLAINTS.search(log)
    warnings = generic.run("dmesg -l warn,err,crit,alert,emerg").splitlines()
    assert not [line for line in warnings if DRIVER_WARNING.search(line)]


def test_under_the_generic_kernel_what_was_kept_survives_a_sudden_end(generic, tmp_path):
    (tmp_path / "writer.py").write_bytes(WRITER)
    generic.answers()
    generic.hvadm("guest", "cp", "generic", tmp_path / "writer.py", "/root/writer.py", "--overwrite")
    generic.shell.type("python3 /root/writer.py")
    generic.shell.wait_for(r"^kept 100$", 60)
    generic.hvadm("vm", "off", "generic")
    time.sleep(0.5)  # what it had said is on its way to the console's reader
    kept = int(re.findall(r"^kept (\d+)$", generic.shell.text(), re.M)[-1])
    generic.leave()
    raw = generic.stack.dir / "generic.raw"
    generic.hvadm("vhd", "convert", generic.top, raw, timeout=120)
    partition = generic.stack.dir / "partition.raw"  # e2fsck that writes knows no offset
    subprocess.run(["dd", f"if={raw}", f"of={partition}", "bs=1M", "skip=1", "conv=sparse", "status=none"], check=True)
    done = subprocess.run(["e2fsck", "-fy", partition], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and "recovering journal" in done.stdout + done.stderr, done.stdout
    subprocess.run(["debugfs", "-R", f"dump /root/count {tmp_path}/count", partition], check=True, capture_output=True)
    lines = (tmp_path / "count").read_text(encoding="ascii").split()
    assert lines[:kept] == [str(n) for n in range(1, kept + 1)]
