# SPDX-License-Identifier: Apache-2.0
"""A host with systemd, D-Bus, polkit and KVM that QEMU emulates, hvstack installed by `meson install`."""
import base64
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import time

from stack import BUILD, CACHE, GUEST, TOP, Client, Shell

SHELL_UNIT = """[Unit]
After=multi-user.target
[Service]
ExecStart=/bin/bash -c 'echo "guest: shell"; exec /bin/bash --norc --noediting'
StandardInput=tty-force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Environment=HOME=/root TERM=dumb SYSTEMD_COLORS=0 SYSTEMD_URLIFY=0 SYSTEMD_PAGER=cat PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
"""
KVM = ("virt/lib/irqbypass", "arch/x86/kvm/kvm", "arch/x86/kvm/kvm-amd")
VIRTIO = tuple(f"drivers/virtio/{m}" for m in ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
                                               "virtio_pci")) + ("drivers/block/virtio_blk",)


class Host:
    """The emulated machine; use as a context manager. `run` runs a command as root on it.

    files: content or path here, by path there. disk: an image of a file system that is /srv there."""

    def __init__(self, files=(), memory=2048, disk=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="hvhost."))
        self.files, self.memory, self.disk = dict(files), memory, disk
        self.modules = KVM + (VIRTIO if disk else ())
        self.shell = None
        # Its second serial port: what is said there is kept in a file.
        self.port = self.dir / "port"
        for way in ("in", "out"):
            os.mkfifo(f"{self.port}.{way}")
        self.keeper = subprocess.Popen(["cat", f"{self.port}.out"], stdout=open(self.port, "wb"))

    def __enter__(self):
        try:
            subprocess.run([TOP / "packaging/guest/prepare", GUEST, "cloud"], check=True)
            subprocess.run([TOP / "tests/nested/systemd-root", CACHE / "systemd"], check=True)
            self.boot(self.make_initrd())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.shell:
            self.shell.close()
        self.keeper.kill()
        self.keeper.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def make_initrd(self):
        """The root, and laid over it what an administrator would install, and the test's own files."""
        over = self.dir / "over"
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--strip"], check=True,
                       env=dict(os.environ, DESTDIR=str(over)), stdout=subprocess.DEVNULL)
        modules = over / "usr/lib/modules/test"
        modules.mkdir(parents=True)
        for module in self.modules:
            shutil.copy(GUEST / f"modules-cloud/kernel/{module}.ko", modules)
        self.put(over, "etc/systemd/system/test-shell.service", SHELL_UNIT)
        wants = over / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "test-shell.service").symlink_to("/etc/systemd/system/test-shell.service")
        for there, content in self.files.items():
            self.put(over, there, content)
        made = self.dir / "initrd"
        shutil.copy(CACHE / "systemd/root.cpio", made)
        names = "\n".join(["usr", *sorted(str(p.relative_to(over)) for p in over.rglob("*"))]) + "\n"
        archive = subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=over, check=True,
                                 input=names.encode(), capture_output=True).stdout
        with open(made, "ab") as file:
            file.write(bytes(-made.stat().st_size % 4) + archive)
        return made

    @staticmethod
    def put(over, there, content):
        path = over / there.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pathlib.Path):
            shutil.copy(content, path)
        else:
            path.write_text(content)

    def tsc_khz(self):
        probe = subprocess.run([BUILD / "vmwp/vmwp", "--probe"], check=True, capture_output=True).stdout
        return json.loads(probe).get("tsc_hz", 0) // 1000

    def boot(self, initrd):
        # Processors and clock: as in run-nested, for its reasons.
        words = ["taskset", "-c", str(max(os.sched_getaffinity(0))),
                 "qemu-system-x86_64", "-M", "q35", "-cpu", "max,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c,-vaes,-vpclmulqdq",
                 "-accel", "tcg,thread=multi", "-smp", "1", "-m", str(self.memory), "-nodefaults", "-no-user-config",
                 "-display", "none", "-no-reboot", "-serial", "stdio", "-chardev", f"pipe,id=port,path={self.port}", "-serial", "chardev:port",
                 "-kernel", GUEST / "vmlinuz-cloud", "-initrd", initrd,
                 "-append", "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on tsc=reliable no_timer_check "
                 f"tsc_early_khz={self.tsc_khz()} systemd.show_status=0 mitigations=off"]
        if self.disk:
            words += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe"]
        self.shell = Shell.__new__(Shell)
        self.shell.attach(words, None, self.dir / "console", r"^guest: (shell|ready)", 600)
        # Not to look for an event before it sleeps: on one processor nobody brings it meanwhile.
        names = " ".join(pathlib.PurePath(m).name for m in self.modules)
        self.run(f"cd /root; for m in {names}; do insmod /lib/modules/test/$m.ko "
                 "$([ $m != kvm ] || echo halt_poll_ns=0); done")
        if self.disk:
            self.run("mkdir -p /srv; mount -t ext4 /dev/vda /srv")

    def run(self, command, timeout=600, check=True):
        """What a command prints; it must end with status 0 unless check is off."""
        return self.shell.run(command, timeout, check)

    def take_out(self, folder, *names):
        """Copies of files in /srv, which is not to be had there any more."""
        self.run("umount /srv", 300)
        for name in names:
            subprocess.run(["debugfs", "-R", f"dump /{name} {folder}/{name}", self.disk], check=True, capture_output=True)

    def show(self, unit, name):
        """A property of a unit."""
        return self.run(f"systemctl show -P {name} '{unit}'").strip()

    def wait(self, command, timeout=60):
        """Until a command succeeds there; what it then prints."""
        deadline = time.monotonic() + timeout
        while True:
            out = self.run(f"{{ {command}; }} && echo @yes@", check=False)
            if out.endswith("@yes@"):
                return out.removesuffix("@yes@").strip("\n")
            assert time.monotonic() < deadline, f"{command!r} never succeeded:\n{out}\n" + self.run(
                "systemctl status --no-pager -l vmmsd.service; journalctl --no-pager -o short-monotonic -n 60", check=False)
            time.sleep(0.3)


