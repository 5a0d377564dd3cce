# SPDX-License-Identifier: Apache-2.0
"""Clients that remember what was acknowledged, while the service dies under them."""

import collections
import json
import os
import pathlib
import random
import shutil
import threading
import time

import message_bus
import service


class Over(Exception):
    """The storm is over."""


class World:
    """The service, who kills it, and what went wrong."""

    def __init__(self, daemon, seed):
        self.daemon, self.seed = daemon, seed
        self.is_over = threading.Event()
        self.faults, self.counts = [], collections.Counter()
        self.lock = threading.Lock()

    def count(self, known):
        with self.lock:
            self.counts[known] += 1

    def once(self, method, params):
        """The answer; None: nobody knows whether it was heard. OSError: it was not."""
        connection = service.Connection(self.daemon.socket)
        try:
            status, answer = connection.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
        except (OSError, EOFError, ValueError):
            return None
        finally:
            connection.close()
        assert status == 200, answer
        return json.loads(answer)

    def ask(self, method, **params):
        """(True, result) or (False, None): nobody knows whether it happened. RpcError: refused."""
        while True:
            try:
                answer = self.once(method, params)
            except OSError:
                if self.is_over.is_set():
                    raise Over
                time.sleep(0.01)
                continue
            self.count(answer is not None)
            if answer is None:
                return False, None
            if "error" in answer:
                raise service.RpcError(answer["error"])
            return True, answer["result"]

    def read(self, method, **params):
        """A read is asked again until it is answered. None: there is no such object."""
        while True:
            try:
                known, result = self.ask(method, **params)
            except service.RpcError as error:
                if error.name in ("ObjectNotFound", "VmNotFound", "NotFound"):
                    return None
                raise
            if known:
                return result
            if self.is_over.is_set():
                raise Over


class WorldByBus(World):
    """The same service and storm, for a client that asks by D-Bus."""

    # What the bus says of a call that it did not hand on.
    NOT_HEARD = ("org.freedesktop.DBus.Error.ServiceUnknown", "not provided by any .service files", "is not activatable",
                 "not have an owner", "does not exist")

    def __init__(self, world, bus):
        self.__dict__.update(world.__dict__)
        self.bus = bus

    def once(self, method, params):
        try:
            return json.loads(self.bus.call(message_bus.ROOT, "Manager", "CallJson", "ss", method, json.dumps(params))[0])
        except message_bus.Refused as refused:
            if any(text in str(refused) for text in self.NOT_HEARD):
                raise ConnectionRefusedError from refused
            return None


class Client(threading.Thread):
    def __init__(self, world, name):
        super().__init__(name=name)
        self.world, self.random = world, random.Random(f"{world.seed} {name}")

    def run(self):
        try:
            while not self.world.is_over.is_set():
                self.step()
        except Over:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.world.faults.append(f"{self.name}: {type(error).__name__} {error}")


ABSENT = None


class Definer(Client):
    """Creates, configures, plugs into and deletes VMs of its own; each VM may be in several states as
    far as it knows, of which one must hold."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.vms = {}  # name: possible (notes, controllers), or ABSENT
        self.made = {}  # name: how often its creation was acknowledged
        self.serial = 0

    def look(self, name):
        vm = self.world.read("vm.get", vm=name)
        if vm is None:
            return ABSENT
        return vm["settings"].get("notes", ""), sum(d["kind"] == "scsi" for d in vm.get("devices", []))

    def settle(self, name):
        found = self.look(name)
        assert found in self.vms[name], f"{name} is {found}, and may be {self.vms[name]}"
        self.vms[name] = [found]
        return found

    def change(self, own, after, method, **params):
        (before,) = self.vms[own]
        known, _ = self.world.ask(method, **params)
        self.vms[own] = [after] if known else [before, after]

    def step(self):
        name = f"{self.name}-{self.random.randrange(6)}"
        self.vms.setdefault(name, [ABSENT])
        found = self.settle(name)
        self.serial += 1
        notes = f"n{self.serial}"
        if found is ABSENT:
            self.change(name, (notes, found_controllers()), "vm.create", name=name,
                        settings={"notes": notes, "memory.startup": 64 << 20})
            return
        what = self.random.randrange(4)
        if what == 0:
            self.change(name, ABSENT, "vm.delete", vm=name)
        elif what == 1 and found[1] < 4:
            self.change(name, (found[0], found[1] + 1), "vm.add_device", vm=name, settings={"kind": "scsi"})
        elif what == 2 and found[1] > 0:
            vm = self.world.read("vm.get", vm=name)
            device = [d for d in vm["devices"] if d["kind"] == "scsi"][-1]["id"]
            self.change(name, (found[0], found[1] - 1), "vm.remove_device", vm=name, device=device)
        else:
            self.change(name, (notes, found[1]), "vm.configure", vm=name, settings={"notes": notes})


def found_controllers():
    """What a VM is made with."""
    return 1


class Switcher(Client):
    """Turns one VM on and off."""

    def step(self):
        vm = self.world.read("vm.get", vm=self.name)
        assert vm is not None, "the VM is gone"
        if vm["state"] in ("off", "running"):
            method = "vm.start" if vm["state"] == "off" else "vm.turn_off"
            after = "running" if vm["state"] == "off" else "off"
            known, result = self.world.ask(method, vm=self.name)
            if known:
                assert result["vm"]["state"] == after, result
                now = self.world.read("vm.get", vm=self.name)
                assert now["state"] == after, f"{after} was acknowledged, and it is {now['state']}: {now}"
        time.sleep(self.random.random() * 0.1)


class Imager(Client):
    """Makes images under idempotency keys until each was acknowledged."""

    def __init__(self, world, name, folder):
        super().__init__(world, name)
        self.folder, self.jobs, self.serial = folder, {}, 0

    def step(self):
        self.serial += 1
        key, path = f"{self.name}-{self.serial}", str(self.folder / f"{self.name}-{self.serial}.vhdx")
        known = False
        while not known:
            known, result = self.world.ask("image.create", path=path, size_bytes=1 << 20, idempotency_key=key,
                                           block_bytes=1 << 20)
            if self.world.is_over.is_set() and not known:
                self.jobs[key] = (None, path)
                raise Over
        self.jobs[key] = (result["job"]["id"], path)
        time.sleep(self.random.random() * 0.2)


class Follower(Client):
    """Reads events on from its cursor: none is missing, none comes twice."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.cursor, self.events = 1, []

    def take(self):
        page = self.world.read("events.read", since=self.cursor, limit=500)
        for event in page["events"]:
            assert event["seq"] == self.cursor, f"event {event['seq']} came where {self.cursor} was next"
            self.cursor += 1
            self.events.append(event)
        return bool(page["events"])

    def step(self):
        if not self.take():
            time.sleep(0.02)


