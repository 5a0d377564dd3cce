# SPDX-License-Identifier: Apache-2.0
"""Consoles and events: several readers, slow readers, nothing lost."""

import base64
import json
import time

import pytest

from service import RpcError, wait_until


def started(daemon, name="web", **settings):
    daemon.create(name, **settings)
    daemon.call("vm.start", vm=name)


def test_a_console_gives_what_was_kept_then_what_follows(daemon):
    started(daemon)
    consoles = [daemon.websocket() for _ in range(5)]
    for console in consoles:
        assert console.call("vm.console", {"vm": "web"})["from"] == 0
        assert console.read_until(b"fake\n") == b"hello from the fake\n"
    consoles[0].frame(2, b"knock knock\n")
    for console in consoles:
        assert console.read_until(b"\n") == b"knock knock\n"
    consoles[1].frame(2, b"off\n")
    for console in consoles:
        with pytest.raises(EOFError):
            while True:
                console.message()


def test_a_console_can_begin_anywhere(daemon):
    started(daemon)
    wait_until(lambda: daemon.call("vm.console_log", vm="web")["end"] == 20, "the greeting")
    console = daemon.websocket()
    assert console.call("vm.console", {"vm": "web", "from": 11})["from"] == 11
    assert console.read_until(b"\n") == b"the fake\n"
    late = daemon.websocket()
    assert late.call("vm.console", {"vm": "web", "from": 2**64 - 1})["from"] == 20
    console.frame(2, b"x\n")
    assert late.read_until(b"\n") == b"x\n"


def test_the_log_stays_after_the_end_until_the_next_start(daemon):
    started(daemon)
    typist = daemon.type("web", "last words\noff\n")
    daemon.wait_state("web", "off")
    typist.close()
    log = daemon.call("vm.console_log", vm="web")
    assert log["data"] == "hello from the fake\nlast words\noff\n" and log["end"] == len(log["data"])
    log = daemon.call("vm.console_log", vm="web", encoding="base64", **{"from": 20})
    assert base64.b64decode(log["data"]) == b"last words\noff\n"
    console = daemon.websocket()
    console.call("vm.console", {"vm": "web"})
    assert console.read_until(b"off\n").startswith(b"hello")
    daemon.call("vm.start", vm="web")
    assert "last words" not in daemon.call("vm.console_log", vm="web")["data"]


def test_a_console_of_a_vm_that_never_ran_is_refused(daemon):
    daemon.create("web")
    with pytest.raises(RpcError) as caught:
        daemon.websocket().call("vm.console", {"vm": "web"})
    assert caught.value.name == "InvalidState"
    assert daemon.call("vm.console_log", vm="web")["data"] == ""


def test_streams_need_a_websocket(daemon):
    daemon.create("web")
    for method, params in (("vm.console", {"vm": "web"}), ("events.subscribe", {})):
        with pytest.raises(RpcError) as caught:
            daemon.call(method, **params)
        assert caught.value.name == "NotSupported" and "WebSocket" in caught.value.message


def test_a_flooding_guest_and_a_reader_that_sleeps_hold_nobody_up(daemon):
    started(daemon, **{"boot.cmdline": "flood"})
    sleeper = daemon.websocket()
    sleeper.call("vm.console", {"vm": "web"})
    begun = time.monotonic()
    for _ in range(50):
        daemon.call("host.ping")
    assert time.monotonic() - begun < 5
    log = daemon.call("vm.console_log", vm="web")
    wait_until(lambda: daemon.call("vm.console_log", vm="web", **{"from": log["end"]})["end"] > 512 << 10, "the flood")
    late = daemon.call("vm.console_log", vm="web")
    assert late["from"] > 0 and len(late["data"]) <= 256 << 10
    reader = daemon.websocket()
    reader.call("vm.console", {"vm": "web"})
    assert b"flood" in reader.read_until(b"\n")
    assert daemon.call("vm.turn_off", vm="web")["vm"]["state"] == "off"


def test_events_are_dense_and_follow_without_a_gap(daemon):
    follower = daemon.websocket()
    assert follower.call("events.subscribe", {"since": 1}) == {"since": 1, "last": 0}
    for i in range(150):
        daemon.create(f"vm{i}")
    late = daemon.websocket()
    late.call("events.subscribe", {"since": 1})
    for stream in (follower, late):
        seen = [json.loads(stream.message()[1]) for _ in range(150)]
        assert [e["params"]["seq"] for e in seen] == list(range(1, 151))
        assert {e["method"] for e in seen} == {"events.event"}
    page = daemon.call("events.read", since=100, limit=10)
    assert [e["seq"] for e in page["events"]] == list(range(100, 110))
    assert (page["next"], page["last"]) == (110, 150)


def test_a_number_from_another_database_is_a_gap_and_not_silence(daemon):
    daemon.create("web")
    assert daemon.events(since=2) == []
    stream = daemon.websocket()
    with pytest.raises(RpcError, match="the newest is 1"):
        stream.call("events.subscribe", {"since": 3})
    for since in (3, 2**64 - 1):
        with pytest.raises(RpcError) as caught:
            daemon.events(since=since)
        assert caught.value.name == "EventGap" and "the newest is 1" in caught.value.message
        assert "from 2" in caught.value.data["hint"]
    assert daemon.websocket().call("events.subscribe", {"since": 2}) == {"since": 2, "last": 1}


def test_a_subscriber_without_a_number_hears_only_what_is_new(daemon):
    daemon.create("old")
    stream = daemon.websocket()
    assert stream.call("events.subscribe")["since"] == 2
    daemon.create("new")
    event = json.loads(stream.message()[1])["params"]
    assert event["seq"] == 2 and event["vm_name"] == "new" and event["actor"].startswith("uid:")


def test_a_connection_serves_calls_beside_its_streams(daemon):
    started(daemon)
    socket = daemon.websocket()
    socket.call("vm.console", {"vm": "web"})
    socket.read_until(b"fake\n")
    assert socket.call("host.ping")["version"]
    socket.frame(2, b"typed\n")
    assert socket.read_until(b"\n") == b"typed\n"


def test_what_is_typed_while_the_service_finds_the_worker_again_arrives(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    said = b"hello from the fake\n"
    for i in range(10):
        console = daemon.type("web", f"{i}\n")
        said += b"%d\n" % i
        seen = b""
        while not seen.endswith(said):
            opcode, piece = console.message()
            seen += piece if opcode == 2 else b""
        console.close()
        daemon.kill()
        daemon.start()
