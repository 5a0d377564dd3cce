# SPDX-License-Identifier: Apache-2.0
"""Guests through their integration services: asked, given things, heard of; by a worker that may lie."""

import json
import os
import select
import signal
import time

import pytest

from service import RpcError, wait_until


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def running(daemon, name="web", cmdline=""):
    daemon.create(name, **{"boot.cmdline": cmdline})
    daemon.call("vm.start", vm=name)


def printed(daemon, vm="web"):
    return daemon.call("vm.console_log", vm=vm)["data"]


def wait_printed(daemon, text, vm="web"):
    wait_until(lambda: text in printed(daemon, vm), f"{vm} to print {text}")


class Guest:
    """Somebody at the console, who makes the fake's guest do things, and stays there."""

    kept = []

    def __init__(self, daemon, vm="web"):
        self.kept.append(self)
        self.console = daemon.websocket()
        self.console.call("vm.console", {"vm": vm})

    def does(self, line):
        self.console.frame(2, (line + "\n").encode())


def types(daemon):
    return [e["type"] for e in daemon.events()]


def wait_event(daemon, kind, count=1):
    wait_until(lambda: types(daemon).count(kind) >= count, f"the event {kind}")
    return [e for e in daemon.events() if e["type"] == kind]


METHODS = [
    ("guest.shutdown", {}), ("guest.reboot", {}), ("guest.get", {}),
    ("guest.copy_files", {"source": "/etc/hostname", "destination": "/tmp/x"}),
    ("console.type_text", {"text": "x"}), ("console.ctrl_alt_del", {}),
]


KVP = [("guest.add_kvp", {"items": [{"key": "new", "value": "v"}]}),
       ("guest.modify_kvp", {"items": [{"key": "old", "value": "w"}]}), ("guest.remove_kvp", {"keys": ["old"]})]


@pytest.mark.parametrize("method, params", METHODS)
def test_a_vm_that_is_off_has_no_guest(daemon, method, params):
    assert refused(daemon, method, vm="web", **params).name == "NotFound"
    daemon.create("web")
    error = refused(daemon, method, vm="web", **params)
    assert error.name == "InvalidState" and error.data["state"] == "off"
    assert "running" in error.data["allowed_states"]


@pytest.mark.parametrize("method, params", [*(m for m in METHODS if m[0] != "guest.get"), *KVP])
def test_a_plan_does_nothing(daemon, method, params):
    running(daemon)
    daemon.call("guest.add_kvp", vm="web", items=[{"key": "old", "value": "v"}])
    before = (printed(daemon), types(daemon))
    plan = daemon.call(method, vm="web", plan=True, **params)["plan"]
    assert plan["verdict"] == "ok" and plan["steps"] and plan.get("generation", 1)
    assert (printed(daemon), types(daemon)) == before
    assert refused(daemon, method, vm="web", expected_generation=99, **params).name == "GenerationConflict"


@pytest.mark.parametrize("params, field", [
    ({"force": "yes"}, "force"), ({"timeout_ms": 0}, "timeout_ms"), ({"timeout_ms": 3600001}, "timeout_ms"),
    ({"reason": "a\nb"}, "reason"), ({"reason": "x" * 1001}, "reason"), ({"when": "now"}, "when"),
])
def test_a_bad_shutdown_is_refused_by_its_field(daemon, params, field):
    running(daemon)
    assert refused(daemon, "guest.shutdown", vm="web", **params).field == field
    assert daemon.state_of("web") == "running"


def test_a_guest_shuts_down_when_asked(daemon):
    running(daemon)
    answer = daemon.call("guest.shutdown", vm="web", reason="the evening")
    assert answer["vm"]["state"] == "off" and answer["vm"]["cause"] == "guest_shutdown"
    assert answer["vm"]["cause_message"] == "The guest shut down as it was asked to."
    assert "shutdown force=0 reason=the evening" in printed(daemon)
    accepted = wait_event(daemon, "guest.shutdown_accepted")[0]
    assert accepted["actor"] == f"uid:{os.getuid()}" and accepted["data"] == {"kind": "shutdown"}
    assert types(daemon)[-2:] == ["vm.state_changed", "vm.worker_exited"]


