# SPDX-License-Identifier: Apache-2.0
"""What managing VMs costs, beside libvirt in the same run: its test and qemu drivers on sockets of their own."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "service"))
import service  # noqa: E402
from stack import BUILD, HVADM, Stack  # noqa: E402

ECHO = BUILD / "tests/guest/echo.elf"


def row(what, mine, unit, bound, peer=None):
    """Print a figure beside its bound and the peer's; rates are better high, times low."""
    is_rate = unit == "/s"
    met = mine >= bound if is_rate else mine <= bound
    other = "" if peer is None else f"{peer:10.1f}  {(mine / peer if is_rate else peer / mine):7.1f} x"
    print(f"{what:50} {mine:10.1f} {unit:4} {'from' if is_rate else 'to':4} {bound:7g}  {'met' if met else 'MISSED':7}{other}",
          flush=True)


def median_ms(work, runs):
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def run_ms(words, runs, env=None):
    """From exec to exit, with what it prints thrown away."""
    with open(os.devnull, "r+b") as null:
        def once():
            pid = os.posix_spawn(words[0], [str(w) for w in words], env or os.environ, file_actions=[
                (os.POSIX_SPAWN_DUP2, null.fileno(), 0), (os.POSIX_SPAWN_DUP2, null.fileno(), 1)])
            status = os.waitpid(pid, 0)[1]
            assert status == 0, words
        return median_ms(once, runs)


class Client(service.Connection):
    """One connection on the Unix socket, calls one after the other."""

    def __init__(self, stack):
        super().__init__(str(stack.dir / "run/vmms.sock"))

    def call(self, method, **params):
        status, body = self.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
        answer = json.loads(body)
        assert status == 200 and "result" in answer, answer
        return answer["result"]


def settings(name, memory=64):
    return {"name": name, "settings": {"memory.startup": memory << 20, "boot.kernel": str(ECHO), "backend": "soft"}}


