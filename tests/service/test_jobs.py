# SPDX-License-Identifier: Apache-2.0
"""Jobs: stored before they begin, stopped, killed, found again, and never left half done."""

import json
import os
import pathlib
import pty
import random
import signal
import sqlite3
import subprocess
import termios
import time

import pytest

from service import RpcError, connections_of, wait_until

MIB = 1 << 20


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def image_workers(daemon):
    """Processes of `vmwp --image` that this vmmsd has started."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"--image" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == daemon.process.pid:
                    found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


def leftovers(daemon):
    return [p.name for p in daemon.images.iterdir() if p.name.startswith(".hvstack-")]


def raw(daemon, name, mib=256):
    path = daemon.images / name
    block = random.Random(name).randbytes(MIB)
    with open(path, "wb") as file:
        for i in range(mib):
            file.write(i.to_bytes(8, "little") + block[8:])
    return path


class Stopped:
    """A conversion whose worker was stopped in the middle."""

    def __init__(self, daemon, **more):
        self.source = raw(daemon, "source.raw")
        self.target = daemon.images / "target.raw"
        self.job = daemon.call("image.convert", path=str(self.source), to=str(self.target), **more)["job"]["id"]
        wait_until(lambda: leftovers(daemon), "the copy to begin")
        self.worker = image_workers(daemon)[0]
        os.kill(self.worker, signal.SIGSTOP)
        assert daemon.call("job.get", job=self.job)["state"] == "running"


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_is_listed_shown_and_tells_its_result(images):
    path = images.images / "a.vhdx"
    made = images.call("image.create", path=str(path), size_bytes=64 * MIB, wait=True, reason="for a test")
    job = made["job"]
    assert job["state"] == "done" and job["percent"] == 100 and job["reason"] == "for a test"
    assert job["owner"] == f"uid:{os.getuid()}" and job["result"]["created"] == [str(path)]
    assert job["submitted_ms"] <= job["started_ms"] <= job["ended_ms"]
    assert images.call("job.get", job=job["id"]) == job
    assert images.call("job.list")["jobs"] == [job]
    assert images.call("job.wait", job=job["id"]) == job
    assert [e["type"] for e in images.events()] == ["job.queued", "job.started", "image.created", "job.done"]
    assert {e["job"] for e in images.events()} == {job["id"]}
    assert {e["object"] for e in images.events()} == {str(path)}


def test_lists_are_filtered_and_paged(images):
    for i in range(5):
        images.call("image.create", path=str(images.images / f"{i}.vhdx"), size_bytes=MIB, wait=True)
    refused(images, "image.create", path=str(images.images / "0.vhdx"), size_bytes=MIB, wait=True)
    ids = [j["id"] for j in images.call("job.list")["jobs"]]
    assert ids == sorted(ids, reverse=True) and len(ids) == 6
    assert [j["state"] for j in images.call("job.list", filter={"state": "failed"})["jobs"]] == ["failed"]
    assert images.call("job.list", filter={"active": True})["jobs"] == []
    page = images.call("job.list", limit=4)
    rest = images.call("job.list", limit=4, before=page["next"])
    assert [j["id"] for j in page["jobs"] + rest["jobs"]] == ids and "next" not in rest
    assert len(images.call("job.list", filter={"object": str(images.images / "0.vhdx")})["jobs"]) == 2


def test_a_job_that_is_not_there_is_said_so(images):
    for method in ("job.get", "job.cancel", "job.wait"):
        error = refused(images, method, job=77)
        assert error.name == "NotFound" and error.field == "job"


def test_the_same_key_makes_one_job_also_after_a_restart(images):
    args = {"path": str(images.images / "a.vhdx"), "size_bytes": MIB, "idempotency_key": "first"}
    first = images.call("image.create", **args)["job"]["id"]
    again = images.call("image.create", **args, wait=True)
    assert again["job"]["id"] == first
    images.kill()
    images.start()
    again = images.call("image.create", **args)
    assert again["job"]["id"] == first and again["already"]
    assert refused(images, "image.create", **{**args, "size_bytes": 2 * MIB}).field == "idempotency_key"
    assert len(images.call("job.list")["jobs"]) == 1


@pytest.mark.parametrize("method", ["image.compact", "image.merge"])
def test_a_vm_whose_disk_is_merged_or_compacted_says_so(images, method):
    parent, disk = (str(images.images / name) for name in ("parent.vhdx", "disk.vhdx"))
    images.call("image.create", path=parent, size_bytes=64 * MIB, wait=True)
    images.call("image.create", path=disk, parent=parent, wait=True)
    for name in ("web", "other"):
        images.create(name)
    target = disk if method == "image.compact" else parent
    images.call("vm.add_device", vm="web", settings={"path": target, "format": "vhdx"})
    job = images.call(method, **({"path": disk} if method == "image.compact" else {"path": disk, "into": parent}))["job"]["id"]
    images.call("job.wait", job=job)
    told = [e for e in images.events() if e.get("job") == job]
    web = images.call("vm.get", vm="web")
    assert {e["vm"] for e in told} == {web["id"]} and "job.started" in [e["type"] for e in told]
    assert web["operational_status"] == ["ok"]


def test_a_plan_makes_no_job(images):
    path = images.images / "a.vhdx"
    plan = images.call("image.create", path=str(path), size_bytes=MIB, plan=True)["plan"]
    assert plan["verdict"] == "ok" and plan["files"] == [{"path": str(path), "change": "created"}] and plan["steps"]
    plan = images.call("image.resize", path=str(path), size_bytes=2 * MIB, plan=True)["plan"]
    assert plan["verdict"] == "refused" and plan["errors"][0]["data"]["name"] == "FileNotFound"
    assert images.call("job.list")["jobs"] == [] and images.events() == [] and not path.exists()


def test_a_busy_image_names_the_job(images):
    stopped = Stopped(images)
    error = refused(images, "image.resize", path=str(stopped.source), size_bytes=512 * MIB)
    assert error.name == "JobConflict" and f"job {stopped.job}" in error.message
    assert error.data["job"] == stopped.job and error.data["holder"] == f"job {stopped.job}"
    # Under another name the lock tells.
    other = images.images / "other.raw"
    other.symlink_to(stopped.source)
    error = refused(images, "image.resize", path=str(other), size_bytes=512 * MIB, wait=True)
    assert error.name == "InUse" and f"job {stopped.job}" in error.message
    # Who queues is answered when its job is made, which is after the one in its way.
    queued = images.websocket()
    queued.frame(1, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "image.resize", "params": {
        "path": str(stopped.source), "size_bytes": 512 * MIB, "queue": True, "wait": True}}).encode())
    # Reading beside a reader is fine.
    assert images.call("image.info", path=str(stopped.source))["size_bytes"] == 256 * MIB
    os.kill(stopped.worker, signal.SIGCONT)
    assert images.call("job.wait", job=stopped.job)["state"] == "done"
    assert json.loads(queued.message()[1])["result"]["job"]["state"] == "done"
    assert stopped.source.stat().st_size == 512 * MIB


def test_a_cancelled_job_leaves_nothing(images):
    stopped = Stopped(images)
    answer = images.call("job.cancel", job=stopped.job)
    assert answer["job"]["is_cancelling"] and not answer["already"]
    assert images.call("job.cancel", job=stopped.job)["already"]
    os.kill(stopped.worker, signal.SIGCONT)
    job = images.call("job.wait", job=stopped.job)
    assert job["state"] == "cancelled" and job["error"]["data"]["name"] == "Cancelled"
    assert not leftovers(images) and not stopped.target.exists()
    assert images.events()[-1]["type"] == "job.cancelled"


def test_a_worker_that_does_not_stop_is_ended(images):
    stopped = Stopped(images)
    begin = time.monotonic()
    images.call("job.cancel", job=stopped.job)
    assert images.call("job.wait", job=stopped.job)["state"] == "cancelled"
    assert time.monotonic() - begin < 10
    assert not leftovers(images) and not is_alive(stopped.worker)


def test_a_deadline_stops_a_job(images):
    stopped = Stopped(images, deadline_ms=1500)
    job = images.call("job.wait", job=stopped.job)
    assert job["state"] == "failed" and job["error"]["data"]["name"] == "Timeout"
    assert not leftovers(images) and not stopped.target.exists()


def test_a_killed_worker_fails_its_job_and_no_other(images):
    stopped = Stopped(images)
    os.kill(stopped.worker, signal.SIGKILL)
    job = images.call("job.wait", job=stopped.job)
    assert job["state"] == "failed" and job["error"]["data"]["name"] == "WorkerLost"
    assert "signal 9" in job["error"]["message"]
    assert not leftovers(images) and not stopped.target.exists()
    images.call("image.create", path=str(images.images / "a.vhdx"), size_bytes=MIB, wait=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_a_vmmsd_that_ends_takes_its_job_back(images, number):
    stopped = Stopped(images)
    images.kill(number)
    wait_until(lambda: not is_alive(stopped.worker), "the worker to end with its service")
    assert leftovers(images)
    images.start()
    job = images.call("job.wait", job=stopped.job)
    assert job["state"] == "failed" and "service ended" in job["error"]["message"]
    assert not leftovers(images) and not stopped.target.exists()
    assert [e["type"] for e in images.events()][-2:] == ["job.rolled_back", "job.failed"]
    # The files are free again.
    images.call("image.convert", path=str(stopped.source), to=str(stopped.target), wait=True)


def with_worker(daemon, script):
    """Another worker program from now on: a shell script."""
    daemon.kill(signal.SIGTERM)
    daemon.worker = daemon.dir / "worker"
    daemon.worker.write_text(f"#!/bin/sh\n[ \"$1\" = --image ] || exit 1\n{script}\n")
    daemon.worker.chmod(0o755)
    daemon.start()


@pytest.mark.parametrize("script, says", [
    ("exit 3", "ended with status 3"), ("kill -9 $$", "signal 9"), ("exec head -c 100000 /dev/zero >&3", ""),
    ("exec yes >&3", ""), ("exec 3>&-; exec sleep 1000", "signal 9")], ids=range(5))
def test_a_worker_that_misbehaves_harms_its_job_alone(images, script, says):
    with_worker(images, script)
    path = images.images / "a.vhdx"
    error = refused(images, "image.create", path=str(path), size_bytes=MIB, wait=True)
    assert error.name == "WorkerLost" and says in error.message
    assert refused(images, "image.info", path=str(raw(images, "a.raw", 1))).name == "WorkerLost"
    assert not leftovers(images) and not path.exists()
    assert not image_workers(images) and images.call("host.ping")


def test_a_worker_that_says_nothing_can_be_cancelled(images):
    source = raw(images, "a.raw", 1)
    with_worker(images, "exec sleep 1000")
    for method, more in (("image.create", {"path": str(images.images / "a.vhdx"), "size_bytes": MIB}),
                         ("image.convert", {"path": str(source), "to": str(images.images / "b.vhdx")})):
        job = images.call(method, **more)["job"]["id"]
        time.sleep(0.2)
        images.call("job.cancel", job=job)
        assert images.call("job.wait", job=job, timeout_ms=10000)["state"] == "cancelled"
    assert not leftovers(images)


def test_what_was_done_when_vmmsd_died_is_put_in_place(images):
    """Killed between the work and the result's name: brought there by hand."""
    path = images.images / "a.vhdx"
    made = images.call("image.create", path=str(path), size_bytes=MIB, wait=True)["job"]["id"]
    host = images.call("host.get")["id"]
    images.kill()
    temporary = images.images / f".hvstack-{host[:8]}-{made}.part"
    path.rename(temporary)
    with sqlite3.connect(images.state / "vmms.db") as db:
        db.execute("UPDATE job SET state = 'finishing', ended_ms = 0")
    db.close()
    images.start()
    assert images.call("job.wait", job=made)["state"] == "done"
    assert path.exists() and not temporary.exists()
    assert "job.resumed_after_restart" in [e["type"] for e in images.events()]


