# SPDX-License-Identifier: Apache-2.0
"""A Debian on a disk as a guest: its shell and services, and what holds for it on every backend."""
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import time

from stack import CACHE, COMPLAINTS, Client, Shell

DISK = CACHE / "disk"
GENERIC = r"6\.1\.0-\d+-amd64"
CMDLINE = "console=ttyS0 root=/dev/sda1 panic=-1"
PAUSE = int(os.environ.get("HVSTACK_TEST_PAUSE", "20"))
DAEMONS = "hv-kvp-daemon hv-vss-daemon hv-fcopy-daemon"
DRIVER_WARNING = r"\] (hv_|hyperv|scsi |sd |blk_update|EXT4-fs)"
BOUND = "for at in /sys/bus/vmbus/devices/*; do basename $(readlink $at/driver); done"
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


def until(true, what, timeout=120):
    """Wait until it is true, and return that."""
    deadline = time.monotonic() + timeout
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.2)
    return found


@dataclasses.dataclass
class Guest:
    """A VM, the root shell on its console, and the image it writes to."""

    stack: Client
    top: pathlib.PurePath
    name: str = "disk"
    shell: Shell = None

    def up(self):
        if self.stack.state(self.name) != "running":
            self.stack.hvadm("vm", "start", self.name)
            self.sit_down()
        return self

    def sit_down(self):
        self.leave()
        self.shell = self.stack.shell(self.name)
        assert self.run("systemctl is-system-running --wait", 600) == "running"

    def come_again(self):
        """It starts once more under the same console."""
        self.shell.started()
        assert self.run("systemctl is-system-running --wait", 600) == "running"

    def leave(self):
        if self.shell:
            self.shell.close()
        self.shell = None

    def run(self, command, timeout=240):
        return self.shell.run(command, timeout)

    def hvadm(self, *words, **kwargs):
        return self.stack.hvadm(*words, **kwargs).stdout

    def show(self):
        return json.loads(self.hvadm("--json", "guest", "show", self.name))

    def log(self, pattern, options=""):
        """What the kernel said that matches; found there, for a console is slow."""
        return self.run(f"dmesg {options} | grep -iE {shlex.quote(pattern)} || :")

    def answers(self):
        """Its heart beats and its daemon has told what it is."""
        self.hvadm("vm", "wait", self.name, "--for", "heartbeat", "--timeout", 120, timeout=150)
        return until(lambda: (now := self.show()).get("host_name") and now, "what the guest is")

    def sees(self, text):
        return until(lambda: text in self.run("cat /dev/vcs1"), f"{text!r} on tty1")

    def boot_id(self):
        return self.run("cat /proc/sys/kernel/random/boot_id")

    def pool(self):
        """The pairs in its pool of those that the host gave: records of 512 and 2048 bytes with NULs after."""
        words = self.run("""python3 -c 'd = open("/var/lib/hyperv/.kvp_pool_0", "rb").read()\n"""
                         """for i in range(0, len(d), 2560): print(d[i:i + 512].split(b"\\0")[0].decode(), """
                         """d[i + 512:i + 2560].split(b"\\0")[0].decode(), sep="=")'""")
        return sorted(line for line in words.replace("> ", "").splitlines() if "=" in line)


def create(stack, name, disk, kernel, initrd, backend, cpus=2, words=""):
    """A VM that starts a kernel with a disk as its root, and more words for the kernel."""
    stack.hvadm("vm", "create", name, "--cpus", cpus, "--memory", "1G", "--backend", backend, "--kernel", kernel,
                "--initrd", initrd, "--cmdline", f"{CMDLINE} {words}".strip(), "--disk", disk, "--set", "integration.guest_services=true")


def log_in(guest):
    """At tty1 and nowhere else, and leave a line in a file."""
    guest.sees("guest login:")
    guest.hvadm("vm", "type", guest.name, "root", "--enter")
    guest.sees("Password:")
    guest.hvadm("vm", "type", guest.name, "guest", "--enter")
    guest.sees("guest: shell")
    guest.hvadm("vm", "type", guest.name, "echo 'Hello, {World}_42 ~!' >/root/typed", "--enter")
    assert until(lambda: guest.run("cat /root/typed 2>/dev/null || :"), "a line in the file").endswith("Hello, {World}_42 ~!")


