# SPDX-License-Identifier: Apache-2.0
"""A Debian guest is saved and goes on: what it counted, wrote and knows of the time is as if nothing had been."""
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest
from stack import COMPLAINTS, GUEST, HVADM, TOP, Shell, Stack

SAVED_S = 4
COUNT_S = 0.05
COUNT = (f"(i=0; while :; do i=$((i+1)); echo $i >/tmp/next; mv /tmp/next /tmp/count; sleep {COUNT_S}; done) & "
         "while [ ! -s /tmp/count ]; do sleep 0.1; done; echo started")
WRITE = ("(i=0; while [ ! -e /tmp/enough ]; do i=$((i+1)); dd if=/dev/urandom of=/tmp/piece bs=4k count=32 2>/dev/null; "
         "dd if=/tmp/piece of=/dev/sda bs=4k seek=$((i * 37 % 15000)) conv=notrunc 2>/dev/null || echo write failed; "
         "dd if=/dev/sda bs=4k skip=$((i * 37 % 15000)) count=32 2>/dev/null | cmp - /tmp/piece || echo read failed; "
         "done; sync; echo wrote $i) & echo started")


@pytest.fixture(name="stack")
def _stack():
    with Stack() as stack:
        yield stack


def boot(stack, tmp_path, cpus, load=True):
    disk = tmp_path / "disk.vhdx"
    subprocess.run([TOP / "tests/guest/hyperv-initrd", GUEST, "cloud"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "vhdx", disk, "64M"], check=True)
    stack.hvadm("vm", "create", "web", "--cpus", cpus, "--memory", "512M", "--backend", "soft", "--disk", disk,
                "--kernel", GUEST / "vmlinuz-cloud", "--initrd", GUEST / "initrd-hyperv-cloud.img",
                "--cmdline", "console=ttyS0 panic=-1")
    stack.hvadm("vm", "start", "web")
    shell = Shell(stack, "web")
    if load:
        shell.run("drivers load")
    return shell, disk


def sit_down_again(stack, shell):
    """The console of the worker that went on, from now on."""
    shell.close()
    shell.path = pathlib.Path(f"{shell.path}.next")
    shell.process = subprocess.Popen([HVADM, "vm", "console", "web"], env=stack.env, stdin=subprocess.PIPE,
                                     stdout=open(shell.path, "wb"), stderr=subprocess.DEVNULL)
    shell.count, shell.read = shell.count + 1000, 0


def save_and_go_on(stack, shell, sleep_s=0):
    stack.hvadm("vm", "save", "web")
    assert stack.state("web") == "saved"
    time.sleep(sleep_s)
    stack.hvadm("vm", "start", "web")
    sit_down_again(stack, shell)


def numbers(text):
    return [float(word) for word in re.findall(r"^[\d.]+", text, re.M)]


def counted(shell):
    """The counter, seconds since the epoch, seconds of uptime, as the last three lines tell them."""
    text = shell.run("cat /tmp/count; date +%s; cut -d' ' -f1 /proc/uptime", 30)
    return numbers("\n".join(text.splitlines()[-3:]))


