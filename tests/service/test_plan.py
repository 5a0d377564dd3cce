# SPDX-License-Identifier: Apache-2.0
"""Changes that wait for a VM to be off, plans that change nothing, transactions that are whole or nothing."""

import json
import pathlib
import re
import signal

import pytest

from service import RpcError, wait_until


def refused(daemon, method, /, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    return caught.value


def fine(daemon, *args, status=0, **kwargs):
    done = daemon.hvadm(*args, **kwargs)
    assert done.returncode == status, (done.returncode, done.stderr)
    return done.stdout


def shown(daemon):
    """What hvadm shows of web, whatever its columns."""
    return re.sub(" +", " ", fine(daemon, "vm", "show", "web"))


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
    assert "when off add scsi 1" in shown(daemon)
    fine(daemon, "vm", "remove", "web", "scsi", pending["add"][2]["id"], "--stage")
    vm = daemon.call("vm.turn_off", vm="web")["vm"]
    assert [(d["kind"], d["controller"]) for d in vm["devices"]] == [("scsi", 2), ("disk", 2)]


def test_hvadm_stages_shows_and_drops(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    fine(daemon, "vm", "set", "web", "cpu.count=3", status=6)
    fine(daemon, "vm", "set", "web", "cpu.count=3", "memory.startup=128M", "--stage")
    told = shown(daemon)
    assert "when off cpu.count = 3" in told and "when off memory.startup = 128 MiB" in told
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
             "ops": [{"method": "vm.delete", "params": {"vm": "other"}}], "group": "pair", "member": "web"}
    special = {"vm.modify_device": {"settings": {"path": ""}}, "vm.configure": {"settings": {"cpu.count": 3}},
               "vm.add_device": {"settings": {"kind": "scsi"}}, "image.create": {"size_bytes": 1 << 20},
               "group.configure": {"notes": "new"}}
    given = {a["name"]: known.get(a["name"]) for a in method["args"] if not a.get("optional") and "default" not in a}
    return {**given, **special.get(name, {})}


def stored(daemon):
    return [path.read_bytes() for path in sorted(daemon.state.glob("vmms.db*"))]


@pytest.mark.parametrize("is_running", [False, True], ids=["off", "running"])
def test_no_plan_of_any_method_changes_anything(daemon, is_running):
    daemon.create("web")
    daemon.create("other")
    daemon.call("group.create", name="pair")
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


def op(method, /, **params):
    return {"method": method, "params": params}


def test_a_transaction_is_stored_whole_and_closed_by_one_event(daemon):
    image = daemon.dir / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    daemon.create("old")
    done = daemon.call("tx.apply", ops=[
        op("vm.create", name="web", settings={"boot.kernel": str(daemon.kernel), "memory.startup": 64 << 20}),
        op("vm.add_device", vm="$0.vm", settings={"path": str(image)}),
        op("vm.configure", vm="$0.vm", settings={"cpu.count": 2}),
        op("vm.remove_device", vm="web", device="$1.device"),
        op("vm.add_device", vm="web", settings={"path": str(image), "lun": 5}),
        op("vm.configure", vm="old", settings={"notes": ""}),
        op("vm.delete", vm="old"),
        op("vm.start", vm="$0.vm")], wait=True)
    vm = daemon.call("vm.get", vm="web")
    assert vm["state"] == "running" and vm["settings"]["cpu.count"] == 2 and vm["devices"][1]["lun"] == 5
    assert [r["already"] for r in done["results"]] == [False] * 8 and done["results"][2]["vm"] == vm["id"]
    events = [e["type"] for e in daemon.events()]
    assert events[:9] == ["vm.created", "job.started", "vm.created", "device.added", "vm.configured", "device.removed",
                          "device.added", "vm.configured", "vm.deleted"]
    assert events[9] == "host.transaction_committed" and done["job"]["state"] == "done"
    assert [v["name"] for v in daemon.call("vm.list")["vms"]] == ["web"]
    daemon.kill()
    daemon.start()
    again = daemon.call("vm.get", vm="web")
    assert (again["settings"], again["devices"], again["state"]) == (vm["settings"], vm["devices"], "running")


@pytest.mark.parametrize("bad, name, index", [
    (op("vm.create", name="web"), "AlreadyExists", 2),
    (op("vm.configure", vm="nobody", settings={}), "NotFound", 2),
    (op("vm.configure", vm="web", settings={"cpu.count": 99}), "InvalidParameter", 2),
    (op("vm.configure", vm="on", settings={"cpu.count": 2}), "RestartRequired", 2),
    (op("vm.create", name="x", settings={"boot.kernel": "/nowhere"}), "FileNotFound", 2),
    (op("vm.create", name="old"), "AlreadyExists", 2),
    (op("vm.delete", vm="on"), "InvalidState", 2),
    (op("vm.pause", vm="renamed"), "InvalidState", 2),
    (op("vm.list"), "NotSupported", 2),
    (op("vm.create", name="$2.vm"), "InvalidParameter", 2),
    (op("vm.create", name="$0.device"), "InvalidParameter", 2),
    (op("vm.add_device", vm="on", settings={"kind": "scsi"}), "RestartRequired", 2),
    ({"method": "vm.start"}, "InvalidParameter", 2),
    ({"method": "vm.start", "params": {"vm": "old", "plan": True}}, "InvalidParameter", 2),
    ({"verb": "vm.start"}, "InvalidParameter", 2),
    (5, "InvalidParameter", 2),
], ids=range(16))
def test_of_a_transaction_with_a_bad_step_nothing_is_done(daemon, bad, name, index):
    daemon.create("old", notes="n")
    daemon.create("on")
    daemon.call("vm.start", vm="on")
    before, events = daemon.call("vm.get", vm="old"), daemon.call("host.get")["last_event"]
    ops = [op("vm.create", name="web"), op("vm.configure", vm="old", settings={"name": "renamed"}), bad]
    error = refused(daemon, "tx.apply", ops=ops)
    assert error.name == "TransactionAborted" and error.data["index"] == index
    assert error.data["cause"]["data"]["name"] == name, error.message
    plan = daemon.call("tx.apply", ops=ops, plan=True)["plan"]
    assert plan["verdict"] == "refused" and plan["errors"] == [json_error(error)]
    assert daemon.call("vm.get", vm="old") == before and daemon.call("host.get")["last_event"] == events
    assert sorted(v["name"] for v in daemon.call("vm.list")["vms"]) == ["old", "on"]


def test_what_is_no_transaction_is_refused(daemon):
    start = op("vm.start", vm="x")
    for ops in ([], {}, "[", 5, [start] * 257):
        assert refused(daemon, "tx.apply", ops=ops).field == "ops"
    daemon.create("x")
    error = refused(daemon, "tx.apply", ops=[start, op("vm.delete", vm="x")])
    assert error.data["index"] == 1 and "come last" in error.message


def test_a_power_verb_that_fails_leaves_what_was_stored(daemon):
    error = refused(daemon, "tx.apply", wait=True, ops=[
        op("vm.create", name="web", settings={"boot.kernel": str(daemon.kernel), "boot.cmdline": "refuse=Start"}),
        op("vm.start", vm="$0.vm")])
    assert error.data["index"] == 1 and "those before it are done" in error.message
    assert daemon.wait_state("web", "off")


def test_transactions_are_planned_and_done_once(daemon):
    ops = [op("vm.create", name="web", settings={"cpu.count": 2}), op("vm.create", name="db")]
    plan = daemon.call("tx.apply", ops=ops, plan=True)["plan"]
    assert plan["verdict"] == "ok" and [s["what"] for s in plan["steps"]] == ["vm.create", "vm.create"]
    assert {"object": "web", "field": "cpu.count", "to": 2, "when_off": False} in plan["diff"]
    assert plan["policy"] == ["tx.apply", "vm.create"] and daemon.call("vm.list")["vms"] == []
    assert daemon.call("tx.apply", ops=ops, plan_id=plan["plan_id"])["event_seq"] == 3
    ops = [op("vm.configure", vm="web", settings={"cpu.count": 3}), op("vm.configure", vm="db", settings={"cpu.count": 1})]
    plan = daemon.call("tx.apply", ops=ops, plan=True)["plan"]["plan_id"]
    daemon.call("vm.configure", vm="web", settings={"notes": "moved"})
    assert refused(daemon, "tx.apply", ops=ops, plan_id=plan).name == "GenerationConflict"
    assert daemon.call("tx.apply", ops=[op("vm.configure", vm="db", settings={"notes": ""})])["already"] is False
    assert daemon.call("tx.apply", ops=[op("vm.configure", vm="db", settings={"notes": ""})])["already"]


def test_after_a_kill_a_transaction_is_whole_or_nothing(daemon):
    """Killed at random moments while transactions of five VMs come in: a set is there or it is not."""
    acknowledged = set()
    for life in range(6):
        socket = daemon.websocket()
        for i in range(20):
            ops = [op("vm.create", name=f"t{life}.{i}.{n}") for n in range(5)]
            socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": i, "method": "tx.apply", "params": {"ops": ops}}).encode())
        for i in range(life * 3):
            answer = json.loads(socket.message()[1])
            acknowledged.add(f"t{life}.{answer['id']}")
        daemon.kill()
        daemon.start()
    sets = {}
    for vm in daemon.vms(fields=["name"]):
        sets.setdefault(vm["name"].rsplit(".", 1)[0], []).append(vm["name"])
    assert all(len(names) == 5 for names in sets.values()) and acknowledged <= set(sets)
    closed = [e for e in daemon.events() if e["type"] == "host.transaction_committed"]
    assert len(closed) == len(sets)


def test_a_call_that_queues_waits_for_what_is_in_its_way(daemon):
    daemon.create("web", **{"boot.cmdline": "slow=700"})
    starting, waiting = daemon.websocket(), daemon.websocket()
    starting.frame(1, b'{"jsonrpc":"2.0","id":1,"method":"vm.start","params":{"vm":"web"}}')
    daemon.wait_state("web", "starting")
    drive = {"vm": "web", "settings": {"kind": "dvd"}}
    assert refused(daemon, "vm.add_device", **drive).name == "InvalidState"
    assert json.loads(starting.message()[1])["result"]["vm"]["state"] == "running"
    console = daemon.type("web", "deaf\n")
    console.read_until(b"deaf\n")
    starting.frame(1, b'{"jsonrpc":"2.0","id":2,"method":"vm.pause","params":{"vm":"web"}}')
    wait_until(lambda: daemon.call("vm.reset", vm="web", plan=True)["plan"]["conflicts"], "the pause to be under way")
    assert "queue=true" in refused(daemon, "vm.reset", vm="web").data["hint"]
    waiting.frame(1, json.dumps([{"jsonrpc": "2.0", "id": i, "method": "vm.reset", "params": {"vm": "web", "queue": True}}
                                 for i in range(17)]).encode())
    wait_until(lambda: refused(daemon, "vm.reset", vm="web", queue=True).name == "JobConflict", "the queue to be full")
    assert daemon.call("vm.turn_off", vm="web")["vm"]["state"] == "off", "nothing is in the way of turning off"
    answers = {a["id"]: a["error"]["data"]["name"] for a in json.loads(waiting.message()[1])}
    assert len(answers) == 17 and set(answers.values()) == {"JobConflict", "InvalidState"}
    assert list(answers.values()).count("JobConflict") == 1, "only so many may wait"
    console.close()


def test_hvadm_queues(daemon):
    daemon.create("web")
    fine(daemon, "vm", "start", "web", "--queue")
    fine(daemon, "vm", "pause", "web", "--queue")
    assert daemon.state_of("web") == "paused"