# What holds: each finds the guest up, and leaves it so


def assert_up_on_hyper_v(guest):
    assert guest.run("systemctl --failed --no-legend") == ""
    assert guest.run("systemd-detect-virt") == "microsoft"
    assert guest.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == \
        "hyperv_clocksource_tsc_page"
    assert guest.run(f"systemctl is-active {DAEMONS}").split() == ["active"] * 3
    assert sorted(guest.run(BOUND).split()) == ["hv_storvsc", *["hv_utils"] * 6, "hyperv_keyboard"]
    assert "root=/dev/sda1" in guest.run("cat /proc/cmdline")
    assert guest.run("findmnt -no SOURCE,FSTYPE /").split() == ["/dev/sda1", "ext4"]
    assert "Vmbus version:5.3" in guest.log("Vmbus version") and guest.log(COMPLAINTS.pattern) == ""
    assert guest.log(DRIVER_WARNING, "-l warn,err,crit,alert,emerg") == ""


def assert_tells_what_it_is(guest):
    told = guest.answers()
    assert told["heartbeat"] == "ok" and told["os"] == "Debian GNU/Linux" and told["host_name"] == "guest"
    assert told["kernel"] == guest.run("uname -r")
    assert {s["service"]: s["status"] for s in told["services"]} == dict.fromkeys(
        ["heartbeat", "shutdown", "time_sync", "kvp", "vss", "guest_services"], "ok")


def assert_is_given_pairs_and_files(guest, n_bytes=3000001):
    guest.answers()
    guest.hvadm("guest", "kvp", guest.name, "add", "colour=blue", "size=9")
    assert until(lambda: len(now := guest.pool()) == 2 and now, "two pairs") == ["colour=blue", "size=9"]
    guest.hvadm("guest", "kvp", guest.name, "set", "colour=dark green")
    guest.hvadm("guest", "kvp", guest.name, "rm", "size")
    assert until(lambda: len(now := guest.pool()) == 1 and now, "one pair") == ["colour=dark green"]
    listed = guest.hvadm("guest", "kvp", guest.name)
    assert re.search(r"^host +colour +dark green$", listed, re.M)

    given, place = guest.stack.dir / "given.bin", "/root/new place/got.bin"
    digest = guest.stack.sh(f"head -c {n_bytes} /dev/urandom >{given}; sha256sum <{given}").split()[0]
    guest.hvadm("guest", "cp", guest.name, given, place, "--create-path")
    assert guest.run(f"sha256sum <'{place}'").split()[0] == digest
    again = guest.stack.hvadm("guest", "cp", guest.name, given, place, check=False)
    assert again.returncode != 0 and again.stderr.strip()


def assert_finds_the_right_time_after_a_pause(guest, pause_s):
    guest.answers()
    began = time.monotonic()
    slept = float(guest.run("cut -d' ' -f1 /proc/uptime"))
    guest.hvadm("vm", "pause", guest.name)
    assert guest.stack.state(guest.name) == "paused"
    assert guest.show()["heartbeat"] == "paused"
    time.sleep(pause_s)
    assert guest.show()["heartbeat"] == "paused"
    guest.hvadm("vm", "resume", guest.name)
    guest.answers()
    before = guest.stack.clock()
    theirs, up = map(float, guest.run("echo $(date +%s.%N) $(cut -d' ' -f1 /proc/uptime)").split())
    assert before - 2 < theirs < guest.stack.clock() + 2
    # It has not lived through the pause, however long the questions took.
    assert up - slept < time.monotonic() - began - pause_s
    assert guest.log(COMPLAINTS.pattern) == ""


def assert_loss_of_heartbeat_is_told_and_drivers_come_again(guest):
    guest.answers()
    guest.run(f"systemctl stop {DAEMONS} && rmmod hv_utils hyperv_keyboard")
    until(lambda: guest.show()["heartbeat"] in ("no_contact", "lost_communication"), "the loss")
    late = guest.stack.hvadm("vm", "wait", guest.name, "--for", "heartbeat", "--timeout", 1, check=False)
    assert late.returncode == 5
    assert guest.stack.hvadm("vm", "shutdown", guest.name, check=False).returncode != 0
    guest.run(f"modprobe hyperv_keyboard && modprobe hv_utils && systemctl start {DAEMONS}")
    assert guest.answers()["heartbeat"] == "ok"


