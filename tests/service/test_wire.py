# SPDX-License-Identifier: Apache-2.0
"""What strangers may send: malformed, oversized, half, too much. The service stays, and says why."""

import contextlib
import json
import os
import resource
import socket
import subprocess
import time

import pytest

from service import Connection, WebSocket

PING = {"jsonrpc": "2.0", "id": 1, "method": "host.ping"}


def error_of(daemon, body):
    status, answer = daemon.request(body)
    assert status == 200
    return json.loads(answer)["error"]


@pytest.mark.parametrize("body, name", [
    (b"{", "ParseError"), (b"nonsense", "ParseError"), (b"{} x", "ParseError"), (b"\xff\xfe", "ParseError"),
    (b'{"a":1,"a":2}', "ParseError"), (b'"\\u0000"', "ParseError"), (b'"\\ud800"', "ParseError"),
    (b"[1,]", "ParseError"), (b"NaN", "ParseError"), (b"01", "ParseError"), (b"'x'", "ParseError"),
    (b"[" * 33 + b"]" * 33, "TooLarge"), (b"1" * 65, "TooLarge"),
    (b'"' + b"x" * (257 << 10) + b'"', "TooLarge"), (b"[" + b"0," * 60000 + b"0]", "TooLarge"),
    (b"[]", "InvalidRequest"), (b"1", "InvalidRequest"), (b"{}", "InvalidRequest"),
    (b'{"jsonrpc":"1.0","id":1,"method":"host.ping"}', "InvalidRequest"),
    (b'{"jsonrpc":"2.0","id":[],"method":"host.ping"}', "InvalidRequest"),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', "InvalidRequest"),
    (b'{"jsonrpc":"2.0","id":1,"method":"host.ping","extra":1}', "InvalidRequest"),
    (b'{"jsonrpc":"2.0","id":1,"method":"host.pong"}', "MethodNotFound"),
    (b'{"jsonrpc":"2.0","id":1,"method":"host.ping","params":[]}', "InvalidParams"),
    (b'{"jsonrpc":"2.0","id":1,"method":"host.ping","params":{"x":1}}', "InvalidParameter"),
    (json.dumps([PING] * 51).encode(), "TooLarge"),
], ids=lambda value: value if isinstance(value, str) else f"{len(value)}_bytes")
def test_a_malformed_call_is_answered_with_an_error(daemon, body, name):
    error = error_of(daemon, body)
    assert error["data"]["name"] == name and error["message"]


def test_a_name_that_is_not_utf8_is_refused(daemon):
    body = b'{"jsonrpc":"2.0","id":1,"method":"vm.create","params":{"name":"a\xffb"}}'
    assert error_of(daemon, body)["data"]["name"] == "ParseError"


def test_batches_are_answered_in_order_and_notifications_not_at_all(daemon):
    batch = [dict(PING, id="a"), {"jsonrpc": "2.0", "method": "host.ping"}, dict(PING, id=None), 1,
             dict(PING, id=2, method="vm.get", params={"vm": "none"})]
    status, body = daemon.request(batch)
    answers = json.loads(body)
    assert [a["id"] for a in answers] == ["a", None, None, 2]
    assert "result" in answers[0] and "error" in answers[2] and "error" in answers[3]
    assert daemon.request({"jsonrpc": "2.0", "method": "host.ping"}) == (204, b"")


def test_ids_come_back_as_they_were(daemon):
    for call_id in (0, -5, 1.5, "text é", 12345678901234567890):
        status, body = daemon.request(dict(PING, id=call_id))
        assert json.loads(body)["id"] == call_id


def test_one_connection_carries_many_calls(daemon):
    connection = Connection(daemon.socket)
    for i in range(200):
        status, body = connection.post(json.dumps(dict(PING, id=i)).encode())
        assert status == 200 and json.loads(body)["id"] == i


@pytest.mark.parametrize("method, params", [("host.ping", {}), ("vm.create", {"name": "ahead"})])
def test_a_client_that_sends_ahead_gets_one_answer_and_is_left(daemon, method, params):
    connection = Connection(daemon.socket)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    head = f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection.send((head + body) * 5)
    status, answer = connection.response()
    assert status == 200 and "result" in json.loads(answer)
    with pytest.raises((EOFError, ConnectionResetError)):
        connection.response()
    assert daemon.call("host.ping")


