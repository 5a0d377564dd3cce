# SPDX-License-Identifier: Apache-2.0
"""The D-Bus transport, asked by busctl on a bus of its own."""

import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest

import readme
import service
from message_bus import NAME, NOBODY, ROOT, Bus, Refused
from service import wait_until

@pytest.fixture
def bus():
    instance = Bus()
    yield instance
    instance.clean_up()


@pytest.fixture
def daemon(build, bus):
    instance = service.Daemon(build)
    instance.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")
    yield instance
    instance.clean_up()


def create(bus, daemon, name, *settings):
    words = ["boot.kernel", "s", str(daemon.kernel), *settings]
    job, result = bus.call(ROOT, "Manager", "CreateVm", "sa{sv}a{sv}", name, str(len(words) // 3), *words, "0")
    assert job == "/"
    return f"{ROOT}/vm/" + result["vm"]["data"]["id"]["data"].replace("-", "")


def test_a_vm_is_made_started_watched_and_removed_with_busctl_alone(bus, daemon):
    vm = create(bus, daemon, "web", "cpu.count", "u", "2")
    assert bus.get(vm, "Vm", "Name", "State", "Generation") == ["web", "off", 1]
    bus.call(vm, "Vm", "Start")
    assert bus.get(vm, "Vm", "State") == "running"
    assert daemon.state_of("web") == "running"
    assert bus.get(vm, "Vm", "Settings")["cpu.count"] == {"type": "u", "data": 2}
    assert vm in bus.tree().split()
    bus.call(vm, "Vm", "Configure", "a{sv}a{sv}", "1", "notes", "s", "front", "0")
    assert daemon.call("vm.get", vm="web")["settings"]["notes"] == "front"
    bus.call(vm, "Vm", "TurnOff")
    bus.call(vm, "Vm", "Delete")
    assert bus.call(ROOT, "Manager", "ListVms") == [{"vms": {"type": "aa{sv}", "data": []}}]
    actors = {e["actor"] for e in daemon.events() if e["type"] in ("vm.created", "vm.deleted")}
    assert actors == {f"uid:{os.getuid()}"}


def test_a_job_is_an_object_on_the_bus(bus, stopped):
    stopped.worker = stopped.build / "vmwp/vmwp"
    stopped.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")
    path = str(stopped.dir / "a.vhdx")
    job, result = bus.call(ROOT, "Images", "Create", "sa{sv}", path, "2", "size_bytes", "t", str(1 << 20), "wait", "b", "true")
    assert job == f"{ROOT}/job/1" and result["job"]["data"]["state"]["data"] == "done"
    assert bus.get(job, "Job", "State", "Object", "Percent") == ["done", path, 100]
    info, = bus.call(ROOT, "Images", "Info", "sa{sv}", path, "0")
    assert info["format"]["data"] == "vhdx" and info["size_bytes"]["data"] == 1 << 20
    assert json.loads(bus.get(job, "Job", "Result"))["created"] == [path]
    with pytest.raises(Refused, match="nothing to cancel"):
        bus.call(job, "Job", "Cancel")
    with pytest.raises(Refused, match="There is no job 7"):
        bus.get(f"{ROOT}/job/7", "Job", "State")
    assert len(bus.call(ROOT, "Manager", "ListJobs")[0]["jobs"]["data"]) == 1


def test_introspection_tells_all_interfaces_and_the_properties_have_values(bus, daemon):
    vm = create(bus, daemon, "web")
    shown = bus.run("introspect", NAME, vm)
    for word in ("org.hvstack.Vmms1.Vm", ".Start", ".State", ".PropertiesChanged"):
        assert word in shown, shown
    shown = bus.run("introspect", NAME, ROOT)
    for word in ("Manager", ".CreateVm", "Host", ".MemoryBytes", "ObjectManager", "EventLog"):
        assert word in shown, shown
    assert bus.get(ROOT, "Host", "Backend") == "soft"


def start_with_jobs(bus, stopped, count):
    """Of the one job that there is, so many; and the service on the bus again."""
    stopped.kill(signal.SIGTERM)
    with contextlib.closing(sqlite3.connect(stopped.state / "vmms.db")) as database:
        columns = ", ".join(row[1] for row in database.execute("PRAGMA table_info(job)") if row[1] != "id")
        for _ in range(count - 1):
            database.execute(f"INSERT INTO job ({columns}) SELECT {columns} FROM job WHERE id = 1")
        database.commit()
    stopped.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")


def test_a_job_that_is_forgotten_is_told_of(bus, stopped):
    stopped.worker = stopped.build / "vmwp/vmwp"
    stopped.start("--bus", bus.address)
    stopped.call("image.create", path=str(stopped.dir / "a.vhdx"), size_bytes=1 << 20, wait=True)
    start_with_jobs(bus, stopped, 2000)
    monitor = bus.monitor()
    stopped.call("image.create", path=str(stopped.dir / "b.vhdx"), size_bytes=1 << 20, wait=True)
    message = {"member": ""}
    while message["member"] != "InterfacesRemoved":
        message = json.loads(monitor.stdout.readline())
        message.setdefault("member", "")
    assert message["payload"]["data"] == [f"{ROOT}/job/1", [f"{NAME}.Job"]]
    with pytest.raises(Refused, match="There is no job 1"):
        bus.get(f"{ROOT}/job/1", "Job", "State")


def test_managed_objects_are_all_vms_however_many(bus, daemon):
    for i in range(1005):
        daemon.create(f"vm{i}")
    objects = managed(bus)
    assert len(objects) == 1005
    assert all(o["org.hvstack.Vmms1.Vm"]["State"]["data"] == "off" for o in objects.values())


def managed(bus, **kwargs):
    out = bus.run("call", NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", **kwargs)
    return json.loads(out)["data"][0]


def test_managed_objects_are_jobs_too_for_who_may_see_them(bus, daemon, build):
    vm = create(bus, daemon, "web")
    for _ in range(3):
        bus.call(vm, "Vm", "Start")
        bus.call(vm, "Vm", "Save", "a{sv}", "1", "wait", "b", "true")
    objects = managed(bus)
    assert set(objects) == {vm, *(f"{ROOT}/job/{i}" for i in (1, 2, 3))}
    job = objects[f"{ROOT}/job/2"]["org.hvstack.Vmms1.Job"]
    assert job["State"]["data"] == "done" and job["Type"]["data"] == "vm.save" and job["Percent"]["data"] == 100
    bus.polkit(build, "only:org.hvstack.vmms1.vm.read")
    assert set(managed(bus, as_nobody=True)) == {vm}


def test_managed_objects_are_all_jobs_however_many(bus, stopped):
    stopped.start()
    stopped.create("web")
    stopped.call("vm.start", vm="web")
    stopped.call("vm.save", vm="web", wait=True)
    stopped.call("vm.delete", vm="web")
    start_with_jobs(bus, stopped, 1500)
    assert set(managed(bus)) == {f"{ROOT}/job/{i}" for i in range(1, 1501)}


def test_how_far_a_save_is_is_told_on_the_bus(bus, daemon):
    vm = create(bus, daemon, "web", "boot.cmdline", "s", "saving=1500 steps=60")
    bus.call(vm, "Vm", "Start")
    monitor = bus.monitor()
    begin = time.monotonic()
    job, _ = bus.call(vm, "Vm", "Save")
    assert job == f"{ROOT}/job/1"
    with pytest.raises(Refused, match="VM web is busy with job 1"):
        bus.call(vm, "Vm", "Pause")
    seen, told = [], []
    while "job.done" not in seen:
        message = json.loads(monitor.stdout.readline())
        if message["type"] != "signal":
            continue
        data = message["payload"]["data"]
        if message["member"] == "Event":
            seen.append(data[1])
        elif message["member"] == "InterfacesAdded" and data[0] == job:
            seen.append("added")
        elif message["member"] == "PropertiesChanged" and message["path"] == job:
            assert data[0] == f"{NAME}.Job" and "added" in seen
            told.append((data[1]["State"]["data"], data[1]["Percent"]["data"]))
    percents = [percent for state, percent in told if state == "running" and percent]
    assert percents and percents == sorted(percents)
    assert len(percents) <= 2 + 2 * (time.monotonic() - begin)
    assert "job.progress" not in seen


def test_a_save_on_the_bus_can_be_cancelled(bus, daemon):
    vm = create(bus, daemon, "web", "boot.cmdline", "s", "saving=60000")
    bus.call(vm, "Vm", "Start")
    job, _ = bus.call(vm, "Vm", "Save")
    daemon.wait_state("web", "saving")
    bus.call(job, "Job", "Cancel")
    daemon.wait_state("web", "running")
    wait_until(lambda: bus.get(job, "Job", "State") == "cancelled", "the job to end")
    bus.call(vm, "Vm", "TurnOff")
    assert bus.call(vm, "Vm", "Start")[0] == "/"


def test_what_happens_is_told_in_order(bus, daemon):
    monitor = bus.monitor()
    seen, states = [], []

    def listen_until(is_told):
        while not is_told():
            message = json.loads(monitor.stdout.readline())
            if message["type"] != "signal":
                continue
            data = message["payload"]["data"]
            if message["member"] == "Event":
                seen.append(data[1])
                assert data[0] == len([s for s in seen if s.startswith("vm.")]) and data[2] == vm
            elif message["member"] in ("InterfacesAdded", "InterfacesRemoved"):
                seen.append(message["member"])
                assert data[0] == vm
            elif message["member"] == "PropertiesChanged":
                assert message["path"] == vm and data[0] == f"{NAME}.Vm" and "Settings" in data[2]
                states.append(data[1]["State"]["data"])

    # A signal has the properties as they are when it is sent: each state is waited for.
    vm = create(bus, daemon, "web")
    bus.call(vm, "Vm", "Start")
    listen_until(lambda: "running" in states)
    bus.call(vm, "Vm", "TurnOff")
    listen_until(lambda: states[-1] == "off")
    bus.call(vm, "Vm", "Delete")
    listen_until(lambda: "InterfacesRemoved" in seen)
    assert seen.index("vm.created") < seen.index("InterfacesAdded") < seen.index("vm.deleted")
    assert seen.index("vm.deleted") < seen.index("InterfacesRemoved")


@pytest.mark.parametrize("path, interface, member, words, says", [
    (ROOT, "Manager", "CreateVm", ("s", "x"), "takes arguments of the types sa{sv}a{sv}, not s"),
    (ROOT, "Manager", "CreateVm", ("sa{sv}a{sv}", "x", "1", "cpu.count", "s", "two", "0"), "cpu.count is a string"),
    (ROOT, "Manager", "CreateVm", ("sa{sv}a{sv}", "x", "1", "cpu.count", "i", "-1", "0"), "cpu.count"),
    (ROOT, "Manager", "CreateVm", ("sa{sv}a{sv}", "x", "1", "cpu.cuont", "u", "1", "0"), "cpu.count"),
    (ROOT, "Manager", "CreateVm", ("sa{sv}a{sv}", "x", "1", "notes", "(ss)", "a", "b", "0"), "structs"),
    (ROOT, "Manager", "CreateVm", ("sa{sv}a{sv}", "", "0", "0"), "name"),
    (ROOT, "Manager", "ListVms", ("a{sv}", "1", "limit", "u", "0"), "limit"),
    (ROOT, "Manager", "ListVms", ("a{sv}", "2", "limit", "u", "1", "limit", "u", "2"), "twice"),
    (ROOT, "Manager", "Fly", ("a{sv}", "0"), "Fly"),
    (ROOT, "Nothing", "Fly", ("a{sv}", "0"), "Fly"),
    (ROOT + "/vm/" + "0" * 32, "Vm", "Start", ("a{sv}", "0"), "no VM"),
    (ROOT + "/vm/zebra", "Vm", "Start", ("a{sv}", "0"), "zebra"),
    (ROOT + "/vm", "Vm", "Start", ("a{sv}", "0"), "Start"),
    (ROOT + "/nothing", "Vm", "Start", ("a{sv}", "0"), "nothing"),
])
def test_wrong_calls_are_refused_with_what_is_wrong(bus, daemon, path, interface, member, words, says):
    with pytest.raises(Refused) as caught:
        bus.call(path, interface, member, *words)
    assert says in str(caught.value)
    assert daemon.vms() == []


def test_properties_that_are_not_there_or_not_to_be_set_are_refused(bus, daemon):
    vm = create(bus, daemon, "web")
    with pytest.raises(Refused, match="no property Colour"):
        bus.get(vm, "Vm", "Colour")
    with pytest.raises(Refused, match="no interface org.hvstack.Vmms1.Host"):
        bus.get(vm, "Host", "Id")
    with pytest.raises(Refused, match="changed by methods"):
        bus.run("set-property", NAME, vm, f"{NAME}.Vm", "Name", "s", "shop")
    with pytest.raises(Refused, match="no VM"):
        bus.get(ROOT + "/vm/" + "0" * 32, "Vm", "Name")


def test_without_polkit_others_than_root_may_nothing(bus, daemon):
    vm = create(bus, daemon, "web")
    for member in ("Start", "Delete", "Get"):
        with pytest.raises(Refused, match="no polkit runs"):
            bus.call(vm, "Vm", member, as_nobody=True)
    with pytest.raises(Refused, match="no polkit runs"):
        bus.run("get-property", NAME, vm, f"{NAME}.Vm", "Name", as_nobody=True)
    with pytest.raises(Refused, match="no polkit runs"):
        bus.run("call", NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", as_nobody=True)
    assert daemon.state_of("web") == "off"


def test_polkit_decides_with_the_vm_in_the_details(bus, daemon, build):
    vm = create(bus, daemon, "web")
    polkit = bus.polkit(build, "only:org.hvstack.vmms1.vm.power")
    bus.call(vm, "Vm", "Start", as_nobody=True)
    asked = polkit.stdout.readline()
    vm_id = daemon.call("vm.get", vm="web")["id"]
    assert asked.startswith("org.hvstack.vmms1.vm.power system-bus-name ")
    assert "operation=vm.start" in asked and f"vm_id={vm_id}" in asked and "vm_name=web" in asked
    assert asked.endswith("flags=0\n")
    with pytest.raises(Refused, match="vm.delete is not yours: polkit says no"):
        bus.call(vm, "Vm", "Delete", as_nobody=True)
    assert daemon.state_of("web") == "running"
    assert daemon.events()[-1]["actor"] in (f"uid:{NOBODY}", "worker", "host")
    assert f"uid:{NOBODY}" in {e["actor"] for e in daemon.events()}


def test_a_person_is_asked_only_where_the_call_allows_it(bus, daemon, build):
    vm = create(bus, daemon, "web")
    polkit = bus.polkit(build, "challenge")
    with pytest.raises(Refused, match="wants a password"):
        bus.call(vm, "Vm", "Start", as_nobody=True)
    assert polkit.stdout.readline().endswith("flags=0\n")
    with pytest.raises(Refused, match="wants a password"):
        bus.call(vm, "Vm", "Start", as_nobody=True, may_ask=True)
    assert polkit.stdout.readline().endswith("flags=1\n")


def test_a_polkit_that_never_answers_holds_up_nobody_else(bus, daemon, build):
    vm = create(bus, daemon, "web")
    polkit = bus.polkit(build, "never")
    waiting = bus.spawn("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "busctl",
                        f"--address={bus.address}", "call", NAME, vm, f"{NAME}.Vm", "Start", "a{sv}", "0")
    polkit.stdout.readline()
    assert bus.get(vm, "Vm", "State") == "off"
    waiting.kill()
    waiting.wait()
    bus.call(vm, "Vm", "Start")
    assert daemon.state_of("web") == "running"


def test_a_bus_that_went_away_is_found_again(bus, daemon):
    vm = create(bus, daemon, "web")
    bus.stop()
    assert daemon.state_of("web") == "off"
    bus.start()
    wait_until(bus.has_name, "the name to come back")
    bus.call(vm, "Vm", "Start")
    assert bus.get(vm, "Vm", "State") == "running"


def test_a_bus_that_is_not_there_ends_the_start_with_a_sentence(stopped):
    status, said = stopped.fails("--bus", "unix:path=/nonexistent/bus")
    assert status == 1 and "--bus unix:path=/nonexistent/bus) cannot be reached" in said
    status, said = stopped.fails("--bus", "nonsense")
    assert status == 2 and "bus is none, system, session or an address" in said


def test_every_method_of_the_schema_stands_on_both_transports(bus, daemon):
    create(bus, daemon, "web")
    bus.call(ROOT, "Images", "Validate", "sa{sv}", "/nowhere/a.vhdx", "0")
    daemon.call("group.create", name="front")
    paths = bus.tree().split()
    xml = "".join(bus.run("call", NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")
                  for path in (ROOT, f"{ROOT}/job/1", *(next(p for p in paths if branch in p) for branch in ("/vm/", "/group/"))))
    assert f"{ROOT}/job/1" in paths
    top = pathlib.Path(__file__).resolve().parents[2]
    for file in (top / "schemas/api").glob("*.json"):
        schema = json.loads(file.read_text())
        for verb, method in schema.get("methods", {}).items():
            named = schema.get("dbus", {}).get("members", {})
            member = named.get(verb, "".join(word.capitalize() for word in verb.split("_")))
            assert method.get("stream") or f'name=\\"{member}' in xml, f"{schema['noun']}.{verb}"
            status, body = daemon.request({"jsonrpc": "2.0", "id": 1, "method": f"{schema['noun']}.{verb}",
                                           "params": {"no such argument": 1}})
            answer = json.loads(body)
            assert status == 200 and answer["error"]["data"]["name"] != "MethodNotFound", answer


def test_a_group_is_an_object_on_the_bus(bus, daemon):
    vm = create(bus, daemon, "web")
    monitor = bus.monitor()
    told = []

    def hear(path, member, is_wanted=lambda data: True):
        """Signals until one of that object, by itself or as the first argument."""
        while True:
            message = json.loads(monitor.stdout.readline())
            if message["type"] != "signal":
                continue
            data = message["payload"]["data"]
            told.append(data)
            at = data[0] if message["member"].startswith("Interfaces") else message["path"]
            if (at, message["member"]) == (path, member) and is_wanted(data):
                return data

    job, made = bus.call(ROOT, "Manager", "CreateGroup", "sa{sv}", "front", "1", "notes", "s", "n")
    group = f"{ROOT}/group/" + made["group"]["data"]["id"]["data"].replace("-", "")
    assert job == "/" and group in bus.tree().split()
    assert hear(group, "InterfacesAdded")[1][f"{NAME}.Group"]["Name"]["data"] == "front"
    assert bus.get(group, "Group", "Name", "Kind", "Notes", "Generation", "Size") == ["front", "vm", "n", 1, 0]
    bus.call(group, "Group", "AddMember", "sa{sv}", "web", "0")
    changed = hear(group, "PropertiesChanged")
    assert changed[0] == f"{NAME}.Group" and changed[1]["Size"]["data"] == 1 and changed[2] == ["Members"]
    assert hear(vm, "PropertiesChanged")[1]["Groups"]["data"] == ["front"]
    assert [m["name"]["data"] for m in bus.get(group, "Group", "Members")] == ["web"] and bus.get(vm, "Vm", "Groups") == ["front"]
    bus.call(group, "Group", "Configure", "a{sv}", "1", "name", "s", "door")
    assert hear(group, "PropertiesChanged")[1]["Name"]["data"] == "door"
    assert hear(vm, "PropertiesChanged")[1]["Groups"]["data"] == ["door"]
    out = bus.run("call", NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    objects = json.loads(out)["data"][0]
    assert sorted(objects) == sorted((vm, group)) and objects[group][f"{NAME}.Group"]["Name"]["data"] == "door"
    assert [g["name"]["data"] for g in bus.call(ROOT, "Manager", "ListGroups")[0]["groups"]["data"]] == ["door"]
    for path in (group, ROOT):
        assert "Group" in bus.run("introspect", NAME, path)
    with pytest.raises(Refused, match="no VM"):
        bus.call(group, "Group", "AddMember", "sa{sv}", "nobody", "0")
    with pytest.raises(Refused, match="no group"):
        bus.get(f"{ROOT}/group/" + "0" * 32, "Group", "Name")
    bus.call(group, "Group", "Delete")
    assert hear(group, "InterfacesRemoved")[1] == [f"{NAME}.Group"]
    assert bus.get(vm, "Vm", "Groups") == [] and group not in bus.tree().split()
    events = {data[1]: data[2] for data in told if len(data) == 4}
    assert events["group.member_added"] == events["group.deleted"] == group


def test_the_buss_policy_lets_calls_to_every_object_through_to_polkit(bus, daemon):
    vm = create(bus, daemon, "web")
    daemon.call("group.create", name="front")
    group = next(p for p in bus.tree().split() if "/group/" in p)
    top = pathlib.Path(__file__).resolve().parents[2]
    policy = (top / "packaging/dbus/org.hvstack.Vmms1.conf").read_text()
    for path in (vm, group):
        xml = json.loads(bus.run("call", NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect"))["data"][0]
        for interface in re.findall(r'interface name="(org\.hvstack[^"]*)"', xml):
            assert f'send_interface="{interface}"' in policy, interface


def test_polkit_hears_of_the_groups_of_a_vm(bus, daemon, build):
    vm = create(bus, daemon, "web")
    for name, kind, member in (("front", "vm", "web"), ("all", "management", "front")):
        daemon.call("group.create", name=name, kind=kind)
        daemon.call("group.add_member", group=name, member=member)
    polkit = bus.polkit(build, "only:org.hvstack.vmms1.vm.power")
    bus.call(vm, "Vm", "Start", as_nobody=True)
    assert "vm_groups=all|front " in polkit.stdout.readline()
    # Who may turn VMs on may not, for that, change who is in which group.
    path = next(p for p in bus.tree().split() if "/group/" in p)
    with pytest.raises(Refused, match="group.configure is not yours"):
        bus.call(path, "Group", "RemoveMember", "sa{sv}", "web", "0", as_nobody=True)
    assert polkit.stdout.readline().startswith("org.hvstack.vmms1.group.configure ")
    daemon.call("group.remove_member", group="front", member="web")
    bus.run("call", NAME, ROOT, f"{NAME}.Manager", "CallJson", "ss", "vm.pause", '{"vm": "web"}', as_nobody=True, check=False)
    asked = polkit.stdout.readline()
    assert "operation=vm.pause" in asked and "vm_groups= " in asked


def test_devices_and_guests_are_there_as_well(bus, daemon):
    vm = create(bus, daemon, "web")
    disk = daemon.dir / "disk.img"
    disk.write_bytes(b"\0" * 4096)
    job, result = bus.call(vm, "Vm", "AddDevice", "a{sv}a{sv}", "2", "path", "s", str(disk), "lun", "u", "3", "0")
    device = result["device"]["data"]
    assert job == "/" and [d["kind"]["data"] for d in bus.get(vm, "Vm", "Devices")] == ["scsi", "disk"]
    bus.call(vm, "Vm", "Start")
    assert bus.get(vm, "Vm", "Heartbeat") == "no_contact"
    assert bus.call(vm, "Guest", "Get")[0]["name"]["data"] == "web"
    bus.call(vm, "Guest", "AddKvp", "aa{sv}a{sv}", "1", "2", "key", "s", "colour", "value", "s", "blue", "0")
    bus.call(vm, "Console", "TypeText", "sa{sv}", "root", "0")
    assert [k["key"] for k in daemon.call("guest.get", vm="web")["kvp"] if k["source"] == "host"] == ["colour"]
    bus.call(vm, "Vm", "RemoveDevice", "sa{sv}", device, "0")
    with pytest.raises(Refused, match="no device"):
        bus.call(vm, "Vm", "RemoveDevice", "sa{sv}", device, "0")
    bus.call(vm, "Guest", "Shutdown", "a{sv}", "1", "force", "b", "true")
    assert bus.get(vm, "Vm", "State", "Cause") == ["off", "guest_shutdown"]


def test_the_readmes_examples_work_as_they_stand(bus, daemon):
    """Another place for the kernel and the bus, a moment's monitoring; else word by word."""
    text = readme.block("busctl tree", {"/tmp/guest/vmlinuz-cloud": daemon.kernel})
    assert len(text.splitlines()) == 9
    text = re.sub(r"^(busctl monitor [^#]*)#.*$", r"timeout 0.5 \1 || [ $? = 124 ]", text, flags=re.M)
    done = subprocess.run(["bash", "-euxc", text], env=dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS=bus.address), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert 's "running"' in done.stdout and daemon.vms() == []


def hvadm(bus, build, *words, as_nobody=False):
    # The build may lie where nobody may look.
    place = bus.dir / "bin"
    if not place.exists():
        place.mkdir(mode=0o755)
        for file in ("cli/hvadm", "api/client/hvadm-dbus.so"):
            shutil.copy(build / file, place)
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if as_nobody else []
    return subprocess.run([*prefix, place / "hvadm", "--connect", f"dbus:{bus.address}", *words], text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)


def test_hvadm_does_over_the_bus_what_it_does_over_the_socket(bus, daemon, build):
    done = hvadm(bus, build, "vm", "create", "web", "--kernel", str(daemon.kernel))
    assert done.returncode == 0, done.stderr
    assert hvadm(bus, build, "vm", "start", "web").returncode == 0
    assert hvadm(bus, build, "vm", "wait", "web", "--for", "running", "--timeout", "5").returncode == 0
    timeout = hvadm(bus, build, "vm", "wait", "web", "--for", "off", "--timeout", "0.5")
    assert timeout.returncode == 5, timeout.stderr
    for words in (("vm", "list"), ("vm", "show", "web"), ("host", "show"), ("events",)):
        ours, theirs = hvadm(bus, build, *words), daemon.hvadm(*words)
        assert ours.returncode == theirs.returncode == 0 and ours.stdout.split()[:2] == theirs.stdout.split()[:2]
    assert json.loads(hvadm(bus, build, "--json", "vm", "list").stdout)["vms"][0]["name"] == "web"
    missing, same = hvadm(bus, build, "vm", "show", "wob"), daemon.hvadm("vm", "show", "wob")
    assert (missing.returncode, missing.stderr) == (same.returncode, same.stderr) and "web" in missing.stderr


def sit_at(bus, build, *words, as_nobody=False):
    """hvadm that goes on, its output read line by line."""
    hvadm(bus, build, "host", "ping")  # puts the program in its place
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if as_nobody else []
    return bus.spawn(*prefix, bus.dir / "bin/hvadm", "--connect", f"dbus:{bus.address}", *words, stdin=subprocess.PIPE,
                     stderr=subprocess.PIPE)


def read_until(process, wanted):
    text = ""
    while wanted not in text:
        line = process.stdout.readline()
        assert line, f"no {wanted!r} in {text!r}: {process.stderr.read()}"
        text += line
    return text


def test_hvadm_sits_at_a_console_over_the_bus(bus, daemon, build):
    vm = create(bus, daemon, "web")
    refused = hvadm(bus, build, "vm", "console", "web")
    assert refused.returncode == daemon.hvadm("vm", "console", "web").returncode != 0 and "Start it first" in refused.stderr
    missing = hvadm(bus, build, "vm", "console", "nobody")
    assert missing.returncode == daemon.hvadm("vm", "console", "nobody").returncode and "nobody" in missing.stderr
    bus.call(vm, "Vm", "Start")
    console = sit_at(bus, build, "vm", "console", "web")
    console.stdin.write("print hello\n")
    console.stdin.flush()
    read_until(console, "hello\n")
    # A second one sees what was said before, or only what is new.
    other, new = sit_at(bus, build, "vm", "console", "web"), sit_at(bus, build, "vm", "console", "web", "--new")
    read_until(other, "hello\n")
    console.stdin.write("print again\n")
    console.stdin.flush()
    read_until(other, "again\n")
    bus.call(vm, "Vm", "TurnOff")
    assert console.wait(15) == other.wait(15) == new.wait(15) == 0
    assert "hello" not in new.stdout.read()


def test_a_console_over_the_bus_is_its_callers_right_and_ends_with_the_service(bus, daemon, build):
    vm = create(bus, daemon, "web")
    bus.call(vm, "Vm", "Start")
    signature = json.loads(bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "a{sv}", "1", "port", "u", "2"))["type"]
    assert signature == "ha{sv}"
    with pytest.raises(Refused, match="port"):
        bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "a{sv}", "1", "port", "u", "9")
    with pytest.raises(Refused, match="Open|arguments|signature"):
        bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "u", "1")
    refused = hvadm(bus, build, "vm", "console", "web", as_nobody=True)
    assert refused.returncode == 4, refused.stderr
    polkit = bus.polkit(build, "only:org.hvstack.vmms1.vm.console")
    # To look up the VM's id is another right than to sit at its console.
    bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "a{sv}", "0", as_nobody=True)
    asked = polkit.stdout.readline()
    assert "operation=vm.console" in asked and f"vm_id={daemon.call('vm.get', vm='web')['id']}" in asked
    with pytest.raises(Refused, match="vm.power is not yours"):
        bus.call(vm, "Vm", "TurnOff", as_nobody=True)
    many = [sit_at(bus, build, "vm", "console", "web") for _ in range(32)]
    for one in many:
        one.stdin.write("print x\n")
        one.stdin.flush()
        read_until(one, "x\n")
    with pytest.raises(Refused, match="Too many consoles"):
        bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "a{sv}", "0")
    many.pop().kill()
    wait_until(lambda: bus.run("call", NAME, vm, f"{NAME}.Console", "Open", "a{sv}", "0", check=False), "room for one")
    daemon.kill(signal.SIGTERM)
    assert [one.wait(15) for one in many] == [0] * len(many)
    daemon.start("--bus", bus.address)


def test_hvadm_follows_events_over_the_bus(bus, daemon, build):
    first = daemon.call("host.get")["last_event"]
    create(bus, daemon, "web")
    live = sit_at(bus, build, "events", "--follow", "--patience", "0")
    kept = sit_at(bus, build, "--json", "events", "--follow", "--since", "1")
    read_until(kept, '"vm.created"')
    until = time.monotonic() + 15
    while not select.select([live.stdout], [], [], 0.05)[0]:  # until it has begun
        daemon.call("vm.configure", vm="web", settings={"notes": str(time.monotonic())})
        assert time.monotonic() < until
    assert "vm.created" not in read_until(live, "vm.configured")
    daemon.call("vm.start", vm="web")
    read_until(live, "to=running")
    # None is missing, none comes twice.
    for n in range(250):
        daemon.call("vm.configure", vm="web", settings={"notes": f"n{n}"})
    last = daemon.call("host.get")["last_event"]
    seen = [json.loads(line)["seq"] for line in read_until(kept, f'"seq":{last},').splitlines()]
    assert seen == list(range(seen[0], last + 1)) and seen[0] > first
    daemon.kill()
    assert live.wait(15) == 5 and "ended the stream of events" in live.stderr.read()
    daemon.start("--bus", bus.address)
    daemon.call("vm.configure", vm="web", settings={"notes": "after"})
    now = daemon.call("host.get")["last_event"]
    seen = [json.loads(line)["seq"] for line in read_until(kept, f'"seq":{now},').splitlines()]
    assert seen == list(range(last + 1, now + 1))


def test_following_events_over_the_bus_is_a_right(bus, daemon, build):
    create(bus, daemon, "web")
    refused = hvadm(bus, build, "events", "--follow", as_nobody=True)
    assert refused.returncode == 4, refused.stderr
    bus.polkit(build, "only:org.hvstack.vmms1.events.read")
    follower = sit_at(bus, build, "events", "--follow", "--since", "1", as_nobody=True)
    read_until(follower, "vm.created")

def test_hvadm_over_the_bus_has_the_callers_rights_and_the_vm_is_told(bus, daemon, build):
    create(bus, daemon, "web")
    polkit = bus.polkit(build, "only:org.hvstack.vmms1.vm.power")
    assert hvadm(bus, build, "vm", "start", "web", as_nobody=True).returncode == 0
    asked = polkit.stdout.readline()
    assert "operation=vm.start" in asked and f"vm_id={daemon.call('vm.get', vm='web')['id']}" in asked
    assert asked.endswith("flags=1\n")
    refused = hvadm(bus, build, "vm", "delete", "web", as_nobody=True)
    assert refused.returncode == 4 and "vm.delete is not yours" in refused.stderr
    assert daemon.state_of("web") == "running"


def test_json_on_the_bus_meets_the_same_checks(bus, daemon):
    def ask(method, params):
        return json.loads(json.loads(bus.run("call", NAME, ROOT, f"{NAME}.Manager", "CallJson", "ss", method, params))["data"][0])
    assert ask("host.ping", "")["result"]["version"]
    assert ask("host.ping", "{}")["result"]["version"]
    assert ask("vm.create", '{"name": "web"}, "id": 7')["error"]["data"]["message_id"] == "api.dbus.arguments"
    assert ask("vm.nonsense", "{}")["error"]["data"]["name"] == "MethodNotFound"
    assert ask("vm.get", '{"vm": "nobody"}')["error"]["data"]["name"] == "NotFound"
    assert ask("vm.get", "[" * 100)["error"]["data"]["name"] == "TooLarge"
    assert ask("vm.create", '{"name": "web", "color": 1}')["error"]["data"]["name"] == "InvalidParameter"
    assert ask("events.subscribe", "{}")["error"]["data"]["name"] == "NotSupported"
    with pytest.raises(Refused):
        bus.run("call", NAME, ROOT, f"{NAME}.Manager", "CallJson", "s", "host.ping")


def test_hvadm_says_which_bus_has_no_service(bus, build):
    done = hvadm(bus, build, "host", "ping")
    assert done.returncode == 5 and f"not on the bus dbus:{bus.address}" in done.stderr
    done = subprocess.run([build / "cli/hvadm", "--connect", "dbus:unix:path=/nonexistent", "host", "ping"], text=True,
                          stderr=subprocess.PIPE, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 5 and "cannot be reached" in done.stderr


def test_a_call_is_planned_and_staged_settings_are_a_property(bus, daemon):
    vm = create(bus, daemon, "web")
    text, = bus.call(ROOT, "Manager", "Plan", "ss", "vm.start", json.dumps({"vm": "web"}))
    plan = json.loads(text)
    assert plan["verdict"] == "ok" and plan["diff"][0]["to"] == "running"
    assert bus.get(vm, "Vm", "State") == "off" and bus.get(vm, "Vm", "PendingConfig") == {"add": {"type": "aa{sv}", "data": []}, "remove": {"type": "aa{sv}", "data": []}}
    bus.call(vm, "Vm", "Start")
    bus.call(vm, "Vm", "Configure", "a{sv}a{sv}", "1", "cpu.count", "u", "2", "1", "stage", "b", "true")
    pending = bus.get(vm, "Vm", "PendingConfig")
    assert pending["settings"]["data"]["cpu.count"]["data"] == 2
    bus.call(vm, "Vm", "TurnOff")
    assert "settings" not in bus.get(vm, "Vm", "PendingConfig")


def test_several_changes_are_one_transaction(bus, daemon):
    ops = [{"method": "vm.create", "params": {"name": "web"}},
           {"method": "vm.configure", "params": {"vm": "$0.vm", "settings": {"cpu.count": 2}}}]
    job, done = bus.call(ROOT, "Manager", "Transact", "sa{sv}", json.dumps(ops), "0")
    assert job == "/" and len(done["results"]["data"]) == 2
    vm = f"{ROOT}/vm/" + done["results"]["data"][0]["vm"]["data"].replace("-", "")
    wait_until(lambda: vm in bus.tree(), "the VM to be there")
    with pytest.raises(Refused, match="Nothing was done: call 0"):
        bus.call(ROOT, "Manager", "Transact", "sa{sv}", json.dumps(ops), "0")


def test_a_transaction_that_makes_a_file_is_a_job(bus, build, daemon):
    daemon.worker = build / "vmwp/vmwp"
    daemon.kill()
    daemon.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")
    disk = str(daemon.dir / "a.vhdx")
    ops = [{"method": "image.create", "params": {"path": disk, "size_bytes": 1 << 20}},
           {"method": "vm.create", "params": {"name": "web", "devices": [{"path": "$0.path"}]}}]
    job, done = bus.call(ROOT, "Manager", "Transact", "sa{sv}", json.dumps(ops), "1", "idempotency_key", "s", "k")
    assert job.startswith(f"{ROOT}/job/") and done["results"]["data"] == []
    wait_until(lambda: bus.get(job, "Job", "State") == "done", "the job to end")
    again, done = bus.call(ROOT, "Manager", "Transact", "sa{sv}", json.dumps(ops), "1", "idempotency_key", "s", "k")
    assert again == job and done["results"]["data"][0]["path"]["data"] == disk
    assert [s["state"]["data"] for s in bus.get(job, "Job", "Steps")] == ["done", "done"]
    ops[0]["params"]["path"] = str(daemon.dir / "b.vhdx")
    with pytest.raises(Refused, match="call 1 .vm.create. failed"):
        bus.call(ROOT, "Manager", "Transact", "sa{sv}", json.dumps(ops), "1", "wait", "b", "true")
    assert not (daemon.dir / "b.vhdx").exists()


def test_a_change_without_an_event_makes_nobody_read_for_ever(bus, build, daemon):
    daemon.worker = build / "vmwp/vmwp"
    daemon.kill()
    daemon.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")

    def reads():
        out = subprocess.run(["curl", "-s", "--unix-socket", daemon.socket, "http://x/metrics"], text=True, check=True,
                             stdout=subprocess.PIPE).stdout
        found = re.search(r'call_seconds_count\{method="events.read"\} (\d+)', out)
        return int(found[1]) if found else 0
    daemon.call("image.create", path=str(daemon.dir / "a.vhdx"), size_bytes=64 << 20, wait=True)
    time.sleep(0.5)
    before = reads()
    time.sleep(0.5)
    assert reads() == before > 0
