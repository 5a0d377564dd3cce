# SPDX-License-Identifier: Apache-2.0
"""Changes that wait for a VM to be off, plans that change nothing, transactions that are whole or nothing."""

import json
import signal

import json
import pathlib

import pytest

from service import RpcError


def refused(daemon, method, /, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    return caught.value


def fine(daemon, *args, status=0, **kwargs):
    done = daemon.hvadm(*args, **kwargs)
    assert done.returncode == status, (done.returncode, done.stderr)
    return done.stdout


def test_a_refused_change_says_that_it_can_be_staged(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    error = refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 2})
    assert error.name == "RestartRequired" and "stage=true" in error.data["hint"]
    error = refused(daemon, "vm.add_device", vm="web", settings={"kind": "scsi"})
    assert error.name == "RestartRequired" and "stage=true" in error.data["hint"]


def test_a_staged_change_waits_until_the_vm_is_off(daemon):
    daemon.create("web", notes="old")
    daemon.call("vm.start", vm="web")
    assert refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 99}, stage=True).field == "cpu.count"
    vm = daemon.call("vm.configure", vm="web", settings={"cpu.count": 4, "notes": "new"}, stage=True)["vm"]
    assert vm["settings"]["cpu.count"] == 1 and vm["settings"]["notes"] == "new"
    assert vm["pending_config"]["settings"] == {"cpu.count": 4}
    assert [e["type"] for e in daemon.events()][-2:] == ["vm.configured", "vm.config_staged"]
    assert daemon.call("vm.configure", vm="web", settings={"cpu.count": 4}, stage=True)["already"]
    daemon.kill()
    daemon.start()
    assert daemon.call("vm.get", vm="web")["pending_config"]["settings"] == {"cpu.count": 4}
    vm = daemon.call("vm.turn_off", vm="web")["vm"]
    assert vm["settings"]["cpu.count"] == 4 and "pending_config" not in vm
    off = [e for e in daemon.events() if e["generation"] == vm["generation"]]
    assert [e["type"] for e in off] == ["vm.state_changed", "vm.configured", "vm.worker_exited"]
    assert off[1]["data"] == {"staged": True, "settings": {"cpu.count": 4}}


