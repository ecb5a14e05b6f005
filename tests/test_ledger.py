"""The evidence ledger: what is acknowledged is there, and what is changed is found, whoever dies and whatever is full."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_world import POLICY, evidence

from edgeapp.core.events import BackendError, Box, ConfigError, Outcome, Verdict
from edgeapp.station import anchor as anchors
from edgeapp.station import ledger as ledger_module
from edgeapp.station import queries
from edgeapp.station.audit import Audit, parse_head, verify
from edgeapp.station.derived import MINUTE_NS, cover
from edgeapp.station.evidence import Entry, Evidence, Head, Judgement, encode, follow, says
from edgeapp.station.images import Images, Policy, name_of, path_in, wanted
from edgeapp.station.ledger import Receipt, open_ledger
from edgeapp.station.store import Store, open_reading

TESTS = Path(__file__).parent
ENV = os.environ | {"PYTHONPATH": str(TESTS.parent)}
KEY = b"sixteen bytes or more"
START_NS = 1_800_000_000_000_000_000


def verdict_entry(n: int, outcome: Outcome = Outcome.PASS, causes: tuple[str, ...] = (), **more: Any) -> Entry:
    fields = says(evidence(n, outcome, causes, **more)) | {"image": "", "image_bytes": 0, "image_lost": ""}
    return Entry("verdict", START_NS + n * 1_000_000_000, n * 1_000_000_000, fields)


def opened(name: str) -> Entry:
    return Entry("opened", START_NS, 0, {"ledger": name, "clock_back_ns": 0})


def written(folder: Path, rows: int, key: bytes = b"") -> list[Head]:
    """A ledger of so many rows, one in three a FAIL, anchored at its end."""
    with closing(Store(folder, key=key, utc_ns=START_NS)) as store:
        fails, defects = range(3, rows + 1, 3), ("dent", "scratch")
        heads = store.append(
            [opened(store.name)]
            + [
                verdict_entry(n, Outcome.FAIL, defects[: n % 2 + 1]) if n in fails else verdict_entry(n)
                for n in range(2, rows + 1)
            ]
        )
        store.write_anchor(START_NS)
    return heads


@contextmanager
def tampering(folder: Path) -> Iterator[sqlite3.Connection]:
    """What somebody can do who has the file."""
    database = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    for trigger in ("entries_stay", "entries_remain"):
        database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    yield database
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


# ---- the chain


def test_an_auditor_needs_only_sqlite_and_sha256(tmp_path: Path) -> None:
    heads = written(tmp_path, 40)
    before = bytes(32)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        for body, digest in database.execute("SELECT body, hash FROM entries ORDER BY seq"):
            before = hashlib.sha256(before + body.encode()).digest()
            assert before == digest
    assert heads[-1] == Head(40, before)


texts = st.text(st.characters(), max_size=20)  # surrogates too: a barcode reader gives what it gives
names = st.lists(texts, max_size=3, unique=True).map(tuple)
verdicts = st.builds(
    Verdict, st.sampled_from(Outcome), texts, texts, st.integers(0, 2**53), st.integers(0, 2**62), st.integers(0, 2**62),
    st.integers(0, 2**62), st.tuples(st.builds(Box, *[st.floats(width=32)] * 4, texts, st.floats())), texts,
)  # fmt: skip
evidences = st.builds(
    Evidence, verdicts, names, rule=texts, frame_sha256=texts, placement=texts, part_type=texts, light=texts, density=texts,
    sizes_mm=st.dictionaries(texts, st.floats(), max_size=3), operator=texts, lot=texts, serial=texts,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(st.lists(evidences, min_size=1, max_size=4), max_size=4),
    reopened=st.lists(st.booleans(), min_size=4),
)
def test_whatever_is_written_in_whatever_batches_verifies(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[Evidence]], reopened: list[bool]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    store = Store(folder, utc_ns=START_NS)
    store.append([opened(store.name)])
    for batch, again in zip(batches, reopened, strict=False):
        image = {"image": "", "image_bytes": 0, "image_lost": ""}
        heads = store.append([Entry("verdict", START_NS, 1, says(each) | image) for each in batch])
        if again:
            store.close()
            store = Store(folder)
        assert store.head == heads[-1]
    store.write_anchor(START_NS)
    head = store.head
    store.close()
    found = verify(folder)
    assert (found.wrong, found.head, found.verdicts) == ([], head, sum(map(len, batches[: len(reopened)])))


def test_numpy_numbers_and_half_characters_are_written_as_what_they_are() -> None:
    left, top, right, bottom = (np.float32(each) for each in (1, 2, 3, 4))
    box = Box(left, top, right, bottom, "dent", np.float64(0.5))  # type: ignore[arg-type] # as a detector may give them
    verdict = Verdict(Outcome.FAIL, "\ud83d broken", "belt", int(np.int64(3)), 1, 2, 3, (box,))
    body = json.loads(
        encode(Entry("verdict", 1, 2, says(Evidence(verdict, sizes_mm={"b": 2.0, "a": float("nan")}))), 9)
    )
    assert body["seq"] == 9
    assert body["verdict"]["why"] == "? broken"
    assert body["verdict"]["boxes"][0] == {
        "left": 1.0,
        "top": 2.0,
        "right": 3.0,
        "bottom": 4.0,
        "label": "dent",
        "score": 0.5,
    }
    assert list(body["sizes_mm"].items()) == [("a", None), ("b", 2.0)]


# ---- what somebody changes is found

ROWS = 30


def edit_body(database: sqlite3.Connection, seq: int) -> None:
    (body,) = database.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
    at = body.index('"utc_ns":') + 12
    changed = body[:at] + str((int(body[at]) + 1) % 10) + body[at + 1 :]
    database.execute("UPDATE entries SET body = ? WHERE seq = ?", (changed, seq))


def edit_hash(database: sqlite3.Connection, seq: int) -> None:
    database.execute("UPDATE entries SET hash = zeroblob(32) WHERE seq = ?", (seq,))


def edit_both(database: sqlite3.Connection, seq: int) -> None:
    """A forger who knows how the hash is made."""
    edit_body(database, seq)
    rows = dict(database.execute("SELECT seq, hash FROM entries"))
    (body,) = database.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
    digest = follow(Head(seq - 1, rows.get(seq - 1, bytes(32))), body.encode()).hash
    database.execute("UPDATE entries SET hash = ? WHERE seq = ?", (digest, seq))


def delete(database: sqlite3.Connection, seq: int) -> None:
    database.execute("DELETE FROM entries WHERE seq = ?", (seq,))


def delete_and_close_up(database: sqlite3.Connection, seq: int) -> None:
    delete(database, seq)
    database.execute("UPDATE entries SET seq = -(seq - 1) WHERE seq > ?", (seq,))
    database.execute("UPDATE entries SET seq = -seq WHERE seq < 0")


def swap(database: sqlite3.Connection, seq: int) -> None:
    other = seq + 1
    for one, to in ((seq, 0), (other, seq), (0, other)):
        database.execute("UPDATE entries SET seq = ? WHERE seq = ?", (to, one))


def insert(database: sqlite3.Connection, seq: int) -> None:
    database.execute("UPDATE entries SET seq = -(seq + 1) WHERE seq >= ?", (seq,))
    database.execute("UPDATE entries SET seq = -seq WHERE seq < 0")
    database.execute("INSERT INTO entries SELECT ?, body, hash FROM entries WHERE seq = ?", (seq, seq - 1 or 5))


def truncate(database: sqlite3.Connection, seq: int) -> None:
    database.execute("DELETE FROM entries WHERE seq >= ?", (seq,))


def blob(database: sqlite3.Connection, seq: int) -> None:
    drop_indexes(database)
    database.execute("UPDATE entries SET body = '' WHERE seq = ?", (seq,))


def drop_indexes(database: sqlite3.Connection) -> None:
    """So that what is no JSON any more can be written too."""
    for name in ("time", "serial", "lot", "kind"):
        database.execute(f"DROP INDEX entries_by_{name}")


@pytest.mark.parametrize("seq", [1, 2, 3, 15, ROWS - 1, ROWS])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (edit_body, 0), (edit_hash, 0), (edit_both, 1), (delete, 0), (delete_and_close_up, 0), (swap, 0), (insert, 0),
        (truncate, 0), (blob, 0),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)  # fmt: skip
def test_every_change_is_found_and_the_first_bad_row_named(
    tmp_path: Path, change: Callable[[sqlite3.Connection, int], None], named: int, seq: int
) -> None:
    if change is swap and seq == ROWS:
        seq -= 1
    written(tmp_path, ROWS)
    assert verify(tmp_path).ok
    with tampering(tmp_path) as database:
        change(database, seq)
    found = verify(tmp_path)
    assert not found.ok
    assert found.first_bad == min(seq + named, ROWS)  # the last row's forger is found by the anchor, at that row
    assert str(found.first_bad) in found.wrong[0]
    with pytest.raises(ConfigError, match="not what was written"):
        Store(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_one_byte_of_any_row_that_changes_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("byte")
    written(folder, 8)
    seq = data.draw(st.integers(1, 8))
    with tampering(folder) as database:
        (body,) = database.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
        at = data.draw(st.integers(0, len(body) - 1))
        other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda each: each != body[at]))
        drop_indexes(database)
        database.execute("UPDATE entries SET body = ? WHERE seq = ?", (body[:at] + other + body[at + 1 :], seq))
    assert verify(folder).first_bad == seq


def test_a_whole_rewritten_chain_is_found_by_the_anchor_and_by_a_noted_head(tmp_path: Path) -> None:
    heads = written(tmp_path, ROWS)
    with tampering(tmp_path) as database:
        database.execute("UPDATE entries SET body = replace(body, 'S10', 'S99') WHERE seq = 10")
        head = heads[8]
        for seq in range(10, ROWS + 1):
            (body,) = database.execute("SELECT body FROM entries WHERE seq = ?", (seq,)).fetchone()
            head = follow(head, body.encode())
            database.execute("UPDATE entries SET hash = ? WHERE seq = ?", (head.hash, seq))
    found = verify(tmp_path)
    assert found.wrong[0] == f"row {ROWS} is not the one in its anchor: it or one before it was rewritten"
    name = json.loads((tmp_path / "anchor.json").read_text())["ledger"]
    anchors.write(tmp_path / "anchor.json", anchors.sealed(name, head, START_NS, b""))  # the forger has the anchor, too
    assert verify(tmp_path).ok
    noted = verify(tmp_path, heads=(parse_head(str(heads[19])),))
    assert noted.first_bad == 20
    assert "head noted elsewhere" in noted.wrong[0]
    Store(tmp_path).close()  # nothing on the device knows better


def test_an_end_cut_off_together_with_the_anchor_is_found_only_by_a_noted_head(tmp_path: Path) -> None:
    heads = written(tmp_path, ROWS)
    earlier = (tmp_path / "anchor.json").read_text()
    with tampering(tmp_path) as database:
        truncate(database, 21)
        for table in ("counts", "causes"):
            database.execute(f"DELETE FROM {table}")
    assert "rows 21 to 30 are cut off: its anchor counts 30 rows" in verify(tmp_path).wrong
    name = json.loads(earlier)["ledger"]
    anchors.write(tmp_path / "anchor.json", anchors.sealed(name, heads[19], START_NS, b""))
    assert verify(tmp_path).first_bad is None
    assert verify(tmp_path, heads=(heads[-1],)).first_bad == 21


def test_a_key_keeps_the_anchor(tmp_path: Path) -> None:
    heads = written(tmp_path, ROWS, KEY)
    assert verify(tmp_path, key=KEY).ok
    assert verify(tmp_path).notes == [
        "the anchor is signed, and no key was given to check it: it proves nothing against somebody who can write it"
    ]
    name = json.loads((tmp_path / "anchor.json").read_text())["ledger"]
    for forged in (
        anchors.sealed(name, heads[19], START_NS, b""),
        anchors.sealed(name, heads[19], START_NS, b"x" * 16),
    ):
        anchors.write(tmp_path / "anchor.json", forged)
        assert "the anchor was not made with this key" in verify(tmp_path, key=KEY).wrong
        with pytest.raises(ConfigError, match="not made with this key"):
            Store(tmp_path, key=KEY)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"ledger":"x","rows":1,"head":"zz","utc_ns":1}'])
def test_an_anchor_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    written(tmp_path, 3)
    (tmp_path / "anchor.json").write_bytes(content)
    assert not verify(tmp_path).ok
    with pytest.raises(ConfigError, match="anchor"):
        Store(tmp_path)


def test_a_lost_anchor_and_a_lost_ledger_are_not_begun_anew(tmp_path: Path) -> None:
    written(tmp_path, 5)
    (tmp_path / "anchor.json").rename(tmp_path / "elsewhere")
    assert verify(tmp_path).wrong == ["there is no anchor: whether the end was cut off cannot be known"]
    with pytest.raises(ConfigError, match="has lost its anchor"):
        Store(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "anchor.json")
    (tmp_path / "ledger.sqlite").unlink()
    with pytest.raises(ConfigError, match="is gone, its anchor counts 5 rows"):
        Store(tmp_path)


def test_another_ledger_under_this_anchor_is_found(tmp_path: Path) -> None:
    written(tmp_path / "one", 5)
    written(tmp_path / "other", 9)
    (tmp_path / "other" / "ledger.sqlite").replace(tmp_path / "one" / "ledger.sqlite")
    found = verify(tmp_path / "one")
    assert (found.first_bad, found.wrong[0]) == (1, "row 1 is of another ledger than the anchor")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE counts SET parts = parts + 1 WHERE cause = 'dent'",
        "DELETE FROM causes WHERE seq = 6",
        "INSERT INTO images VALUES ('x.jpg', 3, 0, 4096)",
    ],
)
def test_a_table_that_does_not_follow_from_the_rows_is_found(tmp_path: Path, change: str) -> None:
    written(tmp_path, ROWS)
    with tampering(tmp_path) as database:
        database.execute(change)
    found = verify(tmp_path)
    assert found.first_bad is None
    assert "does not follow from the rows" in found.wrong[0]


def test_a_damaged_file_is_a_finding_and_no_traceback(tmp_path: Path) -> None:
    written(tmp_path, 400)
    path = tmp_path / "ledger.sqlite"
    data = bytearray(path.read_bytes())
    for at in range(8 * 4096, len(data), 3 * 4096):
        data[at : at + 200] = b"\xa5" * 200
    path.write_bytes(data)
    assert not verify(tmp_path).ok


def test_the_ledger_is_only_added_to_by_accident_too(tmp_path: Path) -> None:
    written(tmp_path, 5)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        for statement in ("DELETE FROM entries", "UPDATE entries SET body = '{}' WHERE seq = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="only added to"):
                database.execute(statement)


@pytest.mark.parametrize("text", ["", "5", "x:00", "0:" + "0" * 64, "5:00", "-1:" + "0" * 64])
def test_a_head_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="is no head"):
        parse_head(text)


def test_two_processes_do_not_write_one_ledger(tmp_path: Path) -> None:
    with closing(Store(tmp_path)):
        with pytest.raises(ConfigError, match="another process writes the ledger"):
            Store(tmp_path)
        assert open_reading(tmp_path).execute("SELECT count(*) FROM entries").fetchone() == (0,)
    Store(tmp_path).close()


# ---- a running ledger


@pytest.mark.real_time
async def test_an_acknowledged_verdict_is_there_for_everybody(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        for n in range(1, 6):
            receipt = await ledger.record(evidence(n))
            with closing(open_reading(tmp_path)) as other:
                row = other.execute("SELECT frame_number, hash FROM verdicts WHERE seq = ?", (receipt.seq,)).fetchone()
            assert row == (n, receipt.hash)
    assert verify(tmp_path).verdicts == 5


@pytest.mark.real_time
async def test_verdicts_keep_their_order_however_they_are_grouped(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        receipts = await asyncio.gather(*(ledger.submit(evidence(n)) for n in range(1, 2_001)))
        assert [each.seq for each in receipts] == list(range(2, 2_002))
        assert len({each.hash for each in receipts}) == 2_000
        assert ledger.head == Head(2_001, bytes.fromhex(receipts[-1].hash))
    with closing(open_reading(tmp_path)) as database:
        assert [row[0] for row in database.execute("SELECT frame_number FROM verdicts ORDER BY seq")] == list(
            range(1, 2_001)
        )


@pytest.mark.real_time
async def test_what_waits_when_it_closes_is_written_and_then_nothing_more(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        waiting = [ledger.submit(evidence(n)) for n in range(700)]
    assert len({(await each).seq for each in waiting}) == 700
    with pytest.raises(BackendError, match="it is closed"):
        await ledger.record(evidence(1))
    assert json.loads((tmp_path / "anchor.json").read_text())["rows"] == 701


@pytest.mark.real_time
async def test_a_cancelled_wait_does_not_take_the_verdict_back(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        task = asyncio.create_task(ledger.record(evidence(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert verify(tmp_path).verdicts == 1


@pytest.mark.real_time
async def test_a_full_list_refuses_counts_and_says_so_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock_ns = [START_NS]
    async with open_ledger(tmp_path, utc_ns=lambda: clock_ns[0]) as ledger:
        with monkeypatch.context() as full:
            full.setattr(ledger_module, "WAITING_MAX", 0)
            for n in range(7):
                clock_ns[0] += 1_000
                with pytest.raises(BackendError, match="0 verdicts wait for the disk"):
                    await ledger.record(evidence(n))
        clock_ns[0] += 1_000
        await ledger.record(evidence(7))
        assert ledger.refused == 7
    with closing(open_reading(tmp_path)) as database:
        query = "SELECT body FROM entries WHERE json_extract(body, '$.kind') = 'unrecorded'"
        ((body,),) = database.execute(query).fetchall()
    says = json.loads(body)
    assert (says["verdicts"], says["from_utc_ns"], says["to_utc_ns"]) == (7, START_NS + 1_000, START_NS + 7_000)
    found = verify(tmp_path)
    assert (found.ok, found.verdicts) == (True, 1)
    assert any("7 verdicts were refused" in each for each in found.notes)


@pytest.mark.real_time
async def test_a_clock_that_steps_is_noted_and_the_order_kept(tmp_path: Path) -> None:
    clock_ns = [START_NS]
    async with open_ledger(tmp_path, utc_ns=lambda: clock_ns[0]) as ledger:
        await ledger.record(evidence(1))
        clock_ns[0] -= 3_600_000_000_000
        await ledger.record(evidence(2))
    clock_ns[0] -= 60_000_000_000
    async with open_ledger(tmp_path, utc_ns=lambda: clock_ns[0]) as ledger:
        await ledger.record(evidence(3))
    found = verify(tmp_path)
    assert found.ok
    assert [each.partition(".")[0] for each in found.notes[:2]] == [
        "row 3: the clock stepped by -3600",
        "row 5: the clock was 60",
    ]
    with closing(open_reading(tmp_path)) as database:
        rows = list(database.execute("SELECT frame_number, utc_ns FROM verdicts ORDER BY seq"))
    assert [number for number, _ in rows] == [1, 2, 3]
    assert rows[0][1] > rows[1][1] > rows[2][1]


@pytest.mark.real_time
async def test_a_session_says_who_wrote_and_by_which_policy(tmp_path: Path) -> None:
    for _ in range(2):
        async with open_ledger(tmp_path, station="line 4", policy=POLICY, key=KEY):
            pass
    with closing(open_reading(tmp_path)) as database:
        rows = [json.loads(body) for (body,) in database.execute("SELECT body FROM entries")]
    assert [(each["kind"], each["station"], each["anchored_rows"]) for each in rows] == [
        ("opened", "line 4", 0),
        ("opened", "line 4", 1),
    ]
    assert (rows[0]["pass_share"], rows[0]["quota_bytes"], rows[0]["seed"]) == (0.1, 400_000, 3)
    assert rows[0]["ledger"] == rows[1]["ledger"]


@pytest.mark.real_time
async def test_a_judgement_names_a_row_that_is_there(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        receipt = await ledger.record(evidence(1, Outcome.FAIL, ("dent",)))
        await ledger.judge(Judgement(receipt.seq, Outcome.PASS, "ann", sampled=True))
        with pytest.raises(BackendError, match="no row 99"):
            await ledger.judge(Judgement(99, Outcome.PASS, "ann"))
    with closing(open_reading(tmp_path)) as database:
        (judged,) = queries.judgements(database)
        assert (judged.of, judged.verdict, judged.judgement, judged.sampled) == (receipt.seq, "FAIL", "PASS", True)
        found = queries.reinspected(database)
    assert (found.fails, found.fails_seen, found.fails_good, found.passes) == (1, 1, 1, 0)


@pytest.mark.real_time
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_verdict_that_no_ledger_can_hold_ends_it_aloud_and_nobody_waits_forever(tmp_path: Path) -> None:
    told: list[str] = []
    async with open_ledger(tmp_path, alarm=told.append) as ledger:
        await ledger.record(evidence(1))
        with pytest.raises(BackendError, match="NOT NULL constraint failed"):
            await ledger.record(evidence(2, part_type=None))
        with pytest.raises(BackendError, match="it is closed"):
            await ledger.record(evidence(3))
        assert ledger.trouble.startswith("its thread ended")
    assert told[0].startswith("the ledger's thread ended: IntegrityError")
    assert verify(tmp_path).verdicts == 1


# ---- pictures


@settings(deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 9), n=st.integers(1, 10**6))
def test_all_but_passes_are_kept_and_of_passes_more_with_a_larger_share(share: float, seed: int, n: int) -> None:
    kept = wanted(Policy(share, seed=seed), evidence(n).verdict)
    assert wanted(Policy(share, seed=seed), evidence(n).verdict) is kept
    assert not kept or wanted(Policy(min(1.0, share + 0.1), seed=seed), evidence(n).verdict)
    assert wanted(Policy(1.0, seed=seed), evidence(n).verdict)
    assert not wanted(Policy(0.0, seed=seed), evidence(n).verdict)
    assert wanted(Policy(0.0, seed=seed), evidence(n, Outcome.FAIL).verdict)
    assert wanted(Policy(0.0, seed=seed), evidence(n, Outcome.NOT_INSPECTED).verdict)


def test_the_sample_of_passes_is_as_large_as_asked() -> None:
    kept = sum(wanted(Policy(0.02, seed=5), evidence(n).verdict) for n in range(20_000))
    assert 330 < kept < 470  # 400 expected; more than three standard deviations either way


def in_folder(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "images").rglob("*") if path.is_file())


@pytest.mark.real_time
async def test_the_quota_holds_oldest_passes_go_first_and_every_deletion_is_a_row(tmp_path: Path) -> None:
    kinds = [Outcome.FAIL, Outcome.PASS, Outcome.NOT_INSPECTED, Outcome.PASS, Outcome.FAIL, Outcome.FAIL]
    policy = Policy(pass_share=1.0, quota_bytes=4 * 4096)
    gone = []
    async with open_ledger(tmp_path, policy=policy) as ledger:
        receipts: list[Receipt] = []
        for n, outcome in enumerate(kinds + [Outcome.FAIL] * 4):
            receipts.append(await ledger.record(evidence(n, outcome), lambda n=n: b"picture %d" % n))  # type: ignore[misc]
            there = {path.name for path in in_folder(tmp_path)}
            assert len(there) <= 4
            gone += [k for k, each in enumerate(receipts) if each.image not in there and k not in gone]
    with closing(open_reading(tmp_path)) as database:
        query = "SELECT body FROM entries WHERE json_extract(body, '$.kind') = 'image removed' ORDER BY seq"
        names = [name for (body,) in database.execute(query) for name in json.loads(body)["names"]]
    assert names == [
        receipts[k].image for k in (1, 3, 2, 0, 4, 5)
    ]  # passes, what was not inspected, fails: oldest first
    assert sorted(gone) == sorted((1, 3, 2, 0, 4, 5))
    assert verify(tmp_path, images=True).ok


@pytest.mark.real_time
async def test_a_picture_that_cannot_be_kept_costs_no_verdict_and_its_row_says_why(tmp_path: Path) -> None:
    def broken() -> bytes:
        raise ValueError("no such pixels")

    async with open_ledger(tmp_path, policy=Policy(quota_bytes=8192)) as ledger:
        for picture in (broken, lambda: bytes(9_000)):
            assert (await ledger.record(evidence(1, Outcome.FAIL), picture)).image == ""
        (tmp_path / "images").rename(tmp_path / "away")
        (tmp_path / "images").write_text("in the way")
        assert (await ledger.record(evidence(1, Outcome.FAIL), lambda: b"x")).image == ""
        assert ledger.pictures_lost == 3
    with closing(open_reading(tmp_path)) as database:
        whys = [why for (why,) in database.execute("SELECT image_lost FROM verdicts ORDER BY seq")]
    assert whys[:2] == ["it could not be encoded: no such pixels", "it is larger than the quota"]
    assert whys[2].startswith("the disk refused it")


@pytest.mark.real_time
async def test_a_picture_too_many_is_left_out_and_its_row_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_ledger(tmp_path) as ledger:
        with monkeypatch.context() as full:
            full.setattr(ledger_module, "PICTURES_MAX", 0)
            assert (await ledger.record(evidence(1, Outcome.FAIL), lambda: b"1")).image == ""
        assert (await ledger.record(evidence(2, Outcome.FAIL), lambda: b"2")).image == name_of(b"2")
        assert ledger.pictures_lost == 1
    with closing(open_reading(tmp_path)) as database:
        assert list(database.execute("SELECT image_lost FROM verdicts")) == [("0 pictures were waiting",), ("",)]


def test_strays_are_swept_and_strangers_stay(tmp_path: Path) -> None:
    images = Images(tmp_path)
    kept, stray = images.write(b"kept"), images.write(b"stray")
    begun = path_in(tmp_path, name_of(b"begun"))
    begun.write_bytes(b"beg")
    stranger = begun.parent / "notes.jpg"
    stranger.write_text("not ours")
    assert images.sweep({kept}) == 2
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted([kept, "notes.jpg"])
    assert not path_in(tmp_path, stray).exists()


@pytest.mark.real_time
async def test_a_changed_and_a_missing_picture_are_found(tmp_path: Path) -> None:
    async with open_ledger(tmp_path) as ledger:
        receipts = [await ledger.record(evidence(n, Outcome.FAIL), lambda n=n: b"%d" % n) for n in range(3)]  # type: ignore[misc]
    path_in(tmp_path / "images", receipts[0].image).write_bytes(b"other")
    path_in(tmp_path / "images", receipts[2].image).unlink()
    assert verify(tmp_path).ok
    found = verify(tmp_path, images=True)
    assert [each.partition(" (")[0] for each in found.wrong] == ["the picture of row 2", "the picture of row 4"]
    assert found.first_bad is None


# ---- questions


def test_counts_by_minute_agree_with_the_rows(tmp_path: Path) -> None:
    with closing(Store(tmp_path, utc_ns=START_NS)) as store:
        chance = random.Random(4)
        entries, told = [], []
        for n in range(3_000):
            outcome = chance.choice(list(Outcome))
            causes = (
                tuple(chance.sample(["dent", "burr", "stain"], chance.randint(1, 2))) if outcome is Outcome.FAIL else ()
            )
            entries.append(verdict_entry(n * 7, outcome, causes))
            told.append((entries[-1].utc_ns // MINUTE_NS, outcome, causes))
        store.append(entries)
    with closing(open_reading(tmp_path)) as database:
        for _ in range(30):
            first, length = START_NS // MINUTE_NS + chance.randint(-5, 300), chance.randint(0, 200)
            window = queries.Window(first * MINUTE_NS, (first + length) * MINUTE_NS)
            inside = [(outcome, causes) for minute, outcome, causes in told if first <= minute < first + length]
            found = queries.counts(database, window)
            assert found.failed == sum(outcome is Outcome.FAIL for outcome, _ in inside)
            assert found.parts == len(inside)
            for cause, parts in queries.causes(database, window).items():
                assert parts == sum(cause in causes for _, causes in inside)
            for minutes in (1, 7, 10, 45, 60, 120):
                by = queries.counts_by(database, window, minutes)
                assert sum(each.parts for _, each in by) == len(inside)
                assert all(began_ns % (minutes * MINUTE_NS) == 0 for began_ns, _ in by)


@settings(deadline=None)
@given(first=st.integers(0, 5_000), length=st.integers(0, 5_000))
def test_a_window_is_covered_once_by_few_spans(first: int, length: int) -> None:
    found = cover(first, first + length)
    assert sorted(minute for _, low, high in found for minute in range(low, high)) == list(range(first, first + length))
    assert all(low % span == high % span == 0 for span, low, high in found)
    assert sum((high - low) // span for span, low, high in found if span < 60) <= 2 * (9 + 5)


def test_a_part_is_found_by_what_is_known_of_it(tmp_path: Path) -> None:
    with closing(Store(tmp_path, utc_ns=START_NS)) as store:
        store.append([verdict_entry(n, Outcome.FAIL, ("dent",), lot=f"L{n // 4}") for n in range(1, 9)])
        store.append([verdict_entry(20, serial="", lot="")])
    with closing(open_reading(tmp_path)) as database:

        def rows(**known: Any) -> list[int]:
            return [each["seq"] for each in queries.verdicts(database, **known)]

        assert rows(serial="S3") == [3]
        assert rows(lot="L1") == [4, 5, 6, 7]
        assert rows(cause="dent", newest=2) == [8, 7]
        assert rows(outcome="PASS") == rows(seq=9) == [9]
        assert rows(serial="none") == []
        asked: list[str] = []
        database.set_trace_callback(asked.append)
        assert rows(serial="S3") + rows(lot="L2") + rows(cause="dent", newest=1) == [3, 8, 8]
        database.set_trace_callback(None)
        plans = [step[3] for each in asked for step in database.execute(f"EXPLAIN QUERY PLAN {each}")]
        assert len(asked) == 3
        assert not [step for step in plans if step.startswith("SCAN")]


# ---- the power goes


def driven(folder: Path, wishes: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    command = [sys.executable, str(TESTS / "ledger_world.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV) as process:
        assert process.stdin
        assert process.stdout
        for wish in wishes:
            print(json.dumps({"folder": str(folder), **wish}), file=process.stdin, flush=True)
            yield json.loads(process.stdout.readline())
        process.stdin.close()


@pytest.mark.parametrize("kills", [pytest.param(400, marks=pytest.mark.slow), 40])
def test_killed_at_any_moment_nothing_acknowledged_is_lost(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    wishes = [{"seed": n, "acks": chance.choice([-1, 0, *[chance.randint(1, 60)] * 8])} for n in range(kills)]
    acknowledged: list[tuple[int, str, str]] = []
    for n, answer in enumerate(driven(tmp_path, wishes)):
        assert answer["status"] == -9
        lines = [line.split() for line in answer["acks"]]
        acknowledged += [(int(seq), digest, image) for seq, digest, image in lines]
        if n % max(8, kills // 10) == 7 or n == kills - 1:  # the ledger grows, and verifying reads all of it
            found: Audit = verify(tmp_path, images=True)
            assert found.wrong == []
            with closing(open_reading(tmp_path)) as database:
                there = set(database.execute("SELECT seq, hash, iif(image = '', '-', image) FROM verdicts"))
            assert set(acknowledged) <= there
    assert len({seq for seq, _, _ in acknowledged}) == len(acknowledged) > kills
    assert verify(tmp_path).verdicts >= len(acknowledged)


def power_cut(cuts: int, *, careless: bool) -> dict[str, int]:
    if subprocess.run(
        ["unshare", "-m", "sh", "-c", "command -v mkfs.ext4 && losetup -f"], capture_output=True, check=False
    ).returncode:
        pytest.skip("this machine lets nobody mount a file system of its own")
    command = ["unshare", "-m", sys.executable, str(TESTS / "power_cut.py"), str(cuts), "1", "1" if careless else "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV, timeout=60 + 10 * cuts)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("cuts", [pytest.param(60, marks=pytest.mark.slow), 4])
def test_a_power_cut_loses_nothing_acknowledged(cuts: int) -> None:
    found = power_cut(cuts, careless=False)
    assert found["acks"] > 10 * cuts
    assert found["lost"] == 0


def test_without_the_fsync_a_power_cut_does_lose_what_was_acknowledged() -> None:
    """So the test above can fail."""
    assert power_cut(2, careless=True)["lost"] > 0


# ---- the disk is full


def test_on_a_full_disk_verdicts_wait_the_station_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    own_disk = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=12m tmpfs {tmp_path} && exec "$@"', "sh"]
    if subprocess.run([*own_disk, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of its own")
    command = [*own_disk, sys.executable, str(TESTS / "full_disk.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV, timeout=120)
    found = json.loads(done.stdout)
    assert found["trouble"] == "database or disk is full"
    told = [
        each for each in found["told"] if not each.startswith("the ledger's end is not anchored")
    ]  # if that came due
    assert told[0].startswith("verdicts wait, the ledger's disk refuses: database or disk is full; make room for")
    assert told[1:] == ["the ledger's disk takes verdicts again; none was lost that waited"]
    assert found["lost"] == 0
    assert found["wrong"] == []
    assert found["acknowledged"] + found["refused"] == found["submitted"] + 50
    assert found["acknowledged"] == found["verdicts"]
    assert found["refused"] == found["counted"] == found["unrecorded"] > 0
    assert found["lost_pictures"] > 0


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write the ledger"):
        Store(tmp_path / "file")
    with pytest.raises(ConfigError, match="there is no ledger in"):
        verify(tmp_path)
    (tmp_path / "ledger.sqlite").write_text("this is no database, though somebody gave it the name of one" * 20)
    with pytest.raises(ConfigError, match="cannot read the ledger"):
        verify(tmp_path)
