# SPDX-License-Identifier: Apache-2.0
"""A Debian on the last of a chain of eleven VHDX images, through one life: its disk, its services, its ends.

The tests stand in the order of that life, since a boot costs half a minute on the soft backend; each finds
the guest up, whatever the one before left. HVSTACK_TEST_PAUSE is for how many seconds the guest is paused
(default 20)."""
import hashlib
import json
import os
import re
import signal
import subprocess
import time

import pytest
from debian_guest import (DISK, PAUSE, Guest, assert_another_kernel_takes_over, assert_finds_the_right_time_after_a_pause,
                          assert_is_given_pairs_and_files, assert_kept,
                          assert_loss_of_heartbeat_is_told_and_drivers_come_again, assert_tells_what_it_is,
                          assert_up_on_hyper_v, begin_to_keep, create, last_kept, log_in, until)
from stack import Stack

DEPTH = 10


@pytest.fixture(name="life", scope="module")
def _life():
    with Stack() as stack:
        images = [stack.dir / "base.vhdx"] + [stack.dir / f"{n}.vhdx" for n in range(1, DEPTH + 1)]
        stack.hvadm("vhd", "convert", DISK / "debian.raw", images[0], timeout=120)
        for parent, child in zip(images, images[1:]):
            stack.hvadm("vhd", "create", child, "--parent", parent)
        create(stack, "disk", images[-1], DISK / "vmlinuz", DISK / "initrd.img", "soft")
        guest = Guest(stack, images[-1])
        yield guest
        guest.leave()


@pytest.fixture(name="guest")
def _guest(life):
    return life.up()


def test_systemd_comes_up_on_hyper_v_from_the_disk(guest):
    assert_up_on_hyper_v(guest)


def test_its_programs_write_all_over_the_disk_and_read_it_back(guest):
    job = "--filename=/root/random --size=48M --bs=4k --rw=randwrite --iodepth=8 --ioengine=libaio --direct=1"
    done = guest.run(f"fio --name=all {job} --verify=crc32c --minimal >/dev/null && echo verified", 240)
    assert done.endswith("verified")


def test_it_tells_what_it_is(guest):
    assert_tells_what_it_is(guest)


def test_it_is_given_pairs_and_files(guest):
    assert_is_given_pairs_and_files(guest)


def test_somebody_logs_in_by_typing(guest):
    guest.run("rm -f /root/typed")
    log_in(guest)


def test_a_paused_guest_is_told_of_and_finds_the_right_time(guest):
    assert_finds_the_right_time_after_a_pause(guest, PAUSE)


def test_a_heartbeat_that_ends_is_told_of_and_drivers_come_again(guest):
    assert_loss_of_heartbeat_is_told_and_drivers_come_again(guest)
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


def test_it_restarts_when_asked(guest):
    guest.answers()
    first = guest.boot_id()
    guest.hvadm("vm", "reboot", "disk", timeout=150)
    guest.come_again()
    assert guest.boot_id() != first
    assert guest.answers()["heartbeat"] == "ok"
    assert guest.run("systemctl --failed --no-legend") == ""


def test_another_kernel_takes_over_bus_and_disk(guest):
    assert_another_kernel_takes_over(guest)


def pull_the_plug(guest):
    guest.hvadm("vm", "off", "disk")
    return "turn_off"


def kill_the_worker(guest):
    os.kill(guest.stack.worker_pid("disk"), signal.SIGKILL)
    guest.stack.wait_state("disk", "off")
    return "worker_died"


@pytest.mark.parametrize("end", [pull_the_plug, kill_the_worker])
def test_what_was_kept_survives_a_sudden_end(guest, end):
    begin_to_keep(guest, 300)
    cause = end(guest)
    shown = guest.stack.json("vm", "show", "disk")
    assert shown["state"] == "off" and shown["cause"] == cause
    kept = last_kept(guest)
    guest.hvadm("guest", "kvp", "disk", "add", f"{cause}=told while it was off")
    guest.up()
    until(lambda: f"{cause}=told while it was off" in guest.pool(), "the pair")
    assert "EXT4-fs (sda1): recovery complete" in guest.run("dmesg")
    assert_kept(kept, guest.run("head -c 100000 /root/count"))


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
    create(life.stack, "generic", top, DISK / "vmlinuz-generic", DISK / "initrd-generic.img", "soft")
    guest = Guest(life.stack, top, "generic").up()
    yield guest
    guest.leave()


def test_the_generic_kernel_comes_up_on_the_same_disk(generic):
    assert re.fullmatch(r"6\.1\.0-\d+-amd64", generic.run("uname -r"))
    assert_up_on_hyper_v(generic)


def test_under_the_generic_kernel_what_was_kept_survives_a_sudden_end(generic, tmp_path):
    begin_to_keep(generic, 100)
    generic.hvadm("vm", "off", "generic")
    kept = last_kept(generic)
    generic.leave()
    raw = generic.stack.dir / "generic.raw"
    generic.hvadm("vhd", "convert", generic.top, raw, timeout=120)
    partition = generic.stack.dir / "partition.raw"  # e2fsck that writes knows no offset
    subprocess.run(["dd", f"if={raw}", f"of={partition}", "bs=1M", "skip=1", "conv=sparse", "status=none"], check=True)
    done = subprocess.run(["e2fsck", "-fy", partition], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and "recovering journal" in done.stdout + done.stderr, done.stdout
    subprocess.run(["debugfs", "-R", f"dump /root/count {tmp_path}/count", partition], check=True, capture_output=True)
    assert_kept(kept, (tmp_path / "count").read_text(encoding="ascii"))
