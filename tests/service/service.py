# SPDX-License-Identifier: Apache-2.0
"""What the cases share: a daemon, calls over its socket by hand, a WebSocket."""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

WAIT_S = 15


def default_build():
    top = pathlib.Path(__file__).resolve().parents[2]
    return os.environ.get("HVSTACK_BUILD", str(top / "build"))


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(error["message"])
        self.code, self.message, self.data = error["code"], error["message"], error["data"]
        self.name, self.field = self.data["name"], self.data.get("field")


def wait_until(condition, what, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(0.02)


def connections_of(pid):
    """How many sockets a process holds."""
    found = 0
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        found += os.readlink(entry).startswith("socket:")
    return found


class Connection:
    """A raw stream to the socket: says exactly what it is told to."""

    def __init__(self, path):
        """path: of the Unix socket, or a socket that is connected already."""
        if isinstance(path, socket.socket):
            self.socket = path
        else:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WAIT_S)
        if not isinstance(path, socket.socket):
            self.socket.connect(path)
        self.left = b""

    def send(self, data):
        self.socket.sendall(data)

    def read_some(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.left += data

    def read(self, length):
        while len(self.left) < length:
            self.read_some()
        data, self.left = self.left[:length], self.left[length:]
        return data

    def response(self):
        """Status and body of one HTTP answer."""
        while b"\r\n\r\n" not in self.left:
            self.read_some()
        head, self.left = self.left.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), self.read(int(headers.get("content-length", 0)))

    def post(self, body, headers=()):
        lines = ["POST /rpc HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)
        return self.response()

    def close(self):
        self.socket.close()


class WebSocket(Connection):
    def __init__(self, path, headers=()):
        super().__init__(path)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /rpc HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
                 "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *headers, "", ""]
        self.send("\r\n".join(lines).encode())
        while b"\r\n\r\n" not in self.left:
            self.read_some()
        head, self.left = self.left.split(b"\r\n\r\n", 1)
        assert b" 101 " in head.split(b"\r\n")[0], head

    def frame(self, opcode, payload, fin=True, masked=True):
        head = bytes([opcode | (0x80 if fin else 0)])
        mask_bit = 0x80 if masked else 0
        if len(payload) < 126:
            head += bytes([mask_bit | len(payload)])
        elif len(payload) < 65536:
            head += bytes([mask_bit | 126]) + struct.pack(">H", len(payload))
        else:
            head += bytes([mask_bit | 127]) + struct.pack(">Q", len(payload))
        if not masked:
            self.send(head + payload)
            return
        mask = os.urandom(4)
        self.send(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def message(self):
        """(opcode, payload) of the next whole message; EOFError when the peer closes."""
        data, opcode = b"", None
        while True:
            first, second = self.read(2)
            length = second & 127
            if length == 126:
                length = struct.unpack(">H", self.read(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.read(8))[0]
            payload = self.read(length)
            if first & 15 == 8:
                raise EOFError
            opcode = first & 15 or opcode
            data += payload
            if first & 0x80:
                return opcode, data

    def call(self, method, params=None, call_id=1):
        self.frame(1, json.dumps({"jsonrpc": "2.0", "id": call_id, "method": method,
                                  "params": params or {}}).encode())
        opcode, payload = self.message()
        assert opcode == 1
        answer = json.loads(payload)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def read_until(self, wanted):
        """Bytes of a console, up to and with `wanted`."""
        data = b""
        while wanted not in data:
            opcode, payload = self.message()
            if opcode == 2:
                data += payload
        return data


class Daemon:
    def __init__(self, build):
        self.build = pathlib.Path(build)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hvs."))
        self.state, self.run = self.dir / "state", self.dir / "run"
        self.socket = str(self.run / "vmms.sock")
        self.worker = self.build / "tests/service/fake_worker"
        self.kernel = self.dir / "kernel"
        self.kernel.write_bytes(b"kernel")
        self.process, self.log = None, self.dir / "log"
        self.bus = "none"

    def spawn(self, *more, wrap=()):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*wrap, self.build / "vmmsd/vmmsd", "--state-dir", self.state, "--runtime-dir", self.run,
                 "--bus", self.bus, "--worker", self.worker, *more], stderr=log, stdin=subprocess.DEVNULL)

    def start(self, *more):
        self.spawn(*more)
        wait_until(self.answers, f"vmmsd to answer: {self.log_text()}")

    def answers(self):
        assert self.process.poll() is None, self.log_text()
        try:
            return self.call("host.ping") is not None
        except OSError:
            return False

    def fails(self, *more, wrap=()):
        """Start it where it must end by itself; its status and what it said."""
        self.spawn(*more, wrap=wrap)
        status = self.process.wait(WAIT_S)
        return status, self.log_text()

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)

    def request(self, body):
        connection = Connection(self.socket)
        try:
            return connection.post(body if isinstance(body, bytes) else json.dumps(body).encode())
        finally:
            connection.close()

    def call(self, method, /, **params):
        status, body = self.request({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        assert status == 200, body
        answer = json.loads(body)
        if "error" in answer:
            raise RpcError(answer["error"])
        return answer["result"]

    def websocket(self):
        return WebSocket(self.socket)

    def create(self, name, **settings):
        settings.setdefault("boot.kernel", str(self.kernel))
        settings.setdefault("memory.startup", 64 << 20)
        return self.call("vm.create", name=name, settings=settings)["vm"]

    def vms(self, **params):
        """All VMs, page by page: a test that makes as many as it can has more than one answer holds."""
        page = self.call("vm.list", **params)
        found = page["vms"]
        while "next" in page:
            page = self.call("vm.list", after=page["next"], **params)
            found += page["vms"]
        return found

    def state_of(self, vm):
        return self.call("vm.get", vm=vm)["state"]

    def wait_state(self, vm, state):
        wait_until(lambda: self.state_of(vm) == state, f"{vm} to be {state}")
        return self.call("vm.get", vm=vm)

    def type(self, vm, text):
        """Sit down at the console, type, and leave it open."""
        console = self.websocket()
        console.call("vm.console", {"vm": vm})
        console.frame(2, text.encode())
        return console

    def events(self, since=1):
        return self.call("events.read", since=since, limit=1000)["events"]

    def metrics(self):
        """The text of its figures."""
        connection = Connection(self.socket)
        try:
            connection.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.response()[1].decode()
        finally:
            connection.close()

    def answered(self, method):
        """How many such calls it has answered since its start."""
        found = re.search(rf'_count{{method="{re.escape(method)}"}} (\d+)$', self.metrics(), re.M)
        return int(found[1]) if found else 0

    def hvadm(self, *args, **kwargs):
        environment = dict(os.environ, HVADM_CONNECT=f"unix:{self.socket}")
        return subprocess.run([self.build / "cli/hvadm", *args], env=environment, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)

    def clean_up(self):
        if self.process and self.process.poll() is None:
            try:
                for vm in self.vms():
                    if vm["state"] != "off":
                        self.call("vm.turn_off", vm=vm["id"])
            except (OSError, RpcError, EOFError):
                pass
            self.kill(signal.SIGTERM)
        shutil.rmtree(self.dir, ignore_errors=True)
