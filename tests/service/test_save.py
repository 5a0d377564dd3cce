# SPDX-License-Identifier: Apache-2.0
"""Saving, going on, discarding; and at every instant: a row that says saved has its file, no other has."""

import json
import os
import pathlib
import pty
import random
import signal
import sqlite3
import subprocess
import time

import pytest

from service import RpcError, wait_until


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    return caught.value


def files(daemon, vm):
    folder = daemon.state / "vms" / daemon.call("vm.get", vm=vm)["id"]
    return {path.name for path in folder.iterdir() if path.name.startswith("saved-state")}


def begin(daemon, method, vm):
    """Ask, and don't wait for the answer."""
    connection = daemon.websocket()
    connection.frame(1, ('{"jsonrpc":"2.0","id":1,"method":"%s","params":{"vm":"%s"}}' % (method, vm)).encode())
    return connection


def save(daemon, vm, **more):
    return daemon.call("vm.save", vm=vm, wait=True, **more)


def begin_save(daemon, vm, **more):
    job = daemon.call("vm.save", vm=vm, **more)["job"]["id"]
    daemon.wait_state(vm, "saving")
    return job


def start(daemon, name, cmdline=""):
    daemon.create(name, **{"boot.cmdline": cmdline})
    return daemon.call("vm.start", vm=name)["vm"]["worker_pid"]


def test_a_saved_vm_goes_on_from_its_file_once(daemon):
    assert refused(daemon, "vm.save", vm=daemon.create("web")["id"]).name == "InvalidState"
    daemon.call("vm.start", vm="web")
    job = save(daemon, "web")["job"]
    vm = daemon.call("vm.get", vm="web")
    assert job["state"] == "done" and job["type"] == "vm.save" and job["object"] == vm["id"]
    assert job["vm_name"] == "web"
    assert vm["state"] == "saved" and "worker_pid" not in vm
    assert vm["available_verbs"] == ["start", "discard_saved_state", "configure", "delete"]
    assert files(daemon, "web") == {"saved-state"}
    again = save(daemon, "web")
    assert again["already"] and "job" not in again
    daemon.call("vm.start", vm="web")
    assert "goes on from fake state" in daemon.call("vm.console_log", vm="web")["data"]
    wait_until(lambda: not files(daemon, "web"), "the file to go")
    daemon.call("vm.turn_off", vm="web")
    daemon.call("vm.start", vm="web")
    assert "goes on from" not in daemon.call("vm.console_log", vm="web")["data"]
    assert "vm.saved" in {event["type"] for event in daemon.events()}


def test_a_paused_vm_is_saved_too(daemon):
    start(daemon, "web")
    daemon.call("vm.pause", vm="web")
    assert save(daemon, "web")["job"]["state"] == "done"
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"


def steps(daemon, method):
    return [step["what"] for step in daemon.call(method, vm="web", plan=True)["plan"]["steps"]]


def test_plans_change_nothing(daemon):
    start(daemon, "web")
    assert "write memory and devices to a file" in steps(daemon, "vm.save")
    assert daemon.state_of("web") == "running"
    save(daemon, "web")
    assert "check and load the saved state" in steps(daemon, "vm.start")
    assert steps(daemon, "vm.discard_saved_state") == ["remove the saved state"]
    assert daemon.state_of("web") == "saved"


def test_what_may_change_while_it_is_saved(daemon):
    start(daemon, "web")
    save(daemon, "web")
    daemon.call("vm.configure", vm="web", settings={"notes": "sleeps"})
    error = refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 2})
    assert error.name == "RestartRequired" and "discard" in error.data["hint"]
    error = refused(daemon, "vm.turn_off", vm="web")
    assert error.name == "InvalidState" and "Discard" in error.data["hint"]
    for method in ("vm.pause", "vm.reset", "vm.stats", "guest.shutdown"):
        assert refused(daemon, method, vm="web").name == "InvalidState"
    disk = daemon.dir / "disk.raw"
    disk.write_bytes(b"\0" * (1 << 20))
    assert refused(daemon, "vm.add_device", vm="web", settings={"path": str(disk)}).name == "InvalidState"


