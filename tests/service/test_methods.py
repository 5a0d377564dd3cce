# SPDX-License-Identifier: Apache-2.0
"""Every method does what the schema says, and refuses what it must."""

import os

import pytest

from service import RpcError, wait_until

MIB = 1 << 20


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def test_host_tells_versions_limits_and_the_backend(daemon):
    hello = daemon.call("host.hello")
    assert hello["api"] == "org.hvstack.Vmms1" and hello["caller"] == f"uid:{os.getuid()}"
    host = daemon.call("host.get")
    assert host["is_probed"] and host["backend"] == "soft" and host["backend_reason"] == "It is a fake."
    assert host["memory_bytes"] > 0 and host["max_vm_cpus"] == 64


def test_a_vm_is_made_listed_changed_and_deleted(daemon):
    vm = daemon.create("web", **{"cpu.count": 2, "notes": "front"})
    assert vm["state"] == "off" and vm["settings"]["cpu.count"] == 2
    assert vm["available_verbs"] == ["start", "configure", "delete"]
    assert daemon.call("vm.list", fields=["name", "state"])["vms"] == [{"name": "web", "state": "off"}]
    changed = daemon.call("vm.configure", vm="web", settings={"cpu.count": 4, "name": "shop"})
    assert changed["vm"]["name"] == "shop" and changed["vm"]["generation"] == 2
    assert daemon.call("vm.configure", vm="shop", settings={"cpu.count": 4})["already"]
    assert daemon.call("vm.configure", vm="shop", settings={"cpu.count": None})["vm"]["settings"]["cpu.count"] == 1
    assert refused(daemon, "vm.get", vm="web").name == "NotFound"
    assert daemon.call("vm.get", vm=vm["id"].upper())["name"] == "shop"
    daemon.call("vm.delete", vm="shop")
    assert daemon.call("vm.list")["vms"] == []
    assert [e["type"] for e in daemon.events()] == ["vm.created", "vm.renamed", "vm.configured", "vm.deleted"]


def test_lists_are_filtered_and_paged(daemon):
    for i in range(5):
        daemon.create(f"vm{i}")
    daemon.create("other")
    daemon.call("vm.start", vm="vm3")
    page = daemon.call("vm.list", filter={"name": "vm*"}, limit=3, fields=["name"])
    assert [v["name"] for v in page["vms"]] == ["vm0", "vm1", "vm2"] and page["next"] == "vm2"
    page = daemon.call("vm.list", filter={"name": "vm*"}, limit=3, after=page["next"], fields=["name"])
    assert [v["name"] for v in page["vms"]] == ["vm3", "vm4"] and "next" not in page
    assert [v["name"] for v in daemon.call("vm.list", filter={"state": "running"})["vms"]] == ["vm3"]


@pytest.mark.parametrize("name", ["", "x" * 101, "x" * 10000, "a\nb", "\x7f", "\u0085"], ids=range(6))
def test_a_bad_name_is_refused_by_its_field(daemon, name):
    error = refused(daemon, "vm.create", name=name)
    assert error.name == "InvalidParameter" and error.field == "name" and error.data["allowed"]
    assert daemon.call("vm.list")["vms"] == [] and daemon.events() == []


def test_names_may_be_any_text_of_100_characters(daemon):
    name = "é" * 99 + "日"
    daemon.create(name)
    assert daemon.call("vm.get", vm=name)["name"] == name


def test_a_name_that_is_taken_is_refused(daemon):
    daemon.create("web")
    daemon.create("db")
    assert refused(daemon, "vm.create", name="web").name == "AlreadyExists"
    error = refused(daemon, "vm.configure", vm="db", settings={"name": "web"})
    assert error.name == "AlreadyExists" and error.field == "name"