def test_a_guest_restarts_when_asked(daemon):
    running(daemon)
    answer = daemon.call("guest.reboot", vm="web", force=True)
    assert answer["vm"]["state"] == "running" and answer["vm"]["on_time_ms"] < 5000
    assert "reboot force=1" in printed(daemon)
    assert "vm.guest_reset" in types(daemon)
    daemon.call("vm.pause", vm="web")


def test_who_does_not_wait_is_answered_at_once(daemon):
    running(daemon)
    assert daemon.call("guest.shutdown", vm="web", wait=False)["vm"]["state"] == "running"
    assert daemon.wait_state("web", "off")["cause"] == "guest_shutdown"


def test_a_guest_that_turns_itself_off_was_not_asked(daemon):
    running(daemon)
    Guest(daemon).does("off")
    assert daemon.wait_state("web", "off")["cause"] == "guest_power_off"


@pytest.mark.parametrize("how, name", [("notready", "GuestNotReady"), ("locked", "GuestLocked"), ("refuse", "Failed")])
def test_a_guest_may_refuse(daemon, how, name):
    running(daemon, cmdline=f"guest={how}")
    error = refused(daemon, "guest.shutdown", vm="web")
    assert error.name == name and daemon.state_of("web") == "running"
    data = wait_event(daemon, "guest.shutdown_refused")[0]["data"]
    assert data["error"] == name and data["message"] == error.message
    daemon.call("vm.pause", vm="web")
    assert refused(daemon, "guest.shutdown", vm="web").name == "InvalidState"


def test_force_opens_a_locked_guest(daemon):
    running(daemon, cmdline="guest=locked")
    assert daemon.call("guest.shutdown", vm="web", force=True)["vm"]["state"] == "off"


def test_a_service_that_is_switched_off_is_not_asked(daemon):
    running(daemon)
    daemon.call("vm.configure", vm="web", settings={"integration.shutdown": False, "integration.guest_services": True})
    wait_printed(daemon, "switched heartbeat=1 shutdown=0 time_sync=1 kvp=1 vss=1 guest_services=1")
    error = refused(daemon, "guest.shutdown", vm="web")
    assert error.name == "GuestNotReady" and "integration.shutdown" in error.message
    daemon.call("vm.configure", vm="web", settings={"integration.shutdown": None})
    assert daemon.call("guest.shutdown", vm="web")["vm"]["state"] == "off"
    assert refused(daemon, "vm.configure", vm="web", settings={"integration.shutdwn": True}).data["nearest"][0] == "integration.shutdown"


def test_a_guest_that_says_yes_and_stays_is_waited_for_only_so_long(daemon):
    running(daemon, cmdline="guest=ignore")
    begun = time.monotonic()
    error = refused(daemon, "guest.shutdown", vm="web", timeout_ms=1000)
    assert error.name == "Timeout" and "may still" in error.message and 0.9 < time.monotonic() - begun < 5
    daemon.call("vm.pause", vm="web")
    daemon.call("vm.resume", vm="web")
    Guest(daemon).does("off")
    assert daemon.wait_state("web", "off")["cause"] == "guest_shutdown"


def test_while_a_guest_shuts_down_others_are_told(daemon):
    running(daemon, cmdline="guest=ignore")
    socket = daemon.websocket()
    socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": 5, "method": "guest.shutdown", "params": {"vm": "web"}}).encode())
    wait_event(daemon, "guest.shutdown_accepted")
    assert refused(daemon, "guest.shutdown", vm="web").name == "ShutdownInProgress"
    assert refused(daemon, "guest.reboot", vm="web").name == "ShutdownInProgress"
    assert refused(daemon, "vm.pause", vm="web").name == "JobConflict"
    assert daemon.call("vm.turn_off", vm="web")["vm"]["cause"] == "turn_off"
    assert json.loads(socket.message()[1])["error"]["data"]["name"] == "Cancelled"


def test_a_worker_that_dies_answers_who_waits(daemon):
    running(daemon, cmdline="guest=ignore")
    socket = daemon.websocket()
    socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": 5, "method": "guest.reboot", "params": {"vm": "web"}}).encode())
    wait_event(daemon, "guest.shutdown_accepted")
    os.kill(daemon.call("vm.get", vm="web")["worker_pid"], signal.SIGKILL)
    assert json.loads(socket.message()[1])["error"]["data"]["name"] == "WorkerLost"
    assert daemon.state_of("web") == "off"


