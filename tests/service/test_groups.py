# SPDX-License-Identifier: Apache-2.0
"""Groups of VMs and groups of groups: the calls, what is kept, who hears of it, hvadm."""

import json
import signal
import sqlite3

import pytest

from service import RpcError, wait_until


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def add(daemon, group, member, **more):
    return daemon.call("group.add_member", group=group, member=member, **more)


def members(daemon, group):
    return [m["name"] for m in daemon.call("group.get", group=group)["members"]]


@pytest.fixture
def tree(daemon):
    """web and db in front, mail in back, front and back in all."""
    for vm in ("web", "db", "mail", "lone"):
        daemon.create(vm)
    daemon.call("group.create", name="front", notes="for all to see")
    daemon.call("group.create", name="back")
    daemon.call("group.create", name="all", kind="management")
    for group, member in (("front", "web"), ("front", "db"), ("back", "mail"), ("all", "front"), ("all", "back")):
        add(daemon, group, member)
    return daemon


def test_a_group_is_made_listed_changed_and_deleted(daemon):
    made = daemon.call("group.create", name="front", notes="a")
    group = made["group"]
    assert (group["kind"], group["notes"], group["generation"], group["size"]) == ("vm", "a", 1, 0)
    assert made["event_seq"] == 1 and not made["already"]
    changed = daemon.call("group.configure", group="front", name="door", notes="b")["group"]
    assert (changed["id"], changed["name"], changed["notes"], changed["generation"]) == (group["id"], "door", "b", 2)
    assert daemon.call("group.configure", group=group["id"].upper(), notes="b")["already"]
    assert daemon.call("group.configure", group="door")["already"]
    daemon.call("group.configure", group="door", notes="")
    assert daemon.call("group.list", fields=["name", "size"])["groups"] == [{"name": "door", "size": 0}]
    assert "group" not in daemon.call("group.delete", group="door")
    assert daemon.call("group.list")["groups"] == []
    assert [e["type"] for e in daemon.events()] == ["group.created", "group.renamed", "group.changed", "group.deleted"]
    assert {e["object"] for e in daemon.events()} == {group["id"]} and not any("vm" in e for e in daemon.events())


def test_vms_come_and_go_and_know_their_groups(daemon):
    web = daemon.create("web")
    daemon.call("group.create", name="front")
    daemon.call("group.create", name="blue")
    changed = add(daemon, "front", "web")
    assert changed["group"]["size"] == 1 and changed["group"]["generation"] == 2
    assert daemon.call("group.get", group="front")["members"] == [{"id": web["id"], "name": "web"}]
    assert add(daemon, "front", web["id"])["already"]
    add(daemon, "blue", "web")
    vm = daemon.call("vm.get", vm="web")
    assert vm["groups"] == ["blue", "front"] and vm["generation"] == web["generation"]
    assert daemon.call("vm.get", vm="web", fields=["groups"]) == {"groups": ["blue", "front"]}
    assert daemon.call("vm.summaries")["vms"][0]["groups"] == ["blue", "front"]
    event = daemon.events()[-1]
    assert (event["type"], event["vm"], event["vm_name"], event["generation"]) == ("group.member_added", web["id"], "web", 2)
    assert event["data"] == {"name": "blue", "member": web["id"], "member_name": "web"}
    daemon.call("group.configure", group="blue", name="green")
    assert daemon.call("vm.get", vm="web")["groups"] == ["front", "green"]
    daemon.call("group.remove_member", group="front", member="web")
    assert daemon.call("group.remove_member", group="front", member="web")["already"]
    assert daemon.call("vm.get", vm="web")["groups"] == ["green"]


def test_a_list_of_vms_can_be_of_a_group(tree):
    def of(group):
        return [vm["name"] for vm in tree.call("vm.list", filter={"group": group})["vms"]]
    assert of("front") == ["db", "web"] and of("all") == ["db", "mail", "web"] and of("back") == ["mail"]
    page = tree.call("vm.list", filter={"group": "all"}, limit=2, fields=["name"])
    assert [v["name"] for v in page["vms"]] == ["db", "mail"] and page["next"] == "mail"
    error = refused(tree, "vm.list", filter={"group": "frnt"})
    assert (error.name, error.field, error.data["nearest"]) == ("NotFound", "filter.group", ["front"])


def test_lists_of_groups_are_paged(daemon):
    for i in range(5):
        daemon.call("group.create", name=f"g{i}")
    page = daemon.call("group.list", limit=3, fields=["name"])
    assert [g["name"] for g in page["groups"]] == ["g0", "g1", "g2"] and page["next"] == "g2"
    page = daemon.call("group.list", limit=3, after="g2", fields=["name"])
    assert [g["name"] for g in page["groups"]] == ["g3", "g4"] and "next" not in page


