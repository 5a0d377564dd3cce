# SPDX-License-Identifier: Apache-2.0
"""hvstack as a service of a real systemd, with D-Bus, polkit and KVM: on an emulated host.

The tests share one host and go from its first moment on, in their order.
"""
import json
import re
import time

import pytest
import readme
from stack import BUILD, GUEST
from systemd_host import Host

IN_ORDER = True
VM = "web"
# ada may start and end that VM.
RULE = """polkit.addRule(function(action, subject) {
    if (action.id == "org.hvstack.vmms1.vm.power" && subject.user == "ada" && action.lookup("vm_name") == "web")
        return polkit.Result.YES;
});
"""


@pytest.fixture(scope="module")
def host():
    # A watchdog that bites within the test's patience; an administrator's way to say so.
    files = {"etc/systemd/system/vmmsd.service.d/test.conf": "[Service]\nWatchdogSec=12s\n",
             "root/test.rules": RULE, "guest/echo.elf": BUILD / "tests/guest/echo.elf",
             "guest/vmlinuz-cloud": GUEST / "vmlinuz-cloud", "guest/initrd.img": GUEST / "initrd.img",
             # Installed it is already; that is how this host was made.
             "root/readme": readme.block("meson install", {"meson install -C build": ":", "/tmp/guest": "/guest"})}
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
    host.run(f"hvadm vm create {VM} --memory 128M --backend kvm --debug-exit 0xf4 --kernel /guest/echo.elf")
    host.run(f"hvadm vm start {VM}")
    before = show(host)
    assert before["state"].lower() == "running"
    main = host.show("vmmsd.service", "MainPID")
    host.run("systemctl restart vmmsd.service")
    assert host.show("vmmsd.service", "MainPID") != main
    after = show(host)
    assert (after["state"].lower(), after["worker_pid"]) == ("running", before["worker_pid"])


def unit_of(vm):
    return f"hvstack-vm-{vm['id']}.scope"


def test_a_worker_is_a_unit_with_limits_and_a_journal(host):
    vm = show(host)
    unit = unit_of(vm)
    assert host.show(unit, "ActiveState") == "active"
    assert host.show(unit, "Description") == f"hvstack VM {VM}"
    # KVM's own kernel thread for the VM is there as well.
    assert str(vm["worker_pid"]) in host.run(f"cat /sys/fs/cgroup/hvstack.slice/{unit}/cgroup.procs").split()
    assert int(host.show(unit, "MemoryMax")) == (128 + 256 + 96) << 20
    assert host.show(unit, "TasksMax") == "129"
    # Its guest's memory is counted there, and not where it was started.
    assert int(host.run(f"cat /sys/fs/cgroup/hvstack.slice/{unit}/memory.current")) > 1 << 20
    said = host.run(f"systemctl status --no-pager {unit}")
    assert re.search(r"Active: active \(running\)", said) and "vmwp" in said, said
    journal = host.run(f"journalctl --no-pager -o cat -u {unit}")
    assert f'runs "{VM}"' in journal and "The VM is running" in journal, journal
    # What the service says about it is there too, and found by the VM's id, with its explanation.
    assert f"VM {VM} runs in process {vm['worker_pid']}." in journal, journal
    said = host.run(f"journalctl --no-pager -o export HVSTACK_VM={vm['id']} _COMM=vmmsd")
    assert re.search(r"^PRIORITY=6$", said, re.M) and re.search(r"^MESSAGE_ID=[0-9a-f]{32}$", said, re.M), said
    host.run("journalctl --update-catalog")
    assert "A virtual machine was started" in host.run(f"journalctl --no-pager -x -u {unit}")


