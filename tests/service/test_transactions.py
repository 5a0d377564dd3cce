# SPDX-License-Identifier: Apache-2.0
"""Transactions that make files and change VMs that run: a job whose steps are all done, or all taken back."""

import json
import random
import time

import pytest

import service
from service import RpcError, wait_until

MIB = 1 << 20


def op(method, /, **params):
    return {"method": method, "params": params}


def refused(daemon, method, /, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def both_workers(daemon, build):
    """Images are worked on by the real program, VMs run in the fake one."""
    worker = daemon.dir / "worker"
    worker.write_text(f'#!/bin/sh\ncase "$1" in --image) exec {build}/vmwp/vmwp "$@";; esac\nexec {daemon.worker} "$@"\n')
    worker.chmod(0o755)
    daemon.worker = worker
    daemon.images = daemon.dir / "images"
    daemon.images.mkdir()


@pytest.fixture
def both(build):
    daemon = service.Daemon(build)
    both_workers(daemon, build)
    daemon.start()
    yield daemon
    daemon.clean_up()


def running(daemon, name="on", **settings):
    vm = daemon.create(name, **settings)
    daemon.call("vm.start", vm=name)
    return vm


def path(daemon, name):
    return str(daemon.images / name)


def files(daemon):
    return sorted(p.name for p in daemon.images.iterdir())


def disks(daemon, vm):
    return [d["path"] for d in daemon.call("vm.get", vm=vm)["devices"] if d["kind"] == "disk"]


def definition(daemon, name, **more):
    return {"name": name, "settings": {"boot.kernel": str(daemon.kernel), "memory.startup": 64 * MIB}, **more}


def everything(daemon, name="web"):
    return [op("image.create", path=path(daemon, "new.vhdx"), size_bytes=8 * MIB),
            op("image.resize", path="$0.path", size_bytes=16 * MIB),
            op("image.convert", path="$0.path", to=path(daemon, "copy.vhd")),
            op("vm.add_device", vm="on", settings={"path": "$0.path"}),
            op("vm.create", **definition(daemon, name, devices=[{"path": "$2.path"}])),
            op("vm.configure", vm="$4.vm", settings={"cpu.count": 2}),
            op("vm.start", vm="$4.vm")]


def test_images_and_vms_are_made_as_one(both):
    running(both)
    done = both.call("tx.apply", ops=everything(both), wait=True)
    job = done["job"]
    assert job["state"] == "done" and job["type"] == "tx.apply" and job["percent"] == 100
    assert [s["state"] for s in job["steps"]] == ["done"] * 7
    assert files(both) == ["copy.vhd", "new.vhdx"] and disks(both, "on") == [path(both, "new.vhdx")]
    web = both.call("vm.get", vm="web")
    assert web["state"] == "running" and web["settings"]["cpu.count"] == 2 and disks(both, "web") == [path(both, "copy.vhd")]
    assert done["results"][0]["path"] == path(both, "new.vhdx") and done["results"][4]["vm"] == web["id"]
    assert done["results"][3]["device"] == both.call("vm.get", vm="on")["devices"][1]["id"]
    both.call("vm.turn_off", vm="web")
    assert both.call("image.info", path=path(both, "copy.vhd"))["size_bytes"] == 16 * MIB
    assert [e["type"] for e in both.events()].count("host.transaction_committed") == 1
    children = [j for j in both.call("job.list")["jobs"] if j.get("parent") == job["id"]]
    assert sorted(j["type"] for j in children) == ["image.convert", "image.create", "image.resize"]
    assert both.call("job.get", job=job["id"])["result"]["results"] == done["results"]


def test_configuration_alone_is_no_job_unless_it_has_a_key(both):
    assert "job" not in both.call("tx.apply", ops=[op("vm.create", name="a")])
    first = both.call("tx.apply", ops=[op("vm.create", name="b")], idempotency_key="k")
    assert first["job"]["state"] == "done" and not first["already"] and len(first["results"]) == 1
    both.kill()
    both.start()
    again = both.call("tx.apply", ops=[op("vm.create", name="b")], idempotency_key="k")
    assert again["already"] and again["results"] == first["results"] and again["job"]["id"] == first["job"]["id"]
    assert refused(both, "tx.apply", ops=[op("vm.create", name="c")], idempotency_key="k").field == "idempotency_key"
    assert [v["name"] for v in both.vms()] == ["a", "b"]


def test_the_same_key_is_the_same_job(both):
    ops = [op("image.create", path=path(both, "a.vhdx"), size_bytes=MIB)]
    first = both.call("tx.apply", ops=ops, idempotency_key="k")
    assert first["job"]["state"] == "running" and first["results"] == []
    assert both.call("tx.apply", ops=ops, idempotency_key="k", wait=True)["job"]["id"] == first["job"]["id"]
    assert files(both) == ["a.vhdx"]


def test_a_step_that_fails_takes_back_those_before_it(both):
    running(both, **{"boot.cmdline": "refuse=ChangeMedium"})
    both.call("vm.add_device", vm="on", settings={"kind": "dvd", "lun": 9})
    old = path(both, "old.img")
    with open(old, "wb") as file:
        file.truncate(MIB)
    first = both.call("vm.add_device", vm="on", settings={"path": old, "lun": 3})["device"]
    before = both.call("vm.get", vm="on")["devices"]
    error = refused(both, "tx.apply", wait=True, ops=[
        op("image.create", path=path(both, "new.vhdx"), size_bytes=MIB),
        op("vm.add_device", vm="on", settings={"path": "$0.path"}),
        op("vm.remove_device", vm="on", device=first),
        op("vm.create", name="web", devices=[{"path": "$0.path"}]),
        op("vm.modify_device", vm="on", device="0:9", settings={"path": old}),
        op("vm.turn_off", vm="on")])
    assert error.name == "TransactionAborted" and error.data["index"] == 4, error.message
    assert error.message.startswith("Nothing was done: call 4 (vm.modify_device) failed")
    assert files(both) == ["old.img"] and [v["name"] for v in both.vms()] == ["on"]
    vm = both.call("vm.get", vm="on")
    assert vm["devices"] == before and vm["state"] == "running"
    job = both.call("job.get", job=error.data["job"])
    assert job["state"] == "failed" and [s["state"] for s in job["steps"]] == ["undone"] * 6
    assert "host.transaction_committed" not in [e["type"] for e in both.events()]


@pytest.mark.parametrize("bad, name, said", [
    (op("image.compact", path="/a.vhdx"), "NotSupported", "cannot be taken back"),
    (op("image.merge", path="/a.vhdx"), "NotSupported", "cannot be taken back"),
    (op("image.set_parent", path="/a.vhdx", parent="/b.vhdx"), "NotSupported", "cannot be taken back"),
    (op("image.resize", path="/none.vhdx", size_bytes=MIB), "FileNotFound", "no file /none.vhdx"),
    (op("image.validate", path="/a.vhdx"), "NotSupported", "changes nothing"),
    (op("guest.copy_files", vm="on", source="/a", destination="/b"), "NotSupported", "cannot be taken from it"),
    (op("host.backup"), "NotSupported", "cannot be part"),
    (op("image.create", path="/nowhere/a.vhdx", size_bytes=MIB), "InvalidParameter", "folder"),
    (op("image.create", path="$0.path", size_bytes=MIB), "AlreadyExists", "makes"),
    (op("image.create", path="$0.vm", size_bytes=MIB), "InvalidParameter", "brings no vm"),
    (op("image.convert", path="/none.vhdx", to="/b.raw"), "FileNotFound", "no file /none.vhdx"),
], ids=range(11))
def test_what_has_no_place_is_refused_with_a_reason(both, bad, name, said):
    both.create("on")
    error = refused(both, "tx.apply", ops=[op("image.create", path=path(both, "a.vhdx"), size_bytes=MIB), bad])
    assert error.name == "TransactionAborted" and error.data["index"] == 1
    assert error.data["cause"]["data"]["name"] == name and said in error.message, error.message
    if name == "NotSupported" and bad["method"] != "host.backup":
        assert error.data["hint"]
    assert both.call("job.list")["jobs"] == [] and files(both) == []


def size_of(daemon, name):
    return daemon.call("image.info", path=path(daemon, name))["size_bytes"]


def test_an_image_that_is_there_is_resized_when_all_else_is_stored(both):
    """With its VM turned off before, and on after it; what fails then leaves what was stored."""
    old = path(both, "old.vhdx")
    both.call("image.create", path=old, size_bytes=4 * MIB, wait=True)
    both.create("db")
    both.call("vm.add_device", vm="db", settings={"path": old})
    both.call("vm.start", vm="db")
    ops = [op("vm.create", **definition(both, "web")), op("vm.turn_off", vm="db"),
           op("image.resize", path=old, size_bytes=8 * MIB), op("vm.start", vm="db"), op("vm.start", vm="$0.vm")]
    plan = both.call("tx.apply", ops=ops, plan=True)["plan"]
    assert [(s["what"], bool(s.get("undo"))) for s in plan["steps"]] == [(o["method"], False) for o in ops]
    assert [(f["path"], f["change"]) for f in plan["files"]] == [(old, "changed")]
    job = both.call("tx.apply", ops=ops, wait=True)["job"]
    assert job["state"] == "done" and [s["state"] for s in job["steps"]] == ["done"] * 5
    assert both.state_of("db") == both.state_of("web") == "running"
    assert [j["object"] for j in both.call("job.list")["jobs"] if j.get("parent") == job["id"]] == [old]
    # Its worker has it: the call fails, and says that what is before it stays.
    ops = [op("vm.configure", vm="db", settings={"notes": "stays"}), op("image.resize", path=old, size_bytes=16 * MIB),
           op("vm.turn_off", vm="db")]
    error = refused(both, "tx.apply", ops=ops, wait=True)
    assert error.name == "InUse" and error.data["index"] == 1
    assert "Call 1 (image.resize) failed, those before it are done: " in error.message
    assert both.call("vm.get", vm="db")["settings"]["notes"] == "stays" and both.state_of("db") == "running"
    both.call("vm.turn_off", vm="db")
    assert size_of(both, "old.vhdx") == 8 * MIB
    # Nothing comes behind it, and where something before it cannot be, it is not made.
    error = refused(both, "tx.apply", ops=[ops[1], ops[0]])
    assert error.data["index"] == 1 and "those come last" in error.message
    refused(both, "tx.apply", ops=[op("image.create", path=path(both, "x.vhdx"), size_bytes=MIB),
                                   op("image.convert", path=path(both, "none"), to=path(both, "y.raw")), ops[1]], wait=True)
    assert size_of(both, "old.vhdx") == 8 * MIB and files(both) == ["old.vhdx"]


def test_killed_while_it_resizes_it_does_that_in_its_next_life(both):
    both.call("image.create", path=path(both, "old.vhdx"), size_bytes=MIB, wait=True)
    slow = both.dir / "slow"
    slow.touch()
    both.worker.write_text(both.worker.read_text().replace("--image) ", f"--image) [ ! -e {slow} ] || sleep 1; "))
    ops = [op("vm.create", **definition(both, "web")),
           op("image.resize", path=path(both, "old.vhdx"), size_bytes=8 * MIB), op("vm.start", vm="$0.vm")]
    job = both.call("tx.apply", ops=ops)["job"]["id"]
    wait_until(lambda: any(j.get("parent") == job and j["state"] == "running" for j in both.call("job.list")["jobs"]),
               "it to resize")
    both.kill()
    slow.unlink()
    both.start()
    done = both.call("job.wait", job=job)
    assert done["state"] == "done" and [s["state"] for s in done["steps"]] == ["done"] * 3, done
    assert both.state_of("web") == "running" and size_of(both, "old.vhdx") == 8 * MIB
    assert sorted(j["state"] for j in both.call("job.list")["jobs"] if j.get("parent") == job) == ["done", "failed"]


def test_a_plan_tells_every_step_and_its_undo(both):
    running(both)
    plan = both.call("tx.apply", ops=everything(both), plan=True)["plan"]
    assert plan["verdict"] == "ok" and files(both) == []
    assert [s["what"] for s in plan["steps"]] == ["image.create", "image.resize", "image.convert", "vm.add_device",
                                                  "vm.create", "vm.configure", "vm.start"]
    assert [bool(s.get("undo")) for s in plan["steps"]] == [True] * 4 + [False] * 3
    assert plan["steps"][0]["undo"] == f"remove {path(both, 'new.vhdx')}" and "VM on" in plan["steps"][3]["undo"]
    assert [f["change"] for f in plan["files"]] == ["created", "changed", "created"]
    assert set(plan["policy"]) >= {"tx.apply", "image.write", "vm.create", "vm.power"}
    both.call("vm.configure", vm="on", settings={"notes": "moved"})
    assert refused(both, "tx.apply", ops=everything(both), plan_id=plan["plan_id"]).name == "GenerationConflict"
    plan = both.call("tx.apply", ops=everything(both), plan=True)["plan"]
    assert both.call("tx.apply", ops=everything(both), plan_id=plan["plan_id"], wait=True)["job"]["state"] == "done"


def hold_images(daemon, after):
    """So many workers work on images, the next ones wait until the file that is returned is gone."""
    gate, left = daemon.dir / "gate", daemon.dir / "left"
    gate.write_text("")
    left.write_text(str(after))
    daemon.worker.write_text(daemon.worker.read_text().replace("--image)", f"""--image)
    n=$(cat {left}); echo $((n - 1)) > {left}
    while [ "$n" -le 0 ] && [ -e {gate} ]; do sleep 0.05; done;"""))
    return gate


@pytest.mark.parametrize("how", ["cancel", "cancel_step", "deadline"])
def test_stopped_it_takes_back_what_it_did(both, how):
    running(both)
    before = both.call("vm.get", vm="on")["devices"]
    source = path(both, "source.raw")
    with open(source, "wb") as file:
        file.truncate(64 * MIB)
    gate = hold_images(both, after=2)
    deadline = {"deadline_ms": 4000} if how == "deadline" else {}
    job = both.call("tx.apply", **deadline, ops=[
        op("image.create", path=path(both, "new.vhdx"), size_bytes=MIB),
        op("vm.add_device", vm="on", settings={"path": "$0.path"}),
        op("image.convert", path=source, to=path(both, "copy.vhdx")),
        op("vm.create", name="web")])["job"]["id"]
    wait_until(lambda: disks(both, "on"), "the disk to be there")
    error = refused(both, "image.resize", path=path(both, "copy.vhdx"), size_bytes=MIB)
    assert error.name == "JobConflict" and f"job {job}" in error.message
    if how == "cancel":
        both.call("job.cancel", job=job)
    elif how == "cancel_step":
        copying = {"type": "image.convert", "state": "running"}
        wait_until(lambda: both.call("job.list", filter=copying)["jobs"], "the copy to begin")
        both.call("job.cancel", job=both.call("job.list", filter=copying)["jobs"][0]["id"])
    ended = both.call("job.wait", job=job, timeout_ms=20000)
    gate.unlink()
    wanted = {"cancel": ("cancelled", "Cancelled"), "cancel_step": ("failed", "TransactionAborted"),
              "deadline": ("failed", "Timeout")}[how]
    assert (ended["state"], ended["error"]["data"]["name"]) == wanted, ended["error"]["message"]
    assert files(both) == ["source.raw"] and [v["name"] for v in both.vms()] == ["on"]
    assert both.call("vm.get", vm="on")["devices"] == before


def is_whole(daemon, life):
    """All of a life's transaction, or nothing of it; tells which."""
    names = {f"a{life}.vhdx", f"b{life}.vhdx"}
    there = names & set(files(daemon))
    has_vm = f"web{life}" in [v["name"] for v in daemon.vms()]
    has_disk = path(daemon, f"a{life}.vhdx") in disks(daemon, "on")
    assert (there == names) == has_vm == has_disk and there in (names, set()), (there, has_vm, has_disk)
    if has_vm:
        assert daemon.wait_state(f"web{life}", "running")
    return has_vm


def test_killed_at_random_moments_it_is_all_or_nothing(both):
    """The service is killed while a transaction is under way: its next life finishes it or takes it back."""
    running(both)
    both.call("image.create", path=path(both, "old.vhdx"), size_bytes=MIB, wait=True)
    both.call("vm.create", **definition(both, "old", devices=[{"path": path(both, "old.vhdx")}]))
    size, outcomes = MIB, set()
    for life in range(14):
        socket = both.websocket()
        ops = [op("image.create", path=path(both, f"a{life}.vhdx"), size_bytes=MIB),
               op("vm.add_device", vm="on", settings={"path": "$0.path"}),
               op("image.create", path=path(both, f"b{life}.vhdx"), size_bytes=MIB),
               op("vm.create", **definition(both, f"web{life}", devices=[{"path": "$2.path"}])),
               op("image.resize", path=path(both, "old.vhdx"), size_bytes=(life + 2) * MIB),
               op("vm.start", vm="$3.vm")]
        socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tx.apply",
                                    "params": {"ops": ops, "wait": True}}).encode())
        if life == 13:
            socket.message()
        else:
            time.sleep(random.random() * 0.6)
        both.kill()
        both.start()
        wait_until(lambda: not both.call("job.list", filter={"active": True})["jobs"], "all jobs to end")
        outcomes.add(is_whole(both, life))
        size = (life + 2) * MIB if is_whole(both, life) else size
        assert size_of(both, "old.vhdx") == size
        both.call("tx.apply", ops=[op("vm.configure", vm="on", settings={"notes": f"{life}"})])
    assert True in outcomes
    known = {path(both, name) for name in files(both)}
    used = {d for vm in both.vms() for d in disks(both, vm["id"])}
    assert known == used, "no file without a VM, and no VM without its file"
    closed = [e for e in both.events() if e["type"] == "host.transaction_committed"]
    assert len(closed) == 14 + sum(v["name"].startswith("web") for v in both.vms())