@pytest.mark.parametrize("method, params, name, field", [
    ("group.create", {"name": "front"}, "AlreadyExists", "name"),
    ("group.create", {"name": ""}, "InvalidParameter", "name"),
    ("group.create", {"name": "x" * 101}, "InvalidParameter", "name"),
    ("group.create", {"name": "a\nb"}, "InvalidParameter", "name"),
    ("group.create", {"name": "x", "kind": "cluster"}, "InvalidParameter", "kind"),
    ("group.create", {"name": "x", "notes": "x" * 5000}, "InvalidParameter", "notes"),
    ("group.create", {}, "InvalidParameter", "name"),
    ("group.configure", {"group": "back", "name": "front"}, "AlreadyExists", "name"),
    ("group.configure", {"group": "bakc"}, "NotFound", "group"),
    ("group.get", {"group": "web"}, "NotFound", "group"),
    ("group.delete", {"group": "front"}, "InUse", "group"),
    ("group.add_member", {"group": "front", "member": "wbe"}, "NotFound", "member"),
    ("group.add_member", {"group": "front", "member": "back"}, "InvalidParameter", "member"),
    ("group.add_member", {"group": "all", "member": "web"}, "InvalidParameter", "member"),
    ("group.add_member", {"group": "all", "member": "all"}, "InvalidParameter", "member"),
    ("group.add_member", {"group": "inner", "member": "all"}, "InvalidParameter", "member"),
    ("group.remove_member", {"group": "front", "member": "nobody"}, "NotFound", "member"),
    ("group.add_member", {"group": "front", "member": "web", "expected_generation": 9}, "GenerationConflict", "expected_generation"),
    ("group.delete", {"group": "all", "expected_generation": 1}, "GenerationConflict", "expected_generation"),
    ("group.add_member", {"group": "front"}, "InvalidParameter", "member"),
    ("group.list", {"limit": 0}, "InvalidParameter", "limit"),
])
def test_what_is_wrong_is_named_and_nothing_is_changed(tree, method, params, name, field):
    tree.call("group.create", name="inner", kind="management")
    add(tree, "all", "inner")
    before = tree.call("group.list"), tree.events()
    error = refused(tree, method, **params)
    assert (error.name, error.field) == (name, field), error.message
    assert (tree.call("group.list"), tree.events()) == before


def test_errors_say_what_would_be_right(tree):
    assert refused(tree, "group.get", group="fornt").data["nearest"] == ["front"]
    assert refused(tree, "group.add_member", group="front", member="wbe").data["nearest"][0] == "web"
    error = refused(tree, "group.delete", group="front")
    assert error.data["holder"] == "all" and "remove_member" in error.data["hint"]
    tree.call("group.create", name="inner", kind="management")
    add(tree, "all", "inner")
    assert "would hold itself" in refused(tree, "group.add_member", group="inner", member="all").message
    assert "holds VMs" in refused(tree, "group.add_member", group="front", member="back").message


def test_a_plan_of_a_group_holds_until_something_moves(tree):
    plan = tree.call("group.add_member", group="front", member="mail", plan=True)["plan"]
    assert plan["verdict"] == "ok" and plan["steps"][0]["what"] == "put mail into the group"
    assert plan["policy"] == ["group.configure"]
    assert tree.call("group.add_member", group="front", member="web", plan=True)["plan"]["verdict"] == "nothing_to_do"
    plan_refused = tree.call("tx.plan", method="group.delete", params={"group": "front"})["plan"]
    assert plan_refused["verdict"] == "refused" and plan_refused["errors"][0]["data"]["name"] == "InUse"
    assert "mail" not in members(tree, "front")
    tree.call("group.configure", group="front", notes="moved")
    assert refused(tree, "group.add_member", group="front", member="mail", plan_id=plan["plan_id"]).name == "GenerationConflict"
    plan = tree.call("group.add_member", group="front", member="mail", plan=True)["plan"]
    tree.call("group.add_member", group="front", member="mail", plan_id=plan["plan_id"])
    assert "mail" in members(tree, "front")


def test_a_group_that_is_deleted_leaves_its_members(tree):
    last = tree.events()[-1]["seq"]
    tree.call("group.delete", group="all")
    assert [e["type"] for e in tree.events(last + 1)] == ["group.member_removed", "group.member_removed", "group.deleted"]
    tree.call("group.delete", group="front")
    assert [(e["type"], e.get("vm_name")) for e in tree.events()[-3:]] in (
        [("group.member_removed", "web"), ("group.member_removed", "db"), ("group.deleted", None)],
        [("group.member_removed", "db"), ("group.member_removed", "web"), ("group.deleted", None)])
    assert tree.call("vm.get", vm="web")["groups"] == [] and tree.call("vm.get", vm="mail")["groups"] == ["back"]


