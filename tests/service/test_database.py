# SPDX-License-Identifier: Apache-2.0
"""The database is looked after: backups, damage met and survived, old events and jobs forgotten."""

import json
import pathlib
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from service import Connection, RpcError, wait_until


def backups(daemon):
    folder = daemon.state / "backups"
    return sorted(p for p in folder.iterdir()) if folder.exists() else []


def set_aside(daemon):
    return sorted(p for p in daemon.state.iterdir() if p.name.startswith("vmms.db.damaged-") and p.name.endswith("Z"))


def damage(path, step=97):
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), step):
        data[at] ^= 0x5A
    path.write_bytes(data)
    return bytes(data)


def restore(daemon, *args):
    return subprocess.run([daemon.build / "vmmsd/vmmsd", "--state-dir", daemon.state, "--restore-database", *args],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)


def end(daemon, number=signal.SIGTERM):
    daemon.kill(number)
    daemon.log.unlink()


@pytest.fixture
def backed_up(stopped):
    """Ended well; `old` is in the backup, `new` is not. Its path is stopped.backup."""
    stopped.start()
    stopped.create("old")
    stopped.backup = pathlib.Path(stopped.call("host.backup")["path"])
    stopped.create("new")
    end(stopped)
    return stopped


def names(daemon):
    return sorted(vm["name"] for vm in daemon.vms(fields=["name"]))


def test_a_backup_is_a_whole_database_of_its_own(daemon):
    daemon.create("web")
    made = daemon.call("host.backup")
    path = pathlib.Path(made["path"])
    assert backups(daemon) == [path] and path.stat().st_size == made["bytes"] and path.stat().st_mode & 0o777 == 0o600
    database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("SELECT name FROM vm").fetchall() == [("web",)]
    database.close()


def test_seven_backups_are_kept_and_hvadm_makes_one(daemon):
    made = [daemon.call("host.backup")["path"] for _ in range(9)]
    assert [str(p) for p in backups(daemon)] == made[-7:]
    answer = daemon.hvadm("--json", "host", "backup")
    assert answer.returncode == 0 and json.loads(answer.stdout)["path"] == str(backups(daemon)[-1])
    assert "vmms-" in daemon.hvadm("host", "backup").stdout and len(backups(daemon)) == 7
    assert daemon.hvadm("host", "backup", "now").returncode == 2


def test_a_backup_that_cannot_be_made_is_an_error_and_leaves_nothing(daemon):
    (daemon.state / "backups").write_text("in the way")
    with pytest.raises(RpcError, match="[Nn]o backup"):
        daemon.call("host.backup")
    assert (daemon.state / "backups").read_text() == "in the way"
    daemon.create("still-served")


def make_older(daemon):
    """A database as the third version of the schema was, with an event in it."""
    steps = sorted((pathlib.Path(__file__).parents[2] / "vmmsd/store/migrations").glob("*.sql"))[:3]
    daemon.state.mkdir(mode=0o700)
    old = sqlite3.connect(daemon.state / "vmms.db")
    old.executescript("".join(step.read_text() for step in steps))
    old.executescript("PRAGMA application_id=1752585777; PRAGMA user_version=3;"
                      "INSERT INTO event (seq, boot_id, time_ms, monotonic_ns, type, generation, actor, data) "
                      f"VALUES (1, 'b', {int(time.time() * 1000)}, 3, 'host.made', 0, 'uid:0', '{{}}')")
    old.close()


def version_of(path):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return version


def test_an_older_database_is_backed_up_before_it_is_changed(stopped):
    make_older(stopped)
    stopped.start()
    (made,) = backups(stopped)
    assert version_of(made) == 3 and version_of(stopped.state / "vmms.db") > 3
    assert [e["type"] for e in stopped.events()] == ["host.made"]
    end(stopped)
    assert restore(stopped, made).returncode == 0
    stopped.start()
    assert version_of(stopped.state / "vmms.db") > 3


def test_no_migration_begins_without_its_backup(stopped):
    make_older(stopped)
    (stopped.state / "backups").write_text("in the way")
    status, said = stopped.fails()
    assert status == 1 and "No backup can be put into" in said and version_of(stopped.state / "vmms.db") == 3