def say_all(connection, body):
    """A request, and that no more will come."""
    body = json.dumps(body).encode()
    connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    connection.socket.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("method, params", [("host.ping", {}), ("vm.create", {"name": "last"})])
def test_a_client_that_has_said_all_gets_its_answer(daemon, method, params):
    connection = Connection(daemon.socket)
    say_all(connection, dict(PING, method=method, params=params))
    status, answer = connection.response()
    assert status == 200 and "result" in json.loads(answer)
    with pytest.raises(EOFError):
        connection.read_some()


def test_a_client_that_has_said_all_and_reads_slowly_gets_the_whole_answer(daemon):
    for i in range(20):
        daemon.create(f"vm{i}", notes="x" * 4000)
    connection = Connection(daemon.socket)
    say_all(connection, [dict(PING, method="vm.list")] * 20)
    time.sleep(2.5)  # the service has looked at all connections meanwhile
    status, answer = connection.response()
    assert status == 200 and [len(one["result"]["vms"]) for one in json.loads(answer)] == [20] * 20


def test_a_body_may_come_in_pieces(daemon):
    connection = Connection(daemon.socket)
    body = json.dumps(PING).encode()
    connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode())
    for byte in b"\r\n" + body:
        connection.send(bytes([byte]))
    assert connection.response()[0] == 200


@pytest.mark.parametrize("head, status", [
    ("GET /rpc HTTP/1.1", 405), ("POST / HTTP/1.1", 404), ("POST /rpc/../x HTTP/1.1", 404),
    ("PUT /rpc HTTP/1.1\r\nContent-Length: 2", 405),
    ("POST /rpc HTTP/1.1", 400), ("POST /rpc HTTP/1.1\r\nContent-Length: 0", 400),
    ("POST /rpc HTTP/1.1\r\nContent-Length: -1", 400), ("POST /rpc HTTP/1.1\r\nContent-Length: 2x", 400),
    ("POST /rpc HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3", 400),
    ("POST /rpc HTTP/1.1\r\nContent-Length: 1048577", 413),
    ("POST /rpc HTTP/1.1\r\nContent-Length: 99999999999999999999999999", 413),
    ("POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked", 411),
    ("POST /rpc HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2", 411),
])
def test_doubtful_http_is_refused_and_closed(daemon, head, status):
    connection = Connection(daemon.socket)
    connection.send(f"{head}\r\nHost: x\r\n\r\n".encode())
    try:
        got, body = connection.response()
        assert got == status, body
        while True:
            connection.read_some()
    except (EOFError, ConnectionResetError):
        pass
    assert daemon.call("host.ping")


def test_the_largest_body_is_taken_and_one_byte_more_is_not(daemon):
    call = json.dumps(PING).encode()
    status, body = daemon.request(call + b" " * ((1 << 20) - len(call)))
    assert status == 200
    connection = Connection(daemon.socket)
    connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {(1 << 20) + 1}\r\n\r\n".encode())
    assert connection.response()[0] == 413


def last_words(connection):
    """The answer after which the service closes."""
    answer = connection.response()
    with pytest.raises((EOFError, ConnectionResetError)):
        while True:
            connection.read_some()
    return answer


HEAD = b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 47\r\n\r\n"


@pytest.mark.parametrize("junk, status", [
    (b"\x00" * 100, 400), (b"\r\n" * 100, 400), (b"A" * 100000, 400), (b"\xff" * 5000, 400), (b"BREW /rpc HTTP/1.1\r\n\r\n", 400), (b"CONNECT x:1 HTTP/1.1\r\n\r\n", 400), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00" * 20, 400), (b"POST /rpc HTTP/1.1\r\n" + b"X: y\r\n" * 20000, 431),
    (b"POST /rpc HTTP/1.1\r\nX: " + b"y" * 16384 + b"\r\n\r\n", 431), (b"GET /" + b"y" * 20000 + b" HTTP/1.1\r\n\r\n", 431)],
    ids=["zeroes", "lines", "letters", "ones", "method", "connect", "http2", "tls", "headers", "header", "path"])
def test_what_is_no_head_of_a_request_is_refused(daemon, junk, status):
    connection = Connection(daemon.socket)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(junk)
    assert last_words(connection)[0] == status
    assert daemon.call("host.ping")


