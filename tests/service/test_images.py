# SPDX-License-Identifier: Apache-2.0
"""Image verbs with the real worker; qemu-img judges what they make."""

import fcntl
import json
import os
import random
import shutil
import struct
import subprocess

import pytest

from service import RpcError

MIB = 1 << 20
FORMATS = {"vhdx": "vhdx", "vhd": "vpc", "raw": "raw"}

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def refused(daemon, method, **params):
    with pytest.raises(RpcError) as caught:
        daemon.call(method, **params)
    assert caught.value.message.strip()
    return caught.value


def qemu_img(*args):
    done = subprocess.run(["qemu-img", *map(str, args)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


def qemu_info(path):
    status, text = qemu_img("info", "--output=json", path)
    assert status == 0, text
    return json.loads(text)


def is_same(a, b):
    return qemu_img("compare", a, b)


def create(daemon, name, mib=64, **more):
    path = daemon.images / name
    daemon.call("image.create", path=str(path), size_bytes=mib * MIB, wait=True, **more)
    return path


def raw(daemon, name, mib=24):
    """A raw disk with holes."""
    path, chance = daemon.images / name, random.Random(name)
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
        for at in range(0, mib, 3):
            file.seek(at * MIB + 4096)
            file.write(chance.randbytes(MIB // 2))
    return path


def info(daemon, path, **more):
    return daemon.call("image.info", path=str(path), **more)


def check(daemon, path, **more):
    return daemon.call("image.validate", path=str(path), wait=True, **more)["job"]["result"]


@needs_qemu_img
@pytest.mark.parametrize("name, more", [
    ("a.vhdx", {}), ("a.vhdx", {"type": "fixed"}), ("a.vhdx", {"block_bytes": MIB}),
    ("a.vhdx", {"logical_sector_bytes": 4096}), ("a.vhd", {}), ("a.vhd", {"type": "fixed"}), ("a.raw", {}),
    ("odd", {"format": "vhdx"})], ids=str)
def test_what_is_made_is_what_was_asked_for(images, name, more):
    path = create(images, name, **more)
    form = {k: v for k, v in more.items() if k == "format"}
    told = info(images, path, **form)
    assert told["size_bytes"] == 64 * MIB and told["chain"] == [str(path)] and told["is_clean"]
    assert told["type"] == more.get("type", "fixed" if name == "a.raw" else "dynamic")
    assert told["logical_sector_bytes"] == more.get("logical_sector_bytes", 512)
    assert "block_bytes" not in more or told["block_bytes"] == more["block_bytes"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert check(images, path, **form)["is_ok"]
    if told["logical_sector_bytes"] == 512:  # qemu knows no other
        seen = qemu_info(path)
        assert seen["format"] == FORMATS[told["format"]] or told["type"] == "fixed"
        assert seen["virtual-size"] >= 64 * MIB
        assert told["format"] != "vhdx" or qemu_img("check", path)[0] == 0


@needs_qemu_img
@pytest.mark.parametrize("source", ["raw", "vhdx", "vhd"])
@pytest.mark.parametrize("to", ["raw", "vhdx", "vhd", "vhdx-fixed", "vhd-fixed"])
def test_a_copy_in_any_format_is_equal(images, source, to):
    first = raw(images, "disk.raw")
    if source != "raw":
        second = images.images / f"disk.{source}"
        images.call("image.convert", path=str(first), to=str(second), wait=True)
        first = second
    ending, _, kind = to.partition("-")
    target = images.images / f"copy.{ending}"
    images.call("image.convert", path=str(first), to=str(target), wait=True, **({"to_type": kind} if kind else {}))
    args = ["-f", FORMATS[source], "-F", FORMATS[ending]]
    status, text = qemu_img("compare", *args, first, target)
    assert status == 0, text
    assert info(images, target)["size_bytes"] == 24 * MIB
    if ending == "vhdx":
        assert qemu_img("check", target)[0] == 0


@needs_qemu_img
def test_images_of_qemu_img_are_read(images):
    source = raw(images, "disk.raw")
    for ending, options in (("vhdx", []), ("vhd", ["-o", "force_size=on"])):
        path = images.images / f"theirs.{ending}"
        status, text = qemu_img("convert", "-f", "raw", "-O", FORMATS[ending], *options, source, path)
        assert status == 0, text
        assert check(images, path)["is_ok"]
        copy = images.images / f"back-{ending}.raw"
        images.call("image.convert", path=str(path), to=str(copy), wait=True)
        assert subprocess.run(["cmp", source, copy], check=False).returncode == 0


def test_a_chain_is_told_and_a_missing_parent_is_named(images):
    base = create(images, "base.vhdx")
    child, top = images.images / "child.vhdx", images.images / "sub" / "top.vhdx"
    top.parent.mkdir()
    images.call("image.create", path=str(child), parent=str(base), wait=True)
    images.call("image.create", path=str(top), parent=str(child), wait=True)
    told = info(images, top)
    assert told["type"] == "differencing" and told["size_bytes"] == 64 * MIB
    assert told["chain"] == [str(top), str(child), str(base)] and told["parent"] == str(child)
    assert check(images, top)["is_ok"]
    # The whole folder moved: the relative names still lead to the parents.
    moved = images.dir / "moved"
    images.images.rename(moved)
    assert info(images, moved / "sub/top.vhdx")["chain"][-1] == str(moved / "base.vhdx")
    moved.rename(images.images)
    base.rename(images.images / "gone.vhdx")
    told = info(images, top)
    assert told["chain"] == [str(top), str(child)] and str(base) in told["chain_error"]
    result = check(images, top)
    assert not result["is_ok"] and any("base.vhdx" in e for e in result["errors"])
    error = refused(images, "image.convert", path=str(top), to=str(images.images / "x.raw"), wait=True)
    assert error.name == "ParentMissing" and "base.vhdx" in error.message
    assert error.data["chain"] == [str(top), str(child)]


def test_another_parent_is_not_taken(images):
    base = create(images, "base.vhdx")
    child = images.images / "child.vhdx"
    images.call("image.create", path=str(child), parent=str(base), wait=True)
    base.unlink()
    create(images, "base.vhdx")
    assert "not the parent" in info(images, child)["chain_error"]
    error = refused(images, "image.convert", path=str(child), to=str(images.images / "x.raw"), wait=True)
    assert error.name == "ParentMismatch"


def test_a_parent_that_leads_through_a_link_is_not_followed(images):
    base = create(images, "base.vhdx")
    child = images.images / "child.vhdx"
    images.call("image.create", path=str(child), parent=str(base), wait=True)
    secret = images.dir / "elsewhere.vhdx"
    base.rename(secret)
    base.symlink_to(secret)
    assert "base.vhdx" in info(images, child)["chain_error"]


def test_a_moved_parent_is_set_anew(images):
    base = create(images, "base.vhdx")
    child = images.images / "child.vhdx"
    images.call("image.create", path=str(child), parent=str(base), wait=True)
    new = images.dir / "new.vhdx"
    base.rename(new)
    images.call("image.set_parent", path=str(child), parent=str(new), wait=True)
    assert info(images, child)["chain"] == [str(child), str(new)]
    other = create(images, "other.vhdx")
    error = refused(images, "image.set_parent", path=str(child), parent=str(other), wait=True)
    assert error.name in ("ParentMismatch", "InvalidParameter", "CorruptImage"), error.message
    images.call("image.set_parent", path=str(child), parent=str(other), force=True, wait=True)
    assert info(images, child)["parent"] == str(other)


@needs_qemu_img
def test_merging_moves_the_child_into_its_ancestor(images):
    base = create(images, "base.vhdx")
    child, top = images.images / "child.vhdx", images.images / "top.vhdx"
    images.call("image.create", path=str(child), parent=str(base), wait=True)
    images.call("image.create", path=str(top), parent=str(child), wait=True)
    before = images.images / "before.raw"
    images.call("image.convert", path=str(top), to=str(before), wait=True)
    error = refused(images, "image.merge", path=str(top), into=str(before), wait=True)
    assert error.field == "into" or "no ancestor" in error.message
    plan = images.call("image.merge", path=str(top), into=str(base), plan=True)["plan"]
    assert [f["change"] for f in plan["files"]] == ["merged", "merged", "changed"]
    assert [f["path"] for f in plan["files"]] == [str(top), str(child), str(base)]
    images.call("image.merge", path=str(top), into=str(base), wait=True)
    assert not child.exists() and not top.exists()
    assert qemu_img("compare", "-f", "raw", "-F", "vhdx", before, base)[0] == 0
    assert refused(images, "image.merge", path=str(base), wait=True).message


@needs_qemu_img
def test_disks_are_resized_and_compacted(images):
    path = create(images, "a.vhdx")
    images.call("image.resize", path=str(path), size_bytes=128 * MIB, wait=True)
    assert info(images, path)["size_bytes"] == 128 * MIB and qemu_info(path)["virtual-size"] == 128 * MIB
    images.call("image.resize", path=str(path), size_bytes=32 * MIB, wait=True)
    assert info(images, path)["size_bytes"] == 32 * MIB
    source = raw(images, "disk.raw")
    full = images.images / "full.vhdx"
    images.call("image.convert", path=str(source), to=str(full), block_bytes=MIB, wait=True)
    images.call("image.compact", path=str(full), mode="full", wait=True)
    assert qemu_img("compare", "-f", "raw", "-F", "vhdx", source, full)[0] == 0
    assert qemu_img("check", full)[0] == 0
    fixed = create(images, "fixed.vhdx", type="fixed")
    assert refused(images, "image.compact", path=str(fixed), wait=True).name == "InvalidParameter"


def test_a_locked_image_names_who_holds_it(images):
    path = create(images, "a.vhdx")
    with open(path, "r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqhxxxx", fcntl.F_WRLCK, 0, 0, 0, 0))
        for method in ("image.info", "image.resize"):
            more = {} if method == "image.info" else {"size_bytes": 128 * MIB, "wait": True}
            error = refused(images, method, path=str(path), **more)
            assert error.name == "InUse" and f"process {os.getpid()}" in error.message
        done = images.hvadm("vhd", "info", str(path))
        assert done.returncode == 6 and "in use" in done.stderr
    assert info(images, path)["size_bytes"] == 64 * MIB


@pytest.mark.parametrize("content", [
    b"", b"\0" * 4096, b"vhdxfile", b"vhdxfile" + b"\0" * (4 * MIB), b"\xff" * (2 * MIB), b"conectix" * 64,
    b"vhdxfile" + random.Random(1).randbytes(4 * MIB)], ids=range(7))
@pytest.mark.parametrize("name", ["bad.vhdx", "bad.vhd"])
def test_a_hostile_image_gets_a_sentence(images, name, content):
    path = images.images / name
    path.write_bytes(content)
    result = check(images, path)
    assert not result["is_ok"] and result["errors"]
    assert all(str(path) in e and len(e) < 600 for e in result["errors"])
    for method, more in (("image.info", {}), ("image.resize", {"size_bytes": 128 * MIB, "wait": True}),
                         ("image.convert", {"to": str(images.images / "x.raw"), "wait": True})):
        error = refused(images, method, path=str(path), **more)
        assert error.name in ("CorruptImage", "NotSupported", "InvalidParameter"), error.message
        assert str(path) in error.message
    assert path.read_bytes() == content and not (images.images / "x.raw").exists()
    done = images.hvadm("vhd", "check", str(path))
    assert done.returncode == 3 and "error" in done.stdout


@needs_qemu_img
def test_flipped_bits_never_hurt_the_service(images):
    whole, chance = create(images, "whole.vhdx", block_bytes=MIB).read_bytes(), random.Random(5)
    path = images.images / "flipped.vhdx"
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 8, 200))):
            data[chance.randrange(min(len(data), 3 * MIB))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        check(images, path)
        try:
            info(images, path)
        except RpcError as error:
            assert str(path) in error.message
    assert images.call("host.ping")
    assert not [j for j in images.call("job.list", limit=1000)["jobs"] if j["state"] != "done"]


@pytest.mark.parametrize("make, name", [
    (lambda p: os.mkfifo(p), "InvalidParameter"), (lambda p: p.mkdir(), None),
    (lambda p: p.symlink_to("/dev/zero"), "InvalidParameter"), (lambda p: p.symlink_to(p), None),
    (lambda p: None, "FileNotFound")], ids=range(5))
def test_what_is_no_file_is_refused(images, make, name):
    path = images.images / "odd.vhdx"
    make(path)
    error = refused(images, "image.info", path=str(path))
    assert str(path) in error.message and (name is None or error.name == name)
    error = refused(images, "image.compact", path=str(path), wait=True)
    assert str(path) in error.message


@pytest.mark.parametrize("params, field", [
    ({"path": "relative.vhdx", "size_bytes": MIB}, "path"),
    ({"path": "/x/a", "size_bytes": MIB}, "format"),
    ({"path": "/x/a.vhdx"}, "size_bytes"),
    ({"path": "/x/a.vhdx", "size_bytes": 1000}, "size_bytes"),
    ({"path": "/x/a.vhdx", "size_bytes": MIB, "type": "thick"}, "type"),
    ({"path": "/x/a.vhdx", "size_bytes": MIB, "block_bytes": 3 * MIB}, "block_bytes"),
    ({"path": "/x/a.vhdx", "size_bytes": MIB, "parent": "/x/a.vhdx"}, "parent"),
    ({"path": "/x/a.vhdx", "size_bytes": MIB, "colour": "red"}, "colour"),
], ids=str)
def test_a_wrong_argument_is_refused_by_name_and_makes_no_job(images, params, field):
    error = refused(images, "image.create", **params)
    assert error.name in ("InvalidParameter", "IncorrectDataType") and error.field == field
    assert images.call("job.list")["jobs"] == []


def test_an_existing_file_is_never_replaced(images):
    path = images.images / "a.vhdx"
    path.write_text("precious")
    for method, more in (("image.create", {"path": str(path), "size_bytes": MIB}),
                         ("image.convert", {"path": str(create(images, "b.vhdx")), "to": str(path)})):
        assert refused(images, method, wait=True, **more).name == "AlreadyExists"
    assert path.read_text() == "precious"
    gone = refused(images, "image.create", path=str(images.dir / "no/a.vhdx"), size_bytes=MIB, wait=True)
    assert gone.name == "FileNotFound"


@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system is mounted for it")
def test_a_full_disk_fails_the_job_and_leaves_nothing(images):
    small = images.dir / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=False).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        error = refused(images, "image.create", path=str(small / "a.vhdx"), size_bytes=64 * MIB, type="fixed",
                        wait=True)
        assert error.name == "DiskFull" and "64 MiB" in error.message
        source = images.images / "full.raw"
        source.write_bytes(random.Random(3).randbytes(16 * MIB))
        for name in ("copy.raw", "copy.vhdx", "copy.vhd"):
            error = refused(images, "image.convert", path=str(source), to=str(small / name), wait=True)
            assert error.name == "DiskFull", error.message
        assert list(small.iterdir()) == []
        images.call("image.create", path=str(small / "b.raw"), size_bytes=MIB, wait=True)
    finally:
        subprocess.run(["umount", small], check=True)


def test_hvadm_makes_tells_and_checks_images(images):
    def fine(*args):
        done = images.hvadm(*args)
        assert done.returncode == 0, done.stderr
        return done.stdout

    base, child = str(images.images / "base.vhdx"), str(images.images / "child.vhdx")
    assert fine("vhd", "create", base, "--size", "1G", "--reason", "a base") == ""
    fine("vhd", "create", child, "--parent", base, "--key", "once")
    fine("vhd", "create", child, "--parent", base, "--key", "once")
    shown = fine("vhd", "info", child)
    assert "vhdx, differencing" in shown and "disk size        1 GiB" in shown and f"parent           {base}" in shown
    assert fine("vhd", "check", child) == "No damage was found.\n"
    assert json.loads(fine("--json", "vhd", "info", base))["size_bytes"] == 1 << 30
    assert json.loads(fine("--json", "vhd", "check", base))["result"]["is_ok"]
    planned = fine("vhd", "create", str(images.images / "x.vhdx"), "--size", "2G", "--plan")
    assert "creates" in planned and not (images.images / "x.vhdx").exists()
    number = fine("vhd", "create", str(images.images / "y.vhdx"), "--size", "2G", "--no-wait").strip()
    fine("job", "wait", number)
    for status, args in ((2, ("vhd", "create", base, "--size", "1G")), (2, ("vhd", "create", base)),
                         (2, ("vhd", "info", base + "x")), (2, ("vhd", "create", base, "--colour", "red")),
                         (2, ("vhd", "compact", base, "--size", "1G")), (2, ("vhd", "resize")),
                         (2, ("vhd", "resize", base, "--size", "much"))):
        done = images.hvadm(*args)
        assert done.returncode == status and done.stderr.startswith("hvadm: "), (args, done.stderr)
    # A file is named from where the caller stands.
    done = images.hvadm("vhd", "info", "base.vhdx", cwd=images.images)
    assert done.returncode == 0 and base in done.stdout
    for verb in ("create", "info", "check", "convert", "resize", "merge", "compact", "reparent"):
        assert all(len(line) <= 80 for line in fine("help", "vhd", verb).splitlines())
    assert all(len(line) <= 80 for line in fine("help", "vhd").splitlines() + fine("help", "job").splitlines())


def test_a_vm_gets_its_disk_with_all_parents_and_is_named_as_their_holder(daemon):
    base, child = daemon.dir / "base.vhdx", daemon.dir / "child.vhdx"
    daemon.call("image.create", path=str(base), size_bytes=64 * MIB, wait=True)
    daemon.call("image.create", path=str(child), parent=str(base), wait=True)
    daemon.create("web")
    daemon.call("vm.add_device", vm="web", settings={"path": str(child)})
    daemon.call("vm.start", vm="web")
    for _ in range(2):
        error = refused(daemon, "image.info", path=str(child))
        assert error.name == "InUse" and error.data["holder"] == "VM web"
        error = refused(daemon, "image.compact", path=str(base), wait=True)
        assert error.name == "InUse" and "VM web" in error.message
        # A service that comes later knows it as well.
        daemon.kill()
        daemon.start()
    daemon.call("vm.turn_off", vm="web")
    assert info(daemon, child)["chain"] == [str(child), str(base)]
    base.rename(daemon.dir / "moved.vhdx")
    error = refused(daemon, "vm.start", vm="web")
    assert error.name == "ParentMissing" and error.field == "devices.0:0" and "base.vhdx" in error.message
    daemon.call("image.set_parent", path=str(child), parent=str(daemon.dir / "moved.vhdx"), wait=True)
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"
    daemon.call("vm.turn_off", vm="web")
    child.write_bytes(b"vhdxfile")
    assert refused(daemon, "vm.start", vm="web").name == "CorruptImage"


@pytest.fixture
def stack(daemon):
    """A base, two images on it, one above the other, and a disk of VM web on top; web is off."""
    paths = [daemon.dir / name for name in ("base.vhdx", "mid.vhdx", "top.vhdx")]
    daemon.call("image.create", path=str(paths[0]), size_bytes=64 * MIB, wait=True)
    for parent, child in zip(paths, paths[1:]):
        daemon.call("image.create", path=str(child), parent=str(parent), wait=True)
    daemon.create("web")
    daemon.call("vm.add_device", vm="web", settings={"path": str(paths[2])})
    return daemon, *paths


def told_to_be_a_parent(error, path, top):
    assert error.name == "InUse" and error.data["holder"] == "VM web", error.message
    assert f"{path} is a parent of {top}" in error.message and "VM web" in error.message
    return True


def test_a_parent_of_a_vms_disk_is_not_resized_merged_into_or_given_another_parent(stack):
    daemon, base, mid, top = stack
    other = daemon.dir / "other.vhdx"
    daemon.call("image.create", path=str(other), size_bytes=64 * MIB, wait=True)
    for path in (base, mid):
        resize = {"path": str(path), "size_bytes": 128 * MIB}
        plan = daemon.call("image.resize", plan=True, **resize)["plan"]
        assert plan["verdict"] == "refused" and plan["conflicts"][0]["owner"] == "VM web"
        for error in (refused(daemon, "image.resize", wait=True, **resize), RpcError(plan["errors"][0])):
            assert told_to_be_a_parent(error, path, top)
            assert error.data["chain"] == [str(top), str(mid), str(base)]
    for path in (mid, top):
        error = refused(daemon, "image.merge", path=str(path), into=str(base), wait=True)
        assert told_to_be_a_parent(error, base, top) and path.exists()
    error = refused(daemon, "image.set_parent", path=str(mid), parent=str(other), force=True, wait=True)
    assert told_to_be_a_parent(error, mid, top)
    done = daemon.hvadm("vhd", "resize", str(base), "--size", "128M")
    assert done.returncode == 6 and f"is a parent of {top}" in done.stderr, done.stderr
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"
    # Also while it runs it is told which of its disks is in the way.
    assert told_to_be_a_parent(
        refused(daemon, "image.resize", path=str(base), size_bytes=128 * MIB, wait=True), base, top)


def test_what_breaks_no_child_may_be_done_to_a_parent_of_a_vms_disk(stack):
    daemon, base, mid, top = stack
    daemon.call("image.compact", path=str(base), wait=True)
    daemon.call("image.set_parent", path=str(mid), parent=str(base), wait=True)
    daemon.call("image.resize", path=str(top), size_bytes=128 * MIB, wait=True)  # the disk itself
    copy = daemon.dir / "copy.vhdx"
    daemon.call("image.convert", path=str(base), to=str(copy), wait=True)
    daemon.call("image.resize", path=str(copy), size_bytes=128 * MIB, wait=True)
    assert daemon.call("vm.start", vm="web")["vm"]["state"] == "running"
    daemon.call("vm.turn_off", vm="web")
    daemon.call("vm.remove_device", vm="web", device="0:0")
    daemon.call("image.merge", path=str(top), into=str(base), wait=True)
    daemon.call("image.resize", path=str(base), size_bytes=256 * MIB, wait=True)


def test_a_sibling_of_a_vms_disk_is_not_merged_into_their_parent(stack):
    daemon, base, mid, top = stack
    sibling = daemon.dir / "sibling.vhdx"
    daemon.call("image.create", path=str(sibling), parent=str(mid), wait=True)
    assert told_to_be_a_parent(refused(daemon, "image.merge", path=str(sibling), wait=True), mid, top)
    # A chain that is broken is in nobody's way.
    mid.rename(daemon.dir / "lost.vhdx")
    daemon.call("image.resize", path=str(base), size_bytes=128 * MIB, wait=True)
