# SPDX-License-Identifier: Apache-2.0
"""A Debian with systemd reaches multi-user.target on the soft backend, and its programs work."""
import hashlib

from stack import CACHE, GUEST, Console, Stack


def test_debian_boots_without_a_failed_unit_and_its_programs_give_right_results():
    with Stack() as stack:
        stack.create("debian", GUEST / "vmlinuz-cloud", CACHE / "debian/debian.cpio",
                     "console=ttyS0 panic=-1 guest.do=tools guest.then=poweroff", 2, "1536M")
        stack.hvadm("vm", "start", "debian")
        console = Console(stack, "debian")
        console.wait_for(r"^guest: report done", 600)
        stack.wait_state("debian", "off", 120)
        text = console.text()
    digest = hashlib.sha256(b"hvstack").hexdigest()[:16]
    assert "guest: multi-user.target reached" in text
    assert "guest: failed units: 0\n" in text, text[-3000:]
    assert f"guest: python3 332833500 {digest}\n" in text
    assert "guest: gcc 12.090136130\n" in text
    # The digest of the encrypted text was computed by the same OpenSSL on real hardware.
    assert f"guest: openssl {digest} bbcced01121ee975\n" in text
    assert "guest: openssl speed ran\n" in text
    assert "guest: sqlite3 1000|500500|1000000\n" in text