@pytest.mark.parametrize("name", ["h2c", "nothing", "websocket2", ""])
@pytest.mark.parametrize("is_second", [False, True])
def test_a_connection_becomes_a_websocket_or_stays_what_it_is(daemon, name, is_second):
    connection = Connection(daemon.socket)
    if is_second:
        assert connection.post(json.dumps(PING).encode())[0] == 200
    connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {name}\r\n"
                    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nContent-Length: 50\r\n\r\n".encode() + json.dumps(PING).encode())
    assert connection.response()[0] in ((200,) if not name else (400, 403))
    if name:
        with pytest.raises((EOFError, ConnectionResetError)):
            connection.read_some()
    assert daemon.call("host.ping")


def test_a_head_that_grows_too_large_is_refused(daemon):
    connection = Connection(daemon.socket)
    connection.send(b"POST /rpc HTTP/1.1\r\nX: ")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(60):
            connection.send(b"y" * 1000)
            time.sleep(0.01)
    status, said = last_words(connection)
    assert status == 431 and b"16384" in said


@pytest.mark.parametrize("part", [b"P", HEAD[:20], HEAD[:-1], HEAD, HEAD + b'{"jsonrpc"'])
def test_half_a_request_is_none(daemon, part):
    connection = Connection(daemon.socket)
    connection.send(part)
    connection.socket.shutdown(socket.SHUT_WR)
    assert last_words(connection)[0] == 400
    silent = Connection(daemon.socket)
    silent.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        silent.read_some()


def test_a_request_that_does_not_come_to_its_end_is_late(daemon):
    heads = [Connection(daemon.socket) for _ in range(2)]
    body, used = Connection(daemon.socket), Connection(daemon.socket)
    assert used.post(json.dumps(PING).encode())[0] == 200
    for connection in (heads[1], used):
        connection.send(HEAD[:20])
    body.send(HEAD + b"{")
    began = time.monotonic()
    for connection in (*heads, used, body):
        connection.socket.settimeout(60)
        status, said = last_words(connection)
        assert status == 408 and b"in time" in said
    assert 29 < time.monotonic() - began
    assert daemon.call("host.ping")


@pytest.mark.parametrize("at", [len(HEAD) - n for n in range(4)])
def test_a_head_may_come_in_two_parts_with_a_large_body_behind(daemon, at):
    body = json.dumps(PING).encode()
    body += b" " * (100000 - len(body))
    head = HEAD.replace(b"47", b"100000")
    connection = Connection(daemon.socket)
    connection.send(head[:at + 4])
    time.sleep(0.1)
    connection.send(head[at + 4:] + body)
    assert connection.response()[0] == 200
    assert connection.post(json.dumps(PING).encode())[0] == 200


def test_clients_that_leave_early_do_no_harm(daemon):
    for i in range(100):
        connection = Connection(daemon.socket)
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.create", "params": {"name": f"v{i}"}}).encode()
        connection.send(f"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        connection.close()
    assert daemon.call("host.ping")
    # A socket that is closed at once may take its call along; what was taken is whole.
    assert all(vm["state"] == "off" for vm in daemon.call("vm.list")["vms"])


def test_many_connections_at_once(daemon):
    connections = [Connection(daemon.socket) for _ in range(300)]
    for connection in connections:
        assert connection.post(json.dumps(PING).encode())[0] == 200


def cpu_seconds(pid):
    """What a process has used up so far."""
    words = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("more", range(4))
def test_who_finds_no_descriptor_left_waits_at_the_door(daemon, more):
    pid = daemon.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")) + 1  # those above a limit are no good to it
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + more, limits[1]))
    waiting = []
    while "No more clients can be let in" not in daemon.log_text():
        waiting.append(Connection(daemon.socket))
        assert len(waiting) < 400
        time.sleep(0.02)
    used = cpu_seconds(pid)
    time.sleep(2.5)
    assert cpu_seconds(pid) - used < 0.3, "it looks at the door all the time"
    assert daemon.log_text().count("No more clients can be let in") == 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    for connection in waiting:
        assert connection.post(json.dumps(PING).encode())[0] == 200


def upgrade(daemon, path="/rpc", *headers):
    """Ask for a WebSocket where there shall be none; the answer."""
    connection = Connection(daemon.socket)
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", *headers, "", ""]
    connection.send("\r\n".join(lines).encode())
    return connection.response()


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_browsers_page_cannot_open_a_websocket(daemon, origin):
    status, body = upgrade(daemon, "/rpc", f"Origin: {origin}")
    assert status == 403 and b"Origin" in body


