#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the first seeds of the targets whose inputs are programs: what an honest guest does."""
import pathlib
import struct

SEEDS = pathlib.Path(__file__).resolve().parent / "seeds"
MESSAGE, RAW, FLAGS, TURN, RESET, OFFER, REVOKE, SUBCHANNELS, SIGNAL, FAIL, POKE, GPADL = range(12)


def message(kind, body=b""):
    return bytes([MESSAGE, kind, len(body)]) + body


def contact(version=0x50003):
    return message(14, struct.pack("<IIQQQ", version, 0, 2, 0x1000, 0x2000))


def gpadl(relid, number, pages, total=None):
    total = total or len(pages)
    head = struct.pack("<IIHHII", relid, number, 8 + 8 * total, 1, total * 4096, 0)
    return message(8, head + struct.pack(f"<{len(pages)}Q", *pages))


def body(number, pages):
    return message(9, struct.pack("<II", 0, number) + struct.pack(f"<{len(pages)}Q", *pages))


def open_channel(relid, number, split):
    return message(5, struct.pack("<IIIII", relid, relid, number, 1, split) + bytes(120))


def relid(kind, number):
    return message(kind, struct.pack("<I", number))


def vmbus_messages():
    up = contact() + message(3)
    opened = up + gpadl(1, 7, range(1, 9)) + open_channel(1, 7, 4)
    packet = struct.pack("<HHHHQ", 6, 2, 2, 1, 9)
    yield "versions", b"".join(contact(v) for v in (0x20004, 0x30000, 0x40001, 0x50000, 0x60000))
    yield "open-close", opened + relid(7, 1) + message(11, struct.pack("<II", 1, 7))
    yield "open-unload", opened + message(16) + up
    yield "kexec", opened + up + gpadl(1, 7, range(1, 5)) + open_channel(1, 7, 2)
    yield "bodies", up + gpadl(1, 7, range(20), 60) + body(7, range(20)) + body(7, range(20))
    yield "bad-pages", up + gpadl(1, 7, [1, 1 << 40]) + gpadl(1, 8, [48, 49]) + gpadl(9, 9, [1])
    yield "subchannels", (opened + bytes([SUBCHANNELS, 0, 2]) + gpadl(4, 8, range(1, 5)) +
                          open_channel(4, 8, 2) + relid(7, 1) + relid(13, 4) + relid(13, 5))
    yield "rescind", opened + bytes([REVOKE, 0, OFFER, 0]) + relid(7, 1) + relid(13, 1)
    yield "revoke-in-closed", opened + bytes([FLAGS, 8]) + relid(7, 1) + relid(13, 1)
    yield "modify", opened + message(22, struct.pack("<II", 1, 1)) + message(22, b"\x01" + bytes(7))
    yield "sockets", up + message(21, bytes(32))
    yield "busy", (bytes([FLAGS, 1]) + opened + bytes([TURN, FLAGS, 0, TURN, RESET]) + up)
    yield "speaks-first", bytes([FLAGS, 4]) + opened
    yield "refuses", bytes([FLAGS, 2]) + opened
    yield "signal", opened + bytes([POKE, 1, 0]) + struct.pack("<H", 24) + bytes([SIGNAL, TURN])
    yield "fail", opened + bytes([FAIL, SIGNAL, TURN]) + relid(7, 1) + open_channel(1, 7, 4)
    yield "lend", opened + gpadl(1, 8, [3, 4]) + bytes([GPADL, 8, 0, 0, 0]) + \
        message(11, struct.pack("<II", 1, 8)) + relid(7, 1)
    yield "raw", bytes([RAW, len(packet)]) + packet + bytes([RAW, 0])


RECEIVE, PACKET, BYTES, FIELD, INDEX, SEND, BATCH, SWEEP = range(8)


