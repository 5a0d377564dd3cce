# SPDX-License-Identifier: Apache-2.0
"""vmmsd under a service manager that the test plays: sockets handed over, notifications, watchdog, reload."""
import os
import re
import signal
import socket
import subprocess
import time

import pytest

import service
from service import wait_until

SHELL = 'export LISTEN_PID=$$; exec "$@"'  # sockets are for the process whose id that is


class Manager:
    """What systemd does for a service of Type=notify."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = daemon.dir / "notify"
        self.notified.bind(str(self.path))
        self.notified.settimeout(service.WAIT_S)
        self.config = daemon.dir / "vmmsd.conf"
        self.config.write_text("[service]\nlog-level = info\n")

    def start(self, sockets=(), watchdog_s=0, *more):
        """sockets: (name, socket) each."""
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.path))
        if watchdog_s:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        kept = [s.detach() for _, s in sockets]
        environment.update(LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=":".join(name for name, _ in sockets))
        high = [os.dup2(fd, 100 + i) for i, fd in enumerate(kept)]  # clear of where they shall be

        def place():
            for i, fd in enumerate(high):
                os.dup2(fd, 3 + i, inheritable=True)

        words = [self.daemon.build / "vmmsd/vmmsd", "--config", self.config, "--state-dir", self.daemon.state,
                 "--runtime-dir", self.daemon.run, "--worker", self.daemon.worker, *more]
        with open(self.daemon.log, "ab") as log:
            self.daemon.process = subprocess.Popen(["sh", "-c", SHELL, "sh", *map(str, words)], stderr=log,
                                                   env=environment, preexec_fn=place, pass_fds=range(3, 3 + len(kept)),
                                                   stdin=subprocess.DEVNULL)
        for fd in {*kept, *high}:
            os.close(fd)

    def hear(self, wanted):
        """The next notification that isn't a mere ping, unless one is wanted."""
        while True:
            said = dict(line.split("=", 1) for line in self.notified.recv(4096).decode().splitlines())
            if said != {"WATCHDOG": "1"} or wanted == "WATCHDOG":
                assert wanted in said, (said, self.daemon.log_text())
                return said


@pytest.fixture
def manager(stopped):
    return Manager(stopped)


def listening(family, address):
    made = socket.socket(family, socket.SOCK_STREAM)
    made.bind(address)
    made.listen(16)
    return made


def test_who_knocks_before_the_service_is_there_is_served(manager, stopped):
    stopped.run.mkdir(mode=0o700)
    made = listening(socket.AF_UNIX, stopped.socket)
    inode = os.stat(stopped.socket).st_ino
    early = service.Connection(stopped.socket)
    manager.start([("rpc", made)])
    assert manager.hear("READY")["STATUS"] == f"Ready on {stopped.socket}."
    assert b'"result"' in early.post(b'{"jsonrpc":"2.0","id":1,"method":"host.ping"}')[1]
    early.close()
    assert all(stopped.call("host.ping") for _ in range(200))
    assert "events" in stopped.websocket().call("events.read", {"since": 1})
    stopped.process.send_signal(signal.SIGTERM)
    manager.hear("STOPPING")
    assert stopped.process.wait(service.WAIT_S) == 0
    assert os.stat(stopped.socket).st_ino == inode, "a socket that was handed over stays"


def test_sockets_of_another_kind_are_left_alone_aloud(manager, stopped):
    tcp = listening(socket.AF_INET, ("127.0.0.1", 0))
    manager.start([("rpc", tcp), ("what", listening(socket.AF_INET, ("127.0.0.1", 0)))])
    manager.hear("READY")
    assert stopped.call("host.ping")
    assert len(re.findall(r"A socket that was handed over is not used", stopped.log_text())) == 2