class HostShell(Shell):
    """The shell of a VM on that host, whose console is joined to the host's second serial port."""

    pause_s = 0.1

    def __init__(self, stack, name, prompt=r"^guest: (shell|ready)", timeout=600):
        self.host = stack.host
        self.began = self.host.port.stat().st_size
        self.pid = self.host.run(f"stty -F /dev/ttyS1 raw -echo; (hvadm vm console {name} </dev/ttyS1 >/dev/ttyS1 2>/dev/null & "
                                 "echo $!)")
        self.sit_down(prompt, timeout)

    def is_over(self):
        return False

    def type(self, line):
        with open(f"{self.host.port}.in", "wb", buffering=0,
                  opener=lambda path, flags: os.open(path, flags & ~os.O_CREAT | os.O_NONBLOCK)) as port:
            port.write(line.encode() + b"\n")

    def text(self):
        return self.host.port.read_bytes()[self.began:].decode(errors="replace").replace("\r", "")

    def close(self):
        self.host.run(f"kill {self.pid}", check=False)


class HostStack(Client):
    """The service on that host, and hvadm there."""

    dir = pathlib.PurePosixPath("/srv")

    def __init__(self, host):
        self.host = host

    def hvadm(self, *words, check=True, timeout=60):
        line = shlex.join(["hvadm", *map(str, words)])
        said = self.host.run(f"{line} </dev/null >/run/said 2>/run/complained; echo $?; cat /run/said; echo @@@; "
                             "cat /run/complained", timeout + 600)
        status, _, said = said.partition("\n")
        out, _, complaint = said.partition("@@@")
        return self.finish(words, subprocess.CompletedProcess(line, int(status), out, complaint.strip()), check)

    def log(self):
        return self.host.run("journalctl --no-pager -o short-monotonic -n 60", check=False)

    def shell(self, name):
        return HostShell(self, name)

    def put(self, name, content):
        self.host.run(f"echo {base64.b64encode(content).decode()} | base64 -d >{self.dir / name}")

    def sh(self, command, timeout=60):
        return self.host.run(command, timeout)