def test_a_unit_takes_no_layer_from_the_sandbox(host):
    """The service's own restrictions are inherited; a worker's come on top, and none has failed."""
    said = host.run(f"hvadm vm show {VM} --security")
    unit = unit_of(show(host))
    assert f"/hvstack.slice/{unit}" in said, said
    status = host.run(f"cat /proc/{show(host)['worker_pid']}/status")
    assert re.search(r"^Uid:\s+20\d{8}\b", status, re.M), status
    assert re.search(r"^CapBnd:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M), status
    assert re.search(r"^Seccomp:\s+2$", status, re.M), status


def test_images_disks_and_the_soft_backend_work_under_the_restrictions(host):
    host.run("mkdir -p /srv && hvadm vhd create /srv/a.vhdx --size 64M && hvadm vhd convert /srv/a.vhdx /srv/b.vhd")
    host.run("hvadm vm create soft --memory 64M --backend soft --kernel /guest/echo.elf --disk /srv/a.vhdx --disk /srv/b.vhd")
    host.run("hvadm vm start soft", timeout=120)
    vm = show(host, "soft")
    assert vm["state"].lower() == "running" and host.show(unit_of(vm), "ActiveState") == "active"
    # Ended from outside like any unit: the VM is off, not lost.
    host.run(f"systemctl stop {unit_of(vm)}")
    host.run("hvadm vm wait soft --for off --timeout 30; hvadm vm delete soft")


def test_nobody_outlives_its_vm(host):
    unit = unit_of(show(host))
    host.run(f"hvadm vm off {VM}")
    host.wait(f"! systemctl is-active -q {unit}")
    assert host.show(unit, "LoadState") == "not-found"
    # The name is free again, also at once.
    for _ in range(2):
        host.run(f"hvadm vm start {VM} && hvadm vm off {VM}")
    host.run(f"hvadm vm start {VM}")
    assert host.show(unit, "ActiveState") == "active"


def test_a_guest_lives_through_kill_and_hang_of_the_service(host):
    """kill -9; then SIGSTOP, which only the watchdog can end."""
    vm = show(host)
    for number in ("KILL", "STOP"):
        main = host.show("vmmsd.service", "MainPID")
        began = time.monotonic()
        host.run(f"kill -{number} {main}")
        host.wait("[ $(systemctl show -P MainPID vmmsd.service) != %s ] && systemctl is-active -q vmmsd.service" % main)
        after = show(host)
        assert (after["state"].lower(), after["worker_pid"]) == ("running", vm["worker_pid"])
        assert host.show(unit_of(vm), "ActiveState") == "active"
    assert time.monotonic() - began > 5, "it was not the watchdog"
    assert "watchdog" in host.run("journalctl --no-pager -o cat -u vmmsd.service | grep -i watchdog")
    # It is alive, and not only there: what is typed at its console comes back, and a newline ends it.
    host.run(f"(sleep 1; printf 'hello\\n'; sleep 2) | timeout 30 hvadm vm console {VM} >/tmp/said; grep -q hello /tmp/said")
    host.run(f"hvadm vm wait {VM} --for off --timeout 30")


def test_one_that_was_held_when_the_service_was_killed_runs_on(host):
    """Between the birth of a worker and its place in a unit it stands still; the next service lets it go."""
    host.run(f"hvadm vm off {VM}", check=False)
    main = host.show("vmmsd.service", "MainPID")
    # The bus is made to stand still, so that the kill comes in between.
    bus = host.show("dbus.service", "MainPID")
    host.run(f"kill -STOP {bus}; (timeout 60 hvadm vm start {VM} >/dev/null 2>&1 &) ; "
             "until ps -C vmwp -o stat= | grep -q T; do sleep 0.1; done; "
             f"kill -KILL {main}; sleep 1; kill -CONT {bus}")
    host.wait("[ $(systemctl show -P MainPID vmmsd.service) != %s ] && systemctl is-active -q vmmsd.service" % main)
    host.run(f"hvadm vm wait {VM} --for running --timeout 30")
    assert "of an earlier vmmsd is still there" in host.run("journalctl --no-pager -o cat -u vmmsd.service")
    unit = unit_of(show(host))
    host.wait(f"systemctl is-active -q {unit}")
    assert "/" + unit in host.run(f"cat /proc/{show(host)['worker_pid']}/cgroup")
    host.run(f"hvadm vm off {VM}")


def test_reload_takes_the_new_configuration_and_keeps_the_old_where_it_is_wrong(host):
    main = host.show("vmmsd.service", "MainPID")
    host.run("mkdir -p /etc/hvstack/vmmsd.conf.d; printf '[service]\\nlog-level = debug\\n' >/etc/hvstack/vmmsd.conf.d/a.conf")
    host.run("systemctl reload vmmsd.service")
    host.wait("journalctl --no-pager -o cat -u vmmsd.service | grep -q 'The configuration was read anew'")
    host.run("printf '[service]\\nlog-level = loud\\n' >/etc/hvstack/vmmsd.conf.d/b.conf")
    host.run("systemctl reload vmmsd.service")
    said = host.wait("journalctl --no-pager -o cat -p err -u vmmsd.service | grep 'b.conf'")
    assert said.endswith("The configuration that is in use stays: /etc/hvstack/vmmsd.conf.d/b.conf:2: log-level is "
                         "error, warning, info or debug, not loud."), said
    said = host.run("vmmsd --config /etc/hvstack/vmmsd.conf --check-config 2>&1; echo $?", check=False)
    assert "b.conf:2: log-level" in said and said.endswith("2")
    host.run("rm /etc/hvstack/vmmsd.conf.d/b.conf; vmmsd --config /etc/hvstack/vmmsd.conf --check-config")
    assert host.show("vmmsd.service", "MainPID") == main and host.show("vmmsd.service", "ActiveState") == "active"


BUSCTL = "setpriv --reuid=1000 --regid=1000 --clear-groups busctl --system"


def test_a_user_is_refused_until_a_polkit_rule_allows_it(host):
    path = host.run("busctl tree --list org.hvstack.Vmms1 | grep /vm/").strip()
    call = f"{BUSCTL} call org.hvstack.Vmms1 {path} org.hvstack.Vmms1.Vm Start 'a{{sv}}' 0"
    said = host.run(f"{call} 2>&1; echo status $?", check=False)
    assert re.search(r"AccessDenied|refused|not allowed|polkit", said) and not said.endswith("status 0"), said
    assert show(host)["state"].lower() == "off"
    host.run("cp /root/test.rules /etc/polkit-1/rules.d/10-test.rules")
    host.wait(call)
    assert show(host)["state"].lower() == "running"
    # For that alone.
    said = host.run(f"{BUSCTL} call org.hvstack.Vmms1 {path} org.hvstack.Vmms1.Vm Delete 'a{{sv}}' 0 2>&1; echo status $?",
                    check=False)
    assert not said.endswith("status 0"), said
    host.run(f"hvadm vm off {VM}")


def test_a_call_on_the_bus_starts_the_service_as_well(host):
    host.run("systemctl stop vmmsd.service vmmsd.socket")
    assert host.show("vmmsd.service", "ActiveState") == "inactive"
    assert host.run("busctl get-property org.hvstack.Vmms1 $(busctl tree --list org.hvstack.Vmms1 | grep /vm/) "
                    "org.hvstack.Vmms1.Vm Name") == f's "{VM}"'
    assert host.show("vmmsd.service", "ActiveState") == "active"


def test_the_readmes_commands_work_as_they_stand(host):
    said = host.run("bash -eux /root/readme 2>&1", timeout=120)
    assert re.search(r"^backend +kvm", said, re.M) and "VM first runs in process" in said, said
    assert re.search(r"hvstack-vm-\S+\.scope", said) and "The VM is running" in said, said
    assert show(host, "first")["state"].lower() == "running"
    host.run("hvadm vm off first; hvadm vm delete first")
