# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels find Hyper-V under them: the bus, its devices, their drivers, disks and DVDs."""
import json
import pathlib
import subprocess
import time

import pytest
from stack import COMPLAINTS, GUEST, HYPERV_DRIVERS, TOP, Shell, Stack

CMDLINE = "console=ttyS0 panic=-1"
NO_ARAT = "clearcpuid=450"  # for `drivers reload`


@pytest.fixture(name="stack", scope="module")
def _stack():
    with Stack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _end_of_vms(stack):
    """No VM outlives its test, whatever the test found."""
    yield
    for vm in stack.json("vm", "list"):
        if vm["state"] != "off":
            stack.hvadm("vm", "off", vm["name"], check=False)
        stack.hvadm("vm", "delete", vm["name"], check=False)


@pytest.fixture(name="images")
def _images(tmp_path):
    """A disk with content and an ISO image, made by others than us."""
    disk, iso = tmp_path / "disk.vhdx", tmp_path / "medium.iso"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", disk, "64M"], check=True)
    (tmp_path / "content").mkdir()
    (tmp_path / "content/hello").write_text("from the medium\n")
    subprocess.run(["genisoimage", "-quiet", "-o", iso, tmp_path / "content"], check=True)
    return disk, iso


def start(stack, name, flavour, *words, cpus=1, backend="soft", options=""):
    subprocess.run([TOP / "tests/guest/hyperv-initrd", GUEST, flavour], check=True)
    stack.hvadm("vm", "create", name, "--cpus", cpus, "--memory", "512M", "--backend", backend,
                "--kernel", GUEST / f"vmlinuz-{flavour}", "--initrd", GUEST / f"initrd-hyperv-{flavour}.img",
                "--cmdline", f"{CMDLINE} {options}".strip(), *words)
    stack.hvadm("vm", "start", name)
    return Shell(stack, name)


def end(stack, name, shell):
    text = shell.text()
    shell.type("poweroff -f")
    stack.wait_state(name, "off", 60)
    shell.close()
    stack.hvadm("vm", "delete", name)
    found = COMPLAINTS.search(text)
    assert not found, text[max(0, found.start() - 500):found.end() + 500]


def bound(shell):
    return sorted(shell.run("drivers list").splitlines())


@pytest.mark.parametrize("flavour", ["cloud", "generic"])
@pytest.mark.parametrize("cpus", [1, 4])
def test_each_offer_is_bound_to_its_driver(stack, images, flavour, cpus):
    disk, iso = images
    name = f"offers-{flavour}-{cpus}"
    shell = start(stack, name, flavour, "--disk", disk, "--dvd", iso, cpus=cpus, options=NO_ARAT)
    assert shell.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == \
        "hyperv_clocksource_tsc_page"
    shell.run("drivers load")
    shell.run("while [ ! -b /dev/sr0 ]; do sleep 0.1; done", 20)
    assert bound(shell) == HYPERV_DRIVERS
    log = shell.run("dmesg")
    assert "Hypervisor detected: Microsoft Hyper-V" in log and "Vmbus version:5.3" in log
    assert shell.run("mount -t iso9660 -o ro /dev/sr0 /mnt && cat /mnt/hello") == "from the medium"
    shell.run("umount /mnt")
    assert sorted(shell.run("drivers reload", 60).splitlines()) == sorted(2 * HYPERV_DRIVERS)
    end(stack, name, shell)


def test_what_a_guest_writes_is_what_qemu_reads(stack, images):
    disk, _ = images
    shell = start(stack, "writes", "cloud", "--disk", disk, cpus=2)
    shell.run("drivers load")
    # Scattered over the disk, of odd lengths, some of it zero: then what the guest reads of it all.
    shell.run("""for i in $(seq 1 40); do dd if=/dev/urandom of=/dev/sda bs=512 count=$((i * 7)) """
              """seek=$((i * 2909 % 120000)) conv=notrunc 2>/dev/null; done; sync""")
    shell.run("dd if=/dev/zero of=/dev/sda bs=1M seek=20 count=4 conv=notrunc 2>/dev/null; sync")
    digest = shell.run("echo 3 >/proc/sys/vm/drop_caches; md5sum /dev/sda").split()[0]
    end(stack, "writes", shell)
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    theirs = subprocess.run(["md5sum", raw], check=True, capture_output=True, text=True).stdout.split()[0]
    assert theirs == digest


