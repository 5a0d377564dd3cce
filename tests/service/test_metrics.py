# SPDX-License-Identifier: Apache-2.0
"""Figures of host and VMs: GET /metrics as Prometheus reads it, vm.summaries, hvadm top."""

import fcntl
import os
import pty
import select
import socket
import struct
import subprocess
import termios
import time

import pytest
from prometheus_client.openmetrics import parser

from service import RpcError, wait_until


def http(daemon, request):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(str(daemon.run / "vmms.sock"))
    client.sendall(request.encode())
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    return head.decode(), body.decode()


def families(daemon):
    head, body = http(daemon, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ") and "openmetrics-text; version=1.0.0" in head, head
    return {family.name: family for family in parser.text_string_to_metric_families(body)}


def of_vm(family, name):
    return [s.value for s in family.samples if s.labels.get("name") == name]


def start(daemon, build, name):
    daemon.create(name, **{"boot.kernel": str(build / "tests/guest/echo.elf"), "backend": "soft"})
    daemon.call("vm.start", vm=name)


def test_prometheus_reads_what_is_told(images, build):
    odd = 'a "quoted\\ name'
    start(images, build, odd)
    images.create("off")
    wait_until(lambda: of_vm(families(images)["hvstack_vm_exits"], odd), "the worker to tell")
    told = families(images)
    assert of_vm(told["hvstack_vm_memory_bytes"], odd) == [64 << 20]
    assert 0 <= of_vm(told["hvstack_vm_figures_age_seconds"], odd)[0] < 60
    assert of_vm(told["hvstack_vm_cpu_seconds"], odd)[0] > 0
    assert of_vm(told["hvstack_vm_exits"], "off") == []
    states = {s.labels["name"]: s.labels["state"] for s in told["hvstack_vm_state"].samples}
    assert states == {odd: "running", "off": "off"}
    assert told["hvstack_vms"].samples[0].value == 2
    assert told["hvstack_host_memory_bytes"].samples[0].value > 64 << 20


def test_calls_and_errors_are_counted(daemon):
    for _ in range(3):
        daemon.call("host.ping")
    daemon.request({"jsonrpc": "2.0", "id": 1, "method": "vm.get", "params": {"vm": "nobody"}})
    daemon.request({"jsonrpc": "2.0", "id": 1, "method": "vm.nonsense"})
    told = families(daemon)
    counts = {s.labels["method"]: s.value for s in told["hvstack_api_call_seconds"].samples
              if s.name.endswith("_count")}
    assert counts["host.ping"] >= 3 and counts["vm.get"] == 1
    errors = {s.labels["error"]: s.value for s in told["hvstack_api_errors"].samples}
    assert errors["NotFound"] == 1
    assert "405" in http(daemon, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")[0]
    assert "404" in http(daemon, "GET /metric HTTP/1.1\r\nHost: x\r\n\r\n")[0]
    assert families(daemon)["hvstack_api_refused_requests"].samples[0].value == 2


def test_figures_age_when_a_worker_is_stopped(images, build):
    start(images, build, "web")
    summary = lambda: images.call("vm.summaries")["vms"][0]
    wait_until(lambda: "cpu_percent" in summary(), "the worker to tell twice")
    pid = images.call("vm.get", vm="web")["worker_pid"]
    os.kill(pid, 19)
    frozen = summary()
    wait_until(lambda: summary()["age_ms"] > frozen["age_ms"] + 3000, "the figures to age")
    assert summary()["figures"]["exits"] == frozen["figures"]["exits"]
    os.kill(pid, 18)
    wait_until(lambda: summary()["age_ms"] < 2500, "the worker to tell again")


def test_a_worker_that_falls_silent_is_told_of_and_so_is_its_return(images, build):
    pids = {}
    for name in ("asked", "quiet"):
        start(images, build, name)
        pids[name] = images.call("vm.get", vm=name)["worker_pid"]
    health = lambda: {vm["name"]: vm["health"] for vm in images.vms()}
    wait_until(lambda: all("cpu_percent" in vm for vm in images.call("vm.summaries")["vms"]), "both to tell twice")
    for pid in pids.values():
        os.kill(pid, 19)
    with pytest.raises(RpcError) as caught:
        images.call("vm.pause", vm="asked")
    assert caught.value.name == "WorkerUnresponsive" and health()["asked"] == "unresponsive"
    wait_until(lambda: health()["quiet"] == "unresponsive", "the other one's silence to be noticed", 60)
    assert images.state_of("quiet") == "running"
    for pid in pids.values():
        os.kill(pid, 18)
    wait_until(lambda: health() == {"asked": "ok", "quiet": "ok"}, "both to be heard again")
    told = [(e["vm_name"], e["data"]["health"]) for e in images.events() if e["type"] == "vm.health_changed"]
    assert told.count(("quiet", "unresponsive")) == told.count(("quiet", "ok")) == 1 and ("asked", "ok") in told


def test_top_without_a_terminal_prints_a_table(images, build):
    start(images, build, "web")
    images.create("idle")
    wait_until(lambda: "figures" in images.call("vm.summaries")["vms"][1], "the worker to tell")
    done = images.hvadm("top", "--once", "--sort", "name")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and all(len(line) <= 80 for line in lines)
    assert lines[3].split() == ["NAME", "STATE", "CPU%", "MEMORY", "READ/s", "WRITE/s", "EXITS/s"]
    assert [line.split()[0] for line in lines[4:]] == ["idle", "web"]
    for wrong in (["--sort", "size"], ["--interval", "0"], ["--interval", "x"], ["--wat"], ["web"]):
        refused = images.hvadm("top", *wrong)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1


def read_screen(master, wanted, seconds=10):
    text, end = "", time.monotonic() + seconds
    while wanted not in text and time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            text += os.read(master, 65536).decode()
    assert wanted in text, text
    return text


def test_top_on_a_terminal_refreshes_and_leaves_it_as_it_was(images, build):
    start(images, build, "web")
    master, slave = pty.openpty()
    top = subprocess.Popen([build / "cli/hvadm", "--connect", f"unix:{images.run}/vmms.sock", "top",
                            "--interval", "0.3"], stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    entered = read_screen(master, "web")
    assert "\x1b[?1049h" in entered and "\x1b[?7l" in entered, "lines would wrap on a narrow screen"
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 40, 0, 0))
    wait_until(lambda: "web" not in read_screen(master, "q quit").split("EXITS/s")[-1], "no row where there is no room")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    read_screen(master, "by cpu")
    os.write(master, b"n")
    read_screen(master, "by name")
    images.kill()
    read_screen(master, "Trying again.")
    images.start()
    read_screen(master, "running; by name")
    os.write(master, b"q")
    assert "\x1b[?7h" in read_screen(master, "\x1b[?1049l")
    assert top.wait(timeout=10) == 0
    os.close(master)