def test_hvadm_makes_the_disks_of_a_document(both):
    disk = path(both, "web.vhdx")
    document = {"vms": [definition(both, "web", state="running", devices=[
        {"path": disk, "create": {"size_bytes": 8 * MIB, "type": "dynamic"}}])]}
    name = both.dir / "vms.json"
    name.write_text(json.dumps(document))
    out = both.hvadm("apply", "-f", str(name), "--plan").stdout
    assert f"image.create {disk}" in out and f"remove {disk}" in out and files(both) == []
    done = both.hvadm("apply", "-f", str(name), "--yes")
    assert done.returncode == 0, done.stderr
    assert files(both) == ["web.vhdx"] and both.state_of("web") == "running"
    assert both.hvadm("apply", "-f", str(name), "--yes").stdout == "Nothing to do.\n"
    more = {"path": path(both, "more.vhdx"), "create": {"size_bytes": 8 * MIB}}
    document["vms"][0]["devices"].append(more)
    name.write_text(json.dumps(document))
    done = both.hvadm("apply", "-f", str(name), "--yes", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["job"]["state"] == "done", done.stderr
    assert disks(both, "web") == [disk, path(both, "more.vhdx")]
    shown = both.hvadm("job", "show", str(json.loads(done.stdout)["job"]["id"])).stdout
    assert "done: image.create" in shown and "done: vm.add_device" in shown
    more["path"], more["create"] = path(both, "bad.vhdx"), {"size": 1}
    name.write_text(json.dumps(document))
    done = both.hvadm("apply", "-f", str(name), "--yes")
    assert done.returncode == 2 and "vms[0].devices[1].create.size" in done.stderr
