# SPDX-License-Identifier: Apache-2.0
"""The KVM backend, where KVM is real: inside a machine that QEMU emulates."""
import glob
import pathlib
import re
import subprocess

import pytest
from stack import BUILD, CACHE, GUEST, HVADM, TOP, VMMSD

HERE = pathlib.Path(__file__).resolve().parent


def run_nested(*words, memory=1024, timeout=600, files=()):
    words = [str(HERE / "run-nested"), "--memory", str(memory), "--timeout", str(timeout),
             *[w for f in files for w in ("--file", f)], "--", *map(str, words)]
    done = subprocess.run(words, text=True, capture_output=True, timeout=timeout + 60)
    return done.returncode, done.stdout + done.stderr


def test_the_backend_keeps_what_every_backend_owes():
    status, output = run_nested(BUILD / "tests/unit/hvcore/partition/test_hvcore_conformance", "kvm")
    assert status == 0, output
    assert re.search(r"\[  PASSED  \] \d+ test", output), output
    assert "Skipped" not in output, output


@pytest.mark.parametrize("flavour", ["cloud", "generic"])
def test_kernels_boot_to_user_space_on_kvm(flavour):
    subprocess.run([TOP / "packaging/guest/prepare", GUEST, flavour], check=True)
    machines = [(1, "128M"), (2, "1G"), (4, "6G")]
    words = [w for cpus, memory in machines for w in (flavour, cpus, memory)]
    files = [f"{GUEST}/vmlinuz-{flavour}:/guest/vmlinuz-{flavour}",
             f"{GUEST}/initrd.img:/guest/initrd.img", f"{VMMSD}:/stack/vmmsd",
             f"{BUILD}/vmwp/vmwp:/stack/vmwp", f"{HVADM}:/stack/hvadm"]
    # libwebsockets loads its tie to libuv when it starts; ldd doesn't know of it.
    files += glob.glob("/usr/lib/*/libwebsockets-evlib_uv.so")
    status, output = run_nested(HERE / "boot-all", *words, memory=8192, timeout=900, files=files)
    assert status == 0 and "boots done" in output, output[-6000:]
    assert re.search(r"^backend +kvm$", output, re.M), output[:3000]
    assert not re.search(r"BUG:|Oops|Call Trace", output), output[-6000:]
    for cpus, memory in machines:
        part = output.split(f"boot {flavour}-{cpus}-{memory}\n")[1]
        assert re.search(rf"guest: Linux \S+, {cpus} processors.*clock source "
                         "hyperv_clocksource_tsc_page", part), part[:2000]
        assert "The guest powered off." in part.split("\nboot ")[0], part[:2000]
