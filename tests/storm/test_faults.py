# SPDX-License-Identifier: Apache-2.0
"""The N-th write, sync, rename or open fails, for every N: vmmsd never lies about what it did."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import threading

import pytest

import service
import storm

AT_ONCE = 3  # runs beside each other
MORE_THAN_ENOUGH = 1500


class Run:
    """One life with one fault, and one without after it."""

    def __init__(self, build, number, errnum, stays):
        self.daemon = service.Daemon(build)
        self.daemon.worker = build / "vmwp/vmwp"
        self.images = self.daemon.dir / "images"
        self.images.mkdir()
        self.told = pathlib.Path(f"{self.daemon.dir}.fault")
        self.environment = dict(os.environ, LD_PRELOAD=str(build / "tests/storm/storm_faults.so"),
                                HVSTACK_FAULT_FOLDER=f"{self.daemon.dir}/", HVSTACK_FAULT_AT=str(number),
                                HVSTACK_FAULT_ERRNO=str(errnum), HVSTACK_FAULT_TOLD=str(self.told))
        if stays:
            self.environment["HVSTACK_FAULT_STAYS"] = "1"
        self.vms, self.jobs, self.said = {}, {}, []

    def spawn(self):
        with open(self.daemon.log, "ab") as log:
            self.daemon.process = subprocess.Popen(
                [self.daemon.build / "vmmsd/vmmsd", "--state-dir", self.daemon.state, "--runtime-dir", self.daemon.run,
                 "--bus", "none", "--worker", self.daemon.worker], stderr=log, stdin=subprocess.DEVNULL, env=self.environment)

    def is_up(self):
        try:
            return self.daemon.process.poll() is not None or self.daemon.call("host.ping") is not None
        except (OSError, EOFError):
            return False

    def ask(self, method, **params):
        """"done", "refused" or "unknown", and the answer."""
        try:
            connection = service.Connection(self.daemon.socket)
            status, body = connection.post(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
            connection.close()
        except (OSError, EOFError):
            return "unknown", None
        answer = json.loads(body)
        assert status == 200, body
        self.said.append((method, answer.get("error", "done")))
        if "error" in answer:
            data = answer["error"]["data"]
            how = "unknown" if data["name"] == "StatusUnknown" else "failed" if "job" in data else "refused"
            return how, None
        return "done", answer["result"]

    def change(self, own, after, method, **params):
        before = self.vms.setdefault(own, [storm.ABSENT])
        how, result = self.ask(method, **params)
        if how == "done":
            self.vms[own] = [after]
        elif how == "unknown":
            self.vms[own] = before + [after]
        return result

    def look(self, name):
        try:
            vm = self.daemon.call("vm.get", vm=name)
        except service.RpcError as error:
            assert error.name == "NotFound", error
            return storm.ABSENT
        return vm["settings"].get("notes", ""), sum(d["kind"] == "scsi" for d in vm.get("devices", []))

    def settle(self):
        for name, possible in self.vms.items():
            found = self.look(name)
            assert found in possible, f"{name} is {found}, and may be {possible}"
            self.vms[name] = [found]

    def script(self, guest):
        one = storm.found_controllers()
        self.change("a", ("1", one), "vm.create", name="a", settings={"notes": "1", "boot.kernel": str(guest), "backend": "soft",
                                                                       "memory.startup": 64 << 20})
        self.change("b", ("1", one), "vm.create", name="b", settings={"notes": "1"})
        if self.vms["a"] == [("1", one)]:
            self.change("a", ("2", one), "vm.configure", vm="a", settings={"notes": "2"})
        for key in ("x", "y"):
            how, result = self.ask("image.create", path=str(self.images / f"{key}.vhdx"), size_bytes=1 << 20, idempotency_key=key,
                                   wait=True)
            self.jobs[key] = how if how != "done" else result["job"]["state"]
        self.power("vm.start", "running")
        self.ask("host.backup")
        if self.vms["b"] == [("1", one)]:
            self.change("b", ("1", one + 1), "vm.add_device", vm="b", settings={"kind": "scsi"})
        self.power("vm.turn_off", "off")
        self.change("b", storm.ABSENT, "vm.delete", vm="b")
        self.change("c", ("3", one), "vm.create", name="c", settings={"notes": "3"})

    def power(self, method, after):
        how, result = self.ask(method, vm="a")
        if how == "done":
            assert result["vm"]["state"] == after, result
            state = self.ask("vm.get", vm="a")
            assert state[0] == "unknown" or state[1]["state"] == after, state

    def check(self):
        daemon = self.daemon
        self.settle()
        assert {vm["name"] for vm in daemon.vms(fields=["name"])} == {n for n, (s,) in self.vms.items() if s is not storm.ABSENT}
        service.wait_until(lambda: not daemon.call("job.list", filter={"active": True})["jobs"], "jobs to end")
        jobs = daemon.call("job.list", limit=100)["jobs"]
        assert len({job["idempotency_key"] for job in jobs}) == len(jobs)
        for job in jobs:
            asked = self.jobs[job["idempotency_key"]]
            assert asked == "unknown" or asked == job["state"], (asked, job)
        for key, state in self.jobs.items():
            assert state in ("unknown", "refused") or key in {job["idempotency_key"] for job in jobs}, (key, state)
            assert state != "refused" or key not in {job["idempotency_key"] for job in jobs}, key
        made = {pathlib.Path(job["object"]).name for job in jobs if job["state"] == "done"}
        assert {p.name for p in self.images.iterdir()} == made
        events = daemon.events()
        assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
        ids = {vm["id"] for vm in daemon.vms(fields=["id"])}
        for base in (daemon.state, daemon.run):
            folders = {p.name for p in (base / "vms").iterdir()} if (base / "vms").exists() else set()
            service.wait_until(lambda base=base, folders=folders: {p.name for p in (base / "vms").iterdir()} <= ids
                               if folders else True, "folders of deleted VMs to go")
        backups = daemon.state / "backups"
        if backups.exists():
            assert all(p.name.startswith("vmms-") for p in backups.iterdir()), list(backups.iterdir())

    def run(self, guest):
        """True when the fault was met."""
        daemon = self.daemon
        try:
            self.spawn()
            service.wait_until(self.is_up, "the first start")
            self.script(guest)
            try:
                self.settle()
            except (OSError, EOFError):
                pass
            if daemon.process.poll() is None:
                daemon.kill(signal.SIGKILL)
            else:
                assert daemon.process.returncode == 1, f"it ended with {daemon.process.returncode}: {daemon.log_text()}"
            daemon.start()
            self.check()
            daemon.clean_up()
            return self.told.exists()
        except Exception as error:
            what = self.told.read_text() if self.told.exists() else "nothing"
            raise AssertionError(f"N = {self.environment['HVSTACK_FAULT_AT']} ({what.strip()}): {type(error).__name__} {error}\n"
                                 f"{self.said}\n{daemon.log_text()[-1500:]}") from error
        finally:
            self.told.unlink(missing_ok=True)
            if daemon.process and daemon.process.poll() is None:
                daemon.clean_up()
            shutil.rmtree(daemon.dir, ignore_errors=True)


def run_all(build, errnum, stays, step):
    """Every N, or every so many, until a run has no fault any more. Returns how many there were."""
    guest = build / "tests/storm/count.elf"
    numbers, lock = iter(range(1, MORE_THAN_ENOUGH, step)), threading.Lock()
    failures, ended = [], []

    def work():
        while not ended and len(failures) < 3:
            with lock:
                number = next(numbers)
            try:
                if not Run(build, number, errnum, stays).run(guest):
                    ended.append(number)
            except AssertionError as error:
                failures.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, "\n".join(failures)
    return min(ended)


@pytest.mark.parametrize("errnum, stays, step", [(errno.EIO, False, 1), (errno.ENOSPC, False, 1), (errno.ENOSPC, True, 4)],
                         ids=["io-error", "full-once", "full-from-then-on"])
def test_every_single_failure_is_told_or_recovered_from(errnum, stays, step):
    count = run_all(pathlib.Path(service.default_build()).resolve(), errnum, stays, step)
    assert count > 50
    print(f"{count - 1} places where {os.strerror(errnum)} was met")
