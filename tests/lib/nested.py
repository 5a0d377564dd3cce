# SPDX-License-Identifier: Apache-2.0
"""Commands inside the machine that QEMU emulates, where KVM is real."""
import pathlib
import subprocess

from stack import BUILD, HVADM, TOP, VMMSD


def run_nested(*words, files=(), memory=1024, timeout=1200):
    """Run a command there with files, as (here, there); return its status and output."""
    options = [w for here, there in files for w in ("--file", f"{here}:{there}")]
    done = subprocess.run(
        [TOP / "tests/nested/run-nested", "--memory", str(memory), "--timeout", str(timeout), *options,
         "--", *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        timeout=timeout + 60, check=False)
    return done.returncode, done.stdout


def stack_files():
    """What a daemon and its workers need there."""
    return [(VMMSD, "/stack/vmmsd"), (BUILD / "vmwp/vmwp", "/stack/vmwp"), (HVADM, "/stack/hvadm"),
            (TOP / "tests/nested/start-stack", "/stack/start-stack")]


def without_synic(folder):
    """What lets every program there find a KVM that has no synthetic interrupt controller."""
    (folder / "preload").write_text("/lib/no_synic.so\n")
    return [(BUILD / "tests/nested/libno_synic.so", "/lib/no_synic.so"), (folder / "preload", "/etc/ld.so.preload")]
