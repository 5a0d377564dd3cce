# SPDX-License-Identifier: Apache-2.0
"""What guests of both sides are told of their clock."""
import functools
import json
import subprocess

from stack import BUILD


@functools.cache
def told_tsc():
    """A word for the kernel's command line: how fast its TSC is, which is the host's here as in QEMU.

    QEMU's guest measures it against an emulated timer otherwise. On a busy host it then comes out as anything, or the
    guest hangs over it for good."""
    probe = subprocess.run([BUILD / "vmwp/vmwp", "--probe"], check=True, capture_output=True, text=True).stdout
    hz = json.loads(probe).get("tsc_hz")
    return f" tsc_early_khz={hz // 1000}" if hz else ""
