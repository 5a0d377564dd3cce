# SPDX-License-Identifier: Apache-2.0
"""What happens to VMs without anybody asking: starts at boot, the host's end, crashes."""

import json
import os
import pathlib
import signal
import subprocess

import pytest

from service import RpcError, wait_until
from test_dbus import Bus

FIRST, SECOND = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


def types(daemon, name, since=1):
    return [e["type"] for e in daemon.events(since) if e.get("vm_name") == name]


@pytest.mark.parametrize("settings, name, field", [
    ({"auto.start": "sometimes"}, "InvalidParameter", "auto.start"),
    ({"auto.start_sequence": 65536}, "InvalidParameter", "auto.start_sequence"),
    ({"auto.start_delay": "soon"}, "IncorrectDataType", "auto.start_delay"),
    ({"auto.start_after_until": "kvp:"}, "InvalidParameter", "auto.start_after_until"),
    ({"auto.start_after_until": "happy"}, "InvalidParameter", "auto.start_after_until"),
    ({"auto.start_after_timeout": 0}, "InvalidParameter", "auto.start_after_timeout"),
    ({"auto.stop": "never"}, "InvalidParameter", "auto.stop"),
    ({"auto.stop_timeout": 0}, "InvalidParameter", "auto.stop_timeout"),
    ({"auto.recovery": "revert"}, "NotSupported", "auto.recovery"),
], ids=str)
def test_a_setting_that_cannot_be_honoured_is_refused_by_its_name(daemon, settings, name, field):
    daemon.create("web")
    with pytest.raises(RpcError) as caught:
        daemon.call("vm.configure", vm="web", settings=settings)
    assert (caught.value.name, caught.value.field) == (name, field)


def test_a_new_boot_starts_what_wants_it_and_a_restart_nothing(stopped):
    stopped.start("--boot-id", FIRST)
    stopped.create("always", **{"auto.start": "always", "auto.start_sequence": 1})
    stopped.create("after", **{"auto.start": "always", "auto.start_after": "always"})
    stopped.create("was-off")
    stopped.create("never", **{"auto.start": "nothing"})
    stopped.call("vm.start", vm="never")
    stopped.call("vm.turn_off", vm="never")
    for _ in range(2):
        stopped.kill()
        stopped.start("--boot-id", FIRST)
        assert [v["state"] for v in stopped.vms()] == ["off"] * 4
    stopped.kill()
    stopped.start("--boot-id", SECOND)
    stopped.wait_state("after", "running")
    assert {v["name"]: v["state"] for v in stopped.vms()} == \
        {"always": "running", "after": "running", "was-off": "off", "never": "off"}
    assert types(stopped, "always")[1:3] == ["vm.start_delayed", "vm.state_changed"]


def test_a_boot_is_not_forgotten_by_a_crash_in_the_midst_of_it(stopped):
    stopped.start("--boot-id", FIRST)
    stopped.create("late", **{"auto.start": "always", "auto.start_delay": 3})
    stopped.kill()
    stopped.start("--boot-id", SECOND)
    assert stopped.call("vm.get", vm="late")["operational_status"] == ["ok", "waiting_to_start"]
    stopped.kill()
    stopped.start("--boot-id", SECOND)
    assert stopped.call("vm.get", vm="late")["operational_status"] == ["ok", "waiting_to_start"]
    stopped.wait_state("late", "running")


def test_all_vms_are_stopped_with_the_host_and_come_back_with_it(stopped):
    stopped.start("--boot-id", FIRST)
    for name in ("hard", "idle"):
        stopped.create(name, **{"auto.stop": "off", "auto.start_sequence": 1})
    stopped.create("deaf", **{"auto.stop": "shutdown", "auto.stop_timeout": 1, "integration.shutdown": False})
    for name in ("hard", "deaf"):
        stopped.call("vm.start", vm=name)
    plan = json.loads(stopped.hvadm("host", "stop-vms", "--plan", "--json").stdout)
    ids = {stopped.call("vm.get", vm=name)["id"]: name for name in ("deaf", "hard")}
    assert [(step["what"], ids[step["object"]]) for step in plan["plan"]["steps"]] == [("shutdown", "deaf"), ("off", "hard")]
    assert plan["count"] == 2
    assert stopped.state_of("hard") == "running"
    done = stopped.hvadm("host", "stop-vms")
    assert done.returncode == 0 and done.stdout == "VMs: 2\n", done.stderr
    assert {v["name"]: v["state"] for v in stopped.vms()} == {"deaf": "saved", "hard": "off", "idle": "off"}
    steps = [(e["vm_name"], e["data"]["step"]) for e in stopped.events() if e["type"] == "vm.stop_step"]
    assert steps == [("deaf", "shutdown"), ("deaf", "save"), ("hard", "off")]
    stopped.kill()
    stopped.start("--boot-id", SECOND)
    stopped.wait_state("deaf", "running")
    stopped.wait_state("hard", "running")
    assert stopped.state_of("idle") == "off"


def test_a_dead_worker_is_replaced_where_that_is_wanted(daemon):
    daemon.create("phoenix", **{"auto.recovery": "restart"})
    daemon.create("mortal")
    pids = {n: daemon.call("vm.start", vm=n)["vm"]["worker_pid"] for n in ("phoenix", "mortal")}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "vm.recovered" in types(daemon, "phoenix"), "the recovery")
    vm = daemon.call("vm.get", vm="phoenix")
    assert vm["state"] == "running" and vm["worker_pid"] != pids["phoenix"]
    event = [e for e in daemon.events() if e["type"] == "vm.recovered"][0]
    assert event["data"]["cause"] == "worker_died" and event["data"]["attempt"] == 1
    assert daemon.state_of("mortal") == "off"


@pytest.fixture(name="bus")
def _bus():
    bus = Bus()
    yield bus
    bus.clean_up()


def test_logind_waits_until_the_vms_are_stopped(stopped, bus, build, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    logind = bus.spawn(build / "tests/service/fake_logind", bus.address, stdin=subprocess.PIPE)
    assert logind.stdout.readline() == "ready\n"
    stopped.start("--bus", "system")
    assert logind.stdout.readline() == "inhibited shutdown delay\n"
    stopped.create("web", **{"auto.stop": "off"})
    stopped.call("vm.start", vm="web")
    logind.stdin.write("go\n")
    logind.stdin.flush()
    assert logind.stdout.readline() == "released\n"
    assert stopped.state_of("web") == "off", stopped.log_text()
    assert "vm.stopping_with_host" in types(stopped, "web")


def test_the_service_lives_without_logind(stopped, bus, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    stopped.start("--bus", "system")
    wait_until(lambda: "delay the host's shutdown" in stopped.log_text(), "a word about logind")
    bus.stop()
    wait_until(lambda: "shutdown will not be noticed" in stopped.log_text(), "a word about the bus")
    assert stopped.call("host.ping")


def test_a_plain_end_of_the_service_touches_no_vm(stopped, bus, build, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    logind = bus.spawn(build / "tests/service/fake_logind", bus.address, stdin=subprocess.PIPE)
    assert logind.stdout.readline() == "ready\n"
    stopped.start("--bus", "system")
    stopped.create("web")
    pid = stopped.call("vm.start", vm="web")["vm"]["worker_pid"]
    assert logind.stdout.readline().startswith("inhibited") and stopped.kill(signal.SIGTERM) == 0
    assert logind.stdout.readline() == "released\n" and pathlib.Path(f"/proc/{pid}").exists()
    stopped.start("--bus", "system")
    assert stopped.state_of("web") == "running"
