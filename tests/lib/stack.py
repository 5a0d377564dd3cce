# SPDX-License-Identifier: Apache-2.0
"""A whole stack for one test: vmmsd in session mode, VMs made with hvadm, their consoles."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HVSTACK_BUILD", TOP / "build"))
CACHE = pathlib.Path(os.environ.get("HVSTACK_CACHE", pathlib.Path.home() / ".cache/hvstack"))
GUEST = pathlib.Path(os.environ.get("QUICKSTART_GUEST_DIR", CACHE / "guest"))
HVADM = BUILD / "cli/hvadm"
VMMSD = BUILD / "vmmsd/vmmsd"
# What a kernel of a guest says when it does not like its host.
COMPLAINTS = re.compile(r"\bBUG:|\bOops|Call Trace|WARNING:|rcu: INFO|soft lockup|hung_task|hv_\w+.*(fail|error|tag#)|"
                        r"I/O error|clocksource:.*unstable", re.I)
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of a process and its threads, from the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS

# The classes of what each VM is offered, and Linux's drivers of them, as `drivers` of tests/guest lists them
HYPERV_DRIVERS = sorted([
    "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f hv_storvsc", "57164f39-9115-4e78-ab55-382f3bd5422d hv_utils",
    "0e0b6031-5213-4934-818b-38d90ced39db hv_utils", "9527e630-d0ae-497b-adce-e80ab0175caf hv_utils",
    "a9a0f4e7-5a45-4d96-b827-8a841e8c03e6 hv_utils", "35fa2e29-ea23-4236-96ae-3a6ebacba440 hv_utils",
    "f912ad6d-2b17-48ea-bd65-f927a61c7684 hyperv_keyboard"])


class Console:
    """A reader of a VM's console: `hvadm vm console` with its output in a file."""

    pause_s = 0.01  # between looks at it

    def __init__(self, stack, name):
        self.path = stack.dir / f"console-{name}-{time.monotonic_ns()}"
        self.process = subprocess.Popen(
            [HVADM, "vm", "console", name], env=stack.env, stdin=subprocess.DEVNULL,
            stdout=open(self.path, "wb"), stderr=subprocess.PIPE)

    def text(self):
        return self.path.read_text(errors="replace").replace("\r", "")

    def wait_for(self, pattern, timeout):
        """Wait until the console shows a match; return it, or fail with the console's end."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.text(), re.M)
            if found:
                return found
            if time.monotonic() > deadline or self.is_over():
                found = re.search(pattern, self.text(), re.M)
                if found:
                    return found
                reason = "ended" if self.is_over() else f"{timeout} s went by"
                raise AssertionError(f"no {pattern!r} on the console ({reason}); its end:\n"
                                     + self.text()[-3000:])
            time.sleep(self.pause_s)

    def is_over(self):
        return self.process.poll() is not None

    def close(self):
        self.process.kill()
        self.process.wait()


class Shell(Console):
    """A root shell on a guest's serial console: types commands, reads what they print."""

    def __init__(self, stack, name, prompt=r"^guest: (shell|ready)", timeout=240):
        self.attach([HVADM, "vm", "console", name], stack.env, stack.dir / f"shell-{name}-{time.monotonic_ns()}",
                    prompt, timeout)

    def attach(self, words, env, path, prompt, timeout):
        """Sit down at the console that a program's standard input and output are."""
        self.path = path
        self.process = subprocess.Popen(words, env=env, stdin=subprocess.PIPE, stdout=open(path, "wb"),
                                        stderr=subprocess.DEVNULL)
        self.sit_down(prompt, timeout)

    def sit_down(self, prompt, timeout):
        self.count, self.read, self.starts = 0, 0, 0
        self.prompt = prompt
        self.started(timeout)

    def started(self, timeout=600):
        """Wait until the guest has come up once more, and sit down."""
        self.starts += 1
        self.wait_for(rf"(?:{self.prompt}[\s\S]*?){{{self.starts}}}", timeout)
        time.sleep(0.5)
        self.type("stty -echo; PS1=")
        self.run("dmesg -n 1")  # the kernel's lines stay out of what commands print

    def type(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def begin(self, command):
        """Have the guest run a command, and don't wait for it."""
        self.count += 1
        # In two pieces, so that an echo of the command isn't taken for its end.
        self.type(f"{command}; printf '\\n%s%s %s\\n' '@{self.count}' '@' $?")

    def end(self, command, timeout=120, check=True):
        """What the command begun last printed; it must end with status 0 unless check is off."""
        found = self.wait_for(rf"^@{self.count}@ (\d+)$", timeout)
        text = self.text()
        out = text[self.read:found.start()]
        self.read = found.end() + 1
        assert not check or found[1] == "0", f"{command!r} ended with {found[1]}:\n{out[-3000:]}"
        return out.strip("\n")

    def run(self, command, timeout=120, check=True):
        """What a command prints; it must end with status 0 unless check is off."""
        self.begin(command)
        return self.end(command, timeout, check)


class Client:
    """What tests do through hvadm, wherever that is."""

    def hvadm(self, *words, check=True, timeout=60):
        """Run it; a finished process with returncode, stdout and stderr."""
        raise NotImplementedError

    def log(self):
        """The last words of vmmsd."""
        raise NotImplementedError

    def finish(self, words, done, check):
        if check and done.returncode != 0:
            raise AssertionError(f"hvadm {' '.join(map(str, words))}: status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}\n{self.log()}")
        return done

    def json(self, *words):
        """The result of a verb; a list where the verb lists."""
        answer = json.loads(self.hvadm("--json", *words).stdout)
        if isinstance(answer, dict) and isinstance(answer.get("vms"), list):
            return answer["vms"]
        return answer

    def create(self, name, kernel, initrd=None, cmdline="", cpus=1, memory="512M", backend="soft",
               **settings):
        words = ["vm", "create", name, "--cpus", cpus, "--memory", memory, "--kernel", kernel,
                 "--backend", backend]
        if initrd:
            words += ["--initrd", initrd]
        if cmdline:
            words += ["--cmdline", cmdline]
        self.hvadm(*words)
        for key, value in settings.items():
            self.hvadm("vm", "set", name, f"{key}={value}")

    def state(self, name):
        return self.json("vm", "show", name)["state"].lower()

    def wait_state(self, name, state, timeout=30):
        deadline = time.monotonic() + timeout
        while (now := self.state(name)) != state:
            assert time.monotonic() < deadline, f"{name} is {now}, not {state}\n{self.log()}"
            time.sleep(0.05)

    def worker_pid(self, name):
        return self.json("vm", "show", name)["worker_pid"]

    def put(self, name, content):
        """A file beside the images."""
        raise NotImplementedError

    def sh(self, command, timeout=60):
        """What a shell's command prints where the images are."""
        raise NotImplementedError

    def clock(self):
        """Seconds since 1970, there."""
        return float(self.sh("date +%s.%N"))


class Stack(Client):
    """vmmsd in session mode in a directory of its own; use as a context manager."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hvs."))
        self.env = dict(os.environ, HVADM_CONNECT=f"unix:{self.dir}/run/vmms.sock")
        self.daemon = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        try:
            if self.daemon and self.daemon.poll() is None:
                for vm in self.json("vm", "list"):
                    if vm["state"] != "off":
                        self.hvadm("vm", "off", vm["name"], check=False)
        finally:
            self.stop()
            shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        self.daemon = subprocess.Popen(
            [VMMSD, "--state-dir", self.dir / "state", "--runtime-dir", self.dir / "run",
             "--bus", "none"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.dir / "vmmsd.log", "ab"), start_new_session=True)
        deadline = time.monotonic() + 10
        while self.hvadm("host", "ping", check=False).returncode != 0:
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                raise AssertionError("vmmsd isn't ready:\n" + self.log())
            time.sleep(0.02)

    def stop(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(10)

    def kill(self):
        """kill -9, as the tests of recovery do."""
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def log(self):
        return (self.dir / "vmmsd.log").read_text(errors="replace")[-4000:]

    def hvadm(self, *words, check=True, timeout=60, **kwargs):
        done = subprocess.run([HVADM, *map(str, words)], env=self.env, text=True,
                              capture_output=True, timeout=timeout, **kwargs)
        return self.finish(words, done, check)

    def shell(self, name):
        return Shell(self, name)

    def put(self, name, content):
        (self.dir / name).write_bytes(content)

    def sh(self, command, timeout=60):
        return subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True,
                              timeout=timeout).stdout
