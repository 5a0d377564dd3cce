# SPDX-License-Identifier: Apache-2.0
"""From afar: TLS, certificates, tokens, roles. Wrong input first, and each refusal by its name."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import readme
import service

CA_CONFIG = """
[ca]
default_ca = c
[c]
database = {dir}/index
serial = {dir}/serial
new_certs_dir = {dir}
default_md = sha256
policy = p
unique_subject = no
x509_extensions = client
[p]
commonName = supplied
[client]
extendedKeyUsage = {usage}
"""


def openssl(*args, **kwargs):
    done = subprocess.run(["openssl", *map(str, args)], text=True, capture_output=True, timeout=60, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """Key and certificate of one client, and what it does with them."""

    def __init__(self, remote, name, cert=None, key=None):
        self.remote, self.name = remote, name
        self.key, self.cert = key or remote.dir / f"{name}.key", cert

    def context(self):
        context = ssl.create_default_context(cafile=self.remote.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context

    def socket(self, context=None):
        raw = socket.create_connection(("127.0.0.1", self.remote.port), timeout=service.WAIT_S)
        return (context or self.context()).wrap_socket(raw, server_hostname="localhost")

    def connection(self):
        return service.Connection(self.socket())

    def websocket(self):
        return service.WebSocket(self.socket())

    def answer(self, body):
        with contextlib.closing(self.connection()) as connection:
            status, answer = connection.post(body if isinstance(body, bytes) else json.dumps(body).encode())
        assert status == 200, answer
        return json.loads(answer)

    def call(self, method, /, **params):
        answer = self.answer({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise service.RpcError(answer["error"])
        return answer["result"]

    def refusal(self, method, /, **params):
        """The message id with which a call is refused."""
        with pytest.raises(service.RpcError) as caught:
            self.call(method, **params)
        return caught.value.data["message_id"]


class Remote:
    def __init__(self, daemon, config=None):
        self.daemon, self.port, self.dir = daemon, free_port(), daemon.dir
        self.address = f"127.0.0.1:{self.port}"
        if config:
            config.write_text(f"[api]\nlisten = {self.address}\n")
        daemon.start(*(("--config", config) if config else ("--listen", self.address)))
        self.service = daemon.call("remote.init")
        self.ca = self.dir / "ca.pem"
        self.ca.write_text(self.service["authority"])

    def invite(self, name, role="viewer", **more):
        return self.daemon.call("remote.create_token", name=name, role=role, **more)["token"]

    def request(self, name):
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", self.dir / f"{name}.key", "-out", self.dir / f"{name}.csr")
        return (self.dir / f"{name}.csr").read_text()

    def nobody(self):
        return Client(self, "nobody")

    def enroll(self, name, role="viewer", **more):
        token = self.invite(name, role, **more)
        result = self.nobody().call("remote.enroll", token=token, csr=self.request(name))
        path = self.dir / f"{name}.pem"
        path.write_text(result["certificate"])
        return Client(self, name, path)

    def forge(self, name, start="20200101000000Z", end="20400101000000Z", usage="clientAuth"):
        """A certificate by the service's own authority, which knows nothing of it."""
        work = self.dir / f"forge-{name}"
        work.mkdir()
        (work / "index").touch()
        (work / "serial").write_text("1000\n")
        (work / "conf").write_text(CA_CONFIG.format(dir=work, usage=usage))
        self.request(name)
        authority = self.daemon.state / "remote/authority.pem"
        openssl("ca", "-batch", "-notext", "-config", work / "conf", "-in", self.dir / f"{name}.csr", "-out", work / "pem",
                "-keyfile", authority, "-cert", authority, "-startdate", start, "-enddate", end)
        return Client(self, name, work / "pem")

    def self_signed(self, name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", self.dir / f"{name}.key", "-out", self.dir / f"{name}.pem")
        return Client(self, name, self.dir / f"{name}.pem")


@pytest.fixture
def remote(stopped):
    return Remote(stopped)


# Enrolment


def test_nothing_is_served_before_init(stopped):
    port = free_port()
    stopped.start("--listen", f"127.0.0.1:{port}")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    with pytest.raises(service.RpcError) as caught:
        stopped.call("remote.create_token", name="a", role="viewer")
    assert caught.value.name == "InvalidState" and caught.value.data["message_id"] == "remote.init"


def test_listen_addresses_are_checked(stopped):
    for wrong in ("localhost", ":1", "localhost:0", "localhost:65536", "localhost:x", "localhost:"):
        assert stopped.fails("--listen", wrong)[0] == 2


def test_a_port_in_use_is_said(stopped):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = stopped.fails("--listen", f"127.0.0.1:{port}")
    assert status == 1 and f"127.0.0.1:{port}" in said and "in use" in said


# Other addresses, by a reload


def listen_on(daemon, config, *addresses):
    """What the reload says."""
    before = len(daemon.log_text())
    config.write_text("[api]\n" + "".join(f"listen = {address}\n" for address in addresses))
    daemon.process.send_signal(signal.SIGHUP)
    service.wait_until(lambda: "certificate was read anew" in daemon.log_text()[before:], "the reload")
    return daemon.log_text()[before:]


def is_served(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_reload_changes_where_clients_are_served_and_drops_nobody(stopped):
    config = stopped.dir / "vmmsd.conf"
    remote = Remote(stopped, config)
    ada = remote.enroll("ada", "administrator")
    old, new = remote.port, free_port()
    before = ada.websocket()
    said = listen_on(stopped, config, f"127.0.0.1:{new}")
    assert f"are served on 127.0.0.1:{new}" in said and f"no longer served on 127.0.0.1:{old}" in said
    assert "holds when" not in said and not is_served(old)
    remote.port = new
    assert ada.call("host.ping") and before.call("host.ping")
    assert stopped.call("remote.init")["addresses"] == [f"127.0.0.1:{new}"]
    # The port stays, the address does not; then nothing changes; then nothing is served.
    assert "are served on *:" in listen_on(stopped, config, f"*:{new}")
    assert ada.call("host.ping") and before.call("host.ping", None, 2)
    assert "served on" not in listen_on(stopped, config, f"*:{new}")
    listen_on(stopped, config)
    assert not is_served(new) and before.call("host.ping", None, 3)
    with pytest.raises(service.RpcError) as caught:
        stopped.call("remote.create_token", name="joe", role="viewer")
    assert caught.value.data["message_id"] == "remote.listen"
    listen_on(stopped, config, f"127.0.0.1:{new}")
    assert ada.call("host.ping") and before.call("host.ping", None, 4)


def test_an_address_that_cannot_be_had_leaves_those_that_are(stopped):
    config = stopped.dir / "vmmsd.conf"
    remote = Remote(stopped, config)
    ada = remote.enroll("ada")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, other = taken.getsockname()[1], free_port()
        said = listen_on(stopped, config, f"127.0.0.1:{other}", f"127.0.0.1:{port}")
    assert f"The addresses that are in use stay: Cannot listen on 127.0.0.1:{port}" in said
    assert ada.call("host.ping") and not is_served(other)
    assert stopped.call("remote.init")["addresses"] == [remote.address]


def test_who_served_nobody_by_tls_may_begin_with_it_at_a_reload(stopped):
    config = stopped.dir / "vmmsd.conf"
    config.write_text("")
    stopped.start("--config", config)
    stopped.call("remote.init")
    port = free_port()
    listen_on(stopped, config, f"127.0.0.1:{port}")
    assert is_served(port) and stopped.call("remote.create_token", name="joe", role="viewer")["token"]


def test_keys_are_for_nobody_else(remote):
    for path in (remote.daemon.state / "remote").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert (remote.daemon.state / "remote").stat().st_mode & 0o777 == 0o700


def test_init_twice_is_the_same_authority(remote):
    assert remote.daemon.call("remote.init") == remote.service


def test_enrolment_turns_a_token_into_an_identity(remote):
    joe = remote.enroll("joe")
    assert joe.call("host.hello")["caller"] == "cert:joe"
    listed = remote.daemon.call("remote.list")["identities"]
    assert [(i["name"], i["role"], i["state"]) for i in listed] == [("joe", "viewer", "enrolled")]
    assert [(e["type"], e["actor"]) for e in remote.daemon.events()] == [
        ("remote.invited", f"uid:{os.geteuid()}"), ("remote.enrolled", "cert:joe")]


def test_identities_and_certificates_survive_a_restart(remote):
    joe = remote.enroll("joe", "operator")
    remote.daemon.kill()
    remote.daemon.start("--listen", remote.address)
    assert joe.call("host.hello")["caller"] == "cert:joe"
    assert remote.daemon.call("remote.init") == remote.service


def test_a_token_works_once(remote):
    token, csr = remote.invite("joe"), remote.request("joe")
    remote.nobody().call("remote.enroll", token=token, csr=csr)
    assert remote.nobody().refusal("remote.enroll", token=token, csr=csr) == "remote.token.used"


def test_of_two_at_once_one_enrols(remote):
    token, csr = remote.invite("joe"), remote.request("joe")
    call = {"jsonrpc": "2.0", "method": "remote.enroll", "params": {"token": token, "csr": csr}}
    answers = remote.nobody().answer([{**call, "id": 1}, {**call, "id": 2}])
    assert sorted("result" in a for a in answers) == [False, True]


def test_wrong_tokens(remote):
    csr, nobody = remote.request("joe"), remote.nobody()
    old = remote.invite("joe")
    new = remote.invite("joe")
    for token in ("x", "hvt1-0-0", new[:-1], new + "0", old):
        assert nobody.refusal("remote.enroll", token=token, csr=csr) == "remote.token.unknown"
    short = remote.invite("jim", ttl_ms=1000)
    time.sleep(1.2)
    assert nobody.refusal("remote.enroll", token=short, csr=csr) == "remote.token.expired"
    remote.daemon.call("remote.revoke", name="joe")
    assert nobody.refusal("remote.enroll", token=new, csr=csr) == "remote.token.revoked"


def test_wrong_requests_leave_the_token_good(remote):
    token, csr, nobody = remote.invite("joe"), remote.request("joe"), remote.nobody()
    damaged = csr[:200] + ("A" if csr[200] != "A" else "B") + csr[201:]
    openssl("req", "-new", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=x", "-keyout", remote.dir / "w.key",
            "-out", remote.dir / "w.csr")
    for wrong in ("", "x", remote.service["authority"], damaged, (remote.dir / "w.csr").read_text()):
        assert nobody.refusal("remote.enroll", token=token, csr=wrong) == "remote.csr"
    nobody.call("remote.enroll", token=token, csr=csr)


def test_the_name_comes_from_the_token_alone(remote):
    token = remote.invite("joe")
    result = remote.nobody().call("remote.enroll", token=token, csr=remote.request("root"))
    assert result["name"] == "joe"
    subject = openssl("x509", "-noout", "-subject", "-ext", "extendedKeyUsage,basicConstraints", input=result["certificate"])
    assert "CN = joe" in subject and "CA:FALSE" in subject and "Server" not in subject


def test_names_that_are_none(remote):
    for name in ("a b", "a/b", "ä", "a" * 65, "a:b"):
        with pytest.raises(service.RpcError) as caught:
            remote.invite(name)
        assert caught.value.name == "InvalidParameter"
    remote.enroll("joe")
    with pytest.raises(service.RpcError) as caught:
        remote.invite("joe")
    assert caught.value.name == "AlreadyExists"


def test_tokens_are_not_kept(remote):
    token = remote.invite("joe")
    secret = token.rsplit("-", 1)[1].encode()
    for path in remote.daemon.state.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()
    assert secret.decode() not in remote.daemon.log_text()


# Certificates


def test_no_certificate_can_only_enrol(remote):
    nobody = remote.nobody()
    for method, params in (("host.ping", {}), ("vm.list", {}), ("no.such", {}), ("remote.list", {}), ("vm.get", {"x": 1})):
        assert nobody.refusal(method, **params) == "tls.certificate.missing"
    answer = nobody.answer(b"[]")
    assert answer["error"]["data"]["name"] == "InvalidRequest"


def test_each_wrong_certificate_is_refused_by_its_name(remote):
    cases = {
        "tls.certificate.expired": remote.forge("old", end="20210101000000Z"),
        "tls.certificate.not_yet_valid": remote.forge("early", start="20380101000000Z"),
        "tls.certificate.purpose": remote.forge("server", usage="serverAuth"),
        "tls.certificate.self_signed": remote.self_signed("self"),
        "remote.unknown": remote.forge("stranger"),
    }
    for check, client in cases.items():
        assert client.refusal("host.ping") == check
        assert client.refusal("remote.list") == check


def test_another_authority_is_refused(remote):
    other = remote.self_signed("other")
    remote.request("guest")
    openssl("x509", "-req", "-in", remote.dir / "guest.csr", "-CA", other.cert, "-CAkey", other.key, "-CAcreateserial",
            "-days", "10", "-out", remote.dir / "guest.pem")
    assert Client(remote, "guest", remote.dir / "guest.pem").refusal("host.ping") == "tls.certificate.authority"
    chain = remote.dir / "chain.pem"
    chain.write_text((remote.dir / "guest.pem").read_text() + other.cert.read_text())
    assert Client(remote, "guest", chain).refusal("host.ping") == "tls.certificate.authority"


def test_the_services_own_certificate_is_no_clients(remote):
    own = remote.daemon.state / "remote/server.pem"
    assert Client(remote, "own", own, own).refusal("host.ping") == "tls.certificate.purpose"


def test_a_bad_certificate_may_not_open_a_websocket(remote):
    for client in (remote.nobody(), remote.forge("stranger")):
        with contextlib.closing(client.connection()) as connection:
            connection.send(b"GET /rpc HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
            status, body = connection.response()
        assert status == 403 and b"certificate" in body


def test_tls_1_2_is_refused(remote):
    context = remote.nobody().context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError) as caught:
        remote.nobody().socket(context)
    assert "PROTOCOL_VERSION" in str(caught.value).upper()


def test_no_tickets_no_renegotiation(remote):
    said = openssl("s_client", "-connect", remote.address, "-CAfile", remote.ca, "-tls1_3", "-ign_eof",
                   input="GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "TLSv1.3" in said and "Verify return code: 0" in said
    assert "New Session Ticket" not in said and "404" in said


def test_no_tls_at_all(remote):
    with socket.create_connection(("127.0.0.1", remote.port), timeout=service.WAIT_S) as raw:
        raw.sendall(b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := raw.recv(4096):
                data += chunk
    assert b"HTTP" not in data


# Roles


ROLES = ("viewer", "operator", "administrator")
LEAST = {"host.read": 0, "vm.read": 0, "events.read": 0, "job.read": 0, "metrics.read": 0, "remote.refresh": 0, "vm.power": 1, "vm.console": 1,
         "vm.guest": 1, "job.cancel": 1}


def schema_methods():
    top = service.pathlib.Path(__file__).resolve().parents[2]
    for file in sorted((top / "schemas/api").glob("*.json")):
        schema = json.loads(file.read_text())
        for verb, method in schema.get("methods", {}).items():
            names_a_file = any(arg["type"] == "path" for arg in method["args"])
            yield f"{schema['noun']}.{verb}", "a file of the host" if names_a_file else method["right"]


def test_each_method_asks_for_its_right_before_its_arguments(remote):
    clients = [remote.enroll(role, role) for role in ROLES]
    methods = list(schema_methods())
    for rank, client in enumerate(clients):
        batch = [{"jsonrpc": "2.0", "id": i, "method": name, "params": {"wrong": 1}} for i, (name, _) in enumerate(methods)]
        answers = [a for at in range(0, len(batch), 40) for a in client.answer(batch[at:at + 40])]
        for (name, right), answer in zip(methods, answers):
            error = answer["error"]["data"]
            if right == "remote.enroll":
                assert error["message_id"] == "remote.role", name
            elif rank >= LEAST.get(right, 2):
                assert error["name"] == "InvalidParameter", (name, error)
            else:
                assert error["name"] == "AccessDenied" and error["message_id"] == "remote.role", (name, error)


def test_roles_do_what_they_may(remote):
    viewer, operator, administrator = (remote.enroll(role, role) for role in ROLES)
    vm = administrator.call("vm.create", name="one", settings={"boot.kernel": str(remote.daemon.kernel)})["vm"]
    assert viewer.call("vm.get", vm="one")["id"] == vm["id"]
    assert operator.call("vm.start", vm="one")["vm"]["state"] == "running"
    assert administrator.call("remote.list")["identities"]
    assert [e["actor"] for e in viewer.call("events.read")["events"] if e["type"] == "vm.created"] == ["cert:administrator"]
    operator.call("vm.turn_off", vm="one")
    assert operator.refusal("vm.delete", vm="one") == "remote.role"
    administrator.call("vm.delete", vm="one")


def test_a_batch_is_judged_call_by_call(remote):
    viewer = remote.enroll("joe")
    answers = viewer.answer([{"jsonrpc": "2.0", "id": 1, "method": "host.ping"},
                             {"jsonrpc": "2.0", "id": 2, "method": "vm.turn_off", "params": {"vm": "x"}},
                             {"jsonrpc": "2.0", "id": 3, "method": "vm.list"}])
    assert ["result" in a for a in answers] == [True, False, True]
    assert answers[1]["id"] == 2


def test_limited_to_one_vm(remote):
    mine, other = remote.daemon.create("mine"), remote.daemon.create("other")
    joe = remote.enroll("joe", "operator", vms=["mine"])
    boss = remote.enroll("boss", "administrator", vms=[mine["id"]])
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["mine"]
    assert [vm["name"] for vm in joe.call("vm.list", limit=1)["vms"]] == ["mine"]
    assert "next" not in joe.call("vm.list", limit=1)
    for ref in ("other", other["id"], "no-such-vm"):
        assert joe.refusal("vm.get", vm=ref) == "remote.vm"
        assert joe.refusal("vm.start", vm=ref) == "remote.vm"
    for method, params in (("vm.create", {"name": "x", "settings": {}}), ("remote.list", {}), ("remote.init", {})):
        assert boss.refusal(method, **params) == "remote.vm"
    joe.call("vm.start", vm="mine")
    remote.daemon.call("vm.start", vm="other")
    counted = [(host["vms"], host["vms_running"]) for host in (joe.call("host.get"), remote.daemon.call("host.get"))]
    assert counted == [(1, 1), (2, 2)]
    assert {e.get("vm") for e in joe.call("events.read")["events"]} == {mine["id"]}
    remote.daemon.call("vm.configure", vm="mine", settings={"name": "other2"})
    assert joe.call("vm.get", vm="other2")["id"] == mine["id"]


def test_events_of_others_are_not_streamed(remote):
    mine = remote.daemon.create("mine")
    joe = remote.enroll("joe", vms=["mine"])
    stream = joe.websocket()
    stream.call("events.subscribe", {"since": 1})
    remote.daemon.create("other")
    remote.daemon.call("vm.start", vm="mine")
    seen = []
    while "vm.state_changed" not in (e["type"] for e in seen):
        seen.append(json.loads(stream.message()[1])["params"])
    assert {e.get("vm") for e in seen} == {mine["id"]}


def put(remote, group, *members, kind="vm"):
    if group not in [g["name"] for g in remote.daemon.call("group.list")["groups"]]:
        remote.daemon.call("group.create", name=group, kind=kind)
    for member in members:
        remote.daemon.call("group.add_member", group=group, member=member)


def test_limited_to_a_group_whatever_is_in_it_just_now(remote):
    mine, other = remote.daemon.create("mine"), remote.daemon.create("other")
    put(remote, "front", "mine")
    joe = remote.enroll("joe", "operator", groups=["front"])
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["mine"]
    assert joe.call("vm.start", vm="mine")["vm"]["groups"] == ["front"]
    for ref in ("other", other["id"], "no-such-vm"):
        assert joe.refusal("vm.get", vm=ref) == "remote.vm"
    # Who comes is seen with the next call, who goes is not.
    put(remote, "front", "other")
    assert joe.call("vm.start", vm="other")["vm"]["state"] == "running"
    remote.daemon.call("group.remove_member", group="front", member="mine")
    assert joe.refusal("vm.turn_off", vm="mine") == "remote.vm"
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["other"]
    listed = {i["name"]: i for i in remote.daemon.call("remote.list")["identities"]}["joe"]
    assert listed["vms"] == [] and listed["groups"] == [remote.daemon.call("group.get", group="front")["id"]]
    assert mine["id"] not in {e.get("vm") for e in joe.call("events.read")["events"] if e["type"].startswith("vm.")}
    remote.daemon.call("group.delete", group="front")
    assert joe.call("vm.list")["vms"] == [] and joe.refusal("vm.get", vm="other") == "remote.vm"


def test_limited_by_a_management_group(remote):
    for vm in ("mine", "yours", "other", "own"):
        remote.daemon.create(vm)
    put(remote, "front", "mine")
    put(remote, "back", "yours")
    put(remote, "inner", "front", kind="management")
    put(remote, "all", "inner", "back", kind="management")
    joe = remote.enroll("joe", "operator", groups=["all"], vms=["own"])
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["mine", "own", "yours"]
    assert [vm["name"] for vm in joe.call("vm.list", filter={"group": "inner"})["vms"]] == ["mine"]
    remote.daemon.call("group.remove_member", group="all", member="inner")
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["own", "yours"]
    assert joe.refusal("vm.start", vm="mine") == "remote.vm"


def test_groups_that_are_not_ones_own_are_not_told_of(remote):
    for vm in ("mine", "other"):
        remote.daemon.create(vm)
    put(remote, "front", "mine")
    put(remote, "secret", "mine", "other")
    put(remote, "above", "front", kind="management")
    joe, ann = remote.enroll("joe", groups=["front"]), remote.enroll("ann", vms=["mine"])
    assert joe.call("vm.get", vm="mine")["groups"] == ["front"] and ann.call("vm.get", vm="mine")["groups"] == []
    assert [g["name"] for g in joe.call("group.list")["groups"]] == ["front"] and ann.call("group.list")["groups"] == []
    for client, groups in ((joe, ("secret", "above", "nothing")), (ann, ("front", "secret", "nothing"))):
        for group in groups:
            assert client.refusal("group.get", group=group) == "group.not_found"
            assert client.refusal("vm.list", filter={"group": group}) == "group.not_found"
    remote.daemon.call("group.configure", group="secret", notes="x")
    assert {e["object"] for e in joe.call("events.read")["events"] if e["type"].startswith("group.")} == {
        joe.call("group.get", group="front")["id"]}
    assert not [e for e in ann.call("events.read")["events"] if e["type"].startswith("group.")]


def test_nobody_who_is_limited_widens_his_own_rights(remote):
    for vm in ("mine", "other"):
        remote.daemon.create(vm)
    put(remote, "front", "mine")
    put(remote, "all", kind="management")
    boss = remote.enroll("boss", "administrator", groups=["front", "all"])
    for method, params in (("group.add_member", {"group": "front", "member": "other"}), ("group.create", {"name": "x"}),
                           ("group.remove_member", {"group": "front", "member": "mine"}), ("group.delete", {"group": "front"}),
                           ("group.configure", {"group": "front", "name": "x"}), ("group.add_member", {"group": "all", "member": "front"}),
                           ("tx.apply", {"ops": [{"method": "vm.delete", "params": {"vm": "mine"}}]}),
                           ("tx.plan", {"method": "group.add_member", "params": {"group": "front", "member": "other"}}),
                           ("remote.create_token", {"name": "x", "role": "administrator"})):
        assert boss.refusal(method, **params) == "remote.vm", method
    viewer = remote.enroll("ada", "operator")
    assert viewer.refusal("group.add_member", group="front", member="other") == "remote.role"
    assert [g["size"] for g in remote.daemon.call("group.list")["groups"]] == [0, 1]


def test_streams_follow_who_is_in_a_group(remote):
    for vm in ("mine", "other"):
        remote.daemon.create(vm)
        remote.daemon.call("vm.start", vm=vm)
    put(remote, "front", "mine", "other")
    joe = remote.enroll("joe", "operator", groups=["front"])
    console, events = joe.websocket(), joe.websocket()
    console.call("vm.console", {"vm": "mine"})
    events.call("events.subscribe", {})
    remote.daemon.call("group.remove_member", group="front", member="mine")
    while (said := console.message())[0] != 1:
        pass
    assert json.loads(said[1])["params"]["reason"] == "access_denied"
    with pytest.raises(EOFError):
        while True:
            console.message()
    remote.daemon.call("vm.turn_off", vm="mine")
    remote.daemon.call("vm.turn_off", vm="other")
    seen = []
    while not seen or seen[-1]["type"] != "vm.state_changed":
        seen.append(json.loads(events.message()[1])["params"])
    assert [e["type"] for e in seen][0] == "group.member_removed" and {e["vm_name"] for e in seen[1:]} == {"other"}


def test_a_limit_to_groups_is_kept_and_needs_them_to_be_there(remote):
    with pytest.raises(service.RpcError) as caught:
        remote.invite("joe", groups=["nothing"])
    assert caught.value.name == "NotFound" and caught.value.field == "groups"
    for vm in ("mine", "own", "other"):
        remote.daemon.create(vm)
    assert remote.enroll("none", groups=[]).call("vm.list")["vms"] == []
    put(remote, "front", "mine")
    put(remote, "all", "front", kind="management")
    joe = remote.enroll("joe", groups=["all"], vms=["own"])
    remote.daemon.kill()
    remote.daemon.start("--listen", remote.address)
    assert [vm["name"] for vm in joe.call("vm.list")["vms"]] == ["mine", "own"]


def test_a_limit_to_vms_that_are_not_there(remote):
    with pytest.raises(service.RpcError) as caught:
        remote.invite("joe", vms=["nothing"])
    assert caught.value.name == "NotFound"
    assert remote.enroll("none", vms=[]).call("vm.list")["vms"] == []


def test_rates_are_limited_and_say_when_to_try_again(remote):
    joe = remote.enroll("joe", "operator")
    batch = [{"jsonrpc": "2.0", "id": i, "method": "vm.turn_off", "params": {"vm": "x"}} for i in range(50)]
    with contextlib.closing(joe.connection()) as connection:
        answers = [a for _ in range(10) for a in json.loads(connection.post(json.dumps(batch).encode())[1])]
    refused = [a["error"]["data"] for a in answers if a["error"]["data"]["name"] == "RateLimited"]
    assert len(refused) > 200 and len(answers) - len(refused) >= 200
    assert all(1 <= r["retry_ms"] <= 1000 for r in refused)
    assert joe.call("host.ping")
    time.sleep(refused[-1]["retry_ms"] / 1000 + 0.05)
    assert joe.refusal("vm.turn_off", vm="x") == "vm.not_found"


# Streams, revocation, reload


def test_a_console_over_tls(remote):
    remote.daemon.create("one")
    joe = remote.enroll("joe", "operator")
    joe.call("vm.start", vm="one")
    console = joe.websocket()
    console.call("vm.console", {"vm": "one"})
    console.frame(2, b"echo hello\n")
    console.read_until(b"hello")


def test_revoking_ends_open_connections(remote):
    joe, jim = remote.enroll("joe"), remote.enroll("jim")
    stream, idle, other = joe.websocket(), joe.connection(), jim.websocket()
    stream.call("events.subscribe")
    assert remote.daemon.call("remote.revoke", name="joe")["state"] == "revoked"
    for connection in (stream, idle):
        with pytest.raises((EOFError, OSError)):
            while True:
                connection.read_some()
    assert joe.refusal("host.ping") == "tls.certificate.revoked"
    assert other.call("host.ping")
    assert remote.daemon.call("remote.list")["identities"][1]["connections"] == 0


def test_who_was_revoked_can_be_invited_anew(remote):
    joe = remote.enroll("joe")
    remote.daemon.call("remote.revoke", name="joe")
    again = remote.enroll("joe", "operator")
    assert again.call("host.ping")
    assert Client(remote, "old", joe.cert, joe.key)
    with pytest.raises(service.RpcError):
        remote.daemon.call("remote.revoke", name="nobody")


def server_serial(client):
    with contextlib.closing(client.socket()) as connection:
        return connection.getpeercert()["serialNumber"]


def test_renewing_the_services_certificate_keeps_connections(remote):
    joe = remote.enroll("joe")
    stream, before = joe.websocket(), server_serial(joe)
    renewed = remote.daemon.call("remote.renew", names=["vm.example"])
    assert "vm.example" in renewed["names"] and renewed["authority"] == remote.service["authority"]
    assert server_serial(joe) != before
    assert stream.call("host.ping")


def test_reload_takes_good_files_and_keeps_what_it_has_with_bad_ones(remote):
    joe = remote.enroll("joe")
    stream, before = joe.websocket(), server_serial(joe)
    path = remote.daemon.state / "remote/server.pem"
    good = path.read_bytes()
    for bad in (b"", b"x", good[:300], (remote.daemon.state / "remote/authority.pem").read_bytes()):
        path.write_bytes(bad)
        said = remote.daemon.log_text().count("stays")
        remote.daemon.process.send_signal(signal.SIGHUP)
        service.wait_until(lambda: remote.daemon.log_text().count("stays") > said, "the refusal")
        assert server_serial(joe) == before
    path.write_bytes(good)
    remote.daemon.process.send_signal(signal.SIGHUP)
    service.wait_until(lambda: "read anew" in remote.daemon.log_text(), "the reload")
    assert stream.call("host.ping") and joe.call("host.ping")


def test_refreshing_ones_certificate(remote):
    joe = remote.enroll("joe")
    answer = joe.call("remote.refresh", csr=remote.request("joe2"))
    (remote.dir / "joe2.pem").write_text(answer["certificate"])
    new = Client(remote, "joe2", remote.dir / "joe2.pem")
    assert joe.call("host.ping")
    assert new.call("host.hello")["caller"] == "cert:joe"
    service.wait_until(lambda: attempt(joe) == "remote.unknown", "the old certificate to end")
    assert new.call("host.ping")


def attempt(client):
    try:
        client.call("host.ping")
    except service.RpcError as error:
        return error.data["message_id"]
    return None


# Abuse


@pytest.mark.parametrize("junk, status", [(b"BREW /rpc HTTP/1.1\r\n\r\n", 400), (b"GET /" + b"y" * 20000, 431)], ids=["method", "path"])
def test_what_is_no_head_of_a_request_is_refused(remote, junk, status):
    with contextlib.closing(remote.enroll("joe").connection()) as connection:
        connection.send(junk)
        assert connection.response()[0] == status
        with pytest.raises(EOFError):
            connection.read_some()


def test_slow_handshakes_hurt_nobody(remote):
    joe = remote.enroll("joe")
    slow = [socket.create_connection(("127.0.0.1", remote.port)) for _ in range(300)]
    for one in slow:
        one.send(b"\x16")
    assert joe.call("host.ping")
    time.sleep(11)
    ended = 0
    for one in slow:
        one.settimeout(2)
        with contextlib.suppress(OSError):
            ended += one.recv(1) == b""
        one.close()
    assert ended >= 250


def test_half_requests_and_oversized_bodies(remote):
    joe = remote.enroll("joe")
    with contextlib.closing(joe.connection()) as half:
        half.send(b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert joe.call("host.ping")
    for client, length in ((joe, (1 << 20) + 1), (remote.nobody(), 16385)):
        with contextlib.closing(client.connection()) as connection:
            connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            assert connection.response()[0] == 413
    with contextlib.closing(joe.connection()) as connection:
        body = b" " * ((1 << 20) - 2) + b"{}"
        assert connection.post(body)[0] == 200


def test_large_answers_and_slow_readers(remote):
    joe = remote.enroll("joe", "administrator")
    for i in range(40):
        remote.daemon.create(f"vm{i}", notes="x" * 4000)
    with contextlib.closing(joe.connection()) as connection:
        call = {"jsonrpc": "2.0", "id": 1, "method": "vm.list"}
        body = json.dumps([call] * 20).encode()
        connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        time.sleep(1)
        status, answer = connection.response()
    assert status == 200 and len(json.loads(answer)) == 20


class SaysAll:
    """A TLS client that says what it has to say, then that no more will come, in one go."""

    def __init__(self, client):
        self.socket = socket.create_connection(("127.0.0.1", client.remote.port), timeout=service.WAIT_S)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = client.context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        while not self.drive(self.tls.do_handshake):
            self.take()
        self.socket.sendall(self.outgoing.read())

    def drive(self, step):
        with contextlib.suppress(ssl.SSLWantReadError):
            step()
            return True
        self.socket.sendall(self.outgoing.read())
        return False

    def take(self):
        data = self.socket.recv(65536)
        assert data, "the end instead of an answer"
        self.incoming.write(data)

    def say(self, data, farewell):
        self.tls.write(data)
        if farewell:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
        self.socket.sendall(self.outgoing.read())
        self.socket.shutdown(socket.SHUT_WR)

    def hear(self, end):
        data = b""
        while not data.endswith(end):
            try:
                data += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.take()
        return data


@pytest.mark.parametrize("farewell", [True, False], ids=["close_notify", "fin"])
@pytest.mark.parametrize("method, params", [("host.ping", {}), ("vm.create", {"name": "last"})])
def test_a_client_that_has_said_all_gets_its_answer(remote, method, params, farewell):
    client = SaysAll(remote.enroll("joe", "administrator"))
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    client.say(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body, farewell)
    assert b'"result"' in client.hear(b"}}")
    client.socket.settimeout(service.WAIT_S)
    while client.socket.recv(65536):
        pass
    client.socket.close()


def test_many_connections(remote):
    joe = remote.enroll("joe")
    many = []
    for _ in range(300):  # who has asked something may be silent for long, however slow the others come
        many.append(joe.connection())
        assert many[-1].post(b'{"jsonrpc":"2.0","id":1,"method":"host.ping"}')[0] == 200
    assert remote.daemon.call("remote.list")["identities"][0]["connections"] == 300
    for connection in many:
        connection.close()
    service.wait_until(lambda: remote.daemon.call("remote.list")["identities"][0]["connections"] == 0, "them to be gone")


def test_strangers_do_not_keep_clients_out(remote):
    joe, nobody = remote.enroll("joe"), remote.nobody()
    kept = joe.connection()
    assert kept.post(b'{"jsonrpc":"2.0","id":1,"method":"host.ping"}')[0] == 200
    strangers = [nobody.connection() for _ in range(256)]
    time.sleep(2.2)
    for _ in range(20):
        strangers.append(nobody.connection())
    assert joe.call("host.ping") and remote.daemon.call("host.ping")
    assert kept.post(b'{"jsonrpc":"2.0","id":1,"method":"host.ping"}')[0] == 200
    ended = 0
    for stranger in strangers[:20]:
        stranger.socket.settimeout(1)
        with contextlib.suppress(EOFError, OSError):
            stranger.read_some()
            continue
        ended += 1
    assert ended >= 20
    for stranger in strangers:
        stranger.close()


def test_clients_at_once_get_their_own_answers(remote):
    joe, wrong = remote.enroll("joe"), []

    def ask(number):
        with contextlib.closing(joe.connection()) as connection:
            for i in range(20):
                body = json.dumps({"jsonrpc": "2.0", "id": [number, i][1] + number * 1000, "method": "host.ping"})
                if json.loads(connection.post(body.encode())[1])["id"] != i + number * 1000:
                    wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_clients_come_and_go_while_workers_are_started(remote):
    """A child that is just being started has copies of all descriptors: what happens to one that the service has closed is
    nobody else's matter, neither that of a client nor of a worker."""
    joe, is_over, faults = remote.enroll("joe"), threading.Event(), []
    remote.daemon.create("web")

    def come_and_go(call):
        while not is_over.is_set() and not faults:
            try:
                call("host.ping")
            except Exception as fault:
                faults.append(fault)

    threads = [threading.Thread(target=come_and_go, args=(call,)) for call in (joe.call, remote.daemon.call) * 2]
    for thread in threads:
        thread.start()
    try:
        for _ in range(400):
            remote.daemon.call("vm.start", vm="web")
            assert remote.daemon.state_of("web") == "running"
            remote.daemon.call("vm.turn_off", vm="web")
            if faults:
                break
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not faults


def test_a_busy_client_waits_for_itself_alone(remote):
    busy, other = remote.enroll("busy", "operator"), remote.enroll("other")
    remote.daemon.create("slow", **{"boot.cmdline": "slow=2500"})
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.start", "params": {"vm": "slow"}}).encode()
    many = [busy.connection() for _ in range(32)]
    for connection in many:
        connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    service.wait_until(lambda: remote.daemon.state_of("slow") == "starting", "the start")
    time.sleep(0.5)
    assert other.call("host.ping")
    waiting = busy.connection()
    ping = b'{"jsonrpc":"2.0","id":1,"method":"host.ping"}'
    waiting.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(ping)}\r\n\r\n".encode() + ping)
    waiting.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting.response()
    waiting.socket.settimeout(service.WAIT_S)
    assert waiting.response()[0] == 200
    assert all(connection.response()[0] == 200 for connection in many)


def test_refusals_are_logged_but_not_without_end(remote):
    joe = remote.enroll("joe")
    batch = [{"jsonrpc": "2.0", "id": i, "method": "vm.delete", "params": {"vm": "x"}} for i in range(50)]
    joe.answer(batch)
    joe.answer(batch)
    said = remote.daemon.log_text()
    assert "A call by cert:joe was refused: The role of joe is viewer" in said
    assert 1 <= said.count("was refused") <= 40


def test_noise_instead_of_tls(remote):
    joe = remote.enroll("joe")
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", remote.port)) as noise:
            noise.sendall(os.urandom(300))
    for _ in range(50):
        with contextlib.closing(joe.connection()) as connection:
            connection.send(os.urandom(500))
    assert joe.call("host.ping")


# Clients


def test_curl(remote):
    joe = remote.enroll("joe")
    done = subprocess.run(["curl", "-sS", "--cacert", remote.ca, "--cert", joe.cert, "--key", joe.key,
                           f"https://{remote.address}/rpc", "-d", '{"jsonrpc":"2.0","id":1,"method":"host.ping"}'],
                          capture_output=True, text=True, timeout=60)
    assert "version" in json.loads(done.stdout)["result"]


class Hvadm:
    """hvadm on another machine: with a home of its own."""

    def __init__(self, remote, name="home", address=None):
        self.remote, self.home = remote, remote.dir / name
        self.home.mkdir()
        self.address = address or f"localhost:{remote.port}"

    def environment(self):
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "HVADM_CONNECT": f"https://{self.address}"}

    def command(self, *args):
        return [self.remote.daemon.build / "cli/hvadm", *args]

    def run(self, *args, **kwargs):
        return subprocess.run(self.command(*args), env=self.environment(), text=True, timeout=60,
                              capture_output=True, **kwargs)

    def does(self, *args, **kwargs):
        done = self.run(*args, **kwargs)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, status, sentence, *args):
        done = self.run(*args)
        assert done.returncode == status and sentence in done.stderr, (done.returncode, done.stderr)

    def folder(self):
        return self.home / ".config/hvstack" / self.address.replace(":", "_")


@pytest.fixture
def hvadm(remote):
    return Hvadm(remote)


def invited(remote, name, *options):
    """What `remote invite` prints: the words of the command for the client."""
    done = remote.daemon.hvadm("remote", "invite", name, *options)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    assert words[:3] == ["hvadm", "remote", "enroll"] and words[3] == remote.address
    return words[4]


def test_hvadm_from_init_to_a_console_over_tls(stopped):
    port = free_port()
    stopped.start("--listen", f"localhost:{port}")
    assert "listens on" in stopped.hvadm("remote", "init", "--name", "host.example").stdout
    assert "host.example" in stopped.hvadm("remote", "show").stdout
    done = stopped.hvadm("remote", "invite", "joe", "--role", "administrator", "--ttl", "5m")
    address, token = done.stdout.split()[3:]
    assert address == f"host.example:{port}" and "joe" in done.stderr
    remote = object.__new__(Remote)
    remote.daemon, remote.dir, remote.port = stopped, stopped.dir, port
    hvadm = Hvadm(remote)
    said = hvadm.does("remote", "enroll", hvadm.address, token)
    assert "administrator" in said and str(hvadm.folder()) in said
    for file in hvadm.folder().iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert hvadm.folder().stat().st_mode & 0o777 == 0o700
    hvadm.does("vm", "create", "one", "--kernel", str(stopped.kernel))
    hvadm.does("vm", "start", "one")
    assert "one" in hvadm.does("vm", "list")
    hvadm.does("vm", "wait", "one", "--for", "running")
    stopped.type("one", "echo hello\n").read_until(b"hello")
    assert "hello" in hvadm.does("vm", "console", "one", "--log")
    hvadm.does("vm", "off", "one")
    assert "cert:joe" in hvadm.does("--json", "events")
    assert "joe" in hvadm.does("remote", "list")
    assert "host.example" in hvadm.does("remote", "renew", "service")
    done = subprocess.run(["curl", "-sS", "--cacert", hvadm.folder() / "ca.pem", "--cert", hvadm.folder() / "client.pem",
                           f"https://{hvadm.address}/rpc", "-d", '{"jsonrpc":"2.0","id":1,"method":"host.hello"}'],
                          capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["result"]["caller"] == "cert:joe"


def test_hvadm_follows_events_over_tls_until_it_is_revoked(remote, hvadm):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    follower = subprocess.Popen(hvadm.command("--json", "events", "--follow"), env=hvadm.environment(), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    service.wait_until(lambda: [i["connections"] for i in remote.daemon.call("remote.list")["identities"]] != [0], "it")
    time.sleep(0.3)
    for i in range(100):
        remote.daemon.create(f"vm{i}")
    seen = [json.loads(follower.stdout.readline())["vm_name"] for _ in range(100)]
    assert seen == [f"vm{i}" for i in range(100)]
    assert remote.daemon.hvadm("remote", "revoke", "joe").returncode == 0
    assert follower.wait(service.WAIT_S) != 0
    hvadm.fails(4, "revoked", "vm", "list")
    hvadm.fails(4, "revoked", "events", "--follow")


def test_hvadm_limited_to_a_vm(remote, hvadm):
    remote.daemon.create("mine")
    remote.daemon.create("other")
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "operator", "--vm", "mine"))
    assert "other" not in hvadm.does("vm", "list")
    hvadm.does("vm", "start", "mine")
    hvadm.fails(4, "limited to certain VMs", "vm", "start", "other")
    hvadm.fails(4, "role of joe is operator", "vm", "delete", "mine")
    assert " 1 " in remote.daemon.hvadm("remote", "list").stdout


def test_hvadm_limited_to_a_group(remote, hvadm):
    remote.daemon.create("mine")
    remote.daemon.create("other")
    put(remote, "front", "mine")
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "operator", "--group", "front"))
    assert "other" not in hvadm.does("vm", "list")
    assert hvadm.does("vm", "start", "--group", "front").split() == ["mine", "running"]
    hvadm.fails(4, "limited to certain VMs", "vm", "start", "other")
    hvadm.fails(4, "role of joe is operator", "group", "add", "front", "other")
    hvadm.fails(2, "no group", "vm", "start", "--group", "back")
    assert " 0       1 " in remote.daemon.hvadm("remote", "list").stdout
    console = subprocess.Popen(hvadm.command("vm", "console", "mine"), env=hvadm.environment(), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert console.stdout.readline() == "hello from the fake\n"
    remote.daemon.kill()
    assert "gone away" in console.stderr.readline()
    remote.daemon.start("--listen", remote.address)
    assert "is back" in console.stderr.readline()
    remote.daemon.call("group.remove_member", group="front", member="mine")
    told, said = console.communicate(timeout=service.WAIT_S)
    assert console.returncode == 4 and not told and "console of mine may not be seen any more" in said


def test_hvadm_renews_its_own_certificate(remote, hvadm):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    before = (hvadm.folder() / "client.pem").read_text()
    assert "joe" in hvadm.does("remote", "renew")
    after = (hvadm.folder() / "client.pem").read_text()
    assert before != after
    hvadm.does("vm", "list")
    service.wait_until(lambda: hvadm_with(hvadm, before).returncode == 4, "the old certificate to end")


@pytest.mark.parametrize("dates, sentence", [({"end": "20210101000000Z"}, "certificate has expired"),
                                             ({"start": "20380101000000Z"}, "certificate is not valid yet")])
def test_hvadm_says_that_its_own_certificate_is_out_of_its_time(remote, hvadm, dates, sentence):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    forged = remote.forge("joe2", **dates)
    (hvadm.folder() / "client.pem").write_text(forged.cert.read_text() + forged.key.read_text())
    for words in (("vm", "list"), ("events", "--follow"), ("vm", "console", "web"), ("top", "--once")):
        hvadm.fails(4, sentence, *words)


def hvadm_with(hvadm, identity):
    path = hvadm.folder() / "client.pem"
    kept = path.read_text()
    path.write_text(identity)
    done = hvadm.run("vm", "list")
    path.write_text(kept)
    return done


def test_hvadm_says_why_it_cannot_enrol(remote, hvadm):
    token = invited(remote, "joe", "--role", "viewer")
    hvadm.fails(2, "not HOST:PORT", "remote", "enroll", "localhost", token)
    hvadm.fails(2, "no token", "remote", "enroll", hvadm.address, "x")
    hvadm.fails(5, "refused", "remote", "enroll", f"localhost:{free_port()}", token)
    other = token[:6] + ("0" if token[6] != "0" else "1") + token[7:]
    hvadm.fails(4, "not the service that made this token", "remote", "enroll", hvadm.address, other)
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    hvadm.fails(4, "not known", "remote", "enroll", hvadm.address, wrong)
    assert not hvadm.folder().exists()
    hvadm.does("remote", "enroll", hvadm.address, token)
    hvadm.fails(4, "used already", "remote", "enroll", hvadm.address, token)
    assert Hvadm(remote, "elsewhere").run("vm", "list").returncode == 4
    Hvadm(remote, "stranger").fails(4, "no certificate for", "vm", "list")


def test_hvadm_says_why_it_does_not_believe_the_service(remote, hvadm):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    ca, client = hvadm.folder() / "ca.pem", hvadm.folder() / "client.pem"
    good_ca, good_client = ca.read_text(), client.read_text()
    ca.write_text(remote.self_signed("other").cert.read_text())
    hvadm.fails(4, "another authority", "vm", "list")
    ca.write_text("x")
    hvadm.fails(4, "authority's certificate kept here", "vm", "list")
    ca.write_text(good_ca)
    client.write_text("x")
    hvadm.fails(4, "key and certificate kept here", "vm", "list")
    client.write_text(good_client)
    hvadm.does("vm", "list")
    named = Hvadm(remote, "named", f"127.0.0.2:{remote.port}")
    named.folder().parent.mkdir(parents=True)
    os.symlink(hvadm.folder(), named.folder())
    done = named.run("vm", "list")
    assert done.returncode in (4, 5) and "127.0.0.2" in done.stderr


@pytest.mark.parametrize("name, sentence", [("expired", "expired"), ("early", "not valid yet"), ("purpose", "not one for services"),
                                            ("name", "not good for the name")])
def test_hvadm_names_what_is_wrong_with_the_services_certificate(remote, hvadm, name, sentence):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    dates = {"expired": {"end": "20210101000000Z"}, "early": {"start": "20380101000000Z"}}.get(name, {})
    usage = "clientAuth" if name == "purpose" else "serverAuth\nsubjectAltName=DNS:" + ("x" if name == "name" else "localhost")
    bad = remote.forge("bad", usage=usage, **dates)
    port = free_port()
    served = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", bad.cert, "-key", bad.key, "-quiet",
                               "-tls1_3"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        service.wait_until(lambda: listens(port), "s_server")
        there = Hvadm(remote, "there", f"localhost:{port}")
        there.folder().parent.mkdir(parents=True)
        os.symlink(hvadm.folder(), there.folder())
        there.fails(4, sentence, "vm", "list")
    finally:
        served.kill()
        served.wait()


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_hvadm_wants_tls_1_3(remote, hvadm):
    hvadm.does("remote", "enroll", hvadm.address, invited(remote, "joe", "--role", "viewer"))
    own = remote.daemon.state / "remote/server.pem"
    port = free_port()
    served = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", own, "-key", own, "-quiet", "-tls1_2"],
                              stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        service.wait_until(lambda: listens(port), "s_server")
        there = Hvadm(remote, "there", f"localhost:{port}")
        there.folder().parent.mkdir(parents=True)
        os.symlink(hvadm.folder(), there.folder())
        there.fails(4, "TLS 1.3", "vm", "list")
    finally:
        served.kill()
        served.wait()


def run_script(text, environment):
    done = subprocess.run(["bash", "-euxc", text], env=environment, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_commands_do_what_they_say(stopped):
    port = free_port()
    stopped.start("--listen", f"*:{port}")
    stopped.create("web")
    path = f"{stopped.build / 'cli'}:{os.environ['PATH']}"
    here = {"PATH": path, "HOME": "/nowhere", "HVADM_CONNECT": f"unix:{stopped.socket}"}
    token = run_script(readme.block("hvadm remote init"), here).split()[-1]
    there = {"PATH": path, "HOME": str(stopped.dir / "home")}
    script = readme.block("hvadm remote enroll", {"HOST:8443": f"localhost:{port}", "HOST_8443": f"localhost_{port}",
                                                  "TOKEN": token})
    said = run_script(script, there)
    assert "operator" in said and json.loads(said.splitlines()[-1])["result"]["vms"][0]["name"] == "web"
    run_script("hvadm remote list; hvadm remote revoke ada", here)
    assert subprocess.run(["bash", "-c", f"hvadm --connect https://localhost:{port} vm list"], env=there,
                          capture_output=True, timeout=60).returncode == 4


def read_metrics(client):
    with client.socket() as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode()


def test_metrics_are_for_who_may_read_them_and_of_the_vms_that_he_sees(remote):
    for name in ("mine", "other"):
        remote.daemon.create(name)
    told = read_metrics(remote.enroll("all"))
    assert told.startswith("HTTP/1.1 200") and 'name="mine"' in told and 'name="other"' in told
    told = read_metrics(remote.enroll("ada", vms=["mine"]))
    assert 'name="mine"' in told and 'name="other"' not in told
    told = read_metrics(remote.nobody())
    assert told.startswith("HTTP/1.1 403") and "hvstack_" not in told