class Streamer(Client):
    """The same by a subscription, opened again after each death."""

    def __init__(self, world, name):
        super().__init__(world, name)
        self.cursor = 1

    def step(self):
        try:
            stream = service.WebSocket(self.world.daemon.socket)
        except (OSError, EOFError, AssertionError):
            time.sleep(0.02)
            return
        try:
            stream.socket.settimeout(1)
            stream.call("events.subscribe", {"since": self.cursor})
            while not self.world.is_over.is_set():
                message = json.loads(stream.message()[1])
                if message.get("method") != "events.event":
                    raise AssertionError(f"a stream said {message}")
                seq = message["params"]["seq"]
                assert seq == self.cursor, f"the stream told {seq} where {self.cursor} was next"
                self.cursor += 1
        except (OSError, EOFError):
            pass
        finally:
            stream.close()


class Keeper:
    """Guests that are to live through all of it."""

    def __init__(self, world, names):
        self.world, self.names = world, names
        self.pids, self.ends = {}, {}

    def start(self, kernel):
        for name in self.names:
            self.world.daemon.create(name, **{"boot.kernel": str(kernel), "backend": "soft"})
            self.pids[name] = self.world.daemon.call("vm.start", vm=name)["vm"]["worker_pid"]

    def look(self):
        for name in self.names:
            vm = self.world.daemon.call("vm.get", vm=name)
            assert vm["state"] == "running" and vm["worker_pid"] == self.pids[name], vm

    def has_counted(self, name):
        """Its console has more than when it was looked at last; what it says are numbers in order."""
        log = self.world.daemon.call("vm.console_log", vm=name, **{"from": self.ends.get(name, 0)})
        numbers = [int(line, 16) for line in log["data"].split("\n")[1:-1]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True, numbers
        if len(numbers) > 2:
            self.ends[name] = log["end"]
        return len(numbers) > 2


def is_open(daemon):
    try:
        service.Connection(daemon.socket).close()
    except OSError:
        return False
    return True


def killer(world, keeper, kills, seed):
    """Kill at random moments: many while it starts, most under load."""
    chance = random.Random(f"{seed} killer")
    daemon, while_starting = world.daemon, 0
    daemon.spawn()
    for number in range(kills):
        time.sleep(chance.random() * (0.06 if chance.randrange(4) == 0 else 0.25))
        if not daemon.process.poll() is None:
            world.faults.append(f"it ended by itself before kill {number}: {daemon.log_text()[-2000:]}")
            return while_starting
        while_starting += not is_open(daemon)
        daemon.kill()
        if world.faults:
            return while_starting
        daemon.spawn()
        if number % 20 == 19:
            service.wait_until(daemon.answers, f"the start after kill {number}")
            keeper.look()
    return while_starting


def workers_of(program):
    """The processes that run that program."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "exe").startswith(str(program)):
                found.append(int(entry.name))
        except OSError:
            continue
    return sorted(found)


def own_worker(daemon):
    """A copy of the worker program, so that its processes can be told from all others."""
    copy = daemon.dir / "vmwp"
    shutil.copy(daemon.worker, copy)
    daemon.worker = copy
    return copy
