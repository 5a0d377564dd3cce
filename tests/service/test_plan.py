# SPDX-License-Identifier: Apache-2.0
"""Changes that wait for a VM to be off, plans that change nothing, transactions that are whole or nothing."""

import json
import signal

import pytest

from service import RpcError


def refused(daemon, method, **params):
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
    daemon.type("web", "kill\n").close()
    assert daemon.wait_state("web", "off")["settings"]["memory.startup"] == 128 << 20


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
