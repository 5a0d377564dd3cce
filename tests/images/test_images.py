# SPDX-License-Identifier: Apache-2.0
"""What we write qemu-img reads, and the other way round."""
import resource

import pytest

MIB = 1 << 20
SIZE = 300 * MIB + 512
OURS = [("a.vhdx", "vhdx", "dynamic", MIB), ("a.vhdx", "vhdx", "dynamic", 0),
        ("a.vhdx", "vhdx", "dynamic", 256 * MIB), ("a.vhdx", "vhdx", "fixed", 0),
        ("a.vhd", "vhd", "dynamic", 0), ("a.vhd", "vhd", "dynamic", MIB // 2),
        ("a.vhd", "vhd", "fixed", 0), ("a.raw", "raw", "fixed", 0)]


@pytest.mark.parametrize("name,kind,disk,block", OURS)
def test_qemu_reads_what_we_write(images, name, kind, disk, block):
    images.tool("create", images.path(name), kind, disk, SIZE, block)
    for seed in (1, 2):
        images.change(name, seed)
        images.check(name)
        images.same(name)
        images.flat(name)


QEMUS = [("q.vhdx", ["-f", "vhdx"]), ("q.vhdx", ["-f", "vhdx", "-o", "block_size=1M"]),
         ("q.vhdx", ["-f", "vhdx", "-o", "subformat=fixed"]),
         ("q.vhdx", ["-f", "vhdx", "-o", "log_size=4M,block_state_zero=off"]),
         ("q.vhd", ["-f", "vpc"]), ("q.vhd", ["-f", "vpc", "-o", "force_size=on"]),
         ("q.vhd", ["-f", "vpc", "-o", "subformat=fixed"])]


@pytest.mark.parametrize("name,options", QEMUS)
def test_we_read_and_write_what_qemu_makes(images, name, options):
    source = images.path("source.raw")
    images.tool("create", source, "raw", "fixed", 200 * MIB)
    images.change("source.raw", 9)
    source.unlink()
    images.qemu("convert", "-O", options[1], *options[2:], images.path("model.raw"),
                images.path(name))
    images.check(name)
    # QEMU rounds a VHD's size up to its geometry: the model gets the same.
    size = int(images.info(name)["bytes"])
    images.qemu("resize", "-q", "-f", "raw", images.path("model.raw"), size)
    images.same(name)
    images.flat(name)
    images.change(name, 10)
    images.check(name)
    images.same(name)


@pytest.mark.parametrize("kind", ["vhdx", "vhd"])
def test_a_chain_of_ten_reads_writes_and_merges(images, kind):
    names = [f"disk{i}.{kind}" for i in range(10)]
    images.tool("create", images.path(names[0]), kind, "dynamic", 100 * MIB)
    images.change(names[0], 1)
    for i in range(1, 10):
        images.tool("create", images.path(names[i]), kind, "differencing", 0, 0, 0,
                    images.path(names[i - 1]))
        images.change(names[i], i + 1, 60)
        images.check(names[i])
    images.flat(names[9])
    assert images.info(names[9])["parent"] == names[8]
    images.tool("merge", images.path(names[9]), images.path(names[5]))
    images.check(names[5])
    images.flat(names[5])
    images.tool("merge", images.path(names[5]), images.path(names[0]))
    images.check(names[0])
    images.same(names[0])


@pytest.mark.parametrize("name,kind,disk", [("b.vhdx", "vhdx", "dynamic"), ("b.vhd", "vhd", "dynamic"),
                                            ("b.vhdx", "vhdx", "fixed"), ("b.vhd", "vhd", "fixed")])
def test_resized_images_are_read_by_qemu(images, name, kind, disk):
    images.tool("create", images.path(name), kind, disk, 50 * MIB + 512)
    images.change(name, 3)
    for size in (51 * MIB, 333 * MIB + 1024):
        images.tool("resize", images.path(name), size)
        images.qemu("resize", "-q", "-f", "raw", images.path("model.raw"), size)
        images.check(name)
        images.same(name)
        images.change(name, 4)
        images.same(name)


@pytest.mark.parametrize("name,kind", [("c.vhdx", "vhdx"), ("c.vhd", "vhd")])
def test_compacted_images_are_shorter_and_the_same(images, name, kind):
    images.tool("create", images.path(name), kind, "dynamic", 200 * MIB, MIB)
    images.change(name, 5, 300)
    # Everything but the end becomes zeroes, in the model as in the image.
    images.qemu("convert", "-O", "raw", images.path("model.raw"), images.path("copy.raw"))
    with open(images.path("copy.raw"), "r+b") as copy:
        for _ in range(150):
            copy.write(bytes(MIB))
    fresh = f"fresh.{kind}"
    images.tool("convert", images.path("copy.raw"), images.path(fresh), kind, "dynamic", MIB)
    images.same(fresh, "copy.raw")
    before = images.path(name).stat().st_size
    images.tool("compact", images.path(name), "full")
    images.check(name)
    images.same(name)
    assert images.path(name).stat().st_size <= before


def test_a_differencing_copy_has_only_what_differs(images):
    images.tool("create", images.path("p.vhdx"), "vhdx", "dynamic", 100 * MIB)
    images.change("p.vhdx", 6)
    images.tool("create", images.path("q.vhdx"), "vhdx", "differencing", 0, 0, 0,
                images.path("p.vhdx"))
    images.change("q.vhdx", 7, 20)
    images.tool("convert", images.path("q.vhdx"), images.path("r.vhdx"), "vhdx", "differencing", 0,
                images.path("p.vhdx"))
    images.check("r.vhdx")
    images.flat("r.vhdx")
    images.tool("reparent", images.path("r.vhdx"), images.path("p.vhdx"))
    images.flat("r.vhdx")


def test_a_parent_that_was_written_to_is_refused(images):
    images.tool("create", images.path("p.vhdx"), "vhdx", "dynamic", 10 * MIB)
    images.tool("create", images.path("c.vhdx"), "vhdx", "differencing", 0, 0, 0,
                images.path("p.vhdx"))
    images.change("p.vhdx", 1, 5)
    with pytest.raises(AssertionError, match="image.chain.linkage"):
        images.flat("c.vhdx")


def test_qemu_applies_a_log_that_we_left(images):
    images.tool("create", images.path("a.vhdx"), "vhdx", "dynamic", 100 * MIB, MIB)
    images.tool("crash", 1, 100, images.path("a.vhdx"), images.path("model.raw"))
    assert images.info("a.vhdx")["log"] == "1"
    images.flat("a.vhdx")  # we read it as it will be, and leave the log
    assert images.info("a.vhdx")["log"] == "1"
    images.qemu("check", "-r", "all", "-f", "vhdx", images.path("a.vhdx"))
    assert images.info("a.vhdx")["log"] == "0"
    images.same("a.vhdx")
    images.check("a.vhdx")


@pytest.mark.parametrize("kind", ["dynamic", "differencing"])
def test_a_huge_disk_costs_what_is_used_of_it(images, kind):
    images.tool("create", images.path("a.vhdx"), "vhdx", "dynamic", 15 << 40, MIB)
    name = "a.vhdx"
    if kind == "differencing":
        name = "b.vhdx"
        images.tool("create", images.path(name), "vhdx", kind, 0, MIB, 0, images.path("a.vhdx"))
    before = images.path(name).stat().st_blocks
    images.change(name, 1, 20)
    images.check(name)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert usage.ru_maxrss < 64 * 1024, "KiB for a table of 120 MiB"
    assert images.path(name).stat().st_blocks - before < 400 * 2048