def test_jobs_wait_their_turn(images):
    stopped = Stopped(images)
    others = []
    for i in range(8):
        others.append(images.call("image.convert", path=str(stopped.source),
                                  to=str(images.images / f"copy{i}.raw"))["job"]["id"])
    assert "queued" in {images.call("job.get", job=j)["state"] for j in others}
    last = images.call("job.cancel", job=others[-1])["job"]["id"]
    assert images.call("job.wait", job=last)["state"] == "cancelled"
    for job in others[:-1]:
        assert images.call("job.wait", job=job)["state"] == "done"
    os.kill(stopped.worker, signal.SIGCONT)
    assert images.call("job.wait", job=stopped.job)["state"] == "done"


def test_a_storm_of_kills_leaves_no_half_file_and_no_running_job(images):
    source, chance = raw(images, "source.raw", 64), random.Random(7)
    for round_number in range(12):
        for i in range(3):
            images.call("image.convert", path=str(source), to=str(images.images / f"{round_number}-{i}.raw"))
        time.sleep(chance.random() * 0.25)
        images.kill()
        images.start()
        wait_until(lambda: not images.call("job.list", filter={"active": True})["jobs"], "all jobs to end")
        assert not leftovers(images)
    for job in images.call("job.list", limit=1000)["jobs"]:
        target = pathlib.Path(job["result"]["created"][0]) if job["state"] == "done" else None
        if target:
            assert subprocess.run(["cmp", source, target], check=False).returncode == 0
    done = {j["result"]["created"][0] for j in images.call("job.list", limit=1000)["jobs"] if j["state"] == "done"}
    there = {str(p) for p in images.images.iterdir()} - {str(source)}
    assert there == done


