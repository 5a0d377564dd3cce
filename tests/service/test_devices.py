# SPDX-License-Identifier: Apache-2.0
"""Disks and DVD drives: in the definition, at the start, on a running VM; who may have an image."""

import fcntl
import json
import os
import pathlib
import signal
import sqlite3
import struct
import uuid

import pytest

from service import RpcError, wait_until

MIB = 1 << 20


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def image(daemon, name="disk.img", size=MIB, head=b""):
    path = daemon.dir / name
    path.write_bytes(head)
    os.truncate(path, size)
    return str(path)


def add(daemon, vm, **settings):
    return daemon.call("vm.add_device", vm=vm, settings=settings)


def devices(daemon, vm, kind=None):
    return [d for d in daemon.call("vm.get", vm=vm)["devices"] if kind in (None, d["kind"])]


def printed(daemon, vm):
    return daemon.call("vm.console_log", vm=vm)["data"]


def wait_printed(daemon, vm, text):
    wait_until(lambda: text in printed(daemon, vm), f"{vm} to print {text}")


def told(daemon, vm):
    """What the worker says that its definition is."""
    console = daemon.type(vm, "tell\n")
    wait_printed(daemon, vm, "guest_services")
    console.close()
    return printed(daemon, vm)


def lock(path, kind):
    """Take an open-file-description lock as another program would."""
    fd = os.open(path, os.O_RDWR)
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))
    return fd


@pytest.mark.parametrize("settings, name, field", [
    ({}, "InvalidParameter", "settings.path"),
    ({"path": "disk.img"}, "InvalidParameter", "settings.path"),
    ({"path": "/nowhere/disk.img"}, "FileNotFound", "settings.path"),
    ({"path": "/tmp"}, "InvalidParameter", "settings.path"),
    ({"path": "/dev/null"}, "InvalidParameter", "settings.path"),
    ({"path": "/proc/self/status"}, "InvalidParameter", "settings.path"),
    ({"path": "/proc/self/fd/0"}, "InvalidParameter", "settings.path"),
    ({"path": "json:{}"}, "InvalidParameter", "settings.path"),
    ({"path": "/x\n"}, "InvalidParameter", "settings.path"),
    ({"path": "/" + "x" * 5000}, "InvalidParameter", "settings.path"),
    ({"path": "/x", "controller": 4}, "InvalidParameter", "settings.controller"),
    ({"path": "/x", "lun": 64}, "InvalidParameter", "settings.lun"),
    ({"path": "/x", "lun": -1}, "InvalidParameter", "settings.lun"),
    ({"path": "/x", "lun": "0"}, "IncorrectDataType", "settings.lun"),
    ({"path": "/x", "format": "qcow2"}, "InvalidParameter", "settings.format"),
    ({"path": "/x", "kind": "floppy"}, "InvalidParameter", "settings.kind"),
    ({"path": "/x", "cache": 1}, "InvalidParameter", "settings.cache"),
    ({"path": "/x.vhdx", "kind": "dvd"}, "InvalidParameter", "settings.path"),
    ({"path": "/x.iso", "kind": "dvd", "format": "vhd"}, "InvalidParameter", "settings.format"),
    ({"kind": "scsi", "path": "/x"}, "InvalidParameter", "settings.path"),
    ({"kind": "scsi", "lun": 1}, "InvalidParameter", "settings.lun"),
    ({"kind": "scsi", "controller": 0}, "AlreadyExists", "settings.controller"),
])
def test_a_bad_device_is_refused_by_its_field(daemon, settings, name, field):
    daemon.create("web")
    before, last = devices(daemon, "web"), len(daemon.events())
    error = refused(daemon, "vm.add_device", vm="web", settings=settings)
    assert (error.name, error.field) == (name, field), error.message
    assert devices(daemon, "web") == before and len(daemon.events()) == last


def test_a_fifo_and_a_socket_are_no_images(daemon):
    daemon.create("web")
    os.mkfifo(daemon.dir / "fifo")
    for path in (daemon.dir / "fifo", daemon.socket):
        error = refused(daemon, "vm.add_device", vm="web", settings={"path": str(path)})
        assert error.field == "settings.path" and "regular file" in error.message