@pytest.mark.parametrize("settings, name, field", [
    ({"cpu.count": 0}, "InvalidParameter", "cpu.count"),
    ({"cpu.count": 65}, "InvalidParameter", "cpu.count"),
    ({"cpu.count": "two"}, "IncorrectDataType", "cpu.count"),
    ({"cpu.count": 1.5}, "IncorrectDataType", "cpu.count"),
    ({"cpu.count": -1}, "InvalidParameter", "cpu.count"),
    ({"cpu.count": 10**30}, "InvalidParameter", "cpu.count"),
    ({"cpu.count": True}, "IncorrectDataType", "cpu.count"),
    ({"cpu.cuont": 1}, "InvalidParameter", "cpu.cuont"),
    ({"memory.startup": 63 * MIB}, "InvalidParameter", "memory.startup"),
    ({"memory.startup": 65 * MIB}, "InvalidParameter", "memory.startup"),
    ({"memory.startup": 128 << 30}, "InvalidParameter", "memory.startup"),
    ({"memory.dynamic": True}, "NotSupported", "memory.dynamic"),
    ({"disk": []}, "NotSupported", "disk"),
    ({"nic.switch": "x"}, "NotSupported", "nic.switch"),
    ({"checkpoint.type": "disabled"}, "NotSupported", "checkpoint.type"),
    ({"backend": "xen"}, "InvalidParameter", "backend"),
    ({"debug_exit": 65536}, "InvalidParameter", "debug_exit"),
    ({"boot.kernel": "relative"}, "InvalidParameter", "boot.kernel"),
    ({"boot.kernel": "/nowhere/kernel"}, "FileNotFound", "boot.kernel"),
    ({"boot.kernel": "/tmp"}, "InvalidParameter", "boot.kernel"),
    ({"boot.kernel": "/dev/null"}, "InvalidParameter", "boot.kernel"),
    ({"boot.initrd": "/nowhere/initrd"}, "FileNotFound", "boot.initrd"),
    ({"boot.cmdline": "a\nb"}, "InvalidParameter", "boot.cmdline"),
    ({"boot.cmdline": "x" * 2048}, "InvalidParameter", "boot.cmdline"),
    ({"name": 5}, "IncorrectDataType", "name"),
    ("none", "IncorrectDataType", "settings"),
    (None, "IncorrectDataType", "settings"),
], ids=lambda value: value if isinstance(value, str) else "-")
def test_a_bad_setting_is_refused_by_its_name(daemon, settings, name, field):
    daemon.create("web")
    for method, extra in (("vm.create", {"name": "new"}), ("vm.configure", {"vm": "web"})):
        error = refused(daemon, method, settings=settings, **extra)
        assert (error.name, error.field) == (name, field), error.message
    assert [v["name"] for v in daemon.call("vm.list")["vms"]] == ["web"]
    assert len(daemon.events()) == 1


def test_an_unknown_setting_is_answered_with_the_nearest(daemon):
    assert refused(daemon, "vm.create", name="x", settings={"cpu.cuont": 1}).data["nearest"] == ["cpu.count"]
    daemon.create("database")
    assert refused(daemon, "vm.get", vm="databsae").data["nearest"] == ["database"]


def test_an_unknown_argument_is_refused(daemon):
    assert refused(daemon, "vm.list", limt=3).field == "limt"
    assert refused(daemon, "vm.get").field == "vm"
    assert refused(daemon, "vm.list", fields=["name", "colour"]).field == "fields"


def test_more_memory_than_the_host_has_is_refused(daemon):
    host = daemon.call("host.get")["memory_bytes"]
    if host >= 64 << 30:
        pytest.skip("this host has more memory than a VM may ask for")
    size = (host // (2 * MIB) + 1) * 2 * MIB
    error = refused(daemon, "vm.create", name="big", settings={"memory.startup": size})
    assert error.field == "memory.startup" and "host" in error.message


def test_running_vms_share_the_hosts_memory(daemon):
    half = daemon.call("host.get")["max_vm_memory_bytes"] // 2 // (2 * MIB) * 2 * MIB + 2 * MIB
    half = min(half, 64 << 30)
    daemon.create("one", **{"memory.startup": half})
    daemon.create("two", **{"memory.startup": half})
    daemon.call("vm.start", vm="one")
    assert refused(daemon, "vm.start", vm="two").name == "OutOfMemory"
    daemon.call("vm.turn_off", vm="one")
    daemon.call("vm.start", vm="two")


def test_a_plan_changes_nothing(daemon):
    assert daemon.call("vm.create", name="x", plan=True)["plan"]["verdict"] == "ok"
    assert refused(daemon, "vm.create", name="x", plan=True, settings={"cpu.count": 99}).field == "cpu.count"
    daemon.create("web")
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 3, "notes": "n"}, plan=True)["plan"]
    assert [s["what"] for s in plan["steps"]] == ["change notes", "change cpu.count"]
    for method in ("vm.start", "vm.delete"):
        assert daemon.call(method, vm="web", plan=True)["plan"]["verdict"] == "ok"
    assert daemon.call("vm.get", vm="web")["generation"] == 1 and len(daemon.events()) == 1