def test_what_is_staged_holds_also_when_the_worker_dies(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    daemon.call("vm.configure", vm="web", settings={"memory.startup": 128 << 20}, stage=True)
    console = daemon.type("web", "kill\n")
    assert daemon.wait_state("web", "off")["settings"]["memory.startup"] == 128 << 20
    console.close()


def test_what_is_staged_can_be_dropped_by_name_or_whole(daemon):
    daemon.create("web", **{"cpu.count": 2})
    daemon.call("vm.start", vm="web")
    settings = {"cpu.count": None, "memory.startup": 128 << 20, "boot.cmdline": "x"}
    vm = daemon.call("vm.configure", vm="web", settings=settings, stage=True)["vm"]
    assert vm["pending_config"]["settings"] == {"cpu.count": 1, "memory.startup": 128 << 20, "boot.cmdline": "x"}
    vm = daemon.call("vm.configure", vm="web", settings={"memory.startup": None}, unstage=True)["vm"]
    assert vm["pending_config"]["settings"] == {"cpu.count": 1, "boot.cmdline": "x"}
    vm = daemon.call("vm.configure", vm="web", settings={"cpu.count": 2}, stage=True)["vm"]
    assert vm["pending_config"]["settings"] == {"boot.cmdline": "x"}, "as it is already is no change"
    assert "pending_config" not in daemon.call("vm.configure", vm="web", settings={}, unstage=True)["vm"]
    assert daemon.call("vm.configure", vm="web", settings={}, unstage=True)["already"]
    assert daemon.call("vm.turn_off", vm="web")["vm"]["settings"]["cpu.count"] == 2


def test_of_a_vm_that_is_off_nothing_waits(daemon):
    daemon.create("web")
    vm = daemon.call("vm.configure", vm="web", settings={"cpu.count": 4}, stage=True)["vm"]
    assert vm["settings"]["cpu.count"] == 4 and "pending_config" not in vm


def test_controllers_and_their_disks_wait_as_well(daemon):
    image = daemon.dir / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    first = daemon.create("web")["devices"][0]["id"]
    daemon.call("vm.start", vm="web")
    daemon.call("vm.add_device", vm="web", settings={"path": str(image), "controller": 2}, stage=True)
    daemon.call("vm.add_device", vm="web", settings={"kind": "scsi", "controller": 1}, stage=True)
    vm = daemon.call("vm.remove_device", vm="web", device=first, stage=True)["vm"]
    pending = vm["pending_config"]
    assert [(d["kind"], d["controller"]) for d in pending["add"]] == [("scsi", 2), ("disk", 2), ("scsi", 1)]
    assert [d["id"] for d in pending["remove"]] == [first] and len(vm["devices"]) == 1
    assert refused(daemon, "vm.add_device", vm="web", settings={"path": str(image)}, stage=True).name == "AlreadyExists"
    assert "when off         add scsi 1" in fine(daemon, "vm", "show", "web")
    fine(daemon, "vm", "remove", "web", "scsi", pending["add"][2]["id"], "--stage")
    vm = daemon.call("vm.turn_off", vm="web")["vm"]
    assert [(d["kind"], d["controller"]) for d in vm["devices"]] == [("scsi", 2), ("disk", 2)]


def test_hvadm_stages_shows_and_drops(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    fine(daemon, "vm", "set", "web", "cpu.count=3", status=6)
    fine(daemon, "vm", "set", "web", "cpu.count=3", "memory.startup=128M", "--stage")
    shown = fine(daemon, "vm", "show", "web")
    assert "when off         cpu.count = 3" in shown and "when off         memory.startup = 128 MiB" in shown
    fine(daemon, "vm", "set", "web", "--unstage", "cpu.count")
    assert "cpu.count = 3" not in fine(daemon, "vm", "show", "web")
    fine(daemon, "vm", "set", "web", "--unstage")
    assert "when off" not in fine(daemon, "vm", "show", "web")
    fine(daemon, "vm", "set", "web", "--unstage", "--stage", "cpu.count", status=2)


SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "schemas/api"


def mutating_methods():
    for path in sorted(SCHEMAS.glob("*.json")):
        document = json.loads(path.read_text())
        for verb, method in document.get("methods", {}).items():
            if method.get("changes"):
                yield f"{document['noun']}.{verb}", method


def arguments(daemon, name, method):
    """Something for everything that a call must give."""
    known = {"vm": "web", "name": "new", "settings": {}, "path": str(daemon.dir / "new.vhdx"), "to": str(daemon.dir / "to.raw"),
             "size_bytes": 1 << 20, "parent": str(daemon.dir / "old.vhdx"), "device": "0:0", "job": 1, "text": "x",
             "items": [{"key": "k", "value": "v"}], "keys": ["k"], "source": str(daemon.kernel), "destination": "/x",
             "ops": [{"method": "vm.delete", "params": {"vm": "other"}}]}
    special = {"vm.modify_device": {"settings": {"path": ""}}, "vm.configure": {"settings": {"cpu.count": 3}},
               "vm.add_device": {"settings": {"kind": "scsi"}}, "image.create": {"size_bytes": 1 << 20}}
    given = {a["name"]: known.get(a["name"]) for a in method["args"] if not a.get("optional") and "default" not in a}
    return {**given, **special.get(name, {})}


def stored(daemon):
    return [path.read_bytes() for path in sorted(daemon.state.glob("vmms.db*"))]


@pytest.mark.parametrize("is_running", [False, True], ids=["off", "running"])
def test_no_plan_of_any_method_changes_anything(daemon, is_running):
    daemon.create("web")
    daemon.create("other")
    if is_running:
        daemon.call("vm.start", vm="web")
    before, events = stored(daemon), daemon.call("host.get")["last_event"]
    verdicts, files = set(), set(daemon.dir.iterdir())
    for name, method in mutating_methods():
        params = arguments(daemon, name, method)
        try:
            plan = daemon.call(name, plan=True, **params)["plan"]
        except RpcError as error:
            assert name == "job.cancel" and error.name == "NotFound", (name, error.message)
            continue
        verdicts.add(plan["verdict"])
        assert plan["verdict"] in ("ok", "needs_restart", "refused", "nothing_to_do")
        assert plan["policy"] and len(plan["plan_id"]) == 16
        assert (plan["verdict"] in ("refused", "needs_restart")) >= bool(plan["errors"])
        document = daemon.call("tx.plan", method=name, params=params)["plan"]
        assert document["verdict"] == plan["verdict"] and document["plan_id"] == plan["plan_id"], name
    assert {"ok", "refused"} <= verdicts
    assert daemon.call("host.get")["last_event"] == events
    assert stored(daemon) == before and set(daemon.dir.iterdir()) == files


def test_a_plan_tells_what_would_be_other(daemon):
    vm = daemon.create("web", notes="old")
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 3, "notes": None}, plan=True)["plan"]
    assert plan["diff"] == [
        {"object": vm["id"], "field": "notes", "from": "old", "when_off": False},
        {"object": vm["id"], "field": "cpu.count", "to": 3, "when_off": False}]
    assert plan["generations"] == [{"object": vm["id"], "generation": 1}] and plan["policy"] == ["vm.configure"]
    plan = daemon.call("vm.start", vm="web", plan=True)["plan"]
    assert plan["diff"] == [{"object": vm["id"], "field": "state", "from": "off", "to": "running", "when_off": False}]
    plan = daemon.call("vm.create", name="new", settings={"cpu.count": 2}, plan=True)["plan"]
    assert {d["field"]: d["to"] for d in plan["diff"] if not d["field"].startswith("scsi")} == {"name": "new", "cpu.count": 2}
    assert daemon.call("vm.turn_off", vm="web", plan=True)["plan"]["verdict"] == "nothing_to_do"


