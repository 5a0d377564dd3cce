# SPDX-License-Identifier: Apache-2.0
"""A Debian on the last of a chain of eleven VHDX images, through one life: its disk, its services, its ends.

The tests stand in the order of that life, since a boot costs half a minute on the soft backend; each finds
the guest up, whatever the one before left. HVSTACK_TEST_PAUSE is for how many seconds the guest is paused
(default 20)."""
import json
import os
import re
import signal
import subprocess
import time

import pytest
from debian_guest import (DISK, GENERIC, PAUSE, Guest, assert_another_kernel_takes_over,
                          assert_finds_the_right_time_after_a_pause, assert_is_given_pairs_and_files, assert_kept,
                          assert_kept_through_an_end, assert_loss_of_heartbeat_is_told_and_drivers_come_again,
                          assert_tells_what_it_is, assert_up_on_hyper_v, assert_whole_and_clean, create,
                          end_while_it_writes, log_in, pull_the_plug, read_file, shut_down, until)
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


def kill_the_worker(guest):
    os.kill(guest.stack.worker_pid("disk"), signal.SIGKILL)
    guest.stack.wait_state("disk", "off")
    return "worker_died"


@pytest.mark.parametrize("end", [pull_the_plug, kill_the_worker])
def test_what_was_kept_survives_a_sudden_end(guest, end):
    kept, cause = end_while_it_writes(guest, end, 300)
    guest.hvadm("guest", "kvp", "disk", "add", f"{cause}=told while it was off")
    guest.up()
    until(lambda: f"{cause}=told while it was off" in guest.pool(), "the pair")
    assert_kept_through_an_end(guest, kept)


def test_an_orderly_end_leaves_a_clean_disk(guest, tmp_path):
    digest = shut_down(guest)
    chain = [guest.stack.dir / f"{name}.vhdx" for name in ("base", *range(1, DEPTH + 1))]
    assert_whole_and_clean(guest.stack, chain, DISK / "debian.raw", tmp_path, digest)


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
    assert re.fullmatch(GENERIC, generic.run("uname -r"))
    assert_up_on_hyper_v(generic)


def test_under_the_generic_kernel_what_was_kept_survives_a_sudden_end(generic, tmp_path):
    kept, _ = end_while_it_writes(generic, pull_the_plug, 100)
    generic.leave()
    raw = generic.stack.dir / "generic.raw"
    generic.hvadm("vhd", "convert", generic.top, raw, timeout=120)
    partition = generic.stack.dir / "partition.raw"  # e2fsck that writes knows no offset
    subprocess.run(["dd", f"if={raw}", f"of={partition}", "bs=1M", "skip=1", "conv=sparse", "status=none"], check=True)
    done = subprocess.run(["e2fsck", "-fy", partition], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and "recovering journal" in done.stdout + done.stderr, done.stdout
    assert_kept(kept, read_file(partition, "/root/count", tmp_path).decode())
