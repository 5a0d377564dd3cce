# SPDX-License-Identifier: Apache-2.0
"""The pages of the manual, which the build has made, and completion in a real bash."""

import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["hvadm.1", "vmmsd.8", "vmmsd.conf.5"]


def page_text(path):
    """As it is read: without overstrikes, on one line."""
    text = subprocess.run(["groff", "-man", "-Tutf8", "-rLL=200n", "-P-c", "-P-b", "-P-u", path], check=True, capture_output=True,
                          text=True).stdout
    return " ".join(text.split())


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_pages_are_without_fault(build, page):
    done = subprocess.run(["groff", "-man", "-ww", "-rCHECKSTYLE=3", "-Tutf8", "-z", build / "packaging/manual" / page],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_of_hvadm_tells_every_verb_option_setting_and_error(build):
    told = page_text(build / "packaging/manual/hvadm.1")
    known = json.loads(subprocess.run([build / "cli/hvadm", "--json", "help"], check=True, capture_output=True).stdout)
    assert len(known["commands"]) > 50
    for command in known["commands"]:
        usage = " ".join(word for word in ("hvadm", command["noun"], command["verb"], command["usage"]) if word)
        assert usage in told
        for row in command["rows"]:
            assert row.get("term", "") in told and row["about"] in told
    for row in known["options"] + known["environment"]:
        assert f"{row['term']} {row['about']}" in told
    for setting in json.loads((TOP / "schemas/config/vm.json").read_text())["settings"]:
        assert f"{setting['name']} {setting['about']}" in told
    for error in json.loads((TOP / "schemas/api/errors.json").read_text())["errors"]:
        assert f"{error['name']}: {error['about']}" in told


def test_help_is_an_object_for_programs(build):
    def help_on(*words):
        return subprocess.run([build / "cli/hvadm", "--json", "help", *words], capture_output=True, text=True)
    rows = json.loads(help_on("apply").stdout)["commands"][0]["rows"]
    assert rows[0] == {"term": "-f, --file FILE", "option": "--file", "letter": "-f", "argument": "FILE",
                       "about": "the document, JSON; - for standard input: which VMs and groups there shall be "
                                "(vms, absent, groups, absent_groups)"}
    assert {row["option"]: row.get("argument") for row in json.loads(help_on("vm", "create").stdout)["commands"][0]["rows"]}["--plan"] is None
    wrong = help_on("vm", "fly")
    assert (wrong.returncode, wrong.stdout) == (2, "")


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_of_the_configuration_tells_what_is_read(build, tmp_path):
    told = page_text(build / "packaging/manual/vmmsd.conf.5")
    shown = {}
    for line in (TOP / "packaging/systemd/vmmsd.conf").read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif match := re.match(r"#?([a-z-]+) = ", line):
            shown.setdefault(section, []).append(match[1])
            assert match[0].lstrip("#") in told
    for section, keys in shown.items():
        wrong = tmp_path / "wrong.conf"
        wrong.write_text(f"[{section}]\nno-such-key = 1\n")
        done = subprocess.run([build / "vmmsd/vmmsd", "--config", wrong, "--check-config"], capture_output=True, text=True)
        known = re.search(r"there are: ([a-z, -]+)\.", done.stderr)[1].split(", ")
        assert sorted(known) == sorted(keys)
        assert f"SECTION [{section}]" in told


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed")
def test_the_page_of_vmmsd_tells_every_option(build):
    told = page_text(build / "packaging/manual/vmmsd.8")
    shown = subprocess.run([build / "vmmsd/vmmsd", "--help"], check=True, capture_output=True, text=True).stdout
    assert max(map(len, shown.splitlines())) <= 80
    options = re.findall(r"^  (--\S+)", shown, re.M)
    assert len(options) > 12 and all(option in told for option in options)
    assert all(part in told for part in ["--listen HOST:PORT serve the API", "--restore-database [FILE] put a backup"])


def test_pages_and_completion_are_installed_where_they_are_looked_for(build):
    told = subprocess.run(["meson", "introspect", "--installed", build], check=True, capture_output=True, text=True).stdout
    places = list(json.loads(told).values())
    for end in ["/man/man1/hvadm.1", "/man/man8/vmmsd.8", "/man/man5/vmmsd.conf.5", "/bash-completion/completions/hvadm"]:
        assert [place for place in places if place.endswith(end)], (end, places)


# Completion

class Bash:
    """One that is typed at, with its keys as they are."""

    SETUP = "PS1=\nbind 'set enable-bracketed-paste off'\nbind 'set bell-style none'\nshow() { printf '\\001%s\\002' \"$READLINE_LINE\"; }\n" \
            "bind -x '\"\\C-g\": show'\n"

    def __init__(self, build, tmp_path, address):
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "hvadm").symlink_to(build / "cli/hvadm")
        self.here = tmp_path / "here"
        self.here.mkdir()
        rc = tmp_path / "bashrc"
        rc.write_text(self.SETUP + f". {TOP}/packaging/completion/hvadm\n")
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(self.here)
            os.environ.update(PATH=f"{programs}:{os.environ['PATH']}", HVADM_CONNECT=address, TERM="dumb", INPUTRC="/dev/null",
                              LC_ALL="C.UTF-8")
            os.execvp("bash", ["bash", "--rcfile", str(rc), "-i"])

    def line_after(self, keys):
        """The line when so was typed; it is emptied after."""
        os.write(self.fd, keys.encode() + b"\x07")
        got, deadline = b"", time.monotonic() + 30
        while b"\x02" not in got:
            assert select.select([self.fd], [], [], deadline - time.monotonic())[0], got
            got += os.read(self.fd, 65536)
        os.write(self.fd, b"\x15")
        return re.search(rb"\x01([^\x02]*)\x02", got)[1].decode()

    def one(self, text):
        return self.line_after(text + "\t")

    def all(self, text):
        """Every word that there is."""
        before, _, _ = text.rpartition(" ")
        return self.line_after(text + "\x1b*").removeprefix(before).split()

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def bash(build, daemon, tmp_path):
    shell = Bash(build, tmp_path, f"unix:{daemon.socket}")
    yield shell
    shell.close()