def assert_another_kernel_takes_over(guest):
    first = guest.boot_id()
    guest.run("kexec -l /boot/vmlinuz-$(uname -r) --initrd=/boot/initrd.img-$(uname -r) --reuse-cmdline && sync", 660)
    guest.shell.type("kexec -e")
    guest.come_again()
    assert guest.boot_id() != first
    assert guest.answers()["heartbeat"] == "ok"
    assert "Vmbus version:5.3" in guest.log("Vmbus version") and guest.log(COMPLAINTS.pattern) == ""


def begin_to_keep(guest, lines):
    """Have it write lines that it says are kept, so many before anything else happens."""
    guest.answers()
    guest.stack.put("writer.py", WRITER)
    guest.hvadm("guest", "cp", guest.name, guest.stack.dir / "writer.py", "/root/writer.py", "--overwrite")
    guest.shell.type("python3 /root/writer.py")
    guest.shell.wait_for(rf"^kept {lines}$", 300)


def last_kept(guest):
    time.sleep(0.5)  # what it had said is on its way to the console's reader
    return int(re.findall(r"^kept (\d+)$", guest.shell.text(), re.M)[-1])


def assert_kept(kept, text):
    assert text.split()[:kept] == [str(n) for n in range(1, kept + 1)]


def pull_the_plug(guest):
    guest.hvadm("vm", "off", guest.name)
    return "turn_off"


def end_while_it_writes(guest, end, lines):
    """Returns how many lines were said to be on the disk, and what the VM's end is said to be."""
    begin_to_keep(guest, lines)
    cause = end(guest)
    shown = guest.stack.json("vm", "show", guest.name)
    assert shown["state"] == "off" and shown["cause"] == cause
    return last_kept(guest), cause


def assert_kept_through_an_end(guest, kept):
    """The guest that came up after it has replayed its journal, and has all that was said to be on the disk."""
    assert "EXT4-fs (sda1): recovery complete" in guest.run("dmesg")
    assert_kept(kept, guest.run("head -c 100000 /root/count"))


def shut_down(guest):
    """In order; returns the digest of what it wrote first."""
    guest.answers()
    digest = guest.run("sha256sum </root/random").split()[0]
    guest.hvadm("vm", "shutdown", guest.name, timeout=150)
    shown = guest.stack.json("vm", "show", guest.name)
    assert shown["state"] == "off" and shown["cause"] == "guest_shutdown"
    guest.leave()
    return digest


def raw_of(stack, image):
    """The partition as others see it: our converted copies of the disk, checked and compared by qemu-img."""
    flat, raw = stack.dir / "flat.vhdx", stack.dir / "flat.raw"
    stack.hvadm("vhd", "convert", image, flat, timeout=120)
    stack.hvadm("vhd", "convert", image, raw, timeout=120)
    subprocess.run(["qemu-img", "check", "-q", flat], check=True)
    subprocess.run(["qemu-img", "compare", "-q", flat, raw], check=True)
    return f"{raw}?offset=1048576"


def read_file(partition, name, folder):
    """A file of an ext4 that nobody has mounted."""
    subprocess.run(["debugfs", "-R", f"dump {name} {folder}/dumped", partition], check=True, capture_output=True)
    return (folder / "dumped").read_bytes()


def assert_whole_and_clean(stack, chain, original, folder, digest):
    """What a guest leaves that was shut down, on the last of a chain whose first is of an original disk."""
    # qemu-img opens no differencing VHDX: these are ours to check, the base and a flat copy are its.
    for image in chain:
        assert "No damage" in stack.hvadm("vhd", "check", image).stdout
    subprocess.run(["qemu-img", "check", "-q", chain[0]], check=True)
    subprocess.run(["qemu-img", "compare", "-q", chain[0], original], check=True)
    partition = raw_of(stack, chain[-1])
    fsck = subprocess.run(["e2fsck", "-fn", partition], capture_output=True, text=True, check=False)
    assert fsck.returncode == 0, fsck.stdout + fsck.stderr
    assert hashlib.sha256(read_file(partition, "/root/random", folder)).hexdigest() == digest