def test_heartbeats_and_addresses_are_told_and_kept(daemon):
    running(daemon)
    assert daemon.call("vm.get", vm="web")["heartbeat"] == "no_contact"
    guest = Guest(daemon)
    guest.does("os Debian 12")
    guest.does("ip 10.0.0.7")
    guest.does("beat ok")
    wait_event(daemon, "guest.heartbeat_changed")
    vm = daemon.call("vm.list", fields=["heartbeat", "guest_os", "guest_addresses"])["vms"][0]
    assert vm == {"heartbeat": "ok", "guest_os": "Debian 12", "guest_addresses": ["10.0.0.7"]}
    guest.does("beat lost")
    events = wait_event(daemon, "guest.heartbeat_changed", 2)
    assert [e["data"] for e in events] == [{"from": "no_contact", "to": "ok"}, {"from": "ok", "to": "lost"}]
    assert wait_event(daemon, "guest.ip_changed")[0]["data"] == {"addresses": ["10.0.0.7"]}
    daemon.call("vm.pause", vm="web")
    assert daemon.call("vm.get", vm="web")["heartbeat"] == "paused"
    daemon.call("vm.resume", vm="web")
    guest.does("reset")
    wait_until(lambda: daemon.call("vm.get", vm="web")["heartbeat"] == "no_contact", "the new guest to be unknown")
    assert "guest_os" not in daemon.call("vm.get", vm="web")
    daemon.call("vm.turn_off", vm="web")
    assert "heartbeat" not in daemon.call("vm.get", vm="web")


def test_a_guest_that_flaps_has_a_budget_and_the_last_word(daemon):
    running(daemon)
    guest = Guest(daemon)
    guest.does("storm")
    guest.does("beat error")
    wait_until(lambda: daemon.call("vm.get", vm="web").get("heartbeat") == "error", "the last word")
    assert 5 <= types(daemon).count("guest.heartbeat_changed") <= 21
    guest.does("off")
    daemon.wait_state("web", "off")


def test_garbled_signals_are_noted_and_change_nothing(daemon):
    running(daemon)
    before = types(daemon)
    guest = Guest(daemon)
    guest.does("garble")
    guest.does("beat ok")
    wait_event(daemon, "guest.heartbeat_changed")
    assert types(daemon) == [*before, "guest.heartbeat_changed"]
    assert daemon.log_text().count("malformed signal") == 4


def test_a_panic_is_told_with_its_text(daemon):
    running(daemon)
    Guest(daemon).does("panic Kernel panic - not syncing: \x1b[31mhm")
    event = wait_event(daemon, "vm.guest_crashed")[0]
    assert event["actor"] == "guest" and event["data"]["cause"] == "guest_panic"
    assert event["data"]["parameters"] == ["0xdead", "0x1", "0x2", "0x3", "0xffffffffffffffff"]
    assert event["data"]["text"].startswith("Kernel panic - not syncing")
    assert daemon.state_of("web") == "running"


def test_a_disk_that_fails_is_told_of(daemon):
    disk = daemon.dir / "disk.img"
    disk.write_bytes(b"\0" * 512)
    daemon.create("web")
    device = daemon.call("vm.add_device", vm="web", settings={"path": str(disk)})["device"]
    daemon.call("vm.start", vm="web")
    guest = Guest(daemon)
    guest.does("ioerror 00000000-0000-4000-8000-000000000000")
    guest.does(f"ioerror {device}")
    event = wait_event(daemon, "device.io_error")[0]
    assert event["data"]["device"]["id"] == device and "broken" in event["data"]["message"]
    assert types(daemon).count("device.io_error") == 1
    # It stays so over a restart of the service, until the disk or the VM's run is over.
    for _ in range(2):
        assert daemon.call("vm.get", vm="web")["operational_status"] == ["predictive_failure"]
        assert "predictive_failure" in daemon.hvadm("vm", "show", "web").stdout
        daemon.kill()
        daemon.start()
    daemon.call("vm.turn_off", vm="web")
    assert daemon.call("vm.get", vm="web")["operational_status"] == ["ok"]