def test_a_plan_that_cannot_be_says_why(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    plan = daemon.call("vm.delete", vm="web", plan=True)["plan"]
    assert plan["verdict"] == "refused" and plan["errors"][0]["data"]["name"] == "InvalidState"
    assert plan["errors"] == [json_error(refused(daemon, "vm.delete", vm="web"))]
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 2}, plan=True)["plan"]
    assert plan["verdict"] == "needs_restart" and plan["errors"][0]["data"]["name"] == "RestartRequired"
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 2}, stage=True, plan=True)["plan"]
    assert plan["verdict"] == "needs_restart" and not plan["errors"] and plan["diff"][0]["when_off"]
    assert refused(daemon, "tx.plan", method="vm.list", params={}).field == "method"
    assert refused(daemon, "tx.plan", method="vm.lits", params={}).name == "MethodNotFound"
    assert refused(daemon, "tx.plan", method="vm.start", params="{").field == "params"
    document = daemon.call("tx.plan", method="vm.create", params='{"name": "x", "settings": {"cpu.count": 99}}')["plan"]
    assert document["verdict"] == "refused" and document["errors"][0]["data"]["field"] == "cpu.count"


def json_error(error):
    return {"code": error.code, "message": error.message, "data": error.data}


def test_a_plan_that_moved_is_not_carried_out(daemon):
    daemon.create("web")
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 3}, plan=True)["plan"]["plan_id"]
    assert refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 4}, plan_id=plan).name == "GenerationConflict"
    daemon.call("vm.configure", vm="web", settings={"notes": "moved"})
    error = refused(daemon, "vm.configure", vm="web", settings={"cpu.count": 3}, plan_id=plan)
    assert (error.name, error.field) == ("GenerationConflict", "plan_id")
    plan = daemon.call("vm.configure", vm="web", settings={"cpu.count": 3}, plan=True)["plan"]["plan_id"]
    daemon.call("vm.configure", vm="web", settings={"cpu.count": 3}, plan_id=plan)
    plan = daemon.call("vm.create", name="new", plan=True)["plan"]["plan_id"]
    daemon.call("vm.create", name="new")
    assert refused(daemon, "vm.create", name="new", plan_id=plan).name == "GenerationConflict"


def test_hvadm_prints_plans_and_holds_to_them(daemon):
    daemon.create("web")
    out = fine(daemon, "vm", "set", "web", "cpu.count=3", "notes=x", "--plan")
    assert "would            change notes\n" in out and "  +              cpu.count = 3\n" in out
    plan = out.split()[-1]
    assert "state: off -> running" in fine(daemon, "vm", "start", "web", "--plan")
    fine(daemon, "vm", "set", "web", "notes=y")
    fine(daemon, "vm", "set", "web", "cpu.count=3", "notes=x", "--plan-id", plan, status=6)
    assert json.loads(fine(daemon, "--json", "vm", "pause", "web", "--plan", status=6))["plan"]["verdict"] == "refused"
    fine(daemon, "vm", "pause", "web", "--plan", status=6)