def test_a_save_that_fails_leaves_the_guest_running(daemon):
    pid = start(daemon, "web", "unsaved")
    error = refused(daemon, "vm.save", vm="web", wait=True)
    assert error.name == "DiskFull" and daemon.call("job.get", job=error.data["job"])["state"] == "failed"
    vm = daemon.call("vm.get", vm="web")
    assert vm["state"] == "running" and vm["worker_pid"] == pid and vm["cause"] == "save_failed"
    wait_until(lambda: not files(daemon, "web"), "the half file to go")
    assert refused(daemon, "vm.save", vm="web", wait=True).name == "DiskFull"


def test_a_save_on_a_worker_that_hangs_is_given_up(daemon):
    pid = start(daemon, "web", "saving=600000")
    job = begin_save(daemon, "web")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: daemon.call("job.get", job=job)["state"] == "failed", "the save to be given up", 120)
    vm = daemon.call("vm.get", vm="web")
    assert vm["state"] == "running" and vm["health"] == "unresponsive" and vm["worker_pid"] == pid
    assert daemon.call("job.get", job=job)["error"]["data"]["name"] == "WorkerUnresponsive"
    assert refused(daemon, "vm.save", vm="web").name == "WorkerUnresponsive"
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not files(daemon, "web"), "the half file to go")
    assert daemon.call("vm.get", vm="web")["state"] == "running"


def test_a_vm_can_be_turned_off_while_it_is_saved(daemon):
    start(daemon, "web", "saving=5000")
    job = begin_save(daemon, "web")
    # It has a worker, which tells what it is.
    assert daemon.call("vm.stats", vm="web")["name"] == "web"
    assert daemon.call("vm.security", vm="web")["name"] == "web"
    for method in ("vm.pause", "vm.start", "vm.save", "vm.reset"):
        error = refused(daemon, method, vm="web")
        assert error.name == "JobConflict" and error.data["job"] == job and error.data["holder"] == f"job {job}"
        assert f"VM web is busy with job {job} (vm.save, asked for by uid:{os.getuid()} " in error.message
    assert refused(daemon, "vm.delete", vm="web").name == "InvalidState"
    assert daemon.call("vm.turn_off", vm="web")["vm"]["state"] == "off"
    ended = daemon.call("job.wait", job=job)
    assert ended["state"] == "cancelled" and "turned off in the meantime" in ended["error"]["message"]
    wait_until(lambda: not files(daemon, "web"), "the half file to go")


def test_a_call_that_queues_waits_for_the_save(daemon):
    start(daemon, "web", "saving=300")
    job = begin_save(daemon, "web")
    assert daemon.call("vm.start", vm="web", queue=True)["vm"]["state"] == "running"
    assert daemon.call("job.get", job=job)["state"] == "done"


def test_a_save_tells_how_far_it_is_and_can_be_cancelled(daemon):
    pid = start(daemon, "web", "saving=5000")
    job = begin_save(daemon, "web")
    wait_until(lambda: daemon.call("job.get", job=job)["percent"] == 25, "progress")
    assert daemon.call("job.get", job=job)["bytes_total"] == 4
    assert daemon.hvadm("job", "cancel", str(job)).returncode == 0
    ended = daemon.call("job.wait", job=job)
    assert ended["state"] == "cancelled" and ended["error"]["data"]["name"] == "Cancelled"
    vm = daemon.wait_state("web", "running")
    assert vm["worker_pid"] == pid and vm["cause"] == "save_failed"
    wait_until(lambda: not files(daemon, "web"), "the half file to go")
    assert "job.cancelled" in [e["type"] for e in daemon.events() if e.get("vm") == vm["id"]]


def test_a_deadline_ends_a_save(daemon):
    pid = start(daemon, "web", "saving=60000")
    error = refused(daemon, "vm.save", vm="web", wait=True, deadline_ms=400)
    assert error.name == "Timeout" and "goes on" in error.message
    assert daemon.wait_state("web", "running")["worker_pid"] == pid


