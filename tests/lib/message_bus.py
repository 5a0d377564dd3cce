# SPDX-License-Identifier: Apache-2.0
"""A message bus of a test's own, asked by busctl."""

import json
import pathlib
import shutil
import signal
import subprocess
import tempfile

from service import wait_until

NAME, ROOT = "org.hvstack.Vmms1", "/org/hvstack/Vmms1"
NOBODY = 65534
CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/>
<allow receive_sender="*"/></policy></busconfig>
"""


class Refused(Exception):
    pass


class Bus:
    """A message bus, and busctl on it."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hvb."))
        self.dir.chmod(0o755)
        self.socket = self.dir / "bus"
        self.address = f"unix:path={self.socket}"
        (self.dir / "config").write_text(CONFIG.format(socket=self.socket))
        self.process, self.others = None, []
        self.start()

    def start(self):
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={self.dir}/config", "--nofork", "--nopidfile"])
        wait_until(self.socket.exists, "the bus")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.socket.unlink(missing_ok=True)

    def run(self, *words, as_nobody=False, check=True, may_ask=False):
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if as_nobody else []
        done = subprocess.run([*prefix, "busctl", f"--address={self.address}", "--json=short",
                               f"--allow-interactive-authorization={'yes' if may_ask else 'no'}", "--", *words], text=True,
                              timeout=60, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if check and done.returncode != 0:
            raise Refused(done.stderr.strip())
        return done.stdout

    def call(self, path, interface, member, *words, **kwargs):
        out = self.run("call", NAME, path, f"{NAME}.{interface}", member, *(words or ("a{sv}", "0")), **kwargs)
        return json.loads(out)["data"]

    def tree(self):
        return subprocess.run(["busctl", f"--address={self.address}", "--list", "tree", NAME], text=True, check=True,
                              stdout=subprocess.PIPE).stdout

    def get(self, path, interface, *names):
        out = self.run("get-property", NAME, path, f"{NAME}.{interface}", *names)
        values = [json.loads(line)["data"] for line in out.splitlines()]
        return values if len(names) > 1 else values[0]

    def spawn(self, *words, **kwargs):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **kwargs)
        self.others.append(process)
        return process

    def monitor(self):
        """Messages from now on, each a line of JSON."""
        process = self.spawn("busctl", f"--address={self.address}", "--json=short", "monitor", NAME,
                             stderr=subprocess.PIPE)
        assert "Monitoring" in process.stderr.readline()
        return process

    def has_name(self):
        out = self.run("call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", NAME)
        return json.loads(out)["data"] == [True]

    def polkit(self, build, rule):
        process = self.spawn(build / "tests/service/fake_polkit", self.address, rule)
        assert process.stdout.readline() == "ready\n"
        return process

    def clean_up(self):
        for process in self.others:
            process.kill()
            process.wait()
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)
