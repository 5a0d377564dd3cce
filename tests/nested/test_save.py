# SPDX-License-Identifier: Apache-2.0
"""A guest on a KVM that is real is saved, and goes on where it was."""
import pathlib
import re
import subprocess

from nested import run_nested, stack_files
from stack import GUEST, TOP

HERE = pathlib.Path(__file__).resolve().parent


def test_a_guest_on_kvm_is_saved_and_goes_on():
    subprocess.run([TOP / "tests/guest/hyperv-initrd", GUEST, "cloud"], check=True)
    files = stack_files() + [(GUEST / "vmlinuz-cloud", "/guest/vmlinuz"),
                             (GUEST / "initrd-hyperv-cloud.img", "/guest/initrd")]
    status, output = run_nested(HERE / "boot-save", 1, 2, memory=2048, files=files)
    assert status == 0 and "\nsave done\n" in output, output[-6000:]
    assert not re.search(r"BUG:|Oops|Call Trace|I/O error", output), output[-6000:]
    parts = re.split(r"^save of \d+$", output, flags=re.M)[1:]
    assert len(parts) == 2 and output.count("saved") >= 4
    for cpus, part in zip((1, 2), parts):
        for turn in (1, 2):
            before, after = (re.search(rf"^save: {when}-{turn} (\d+) ([0-9a-f]{{32}})", part, re.M)
                             for when in ("before", "after"))
            assert before and after and before[2] == after[2], part
            assert int(before[1]) < int(after[1]) < int(before[1]) + 600, part
        assert re.search(rf"^save: cpus {cpus}$", part, re.M), part
