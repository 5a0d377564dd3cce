# SPDX-License-Identifier: Apache-2.0
"""A worker that is stopped or hangs: its own VM is affected, nobody else's calls wait."""

import os
import pathlib
import signal
import time

import pytest

from service import RpcError, wait_until

AT_ONCE_S = 1


@pytest.fixture(name="pair")
def _pair(daemon):
    """`bad`, whose worker does not run any more, and `good`; the worker's pid is pair.pid."""
    for name in ("bad", "good"):
        daemon.create(name)
    daemon.pid = daemon.call("vm.start", vm="bad")["vm"]["worker_pid"]
    daemon.call("vm.start", vm="good")
    os.kill(daemon.pid, signal.SIGSTOP)
    yield daemon
    try:
        os.kill(daemon.pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def at_once(daemon, method, **params):
    began = time.monotonic()
    result = daemon.call(method, **params)
    assert time.monotonic() - began < AT_ONCE_S, f"{method} waited"
    return result


def is_gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def ask(daemon, method, **params):
    """Asked, and not waited for."""
    socket = daemon.websocket()
    body = ", ".join(f'"{k}": "{v}"' for k, v in params.items())
    socket.frame(1, f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{body}}}}}'.encode())
    return socket


@pytest.mark.parametrize("method", ["vm.pause", "vm.reset", "vm.stats", "guest.shutdown"])
def test_a_stopped_worker_keeps_nobody_else_waiting(pair, method):
    waiting = ask(pair, method, vm="bad")
    assert {vm["name"] for vm in at_once(pair, "vm.list")["vms"]} == {"bad", "good"}
    assert at_once(pair, "vm.get", vm="bad")["state"] in ("running", "paused", "stopping")
    assert at_once(pair, "vm.pause", vm="good")["vm"]["state"] == "paused"
    assert at_once(pair, "vm.resume", vm="good")["vm"]["state"] == "running"
    pair.create("third")
    assert at_once(pair, "vm.start", vm="third")["vm"]["state"] == "running"
    assert at_once(pair, "vm.turn_off", vm="good")["vm"]["state"] == "off"
    waiting.close()


@pytest.mark.parametrize("method", [None, "vm.pause", "vm.reset", "guest.shutdown"])
def test_a_stopped_worker_can_be_turned_off(pair, method):
    waiting = ask(pair, method, vm="bad") if method else None
    assert pair.call("vm.turn_off", vm="bad")["vm"]["state"] == "off"
    wait_until(lambda: is_gone(pair.pid), "the worker to end")
    assert pair.call("vm.start", vm="bad")["vm"]["worker_pid"] != pair.pid
    if waiting:
        waiting.close()


def test_a_question_to_a_stopped_worker_ends_with_an_error(pair):
    with pytest.raises(RpcError) as caught:
        pair.call("vm.stats", vm="bad")
    assert caught.value.name == "WorkerUnresponsive"
    assert pair.state_of("bad") == "running"


def test_a_worker_that_goes_on_is_as_before(pair):
    os.kill(pair.pid, signal.SIGCONT)
    assert pair.call("vm.pause", vm="bad")["vm"]["state"] == "paused"
    assert pair.call("vm.resume", vm="bad")["vm"]["worker_pid"] == pair.pid


def test_a_service_that_starts_waits_little_for_a_stopped_worker(pair):
    pair.kill()
    began = time.monotonic()
    pair.start()
    assert at_once(pair, "vm.get", vm="good")["state"] == "running"
    assert at_once(pair, "vm.get", vm="bad")["worker_pid"] == pair.pid
    # Changes wait until all workers have answered, or time enough has passed.
    assert pair.call("vm.pause", vm="good")["vm"]["state"] == "paused"
    assert time.monotonic() - began < 6
    assert at_once(pair, "vm.resume", vm="good")["vm"]["state"] == "running"
    assert pair.call("vm.turn_off", vm="bad")["vm"]["state"] == "off"
    wait_until(lambda: is_gone(pair.pid), "the worker to end")


def test_a_stopped_worker_that_goes_on_after_a_restart_is_found_again(pair):
    pair.kill()
    pair.start()
    os.kill(pair.pid, signal.SIGCONT)

    def is_paused():
        try:
            return pair.call("vm.pause", vm="bad")["vm"]["worker_pid"] == pair.pid
        except RpcError as error:
            return error.name == "InvalidState" and pair.state_of("bad") == "paused"

    wait_until(is_paused, "it to be found")


def test_a_worker_that_is_killed_while_stopped_is_found_so_with_its_cause(pair):
    os.kill(pair.pid, signal.SIGKILL)
    assert pair.wait_state("bad", "off")["cause"] == "worker_died"
    assert pair.state_of("good") == "running"
