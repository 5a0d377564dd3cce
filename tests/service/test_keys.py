# SPDX-License-Identifier: Apache-2.0
"""The same call again, by its key, changes nothing more; what waits ends with its deadline. On both transports."""

import concurrent.futures
import random
import time

import pytest

import service
from message_bus import ROOT, Bus, Refused
from service import RpcError, wait_until


def refused(daemon, method, /, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def types(daemon):
    return [e["type"] for e in daemon.events()]


def restart(daemon):
    daemon.kill()
    daemon.start()


def test_the_same_call_again_makes_nothing_more_also_after_a_restart(daemon):
    args = {"name": "web", "settings": {"boot.kernel": str(daemon.kernel)}, "idempotency_key": "first"}
    first = daemon.call("vm.create", **args)
    for again in (daemon.call("vm.create", **args), restart(daemon) or daemon.call("vm.create", **args)):
        assert again["already"] and again["vm"]["id"] == first["vm"]["id"] and again["event_seq"] == first["event_seq"]
    assert types(daemon).count("vm.created") == 1
    error = refused(daemon, "vm.create", **{**args, "name": "db"})
    assert error.name == "InvalidParameter" and error.field == "idempotency_key" and "vm.create on VM web" in error.message
    assert "vm.create on VM web" in refused(daemon, "vm.delete", vm="web", idempotency_key="first").message
    assert daemon.call("vm.create", **args, plan=True)["plan"]["verdict"] == "nothing_to_do"


def test_every_kind_of_change_is_made_once(daemon):
    daemon.create("web")
    calls = [("group.create", {"name": "g", "kind": "vm"}), ("group.add_member", {"group": "g", "member": "web"}),
             ("vm.configure", {"vm": "web", "settings": {"cpu.count": 2}}),
             ("vm.add_device", {"vm": "web", "settings": {"kind": "dvd"}}),
             ("guest.add_kvp", {"vm": "web", "items": [{"key": "a", "value": "b"}]}),
             ("vm.start", {"vm": "web"}), ("vm.pause", {"vm": "web"}), ("vm.resume", {"vm": "web"}),
             ("vm.reset", {"vm": "web"}), ("vm.turn_off", {"vm": "web"}),
             ("group.remove_member", {"group": "g", "member": "web"}), ("group.delete", {"group": "g"}),
             ("vm.delete", {"vm": "web"})]
    first = [daemon.call(method, **params, idempotency_key=method) for method, params in calls]
    events = types(daemon)
    for round in range(2):
        for (method, params), answer in zip(calls, first):
            again = daemon.call(method, **params, idempotency_key=method)
            assert again.get("already", True), method
            for field in ("device", "event_seq", "done"):
                assert again.get(field) == answer.get(field), (method, field)
        assert types(daemon) == events
        restart(daemon)


def test_a_call_that_failed_leaves_its_key_free(daemon):
    assert refused(daemon, "vm.start", vm="web", idempotency_key="k").name == "NotFound"
    daemon.create("web")
    assert refused(daemon, "vm.pause", vm="web", idempotency_key="k").name == "InvalidState"
    daemon.call("vm.start", vm="web", idempotency_key="k")
    # It was started by that key once: it is not again.
    daemon.call("vm.turn_off", vm="web")
    assert daemon.call("vm.start", vm="web", idempotency_key="k")["already"]
    assert daemon.state_of("web") == "off"
    daemon.create("bad", **{"boot.cmdline": "refuse=Start"})
    for _ in range(2):
        assert refused(daemon, "vm.start", vm="bad", idempotency_key="other").name == "Failed"


def test_jobs_and_other_calls_share_their_keys(images):
    path = str(images.images / "a.vhdx")
    images.call("image.create", path=path, size_bytes=1 << 20, idempotency_key="k")
    assert "image.create" in refused(images, "vm.create", name="web", idempotency_key="k").message
    images.call("vm.create", name="web", idempotency_key="other")
    again = refused(images, "image.create", path=path, size_bytes=1 << 20, idempotency_key="other")
    assert "vm.create on VM web" in again.message
    inner = [{"method": "vm.create", "params": {"name": "db", "idempotency_key": "x"}}]
    assert "belong to the transaction" in refused(images, "tx.apply", ops=inner).message


def test_killed_at_any_moment_the_change_is_there_once(daemon):
    """The answer is lost with the service, and the caller asks again until it has one."""
    chance = random.Random(7)
    for i in range(12):
        args = {"name": f"vm{i}", "settings": {"cpu.count": 1}, "idempotency_key": f"k{i}"}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            asked = pool.submit(daemon.call, "vm.create", **args)
            time.sleep(chance.random() * 0.004)
            daemon.kill()
            try:
                first = asked.result()["vm"]["id"]
            except (OSError, AssertionError, ValueError, EOFError):
                first = None
        daemon.start()
        again = daemon.call("vm.create", **args)
        assert first in (None, again["vm"]["id"])
        assert daemon.call("vm.create", **args)["already"]
    assert types(daemon).count("vm.created") == 12 and len(daemon.vms()) == 12


def test_a_start_that_takes_too_long_is_taken_back(daemon):
    daemon.create("web", **{"boot.cmdline": "deaf"})
    error = refused(daemon, "vm.start", vm="web", deadline_ms=400, idempotency_key="k")
    assert error.name == "Timeout" and error.field == "deadline_ms" and "taken back" in error.message
    assert daemon.state_of("web") == "off"
    daemon.call("vm.configure", vm="web", settings={"boot.cmdline": ""})
    daemon.call("vm.start", vm="web", deadline_ms=60000, idempotency_key="k")
    assert daemon.state_of("web") == "running"
    # Nothing waits: the deadline is of no account.
    daemon.call("vm.pause", vm="web", deadline_ms=60000)


def test_a_call_that_waits_ends_with_its_deadline(daemon):
    daemon.create("web", **{"boot.cmdline": "deaf"})
    with concurrent.futures.ThreadPoolExecutor() as pool:
        start = pool.submit(refused, daemon, "vm.start", vm="web")
        daemon.wait_state("web", "starting")
        error = refused(daemon, "vm.add_device", vm="web", settings={"kind": "dvd"}, queue=True, deadline_ms=300)
        if error.name != "InvalidState":
            assert error.name == "Timeout" and "nothing was done" in error.message
        daemon.call("vm.turn_off", vm="web")
        assert start.result().name == "Cancelled"
    assert "device.added" not in types(daemon)


def test_hvadm_gives_a_key(daemon):
    def run(*words):
        return daemon.hvadm(*words)

    for _ in range(2):
        made = run("vm", "create", "web", "--kernel", str(daemon.kernel), "--idempotency-key", "k")
        assert made.returncode == 0, made.stderr
    for _ in range(2):
        assert run("--idempotency-key", "go", "vm", "start", "web").returncode == 0
    assert types(daemon).count("vm.created") == 1
    assert "with other arguments" in run("vm", "create", "db", "--idempotency-key", "k").stderr
    two = run("vm", "start", "web", "db", "--idempotency-key", "k")
    assert two.returncode == 2 and "for one VM" in two.stderr


def test_hvadm_gives_a_deadline(daemon):
    daemon.create("web", **{"boot.cmdline": "deaf"})
    late = daemon.hvadm("vm", "start", "web", "--deadline", "0.4")
    assert late.returncode == 5 and "taken back" in late.stderr
    for words in (["soon"], ["0"], ["-1"], []):
        wrong = daemon.hvadm("vm", "start", "web", "--deadline", *words)
        assert wrong.returncode == 2 and "a number of seconds" in wrong.stderr, wrong.stderr


def test_the_same_on_the_bus(build):
    bus, daemon = Bus(), service.Daemon(build)
    try:
        daemon.start("--bus", bus.address)
        wait_until(bus.has_name, "the name on the bus")
        create = (ROOT, "Manager", "CreateVm", "sa{sv}a{sv}", "web", "1", "boot.kernel", "s", str(daemon.kernel),
                  "1", "idempotency_key", "s", "k")
        first, again = (bus.call(*create)[1] for _ in range(2))
        assert again["already"]["data"] and again["vm"]["data"]["id"] == first["vm"]["data"]["id"]
        vm = f"{ROOT}/vm/" + first["vm"]["data"]["id"]["data"].replace("-", "")
        with pytest.raises(Refused, match="vm.create on VM web"):
            bus.call(vm, "Vm", "Delete", "a{sv}", "1", "idempotency_key", "s", "k")
        bus.call(vm, "Vm", "Configure", "a{sv}a{sv}", "1", "boot.cmdline", "s", "deaf", "0")
        with pytest.raises(Refused, match="taken back"):
            bus.call(vm, "Vm", "Start", "a{sv}", "1", "deadline_ms", "t", "400")
        assert types(daemon).count("vm.created") == 1
    finally:
        daemon.clean_up()
        bus.clean_up()
