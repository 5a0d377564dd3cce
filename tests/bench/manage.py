# SPDX-License-Identifier: Apache-2.0
"""What managing VMs costs, beside libvirt in the same run: its test and qemu drivers on sockets of their own."""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "service"))
import service  # noqa: E402
from libvirtd import Libvirt, domain, free_port, remove_domains  # noqa: E402
from table import HEAD, row  # noqa: E402
from stack import BUILD, HVADM, Stack  # noqa: E402

IDLE = BUILD / "tests/guest/idle.elf"  # sleeps, as the peer's guests do, which have nothing to boot


def build(name):
    """Have one of the programs here made; its path."""
    done = subprocess.run(["ninja", "-C", BUILD, f"tests/bench/{name}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}Where it is unknown: packaging/install-deps bench; meson setup --reconfigure {BUILD}")
    return BUILD / "tests/bench" / name


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
    return {"name": name, "settings": {"memory.startup": memory << 20, "boot.kernel": str(IDLE), "backend": "soft"}}


def create(stack, count, width, prefix):
    """Creates on `width` connections, a next one whenever one is acknowledged. Returns how many a second."""
    words = [build("bench_create"), stack.dir / "run/vmms.sock", IDLE, prefix, str(count), str(width)]
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
    before = sync_us(stack.dir)
    count = 1000
    began = time.perf_counter()
    for i in range(count):
        connection.defineXML(domain(f"hvbench-{i}"))
    peer = count / (time.perf_counter() - began)
    row("vm.create, one after the other", create(stack, count, 1, "s"), "/s", 2000, peer, 1220)
    # Each gets 10,000 to list.
    peer, = libvirt.measure("define", libvirt.uri(), 9000, 64)
    row("vm.create, 64 in flight", create(stack, 9000, 64, "w"), "/s", 8000, peer)
    after = sync_us(stack.dir)
    print(f"  (a page written and fdatasync: {before:.0f} us before, {after:.0f} after; "
          f"one by one at most {1e6 / before:.0f} and {1e6 / after:.0f} /s)")
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
        row("10,000: vm.list of names and states", mine, "ms", 15, peer, 20)
        peer = median_ms(lambda: connection.lookupByName(names[0]).info(), 200)
        row("10,000: vm.get of one", median_ms(lambda: client.call("vm.get", vm="s500"), 200), "ms", 0.3, peer)
    row("10,000: hvadm vm list, exec to exit", run_ms([HVADM, "vm", "list"], 11, stack.env), "ms", 80,
        run_ms(libvirt.virsh("list", "--all"), 3), 431)
    row("10,000: memory of vmmsd", rss_mib(stack.daemon.pid), "MiB", 48, rss_mib(libvirt.process.pid), 160)
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
    row("10,000: start of vmmsd to its first answer", statistics.median(mine), "ms", 300, statistics.median(peer), 2300)
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
    started = [subprocess.Popen(libvirt.virsh("start", name), stdout=subprocess.DEVNULL) for name in names]
    assert all(each.wait() == 0 for each in started)
    return (time.perf_counter() - began) * 1000


def few_running(libvirt, connection):
    names = [f"hvbench-{i}" for i in range(20)]
    with Stack() as stack, contextlib.closing(Client(stack)) as client:
        for name in names + [f"idle-{i}" for i in range(80)]:
            client.call("vm.create", **settings(name))
            connection.defineXML(domain(name.replace("idle", "hvbench-idle")))
        row("100: hvadm vm list, exec to exit", run_ms([HVADM, "vm", "list"], 51, stack.env), "ms", 5,
            run_ms(libvirt.virsh("list", "--all"), 21), 10)
        row("hvadm vm show, exec to exit", run_ms([HVADM, "vm", "show", "hvbench-0"], 51, stack.env), "ms", 4,
            run_ms(libvirt.virsh("dominfo", "hvbench-0"), 21), 7)
        starts, offs, peer_starts, peer_offs = [], [], [], []
        one = connection.lookupByName("hvbench-0")
        for _ in range(9):
            starts.append(median_ms(lambda: client.call("vm.start", vm="hvbench-0"), 1))
            offs.append(median_ms(lambda: client.call("vm.turn_off", vm="hvbench-0"), 1))
        for _ in range(3):
            peer_starts.append(median_ms(one.create, 1))
            peer_offs.append(median_ms(one.destroy, 1))
        row("vm.start until the VP runs", statistics.median(starts), "ms", 20, statistics.median(peer_starts), 148)
        row("vm.turn_off until Off", statistics.median(offs), "ms", 10, statistics.median(peer_offs), 209)
        row("20 VMs started at once, the last one running", start_many(stack, names), "ms", 400,
            peer_start_many(libvirt, names), 3500)
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
        row("20 running VMs adopted, from exec of vmmsd", statistics.median(adopted), "ms", 70, peer, 79)
    remove_domains(connection, "hvbench-")
    return connection


def events(libvirt, subscribers=100, runs=21):
    """From the answer to a change (it is committed then) to its event at the last of many subscribers."""
    peer, = libvirt.measure("events", libvirt.uri("test", "default"), subscribers)
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
        row(f"an event at the last of {subscribers} subscribers", statistics.median(times) * 1000, "ms", 2, peer, 1.1)
        for each in sockets:
            each.close()


def listen(stack):
    """Have vmmsd listen for TLS, and enrol here; the port and hvadm's folder for it."""
    port = free_port()
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
    return port, next((stack.dir / "config/hvstack").iterdir())


def idle_mib(words, pid):
    """What a process needs before and with the connections that a program opens, says the number of, and keeps."""
    before = rss_mib(pid)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as idle:
        count = int(idle.stdout.readline())
        after = rss_mib(pid)
        idle.communicate()
    return count, before, after


def remote(libvirt):
    """TLS on one connection, within the burst that an identity has; connecting; many that are idle."""
    peer_rate, peer_connect = libvirt.measure("rate", libvirt.tls_uri())
    peer_count, peer_before, peer_idle = idle_mib(libvirt.words("idle", libvirt.tls_uri(), 1000), libvirt.process.pid)
    with Stack() as stack:
        words = [build("bench_tls"), *map(str, listen(stack))]
        time.sleep(3)  # the burst is whole again
        out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        row("host.ping over TLS, one connection, one by one", float(out[0]), "/s", 15000, peer_rate, 25700)
        row("TLS connect to the first answer, both proven", float(out[1]), "ms", 3, peer_connect)
        print(f"  (a server that only answers: {float(out[2]):.0f} /s, {float(out[3]):.1f} ms)")
        count, before, after = idle_mib([*words, "1000"], stack.daemon.pid)
        row(f"{count:,} idle TLS connections, memory of vmmsd", after, "MiB", 64, peer_idle if peer_count == count else None)
        print(f"  (before them {before:.1f} MiB; libvirt {peer_before:.1f}, and with {peer_count:,} {peer_idle:.1f})")


def bus():
    """D-Bus: Get of a property beside the bus's own round trip (a call to the bus itself)."""
    words = ["dbus-run-session", "--", sys.executable, __file__, "on-the-bus"]
    subprocess.run(words, check=True, env=dict(os.environ, PYTHONPATH=f"{pathlib.Path(__file__).parent}:"
                                               f"{pathlib.Path(__file__).parents[1] / 'lib'}", HVSTACK_BUILD=str(BUILD)))


VMMS_VERSION = ["org.hvstack.Vmms1", "/org/hvstack/Vmms1", "org.hvstack.Vmms1.Host", "Version"]
# Of its driver of VMs that are only played, which needs no libvirtd.
LIBVIRT_VERSION = ["org.libvirt", "/org/libvirt/Test", "org.libvirt.Connect", "LibVersion"]


def get_us(program, what):
    """The bus's own round trip, and Get once the service that has just been started is there."""
    while True:
        done = subprocess.run([program, *what], capture_output=True, text=True)
        if done.returncode == 0:
            return map(float, done.stdout.split())
        time.sleep(0.05)


def on_the_bus():
    work = pathlib.Path(tempfile.mkdtemp(prefix="hvb."))
    program = build("bench_bus")
    env = dict(os.environ, XDG_RUNTIME_DIR=str(work), XDG_CONFIG_HOME=str(work), XDG_CACHE_HOME=str(work), HOME=str(work))
    daemons = []
    try:
        with open(work / "log", "wb") as log:
            daemons.append(subprocess.Popen([BUILD / "vmmsd/vmmsd", "--state-dir", work / "state", "--runtime-dir",
                                             work / "run", "--bus", "session"], stderr=log))
            daemons.append(subprocess.Popen(["/usr/sbin/libvirt-dbus", "--session"], env=env, stdout=log, stderr=log))
        _, peer = get_us(program, LIBVIRT_VERSION)
        trip, mine = get_us(program, VMMS_VERSION)
        row("D-Bus Get of a property (us)", mine, "us", 1.5 * trip + 50, peer)
        print(f"  (the bus's own round trip: {trip:.0f} us)")
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()
        shutil.rmtree(work, ignore_errors=True)


def manage(_runs):
    """The whole table."""
    # Both services get as many descriptors as there may be.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    build("bench_libvirt")
    print("\nManaging VMs, beside libvirt. The bounds are of a machine where fdatasync of a page takes 16 to 30 us: on another "
          f"one,\nto be as many times better than libvirt as the bound was there is what counts\n{HEAD}")
    libvirt = Libvirt()
    try:
        with Stack() as stack:
            connection = defining(stack, libvirt)
            connection = many_defined(stack, libvirt, connection)
        connection = few_running(libvirt, connection)
        connection.close()
        events(libvirt)
        remote(libvirt)
    finally:
        libvirt.remove()
    bus()


if __name__ == "__main__" and sys.argv[1:] == ["on-the-bus"]:
    on_the_bus()