def packet(kind, at8, bytes8, rest=b""):
    return bytes([PACKET, len(rest) // 8, kind, at8, bytes8]) + rest


def direct(ranges):
    rest = struct.pack("<II", 0, len(ranges))
    for count, offset, pages in ranges:
        rest += struct.pack("<II", count, offset) + struct.pack(f"<{len(pages)}Q", *pages)
    at8 = 2 + len(rest) // 8
    return packet(9, at8, at8 + 1, rest + b"payload!")


def vmbus_ring():
    receive = bytes([RECEIVE])
    inband = packet(6, 2, 4, b"0123456789abcdef")
    for shape in (0, 1, 64, 130, 200):
        first = bytes([shape])
        yield f"inband-{shape}", first + (inband + receive) * 20
        yield f"direct-{shape}", first + direct([(0x1800, 0x800, [9, 10])]) + receive
        yield f"send-{shape}", first + b"".join(
            bytes([SEND]) + struct.pack("<H", n) for n in (0, 1, 100, 3000, 900)) + bytes([BATCH])
    yield "ranges", bytes([5]) + direct([(1, 0, [1]), (0, 0, []), (8193, 4095, [5, 7, 8])]) + receive
    yield "not-ram", bytes([5]) + direct([(1, 0, [48])]) + receive + bytes([SWEEP]) + receive
    yield "index", bytes([5, INDEX, 0, 3]) + receive + bytes([FIELD, 0, 1, 0, 0, 0]) + receive
    yield "full", bytes([0]) + (bytes([SEND]) + struct.pack("<H", 1000)) * 6 + bytes([INDEX, 3, 9])
    yield "pending", bytes([0, INDEX, 6, 8]) + inband * 5 + receive
    yield "bytes", bytes([0, BYTES, 0, 0, 16]) + struct.pack("<HHHHQ", 11, 2, 2, 0, 5) + \
        bytes([INDEX, 0, 3]) + receive


OPEN, CLOSE, ANSWER, MUTATE, RAW_PACKET, PASS, ASK, ROOM, PAUSE, IC_RESET, TYPE = range(11)
HEARTBEAT, SHUTDOWN, TIMESYNC, KVP, VSS, FILECOPY, KEYBOARD = range(7)


def agree(service, major, minor):
    return bytes([OPEN, service, ANSWER, service, major << 4 | minor])


def answer(service, status=0):
    return bytes([ANSWER, service, status])


def ask(what, operand=0):
    return bytes([ASK, what, operand])


def wait(ms):
    return bytes([PASS]) + struct.pack("<H", ms // 2)


def mutate(service, at, data, shorter=0):
    return bytes([MUTATE, service]) + struct.pack("<H", at) + bytes([len(data), shorter]) + data


def ic_services():
    kvp = agree(KVP, 4, 0)
    pair = mutate(KVP, 36, struct.pack("<III", 1, 4, 4) + b"k\0\0\0")
    frozen = agree(VSS, 5, 0) + ask(5, 200) + answer(VSS) * 2
    yield "beats", agree(HEARTBEAT, 3, 0) + (answer(HEARTBEAT) + wait(2000)) * 12
    yield "lost", agree(HEARTBEAT, 3, 0) + answer(HEARTBEAT) + wait(60000) + answer(HEARTBEAT) * 14
    yield "mismatch", agree(HEARTBEAT, 7, 7) + bytes([CLOSE, HEARTBEAT]) + agree(HEARTBEAT, 1, 0)
    yield "shutdown", agree(SHUTDOWN, 3, 2) + ask(0, 1) + answer(SHUTDOWN) + ask(0) + ask(0, 4)
    yield "shutdown-refused", agree(SHUTDOWN, 3, 1) + ask(0, 2) + ask(0, 1) + answer(SHUTDOWN, 5)
    yield "time", agree(TIMESYNC, 4, 0) + (answer(TIMESYNC) + wait(5000)) * 3 + agree(TIMESYNC, 1, 0)
    yield "pause", agree(TIMESYNC, 4, 0) + bytes([PAUSE]) + wait(60000) + bytes([PAUSE]) + wait(500)
    yield "pairs", kvp + pair * 3 + answer(KVP, 1) * 3 + ask(1) + pair + answer(KVP, 1) * 3
    yield "set-remove", kvp + answer(KVP, 1) * 3 + ask(2) + ask(3) + ask(4) + answer(KVP) * 3
    yield "slow-pairs", kvp + (pair + wait(30000)) * 4 + ask(1) + bytes([CLOSE, KVP])
    yield "frozen", frozen + ask(6) + answer(VSS)
    yield "overdue", frozen + wait(9000) + answer(VSS, 5) + wait(3000) + answer(VSS) + ask(6)
    yield "freeze-cancelled", agree(VSS, 5, 0) + ask(5, 9) + ask(6) + answer(VSS) + ask(5, 9)
    yield "reset-frozen", frozen + bytes([IC_RESET]) + frozen + bytes([CLOSE, VSS]) + agree(VSS, 5, 0)
    yield "copy", agree(FILECOPY, 1, 1) + ask(7) + answer(FILECOPY) * 5
    yield "copy-cancelled", agree(FILECOPY, 1, 1) + ask(7) + answer(FILECOPY) + bytes([TYPE]) + \
        answer(FILECOPY) * 2
    yield "copy-full", agree(FILECOPY, 1, 1) + ask(7) + answer(FILECOPY) + answer(FILECOPY, 0x70) + \
        answer(FILECOPY)
    yield "no-room", agree(HEARTBEAT, 3, 0) + bytes([ROOM, HEARTBEAT, 0]) + wait(60000) + \
        bytes([ROOM, HEARTBEAT, 9])
    yield "keys", bytes([OPEN, KEYBOARD, RAW_PACKET, KEYBOARD, 6, 1, 8]) + \
        struct.pack("<II", 1, 0x10000) + bytes([TYPE])
    yield "noise", agree(HEARTBEAT, 3, 0) + bytes([RAW_PACKET, HEARTBEAT, 6, 2, 40]) + bytes(40)


def ic_kvp():
    text = "G\u00e4st \U0001f600".encode("utf-16-le")
    head = struct.pack("<BBHI", 3, 2, 0, 0)

    def pair(kind, key, value):
        return bytes([0]) + head + struct.pack("<III", kind, len(key), len(value)) + \
            key.ljust(512, b"\0") + value.ljust(2048, b"\0")

    yield "pair", pair(1, text, text)
    yield "u32", pair(4, text, bytes(4))
    yield "u64", pair(11, text, bytes(8))
    yield "no-zero", pair(1, b"x" * 512, b"\x00\xd8" * 1024)
    yield "ip", bytes([1, 4, 0]) + bytes(256) + bytes([3, 1]) + text.ljust(2048, b"\0") * 2 + \
        text.ljust(1024, b"\0") + text.ljust(2048, b"\0")
    yield "set", bytes([2]) + "value \u20ac".encode()
    yield "text", bytes([3]) + text


def keyboard():
    up = bytes([0, 3])
    yield "text", up + bytes([4, 5]) + b"Ab1!\n" + bytes([6, 40])
    yield "no-key", up + bytes([4, 4]) + "a\u00f6b".encode() + bytes([6, 40])
    yield "scancodes", up + bytes([5, 6, 0xe1, 0x1d, 0x45, 0xe0, 0x53, 0xe0, 6, 9])
    yield "full", up + bytes([7, 0]) + (bytes([4, 60]) + b"X" * 60) * 40 + bytes([7, 255, 6, 255])
    yield "version", bytes([0, 2, 6, 8]) + struct.pack("<II", 1, 0x20000) + bytes([3, 6, 1])
    yield "pause", up + bytes([8, 4, 1]) + b"a" + bytes([8, 6, 2, 9]) + up
    yield "flood", up + bytes([2, 6, 8]) + bytes(8) + (bytes([2, 6, 0])) * 70 + bytes([3])


STORAGE, MEMORY, STATE = range(3)
DISK, DVD, LARGE, DISCARD, READ_ONLY, EMPTY, FAILING = 0, 1, 2, 4, 8, 16, 0xe0


def srb(cdb, direction, size, ranges, lun=0):
    how = 1 | 2 | len(ranges) << 5
    body = struct.pack("<HBBBBBBBBBBI16sIHBBIII", 52, 0, 0, 0, 0, 0, lun, len(cdb), 20, direction, 0,
                       size, cdb, 0, 0, 0, 0x20, 0, 60, 0)[:52]
    shape = b"".join(struct.pack("<HH", gpa // 4, n // 2) for gpa, n in ranges)
    return bytes([STORAGE, how]) + shape + struct.pack("<III", 3, 1, 0) + body


def memory(gpa, what):
    return bytes([MEMORY, len(what)]) + struct.pack("<H", gpa // 4) + what


def say(operation, argument=0):
    return bytes([STORAGE, 2]) + struct.pack("<IIIH", operation, 1, 0, argument) + bytes(50)


def storvsp_requests():
    buffer = [(0x1000, 0x1000)]
    for name, unit in (("disk", DISK | DISCARD), ("dvd", DVD), ("empty", DVD | EMPTY),
                       ("large", LARGE | DISCARD), ("read-only", READ_ONLY), ("failing", FAILING)):
        scan = b"".join(srb(bytes.fromhex(cdb), 1, 4096, buffer) for cdb in (
            "120000002400", "12010000ff00", "12018300ff00", "1201b000ff00", "1201b200ff00",
            "a00000000000000010000000", "1a003f000400", "1a0808004000", "5a002a00000000008000",
            "25000000000000000000", "9e100000000000000000000000200000", "030000001200",
            "43000000000000004000", "46000000000000010000", "4a010000100000000800",
            "51000000000000002200", "52010000000100002400", "a30c0000000000001000" + "0000",
            "bd0000000000000000080000"))
        move = b"".join(srb(bytes.fromhex(cdb), direction, 4096, shape)
                        for direction in (0, 1) for shape in (buffer, [(0x1ff00, 0x200), (8, 0xe00)])
                        for cdb in ("28000000000000000800", "2a080000000000000800", "080000010100",
                                    "0a0000010100", "8800" + "00" * 7 + "010000000100" + "00",
                                    "8a00" + "00" * 7 + "010000000100" + "00",
                                    "a800000000000000000100" + "00", "2e000000000000000100",
                                    "35000000000000000000", "2f000000000000000800",
                                    "41000000000000000800", "9301" + "00" * 11 + "080000"))
        unmap = memory(0x1000, struct.pack(">HHIQII", 22, 16, 0, 8, 8, 0)) + \
            srb(bytes.fromhex("42000000000000001800"), 0, 4096, buffer)
        stop = b"".join(srb(bytes.fromhex(cdb), 2, 0, []) for cdb in (
            "1e0000000100", "1b0000000200", "1e0000000000", "1b0000000200", "000000000000",
            "1b0000000300", "000000000000"))
        yield name, bytes([unit]) + scan + move + unmap + stop
    yield "negotiation", (bytes([0, STATE, 4]) + say(7) + say(9, 0x700) + say(9, 0x602) + say(10) +
                          say(3) + say(8) + say(13, 9) + say(13, 2) + say(13, 2) + say(6))


NOTHING, VERB, STATS, GUEST, CONSOLE, ORDER, REPLY, ERROR, NUMBER, HEAR, CALL, STREAM, HANG_UP, END = range(14)
TEXT, NUMBERS, OCTETS, ENTER, LEAVE, U32, DESCRIPTOR, BOOL = range(8)
DICTIONARY, ENTRY, V_TEXT, V_U32, V_LIST, TEXTS, U32S, TWO, V_U64, SERVICES, SERVICE, PAIRS, PAIR = range(13)


def part(*pieces):
    what = b"".join(pieces)
    return bytes([len(what)]) + what


def said(text):
    data = text.encode()
    data += b" " * (6 - len(data))  # shorter ones stand for known words
    return bytes([TEXT, len(data)]) + data


def dictionary(*entries):
    return bytes([ENTER, DICTIONARY]) + b"".join(entries) + bytes([LEAVE])


def entry(key, kind, value):
    return bytes([ENTER, ENTRY]) + said(key) + bytes([ENTER, kind]) + value + bytes([LEAVE, LEAVE])


def u64(value):
    return bytes([NUMBERS, 1]) + struct.pack("<Q", value)


def worker_answers():
    ok = bytes([REPLY, 0]) + part()
    honest = bytes([0])
    figures = dictionary(entry("vcpu_time_ns", V_U64, u64(1)), entry("console1_bytes", V_U64, u64(2)))
    guest = (dictionary(entry("host_name", V_TEXT, said("debian")), entry("kvp_age_ms", V_U64, u64(9))) +
             bytes([ENTER, SERVICES, ENTER, SERVICE, TEXT, 0, TEXT, 2, U32]) + struct.pack("<I", 0x30002) +
             bytes([LEAVE, LEAVE, ENTER, PAIRS, ENTER, PAIR]) + said("guest1") + said("OSName") + said("Debian") +
             bytes([LEAVE, LEAVE, ENTER, TEXTS, TEXT, 4, LEAVE]))
    for number in range(12):
        yield f"verb-{number}", honest + bytes([VERB, number]) + ok
    yield "stats", honest + bytes([STATS, REPLY, 0]) + part(figures) + bytes([STATS, REPLY, 0]) + part()
    yield "guest", honest + bytes([GUEST, REPLY, 0]) + part(guest) + bytes([GUEST, REPLY, 0]) + part(figures)
    yield "console", honest + bytes([CONSOLE, REPLY, 0]) + part(bytes([DESCRIPTOR]), u64(0)) + \
        bytes([CONSOLE, REPLY, 0]) + part(u64(0)) + bytes([CONSOLE, REPLY, 0]) + part(bytes([DESCRIPTOR] * 9), u64(1))
    yield "orders", honest + bytes([ORDER, 0]) + ok + bytes([ORDER, 1, HEAR, 6]) + part(u64(1), u64(2)) + \
        bytes([REPLY, 0]) + part(u64(2)) + bytes([ORDER, 0, REPLY, 0]) + part(bytes([BOOL, 1]))
    yield "errors", honest + b"".join(bytes([VERB, 1, ERROR, 0, n]) + part(said("no room there")) for n in range(5))
    yield "cut-inside-a-character", honest + b"".join(
        bytes([VERB, 1, ERROR, 0, n]) + part(said("aaaaa" + "\u00e9" * 20)) for n in range(5))
    yield "twice", honest + bytes([VERB, 1]) + ok * 3 + bytes([VERB, 2, STATS, REPLY, 1]) + part() + ok
    yield "nobody-asked", honest + b"".join(bytes([NUMBER, n]) + part(figures) for n in (1, 2, 3, 200))
    yield "hello", bytes([1, REPLY, 0]) + part(dictionary(entry("vm_id", V_TEXT, said("another")))) + ok
    yield "signals", honest + bytes([HEAR, 0]) + part(said("paused"), said("user asked"), dictionary()) + \
        bytes([HEAR, 0]) + part(said("stopped"), said("guest off"), dictionary(entry("message", V_TEXT, said("bye bye")))) + \
        bytes([HEAR, 1]) + part(u64(1), u64(4)) + bytes([HEAR, 2]) + part(figures)
    yield "calls", honest + (bytes([CALL, 0]) + part()) * 20 + bytes([CALL, 2]) + part()
    yield "bytes", honest + bytes([VERB, 1, STREAM]) + part(b"l\1\0\1" + bytes(60)) + ok
    yield "before-hello", bytes([1, STATS, GUEST, CONSOLE, VERB, 9, ORDER, 1])
    yield "gone", honest + bytes([STATS, GUEST, CONSOLE, VERB, 9, ORDER, 1, HANG_UP, 0])
    yield "half", honest + bytes([STATS, HANG_UP, 1]) + ok
    yield "ended", honest + bytes([STATS, VERB, 9, ORDER, 1, END, 0, STATS, VERB, 1, CONSOLE])


WEBSOCKET, LATE, GONE, HALF, FULL = 1, 2, 4, 8, 16


def post(body, *headers):
    return "\r\n".join(["POST /rpc HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


def frame(opcode, payload, fin=True):
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xfe]) + struct.pack(">H", len(payload))
    return bytes([opcode | (0x80 if fin else 0)]) + length + bytes(4) + payload


def call(method, params="{}", number=1):
    return f'{{"jsonrpc": "2.0", "id": {number}, "method": "{method}", "params": {params}}}'.encode()


def http():
    ping, vms = call("host.ping"), call("vm.list")
    console, events = call("vm.console", '{"vm": "a"}'), call("events.subscribe", '{"since": 1}')
    plain = {
        "post": post(ping), "several": post(ping) + post(vms) + post(ping),
        "batch": post(b"[" + ping + b", " + vms + b", 7]"), "note": post(b'{"jsonrpc": "2.0", "method": "host.ping"}'),
        "metrics": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2, "get": b"GET /rpc HTTP/1.1\r\nHost: x\r\n\r\n",
        "elsewhere": b"POST /other HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "chunks": b"POST /rpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        "two-lengths": b"POST /rpc HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "signed": b"POST /rpc HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde",
        "huge": b"POST /rpc HTTP/1.1\r\nContent-Length: 18446744073709551617\r\n\r\nx",
        "no-length": b"POST /rpc HTTP/1.1\r\nHost: x\r\n\r\n" + ping, "short": post(ping)[:-9],
        "expect": post(ping, "Expect: 100-continue"), "close": post(ping, "Connection: close") + post(ping),
        "wrong-upgrade": b"GET /other HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
        "origin": b"GET /rpc HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://y\r\n"
                  b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
        "header": b"POST /rpc HTTP/1.1\r\n" + b"X-A: " + b"a" * 3000 + b"\r\n\r\n", "noise": bytes(range(256)),
    }
    frames = {
        "calls": frame(1, ping) + frame(1, vms), "many": frame(1, ping) * 12, "console": frame(1, console) + frame(2, b"ls\n") +
        frame(2, b"!"), "events": frame(1, events) + frame(1, ping), "pieces": frame(1, ping[:9], False) +
        frame(9, b"p") + frame(0, ping[9:]), "binary": frame(2, b"x"), "close": frame(1, ping) + frame(8, b"\x03\xe8"),
        "reserved": frame(3, b"x"), "bad-text": frame(1, b"\xff\xfe"), "unmasked": bytes([0x81, len(ping)]) + ping,
        "long": frame(1, b"[" + b",".join([ping] * 9) + b"]"), "huge": bytes([0x81, 0xff]) + b"\x7f" * 8 + bytes(9),
    }
    for name, text in plain.items():
        for label, flags, piece in (("", 0, 0), ("-late", LATE, 0), ("-gone", LATE | GONE, 7), ("-half", HALF | LATE, 1)):
            if not label or name in ("post", "several", "batch", "short"):
                yield name + label, bytes([flags, piece]) + text
    for name, text in frames.items():
        for label, flags, piece in (("", 0, 0), ("-late", LATE, 5), ("-gone", LATE | GONE, 0), ("-full", FULL, 0)):
            if not label or name in ("many", "console", "events"):
                yield "ws-" + name + label, bytes([WEBSOCKET | flags, piece]) + text


def main():
    for target in (vmbus_messages, vmbus_ring, ic_services, ic_kvp, keyboard, storvsp_requests, worker_answers, http):
        folder = SEEDS / target.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in target():
            (folder / name).write_bytes(seed)


main()
