# SPDX-License-Identifier: Apache-2.0
"""The D-Bus transport, asked by busctl on a bus of its own."""

import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import pytest

import service
from service import wait_until

NAME, ROOT = "org.hvstack.Vmms1", "/org/hvstack/Vmms1"
NOBODY = 65534
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
"""


class Refused(Exception):
    pass


class Bus:
    """A message bus, and busctl on it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hvb."))
        self.dir.chmod(0o755)
        self.socket = self.dir / "bus"
        self.address = f"unix:path={self.socket}"
        (self.dir / "config").write_text(CONFIG.format(socket=self.socket))
        self.process, self.others = None, []
        self.start()

    def start(self):
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={self.dir}/config", "--nofork", "--nopidfile"])
        wait_until(self.socket.exists, "the bus")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def run(self, *words, as_nobody=False, check=True, may_ask=False):
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if as_nobody else []
        done = subprocess.run([*prefix, "busctl", f"--address={self.address}", "--json=short",
                               f"--allow-interactive-authorization={'yes' if may_ask else 'no'}", "--", *words], text=True,
                              timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if check and done.returncode != 0:
            raise Refused(done.stderr.strip())
        return done.stdout

    def call(self, path, interface, member, *words, **kwargs):
        out = self.run("call", NAME, path, f"{NAME}.{interface}", member, *(words or ("a{sv}", "0")), **kwargs)
        return json.loads(out)["data"]

    def tree(self):
        return subprocess.run(["busctl", f"--address={self.address}", "--list", "tree", NAME], text=True, check=True,
                              stdout=subprocess.PIPE).stdout

    def get(self, path, interface, *names):
        out = self.run("get-property", NAME, path, f"{NAME}.{interface}", *names)
        values = [json.loads(line)["data"] for line in out.splitlines()]
        return values if len(names) > 1 else values[0]

    def spawn(self, *words, **kwargs):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **kwargs)
        self.others.append(process)
        return process

    def has_name(self):
        out = self.run("call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", NAME)
        return json.loads(out)["data"] == [True]

    def polkit(self, build, rule):
        process = self.spawn(build / "tests/service/fake_polkit", self.address, rule)
        assert process.stdout.readline() == "ready\n"
        return process

    def clean_up(self):
        for process in self.others:
            process.kill()
            process.wait()
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


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


def test_a_job_that_is_forgotten_is_told_of(bus, stopped):
    stopped.worker = stopped.build / "vmwp/vmwp"
    stopped.start("--bus", bus.address)
    stopped.call("image.create", path=str(stopped.dir / "a.vhdx"), size_bytes=1 << 20, wait=True)
    stopped.kill(signal.SIGTERM)
    database = sqlite3.connect(stopped.state / "vmms.db")
    columns = ", ".join(row[1] for row in database.execute("PRAGMA table_info(job)") if row[1] != "id")
    for _ in range(1999):
        database.execute(f"INSERT INTO job ({columns}) SELECT {columns} FROM job WHERE id = 1")
    database.commit()
    database.close()
    stopped.start("--bus", bus.address)
    wait_until(bus.has_name, "the name on the bus")
    monitor = bus.spawn("busctl", f"--address={bus.address}", "--json=short", "monitor", NAME, stderr=subprocess.PIPE)
    assert "Monitoring" in monitor.stderr.readline()
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
    out = bus.run("call", NAME, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    objects = json.loads(out)["data"][0]
    assert len(objects) == 1005
    assert all(o["org.hvstack.Vmms1.Vm"]["State"]["data"] == "off" for o in objects.values())


def test_what_happens_is_told_in_order(bus, daemon):
    monitor = bus.spawn("busctl", f"--address={bus.address}", "--json=short", "monitor", NAME,
                        stderr=subprocess.PIPE)
    assert "Monitoring" in monitor.stderr.readline()
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
    paths = bus.tree().split()
    xml = "".join(bus.run("call", NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect")
                  for path in (ROOT, f"{ROOT}/job/1", next(p for p in paths if "/vm/" in p)))
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
    top = pathlib.Path(__file__).resolve().parents[2]
    lines = (top / "README.md").read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("    busctl tree"))
    script = []
    for line in lines[first:lines.index("", first)]:
        script.append(line.strip())
    assert len(script) == 9
    text = "\n".join(script).replace("/tmp/guest/vmlinuz-cloud", str(daemon.kernel))
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
    stream = hvadm(bus, build, "vm", "console", "web")
    assert stream.returncode == 3 and "--connect unix:PATH" in stream.stderr


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