def test_what_is_recorded_as_a_format_must_be_one(daemon):
    daemon.create("web")
    plain, vhdx = image(daemon, "plain.vhdx"), image(daemon, "real.vhdx", head=b"vhdxfile")
    error = refused(daemon, "vm.add_device", vm="web", settings={"path": plain})
    assert error.name == "CorruptImage" and "vhdx" in error.message and error.data["hint"]
    assert error.name == refused(daemon, "vm.add_device", vm="web", settings={"path": vhdx, "format": "vhd"}).name
    add(daemon, "web", path=vhdx)
    fixed = daemon.dir / "fixed.vhd"
    fixed.write_bytes(b"\0" * 4096 + b"conectix" + b"\0" * 504)
    add(daemon, "web", path=str(fixed))
    add(daemon, "web", path=plain, format="raw")
    # A guest may write what it likes into a raw disk: the name said raw, and raw it stays.
    add(daemon, "web", path=image(daemon, "tricky.img", head=b"vhdxfile"))
    assert [d["format"] for d in devices(daemon, "web", "disk")] == ["vhdx", "vhd", "raw", "raw"]


def test_places_are_found_and_kept(daemon):
    vm = daemon.create("web")
    assert [(d["kind"], d["controller"]) for d in vm["devices"]] == [("scsi", 0)]
    one, two, three = (image(daemon, f"{i}.img") for i in range(3))
    answer = add(daemon, "web", path=one)
    first = answer["device"]
    assert uuid.UUID(first) and answer["vm"]["generation"] == 2 and not answer["already"]
    add(daemon, "web", path=two, lun=5, read_only=True)
    add(daemon, "web", path=three, controller=2)
    add(daemon, "web", kind="dvd")
    assert [(d["kind"], d["controller"], d["lun"], d["read_only"]) for d in devices(daemon, "web") if "lun" in d] == \
        [("disk", 0, 0, False), ("dvd", 0, 1, True), ("disk", 0, 5, True), ("disk", 2, 0, False)]
    assert [d["controller"] for d in devices(daemon, "web", "scsi")] == [0, 2]
    taken = refused(daemon, "vm.add_device", vm="web", settings={"path": image(daemon, "4.img"), "controller": 0, "lun": 5})
    assert (taken.name, taken.field) == ("AlreadyExists", "settings.lun")
    events = [e for e in daemon.events() if e["type"] == "device.added"]
    assert [e["data"]["device"]["path"] for e in events[:3]] == [one, two, three]
    assert events[0]["data"]["device"]["id"] == first and events[0]["actor"] == f"uid:{os.getuid()}"
    daemon.kill(signal.SIGKILL)
    daemon.start()
    assert devices(daemon, "web", "disk")[0]["id"] == first
    assert len(devices(daemon, "web")) == 6


def test_one_image_is_one_device_of_a_vm_under_any_name(daemon):
    daemon.create("web")
    path = image(daemon)
    os.symlink(path, daemon.dir / "link.img")
    os.link(path, daemon.dir / "hard.img")
    add(daemon, "web", path=path)
    for other in (path, str(daemon.dir / "link.img"), str(daemon.dir / "hard.img"), f"{daemon.dir}/./disk.img"):
        error = refused(daemon, "vm.add_device", vm="web", settings={"path": other, "read_only": True})
        assert (error.name, error.field) == ("AlreadyExists", "settings.path")
    twice = refused(daemon, "vm.create", name="two", devices=[{"path": path}, {"path": str(daemon.dir / "hard.img")}])
    assert (twice.name, twice.field) == ("AlreadyExists", "devices.path")
    assert [v["name"] for v in daemon.call("vm.list")["vms"]] == ["web"]


def test_a_full_controller_is_full(daemon):
    paths = [image(daemon, f"{i}.img", 512) for i in range(65)]
    daemon.call("vm.create", name="web", devices=[{"path": p} for p in paths[:64]])
    error = refused(daemon, "vm.add_device", vm="web", settings={"path": paths[64]})
    assert error.name == "AlreadyExists" or error.name == "InvalidParameter"
    error = refused(daemon, "vm.add_device", vm="web", settings={"path": paths[64], "controller": 0})
    assert error.field == "settings.controller" and "64" in error.message
    add(daemon, "web", kind="scsi")
    add(daemon, "web", path=paths[64])
    assert [d["controller"] for d in devices(daemon, "web", "disk")][64:] == [1]
    add(daemon, "web", kind="scsi")
    add(daemon, "web", kind="scsi")
    assert refused(daemon, "vm.add_device", vm="web", settings={"kind": "scsi"}).field == "settings.controller"