def create(stack, count, width, prefix):
    """Creates on `width` connections, a next one whenever one is acknowledged. Returns how many a second."""
    subprocess.run(["ninja", "-C", BUILD, "tests/bench/bench_create"], check=True, stdout=subprocess.DEVNULL)
    words = [BUILD / "tests/bench/bench_create", stack.dir / "run/vmms.sock", ECHO, prefix, str(count), str(width)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def ready_ms(stack):
    """From exec of vmmsd to its first answer."""
    began = time.perf_counter()
    stack.daemon = subprocess.Popen([BUILD / "vmmsd/vmmsd", "--state-dir", stack.dir / "state", "--runtime-dir",
                                     stack.dir / "run", "--bus", "none"], stdin=subprocess.DEVNULL,
                                    stderr=open(stack.dir / "vmmsd.log", "ab"), start_new_session=True)
    while True:
        try:
            with contextlib.closing(Client(stack)) as client:
                client.call("host.ping")
            return (time.perf_counter() - began) * 1000
        except OSError:
            time.sleep(0.0005)


def rss_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


class Libvirt:
    """libvirtd in a directory of its own, with its Python binding as the client."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lv."))
        (self.dir / "conf").write_text(f'unix_sock_dir = "{self.dir}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
                                       'listen_tls = 0\nlisten_tcp = 0\nmax_clients = 200\n')
        self.env = dict(os.environ, XDG_RUNTIME_DIR=str(self.dir), XDG_CONFIG_HOME=str(self.dir / "c"),
                        XDG_CACHE_HOME=str(self.dir / "h"), HOME=str(self.dir))
        self.process = None
        # libvirtd writes a guest's output through it, and systemd would have started it.
        self.logger = None
        if not pathlib.Path("/run/libvirt/virtlogd-sock").exists():
            pathlib.Path("/run/libvirt").mkdir(exist_ok=True)
            self.logger = subprocess.Popen(["virtlogd"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        began = time.perf_counter()
        self.process = subprocess.Popen(["libvirtd", "--config", self.dir / "conf", "--pid-file", self.dir / "pid"],
                                        env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.dir / "log", "ab"), start_new_session=True)
        while True:
            try:
                connection = self.open()
                return connection, (time.perf_counter() - began) * 1000
            except Exception:
                if time.perf_counter() - began > 60:
                    raise RuntimeError((self.dir / "log").read_text()[-2000:])
                time.sleep(0.002)

    def uri(self):
        return f"qemu+unix:///system?socket={self.dir}/libvirt-sock"

    def open(self):
        import libvirt
        libvirt.registerErrorHandler(lambda *_: None, None)
        return libvirt.open(self.uri())

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def remove(self):
        self.stop()
        if self.logger:
            self.logger.terminate()
            self.logger.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def domain(name, memory=64):
    return (f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
            "<emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>")


def remove_domains(connection, prefix):
    for each in connection.listAllDomains():
        if each.name().startswith(prefix):
            with contextlib.suppress(Exception):  # libvirt.libvirtError: not running, or no longer
                each.destroy()
            each.undefine()


def virsh(libvirt, *words):
    return ["/usr/bin/virsh", "-q", "-c", libvirt.uri(), *words]


def sync_us(folder, runs=201):
    """What it takes here to have one page more of a file on disk."""
    path = pathlib.Path(folder) / "sync"
    with open(path, "wb", buffering=0) as file:
        def once():
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        took = median_ms(once, runs) * 1000
    path.unlink()
    return took


def defining(stack, libvirt):
    """Durable definitions, one after the other and with many in flight."""
    connection, _ = libvirt.start()
    remove_domains(connection, "hvbench-")  # of a run that was broken off
    count = 1000
    began = time.perf_counter()
    for i in range(count):
        connection.defineXML(domain(f"hvbench-{i}"))
    peer = count / (time.perf_counter() - began)
    row("vm.create, one after the other", create(stack, count, 1, "s"), "/s", 2000, peer)
    row("vm.create, 64 in flight", create(stack, 9000 - 100, 64, "w"), "/s", 8000)
    print(f"  (a page written and fdatasync: {sync_us(stack.dir):.0f} us)")
    # The peer gets as many to list.
    for i in range(count, 10000):
        connection.defineXML(domain(f"hvbench-{i}"))
    create(stack, 100, 64, "x")
    return connection


def list_all(client):
    """Names and states of all, by pages."""
    after, found = {}, 0
    while True:
        page = client.call("vm.list", fields=["name", "state"], **after)
        found += len(page["vms"])
        if "next" not in page:
            return found
        after = {"after": page["next"]}


def many_defined(stack, libvirt, connection):
    with contextlib.closing(Client(stack)) as client:
        assert list_all(client) == 10000
        mine = median_ms(lambda: list_all(client), 15)
        names = [each.name() for each in connection.listAllDomains()][:1]
        peer = median_ms(lambda: [(d.name(), d.isActive()) for d in connection.listAllDomains()], 3)
        row("10,000: vm.list of names and states", mine, "ms", 15, peer)
        peer = median_ms(lambda: connection.lookupByName(names[0]).info(), 200)
        row("10,000: vm.get of one", median_ms(lambda: client.call("vm.get", vm="s500"), 200), "ms", 0.3, peer)
    row("10,000: hvadm vm list, exec to exit", run_ms([HVADM, "vm", "list"], 11, stack.env), "ms", 80,
        run_ms(virsh(libvirt, "list", "--all"), 3))
    row("10,000: memory of vmmsd", rss_mib(stack.daemon.pid), "MiB", 48, rss_mib(libvirt.process.pid))
    connection.close()
    libvirt.stop()
    peer = []
    for _ in range(3):
        connection, ms = libvirt.start()
        peer.append(ms)
        if len(peer) < 3:
            connection.close()
            libvirt.stop()
    mine = []
    for _ in range(7):
        stack.kill()
        mine.append(ready_ms(stack))
    row("10,000: start of vmmsd to its first answer", statistics.median(mine), "ms", 300, statistics.median(peer))
    remove_domains(connection, "hvbench-")
    return connection


def start_many(stack, names):
    """Start all at once, each on a connection of its own; until the last has answered."""
    clients = [Client(stack) for _ in names]
    began = time.perf_counter()
    for client, name in zip(clients, names):
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.start", "params": {"vm": name}}).encode()
        client.socket.sendall(b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    for client in clients:
        status, body = client.response()
        assert status == 200 and b'"result"' in body, body
        client.close()
    return (time.perf_counter() - began) * 1000


def peer_start_many(libvirt, names):
    began = time.perf_counter()
    started = [subprocess.Popen(virsh(libvirt, "start", name), stdout=subprocess.DEVNULL) for name in names]
    assert all(each.wait() == 0 for each in started)
    return (time.perf_counter() - began) * 1000


def few_running(libvirt, connection):
    names = [f"hvbench-{i}" for i in range(20)]
    with Stack() as stack, contextlib.closing(Client(stack)) as client:
        for name in names + [f"idle-{i}" for i in range(80)]:
            client.call("vm.create", **settings(name))
            connection.defineXML(domain(name.replace("idle", "hvbench-idle")))
        row("100: hvadm vm list, exec to exit", run_ms([HVADM, "vm", "list"], 51, stack.env), "ms", 5,
            run_ms(virsh(libvirt, "list", "--all"), 21))
        row("hvadm vm show, exec to exit", run_ms([HVADM, "vm", "show", "hvbench-0"], 51, stack.env), "ms", 4,
            run_ms(virsh(libvirt, "dominfo", "hvbench-0"), 21))
        starts, offs, peer_starts, peer_offs = [], [], [], []
        one = connection.lookupByName("hvbench-0")
        for _ in range(9):
            starts.append(median_ms(lambda: client.call("vm.start", vm="hvbench-0"), 1))
            offs.append(median_ms(lambda: client.call("vm.turn_off", vm="hvbench-0"), 1))
        for _ in range(3):
            peer_starts.append(median_ms(one.create, 1))
            peer_offs.append(median_ms(one.destroy, 1))
        row("vm.start until the VP runs", statistics.median(starts), "ms", 20, statistics.median(peer_starts))
        row("vm.turn_off until Off", statistics.median(offs), "ms", 10, statistics.median(peer_offs))
        row("20 VMs started at once, the last one running", start_many(stack, names), "ms", 400,
            peer_start_many(libvirt, names))
        adopted = []
        for _ in range(7):
            stack.kill()
            adopted.append(ready_ms(stack))
            with contextlib.closing(Client(stack)) as again:
                states = [vm["state"] for vm in again.call("vm.list", filter={"name": "hvbench-*"}, fields=["state"])["vms"]]
                assert states == ["running"] * 20, states
        connection.close()
        libvirt.process.send_signal(signal.SIGKILL)
        libvirt.process.wait()
        connection, peer = libvirt.start()
        row("20 running VMs adopted, from exec of vmmsd", statistics.median(adopted), "ms", 70, peer)
    remove_domains(connection, "hvbench-")
    return connection


def events(subscribers=100, runs=21):
    """From the answer to a change (it is committed then) to its event at the last of many subscribers."""
    with Stack() as stack, contextlib.closing(Client(stack)) as client:
        sockets = [service.WebSocket(str(stack.dir / "run/vmms.sock")) for _ in range(subscribers)]
        for each in sockets:
            each.call("events.subscribe", {})
        client.call("vm.create", **settings("web"))
        for each in sockets:
            each.message()
        times = []
        for i in range(runs):
            client.call("vm.configure", vm="web", settings={"notes": str(i)})
            began = time.perf_counter()
            for each in sockets:
                each.message()
            times.append(time.perf_counter() - began)
        row(f"an event at the last of {subscribers} subscribers", statistics.median(times) * 1000, "ms", 2)
        for each in sockets:
            each.close()


def remote():
    """TLS on one connection, within the burst that an identity has; connecting; many that are idle."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Stack() as stack:
        stack.stop()
        stack.daemon = subprocess.Popen([BUILD / "vmmsd/vmmsd", "--state-dir", stack.dir / "state", "--runtime-dir",
                                         stack.dir / "run", "--bus", "none", "--listen", f"127.0.0.1:{port}"],
                                        stderr=open(stack.dir / "vmmsd.log", "ab"), start_new_session=True)
        while stack.hvadm("host", "ping", check=False).returncode:
            time.sleep(0.01)
        env = dict(stack.env, XDG_CONFIG_HOME=str(stack.dir / "config"), HOME=str(stack.dir))
        stack.hvadm("remote", "init")
        token = stack.json("remote", "invite", "bench", "--role", "viewer")["token"]
        subprocess.run([HVADM, "remote", "enroll", f"127.0.0.1:{port}", token], env=env, check=True, stdout=subprocess.DEVNULL)
        folder = next((stack.dir / "config/hvstack").iterdir())
        subprocess.run(["ninja", "-C", BUILD, "tests/bench/bench_tls"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(3)  # the burst is whole again
        words = [BUILD / "tests/bench/bench_tls", str(port), folder]
        out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        row("host.ping over TLS, one connection, one by one", float(out[0]), "/s", 15000)
        row("TLS connect to the first answer, both proven", float(out[1]), "ms", 3)
        print(f"  (a server that only answers: {float(out[2]):.0f} /s, {float(out[3]):.1f} ms)")
        before = rss_mib(stack.daemon.pid)
        idle = subprocess.Popen([*words, "1000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert idle.stdout.readline() == b"open\n"
        row("1,000 idle TLS connections, memory of vmmsd", rss_mib(stack.daemon.pid), "MiB", 64)
        print(f"  (before them {before:.1f} MiB)")
        idle.communicate()


def bus():
    """D-Bus: Get of a property beside the bus's own round trip (a call to the bus itself)."""
    words = ["dbus-run-session", "--", sys.executable, __file__, "on-the-bus"]
    subprocess.run(words, check=True, env=dict(os.environ, PYTHONPATH=f"{pathlib.Path(__file__).parent}:"
                                               f"{pathlib.Path(__file__).parents[1] / 'lib'}", HVSTACK_BUILD=str(BUILD)))


def on_the_bus():
    work = pathlib.Path(tempfile.mkdtemp(prefix="hvb."))
    daemon = subprocess.Popen([BUILD / "vmmsd/vmmsd", "--state-dir", work / "state", "--runtime-dir", work / "run", "--bus",
                               "session"], stderr=open(work / "log", "wb"))
    subprocess.run(["ninja", "-C", BUILD, "tests/bench/bench_bus"], check=True, stdout=subprocess.DEVNULL)
    try:
        while subprocess.run([HVADM, "host", "ping"], env=dict(os.environ, HVADM_CONNECT=f"unix:{work}/run/vmms.sock"),
                             capture_output=True).returncode:
            time.sleep(0.02)
        out = subprocess.run([BUILD / "tests/bench/bench_bus"], check=True, capture_output=True, text=True).stdout.split()
        trip, get = map(float, out)
        row("D-Bus Get of a property (us)", get, "us", 1.5 * trip + 50)
        print(f"  (the bus's own round trip: {trip:.0f} us)")
    finally:
        daemon.terminate()
        daemon.wait()
        shutil.rmtree(work, ignore_errors=True)


def manage(_runs):
    """The whole table."""
    print(f"\nManaging VMs; libvirt's figure and how many times better hvstack's is\n{'':50} {'hvstack':>10} {'':4} {'bound':>12}"
          f"  {'':7}{'libvirt':>10}")
    libvirt = Libvirt()
    try:
        with Stack() as stack:
            connection = defining(stack, libvirt)
            connection = many_defined(stack, libvirt, connection)
        connection = few_running(libvirt, connection)
        connection.close()
    finally:
        libvirt.remove()
    events()
    remote()
    bus()


if __name__ == "__main__" and sys.argv[1:] == ["on-the-bus"]:
    on_the_bus()
