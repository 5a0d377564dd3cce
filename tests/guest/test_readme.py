# SPDX-License-Identifier: Apache-2.0
"""The README's first commands, with a guest: as they stand, but for where things lie."""
import os
import pty
import re
import select
import subprocess
import time

import pytest
import readme
from stack import BUILD, GUEST, TOP

LEAVE = b"\x1d"


def test_quickstart_shows_a_guest_and_ends_it(tmp_path):
    """Its other line is what runs this test."""
    script = readme.block("packaging/quickstart", {"tests/run ": "tests/run --help "})
    done = subprocess.run(["bash", "-euxc", script], cwd=TOP, text=True, capture_output=True, timeout=280, check=False,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, QUICKSTART_BUILD_DIR=str(BUILD),
                                                             QUICKSTART_GUEST_DIR=str(GUEST), TMPDIR=str(tmp_path)))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "guest: ready" in done.stdout and "Usage: tests/run" in done.stdout


class Terminal:
    """Somebody at a terminal who pastes a script and leaves a console once the guest is up."""

    def __init__(self, script):
        self.said = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(TOP)
            os.execvp("bash", ["bash", "-euxc", script])

    def read(self, deadline):
        """Once more of what is said; False: it has ended."""
        assert time.monotonic() < deadline, self.said[-3000:].decode(errors="replace")
        if not select.select([self.fd], [], [], 1)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:
            return False
        self.said += piece
        return bool(piece)

    def run(self, timeout):
        deadline, has_left = time.monotonic() + timeout, False
        while self.read(deadline):
            if not has_left and re.search(rb"^guest: ready", self.said, re.M):
                os.write(self.fd, LEAVE)
                has_left = True
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.said.decode(errors="replace")


@pytest.fixture(name="place")
def _place(tmp_path):
    """A short path, for a socket will lie there; whatever still runs there is ended."""
    with_socket = tmp_path / "hv"
    yield with_socket
    subprocess.run([BUILD / "cli/hvadm", "--connect", f"unix:{with_socket}/run/vmms.sock", "vm", "off", "first"],
                   capture_output=True, check=False)
    if (with_socket / "pid").exists():
        subprocess.run(["kill", (with_socket / "pid").read_text().strip()], capture_output=True, check=False)


def test_a_first_vm(place):
    script = readme.block("packaging/install-deps", {
        # What was built already is what is tested.
        "meson setup build && ninja -C build": ":", "build/vmmsd": BUILD / "vmmsd", "$PWD/build/cli": BUILD / "cli",
        "/tmp/guest": GUEST, "/tmp/hv": place})
    script = script.replace("--bus none &\n", f"--bus none &\necho $! >{place}.pid\n")
    script += f"mv {place}.pid {place}/pid\nkill $(cat {place}/pid)\n"
    status, said = Terminal(script).run(240)
    assert status == 0, said[-3000:]
    assert "Console of first; Ctrl-] leaves." in said and "Left the console." in said
    assert re.search(r"^first +running", said, re.M), said[-3000:]
