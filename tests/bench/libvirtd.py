# SPDX-License-Identifier: Apache-2.0
"""The peer: a libvirtd in a directory of its own, with its Unix socket, its TLS port and its certificates there."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

from stack import BUILD


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certify(folder, name, extensions):
    """A key and a certificate by the folder's CA."""
    key, request = folder / f"{name}key.pem", folder / f"{name}.csr"
    (folder / f"{name}.ext").write_text(extensions)
    for words in (["req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}"],
                  ["x509", "-req", "-in", request, "-CA", folder / "cacert.pem", "-CAkey", folder / "cakey.pem",
                   "-CAcreateserial", "-days", "2", "-extfile", folder / f"{name}.ext",
                   "-out", folder / f"{name}cert.pem"]):
        subprocess.run(["openssl", *words], check=True, capture_output=True)


def make_certificates(folder):
    folder.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench",
                    "-keyout", folder / "cakey.pem", "-out", folder / "cacert.pem",
                    "-addext", "keyUsage=critical,keyCertSign"], check=True, capture_output=True)
    usage = "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage="
    certify(folder, "server", f"{usage}serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")
    certify(folder, "client", f"{usage}clientAuth\n")


def is_answered(path):
    """Does somebody listen there? The socket alone may be a leftover."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class Libvirt:
    """libvirtd, with its Python binding and bench_libvirt as clients."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="lv."))
        self.pki = self.dir / "pki"
        self.port = free_port()
        make_certificates(self.pki)
        (self.dir / "conf").write_text(
            f'unix_sock_dir = "{self.dir}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
            f'listen_tls = 1\nlisten_tcp = 0\nlisten_addr = "127.0.0.1"\ntls_port = "{self.port}"\nauth_tls = "none"\n'
            f'ca_file = "{self.pki}/cacert.pem"\ncert_file = "{self.pki}/servercert.pem"\n'
            f'key_file = "{self.pki}/serverkey.pem"\nmax_clients = 5000\n')
        self.env = dict(os.environ, XDG_RUNTIME_DIR=str(self.dir), XDG_CONFIG_HOME=str(self.dir / "c"),
                        XDG_CACHE_HOME=str(self.dir / "h"), HOME=str(self.dir))
        self.process = None
        # libvirtd writes a guest's output through it, and systemd would have started it.
        self.logger = None
        if not is_answered("/run/libvirt/virtlogd-sock"):
            pathlib.Path("/run/libvirt").mkdir(exist_ok=True)
            self.logger = subprocess.Popen(["virtlogd"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        """A connection to it, and milliseconds from its exec."""
        began = time.perf_counter()
        self.process = subprocess.Popen(["libvirtd", "--listen", "--config", self.dir / "conf", "--pid-file", self.dir / "pid"],
                                        env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(self.dir / "log", "ab"), start_new_session=True)
        while True:
            try:
                connection = self.open()
                return connection, (time.perf_counter() - began) * 1000
            except ImportError as error:
                raise RuntimeError("python3-libvirt is for Debian's own Python: /usr/bin/python3 tests/bench/run") from error
            except Exception as error:
                if time.perf_counter() - began > 60:
                    raise RuntimeError(f"{error}\n{(self.dir / 'log').read_text()[-2000:]}") from error
                time.sleep(0.002)

    def uri(self, driver="qemu", path="system"):
        return f"{driver}+unix:///{path}?socket={self.dir}/libvirt-sock"

    def tls_uri(self):
        """Its driver of VMs that are only played: what is measured is the way to it."""
        return f"test+tls://127.0.0.1:{self.port}/default?pkipath={self.pki}"

    def open(self):
        import libvirt
        libvirt.registerErrorHandler(lambda *_: None, None)
        return libvirt.open(self.uri())

    def words(self, work, uri, *rest):
        return [BUILD / "tests/bench/bench_libvirt", work, uri, *map(str, rest)]

    def measure(self, work, uri, *rest):
        """What bench_libvirt prints, as numbers."""
        done = subprocess.run(self.words(work, uri, *rest), check=True, stdout=subprocess.PIPE, text=True)
        return [float(word) for word in done.stdout.split()]

    def virsh(self, *words):
        return ["/usr/bin/virsh", "-q", "-c", self.uri(), *words]

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