def test_pairs_are_given_changed_and_taken_back(daemon):
    running(daemon)
    daemon.call("guest.add_kvp", vm="web", items=[{"key": "colour", "value": "blue"}, {"key": "naïve", "value": ""}])
    assert refused(daemon, "guest.add_kvp", vm="web", items=[{"key": "colour", "value": "red"}]).name == "AlreadyExists"
    assert refused(daemon, "guest.modify_kvp", vm="web", items=[{"key": "shape", "value": "x"}]).name == "NotFound"
    daemon.call("guest.modify_kvp", vm="web", items=[{"key": "colour", "value": "red"}])
    kvp = daemon.call("guest.get", vm="web")["kvp"]
    assert {"source": "host", "key": "colour", "value": "red"} in kvp
    daemon.call("guest.remove_kvp", vm="web", keys=["colour"])
    assert refused(daemon, "guest.remove_kvp", vm="web", keys=["colour"]).name == "NotFound"


def host_pairs(daemon):
    return {k["key"]: k["value"] for k in daemon.call("guest.get", vm="web")["kvp"] if k["source"] == "host"}


def kept_pairs(daemon):
    return {k["key"]: k["value"] for k in daemon.call("vm.get", vm="web")["guest_pairs"]}


def test_pairs_are_kept_with_the_vm_and_given_at_each_start(daemon):
    daemon.create("web")
    before = daemon.call("vm.get", vm="web")["generation"]
    given = daemon.call("guest.add_kvp", vm="web", items=[{"key": "colour", "value": "blue"}, {"key": "size", "value": ""}])
    assert given == {"done": False}
    assert daemon.call("vm.get", vm="web")["generation"] == before + 1
    event = wait_event(daemon, "guest.kvp_changed")[0]
    assert event["data"] == {"added": ["colour", "size"]} and event["actor"] == f"uid:{os.getuid()}"
    daemon.kill(signal.SIGKILL)
    daemon.start()
    assert kept_pairs(daemon) == {"colour": "blue", "size": ""}
    daemon.call("vm.start", vm="web")
    assert host_pairs(daemon) == {"colour": "blue", "size": ""}
    assert daemon.call("guest.modify_kvp", vm="web", items=[{"key": "colour", "value": "red"}]) == {"done": True}
    daemon.call("vm.turn_off", vm="web")
    assert kept_pairs(daemon)["colour"] == "red"
    assert daemon.call("guest.remove_kvp", vm="web", keys=["size", "size"]) == {"done": False}
    daemon.call("vm.start", vm="web")
    assert host_pairs(daemon) == {"colour": "red"}


def test_a_worker_that_missed_a_change_of_pairs_hears_of_it_when_it_is_found_again(daemon):
    running(daemon)
    assert daemon.call("guest.add_kvp", vm="web", items=[{"key": "colour", "value": "blue"}]) == {"done": True}
    assert printed(daemon).count("pairs 1\n") == 1
    daemon.kill(signal.SIGKILL)
    daemon.start()
    wait_until(lambda: printed(daemon).count("pairs 1\n") == 2, "the worker to be told again")


@pytest.mark.parametrize("word", ["kvp=later", "kvp=fail"])
def test_a_guest_that_cannot_take_pairs_now_gets_them_later(daemon, word):
    running(daemon, cmdline=word)
    assert daemon.call("guest.add_kvp", vm="web", items=[{"key": "colour", "value": "blue"}]) == {"done": False}
    done = daemon.hvadm("guest", "kvp", "web", "set", "colour=red")
    assert done.returncode == 0 and done.stdout.startswith("kept; the guest gets it when"), done.stderr
    assert kept_pairs(daemon) == {"colour": "red"}


def test_a_guest_is_given_128_pairs_and_no_more(daemon):
    daemon.create("web")
    for at in (0, 64):
        items = [{"key": f"key{at + i}", "value": "v" * 1022} for i in range(64)]
        daemon.call("guest.add_kvp", vm="web", items=items)
    error = refused(daemon, "guest.add_kvp", vm="web", items=[{"key": "more", "value": ""}])
    assert (error.name, error.field) == ("TooLarge", "items") and "128" in error.message
    daemon.call("guest.remove_kvp", vm="web", keys=["key7"])
    daemon.call("guest.add_kvp", vm="web", items=[{"key": "more", "value": ""}])
    daemon.kill(signal.SIGKILL)
    daemon.start()
    kept = list(kept_pairs(daemon))
    assert len(kept) == 128 and kept[-1] == "more" and "key7" not in kept
    daemon.call("vm.delete", vm="web")
    daemon.create("web")
    assert kept_pairs(daemon) == {}