@pytest.mark.parametrize("width", [40, 80])
def test_hvadm_draws_a_bar_for_whoever_looks(images, width):
    stopped = Stopped(images)
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, width))
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{images.socket}")
    with subprocess.Popen([images.build / "cli/hvadm", "job", "wait", str(stopped.job), "--patience", "0"], env=environment,
                          stderr=slave, stdout=subprocess.PIPE) as process:
        os.close(slave)
        drawn = os.read(master, 4096)
        while drawn.count(b"\r") < 3:
            drawn += os.read(master, 4096)
        os.kill(stopped.worker, signal.SIGCONT)
        assert process.wait(30) == 0
    lines = [line.removeprefix(b"\x1b[K") for line in drawn.split(b"\r")]
    assert b"image.convert [" in lines[1] and all(len(line) < width for line in lines) and b"\n" not in drawn
    os.close(master)


def test_a_bar_does_not_stand_before_the_sentence_that_ends_it(images):
    stopped = Stopped(images)
    master, slave = pty.openpty()
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{images.socket}")
    with subprocess.Popen([images.build / "cli/hvadm", "job", "wait", str(stopped.job), "--patience", "0"], env=environment,
                          stderr=slave, stdout=subprocess.PIPE) as process:
        os.close(slave)
        drawn = b""
        while b"%" not in drawn:
            drawn += os.read(master, 4096)
        images.kill()
        assert process.wait(30) in (1, 5)  # whether it was asking just then
        drawn = os.read(master, 65536)
        while b"\n" not in drawn:
            drawn += os.read(master, 65536)
    assert b"\r\x1b[Khvadm: " in drawn, drawn
    os.close(master)
    os.kill(stopped.worker, signal.SIGKILL)