def test_the_same_key_saves_once_also_after_a_restart(daemon):
    start(daemon, "web")
    first = save(daemon, "web", idempotency_key="night")["job"]["id"]
    assert save(daemon, "web", idempotency_key="night")["job"]["id"] == first
    daemon.kill()
    daemon.start()
    daemon.call("vm.start", vm="web")
    again = daemon.call("vm.save", vm="web", idempotency_key="night")
    assert again["already"] and again["job"]["id"] == first and daemon.state_of("web") == "running"
    other = refused(daemon, "vm.save", vm=daemon.create("db")["id"], idempotency_key="night")
    assert other.field == "idempotency_key"


def test_who_follows_events_hears_how_far_a_save_is(daemon):
    start(daemon, "web", "saving=1500 steps=60")
    stream = daemon.websocket()
    stream.call("events.subscribe")
    begin = time.monotonic()
    job = daemon.call("vm.save", vm="web")["job"]["id"]
    told, types = [], []
    while "job.done" not in types:
        message = json.loads(stream.message()[1])
        if message["method"] == "job.progress":
            told.append(message["params"])
        else:
            types.append(message["params"]["type"])
    assert told and all(p["id"] == job and p["type"] == "vm.save" and p["state"] == "running" for p in told)
    assert [p["percent"] for p in told] == sorted(p["percent"] for p in told)
    assert len(told) <= 1 + 2 * (time.monotonic() - begin)
    assert not [e for e in daemon.events() if "progress" in e["type"]]


def test_a_worker_that_dies_while_saving_leaves_nothing(daemon):
    pid = start(daemon, "web", "saving=5000")
    job = begin_save(daemon, "web")
    os.kill(pid, signal.SIGKILL)
    assert daemon.wait_state("web", "off")["cause"] == "worker_died"
    assert daemon.call("job.wait", job=job)["error"]["data"]["name"] == "WorkerLost"
    wait_until(lambda: not files(daemon, "web"), "the half file to go")


@pytest.mark.parametrize("cmdline,state", [("saving=300", "saved"), ("saving=300 unsaved", "running"),
                                           ("saving=1500", "saved"), ("saving=1500 unsaved", "running")])
def test_a_save_ends_whether_vmmsd_is_there_or_not(daemon, cmdline, state):
    """Shorter than vmmsd is away, and longer."""
    start(daemon, "web", cmdline)
    job = begin_save(daemon, "web")
    daemon.kill()
    time.sleep(0.6)
    daemon.start()
    ended = daemon.call("job.wait", job=job)
    assert ended["state"] == ("done" if state == "saved" else "failed")
    assert daemon.state_of("web") == state
    types = [e["type"] for e in daemon.events() if e.get("job") == job]
    assert types[-2] in ("job.resumed_after_restart", "job.rolled_back")
    wait_until(lambda: files(daemon, "web") == ({"saved-state"} if state == "saved" else set()), "files to fit")
    if state == "saved":
        assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"


def test_a_saved_state_that_cannot_be_used_is_kept_and_can_be_discarded(daemon):
    start(daemon, "web", "unrestored")
    save(daemon, "web")
    for _ in range(2):
        error = refused(daemon, "vm.start", vm="web")
        assert error.name == "Incompatible" and "damaged" in error.message and "Discard" in error.data["hint"]
        assert daemon.state_of("web") == "saved" and files(daemon, "web") == {"saved-state"}
    daemon.kill()
    daemon.start()
    assert daemon.state_of("web") == "saved"
    assert daemon.call("vm.discard_saved_state", vm="web")["vm"]["state"] == "off"
    wait_until(lambda: not files(daemon, "web"), "the file to go")
    assert refused(daemon, "vm.discard_saved_state", vm="web").name == "InvalidState"
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"


def test_a_saved_vm_is_deleted_with_its_file(daemon):
    start(daemon, "web")
    save(daemon, "web")
    folder = daemon.state / "vms" / daemon.call("vm.get", vm="web")["id"]
    daemon.call("vm.delete", vm="web")
    wait_until(lambda: not folder.exists(), "its directory to go")