def test_a_vm_is_made_with_its_devices_or_not_at_all(daemon):
    path = image(daemon)
    error = refused(daemon, "vm.create", name="web", devices=[{"path": path}, {"path": "/nowhere"}])
    assert (error.name, error.field) == ("FileNotFound", "devices.path")
    assert daemon.call("vm.list")["vms"] == [] and daemon.events() == []
    plan = daemon.call("vm.create", name="web", plan=True, devices=[{"path": path}])
    assert plan["plan"]["verdict"] == "ok" and daemon.call("vm.list")["vms"] == []
    vm = daemon.call("vm.create", name="web", devices=[{"path": path}, {"kind": "dvd", "controller": 1}])["vm"]
    assert [(d["kind"], d["controller"]) for d in vm["devices"]] == [("scsi", 0), ("disk", 0), ("scsi", 1), ("dvd", 1)]
    assert daemon.events()[0]["data"]["devices"] == vm["devices"]
    daemon.call("vm.delete", vm="web")
    assert os.path.exists(path)


def test_devices_go_by_id_or_place(daemon):
    daemon.create("web")
    disk = add(daemon, "web", path=image(daemon))["device"]
    for ref in ("0:1", "0:0:0", "0", "1:0", ":", "0:00000", "nonsense", str(uuid.uuid4()), "0: 0"):
        error = refused(daemon, "vm.remove_device", vm="web", device=ref)
        assert (error.name, error.field) == ("NotFound", "device"), ref
    controller = devices(daemon, "web", "scsi")[0]["id"]
    assert refused(daemon, "vm.remove_device", vm="web", device=controller).name == "InUse"
    assert daemon.call("vm.remove_device", vm="web", device="0:0", plan=True)["plan"]["steps"]
    assert daemon.call("vm.remove_device", vm="web", device=disk.upper())["device"] == disk
    daemon.call("vm.remove_device", vm="web", device=controller)
    assert devices(daemon, "web") == []
    add(daemon, "web", path=image(daemon))
    daemon.call("vm.remove_device", vm="web", device="0:0", expected_generation=5)
    assert refused(daemon, "vm.add_device", vm="web", settings={"kind": "dvd"}, expected_generation=5).name == \
        "GenerationConflict"


def test_media_come_and_go(daemon):
    daemon.create("web")
    iso, other = image(daemon, "a.iso"), image(daemon, "b.iso")
    drive = add(daemon, "web", kind="dvd", path=iso)["device"]
    assert daemon.call("vm.modify_device", vm="web", device=drive, settings={"path": iso})["already"]
    daemon.call("vm.modify_device", vm="web", device=drive, settings={"path": other})
    assert [(d["id"], d["path"]) for d in devices(daemon, "web", "dvd")] == [(drive, other)]
    daemon.call("vm.modify_device", vm="web", device="0:0", settings={"path": ""})
    assert "path" not in devices(daemon, "web", "dvd")[0] and "format" not in devices(daemon, "web", "dvd")[0]
    assert refused(daemon, "vm.modify_device", vm="web", device=drive, settings={"path": "/no.iso"}).name == "FileNotFound"
    assert refused(daemon, "vm.modify_device", vm="web", device=drive, settings={"path": "/x.vhd"}).field == "settings.path"
    assert refused(daemon, "vm.modify_device", vm="web", device=drive, settings={}).field == "settings.path"
    add(daemon, "web", path=image(daemon), lun=1)
    assert refused(daemon, "vm.modify_device", vm="web", device="0:1", settings={"path": other}).field == "device"
    assert [e["type"] for e in daemon.events()].count("device.media_changed") == 2