def test_pairs_of_which_one_is_wrong_change_nothing(daemon):
    daemon.create("web")
    daemon.call("guest.add_kvp", vm="web", items=[{"key": "a", "value": "1"}])
    for method, params, name in (
            ("guest.add_kvp", {"items": [{"key": "b", "value": ""}, {"key": "a", "value": ""}]}, "AlreadyExists"),
            ("guest.modify_kvp", {"items": [{"key": "a", "value": ""}, {"key": "b", "value": ""}]}, "NotFound"),
            ("guest.remove_kvp", {"keys": ["a", "b"]}, "NotFound"),
            ("guest.remove_kvp", {"keys": ["a"], "expected_generation": 99}, "GenerationConflict")):
        assert refused(daemon, method, vm="web", **params).name == name
    assert kept_pairs(daemon) == {"a": "1"} and types(daemon).count("guest.kvp_changed") == 1


@pytest.mark.parametrize("items, field", [
    ([{"key": "", "value": "v"}], "items.key"), ([{"key": "x" * 255, "value": "v"}], "items.key"),
    ([{"key": "k", "value": "v" * 1023}], "items.value"), ([{"key": "k"}], "items.value"),
    ([{"key": "k\n", "value": "v"}], "items.key"), ("k=v", "items"), ([{"key": "k", "value": "v"}] * 129, "items"),
    ([{"key": "k", "value": "v", "source": "guest"}], "items.source"),
])
def test_bad_pairs_are_refused_by_their_field(daemon, items, field):
    running(daemon)
    assert refused(daemon, "guest.add_kvp", vm="web", items=items).field == field


def test_a_guest_is_shown(daemon):
    running(daemon)
    guest = Guest(daemon)
    guest.does("os Debian 12")
    guest.does("ip 10.0.0.7")
    guest.does("beat ok")
    wait_event(daemon, "guest.heartbeat_changed")
    shown = daemon.call("guest.get", vm="web")
    assert shown["name"] == "web" and shown["heartbeat"] == "ok" and shown["heartbeat_age_ms"] == 1234
    assert shown["os"] == "Debian 12" and shown["addresses"] == ["10.0.0.7"]
    assert shown["services"] == [{"service": "heartbeat", "status": "ok", "version": "3.0"},
                                 {"service": "kvp", "status": "no_contact"}]
    assert {"source": "guest_intrinsic", "key": "OSName", "value": "Debian 12"} in shown["kvp"]


def test_what_a_worker_says_of_its_guest_is_bounded(daemon):
    running(daemon, cmdline="many")
    shown = daemon.call("guest.get", vm="web")
    assert len(shown["kvp"]) == 1024 and len(shown["addresses"]) == 64


def test_a_worker_that_does_not_answer_delays_nobody(daemon):
    running(daemon)
    Guest(daemon).does("deaf")
    wait_printed(daemon, "deaf")
    socket = daemon.websocket()
    socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": 5, "method": "guest.get", "params": {"vm": "web"}}).encode())
    assert daemon.call("vm.list")["vms"][0]["heartbeat"] == "no_contact"
    daemon.create("other")
    daemon.call("vm.start", vm="other")
    assert not select.select([socket.socket], [], [], 0)[0], "the others waited for its answer"
    assert json.loads(socket.message()[1])["error"]["data"]["name"] == "WorkerUnresponsive"


@pytest.mark.parametrize("source, name", [("/nowhere", "FileNotFound"), ("/tmp", "InvalidParameter"),
                                          ("/dev/zero", "InvalidParameter"), ("/proc/self/status", "InvalidParameter"),
                                          ("relative", "InvalidParameter")])
def test_only_a_regular_file_is_copied(daemon, source, name):
    running(daemon)
    error = refused(daemon, "guest.copy_files", vm="web", source=source, destination="/tmp/x", wait=True)
    assert (error.name, error.field) == (name, "source")


def test_a_file_is_copied(daemon):
    running(daemon)
    source = daemon.dir / "file"
    source.write_bytes(b"hello " + b"x" * 5000)
    job = copy(daemon, source=str(source), create_path=True, wait=True)
    assert job["result"] == {"bytes": 5006} and job["state"] == "done" and job["percent"] == 100
    assert "copied 5006 /tmp/x flags=2 hello" in printed(daemon)
    event = wait_event(daemon, "guest.file_copied")[0]
    assert event["vm_name"] == "web" and event["job"] == job["id"] and event["data"]["result"] == {"bytes": 5006}


