# SPDX-License-Identifier: Apache-2.0
"""hvadm: what it prints, its exit statuses, its manners."""

import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import termios
import time
import unicodedata

import pytest

from service import RpcError, connections_of, wait_until


def fine(daemon, *args, **kwargs):
    done = daemon.hvadm(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fails(daemon, status, *args):
    done = daemon.hvadm(*args)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stderr.startswith("hvadm: ") and done.stderr.count("\n") == 1
    return done.stderr


def sit_at(daemon, *words):
    """hvadm where it stays for a while."""
    return subprocess.Popen([daemon.build / "cli/hvadm", *words], text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}"))


def pairs(daemon, vm):
    """What is shown of a VM, whatever its columns."""
    return re.sub(" +", " ", fine(daemon, "vm", "show", vm))


def test_a_life_in_ten_commands(daemon):
    fine(daemon, "vm", "create", "web", "--cpus", "2", "--memory", "128M", "--kernel", str(daemon.kernel),
         "--cmdline", "console=ttyS0", "--debug-exit", "0xf4", "--set", "notes=front door", "--auto-start", "always")
    fine(daemon, "vm", "start", "web")
    table = fine(daemon, "vm", "list")
    assert table.splitlines()[0].split() == ["NAME", "STATE", "CPUS", "MEMORY", "UP", "WHY"]
    assert table.splitlines()[1].split()[:5] == ["web", "running", "2", "128", "MiB"]
    assert all(len(line) <= 80 for line in table.splitlines())
    shown = pairs(daemon, "web")
    assert "debug_exit 244" in shown and "front door" in shown and "auto.start always" in shown
    fine(daemon, "vm", "pause", "web")
    fine(daemon, "vm", "wait", "web", "--for", "paused", "--timeout", "5")
    fine(daemon, "vm", "resume", "web")
    fine(daemon, "vm", "reset", "web")
    assert "guest CPU" in fine(daemon, "vm", "stats", "web")
    fine(daemon, "vm", "off", "web")
    fine(daemon, "vm", "wait", "web", "--for", "off")
    fine(daemon, "vm", "set", "web", "cpu.count=3", "memory.startup=1G", "notes=")
    fine(daemon, "vm", "rename", "web", "shop")
    vm = json.loads(fine(daemon, "--json", "vm", "show", "shop"))
    assert vm["settings"]["cpu.count"] == 3 and vm["settings"]["memory.startup"] == 1 << 30
    assert vm["settings"]["notes"] == ""
    fine(daemon, "vm", "delete", "shop")
    assert json.loads(fine(daemon, "vm", "list", "--json")) == {"vms": []}


def test_exit_statuses_follow_the_error_table(daemon):
    daemon.create("web")
    assert "Perhaps web was meant." in fails(daemon, 2, "vm", "show", "wbe")
    fails(daemon, 2, "vm", "create", "web")
    fails(daemon, 6, "vm", "pause", "web")
    fails(daemon, 3, "vm", "set", "web", "memory.dynamic=true")
    fails(daemon, 2, "vm", "set", "web", "cpu.count=99")
    fails(daemon, 2, "vm", "set", "web", "nonsense")
    fails(daemon, 2, "vm", "set", "web", "memory.startup=lots")
    fails(daemon, 5, "vm", "wait", "web", "--for", "running", "--timeout", "0.2")
    assert "vm help" not in fails(daemon, 2, "vm", "strat", "web")
    fails(daemon, 2)
    fails(daemon, 2, "vm")
    fails(daemon, 2, "vm", "list", "--colour")
    fails(daemon, 5, "--connect", "unix:/nowhere/vmms.sock", "host", "ping")
    fails(daemon, 2, "--connect", "ftp://x", "host", "ping")


def test_programs_get_errors_as_the_service_gives_them(daemon):
    for words, status, name in ((["vm", "show", "none"], 2, "NotFound"),
                                (["--connect", "unix:/nonexistent", "host", "ping"], 5, "NotAvailable")):
        done = daemon.hvadm("--json", *words)
        error = json.loads(done.stderr)
        assert (done.returncode, done.stdout, error["data"]["name"]) == (status, "", name)
        assert error["code"] and error["message"].endswith(".")


def test_a_refused_option_is_the_one_that_was_wrong(daemon):
    for words in (["vm", "create", "--cpus", "2"], ["vm", "start"], ["vm", "list"], ["vhd", "info"], ["events"],
                  ["job", "list"], ["vm", "wait"], ["group", "create"], ["guest", "cp"], ["vm", "type", "web"]):
        assert " -dash " in fails(daemon, 2, *words, "-dash")
        assert " --dash " in fails(daemon, 2, *words, "--dash")
    assert " --memory " in fails(daemon, 2, "vm", "create", "web", "--memory")
    assert '"soon" is no number' in fails(daemon, 2, "events", "--since", "soon")
    assert '"few" is no number' in fails(daemon, 2, "job", "list", "--limit", "few")
    assert "seconds" in fails(daemon, 2, "job", "wait", "1", "--timeout", "long")


def test_settings_that_cannot_be_read_are_named_and_their_help_exists(daemon):
    daemon.create("web")
    for words in (["vm", "set", "web", "cpu.count=2", "cpu.count=3"], ["vm", "create", "x", "--cpus", "2", "--cpus", "3"],
                  ["vm", "create", "x", "--set", "cpu.count=2", "--cpus", "3"]):
        assert "cpu.count is given twice" in fails(daemon, 2, *words)
    fine(daemon, "vm", "set", "web", 'notes="cpu.count":', "cpu.count=3")
    for value in ("cpu.count=two", "memory.startup=lots", "cpu.count"):
        said = fails(daemon, 2, "vm", "set", "web", value)
        assert fine(daemon, *said.rstrip(".\n").split("See hvadm ")[1].split()).startswith("hvadm vm set")
    fine(daemon, "vm", "set", "web", "cpu.count=010", "memory.startup=0128M", "debug_exit=0xf4")
    settings = json.loads(fine(daemon, "--json", "vm", "show", "web"))["settings"]
    assert (settings["cpu.count"], settings["memory.startup"], settings["debug_exit"]) == (10, 128 << 20, 0xf4)
    assert "There are: name, notes, cpu.count" in fails(daemon, 2, "vm", "set", "web", "nonsense=1")
    assert "Perhaps cpu.count was meant" in fails(daemon, 2, "vm", "set", "web", "cpu.cuont=1")


def test_help_is_there_for_everything(daemon):
    listing = fine(daemon, "help")
    for line in listing.splitlines():
        words = line.split()
        if line.startswith("  ") and not line.startswith("    ") and words[0] in ("vm", "host", "events"):
            noun_verb = words[:1] if words[0] == "events" else words[:2]
            assert fine(daemon, "help", *noun_verb).startswith("hvadm " + " ".join(noun_verb))
    assert "--kernel" in fine(daemon, "vm", "create", "--help")


def test_relative_files_are_named_from_where_one_stands(daemon):
    fine(daemon, "vm", "create", "web", "--kernel", "kernel", cwd=daemon.dir)
    assert daemon.call("vm.get", vm="web")["settings"]["boot.kernel"] == str(daemon.kernel)


def test_a_plan_is_printed_and_changes_nothing(daemon):
    assert "store the definition" in fine(daemon, "vm", "create", "web", "--plan")
    assert daemon.call("vm.list")["vms"] == []


def test_several_vms_at_once_and_the_first_failure_counts(daemon):
    for name in ("a", "b"):
        daemon.create(name)
    assert daemon.hvadm("vm", "start", "a", "nobody", "b").returncode == 2
    assert daemon.state_of("a") == daemon.state_of("b") == "running"


def test_hostile_text_does_not_reach_the_terminal(daemon):
    daemon.create("web", notes="\x1b[2Jgone\n\x07")
    assert "\x1b" not in fine(daemon, "vm", "show", "web")
    daemon.create("日本語" * 12)
    assert "日本語" * 12 in fine(daemon, "vm", "list")


def test_the_console_without_a_terminal_copies_until_the_vm_is_off(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    assert fine(daemon, "vm", "console", "web", input="typed\noff\n").endswith("typed\noff\n")
    assert fine(daemon, "vm", "console", "web", "--log") == "hello from the fake\ntyped\noff\n"
    reader = daemon.hvadm("vm", "console", "web", stdin=subprocess.DEVNULL)
    assert reader.returncode == 0 and "hello from the fake" in reader.stdout


def test_the_console_on_a_terminal_is_left_by_control_bracket(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["HVADM_CONNECT"] = f"unix:{daemon.socket}"
        os.execv(daemon.build / "cli/hvadm", ["hvadm", "vm", "console", "web"])
    seen = b""
    while b"hello from the fake" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"ping\r")
    while b"ping" not in seen:
        seen += os.read(terminal, 4096)
    os.write(terminal, b"\x1d")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert daemon.state_of("web") == "running"


def test_events_are_printed_and_followed(daemon):
    follower = subprocess.Popen([daemon.build / "cli/hvadm", "--connect", f"unix:{daemon.socket}", "events", "--follow",
                                 "--limit", "3", "--since", "1"], stdout=subprocess.PIPE, text=True)
    for name in ("a", "b", "c"):
        daemon.create(name)
    lines = follower.communicate(timeout=20)[0].splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"] and follower.returncode == 0
    assert len(fine(daemon, "events", "--since", "2").splitlines()) == 2
    events = [json.loads(line) for line in fine(daemon, "--json", "events").splitlines()]
    assert [e["vm_name"] for e in events] == ["a", "b", "c"]


def test_waiting_sees_what_happens_meanwhile(daemon):
    daemon.create("web")
    waiting = subprocess.Popen([daemon.build / "cli/hvadm", "--connect", f"unix:{daemon.socket}", "vm", "wait", "web",
                                "--for", "running", "--timeout", "20"])
    time.sleep(0.2)
    assert waiting.poll() is None
    daemon.call("vm.start", vm="web")
    assert waiting.wait(10) == 0


def test_a_console_tells_an_end_of_the_service_from_an_end_of_the_vm(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    reader = sit_at(daemon, "vm", "console", "web", "--patience", "0")
    assert reader.stdout.readline() == "hello from the fake\n"
    daemon.kill()
    assert "broke" in reader.communicate(timeout=20)[1] and reader.returncode == 5
    daemon.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_console_goes_on_when_the_service_is_back(daemon, number):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    reader = sit_at(daemon, "vm", "console", "web")
    typist = daemon.type("web", "before\n")
    assert [reader.stdout.readline() for _ in range(2)] == ["hello from the fake\n", "before\n"]
    typist.close()
    daemon.kill(number)
    assert "gone away" in reader.stderr.readline()
    daemon.start()
    typist = daemon.type("web", "after\n")
    assert reader.stdout.readline() == "after\n"  # and nothing twice
    typist.close()
    daemon.call("vm.turn_off", vm="web")
    assert reader.wait(20) == 0 and not reader.stdout.read()


def test_a_console_that_nobody_can_read_is_no_lost_service(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([daemon.build / "cli/hvadm", "vm", "console", "web"], stdin=subprocess.DEVNULL, stdout=full,
                              env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}"), stderr=subprocess.PIPE, text=True,
                              timeout=60)
    assert done.returncode == 1 and done.stderr == "hvadm: What the console of web says cannot be written.\n"


def test_a_quiet_console_takes_what_is_typed(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    done = daemon.hvadm("vm", "console", "web", "--new", input="off\n")
    assert done.returncode == 0 and done.stdout.endswith("off\n")


def image(daemon, name):
    path = daemon.dir / name
    path.write_bytes(b"\0" * 4096)
    return str(path)


def test_disks_are_given_taken_and_shown(daemon):
    one, comma, iso = image(daemon, "one.img"), image(daemon, "a,b.img"), image(daemon, "cd.iso")
    fine(daemon, "vm", "create", "web", "--kernel", str(daemon.kernel), "--memory", "64M", "--disk", one,
         "--disk", comma.replace(",", ",,") + ",read-only,controller=1,lun=9", "--dvd", "")
    shown = pairs(daemon, "web")
    assert f"disk 0:0 {one} (raw)" in shown and f"disk 1:9 {comma} (raw, read-only)" in shown
    assert "dvd 0:1 empty" in shown and "scsi 1 " in shown
    fine(daemon, "vm", "insert", "web", "0:1", iso)
    assert f"dvd 0:1 {iso} (raw, read-only)" in pairs(daemon, "web")
    fine(daemon, "vm", "eject", "web", "0:1")
    done = daemon.hvadm("vm", "add", "web", "disk", "late.img", "--lun", "4", cwd=daemon.dir)
    assert done.returncode == 2 and "no file" in done.stderr
    image(daemon, "late.img")
    done = daemon.hvadm("vm", "add", "web", "disk", "late.img", "--lun", "4", cwd=daemon.dir)
    assert done.returncode == 0 and len(done.stdout) == 37
    assert "would            add the disk at 0:2" in fine(daemon, "vm", "add", "web", "disk", image(daemon, "x"), "--plan")
    fine(daemon, "vm", "start", "web")
    fine(daemon, "vm", "remove", "web", "disk", done.stdout.strip())
    fine(daemon, "vm", "remove", "web", "dvd", "0:1")
    devices = json.loads(fine(daemon, "--json", "vm", "show", "web"))["devices"]
    assert [d["kind"] for d in devices] == ["scsi", "disk", "scsi", "disk"]
    fails(daemon, 6, "vm", "add", "web", "scsi")
    fails(daemon, 2, "vm", "add", "web", "disk")
    fails(daemon, 2, "vm", "add", "web", "tape", one)
    fails(daemon, 2, "vm", "add", "web", "disk", one, "--lun", "x")
    fails(daemon, 2, "vm", "create", "two", "--disk", one + ",size=4")
    fails(daemon, 2, "vm", "remove", "web", "disk", "3:3")
    assert "true format" not in fails(daemon, 2, "vm", "add", "web", "disk", str(daemon.dir / "none.vhdx"))


def test_guests_are_asked_given_and_shown(daemon):
    daemon.create("web")
    fails(daemon, 6, "vm", "shutdown", "web")
    fine(daemon, "vm", "start", "web")
    fails(daemon, 5, "vm", "wait", "web", "--for", "heartbeat", "--timeout", "0.1")
    console = daemon.type("web", "os Debian\nip 10.0.0.7\nbeat ok\n")
    fine(daemon, "vm", "wait", "web", "--for", "heartbeat", "--timeout", "10")
    fine(daemon, "vm", "wait", "web", "--for", "ip", "--timeout", "10")
    shown = fine(daemon, "guest", "show", "web")
    assert "system           Debian" in shown and "address          10.0.0.7" in shown
    assert "heartbeat        ok, version 3.0" in shown
    assert "heartbeat ok" in pairs(daemon, "web")
    fine(daemon, "guest", "kvp", "web", "add", "colour=blue", "shape=")
    fine(daemon, "guest", "kvp", "web", "set", "colour=red=ish")
    fine(daemon, "guest", "kvp", "web", "rm", "shape")
    rows = [line.split() for line in fine(daemon, "guest", "kvp", "web").splitlines()]
    assert rows[0] == ["SOURCE", "KEY", "VALUE"] and ["host", "colour", "red=ish"] in rows
    fails(daemon, 2, "guest", "kvp", "web", "add", "colour=x")
    fails(daemon, 2, "guest", "kvp", "web", "add", "=x")
    fails(daemon, 2, "guest", "kvp", "web", "set")
    assert fine(daemon, "guest", "cp", "web", str(daemon.kernel), "/tmp/k") == "6 bytes copied\n"
    fails(daemon, 2, "guest", "cp", "web", "/nowhere", "/tmp/k")
    fine(daemon, "vm", "type", "web", "root", "--enter")
    fine(daemon, "vm", "type", "web", "--", "--x")
    fine(daemon, "vm", "type", "web", "--ctrl-alt-del")
    fails(daemon, 2, "vm", "type", "web", "--nonsense")
    log = fine(daemon, "vm", "console", "web", "--log")
    assert "typed root\n" in log and "typed --x\n" in log and "keys 1d 38" in log
    fine(daemon, "vm", "reboot", "web", "--force", "--reason", "news")
    assert "would            ask the guest to shut down" in fine(daemon, "vm", "shutdown", "web", "--plan")
    fine(daemon, "vm", "shutdown", "web", "--timeout", "10")
    assert "The guest shut down as it was asked to." in fine(daemon, "vm", "show", "web")
    console.close()


def test_no_help_is_wider_than_a_terminal(daemon):
    listing = fine(daemon, "help")
    commands = json.loads(fine(daemon, "--json", "help"))["commands"]
    helps = [listing] + [fine(daemon, "help", *filter(None, (c["noun"], c["verb"]))) for c in commands]
    assert len(helps) > 60
    for text in helps:
        assert all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines()), text


def test_a_vm_is_made_with_its_images(daemon):
    base, leaf = daemon.dir / "base.vhdx", daemon.dir / "leaf.vhdx"
    common = ("--kernel", str(daemon.kernel), "--memory", "64M")
    assert "make the image" in fine(daemon, "vm", "create", "web", *common, "--disk", f"new={base},size=64M", "--plan")
    assert not base.exists()
    fine(daemon, "vm", "create", "web", *common, "--disk", f"new={base},size=64M")
    fine(daemon, "vm", "create", "two", *common, "--disk", f"new={leaf},parent={base},lun=3")
    assert f"disk 0:3 {leaf} (vhdx)" in pairs(daemon, "two")
    fine(daemon, "vm", "start", "two")
    assert "VM two" in fails(daemon, 6, "vm", "start", "web")
    for words in ("new=x.vhdx", "new=,size=1G", "new=x.vhdx,size=much", "x.vhdx,size=1G"):
        fails(daemon, 2, "vm", "create", "three", *common, "--disk", words)
    fails(daemon, 2, "vm", "create", "three", *common, "--dvd", "new=x.iso,size=1G")
    done = daemon.hvadm("vm", "create", "two", *common, "--disk", f"new={daemon.dir}/late.vhdx,size=64M")
    assert done.returncode == 2 and "late.vhdx has been made and stays" in done.stderr


def test_the_reference_of_the_api_is_told_without_a_service(stopped):
    listed = fine(stopped, "api")
    assert "\nvm.create\n" in listed and "\nhost.ping\n" in listed
    assert all(len(line) <= 80 for line in listed.splitlines())
    for name, word in (("vm.create", "settings"), ("vm", "vm.start"), ("vm_list", "next"), ("settings", "memory.startup"),
                       ("errors", "GenerationConflict"), ("vm_state", "paused")):
        shown = fine(stopped, "api", name)
        assert word in shown and all(len(line) <= 80 for line in shown.splitlines()), name
    assert "plan  (bool; default false)" in fine(stopped, "api", "vm.start")
    assert "perhaps vm.start" in fails(stopped, 2, "api", "vm.strat")
    fails(stopped, 2, "api", "vm", "start")
    done = stopped.hvadm("--json", "api")
    assert done.returncode == 2 and "is text" in json.loads(done.stderr)["message"]


def test_names_that_begin_with_a_dash_stand_after_two(daemon):
    fine(daemon, "vm", "create", "--memory", "64M", "--kernel", str(daemon.kernel), "--", "-x")
    fine(daemon, "group", "create", "--", "-g")
    for verb in (["vm", "show"], ["vm", "stats"], ["vm", "start"], ["vm", "wait", "--for", "off"], ["vm", "set"], ["guest", "show"],
                 ["vm", "type"], ["vm", "console"], ["vm", "remove"], ["vm", "eject"], ["vm", "delete"], ["group", "show"],
                 ["group", "set"], ["group", "delete"], ["group", "add"], ["vm", "rename"], ["vm", "insert"], ["vm", "add"],
                 ["guest", "kvp"], ["guest", "cp"], ["vm", "shutdown"]):
        said = fails(daemon, 2, *verb, "-x")
        assert "The option -x is not known" in said and "after --" in said, said
    assert re.search(r"^name +-x$", fine(daemon, "vm", "show", "--", "-x"), re.M)
    fine(daemon, "vm", "set", "--", "-x", "notes=-n")
    fine(daemon, "vm", "set", "--stage", "--", "-x", "cpu.count=2")
    fine(daemon, "vm", "add", "--", "-x", "scsi")
    fine(daemon, "vm", "remove", "--", "-x", "scsi", json.loads(fine(daemon, "--json", "vm", "show", "--", "-x"))["devices"][0]["id"])
    fine(daemon, "group", "add", "--", "-g", "-x")
    assert re.search(r"^vm +-x$", fine(daemon, "group", "show", "--", "-g"), re.M)
    fine(daemon, "vm", "start", "--group", "-g")
    fine(daemon, "vm", "wait", "--for", "running", "--", "-x")
    for verb in (["vm", "stats"], ["guest", "show"], ["guest", "kvp"], ["vm", "off"]):
        fine(daemon, *verb, "--", "-x")
    fine(daemon, "vm", "rename", "--", "-x", "--y")
    fine(daemon, "group", "set", "--", "-g", "name=--h")
    fine(daemon, "group", "remove", "--", "--h", "--y")
    fine(daemon, "group", "delete", "--", "--h")
    fine(daemon, "vm", "delete", "--", "--y")
    assert daemon.vms() == [] and daemon.call("group.list")["groups"] == []


def test_what_reads_as_an_id_is_no_name(daemon):
    uuid = "0123ABCD-0123-4567-89ab-0123456789ab"
    vm = daemon.create("web")
    daemon.call("group.create", name="front")
    for words in (["vm", "create", uuid], ["vm", "rename", "web", uuid]):
        assert "A VM cannot be called \"0123ABCD" in fails(daemon, 2, *words)
    for words in (["group", "create", uuid], ["group", "set", "front", f"name={uuid}"]):
        assert "A group cannot be called \"0123ABCD" in fails(daemon, 2, *words)
    with pytest.raises(RpcError) as refused:
        daemon.call("tx.apply", ops=[{"method": "vm.create", "params": {"name": vm["id"]}}])
    assert "cannot be called" in refused.value.message
    for name in (uuid[1:], uuid + "0", uuid.replace("-", ""), uuid.replace("0", "g", 1)):
        fine(daemon, "vm", "create", name, "--memory", "64M")


def test_names_that_read_as_ids_from_before_keep_working(daemon):
    uuid = "0123abcd-0123-4567-89ab-0123456789ab"
    daemon.create("web")
    daemon.call("group.create", name="front")
    daemon.kill(signal.SIGTERM)
    with sqlite3.connect(daemon.state / "vmms.db") as database:
        database.execute("UPDATE vm SET name = ?, definition = replace(definition, '\"web\"', ?)", [uuid, json.dumps(uuid)])
        database.execute("UPDATE vm_group SET name = ?", [uuid])
    daemon.start()
    fine(daemon, "vm", "set", uuid, "notes=old")
    assert re.search(r"^notes +old$", fine(daemon, "vm", "show", uuid), re.M)
    fine(daemon, "vm", "set", uuid, f"name={uuid}", "cpu.count=2")
    fine(daemon, "group", "set", uuid, f"name={uuid}", "notes=old")
    fine(daemon, "group", "add", uuid, uuid)
    fine(daemon, "group", "set", uuid, "name=front")
    fine(daemon, "vm", "rename", uuid, "web")


def columns_of(text):
    """How many columns of a terminal it takes, as UAX #11 has it."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def widths(daemon, width, *words):
    done = subprocess.run([daemon.build / "cli/hvadm", *words], text=True, capture_output=True, check=True, timeout=60,
                          env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}", COLUMNS=str(width)))
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_everything_fits_the_terminal_and_stands_in_columns(daemon, width):
    daemon.create("web", notes="many words " * 60)
    daemon.create("虚拟机" * 25, notes="x")
    daemon.create("a" * 100)
    daemon.create("e\u0301" * 40)
    daemon.call("group.create", name="グループ" * 18, notes="words " * 40)
    daemon.call("group.add_member", group="グループ" * 18, member="web")
    for words in (["vm", "list"], ["vm", "show", "web"], ["vm", "list", "--ids"], ["group", "list"], ["host", "show"], ["job", "list"],
                  ["api"], ["api", "vm.create"], ["api", "settings"], ["help"], ["help", "vm", "create"], ["help", "vhd", "convert"]):
        lines = widths(daemon, width, *words)
        # One word, such as an id or a file, stays whole: so it can be copied.
        assert lines and not [line for line in lines if columns_of(line) > width and " " in re.split(" {2,}", line)[-1]], words
    # What is under a title stands where the title does.
    head, *rows = widths(daemon, width, "vm", "list")
    for row in rows:
        at = next(i for i in range(len(row)) if columns_of(row[:i]) == head.index("STATE"))
        assert row[at:].startswith("off") and row[at - 2:at] == "  "
    # Values begin one below the other, also where they go on.
    lines = widths(daemon, width, "vm", "show", "web")
    begin = lines[0].index("web")
    assert [line for line in lines if line[begin - 1:begin] != " " or line[begin:begin + 1].strip() == ""] == []
    notes = [line[begin:] for line in lines if line.startswith("notes") or line.startswith(" " * begin)]
    assert " ".join(notes).split() == ("many words " * 60).split() and len(notes) > 2


def test_nothing_is_cut_or_wrapped_where_nobody_looks(daemon):
    daemon.create("a" * 100, notes="many words " * 60)
    plain = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    def said(*words):
        return subprocess.run([daemon.build / "cli/hvadm", *words], text=True, capture_output=True, check=True, timeout=60,
                              env=dict(plain, HVADM_CONNECT=f"unix:{daemon.socket}")).stdout
    assert "a" * 100 + "  off" in said("vm", "list")
    assert ("many words " * 60).strip() in said("vm", "show", "a" * 100)
    assert max(map(len, said("api", "settings").splitlines())) <= 80


def test_what_reads_otherwise_than_it_is_does_not_reach_the_terminal(daemon):
    daemon.create("web", notes="a\u202ebc\u2066d\u2028e")
    assert re.search(r"^notes +a\?bc\?d\?e$", fine(daemon, "vm", "show", "web"), re.M)


@pytest.mark.parametrize("words", [["vm", "list"], ["events"], ["api"], ["help"], ["--json", "vm", "list"], ["vm", "console", "web", "--log"],
                                   ["--version"], ["top", "--once"], ["vm", "show", "web"]])
def test_what_cannot_be_written_is_no_success(daemon, words):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    daemon.wait_state("web", "running")
    if "--log" in words:
        wait_until(lambda: fine(daemon, *words), "the guest to say something")
    environment = dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}")
    for to, why in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        done = subprocess.run(["sh", "-c", f'"$0" "$@" {to}', daemon.build / "cli/hvadm", *words], env=environment, text=True,
                              capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (1, f"hvadm: The output cannot be written: {why}.\n"), to
    # Who reads no further ends it, and it says nothing of that.
    done = subprocess.run(["bash", "-c", '"$0" "$@" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', daemon.build / "cli/hvadm", *words],
                          env=environment, text=True, capture_output=True, timeout=60)
    assert done.stderr == "" and done.returncode in (0, 128 + signal.SIGPIPE)


def test_a_closed_output_is_not_taken_by_the_connection(daemon):
    for i in range(300):
        daemon.create(f"{i:03}" + "x" * 90)
    done = subprocess.run(["sh", "-c", '"$0" --json vm list >&-', daemon.build / "cli/hvadm"], text=True, capture_output=True, timeout=60,
                          env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}"))
    assert done.returncode == 1 and done.stderr.startswith("hvadm: The output cannot be written"), done.stderr


def test_what_was_typed_is_repeated_cleanly_and_shortly(daemon):
    for words in (["ü" * 10000], ["vm", "set", "web", "ü" * 10000], ["api", "ü" * 10000], ["vm", "create", "x", "--memory", "ü" * 10000],
                  ["help", "ü" * 10000], ["vm", "ü" * 10000], ["vm", "show", "ü" * 10000]):
        assert len(fails(daemon, 2, *words)) < 800
    assert "\x1b" not in fails(daemon, 2, "vm", "\x1b[2Jx")


def test_a_list_that_is_refused_prints_no_table(daemon):
    for words in (["vm", "list", "--state", "asleep"], ["vm", "list", "--group", "none"], ["job", "list", "--limit", "0"]):
        done = daemon.hvadm(*words)
        assert (done.returncode, done.stdout) == (2, ""), words


def test_ports_of_a_console_are_two(daemon):
    daemon.create("web")
    for port in ("0", "3", "x", "4294967297", "1x", ""):
        assert "1 for COM1 or 2 for COM2" in fails(daemon, 2, "vm", "console", "web", "--log", "--port", port)


@pytest.mark.parametrize("words, keys, status", [
    (["events", "--follow"], b"\x03", -signal.SIGINT), (["vm", "wait", "web", "--for", "saved"], b"\x03", -signal.SIGINT),
    (["top", "--interval", "0.2"], b"\x03", 0), (["top"], b"q", 0), (["vm", "console", "web"], b"\x03\x1d", 0)])
def test_interrupted_it_ends_and_leaves_the_terminal_as_it_was(daemon, words, keys, status):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([daemon.build / "cli/hvadm", *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                               env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}"),
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    ready = {"top": b"q quit", "vm": b"Ctrl-]"}.get(words[0]) if "wait" not in words else None
    try:
        if ready:
            said = b""
            while ready not in said:
                said += os.read(master, 65536)
        else:
            # It listens when its connection is there.
            wait_until(lambda: connections_of(process.pid) > 0, "hvadm to connect")
        os.write(master, keys)
        assert process.wait(60) == status
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        os.close(master)
        os.close(slave)


def test_the_end_of_the_service_tells_where_to_go_on(daemon):
    daemon.create("web")
    process = sit_at(daemon, "events", "--follow", "--since", "1", "--patience", "0")
    assert "vm.created" in process.stdout.readline()
    daemon.kill()
    assert "--since 2 goes on behind what was told." in process.communicate(timeout=60)[1]
    assert process.returncode == 5
    assert "Is vmmsd running?" in fails(daemon, 5, "vm", "list")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_listens_goes_on_when_the_service_is_back(daemon, number):
    daemon.create("web")
    told = sit_at(daemon, "--json", "events", "--follow", "--since", "1")
    fresh = sit_at(daemon, "--json", "events", "--follow")  # is told of nothing before the service goes
    waiting = sit_at(daemon, "vm", "wait", "web", "--for", "running", "--timeout", "60")
    assert json.loads(told.stdout.readline())["seq"] == 1
    for i in range(2):
        wait_until(lambda: daemon.answered("events.subscribe") == 3 and daemon.answered("vm.get"), "all to listen")
        daemon.kill(number)
        time.sleep(0.5)
        daemon.start()
        daemon.call("vm.configure", vm="web", settings={"notes": str(i)})
    daemon.call("vm.start", vm="web")
    last = daemon.call("host.get")["last_event"]
    for process, first in (told, 2), (fresh, 2):
        seqs = []
        while not seqs or seqs[-1] < last:
            seqs.append(json.loads(process.stdout.readline())["seq"])
        assert seqs == list(range(first, last + 1))
        process.kill()
        assert process.communicate()[1].count("gone away; it is waited for") == 2
    assert waiting.wait(30) == 0
    assert waiting.stderr.read().count("The service is back.") == 2


def test_patience_ends(daemon):
    daemon.create("web")
    waiting = sit_at(daemon, "vm", "wait", "web", "--for", "running", "--patience=1")
    late = sit_at(daemon, "vm", "wait", "web", "--for", "running", "--timeout", "1.5")
    wait_until(lambda: daemon.answered("vm.get") == 2, "both to listen")
    daemon.kill()
    assert waiting.wait(30) == 5 and late.wait(30) == 5
    assert "gone away" in waiting.stderr.read()
    # Who has never met the service isn't patient.
    assert "Is vmmsd running?" in fails(daemon, 5, "vm", "wait", "web", "--for", "running")
    assert "--patience is a number" in fails(daemon, 2, "--patience", "long", "vm", "list")
    assert "--patience needs a number" in fails(daemon, 2, "vm", "list", "--patience")


def test_wrong_use_is_told_as_json_too(daemon):
    for words in (["--json"], ["vm", "lst", "--json"], ["--json", "vm", "list", "--connect"], ["vm", "create", "--json"]):
        done = daemon.hvadm(*words)
        assert done.returncode == 2 and not done.stdout
        error = json.loads(done.stderr)
        assert error["data"]["name"] == "InvalidParameter" and error["data"]["hint"].startswith("See hvadm help")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_who_may_not_open_the_socket_is_told_of_the_bus(daemon):
    os.chmod(daemon.dir, 0o755)
    os.chmod(daemon.run, 0o755)
    # The build may lie where nobody may look.
    program = shutil.copy(daemon.build / "cli/hvadm", daemon.dir / "hvadm")
    done = subprocess.run([program, "vm", "list"], env=dict(os.environ, HVADM_CONNECT=f"unix:{daemon.socket}"),
                          text=True, capture_output=True, timeout=60, user=65534, group=65534, extra_groups=[])
    assert done.returncode == 4 and "Permission denied" in done.stderr and "--connect dbus:system" in done.stderr
