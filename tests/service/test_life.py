# SPDX-License-Identifier: Apache-2.0
"""kill -9, adoption, databases and directories that are not as they should be."""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

from service import Connection, RpcError, wait_until


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_vmmsd_leaves_the_guest_running_and_finds_it_again(daemon):
    daemon.create("web")
    daemon.create("still")
    daemon.create("lazy")
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    daemon.call("vm.start", vm="still")
    daemon.call("vm.pause", vm="still")
    for _ in range(3):
        daemon.kill()
        assert is_alive(pid)
        daemon.start()
        assert {v["name"]: v["state"] for v in daemon.call("vm.list")["vms"]} == \
            {"web": "running", "still": "paused", "lazy": "off"}
        assert daemon.call("vm.get", vm="web")["worker_pid"] == pid
    assert daemon.events()[-1]["type"] == "vm.worker_adopted"
    assert daemon.call("vm.resume", vm="still")["vm"]["state"] == "running"
    assert "hello from the fake" in daemon.call("vm.console_log", vm="web")["data"]
    assert daemon.call("vm.turn_off", vm="web")["vm"]["state"] == "off"
    wait_until(lambda: not is_alive(pid), "the worker to end")


def test_while_a_worker_is_asked_what_is_stored_can_be_read_and_changes_wait(daemon):
    daemon.create("web")
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    daemon.kill()
    os.kill(pid, signal.SIGSTOP)
    try:
        daemon.start()
        assert daemon.state_of("web") == "running"
        changing = Connection(daemon.socket)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.pause", "params": {"vm": "web"}})
        changing.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert daemon.call("vm.list")["vms"][0]["state"] == "running"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert json.loads(changing.response()[1])["result"]["vm"]["state"] == "paused"
    changing.close()
    types = [e["type"] for e in daemon.events()]
    assert types[-2:] == ["vm.worker_adopted", "vm.state_changed"], types


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root's right to go before others")
def test_the_service_goes_before_guests_and_they_do_not_inherit_that(daemon):
    daemon.create("web")
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    assert os.getpriority(os.PRIO_PROCESS, daemon.process.pid) < 0
    assert os.getpriority(os.PRIO_PROCESS, pid) == 0


def test_sigterm_leaves_guests_running_too(daemon):
    daemon.create("web")
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    assert daemon.kill(signal.SIGTERM) == 0
    assert is_alive(pid)
    daemon.start()
    assert daemon.state_of("web") == "running"


def test_what_happened_while_vmmsd_was_away_is_told(daemon):
    daemon.create("one", **{"debug_exit": 1})
    daemon.create("two")
    pids = {n: daemon.call("vm.start", vm=n)["vm"]["worker_pid"] for n in ("one", "two")}
    console = daemon.type("one", "x\n")
    console.read_until(b"x\n")
    daemon.process.send_signal(signal.SIGSTOP)
    console.frame(2, b"exit 5\n")
    daemon.kill()
    os.kill(pids["two"], signal.SIGKILL)
    wait_until(lambda: not is_alive(pids["two"]), "the worker to end")
    daemon.start()
    assert daemon.wait_state("two", "off")["cause"] == "worker_died"
    assert daemon.state_of("one") in ("running", "off")


def test_last_words_are_heard_after_a_restart(daemon):
    daemon.create("web", **{"debug_exit": 1})
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    daemon.kill()
    subprocess.run(["busctl", "--version"], stdout=subprocess.DEVNULL, check=False)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the worker to end")
    daemon.start()
    vm = daemon.wait_state("web", "off")
    assert vm["cause"] == "worker_died"
    daemon.call("vm.start", vm="web")


def start_ticks(pid):
    """When a process started, in the kernel's clock ticks since boot (proc(5), field 22)."""
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])