def test_a_file_that_no_row_names_goes_at_the_next_start(daemon):
    start(daemon, "web")
    save(daemon, "web")
    folder = daemon.state / "vms" / daemon.call("vm.get", vm="web")["id"]
    daemon.kill()
    with sqlite3.connect(daemon.state / "vmms.db") as db:
        db.execute("UPDATE vm SET state = 'off', saved = 'stale'")
    db.close()
    (folder / "saved-state.part").write_bytes(b"half")
    daemon.start()
    wait_until(lambda: not files(daemon, "web"), "the files to go")


def test_row_and_file_agree_wherever_vmmsd_is_killed(daemon):
    start(daemon, "web", "saving=20")
    chance = random.Random(5)
    for _ in range(25):
        begin(daemon, "vm.start" if daemon.state_of("web") == "saved" else "vm.save", "web")
        time.sleep(chance.random() * 0.08)
        daemon.kill()
        daemon.start()
        wait_until(lambda: daemon.state_of("web") in ("saved", "running"), "a state that stays")
        wait_until(lambda: files(daemon, "web") == ({"saved-state"} if daemon.state_of("web") == "saved" else set()),
                   "files to fit")
        wait_until(lambda: not daemon.call("job.list", filter={"active": True})["jobs"], "all jobs to end")
    ends = {job["state"] for job in daemon.call("job.list", limit=1000)["jobs"]}
    assert ends <= {"done", "failed"} and "done" in ends
    assert not refused_start(daemon)


def test_a_save_that_goes_on_after_a_restart_can_be_cancelled(daemon):
    pid = start(daemon, "web", "saving=60000")
    job = begin_save(daemon, "web")
    daemon.kill()
    daemon.start()
    assert daemon.call("job.get", job=job)["state"] == "running"
    daemon.call("job.cancel", job=job)
    assert daemon.call("job.wait", job=job)["state"] == "cancelled"
    assert daemon.wait_state("web", "running")["worker_pid"] == pid


def transact(daemon, *ops, **more):
    return daemon.call("tx.apply", ops=[{"method": method, "params": {"vm": vm}} for method, vm in ops], wait=True,
                       **more)


def test_a_transaction_waits_for_its_saves(daemon):
    start(daemon, "web", "saving=300")
    start(daemon, "bad", "unsaved")
    plan = transact(daemon, ("vm.save", "web"), ("vm.save", "bad"), plan=True)["plan"]
    assert plan["verdict"] == "ok" and [step["what"] for step in plan["steps"]] == ["vm.save", "vm.save"]
    assert daemon.state_of("web") == "running"
    transact(daemon, ("vm.save", "web"), ("vm.start", "web"))
    assert "goes on from fake state" in daemon.call("vm.console_log", vm="web")["data"]
    with pytest.raises(RpcError, match=r"Call 1 \(vm.save\) failed.*no room"):
        transact(daemon, ("vm.save", "web"), ("vm.save", "bad"))
    assert daemon.state_of("web") == "saved" and daemon.state_of("bad") == "running"
    assert transact(daemon, ("vm.save", "web"))["results"][0]["already"]
    begin_save(daemon, daemon.call("vm.start", vm="web")["vm"]["id"])
    with pytest.raises(RpcError, match="busy with job"):
        transact(daemon, ("vm.save", "web"))


def test_a_plan_of_a_save_holds_until_something_moves(daemon):
    start(daemon, "web")
    plan = daemon.call("vm.save", vm="web", plan=True)["plan"]["plan_id"]
    same = daemon.call("vm.save", vm=daemon.call("vm.get", vm="web")["id"], plan=True)["plan"]["plan_id"]
    assert plan == same
    daemon.call("vm.configure", vm="web", settings={"notes": "moved"})
    assert refused(daemon, "vm.save", vm="web", plan_id=plan).name == "GenerationConflict"
    plan = daemon.call("vm.save", vm="web", plan=True)["plan"]["plan_id"]
    assert save(daemon, "web", plan_id=plan)["job"]["state"] == "done"