def test_a_damaged_database_is_set_aside_and_the_newest_good_backup_is_named(backed_up):
    kept = damage(backed_up.state / "vmms.db")
    bad = backed_up.state / "backups/vmms-99991231T000000.000Z.db"
    bad.write_bytes(kept)
    for attempt in range(2):
        status, said = backed_up.fails()
        assert status == 1
        assert f"vmmsd --state-dir {backed_up.state} --restore-database {backed_up.backup}" in said
        (aside,) = set_aside(backed_up)
        assert aside.read_bytes() == kept and not (backed_up.state / "vmms.db").exists()
        backed_up.log.unlink()
    answer = restore(backed_up)
    assert answer.returncode == 0 and str(backed_up.backup) in answer.stdout
    backed_up.start()
    assert names(backed_up) == ["old"] and set_aside(backed_up) == [aside]


def test_without_a_good_backup_a_damaged_database_is_not_replaced_by_an_empty_one(backed_up):
    damage(backed_up.state / "vmms.db")
    backed_up.backup.unlink()
    for attempt in range(2):
        status, said = backed_up.fails()
        assert status == 1 and "There is no good backup" in said
    assert not (backed_up.state / "vmms.db").exists()
    assert restore(backed_up).returncode == 1


def test_a_database_that_went_away_is_missed(backed_up):
    (backed_up.state / "vmms.db").unlink()
    status, said = backed_up.fails()
    assert status == 1 and "but there was one" in said and str(backed_up.backup) in said


def test_a_log_without_its_database_is_set_aside_with_it(backed_up):
    (backed_up.state / "vmms.db").unlink()
    (backed_up.state / "vmms.db-wal").write_bytes(b"somebody's log")
    assert backed_up.fails()[0] == 1
    assert restore(backed_up).returncode == 0
    (aside,) = backed_up.state.glob("vmms.db.damaged-*-wal")
    assert aside.read_bytes() == b"somebody's log"
    backed_up.log.unlink()
    backed_up.start()
    assert names(backed_up) == ["old"]


def test_a_named_file_is_restored_and_what_was_there_is_kept(backed_up):
    answer = restore(backed_up, backed_up.backup)
    assert answer.returncode == 0
    (aside,) = set_aside(backed_up)
    assert str(aside) in answer.stdout
    backed_up.start()
    assert names(backed_up) == ["old"]
    end(backed_up)
    assert restore(backed_up, aside).returncode == 0
    backed_up.start()
    assert names(backed_up) == ["new", "old"] and len(set_aside(backed_up)) == 2


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, b"\0" * 8192])
def test_what_is_no_database_of_ours_is_not_restored(backed_up, content):
    before = (backed_up.state / "vmms.db").read_bytes()
    other = backed_up.dir / "other"
    other.write_bytes(content)
    assert restore(backed_up, other).returncode == 1
    assert restore(backed_up, backed_up.dir / "missing").returncode == 1
    assert (backed_up.state / "vmms.db").read_bytes() == before and not set_aside(backed_up)
    assert not (backed_up.state / "vmms.db.new").exists()


def test_a_database_in_use_is_not_replaced(daemon):
    made = daemon.call("host.backup")["path"]
    answer = restore(daemon, made)
    assert answer.returncode == 1 and "Another vmmsd" in answer.stderr
    daemon.create("web")


def test_after_a_restore_events_and_jobs_get_numbers_of_their_own(backed_up):
    backed_up.start()
    last = backed_up.call("host.get")["last_event"]
    end(backed_up)
    assert restore(backed_up).returncode == 0
    backed_up.start()
    with pytest.raises(RpcError) as caught:
        backed_up.events(since=last)
    first = caught.value.data["first_event"]
    assert caught.value.name == "EventGap" and first > last
    events = backed_up.events(since=first)
    assert events[0]["type"] == "host.database_restored" and events[0]["data"] == {"from": backed_up.backup.name}
    backed_up.create("more")
    assert [e["seq"] for e in backed_up.events(since=first)] == [first, first + 1]


def test_a_running_vm_is_found_again_after_a_restore(stopped):
    stopped.start()
    stopped.create("web")
    pid = stopped.call("vm.start", vm="web")["vm"]["worker_pid"]
    stopped.call("host.backup")
    end(stopped, signal.SIGKILL)
    assert restore(stopped).returncode == 0
    stopped.start()
    vm = stopped.call("vm.get", vm="web")
    assert vm["state"] == "running" and vm["worker_pid"] == pid
    assert stopped.call("vm.turn_off", vm="web")["vm"]["state"] == "off"