@pytest.mark.parametrize("without, more", [
    ("Connection", ""), ("Sec-WebSocket-Key", ""), ("Sec-WebSocket-Version", ""), ("Connection", "Connection: keep-alive"),
    ("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), ("", "Sec-WebSocket-Protocol: chat, soap"),
    ("", "Sec-WebSocket-Protocol: " + "x" * 300)], ids=range(7))
def test_a_handshake_that_is_none_is_refused_in_words(daemon, without, more):
    lines = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="]
    lines = [line for line in lines if not without or not line.startswith(without)] + ([more] if more else [])
    connection = Connection(daemon.socket)
    connection.send("\r\n".join(["GET /rpc HTTP/1.1", "Host: x", *lines, "", ""]).encode())
    status, said = last_words(connection)
    assert status == 400 and (b"is opened with" in said if without else b"subprotocol" in said)
    assert "lws" not in daemon.log_text()


def test_a_websocket_may_name_its_protocol(daemon):
    WebSocket(daemon.socket, ["Sec-WebSocket-Protocol: chat, hvstack"]).close()


def test_a_websocket_is_opened_at_its_place_only(daemon):
    assert upgrade(daemon, "/metrics")[0] == 404 and upgrade(daemon, "/rpc/x")[0] == 404


def test_websocket_messages_may_be_fragmented_and_are_bounded(daemon):
    ws = daemon.websocket()
    body = json.dumps(PING).encode()
    ws.frame(1, body[:10], fin=False)
    ws.frame(9, b"ping")
    ws.frame(0, body[10:])
    messages = [ws.message()[0] for _ in range(2)]
    assert sorted(messages) == [1, 10]
    with pytest.raises((EOFError, ConnectionResetError, BrokenPipeError)):
        for _ in range(40):
            ws.frame(1 if _ == 0 else 0, b"x" * 60000, fin=False)
        ws.message()
    assert daemon.call("host.ping")


@pytest.mark.parametrize("data", [b"\xff" * 64, b"\x81\x05hello", b"\x83\x80abcd", b"\xc1\x80abcd", b"\x89\xfe\x01\x00abcd" + b"x" * 256])
def test_a_broken_frame_ends_only_its_connection(daemon, data):
    ws = daemon.websocket()
    ws.send(data)
    ws.socket.settimeout(1)
    try:
        while True:
            ws.message()
    except (EOFError, ConnectionResetError, socket.timeout):
        pass
    assert daemon.call("host.ping")


def test_many_calls_on_one_websocket_wait_their_turn(daemon):
    ws = daemon.websocket()
    for i in range(300):
        ws.frame(1, json.dumps(dict(PING, id=i)).encode())
    assert sorted(json.loads(ws.message()[1])["id"] for _ in range(300)) == list(range(300))


def test_curl_is_a_client(daemon):
    def curl(*args):
        return subprocess.run(["curl", "-sS", "--unix-socket", daemon.socket, *args, "http://localhost/rpc"],
                              stdout=subprocess.PIPE, text=True, check=True, timeout=30).stdout

    assert json.loads(curl("-d", json.dumps(PING)))["result"]["version"]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "vm.create", "params": {"name": "by-curl"}})
    assert json.loads(curl("--json", body))["result"]["vm"]["name"] == "by-curl"
    assert "POST" in curl()


def test_changes_sent_ahead_on_a_websocket_are_all_answered(daemon):
    ws = daemon.websocket()
    for i in range(200):
        ws.frame(1, json.dumps(dict(PING, id=i, method="vm.create", params={"name": f"vm{i}"})).encode())
    answers = [json.loads(ws.message()[1]) for _ in range(200)]
    assert sorted(a["id"] for a in answers) == list(range(200)) and all("result" in a for a in answers)


def test_a_batch_of_changes_is_one_answer(daemon):
    batch = [dict(PING, id=i, method="vm.create", params={"name": f"vm{i // 2}"}) for i in range(50)]
    answers = json.loads(daemon.request(batch)[1])
    assert [("result" in a) for a in answers] == [True, False] * 25
    assert len(daemon.call("vm.list")["vms"]) == 25