def test_a_pid_that_another_process_has_now_is_left_alone(daemon):
    daemon.create("web")
    pid = daemon.call("vm.start", vm="web")["vm"]["worker_pid"]
    started = start_ticks(pid)
    daemon.kill()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "the worker to end")
    # Two processes of one tick look alike. No pid comes around that fast, but a test could be.
    time.sleep(2 / os.sysconf("SC_CLK_TCK"))
    bystander = subprocess.Popen(["sleep", "60"])
    assert start_ticks(bystander.pid) > started
    database = sqlite3.connect(daemon.state / "vmms.db")
    database.execute("UPDATE vm SET pid = ?", (bystander.pid,))
    database.commit()
    database.close()
    daemon.start()
    assert daemon.wait_state("web", "off")
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_kills_at_any_moment_lose_nothing_that_was_acknowledged(daemon):
    made, started, rng = set(), 0, random.Random(7)
    for turn in range(12):
        deadline = time.monotonic() + rng.uniform(0.01, 0.25)
        try:
            while time.monotonic() < deadline:
                name = f"vm{turn}-{len(made)}"
                daemon.create(name)
                made.add(name)
                # All keep running, and a fast disk makes many: no more than any host has memory for.
                if rng.random() < 0.3 and started < 40:
                    daemon.call("vm.start", vm=name)
                    started += 1
        except (OSError, EOFError):
            pass
        daemon.kill()
        daemon.start()
        names = {v["name"] for v in daemon.vms(fields=["name"])}
        assert made <= names
    events = []
    while True:
        page = daemon.call("events.read", since=len(events) + 1, limit=1000)["events"]
        if not page:
            break
        events += page
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    wait_until(lambda: {v["state"] for v in daemon.vms(fields=["state"])} <= {"off", "running"}, "all to settle")


def test_files_of_a_deleted_vm_go(daemon):
    vm = daemon.create("web")
    daemon.call("vm.start", vm="web")
    daemon.call("vm.turn_off", vm="web")
    directory = daemon.state / "vms" / vm["id"]
    assert directory.exists()
    daemon.call("vm.delete", vm="web")
    wait_until(lambda: not directory.exists(), "its files to go")


def test_a_second_vmmsd_on_the_same_state_is_refused(daemon, build):
    other = subprocess.run([build / "vmmsd/vmmsd", "--state-dir", daemon.state, "--runtime-dir", daemon.dir / "r2",
                            "--bus", "none", "--worker", daemon.worker], stderr=subprocess.PIPE, text=True, timeout=30)
    assert other.returncode == 1 and "Another vmmsd uses" in other.stderr
    assert daemon.call("host.ping")


@pytest.mark.parametrize("files", [4, 6, 8, 63])
def test_too_few_open_files_are_refused_with_the_limit(stopped, files):
    status, said = stopped.fails(wrap=("prlimit", f"--nofile={files}"))
    assert status == 1 and f"may open {files} files; vmmsd needs 64" in said and "LimitNOFILE=" in said
    assert not stopped.state.exists()


def test_a_long_runtime_directory_is_refused_with_the_limit(build, stopped):
    stopped.run = stopped.dir / ("x" * 80)
    status, said = stopped.fails()
    assert status == 1 and "characters" in said and "shorter" in said


def test_no_socket_no_service(stopped):
    (stopped.run / "vmms.sock").mkdir(parents=True)
    status, said = stopped.fails()
    assert status == 1 and "vmms.sock cannot be made: Is a directory" in said and "Ready" not in said
    (stopped.run / "vmms.sock").rmdir()
    (stopped.run / "vmms.sock").touch()
    stopped.start()
    stopped.create("web")


def test_a_socket_with_a_full_queue_is_another_services(stopped):
    stopped.run.mkdir(parents=True)
    path = str(stopped.run / "vmms.sock")
    busy = socket.socket(socket.AF_UNIX)
    busy.bind(path)
    busy.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)
    status, said = stopped.fails()
    assert status == 1 and "Another service listens" in said and pathlib.Path(path).is_socket()
    waiting.close()
    busy.close()


def test_wrong_options_are_refused(build):
    for args, word in ((["--bus", "nonsense"], "bus is none"), (["--wat"], "option"), (["--log-level", "loud"], "loud"),
                       (["--state-dir", ""], "empty"), (["file"], "file")):
        done = subprocess.run([build / "vmmsd/vmmsd", *args], stderr=subprocess.PIPE, text=True, timeout=30)
        assert done.returncode == 2 and word in done.stderr
    assert "--state-dir" in subprocess.run([build / "vmmsd/vmmsd", "--help"], stdout=subprocess.PIPE, text=True,
                                           check=True).stdout