def test_a_change_for_another_generation_is_refused(daemon):
    daemon.create("web")
    error = refused(daemon, "vm.configure", vm="web", settings={"notes": "x"}, expected_generation=7)
    assert error.name == "GenerationConflict"
    daemon.call("vm.configure", vm="web", settings={"notes": "x"}, expected_generation=1)


def test_the_power_verbs_lead_from_state_to_state(daemon):
    daemon.create("web")
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"
    assert daemon.call("vm.start", vm="web")["already"]
    vm = daemon.call("vm.get", vm="web")
    assert vm["backend_reason"] == "It is a fake." and vm["worker_pid"] > 0
    assert daemon.call("vm.pause", vm="web")["vm"]["state"] == "paused"
    error = refused(daemon, "vm.start", vm="web")
    assert error.name == "InvalidState" and error.data["allowed_states"] == ["off", "saved"]
    assert "resume" in error.data["allowed_verbs"] and error.data["state"] == "paused"
    assert daemon.call("vm.resume", vm="web")["vm"]["state"] == "running"
    assert daemon.call("vm.reset", vm="web")["vm"]["state"] == "running"
    assert refused(daemon, "vm.delete", vm="web").name == "InvalidState"
    assert refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 2}).name == "RestartRequired"
    assert daemon.call("vm.configure", vm="web", settings={"notes": "now"})["vm"]["settings"]["notes"] == "now"
    assert daemon.call("vm.stats", vm="web")["exits"] == 7
    off = daemon.call("vm.turn_off", vm="web")["vm"]
    assert off["state"] == "off" and off["cause"] == "turn_off" and "worker_pid" not in off
    assert daemon.call("vm.turn_off", vm="web")["already"]
    assert refused(daemon, "vm.stats", vm="web").name == "InvalidState"
    assert refused(daemon, "vm.pause", vm="web").name == "InvalidState"


def test_a_vm_without_a_kernel_does_not_start(daemon):
    daemon.call("vm.create", name="empty")
    error = refused(daemon, "vm.start", vm="empty")
    assert error.field == "boot.kernel"


def test_a_kernel_that_went_away_is_named_at_start(daemon):
    daemon.create("web")
    daemon.kernel.unlink()
    error = refused(daemon, "vm.start", vm="web")
    assert (error.name, error.field) == ("FileNotFound", "boot.kernel")
    assert daemon.state_of("web") == "off"
    # No worker was started, so that none has exited.
    assert not {"vm.worker_started", "vm.worker_exited"} & {e["type"] for e in daemon.events()}


def test_an_empty_kernel_is_named_at_start(daemon):
    daemon.create("web")
    daemon.kernel.write_bytes(b"")
    error = refused(daemon, "vm.start", vm="web")
    assert (error.name, error.field) == ("InvalidParameter", "boot.kernel")
    assert f"{daemon.kernel}, the file of boot.kernel, is empty" in error.message


def test_ends_are_told_with_their_cause(daemon):
    daemon.create("web", **{"debug_exit": 0xf4})
    for typed, cause, status, event in (("off", "guest_power_off", None, "vm.worker_exited"),
                                        ("triple", "triple_fault", None, "vm.guest_crashed"),
                                        ("exit 33", "debug_exit", 33, "vm.worker_exited"),
                                        ("kill", "worker_died", None, "vm.worker_exited"),
                                        ("abort", "worker_died", None, "vm.worker_exited")):
        daemon.call("vm.start", vm="web")
        console = daemon.type("web", f"{typed}\n")
        vm = daemon.wait_state("web", "off")
        assert vm["cause"] == cause, typed
        assert status is None or vm["exit_status"] == status
        last = daemon.events()[-1]
        assert last["type"] == event and last["data"]["cause"] == cause
        console.close()
    assert "signal 4" in str([e["data"] for e in daemon.events()])


