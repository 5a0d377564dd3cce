# SPDX-License-Identifier: Apache-2.0
"""hvstack as a service of a real systemd, with D-Bus, polkit and KVM: on an emulated host.

The tests share one host and go from its first moment on, in their order.
"""
import json
import re
import time

import pytest
from stack import BUILD
from systemd_host import Host

VM = "web"


@pytest.fixture(scope="module")
def host():
    # A watchdog that bites within the test's patience; an administrator's way to say so.
    files = {"etc/systemd/system/vmmsd.service.d/test.conf": "[Service]\nWatchdogSec=12s\n",
             "guest/echo.elf": BUILD / "tests/guest/echo.elf"}
    with Host(files) as made:
        made.run("systemctl daemon-reload; systemctl enable --now vmmsd.socket")
        yield made


def show(host, name=VM):
    return json.loads(host.run(f"hvadm --json vm show {name}"))


def test_the_first_client_on_the_socket_starts_the_service(host):
    assert host.show("vmmsd.service", "ActiveState") == "inactive"
    assert host.run("stat -c '%a %U' /run/hvstack /run/hvstack/vmms.sock") == "700 root\n600 root"
    said = host.run("hvadm host show")
    assert re.search(r"^backend +kvm", said, re.M), said
    assert host.show("vmmsd.service", "ActiveState") == "active"
    assert host.show("vmmsd.service", "StatusText") == "Ready on /run/hvstack/vmms.sock."
    assert host.run("stat -c '%a %U' /run/hvstack/vmms.sock") == "600 root"


def test_a_guest_on_kvm_lives_through_restart_and_kill_of_the_service(host):
    host.run(f"hvadm vm create {VM} --memory 128M --backend kvm --kernel /guest/echo.elf")
    host.run(f"hvadm vm start {VM}")
    before = show(host)
    assert before["state"].lower() == "running"
    main = host.show("vmmsd.service", "MainPID")
    host.run("systemctl restart vmmsd.service")
    assert host.show("vmmsd.service", "MainPID") != main
    after = show(host)
    assert (after["state"].lower(), after["worker_pid"]) == ("running", before["worker_pid"])