def test_a_vm_that_is_deleted_is_in_no_group_any_more(tree):
    tree.call("group.create", name="blue")
    add(tree, "blue", "web")
    web, last = tree.call("vm.get", vm="web")["id"], tree.events()[-1]["seq"]
    tree.call("vm.delete", vm="web")
    assert members(tree, "front") == ["db"] and members(tree, "blue") == []
    told = tree.events(last + 1)
    assert [e["type"] for e in told] == ["vm.deleted", "group.member_removed", "group.member_removed"]
    assert {e["vm"] for e in told} == {web}
    assert tree.call("host.get")["last_event"] == told[-1]["seq"]
    # The same by transactions, several at once.
    tree.call("tx.apply", ops=[{"method": "vm.delete", "params": {"vm": vm}} for vm in ("db", "mail", "lone")])
    assert [tree.call("group.get", group=g)["size"] for g in ("front", "back", "all")] == [0, 0, 2]
    assert [e["type"] for e in tree.events()[-6:]] == ["vm.deleted", "group.member_removed"] * 2 + ["vm.deleted", "host.transaction_committed"]
    tree.create("new")
    add(tree, "front", "new")


def test_a_transaction_that_fails_leaves_groups_alone(tree):
    before = tree.call("group.list")
    refused(tree, "tx.apply", ops=[{"method": "vm.delete", "params": {"vm": "web"}}, {"method": "vm.start", "params": {"vm": "no"}}])
    plan = tree.call("tx.apply", ops=[{"method": "vm.delete", "params": {"vm": "web"}}], plan=True)["plan"]
    assert plan["verdict"] == "ok" and tree.call("group.list") == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_groups_are_kept(tree, number):
    before, vms = tree.call("group.list"), tree.vms()
    tree.call("group.create", name="gone")
    tree.call("group.delete", group="gone")
    tree.kill(number)
    tree.start()
    assert tree.call("group.list") == before and tree.vms() == vms
    add(tree, "back", "lone")
    assert members(tree, "back") == ["lone", "mail"]


def test_a_database_that_holds_a_circle_is_refused(tree):
    tree.call("group.create", name="inner", kind="management")
    add(tree, "all", "inner")
    tree.kill(signal.SIGTERM)
    database = sqlite3.connect(tree.state / "vmms.db")
    database.execute("INSERT INTO vm_group_member (vm_group, child) SELECT a.id, b.id FROM vm_group a, vm_group b "
                     "WHERE a.name = 'inner' AND b.name = 'all'")
    database.commit()
    database.close()
    status, said = tree.fails()
    assert status == 1 and "member of the group" in said


def test_many_clients_change_groups_at_once(daemon):
    daemon.call("group.create", name="all")
    for i in range(20):
        daemon.create(f"vm{i}")
    sockets = [daemon.websocket() for _ in range(20)]
    for i, s in enumerate(sockets):
        s.frame(1, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "group.add_member",
                               "params": {"group": "all", "member": f"vm{i}"}}).encode())
    for s in sockets:
        assert b'"result"' in s.message()[1]
    for i, s in enumerate(sockets):
        s.frame(1, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.delete" if i % 2 else "group.remove_member",
                               "params": {"vm": f"vm{i}"} if i % 2 else {"group": "all", "member": f"vm{i}"}}).encode())
    for s in sockets:
        assert b'"result"' in s.message()[1]
    assert members(daemon, "all") == [] and len(daemon.vms()) == 10
    assert daemon.call("group.get", group="all")["generation"] == 41


# hvadm


def fine(daemon, *words, status=0):
    done = daemon.hvadm(*words)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout


def test_hvadm_makes_fills_shows_and_deletes_groups(daemon):
    daemon.create("web")
    daemon.create("db")
    fine(daemon, "group", "create", "front", "--notes", "for all to see")
    fine(daemon, "group", "create", "all", "--management")
    fine(daemon, "group", "add", "front", "web", "db")
    fine(daemon, "group", "add", "all", "front")
    listed = fine(daemon, "group", "list")
    assert [line.split()[:3] for line in listed.splitlines()[1:]] == [["all", "management", "1"], ["front", "vm", "2"]]
    assert all(len(line) <= 80 for line in listed.splitlines())
    shown = fine(daemon, "group", "show", "front")
    assert "vm               db\nvm               web\n" in shown and "for all to see" in shown
    assert "group front" in " ".join(fine(daemon, "vm", "show", "web").split())
    fine(daemon, "group", "set", "front", "name=door", "notes=")
    assert json.loads(fine(daemon, "--json", "group", "show", "door"))["notes"] == ""
    assert "put web into the group" not in fine(daemon, "group", "add", "door", "web", "--plan")
    assert "take web out" in fine(daemon, "group", "remove", "door", "web", "--plan")
    fine(daemon, "group", "remove", "door", "web")
    fine(daemon, "group", "delete", "door", status=6)
    fine(daemon, "group", "delete", "all", "door")
    assert fine(daemon, "--json", "group", "list") == '{"groups":[]}\n'
    assert "front" in fine(daemon, "events")


