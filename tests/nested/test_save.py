# SPDX-License-Identifier: Apache-2.0
"""A guest on a KVM that is real is saved, and goes on where it was; also on a KVM without a SynIC."""
import pathlib
import re
import subprocess

import pytest
from nested import run_nested, stack_files, without_synic
from stack import GUEST, TOP

HERE = pathlib.Path(__file__).resolve().parent


def files_of_guest():
    subprocess.run([TOP / "tests/guest/hyperv-initrd", GUEST, "cloud"], check=True)
    return stack_files() + [(GUEST / "vmlinuz-cloud", "/guest/vmlinuz"),
                            (GUEST / "initrd-hyperv-cloud.img", "/guest/initrd")]


@pytest.mark.parametrize("has_synic, cpus", [(True, (1, 2)), (False, (2,))])
def test_a_guest_on_kvm_is_saved_and_goes_on(tmp_path, has_synic, cpus):
    files = files_of_guest() + ([] if has_synic else without_synic(tmp_path))
    status, output = run_nested(HERE / "boot-save", *cpus, memory=2048, files=files)
    assert status == 0 and "\nsave done\n" in output, output[-6000:]
    assert not re.search(r"BUG:|Oops|Call Trace|I/O error", output), output[-6000:]
    parts = re.split(r"^save of \d+$", output, flags=re.M)[1:]
    assert len(parts) == len(cpus) and output.count("saved") >= 2 * len(cpus)
    for n, part in zip(cpus, parts):
        hypercalls = int(re.search(r"^hypercalls (\d+)$", part, re.M)[1])
        assert hypercalls > 20 if has_synic else hypercalls == 0, part
        for turn in (1, 2):
            before, after = (re.search(rf"^save: {when}-{turn} (\d+) ([0-9a-f]{{32}})", part, re.M)
                             for when in ("before", "after"))
            assert before and after and before[2] == after[2], part
            assert int(before[1]) < int(after[1]) < int(before[1]) + 600, part
        assert re.search(rf"^save: cpus {n}$", part, re.M), part