def test_disks_come_and_go_while_the_guest_runs(stack, images):
    disk, iso = images
    extra = pathlib.Path(disk).with_name("extra.vhdx")
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", extra, "32M"], check=True)
    shell = start(stack, "hot", "cloud", "--disk", disk, "--dvd", "")
    shell.run("drivers load")
    for _ in range(3):
        stack.hvadm("vm", "add", "hot", "disk", extra)
        shell.run("while [ ! -b /dev/sdb ]; do sleep 0.1; done", 20)
        shell.run("dd if=/dev/urandom of=/dev/sdb bs=64k count=16 2>/dev/null && sync")
        place = [d for d in stack.json("vm", "show", "hot")["devices"] if d.get("path") == str(extra)][0]
        stack.hvadm("vm", "remove", "hot", "disk", place["id"])
        shell.run("while [ -b /dev/sdb ]; do sleep 0.1; done", 20)
    dvd = [d for d in stack.json("vm", "show", "hot")["devices"] if d["kind"] == "dvd"][0]
    stack.hvadm("vm", "set", "hot", f"dvd:{dvd['id']}={iso}", check=False)
    end(stack, "hot", shell)
    subprocess.run(["qemu-img", "check", "-q", extra], check=True)


def test_a_paused_guest_finds_its_disk_again(stack, images):
    disk, _ = images
    shell = start(stack, "pausing", "cloud", "--disk", disk, cpus=2)
    shell.run("drivers load")
    shell.type("(while :; do dd if=/dev/urandom of=/dev/sda bs=128k count=64 conv=fsync 2>/dev/null; done) & busy=$!")
    for _ in range(5):
        stack.hvadm("vm", "pause", "pausing")
        stack.hvadm("vm", "resume", "pausing")
    shell.run("kill $busy; wait; sync")
    end(stack, "pausing", shell)
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)


def test_a_reset_guest_finds_everything_again(stack, images):
    disk, _ = images
    shell = start(stack, "again", "cloud", "--disk", disk, cpus=2)
    for _ in range(3):
        shell.run("drivers load")
        assert bound(shell) == HYPERV_DRIVERS
        stack.hvadm("vm", "reset", "again")
        shell.started()
    end(stack, "again", shell)


@pytest.fixture(name="small")
def _small(tmp_path):
    """A file system with less room than the image in it may come to need."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(stack, name, disk, *settings):
    """A guest that begins to write more than there is room for."""
    form = disk.suffix.removeprefix(".")
    subprocess.run(["qemu-img", "create", "-q", "-f", form, disk, "64M"], check=True)
    shell = start(stack, name, "cloud", "--disk", disk)
    for setting in settings:
        stack.hvadm("vm", "set", name, setting)
    shell.run("drivers load")
    shell.run("dd if=/dev/urandom of=/data bs=1M count=40 2>/dev/null")
    shell.begin("dd if=/data of=/dev/sda bs=1M conv=fsync 2>/dev/null")
    return shell


def wait_for_event(stack, name, kind, timeout=60):
    deadline = time.monotonic() + timeout
    while True:
        for event in map(json.loads, stack.hvadm("--json", "events", "--since", 1).stdout.splitlines()):
            if event["type"] == kind and event.get("vm_name") == name:
                return event
        assert time.monotonic() < deadline, f"no {kind} of {name}"
        time.sleep(0.2)


@pytest.mark.parametrize("form", ["raw", "vhdx"])
def test_a_full_file_system_pauses_the_vm_until_there_is_room(stack, small, form):
    disk, name = small / f"disk.{form}", f"full-{form}"
    shell = fill(stack, name, disk)
    assert "No space left" in wait_for_event(stack, name, "vm.critical_entered")["data"]["reason"]
    stack.wait_state(name, "paused")
    shown = stack.json("vm", "show", name)
    assert shown["critical"] and "No space left" in shown["critical_reason"]
    assert shown["health"] == "major_failure" and shown["cause"] == "storage_critical"
    assert "resume" not in shown["available_verbs"]
    refused = stack.hvadm("vm", "resume", name, check=False)
    assert refused.returncode == 7 and "waits for better storage" in refused.stderr
    time.sleep(2)
    assert stack.state(name) == "paused"
    subprocess.run(["mount", "-o", "remount,size=200M", small], check=True)
    stack.wait_state(name, "running")
    wait_for_event(stack, name, "vm.critical_cleared")
    shell.end("dd")
    shell.run("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/sda bs=1M count=40 2>/dev/null | cmp - /data")
    end(stack, name, shell)


def test_who_wants_it_gets_the_error_instead(stack, small):
    shell = fill(stack, "told", small / "disk.raw", "auto.critical=none")
    shell.end("dd", check=False)
    assert stack.state("told") == "running" and not stack.json("vm", "show", "told")["critical"]
    assert "critical space allocation error" in shell.run("dmesg")
    stack.hvadm("vm", "off", "told")
    shell.close()


def test_one_that_waits_too_long_is_turned_off(stack, small):
    shell = fill(stack, "late", small / "disk.raw", "auto.critical_timeout=0")
    stack.wait_state("late", "off", 60)
    assert wait_for_event(stack, "late", "vm.critical_given_up")
    shell.close()