def refused_start(daemon):
    try:
        daemon.call("vm.start", vm="web")
    except RpcError as error:
        return error
    return None


def test_hvadm_saves_and_discards(daemon):
    start(daemon, "web")
    start(daemon, "db")
    assert daemon.hvadm("vm", "save", "web", "db").returncode == 0
    assert daemon.hvadm("vm", "save", "web").returncode == 0
    listed = daemon.hvadm("vm", "list", "--state", "saved").stdout
    assert "web" in listed and "db" in listed
    assert "saved" in daemon.hvadm("vm", "show", "web").stdout
    assert daemon.hvadm("vm", "wait", "web", "--for", "saved", "--timeout", "5").returncode == 0
    assert daemon.hvadm("vm", "discard-state", "db").returncode == 0
    assert daemon.state_of("db") == "off"
    assert daemon.hvadm("vm", "start", "web").returncode == 0
    assert daemon.state_of("web") == "running"


def test_hvadm_draws_a_bar_or_leaves_the_job_to_itself(daemon):
    start(daemon, "web", "saving=700")
    job = daemon.hvadm("vm", "save", "web", "--no-wait").stdout.strip()
    assert daemon.hvadm("job", "wait", job).returncode == 0 and daemon.state_of("web") == "saved"
    assert "vm.save" in (row := daemon.hvadm("job", "list").stdout.splitlines()[1]) and row.endswith(" web")
    daemon.call("vm.start", vm="web")
    master, slave = pty.openpty()
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}")
    with subprocess.Popen([daemon.build / "cli/hvadm", "vm", "save", "web"], env=environment, stderr=slave) as process:
        os.close(slave)
        drawn = os.read(master, 4096)
        while b" 25%" not in drawn:
            drawn += os.read(master, 4096)
        assert process.wait(30) == 0
    os.close(master)
    assert b"vm.save [" in drawn and daemon.state_of("web") == "saved"


def test_an_interrupted_hvadm_leaves_the_save_to_go_on(daemon):
    start(daemon, "web", "saving=700")
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}")
    with subprocess.Popen([daemon.build / "cli/hvadm", "vm", "save", "web"], env=environment) as process:
        daemon.wait_state("web", "saving")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    daemon.wait_state("web", "saved")


def test_a_database_from_before_saved_states_keeps_its_vms_and_their_devices(daemon):
    disk = daemon.dir / "disk.raw"
    disk.write_bytes(b"\0" * (1 << 20))
    daemon.create("web")
    daemon.call("vm.add_device", vm="web", settings={"path": str(disk)})
    before = daemon.call("vm.get", vm="web")
    daemon.kill()
    path, migrations = daemon.state / "vmms.db", pathlib.Path(__file__).resolve().parents[2] / "vmmsd/store/migrations"
    rows = {}
    with sqlite3.connect(path) as db:
        application = db.execute("PRAGMA application_id").fetchone()[0]
        for table in ("host", "device", "vm"):
            cursor = db.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in cursor.description if column[0] not in ("saved", "failing")]
            rows[table] = names, [[row[i] for i in range(len(names))] for row in cursor]
    db.close()
    for file in daemon.state.glob("vmms.db*"):
        file.unlink()
    with sqlite3.connect(path) as db:
        for number in range(1, 8):
            db.executescript((migrations / f"{number:04}.sql").read_text())
        for table in ("host", "vm", "device"):
            names, content = rows[table]
            db.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", content)
        db.execute(f"PRAGMA application_id = {application}")
        db.execute("PRAGMA user_version = 7")
    db.close()
    daemon.start()
    after = daemon.call("vm.get", vm="web")
    assert after["devices"] == before["devices"] and after["settings"] == before["settings"]
    with sqlite3.connect(path) as db:
        assert not db.execute("PRAGMA foreign_key_check").fetchall()
        assert db.execute("SELECT \"table\" FROM pragma_foreign_key_list('device')").fetchall() == [("vm",)]
    db.close()
    daemon.call("vm.delete", vm="web")