def test_a_tls_socket_that_was_handed_over_is_served(manager, stopped):
    tcp = listening(socket.AF_INET, ("127.0.0.1", 0))
    address = "127.0.0.1:%d" % tcp.getsockname()[1]
    manager.start([("tls", tcp)])
    manager.hear("READY")
    stopped.call("remote.init")
    token = stopped.call("remote.create_token", name="ada", role="viewer")["token"]
    environment = dict(os.environ, HOME=str(stopped.dir), XDG_CONFIG_HOME=str(stopped.dir / "config"))
    for words in (("remote", "enroll", address, token), ("--connect", f"https://{address}", "vm", "list")):
        done = subprocess.run([stopped.build / "cli/hvadm", *words], env=environment, text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr + stopped.log_text()


def test_a_loop_that_turns_pings_and_one_that_stands_still_does_not(manager, stopped):
    manager.start([], 1)
    manager.hear("READY")
    began = time.monotonic()
    for _ in range(4):
        manager.hear("WATCHDOG")
    assert 1 < time.monotonic() - began < 10
    stopped.process.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    manager.notified.settimeout(0.01)
    with pytest.raises(TimeoutError):
        while True:
            manager.notified.recv(4096)
    manager.notified.settimeout(1.5)
    with pytest.raises(TimeoutError):
        manager.notified.recv(4096)
    stopped.process.send_signal(signal.SIGCONT)
    manager.notified.settimeout(service.WAIT_S)
    manager.hear("WATCHDOG")


def test_reload_is_announced_drops_no_connection_and_keeps_the_old_where_the_new_is_wrong(manager, stopped):
    manager.start()
    manager.hear("READY")
    before = stopped.websocket()
    events = before.call("events.read", {"since": 1})["events"]
    for text, said in (("[service]\nlog-level = debug\n", "The configuration was read anew."),
                       ("[service]\nlog-level = loud\n", "vmmsd.conf:2: log-level is error"),
                       ("[api]\nbus = session\n", 'A new value of "bus" holds when')):
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        manager.config.write_text(text)
        stopped.process.send_signal(signal.SIGHUP)
        assert int(manager.hear("RELOADING")["MONOTONIC_USEC"]) >= now
        assert manager.hear("READY")["STATUS"].startswith("Ready on ")
        wait_until(lambda: said in stopped.log_text(), f"{said} in {stopped.log_text()}")
    assert "The configuration that is in use stays: " in stopped.log_text()
    assert before.call("events.read", {"since": 1}, 2)["events"] == events


def test_a_reload_names_each_value_that_needs_a_restart(stopped):
    file = stopped.dir / "vmmsd.conf"
    text = (f"[service]\nstate-dir = {stopped.state}\nruntime-dir = {stopped.run}\n[api]\nbus = none\n"
            f"[workers]\nprogram = {stopped.worker}\n")
    file.write_text(text)
    with open(stopped.log, "ab") as log:
        stopped.process = subprocess.Popen([stopped.build / "vmmsd/vmmsd", "--config", file], stderr=log)
    wait_until(stopped.answers, "vmmsd to answer")
    file.write_text(text.replace(str(stopped.state), "/elsewhere").replace(str(stopped.run), "/elsewhere")
                    .replace("bus = none", "bus = session").replace(str(stopped.worker), "/nowhere/vmwp")
                    + "units = no\n[events]\nkeep-days = 3\n")
    stopped.process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"program" holds when' in stopped.log_text(), "the last of them")
    assert re.findall(r'A new value of "([a-z-]+)" holds', stopped.log_text()) == \
        ["bus", "state-dir", "runtime-dir", "program"]


def test_a_wrong_configuration_ends_the_start_and_the_check(manager, stopped):
    manager.config.write_text("[service]\nlog-levels = info\n")
    for more in ((), ("--check-config",)):
        done = subprocess.run([stopped.build / "vmmsd/vmmsd", "--config", manager.config, *more], text=True,
                              capture_output=True, timeout=30)
        assert done.returncode == 2
        assert f"{manager.config}:2: There is no key \"log-levels\" in [service]; there are: state-dir, runtime-dir, " \
            "log-level." in done.stderr
    manager.config.write_text("[service]\nlog-level = info\n")
    done = subprocess.run([stopped.build / "vmmsd/vmmsd", "--config", manager.config, "--check-config"], text=True,
                          capture_output=True, timeout=30, check=True)
    assert done.stdout == f"The configuration is right: {manager.config}.\n"
    assert not stopped.state.exists()


def test_the_installed_configuration_is_right(stopped, build):
    top = service.pathlib.Path(service.__file__).resolve().parents[2]
    file = top / "packaging/systemd/vmmsd.conf"
    subprocess.run([build / "vmmsd/vmmsd", "--config", file, "--check-config"], check=True, timeout=30,
                   stdout=subprocess.DEVNULL)
    # What it shows as defaults, uncommented, is right as well.
    shown = stopped.dir / "shown.conf"
    shown.write_text(re.sub(r"^#([a-z-]+ = )", r"\1", file.read_text(), flags=re.M))
    subprocess.run([build / "vmmsd/vmmsd", "--config", shown, "--check-config"], check=True, timeout=30,
                   stdout=subprocess.DEVNULL)