@pytest.mark.parametrize("cpus", [1, 2])
def test_a_guest_goes_on_where_it_was(stack, tmp_path, cpus):
    shell, disk = boot(stack, tmp_path, cpus)
    shell.run("cd /sys; FAVOURITE=blue")
    shell.run(COUNT)
    shell.run(WRITE)
    for turn in range(2):
        time.sleep(1)
        began = time.monotonic()
        before = counted(shell)
        save_and_go_on(stack, shell, SAVED_S)
        after = counted(shell)
        ran_s = time.monotonic() - began - SAVED_S
        # It counts on from where it was: not anew, and not as if it had counted meanwhile.
        assert before[0] <= after[0] <= before[0] + ran_s / COUNT_S + 1, turn
        assert before[2] <= after[2] < before[2] + ran_s, turn
        shell.run(f"while [ $(cat /tmp/count) -lt {int(after[0]) + 10} ]; do sleep 0.1; done", 60)
        # The clock is set by the time service.
        earliest = time.time() - 3
        assert earliest < counted(shell)[1] < time.time() + 3, turn
    assert shell.run("echo $PWD $FAVOURITE").splitlines()[-1] == "/sys blue"
    shell.run("touch /tmp/enough; wait %2", 60)
    assert not re.search(r"^(read|write) failed", shell.text(), re.M)
    digest = shell.run("sync; echo 3 >/proc/sys/vm/drop_caches; md5sum /dev/sda", 60).split()[-2]
    if cpus > 1:
        assert shell.run("taskset 2 cat /proc/cpuinfo | grep -c ^processor || nproc").splitlines()[-1] == str(cpus)
    assert not COMPLAINTS.search(shell.text())
    shell.type("poweroff -f")
    stack.wait_state("web", "off", 60)
    subprocess.run(["qemu-img", "check", "-q", disk], check=True)
    raw = disk.with_suffix(".raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    theirs = subprocess.run(["md5sum", raw], check=True, capture_output=True, text=True).stdout.split()[0]
    assert theirs == digest
    shell.close()


def test_a_service_that_was_killed_while_the_worker_saved_finds_it_saved(stack, tmp_path):
    shell, _ = boot(stack, tmp_path, 1)
    shell.run("dd if=/dev/urandom of=/tmp/ballast bs=1M count=150 2>/dev/null")
    shell.run(COUNT)
    asked = subprocess.Popen([HVADM, "vm", "save", "web"], env=stack.env, stderr=subprocess.DEVNULL)
    stack.wait_state("web", "saving")
    stack.kill()
    asked.wait()
    stack.start()
    stack.wait_state("web", "saved", 60)
    stack.hvadm("vm", "start", "web")
    sit_down_again(stack, shell)
    assert counted(shell)[0] > 0
    shell.close()


def test_a_disk_that_was_changed_meanwhile_is_refused(stack, tmp_path):
    shell, disk = boot(stack, tmp_path, 1)
    shell.run("dd if=/dev/urandom of=/dev/sda bs=4k count=10 2>/dev/null; sync")
    stack.hvadm("vm", "save", "web")
    kept = disk.read_bytes()
    raw = tmp_path / "x.raw"
    raw.write_bytes(os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-n", "-O", "vhdx", raw, disk], check=False)
    subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write 0 64k", disk], check=True, stdout=subprocess.DEVNULL)
    done = stack.hvadm("vm", "start", "web", check=False)
    assert done.returncode != 0 and "was changed after the VM was saved" in done.stderr, done.stderr
    assert stack.state("web") == "saved"
    disk.write_bytes(kept)
    stack.hvadm("vm", "start", "web")
    sit_down_again(stack, shell)
    shell.run("md5sum /dev/sda", 60)
    shell.close()


@pytest.fixture(name="little")
def _little(stack):
    """The stack's state lies where there is little room."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    stack.stop()
    (stack.dir / "state").mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "none", stack.dir / "state"], check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    stack.start()
    yield stack
    stack.hvadm("vm", "off", "web", check=False)
    stack.stop()
    subprocess.run(["umount", stack.dir / "state"], check=True)


def test_without_room_the_guest_runs_on(little, tmp_path):
    shell, _ = boot(little, tmp_path, 1)
    shell.run(COUNT)
    for _ in range(2):
        done = little.hvadm("vm", "save", "web", check=False)
        assert done.returncode == 7 and "MiB more are needed" in done.stderr, done.stderr
        assert little.state("web") == "running"
    first = counted(shell)[0]
    time.sleep(1)
    assert counted(shell)[0] > first
    shell.close()


def test_a_worker_that_is_killed_while_saving_leaves_no_file(stack, tmp_path):
    shell, _ = boot(stack, tmp_path, 1, load=False)
    shell.run("dd if=/dev/urandom of=/tmp/ballast bs=1M count=100 2>/dev/null")
    pid = stack.worker_pid("web")
    asked = subprocess.Popen([HVADM, "vm", "save", "web"], env=stack.env, stderr=subprocess.DEVNULL)
    stack.wait_state("web", "saving")
    os.kill(pid, signal.SIGKILL)
    asked.wait()
    stack.wait_state("web", "off")
    time.sleep(0.5)
    assert not list((stack.dir / "state/vms").glob("*/saved-state*"))
    shell.close()