def prepared(daemon):
    daemon.start()
    daemon.create("web")
    daemon.kill(signal.SIGTERM)
    daemon.log.unlink()
    return daemon.state / "vmms.db"


def test_a_damaged_database_is_refused_and_kept_as_it_is(stopped):
    path = prepared(stopped)
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 97):
        data[at] ^= 0x5a
    path.write_bytes(data)
    status, said = stopped.fails()
    assert status == 1 and "damaged" in said
    (kept,) = [p for p in path.parent.glob("vmms.db.damaged-*") if p.name.endswith("Z")]
    assert kept.read_bytes() == bytes(data) and not path.exists()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 100, b"\x00" * 8192], ids=["text", "zeroes"])
def test_a_file_that_is_no_database_is_refused(stopped, content):
    path = prepared(stopped)
    path.write_bytes(content)
    status, said = stopped.fails()
    assert status == 1 and ("damaged" in said or "another program" in said)


def test_a_database_of_a_newer_version_is_refused(stopped):
    path = prepared(stopped)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.commit()
    database.close()
    status, said = stopped.fails()
    assert status == 1 and "newer version" in said


def test_another_programs_database_is_refused(stopped):
    stopped.state.mkdir(mode=0o700)
    database = sqlite3.connect(stopped.state / "vmms.db")
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.commit()
    database.close()
    status, said = stopped.fails()
    assert status == 1 and "another program's database" in said


def test_a_locked_database_is_refused(stopped):
    path = prepared(stopped)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    database.execute("UPDATE host SET epoch = epoch")
    status, said = stopped.fails()
    assert status == 1 and "locked by another program" in said
    database.execute("ROLLBACK")
    database.close()


def test_a_definition_that_this_version_cannot_read_is_refused(stopped):
    path = prepared(stopped)
    database = sqlite3.connect(path)
    database.execute("UPDATE vm SET definition = replace(definition, '\"version\":1', '\"version\":2')")
    database.commit()
    database.close()
    status, said = stopped.fails()
    assert status == 1 and "version 2" in said


needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def mount(*args):
    if subprocess.run(["mount", *args], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("this machine does not let us mount")


@needs_mounts
def test_a_read_only_database_is_refused(stopped):
    prepared(stopped)
    mount("--bind", stopped.state, stopped.state)
    try:
        mount("-o", "remount,bind,ro", stopped.state)
        status, said = stopped.fails()
        assert status == 1 and ("read-only" in said.lower() or "Read-only" in said)
    finally:
        subprocess.run(["umount", stopped.state], check=True)


@needs_mounts
def test_a_full_disk_refuses_changes_and_lets_the_rest_go_on(stopped):
    stopped.state.mkdir(mode=0o700)
    mount("-t", "tmpfs", "-o", "size=1m,mode=0700", "none", stopped.state)
    try:
        stopped.start()
        vm = stopped.create("web")
        stopped.call("vm.start", vm="web")
        with pytest.raises(RpcError) as caught:
            for i in range(1000):
                stopped.create(f"fill{i}", notes="x" * 16000)
        assert caught.value.name == "DiskFull" and "Nothing was changed" in caught.value.message
        count = len(stopped.vms(fields=["name"]))
        with pytest.raises(RpcError):
            for i in range(100):
                stopped.create(f"more{i}", notes="x" * 16000)
        assert stopped.hvadm("host", "backup").returncode == 7
        assert stopped.state_of("web") == "running"
        assert stopped.call("vm.turn_off", vm="web")["vm"]["state"] == "off"
        stopped.kill()
        subprocess.run(["mount", "-o", "remount,size=8m", stopped.state], check=True)
        stopped.start()
        assert len(stopped.vms(fields=["name"])) >= count
        assert stopped.state_of("web") == "off"
        stopped.create("after", notes="x" * 16000)
        assert stopped.call("vm.get", vm=vm["id"])["name"] == "web"
    finally:
        stopped.clean_up()
        subprocess.run(["umount", stopped.state], check=True)
