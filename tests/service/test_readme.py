# SPDX-License-Identifier: Apache-2.0
"""The README says only what works: each of its blocks of commands is run by a test, as it stands."""
import os
import re
import subprocess

import readme

TESTS = readme.TOP / "tests"


def claims():
    """What each test that runs a block calls it, by file."""
    found = []
    for file in sorted(TESTS.rglob("test_*.py")):
        for first in re.findall(r'readme\.block\("((?:[^"\\]|\\.)*)"', file.read_text()):
            found.append((file.relative_to(TESTS), first))
    return found


def test_each_block_of_the_readme_is_run_by_a_test():
    blocks, claimed = readme.blocks(), claims()
    assert len(blocks) >= 10
    for text in blocks:
        runs = [file for file, first in claimed if text.startswith(first)]
        assert len(runs) == 1, f"{runs or 'no test'} runs the README's block that begins {text.splitlines()[0]!r}"
    assert len(claimed) == len(blocks)


def test_what_the_readme_calls_is_there(build):
    """Programs of ours in its blocks, and files of this checkout."""
    for text in readme.blocks():
        for word in re.findall(r"(?<![\w/.])(?:packaging|tests)/[\w/-]+", text):
            assert os.access(readme.TOP / word, os.X_OK), word
        for noun in re.findall(r"\bhvadm (?:--connect \S+ )?(\w+)", text):
            done = subprocess.run([build / "cli/hvadm", "help", noun], capture_output=True, check=False)
            assert done.returncode == 0, f"hvadm has no {noun}"


def run(text, daemon):
    path = f"{daemon.build / 'cli'}:{os.environ['PATH']}"
    environment = dict(os.environ, PATH=path, HVADM_CONNECT=f"unix:{daemon.socket}")
    done = subprocess.run(["bash", "-euxc", text], env=environment, cwd=daemon.dir, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_is_a_client(daemon):
    daemon.create("web")
    socket = {"/tmp/hv/run/vmms.sock": daemon.socket}
    assert '"name":"web"' in run(readme.block("curl --unix-socket /tmp/hv/run/vmms.sock http://localhost/rpc", socket), daemon)
    told = run(readme.block("curl --unix-socket /tmp/hv/run/vmms.sock http://localhost/metrics", socket), daemon)
    assert "hvstack_vms" in told and told.endswith("# EOF\n")


def test_groups_hold_vms(daemon):
    daemon.create("web")
    daemon.create("db")
    told = run(readme.block("hvadm group create front"), daemon)
    assert [vm["state"] for vm in daemon.call("vm.list", filter={"group": "shop"})["vms"]] == ["running", "running"]
    assert [line.split()[0] for line in told.splitlines()[-2:]] == ["db", "web"]