def test_a_guest_that_resets_or_crashes_into_a_reset_runs_on(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    console = daemon.type("web", "reset\ncrash\n")
    wait_until(lambda: daemon.events()[-1]["type"] == "vm.guest_crashed", "the crash to be told")
    assert [e["type"] for e in daemon.events()][-2:] == ["vm.guest_reset", "vm.guest_crashed"]
    assert daemon.state_of("web") == "running"
    console.close()


def test_a_worker_that_stops_but_stays_is_ended(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    console = daemon.type("web", "stop\n")
    assert daemon.wait_state("web", "off")["cause"] == "guest_power_off"
    console.close()


@pytest.mark.parametrize("cmdline, name", [
    ("fail=kernel", "InvalidParameter"), ("die", "WorkerLost"), ("refuse=Start", "Failed")])
def test_a_start_that_fails_says_why_and_leaves_the_vm_off(daemon, cmdline, name):
    daemon.create("web", **{"boot.cmdline": cmdline})
    error = refused(daemon, "vm.start", vm="web")
    assert error.name == name
    if name == "InvalidParameter":
        assert error.field == "boot.kernel" and "It was told to." in error.message
    vm = daemon.wait_state("web", "off")
    assert vm["cause"] in ("start_failed", "worker_died")


def test_a_refusal_of_the_worker_leaves_the_guest_as_it_is(daemon):
    daemon.create("web", **{"boot.cmdline": "refuse=Pause"})
    daemon.call("vm.start", vm="web")
    assert "refuses Pause" in refused(daemon, "vm.pause", vm="web").message
    assert daemon.state_of("web") == "running"


def test_a_worker_that_lies_about_its_vm_is_not_believed(daemon):
    daemon.create("web", **{"boot.cmdline": "lie"})
    refused(daemon, "vm.start", vm="web")
    assert daemon.wait_state("web", "off")


def test_a_deaf_worker_delays_nobody_and_can_be_turned_off(daemon):
    daemon.create("deaf")
    daemon.create("web")
    daemon.call("vm.start", vm="deaf")
    console = daemon.type("deaf", "deaf\n")
    console.read_until(b"deaf\n")
    waiting = daemon.websocket()
    waiting.frame(1, b'{"jsonrpc":"2.0","id":1,"method":"vm.pause","params":{"vm":"deaf"}}')
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"
    assert refused(daemon, "vm.reset", vm="deaf").name == "JobConflict"
    assert daemon.call("vm.turn_off", vm="deaf")["vm"]["state"] == "off"
    assert b"Cancelled" in waiting.message()[1]
    console.close()


def test_two_starts_at_once_both_succeed(daemon):
    daemon.create("web", **{"boot.cmdline": "slow=300"})
    sockets = [daemon.websocket() for _ in range(2)]
    for s in sockets:
        s.frame(1, b'{"jsonrpc":"2.0","id":1,"method":"vm.start","params":{"vm":"web"}}')
    for s in sockets:
        assert b'"running"' in s.message()[1]
    assert len([e for e in daemon.events() if e["type"] == "vm.worker_started"]) == 1


def test_a_vm_that_starts_slowly_can_be_turned_off(daemon):
    daemon.create("web", **{"boot.cmdline": "slow=60000"})
    starting = daemon.websocket()
    starting.frame(1, b'{"jsonrpc":"2.0","id":1,"method":"vm.start","params":{"vm":"web"}}')
    daemon.wait_state("web", "starting")
    assert daemon.call("vm.turn_off", vm="web")["vm"]["state"] == "off"
    assert b"Cancelled" in starting.message()[1]


def test_a_guest_that_resets_without_end_has_a_budget_of_events(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    console = daemon.type("web", "reset\n" * 300)
    console.read_until(b"reset\n" * 10)
    wait_until(lambda: "too often" in daemon.log_text(), "the budget to be spent")
    assert len([e for e in daemon.events() if e["type"] == "vm.guest_reset"]) <= 20
    console.frame(2, b"off\n")
    assert daemon.wait_state("web", "off")["cause"] == "guest_power_off"
    host = daemon.call("host.get")
    assert host["last_event"] == daemon.events()[-1]["seq"] and host["vms_running"] == 0
