# SPDX-License-Identifier: Apache-2.0
"""hvadm apply: a document of what shall be, what it takes shown first, done as one, and done once."""

import json
import os
import pty
import subprocess

import pytest

import readme


def apply(daemon, document, *args, status=0):
    path = daemon.dir / "vms.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    done = daemon.hvadm("apply", "-f", str(path), *args)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done.stderr if status else done.stdout


def vm(daemon, name, **settings):
    return {"name": name, "settings": {"boot.kernel": str(daemon.kernel), "memory.startup": 64 << 20, **settings}}


def test_the_readmes_example_runs_as_it_stands(daemon):
    script = readme.block("cat > vms.json")
    daemon.create("old")
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}",
                       PATH=f"{daemon.build / 'cli'}:{os.environ['PATH']}")
    done = subprocess.run(["sh", "-e", "-c", script], cwd=daemon.dir, env=environment, text=True, timeout=60,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "- old\n" in done.stdout and "+ web\n" in done.stdout and "cpu.count = 2" in done.stdout
    assert "+ group site\n" in done.stdout and "group.member = db" in done.stdout
    assert members(daemon, "site") == ["db", "web"]
    assert [v["name"] for v in daemon.call("vm.list")["vms"]] == ["db", "web"]
    again = subprocess.run(["sh", "-e", "-c", script], cwd=daemon.dir, env=environment, text=True, timeout=60,
                           capture_output=True, check=False)
    assert again.stdout == "Nothing to do.\nNothing to do.\n"


def test_only_what_differs_is_changed(daemon):
    image = daemon.dir / "disk.raw"
    image.write_bytes(bytes(1 << 20))
    document = {"vms": [vm(daemon, "web", notes="n") | {"state": "running"}, vm(daemon, "db")]}
    out = apply(daemon, document, "--yes")
    assert out.startswith("+ web\n") and "\n+ db\n" in out and "  >              start" in out
    assert daemon.state_of("web") == "running"
    document["vms"][0]["settings"] |= {"cpu.count": 3, "notes": None}
    document["vms"][1]["devices"] = [{"path": str(image), "lun": 7}]
    out = apply(daemon, document, "--plan")
    assert "~ web\n" in out and "cpu.count = 3 (when off)" in out and f"disk 0:7 = {image}" in out
    last = daemon.call("host.get")["last_event"]
    apply(daemon, document, "--yes")
    events = [e["type"] for e in daemon.events(since=last + 1)]
    assert events == ["vm.configured", "vm.config_staged", "device.added", "host.transaction_committed"]
    web = daemon.call("vm.get", vm="web")
    assert web["pending_config"]["settings"] == {"cpu.count": 3} and web["settings"]["notes"] == ""
    assert apply(daemon, document, "--yes") == "Nothing to do.\n", "what waits counts as done"
    document["vms"][0]["state"] = "off"
    document["vms"][1]["devices"] = []
    apply(daemon, document, "--yes")
    assert daemon.call("vm.get", vm="web")["settings"]["cpu.count"] == 3
    assert [d["kind"] for d in daemon.call("vm.get", vm="db")["devices"]] == ["scsi"]
    assert json.loads(apply(daemon, document, "--yes", "--json"))["already"]


def test_a_medium_is_changed_in_its_drive(daemon):
    iso = daemon.dir / "cd.iso"
    iso.write_bytes(bytes(4096))
    drive = {"kind": "dvd", "controller": 0, "lun": 1}
    apply(daemon, {"vms": [vm(daemon, "web") | {"devices": [drive]}]}, "--yes")
    before = daemon.call("vm.get", vm="web")["devices"][1]
    apply(daemon, {"vms": [vm(daemon, "web") | {"devices": [drive | {"path": str(iso)}]}]}, "--yes")
    after = daemon.call("vm.get", vm="web")["devices"][1]
    assert after["id"] == before["id"] and after["path"] == str(iso)


def members(daemon, group):
    return [m["name"] for m in daemon.call("group.get", group=group)["members"]]


def groups(daemon):
    return [g["name"] for g in daemon.call("group.list")["groups"]]


def test_groups_become_what_the_document_says(daemon):
    document = {"vms": [vm(daemon, "web") | {"state": "running"}, vm(daemon, "db")],
                "groups": [{"name": "all", "kind": "management", "members": ["front", "back"]},
                           {"name": "front", "members": ["web"], "notes": "n"}, {"name": "back"}]}
    plan = apply(daemon, document, "--plan")
    assert "+ group all\n" in plan and "group.member = back" in plan and groups(daemon) == []
    last = daemon.call("host.get")["last_event"]
    apply(daemon, document, "--yes")
    assert [members(daemon, g) for g in ("all", "front", "back")] == [["back", "front"], ["web"], []]
    assert [e["type"] for e in daemon.events(since=last + 1)].count("host.transaction_committed") == 1
    assert apply(daemon, document, "--yes") == "Nothing to do.\n"
    document["groups"][1] = {"name": "front", "members": ["db"], "notes": None}
    document["groups"][2]["members"] = [daemon.call("vm.get", vm="web")["id"], "db"]
    out = apply(daemon, document, "--plan")
    assert "~ group front\n" in out and "group.notes = n" in out and "group.member = web" in out
    apply(daemon, document, "--yes")
    assert members(daemon, "front") == ["db"] and members(daemon, "back") == ["db", "web"]
    assert daemon.call("group.get", group="front")["notes"] == ""
    assert apply(daemon, document, "--yes") == "Nothing to do.\n"


def test_groups_turned_upside_down_and_deleted(daemon):
    """No order in the document stands in its own way; who is not named, stays."""
    apply(daemon, {"vms": [vm(daemon, "web"), vm(daemon, "db")],
                   "groups": [{"name": "low", "kind": "management", "members": ["vms"]},
                              {"name": "high", "kind": "management", "members": ["low"]},
                              {"name": "vms", "members": ["web", "db"]}]}, "--yes")
    apply(daemon, {"groups": [{"name": "low", "members": ["high"]}, {"name": "high", "members": ["vms"]}]}, "--yes")
    assert members(daemon, "low") == ["high"] and members(daemon, "high") == ["vms"]
    assert members(daemon, "vms") == ["db", "web"]
    document = {"absent": ["web"], "groups": [{"name": "vms", "members": ["db"]}]}
    apply(daemon, document, "--yes")
    assert members(daemon, "vms") == ["db"]
    assert "- group high\n- group vms\n- group low\n" == apply(
        daemon, {"absent_groups": ["high", "vms", "low", "nobody"]}, "--yes")
    assert groups(daemon) == [] and [v["name"] for v in daemon.call("vm.list")["vms"]] == ["db"]


def test_of_groups_that_cannot_be_nothing_is_done(daemon):
    daemon.call("group.create", name="mine")
    daemon.call("group.create", name="over", kind="management")
    daemon.call("group.add_member", group="over", member="mine")
    document = {"vms": [vm(daemon, "web")], "groups": [{"name": "mine", "members": ["web", "nobody"]}]}
    assert "nobody" in apply(daemon, document, "--yes", status=1)
    assert "for life" in apply(daemon, {"groups": [{"name": "mine", "kind": "management"}]}, "--yes", status=2)
    assert "over holds" in apply(daemon, {"absent_groups": ["mine"]}, "--yes", status=1)
    assert daemon.call("vm.list")["vms"] == [] and members(daemon, "mine") == [] and groups(daemon) == ["mine", "over"]


def test_of_a_document_with_a_fault_nothing_is_done(daemon):
    daemon.create("busy")
    daemon.call("vm.start", vm="busy")
    document = {"vms": [vm(daemon, "web"), vm(daemon, "db")], "absent": ["busy"]}
    assert "vm.delete" in apply(daemon, document, "--yes", status=1)
    assert [v["name"] for v in daemon.call("vm.list")["vms"]] == ["busy"]


@pytest.mark.parametrize("text, said", [
    ("{", "line 1 cannot be read"),
    ("{\n\n x", "line 3 cannot be read"),
    ("[]", "an object with vms, absent, groups and absent_groups is expected"),
    ('{"vm": []}', "vm is not known"),
    ('{"vms": {}}', "vms is an object where an array is expected"),
    ('{"vms": [5]}', "vms[0] is a number where an object is expected"),
    ('{"vms": [{}]}', "vms[0].name is missing"),
    ('{"vms": [{"name": "a", "colour": 1}]}', "vms[0].colour is not known"),
    ('{"vms": [{"name": "a"}, {"name": "b", "settings": {"cpu.count": 99}}]}', "vms[1].settings.cpu.count is out of range"),
    ('{"vms": [{"name": "a", "settings": {"cpu.cuont": 1}}]}', "vms[0].settings.cpu.cuont"),
    ('{"vms": [{"name": "a", "settings": {"name": "b"}}]}', "vms[0].settings.name"),
    ('{"vms": [{"name": "a", "settings": 1}]}', "vms[0].settings is a number"),
    ('{"vms": [{"name": "a", "devices": [{"path": "x"}]}]}', "vms[0].devices[0].path is not an absolute path"),
    ('{"vms": [{"name": "a", "devices": [{"paht": "/x"}]}]}', "vms[0].devices[0].paht"),
    ('{"vms": [{"name": "a", "state": "on"}]}', "vms[0].state"),
    ('{"vms": [{"name": "a"}, {"name": "a"}]}', 'vms has "a" twice'),
    ('{"vms": [{"name": "a"}], "absent": ["a"]}', "in vms and in absent"),
    ('{"absent": [1]}', "absent[0] is a number"),
    ('{"groups": {}}', "groups is an object where an array is expected"),
    ('{"groups": [1]}', "groups[0] is a number where an object is expected"),
    ('{"groups": [{}]}', "groups[0].name is missing"),
    ('{"groups": [{"name": "a", "member": []}]}', "groups[0].member is not known; a group has name, kind"),
    ('{"groups": [{"name": "a", "kind": "vms"}]}', "groups[0].kind"),
    ('{"groups": [{"name": "a", "notes": 1}]}', "groups[0].notes is a number"),
    ('{"groups": [{"name": "a", "members": "b"}]}', "groups[0].members is a string"),
    ('{"groups": [{"name": "a", "members": ["b", 1]}]}', "groups[0].members[1] is a number"),
    ('{"groups": [{"name": "a"}, {"name": "a"}]}', 'groups has "a" twice'),
    ('{"groups": [{"name": "a"}], "absent_groups": ["a"]}', "in groups and in absent_groups"),
    ('{"groups": [{"name": "a", "members": ["b"]}], "absent": ["b"]}', "stands in absent as well"),
    ('{"absent_groups": [1]}', "absent_groups[0] is a number"),
], ids=range(30))
def test_a_bad_document_is_refused_by_its_place(daemon, text, said):
    assert said in apply(daemon, text, "--yes", status=2)
    assert daemon.events() == []


def test_it_asks_where_somebody_can_answer(daemon):
    document = {"vms": [vm(daemon, "web")]}
    path = daemon.dir / "vms.json"
    assert "--yes" in apply(daemon, document, status=2)
    done = daemon.hvadm("apply", "-f", "-", "--yes", input=json.dumps(document))
    assert done.returncode == 0 and done.stdout.startswith("+ web\n")
    document["vms"][0]["settings"]["notes"] = "other"
    path.write_text(json.dumps(document))
    for answer, status, notes in (("n\n", 8, ""), ("y\n", 0, "other")):
        master, slave = pty.openpty()
        os.write(master, answer.encode())
        done = daemon.hvadm("apply", "-f", str(path), stdin=slave)
        os.close(master)
        os.close(slave)
        assert done.returncode == status and "Do this?" in done.stderr
        assert daemon.call("vm.get", vm="web")["settings"]["notes"] == notes
    assert daemon.hvadm("apply", "-f", "/nowhere").returncode == 2