def copy(daemon, **more):
    return daemon.call("guest.copy_files", **{"vm": "web", "source": "/etc/hostname", "destination": "/tmp/x", **more})["job"]


def ended(daemon, job):
    return daemon.call("job.wait", job=job["id"], timeout_ms=10000)


def test_a_copy_tells_how_far_it_is_and_is_cancelled(daemon):
    running(daemon, cmdline="copy=endless")
    job = copy(daemon)
    wait_until(lambda: daemon.call("job.get", job=job["id"])["percent"] == 25, "a quarter")
    assert daemon.call("job.get", job=job["id"])["object"] == daemon.call("vm.get", vm="web")["id"]
    error = refused(daemon, "guest.copy_files", vm="web", source="/etc/hostname", destination="/tmp/y")
    assert error.name == "JobConflict" and error.data["holder"] == f"job {job['id']}"
    daemon.call("job.cancel", job=job["id"])
    told = ended(daemon, job)
    assert told["state"] == "cancelled" and json.loads(json.dumps(told["error"]))
    assert "copy cancelled" in printed(daemon) and "guest.file_copied" not in types(daemon)


def test_a_copy_that_takes_too_long_is_given_up(daemon):
    running(daemon, cmdline="copy=endless")
    error = refused(daemon, "guest.copy_files", vm="web", source="/etc/hostname", destination="/x", deadline_ms=300, wait=True)
    assert error.name == "Timeout" and "copy cancelled" in printed(daemon)


def test_what_the_guest_says_of_a_copy_is_its_jobs_error(daemon):
    running(daemon, cmdline="copy=full")
    assert refused(daemon, "guest.copy_files", vm="web", source="/etc/hostname", destination="/x", wait=True).name == "DiskFull"
    told = daemon.call("job.list")["jobs"][0]
    assert told["state"] == "failed" and "no room" in json.dumps(told["error"])


def test_a_copy_ends_with_its_vm(daemon):
    running(daemon, cmdline="copy=endless")
    job = copy(daemon)
    wait_printed(daemon, "copying")
    daemon.call("vm.turn_off", vm="web")
    assert ended(daemon, job)["state"] == "failed"


def test_a_copy_that_a_restart_of_the_service_interrupts_has_failed(daemon):
    running(daemon, cmdline="copy=endless")
    key = {"idempotency_key": "once"}
    job = copy(daemon, **key)
    wait_printed(daemon, "copying")
    assert copy(daemon, **key)["id"] == job["id"]
    daemon.kill(signal.SIGKILL)
    daemon.start()
    told = ended(daemon, job)
    assert told["state"] == "failed" and "ended while job" in json.dumps(told["error"])
    assert types(daemon).count("job.rolled_back") == 1 and daemon.state_of("web") == "running"
    done = daemon.hvadm("guest", "cp", "web", "/etc/hostname", "/tmp/x", "--no-wait")
    number = int(done.stdout)
    assert daemon.hvadm("job", "cancel", str(number)).returncode == 0
    assert daemon.hvadm("guest", "cp", "web", "/etc/hostname", "/tmp/x", "--deadline", "soon").returncode == 2


def test_text_and_keys_are_typed(daemon):
    running(daemon)
    assert daemon.call("console.type_text", vm="web", text="root\n") == {"done": True}
    daemon.call("console.ctrl_alt_del", vm="web")
    wait_printed(daemon, "keys 1d 38 e0 53 e0 d3 b8 9d")
    assert "typed root\n" in printed(daemon)
    assert refused(daemon, "console.type_text", vm="web", text="").field == "text"
    assert refused(daemon, "console.type_text", vm="web", text="x" * 4097).field == "text"


def test_what_is_known_of_a_guest_is_known_again_after_the_service_restarts(daemon):
    running(daemon)
    Guest(daemon).does("beat ok")
    wait_event(daemon, "guest.heartbeat_changed")
    daemon.kill(signal.SIGKILL)
    daemon.start()
    assert daemon.state_of("web") == "running"
    wait_until(lambda: daemon.call("vm.get", vm="web").get("heartbeat") == "ok", "the heartbeat")
    assert types(daemon).count("guest.heartbeat_changed") == 1
