# SPDX-License-Identifier: Apache-2.0
"""What a worker may still do, read from the kernel: with the real worker and a guest that waits."""

import os
import pathlib

import pytest

from service import RpcError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="who is no administrator has no user to give away")


def start(daemon, build, name):
    daemon.create(name, **{"boot.kernel": str(build / "tests/guest/echo.elf"), "backend": "soft"})
    return daemon.call("vm.start", vm=name)["vm"]["worker_pid"]


def is_sanitized(build):
    return b"__asan_init" in (build / "vmwp/vmwp").read_bytes()


def test_a_worker_is_nobody_and_alone(images, build):
    pids = {name: start(images, build, name) for name in ("one", "two")}
    told = {name: images.call("vm.security", vm=name) for name in pids}
    assert told["one"]["uid"] != told["two"]["uid"]
    for name, pid in pids.items():
        now = told[name]
        assert now["pid"] == pid and now["uid"] == now["gid"] == 2000000000 + pid
        assert os.stat(f"/proc/{pid}/task").st_uid in (0, now["uid"])
        assert (now["groups"], now["capabilities"], now["no_new_privs"]) == ("", 0, True)
        assert set(now["own_namespaces"]) >= {"ipc", "mnt", "net", "pid", "uts", "cgroup"}
        assert now["root"] == "empty tmpfs, ro, nosuid, nodev, noexec"
        assert list(pathlib.Path(f"/proc/{pid}/root").iterdir()) == []
        if not is_sanitized(build):
            assert now["listed_threads"] == now["threads"] > 0 and now["seccomp_filters"] == 1


def test_hvadm_shows_it_and_only_of_what_runs(images, build):
    images.create("off")
    with pytest.raises(RpcError) as refused:
        images.call("vm.security", vm="off")
    assert refused.value.name == "InvalidState"
    pid = start(images, build, "web")
    done = images.hvadm("vm", "show", "web", "--security")
    assert done.returncode == 0, done.stderr
    assert f"user             {2000000000 + pid}, group {2000000000 + pid}, other groups: none" in done.stdout
    assert "capabilities     none" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert images.hvadm("vm", "show", "web", "--secure").returncode == 2


def test_the_end_of_a_unit_ends_the_vm(images, build):
    pid = start(images, build, "web")
    os.kill(pid, 15)
    assert images.wait_state("web", "off")["cause"] == "turn_off"