@pytest.mark.parametrize("words", [("create",), ("create", "a", "b"), ("create", "a", "--kind"), ("list", "x"), ("show",),
                                   ("set", "a"), ("set", "a", "colour=1"), ("delete",), ("add", "a"), ("remove",)])
def test_wrong_use_is_told_by_hvadm_itself(daemon, words):
    done = daemon.hvadm("group", *words)
    assert done.returncode == 2 and f"hvadm help group {words[0]}" in done.stderr


def test_no_help_on_groups_is_wider_than_a_terminal(daemon):
    for verb in ("create", "list", "show", "set", "delete", "add", "remove"):
        assert all(len(line) <= 80 for line in fine(daemon, "help", "group", verb).splitlines())
    assert all(len(line) <= 80 for line in fine(daemon, "help", "remote", "invite").splitlines())
    for verb in ("start", "off", "shutdown", "list"):
        shown = fine(daemon, "help", "vm", verb)
        assert "--group" in shown and all(len(line) <= 80 for line in shown.splitlines())


def test_a_verb_for_a_group_is_for_each_of_its_vms(tree):
    assert [line.split() for line in fine(tree, "vm", "start", "--group", "all").splitlines()] == [
        ["db", "running"], ["mail", "running"], ["web", "running"]]
    assert [line.split() for line in fine(tree, "vm", "start", "--group", "front").splitlines()] == [
        ["db", "running", "already"], ["web", "running", "already"]]
    assert [line.split()[:2] for line in fine(tree, "vm", "list", "--group", "front").splitlines()[1:]] == [
        ["db", "running"], ["web", "running"]]
    answers = fine(tree, "--json", "vm", "off", "--group", "front").splitlines()
    assert [json.loads(line)["vm"]["state"] for line in answers] == ["off", "off"]
    assert tree.state_of("mail") == "running"
    done = tree.hvadm("vm", "pause", "--group", "all")
    lines = done.stdout.splitlines()
    assert done.returncode == 6 and len(lines) == 3 and not done.stderr
    assert lines[0].startswith("db") and "failed: VM db is off" in lines[0] and lines[1].split() == ["mail", "paused"]
    fine(tree, "vm", "off", "--group", "all")
    assert fine(tree, "vm", "off", "--group", "back", "--plan").strip()


def test_guests_of_a_group_are_shut_down(tree):
    fine(tree, "vm", "start", "--group", "front")
    shown = fine(tree, "vm", "shutdown", "--group", "front", "--force")
    assert [line.split() for line in shown.splitlines()] == [["db", "off"], ["web", "off"]]
    fine(tree, "vm", "start", "--group", "front")
    shown = fine(tree, "vm", "shutdown", "--group", "front", "--no-wait")
    assert [line.split() for line in shown.splitlines()] == [["db", "running"], ["web", "running"]]
    assert tree.wait_state("db", "off") and tree.wait_state("web", "off")


def test_a_group_that_is_empty_or_not_there(tree):
    tree.call("group.create", name="empty")
    assert fine(tree, "vm", "start", "--group", "empty") == ""
    done = tree.hvadm("vm", "start", "--group", "epmty")
    assert done.returncode == 2 and "Perhaps empty was meant" in done.stderr
    assert tree.hvadm("vm", "start", "web", "--group", "front").returncode == 2
    assert tree.hvadm("vm", "delete", "--group", "front").returncode == 2
    assert tree.hvadm("vm", "start").returncode == 2
    assert {vm["state"] for vm in tree.vms()} == {"off"}


def test_nobody_is_put_into_a_group_by_a_vm_that_is_on_its_way_out(tree):
    sockets = [tree.websocket() for _ in range(2)]
    for _ in range(20):
        tree.create("brief")
        for s, call in zip(sockets, ({"method": "vm.delete", "params": {"vm": "brief"}},
                                     {"method": "group.add_member", "params": {"group": "front", "member": "brief"}})):
            s.frame(1, json.dumps({"jsonrpc": "2.0", "id": 1, **call}).encode())
        for s in sockets:
            s.message()
        assert members(tree, "front") == ["db", "web"]
    wait_until(lambda: len(tree.vms()) == 4, "all to be gone")