def test_a_worker_gets_what_stands_in_the_definition(daemon):
    daemon.create("web")
    add(daemon, "web", path=image(daemon, "a.img", 3 * MIB))
    base, child = daemon.dir / "base.vhdx", daemon.dir / "b.vhdx"
    daemon.call("image.create", path=str(base), size_bytes=MIB, wait=True)
    daemon.call("image.create", path=str(child), parent=str(base), wait=True)
    add(daemon, "web", path=str(child), controller=3, lun=63, read_only=True)
    add(daemon, "web", kind="dvd", lun=7)
    daemon.call("vm.start", vm="web")
    text = told(daemon, "web")
    assert f"disk 0:0 disk raw {3 * MIB} rw {daemon.dir}/a.img" in text
    assert f"disk 3:63 disk vhdx {child.stat().st_size} ro {child}" in text
    assert "disk 0:7 dvd raw -1 ro -" in text
    assert [f"controller {d['controller']} {d['id']}" in text for d in devices(daemon, "web", "scsi")] == [True, True]
    assert "heartbeat=1" in text and "guest_services=0" in text


def test_more_disks_than_a_shell_would_give_descriptors_to(daemon):
    paths = [image(daemon, f"{i}.img", 512 * (i + 1)) for i in range(256)]
    daemon.call("vm.create", name="big", settings={"boot.kernel": str(daemon.kernel), "memory.startup": 64 << 20},
                devices=[{"path": p, "controller": i // 64} for i, p in enumerate(paths)])
    daemon.call("vm.start", vm="big")
    text = told(daemon, "big")
    assert all(f"disk {i // 64}:{i % 64} disk raw {512 * (i + 1)} rw {p}\n" in text for i, p in enumerate(paths))


def test_a_start_says_what_is_wrong_with_an_image(daemon):
    daemon.create("web")
    path = image(daemon)
    add(daemon, "web", path=path, lun=3)
    os.unlink(path)
    error = refused(daemon, "vm.start", vm="web")
    assert (error.name, error.field) == ("FileNotFound", "devices.0:3") and path in error.message
    os.mkdir(path)
    error = refused(daemon, "vm.start", vm="web")
    assert (error.name, error.field) == ("InvalidParameter", "devices.0:3")
    assert daemon.call("vm.get", vm="web")["cause"] == "start_failed"


def test_an_image_has_one_writer_and_the_second_is_told_who(daemon):
    path = image(daemon)
    os.link(path, daemon.dir / "hard.img")
    daemon.create("one")
    daemon.create("two")
    add(daemon, "one", path=path)
    add(daemon, "two", path=str(daemon.dir / "hard.img"), read_only=True)
    daemon.call("vm.start", vm="one")
    error = refused(daemon, "vm.start", vm="two")
    assert (error.name, error.field) == ("InUse", "devices.0:0") and "VM one" in error.message
    daemon.call("vm.turn_off", vm="one")
    daemon.call("vm.start", vm="two")
    error = refused(daemon, "vm.start", vm="one")
    assert error.name == "InUse" and "VM two" in error.message
    daemon.call("vm.turn_off", vm="two")
    held = lock(path, fcntl.F_WRLCK)
    assert "another program" in refused(daemon, "vm.start", vm="one").message
    os.close(held)
    daemon.call("vm.start", vm="one")


def test_readers_share_an_image(daemon):
    path = image(daemon)
    for name in ("one", "two"):
        daemon.create(name)
        add(daemon, name, path=path, read_only=True)
        daemon.call("vm.start", vm=name)
    daemon.create("three")
    add(daemon, "three", path=path)
    assert refused(daemon, "vm.start", vm="three").name == "InUse"


def test_the_lock_outlives_the_service(daemon):
    path = image(daemon)
    daemon.create("one")
    daemon.create("two")
    add(daemon, "one", path=path)
    add(daemon, "two", path=path)
    daemon.call("vm.start", vm="one")
    daemon.kill(signal.SIGKILL)
    daemon.start()
    error = refused(daemon, "vm.start", vm="two")
    assert error.name == "InUse" and "VM one" in error.message


def test_disks_come_and_go_while_it_runs(daemon):
    path, iso = image(daemon, size=2 * MIB), image(daemon, "a.iso")
    daemon.create("web")
    daemon.create("other")
    daemon.call("vm.start", vm="web")
    disk = add(daemon, "web", path=path)["device"]
    wait_printed(daemon, "web", f"added {disk} {2 * MIB} rw")
    add(daemon, "other", path=path)
    error = refused(daemon, "vm.start", vm="other")
    assert error.name == "InUse" and "VM web" in error.message
    drive = add(daemon, "web", kind="dvd")["device"]
    wait_printed(daemon, "web", f"added {drive} -1 ro")
    daemon.call("vm.modify_device", vm="web", device=drive, settings={"path": iso})
    wait_printed(daemon, "web", f"medium {drive} {MIB}")
    daemon.call("vm.pause", vm="web")
    daemon.call("vm.modify_device", vm="web", device=drive, settings={"path": ""})
    wait_printed(daemon, "web", f"medium {drive} -1")
    daemon.call("vm.remove_device", vm="web", device=disk)
    wait_printed(daemon, "web", f"removed {disk}")
    daemon.call("vm.start", vm="other")
    assert [d["kind"] for d in devices(daemon, "web")] == ["scsi", "dvd"]


def test_what_the_guest_cannot_have_does_not_stand_in_the_definition(daemon):
    path = image(daemon)
    daemon.create("web", **{"boot.cmdline": "refuse=AddDisk"})
    daemon.call("vm.start", vm="web")
    assert "refuses AddDisk" in refused(daemon, "vm.add_device", vm="web", settings={"path": path}).message
    failed = [e["data"] for e in daemon.events() if e["type"] == "device.hotplug_failed"]
    assert failed[0]["device"]["path"] == path and "refuses AddDisk" in failed[0]["message"]
    held = lock(path, fcntl.F_WRLCK)
    assert refused(daemon, "vm.add_device", vm="web", settings={"path": path}).name == "InUse"
    os.close(held)
    for settings in ({"kind": "scsi"}, {"path": path, "controller": 1}):
        assert refused(daemon, "vm.add_device", vm="web", settings=settings).name == "RestartRequired"
    controller = devices(daemon, "web")[0]["id"]
    assert refused(daemon, "vm.remove_device", vm="web", device=controller).name == "RestartRequired"
    assert devices(daemon, "web", "disk") == []
    assert daemon.state_of("web") == "running"


def test_a_device_change_ends_when_its_worker_does(daemon):
    daemon.create("web")
    daemon.call("vm.start", vm="web")
    console = daemon.type("web", "deaf\n")
    wait_printed(daemon, "web", "deaf")
    socket = daemon.websocket()
    socket.frame(1, json.dumps({"jsonrpc": "2.0", "id": 9, "method": "vm.add_device",
                                "params": {"vm": "web", "settings": {"path": image(daemon)}}}).encode())
    wait_until(lambda: refused(daemon, "vm.remove_device", vm="web", device="3:3").name == "JobConflict",
               "the change to be on")
    os.kill(daemon.call("vm.get", vm="web")["worker_pid"], signal.SIGKILL)
    error = json.loads(socket.message()[1])["error"]
    console.close()
    assert error["data"]["name"] == "WorkerLost"
    daemon.wait_state("web", "off")
    assert devices(daemon, "web", "disk") == []


def test_a_vm_from_before_there_were_devices_gets_them(stopped):
    top = pathlib.Path(__file__).resolve().parents[2]
    stopped.state.mkdir(mode=0o700)
    database = sqlite3.connect(stopped.state / "vmms.db")
    database.executescript((top / "vmmsd/store/migrations/0001.sql").read_text())
    database.execute("INSERT INTO host VALUES (1, ?, 3)", (str(uuid.uuid4()),))
    definition = json.dumps({"version": 1, "settings": {"name": "old", "boot.kernel": str(stopped.kernel)}})
    database.execute("INSERT INTO vm VALUES (?, 'old', ?, 7, 'off', 1, 1, 0, NULL, NULL, NULL, NULL, NULL, 0, 0)",
                     (str(uuid.uuid4()), definition))
    database.executescript("PRAGMA application_id=0x68765631; PRAGMA user_version=1")
    database.commit()
    database.close()
    stopped.start()
    assert stopped.call("vm.get", vm="old")["devices"] == []
    stopped.call("vm.start", vm="old")
    assert refused(stopped, "vm.add_device", vm="old", settings={"kind": "dvd"}).name == "RestartRequired"
    stopped.call("vm.turn_off", vm="old")
    add(stopped, "old", kind="dvd")
    assert [(d["kind"], d["controller"]) for d in devices(stopped, "old")] == [("scsi", 0), ("dvd", 0)]