def test_bash_completes_verbs_options_and_known_words(bash):
    assert bash.one("hvadm vm sta") == "hvadm vm sta"
    assert bash.all("hvadm vm sta") == ["start", "stats"]
    assert bash.one("hvadm vm cons") == "hvadm vm console "
    assert bash.one("hvadm --json job li") == "hvadm --json job list "
    assert bash.one("hvadm vm list --gr") == "hvadm vm list --group "
    assert bash.one("hvadm vm list --state pa") == "hvadm vm list --state paused "
    assert bash.one("hvadm vm list --state=pa") == "hvadm vm list --state=paused "
    assert bash.one("hvadm vm wait x --for hea") == "hvadm vm wait x --for heartbeat "
    assert bash.one("hvadm vm set x memory.st") == "hvadm vm set x memory.startup="
    assert bash.one("hvadm vm set x auto.start=al") == "hvadm vm set x auto.start=always "
    assert bash.one("hvadm help group cr") == "hvadm help group create "
    assert bash.all("hvadm remote invite x --role ") == ["administrator", "operator", "viewer"]
    assert bash.one("hvadm no such th") == "hvadm no such th"


def test_bash_completes_files(bash):
    (bash.here / "a disk.vhdx").touch()
    (bash.here / "kernels").mkdir()
    assert bash.one("hvadm vhd info a") == "hvadm vhd info a\\ disk.vhdx "
    assert bash.one("hvadm vm create x --kernel ker") == "hvadm vm create x --kernel kernels/"
    assert bash.one("hvadm vm create x --kernel=ker") == "hvadm vm create x --kernel=kernels/"
    assert bash.one("hvadm vm set x boot.kernel=ker") == "hvadm vm set x boot.kernel=kernels/"


def test_bash_completes_what_the_service_knows(bash, daemon):
    names = ["web", "mail server", "it's $(touch x)", "ünï", "-x"]
    ids = {name: daemon.create(name)["id"] for name in names}
    daemon.call("group.create", name="front row")
    assert bash.one("hvadm vm show we") == "hvadm vm show web "
    assert bash.one("hvadm vm start web mai") == "hvadm vm start web mail\\ server "
    assert bash.one("hvadm vm show 'mai") == "hvadm vm show 'mail server' "
    assert bash.one("hvadm vm show it") == "hvadm vm show it\\'s\\ \\$\\(touch\\ x\\) "
    assert bash.one("hvadm vm show ün") == "hvadm vm show ünï "
    assert bash.one(f"hvadm vm show {ids['web'][:-2]}") == f"hvadm vm show {ids['web']} "
    assert bash.one("hvadm vm list --group fr") == "hvadm vm list --group front\\ row "
    assert bash.one("hvadm group add front\\ row we") == "hvadm group add front\\ row web "
    assert bash.one("hvadm vm show -- -") == "hvadm vm show -- -x "
    assert bash.one(f"HVADM_CONNECT= hvadm --connect unix:{daemon.socket} vm show we").endswith("vm show web ")
    assert not (bash.here / "x").exists()


def test_bash_is_silent_where_no_service_answers(build, tmp_path):
    shell = Bash(build, tmp_path, f"unix:{tmp_path}/none.sock")
    try:
        assert shell.one("hvadm vm show we") == "hvadm vm show we"
        assert shell.one("hvadm vm cons") == "hvadm vm console "
    finally:
        shell.close()


def test_completion_gives_up_on_a_service_that_stands_still(build, stopped):
    listener = stopped.dir / "mute.sock"
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(listener))
        mute.listen()
        done = subprocess.run([build / "cli/hvadm", "--connect", f"unix:{listener}", "complete", "--", "vm", "show", ""],
                              capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGALRM, "", "")
