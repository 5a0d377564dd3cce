# SPDX-License-Identifier: Apache-2.0
"""The KVM backend, where KVM is real: inside a machine that QEMU emulates."""
import pathlib
import re
import subprocess

import pytest
from nested import run_nested, stack_files, without_synic
from stack import BUILD, GUEST, TOP

HERE = pathlib.Path(__file__).resolve().parent


def test_the_backend_keeps_what_every_backend_owes():
    status, output = run_nested(BUILD / "tests/unit/hvcore/partition/test_hvcore_conformance", "kvm")
    assert status == 0, output
    assert re.search(r"\[  PASSED  \] \d+ test", output), output
    assert "Skipped" not in output, output


def test_it_keeps_them_with_our_own_synic_where_kvm_has_none(tmp_path):
    files = [(BUILD / "vmwp/vmwp", "/g/vmwp"), (BUILD / "tests/guest/long/long_hyperv.elf", "/g/hyperv.elf"),
             (TOP / "tests/guest/run-guest", "/g/run-guest"),
             (BUILD / "tests/unit/hvcore/partition/test_hvcore_conformance", "/g/conformance")]
    status, output = run_nested("sh", "-c", "/g/conformance kvm && /g/run-guest /g/vmwp kvm 1 ', 0 wrong' '' "
                                "--kernel /g/hyperv.elf --cpus 2", files=files + without_synic(tmp_path))
    assert status == 0 and "kipped" not in output, output
    assert output.count("no SynIC here") > 2, output


# The generic kernel with two VPs is booted by test_devices.
@pytest.mark.parametrize("flavour, machines", [("cloud", [(1, "128M"), (2, "1G"), (4, "6G")]),
                                               ("generic", [(1, "128M"), (4, "6G")])])
def test_kernels_boot_to_user_space_on_kvm(flavour, machines):
    subprocess.run([TOP / "packaging/guest/prepare", GUEST, flavour], check=True)
    words = [w for cpus, memory in machines for w in (flavour, cpus, memory)]
    files = stack_files() + [(GUEST / f"vmlinuz-{flavour}", f"/guest/vmlinuz-{flavour}"),
                             (GUEST / "initrd.img", "/guest/initrd.img")]
    status, output = run_nested(HERE / "boot-all", *words, memory=8192, timeout=900, files=files)
    assert status == 0 and "boots done" in output, output[-6000:]
    assert re.search(r"^backend +kvm$", output, re.M), output[:3000]
    assert not re.search(r"BUG:|Oops|Call Trace", output), output[-6000:]
    for cpus, memory in machines:
        part = output.split(f"boot {flavour}-{cpus}-{memory}\n")[1]
        assert re.search(rf"guest: Linux \S+, {cpus} processors.*clock source "
                         "hyperv_clocksource_tsc_page", part), part[:2000]
        assert "The guest powered off." in part.split("\nboot ")[0], part[:2000]