def test_hvadm_waits_on_for_a_job_when_the_service_is_back(images):
    stopped = Stopped(images)
    process = subprocess.Popen([images.build / "cli/hvadm", "--json", "job", "wait", str(stopped.job)], text=True,
                               env=dict(os.environ, HVADM_CONNECT=f"unix:{images.socket}"),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: connections_of(process.pid), "hvadm to ask")
    images.kill()
    os.kill(stopped.worker, signal.SIGKILL)
    images.start()
    told, said = process.communicate(timeout=60)
    assert "it is waited for" in said and "is back" in said
    assert json.loads(told)["state"] == images.call("job.get", job=stopped.job)["state"] != "running"
    assert (process.returncode == 0) == (json.loads(told)["state"] == "done")


def test_hvadm_lists_shows_waits_and_cancels(images):
    stopped = Stopped(images)
    table = images.hvadm("job", "list", "--active").stdout
    assert all(len(line) <= 80 for line in table.splitlines())
    assert table.splitlines()[1].split()[:2] == [str(stopped.job), "running"]
    shown = images.hvadm("job", "show", str(stopped.job)).stdout
    assert "state            running" in shown and str(stopped.source) in shown
    late = images.hvadm("job", "wait", str(stopped.job), "--timeout", "0.3")
    assert late.returncode == 5 and "goes on" in late.stderr
    planned = images.hvadm("job", "cancel", str(stopped.job), "--plan")
    assert planned.returncode == 0 and "would" in planned.stdout
    assert images.call("job.get", job=stopped.job)["state"] == "running"
    os.kill(stopped.worker, signal.SIGCONT)
    assert images.hvadm("job", "cancel", str(stopped.job)).returncode == 0
    failed = images.hvadm("job", "wait", str(stopped.job))
    assert failed.returncode in (0, 8)
    assert images.hvadm("job", "show", "x").returncode == 2
    assert images.hvadm("job", "show", "77").returncode == 2
