# SPDX-License-Identifier: Apache-2.0
"""vmmsd is killed a thousand times; what was acknowledged is there once, and every guest lives."""

import collections
import os
import pathlib
import signal
import time

import pytest

import message_bus
import service
import storm

KILLS = int(os.environ.get("HVSTACK_STORM_KILLS", "1000"))
SEED = os.environ.get("HVSTACK_STORM_SEED", str(time.time_ns()))
GUESTS = ["guest-1", "guest-2"]


@pytest.fixture(name="bus")
def _bus():
    bus = message_bus.Bus()
    yield bus
    bus.clean_up()


@pytest.fixture(name="daemon")
def _daemon(bus):
    build = pathlib.Path(service.default_build()).resolve()
    daemon = service.Daemon(build)
    daemon.worker = build / "vmwp/vmwp"
    daemon.bus = bus.address
    storm.own_worker(daemon)
    yield daemon
    daemon.clean_up()


def check_definitions(daemon, definers, others):
    expected = set(others)
    for definer in definers:
        for name in definer.vms:
            if definer.settle(name) is not storm.ABSENT:
                expected.add(name)
    names = [vm["name"] for vm in daemon.vms(fields=["name"])]
    assert sorted(names) == sorted(expected)


def check_files(daemon):
    """No folder without its VM, in either place."""
    ids = {vm["id"] for vm in daemon.vms(fields=["id"])}
    for base in (daemon.state, daemon.run):
        stray = [p.name for p in (base / "vms").iterdir() if p.name not in ids] if (base / "vms").exists() else []
        assert not stray, f"{base} has folders of VMs that are no more: {stray}"


def check_workers(daemon):
    """Every VM that is on has one process, and there are no others."""
    pids = sorted(vm["worker_pid"] for vm in daemon.vms() if vm["state"] != "off")
    service.wait_until(lambda: storm.workers_of(daemon.worker) == pids,
                       f"workers {storm.workers_of(daemon.worker)} to be those of VMs: {pids}")


def jobs_of(daemon):
    jobs, page = [], daemon.call("job.list", limit=100)
    while page["jobs"]:
        jobs += page["jobs"]
        page = daemon.call("job.list", limit=100, before=page["jobs"][-1]["id"])
    return jobs


def check_jobs(daemon, imagers, folder):
    """Each key has one job, each job has ended, and its image is there when it ended well, only then."""
    service.wait_until(lambda: not daemon.call("job.list", filter={"active": True})["jobs"], "all jobs to end", 60)
    jobs = jobs_of(daemon)
    by_key = collections.Counter(job["idempotency_key"] for job in jobs)
    asked = {key: value for imager in imagers for key, value in imager.jobs.items()}
    assert set(by_key) <= set(asked) and set(by_key.values()) <= {1}
    by_id = {job["id"]: job for job in jobs}
    for key, (number, path) in asked.items():
        if number is None:
            continue
        assert by_id[number]["idempotency_key"] == key, by_id[number]
        assert by_id[number]["state"] in ("done", "failed")
        assert os.path.exists(path) == (by_id[number]["state"] == "done"), by_id[number]
    kept = {pathlib.Path(job["object"]).name for job in jobs if job["state"] == "done"}
    assert {p.name for p in folder.iterdir()} == kept
    return collections.Counter(job["state"] for job in jobs)


def check_events(follower, definers):
    """What was made and removed is told of once each, and in that order."""
    while follower.take():
        pass
    assert follower.cursor == follower.world.daemon.call("host.get")["last_event"] + 1
    lives = collections.defaultdict(list)
    for event in follower.events:
        if event["type"] in ("vm.created", "vm.deleted"):
            lives[event["vm"]].append(event["type"])
        if event["type"] == "job.queued":
            lives[event["job"]].append(event["type"])
    wrong = {k: v for k, v in lives.items() if v not in (["vm.created"], ["vm.created", "vm.deleted"], ["job.queued"])}
    assert not wrong, wrong
    alive = {vm["id"] for vm in follower.world.daemon.vms(fields=["id"])}
    assert {k for k, v in lives.items() if v == ["vm.created"]} == alive


def calm(world, clients):
    """End the storm, start once more, and let VMs settle."""
    world.is_over.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), f"{client.name} hangs"
    daemon = world.daemon
    if daemon.process.poll() is not None:
        daemon.spawn()
    service.wait_until(daemon.answers, "the last start")
    service.wait_until(lambda: all(vm["state"] in ("off", "running") for vm in daemon.vms()), "VMs to settle", 60)


def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(daemon, bus):
    daemon.start()
    images = daemon.dir / "images"
    images.mkdir()
    world = storm.World(daemon, SEED)
    keeper = storm.Keeper(world, GUESTS)
    keeper.start(daemon.build / "tests/storm/count.elf")
    daemon.create("switched", **{"boot.kernel": str(daemon.build / "tests/storm/count.elf"), "backend": "soft"})
    daemon.kill(signal.SIGKILL)
    definers = [storm.Definer(world, f"definer-{i}") for i in range(2)]
    definers.append(storm.Definer(storm.WorldByBus(world, bus), "on-bus"))
    imagers = [storm.Imager(world, "imager", images)]
    follower = storm.Follower(world, "follower")
    clients = [*definers, *imagers, follower, storm.Switcher(world, "switched"), storm.Streamer(world, "streamer")]
    for client in clients:
        client.start()
    began = time.monotonic()
    try:
        starting = storm.killer(world, keeper, KILLS, SEED)
    finally:
        calm(world, clients)
        service.wait_until(bus.has_name, "the name on the bus")
    assert not world.faults, (f"seed {SEED}", world.faults, daemon.log_text()[-4000:])
    keeper.look()
    for name in GUESTS:
        service.wait_until(lambda name=name: keeper.has_counted(name), f"{name} to count on")
    check_definitions(daemon, definers, [*GUESTS, "switched"])
    service.wait_until(lambda: not daemon.call("job.list", filter={"active": True})["jobs"], "all jobs to end", 60)
    ends = check_jobs(daemon, imagers, images)
    check_events(follower, definers)
    check_files(daemon)
    check_workers(daemon)
    assert "is damaged" not in daemon.log_text()
    print(f"{KILLS} kills, {starting} of them while it started, in {time.monotonic() - began:.0f} s: {world.counts[True]} calls "
          f"answered, {world.counts[False]} not; {follower.cursor - 1} events; jobs: {dict(ends)}")
