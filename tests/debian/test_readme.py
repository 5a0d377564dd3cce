# SPDX-License-Identifier: Apache-2.0
"""The README's commands about disks and the guest, as they stand, with a Debian on a disk."""
import subprocess

import readme
from stack import BUILD, CACHE, Stack

DISK = CACHE / "disk"


def test_disks_and_the_guest():
    with Stack() as stack:
        script = readme.block("hvadm vhd create /tmp/hv/data.vhdx", {"/tmp/hv": stack.dir, "hvadm ": f"{BUILD}/cli/hvadm "})
        done = subprocess.run(["bash", "-euxc", script], cwd=DISK, env=stack.env, text=True, capture_output=True,
                              timeout=560, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        # What the guest's daemon has to tell may come later than its first beat.
        assert "last heartbeat" in done.stdout
        assert stack.state("disk") == "off"