def break_an_index(path):
    """Damage that only a look at all of it finds: an index that lacks a row of its table."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA writable_schema=ON")
    database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'TEXT NOT NULL UNIQUE', 'TEXT NOT NULL') WHERE name = 'vm'")
    row = database.execute("SELECT rowid, type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'sqlite_autoindex_vm_2'").fetchone()
    database.execute("DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_vm_2'")
    database.commit()
    database.close()
    database = sqlite3.connect(path)
    database.execute("DELETE FROM vm WHERE name = 'new'")
    database.execute("DELETE FROM device WHERE vm NOT IN (SELECT id FROM vm)")
    database.execute("PRAGMA writable_schema=ON")
    database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'name TEXT NOT NULL', 'name TEXT NOT NULL UNIQUE') WHERE name = 'vm'")
    database.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row[1:])
    database.commit()
    database.close()


def test_after_an_unclean_stop_all_of_it_is_looked_at_behind_the_clients(backed_up):
    backed_up.start()
    end(backed_up, signal.SIGKILL)
    assert (backed_up.state / "vmms.db.open").exists()
    (backed_up.state / "vmms.db.checked").unlink(missing_ok=True)
    backed_up.start()
    wait_until((backed_up.state / "vmms.db.checked").exists, "the check")
    assert names(backed_up) == ["new", "old"]
    end(backed_up)
    assert not (backed_up.state / "vmms.db.open").exists()


def test_damage_that_only_a_whole_look_finds_ends_the_service_and_is_set_aside(backed_up):
    break_an_index(backed_up.state / "vmms.db")
    (backed_up.state / "vmms.db.open").write_text("")
    backed_up.spawn()
    assert backed_up.process.wait(15) == 1
    assert "is damaged" in backed_up.log_text() and not set_aside(backed_up)
    backed_up.log.unlink()
    status, said = backed_up.fails()
    assert status == 1 and str(backed_up.backup) in said and len(set_aside(backed_up)) == 1
    assert restore(backed_up).returncode == 0
    backed_up.log.unlink()
    backed_up.start()
    assert names(backed_up) == ["old"]


def test_more_events_than_are_kept_are_forgotten_from_the_oldest(stopped):
    stopped.start("--keep-events", "1000")
    stopped.create("web")
    for i in range(1100):
        stopped.call("vm.configure", vm="web", settings={"notes": str(i)})
    with pytest.raises(RpcError) as caught:
        stopped.events(since=1)
    first, last = caught.value.data["first_event"], stopped.call("host.get")["last_event"]
    assert caught.value.name == "EventGap" and last - first + 1 <= 1051
    events = stopped.events(since=first)
    assert [e["seq"] for e in events][:3] == [first, first + 1, first + 2]
    end(stopped)
    stopped.start("--keep-events", "1000")
    with pytest.raises(RpcError) as caught:
        stopped.events(since=1)
    assert caught.value.data["first_event"] >= first


def test_old_events_are_forgotten_but_for_the_last_thousand(stopped):
    stopped.start()
    stopped.create("web")
    end(stopped)
    long_ago = (time.time() - 31 * 86400) * 1000
    database = sqlite3.connect(stopped.state / "vmms.db")
    row = database.execute("SELECT boot_id, monotonic_ns, type, vm, vm_name, generation, actor, data FROM event").fetchone()
    database.executemany("INSERT INTO event (seq, time_ms, boot_id, monotonic_ns, type, vm, vm_name, generation, actor, data) "
                         "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", [(seq, int(long_ago), *row) for seq in range(2, 25001)])
    database.execute("UPDATE event SET time_ms = ?", (int(long_ago),))
    database.commit()
    database.close()
    stopped.start()
    for i in range(4):
        stopped.call("vm.configure", vm="web", settings={"notes": str(i)})
    with pytest.raises(RpcError) as caught:
        stopped.events(since=1)
    assert 23900 <= caught.value.data["first_event"] <= 24010


def put_large_events(daemon, count, data_bytes):
    """Behind the one that is there, so many, each with its place in the log."""
    database = sqlite3.connect(daemon.state / "vmms.db")
    row = database.execute("SELECT boot_id, time_ms, monotonic_ns, type, vm, vm_name, generation, actor FROM event").fetchone()
    first, total = database.execute("SELECT seq, total FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    assert total > 64
    data = json.dumps({"x": "x" * data_bytes})
    database.executemany("INSERT INTO event (boot_id, time_ms, monotonic_ns, type, vm, vm_name, generation, actor, data, seq, "
                         "total) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                         [(*row, data, first + n, total + n * len(data)) for n in range(1, count + 1)])
    database.commit()
    database.close()
    return first + count


def kept_bytes(daemon):
    return int(re.search(r"^hvstack_events_kept_bytes (\d+)$", daemon.metrics(), re.M)[1])


def first_kept(daemon):
    with pytest.raises(RpcError) as caught:
        daemon.events(since=1)
    return caught.value.data["first_event"]


def test_more_bytes_of_events_than_are_kept_are_forgotten_from_the_oldest(stopped):
    limit = 16 << 20
    stopped.start("--keep-bytes", str(limit))
    stopped.create("web")
    assert 0 < kept_bytes(stopped) < 2000
    end(stopped)
    last = put_large_events(stopped, 30000, 2000)
    stopped.start("--keep-bytes", str(limit))
    assert kept_bytes(stopped) > 3 * limit
    stopped.call("vm.configure", vm="web", settings={"notes": "n"})
    wait_until(lambda: kept_bytes(stopped) <= limit * 1.05, "the log to be smaller, step by step, after one change")
    assert limit * 0.9 < kept_bytes(stopped) <= limit * 1.05
    assert last - limit // 2000 * 1.05 <= first_kept(stopped) <= last - limit // 2100
    before = kept_bytes(stopped)
    end(stopped)
    stopped.start("--keep-bytes", str(limit))
    assert kept_bytes(stopped) == before


def test_a_reload_changes_how_many_events_are_kept(stopped):
    file = stopped.dir / "vmmsd.conf"
    file.write_text("[events]\nkeep-events = 100000\n")
    stopped.start("--config", str(file))
    stopped.create("web")
    end(stopped)
    last = put_large_events(stopped, 30000, 2000)
    stopped.start("--config", str(file))
    assert stopped.events(since=1)
    file.write_text("[events]\nkeep-bytes = 33554432\n")
    stopped.process.send_signal(signal.SIGHUP)
    wait_until(lambda: kept_bytes(stopped) < 36 << 20, "the log to be smaller, step by step, though nothing is changed")
    assert first_kept(stopped) > last - 20000
    file.write_text("[events]\nkeep-events = 1000\n")
    stopped.process.send_signal(signal.SIGHUP)
    wait_until(lambda: first_kept(stopped) > last - 1100, "fewer events")


@pytest.mark.parametrize("option", [["--keep-events", "10"], ["--keep-bytes", "1048576"], ["--keep-bytes", "1G"], ["--keep-events", "many"], ["--keep-days", "0"],
                                    ["--keep-days", "99999999999999999999"], ["--restore-database="]])
def test_a_wrong_option_is_refused(stopped, option):
    status, said = stopped.fails(*option)
    assert status == 2 and "See vmmsd --help" in said


def test_jobs_are_forgotten_a_week_after_their_end(images):
    image = images.images / "a.vhdx"
    job = images.call("image.create", path=str(image), size_bytes=1 << 20, wait=True)["job"]["id"]
    images.call("job.get", job=job)
    end(images)
    database = sqlite3.connect(images.state / "vmms.db")
    database.execute("UPDATE job SET submitted_ms = submitted_ms - 700000000, started_ms = started_ms - 700000000, "
                     "ended_ms = ended_ms - 700000000")
    database.commit()
    database.close()
    images.start()
    wait_until(lambda: images.call("job.list")["jobs"] == [], "the old job to go")
    wait_until(lambda: images.events()[-1]["type"] == "job.removed", "its event")
    assert images.events()[-1]["job"] == job and image.exists()
    other = images.images / "b.vhdx"
    assert images.call("image.create", path=str(other), size_bytes=1 << 20, wait=True)["job"]["id"] == job + 1
