# SPDX-License-Identifier: Apache-2.0
"""A Debian boots from a differencing VHDX on KVM and lives with its drivers and services.

On an emulated host with systemd. The tests stand in the order of that life: a boot takes two minutes here. What
they ask is what tests/debian asks on the soft backend."""
import re
import shutil
import subprocess

import pytest
from debian_guest import (DISK, GENERIC, Guest, assert_another_kernel_takes_over,
                          assert_finds_the_right_time_after_a_pause,
                          assert_is_given_pairs_and_files, assert_kept_through_an_end,
                          assert_loss_of_heartbeat_is_told_and_drivers_come_again, assert_tells_what_it_is,
                          assert_up_on_hyper_v, assert_whole_and_clean, create, end_while_it_writes, pull_the_plug, shut_down)
from stack import TOP, Stack
from systemd_host import Host, HostStack

IN_ORDER = True
PAUSE_S = 6
# A processor that is emulated twice over has no time for these, and nothing here depends on them.
MASKED = """e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer
    fstrim.timer kexec.service kexec-load.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-logind.service
    systemd-user-sessions.service systemd-random-seed.service systemd-journal-flush.service
    systemd-machine-id-commit.service systemd-firstboot.service systemd-sysusers.service systemd-tmpfiles-clean.timer
    systemd-fsck-root.service systemd-fsckd.socket systemd-fsckd.service systemd-modules-load.service
    systemd-repart.service systemd-sysctl.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
    dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
    sys-fs-fuse-connections.mount kmod-static-nodes.service modprobe@configfs.service modprobe@dm_mod.service
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
    systemd-ask-password-console.path systemd-ask-password-wall.path systemd-initctl.socket""".split()
WORDS = "quiet mitigations=off cryptomgr.notests systemd.show_status=0"


def lighten(raw, folder):
    """Mask what is needless in the Debian on a disk, and spare it what a first boot does."""
    (folder / "id").write_text("0123456789abcdef0123456789abcde1\n")
    (folder / "patience").write_text("[Manager]\nDefaultDeviceTimeoutSec=600s\n")
    (folder / "changes").write_text("\n".join(
        ["rm /etc/machine-id", f"write {folder}/id /etc/machine-id", "mkdir /etc/systemd/system.conf.d",
         f"write {folder}/patience /etc/systemd/system.conf.d/patience.conf",
         *(f"symlink /etc/systemd/system/{unit} /dev/null" for unit in MASKED)]) + "\n")
    subprocess.run(["debugfs", "-w", "-f", folder / "changes", f"{raw}?offset=1048576"], check=True, capture_output=True)


def make_srv(folder):
    """A file system with the base image and the kernels, for the emulated host."""
    subprocess.run([TOP / "tests/guest/debian-disk", DISK], check=True)
    srv, raw, image = folder / "srv", folder / "debian.raw", folder / "srv.img"
    srv.mkdir()
    subprocess.run(["cp", "--sparse=always", DISK / "debian.raw", raw], check=True)
    lighten(raw, folder)
    with Stack() as stack:
        stack.hvadm("vhd", "convert", raw, srv / "base.vhdx", timeout=120)
    for name in ("vmlinuz", "initrd.img", "vmlinuz-generic", "initrd-generic.img"):
        shutil.copy(DISK / name, srv)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", srv, image, "3G"], check=True)
    shutil.rmtree(srv)
    return image


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debian")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(name="life", scope="module")
def _life(folder):
    with Host(memory=3072, disk=make_srv(folder)) as host:
        host.run("systemctl daemon-reload; systemctl enable --now vmmsd.socket")
        stack = HostStack(host)
        top = stack.dir / "top.vhdx"
        stack.hvadm("vhd", "create", top, "--parent", stack.dir / "base.vhdx")
        create(stack, "debian", top, stack.dir / "vmlinuz", stack.dir / "initrd.img", "kvm", 1, WORDS)
        yield Guest(stack, top, "debian")


@pytest.fixture(name="guest")
def _guest(life):
    return life.up()


def test_debian_comes_up_on_hyper_v_from_its_disk(guest):
    assert guest.stack.json("vm", "show", guest.name)["backend"] == "kvm"
    assert guest.run("uname -r").endswith("-cloud-amd64")
    assert_up_on_hyper_v(guest)


def test_it_tells_what_it_is(guest):
    assert_tells_what_it_is(guest)


def test_it_is_given_pairs_and_files(guest):
    assert_is_given_pairs_and_files(guest, 300001)


def test_a_paused_guest_is_told_of_and_finds_the_right_time(guest):
    assert_finds_the_right_time_after_a_pause(guest, PAUSE_S)


def test_a_heartbeat_that_ends_is_told_of_and_drivers_come_again(guest):
    assert_loss_of_heartbeat_is_told_and_drivers_come_again(guest)


def test_kexec_hands_over_to_a_kernel_that_finds_it_all_again(guest):
    assert_another_kernel_takes_over(guest)
    assert_up_on_hyper_v(guest)


def test_what_was_kept_survives_a_sudden_end_and_the_generic_kernel_finds_it(guest):
    kept, _ = end_while_it_writes(guest, pull_the_plug, 60)
    guest.hvadm("vm", "set", guest.name, *(f"boot.{key}={guest.stack.dir / name}" for key, name in
                                           (("kernel", "vmlinuz-generic"), ("initrd", "initrd-generic.img"))))
    guest.up()
    assert_kept_through_an_end(guest, kept)
    assert re.fullmatch(GENERIC, guest.run("uname -r"))
    assert_up_on_hyper_v(guest)


def test_an_orderly_end_leaves_a_clean_disk(guest, folder):
    guest.run("head -c 4M /dev/urandom >/root/random")
    digest = shut_down(guest)
    names = ["base.vhdx", guest.top.name]
    guest.stack.host.take_out(folder, *names)
    with Stack() as here:
        assert_whole_and_clean(here, [folder / name for name in names], folder / "debian.raw", folder, digest)
