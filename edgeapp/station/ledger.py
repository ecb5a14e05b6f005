"""The evidence ledger of a running station: a verdict is acknowledged when its row is durable, and not before.

Group commit (Gray and Reuter 1993, 10.4.6): one thread takes all that has gathered, adds it in one transaction, and
acknowledges it after SQLite's fsync. A lone verdict is committed at once; while one fsync is under way the next
group gathers. The loop only appends to a list.

When the disk refuses, verdicts wait in the list, the station is told, and the same rows are tried again. A full list refuses
new ones by an error, counts them, and says in a row of its own how many, as soon as there is room.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeapp.core.clock import now_ns
from edgeapp.core.events import MS, BackendError, ConfigError, Verdict
from edgeapp.station.evidence import Entry, Evidence, Head, Judgement, Look, Picture, says
from edgeapp.station.images import Images, Policy, size_on_disk, wanted
from edgeapp.station.store import LOG_BYTES, Store

WAITING_MAX: Final = 8_192  # about 10 MB of verdicts: over four minutes of 30 parts a second with no disk
PICTURES_MAX: Final = 32  # a frame can be 6 MB; a verdict beyond goes in without its picture and says so
GROUP_MAX: Final = 512  # rows of one commit: bounds how long its first row waits for its last
RETRY_S: Final = 1.0  # between two tries on a disk that refuses
CLOSE_TRIES: Final = 3  # what a disk still refuses at the end is told as lost to whoever waits for it
ANCHOR_IDLE_S: Final = 1.0  # rows are anchored so long after the last anchor when nobody waits,
ANCHOR_BUSY_S: Final = 10.0  # and so long after it in any case
LOG_IDLE_BYTES: Final = LOG_BYTES * 3 // 4  # the log is moved into the database from here on when nobody waits,
LOG_BUSY_BYTES: Final = LOG_BYTES * 8  # and from here on in any case
CLOCK_STEP_NS: Final = 500 * MS  # the wall clock and the monotonic one part so far from one row to the next: a step
_SEEN: Final = {"frame_sha256", "light"}  # what a `Look` finds stays true
SLACK_BYTES: Final = 1 << 20  # room that is made beyond what one picture needs, so that not every picture makes room


@dataclass(frozen=True, slots=True)
class Receipt:
    """The row is durable."""

    seq: int
    hash: str
    """In hex: whoever keeps it elsewhere can prove later that the row was not changed."""

    image: str = ""
    """The name of the kept picture; empty if none was kept."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """An entry on its way to the disk, and who waits for it."""

    entry: Entry
    done: asyncio.Future[Receipt]
    verdict: Verdict | None = None
    picture: Picture | None = field(default=None, repr=False)
    look: Look | None = field(default=None, repr=False)
    image: str = ""


class Ledger:
    """Lives on one loop; its thread does the writing. Made by `open_ledger`."""

    def __init__(
        self, store: Store, images: Images, policy: Policy, *, alarm: Callable[[str], None], utc_ns: Callable[[], int]
    ) -> None:
        self._store, self._images, self._policy, self._alarm, self._utc_ns = store, images, policy, alarm, utc_ns
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._unwritten: dict[asyncio.Future[Receipt], _Waiting] = {}  # those that wait and the group that is tried
        self._writing: list[_Waiting] = []  # what the disk has been given just now
        self._pictures = 0
        self._closing = False
        self._clocks = (utc_ns(), now_ns())
        self._used_bytes = store.images_bytes()
        self._refused, self._refused_from_ns, self._refused_to_ns = 0, 0, 0
        self._anchored_s, self._unanchored = time.monotonic(), False
        self.trouble = ""
        """Why verdicts wait; empty if they do not. While it is not, a station must not let parts pass."""

        self.refused = 0
        """Verdicts that found the list full; all of them, while the ledger was open."""

        self.pictures_lost = 0
        """Pictures that should have been kept and were not; their rows say why."""

        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @property
    def head(self) -> Head:
        """The end of the chain, as far as it is durable."""
        return self._store.head

    def submit(
        self, evidence: Evidence, picture: Picture | None = None, look: Look | None = None
    ) -> asyncio.Future[Receipt]:
        """Begin to record a verdict; the future ends when its row is durable. Never blocks.

        What `look` finds replaces the evidence's fields of that name. The future fails with BackendError if the list is full or the ledger closes on a disk that refuses.
        """
        return self._submit("verdict", says(evidence), evidence.verdict, picture, look)

    def instead(self, written: asyncio.Future[Receipt], evidence: Evidence) -> bool:
        """Let what `submit` gave this future for say something else; False if it may be on the disk already."""
        with self._ready:
            one = self._unwritten.get(written)
            if one is None or one in self._writing:
                return False
            fields = {**one.entry.says, **{name: value for name, value in says(evidence).items() if name not in _SEEN}}
            one.entry, one.verdict = (
                Entry(one.entry.kind, one.entry.utc_ns, one.entry.mono_ns, fields),
                evidence.verdict,
            )
            return True

    async def record(self, evidence: Evidence, picture: Picture | None = None) -> Receipt:
        """Record a verdict; durable on return. Raises BackendError as `submit` does. A cancel does not take it back."""
        return await self.submit(evidence, picture)

    async def judge(self, judgement: Judgement) -> Receipt:
        """Record what a person found; durable on return. Raises BackendError, also if there is no such row yet."""
        if not 0 < judgement.of <= self.head.rows:
            raise BackendError(f"the ledger has no row {judgement.of} to judge")
        return await self._submit("judgement", says(judgement))

    def note(self, kind: str, fields: Mapping[str, Any]) -> asyncio.Future[Receipt]:
        """Begin to record what is no verdict, such as a switch of the rule; as `submit`. A cancel does not take it back."""
        return self._submit(kind, dict(fields))

    def _submit(
        self,
        kind: str,
        fields: dict[str, Any],
        verdict: Verdict | None = None,
        picture: Picture | None = None,
        look: Look | None = None,
    ) -> asyncio.Future[Receipt]:
        done: asyncio.Future[Receipt] = self._loop.create_future()
        utc_ns = self._utc_ns()
        with self._ready:
            full, ended = len(self._waiting) >= WAITING_MAX, self._closing
            if full:
                self._refused, self.refused = self._refused + 1, self.refused + 1
                self._refused_from_ns, self._refused_to_ns = self._refused_from_ns or utc_ns, utc_ns
            elif not ended:
                lost = ""
                if picture and verdict and not wanted(self._policy, verdict):
                    picture = None
                elif picture and self._pictures >= PICTURES_MAX:
                    picture, lost = None, f"{PICTURES_MAX} pictures were waiting"
                    self.pictures_lost += 1
                self._pictures += picture is not None
                if verdict:
                    fields |= {"image": "", "image_bytes": 0, "image_lost": lost}
                one = _Waiting(Entry(kind, utc_ns, now_ns(), fields), done, verdict, picture, look)
                self._waiting.append(one)
                self._unwritten[done] = one
                self._ready.notify()
        if full or ended:
            why = (
                f"{WAITING_MAX} verdicts wait for the disk ({self.trouble or 'it is slow'})" if full else "it is closed"
            )
            done.set_exception(BackendError(f"the ledger did not take a verdict: {why}"))
            done.exception()  # it is counted; whoever waits gets it all the same
        return done

    # In the ledger's thread

    def _run(self) -> None:
        group: list[_Waiting] = []
        try:
            while (taken := self._take()) is not None:
                group = taken
                if group:
                    self._commit(group)
                self._keep_house()
            self._anchor()
        except Exception as bug:  # whoever waits must not wait forever
            with self._ready:
                self._closing, self.trouble = True, f"its thread ended: {bug}"
                group = group + self._waiting
                self._waiting = []
            self._tell(f"the ledger's thread ended: {type(bug).__name__}: {bug}")
            self._answer(group, BackendError(f"the ledger did not take a verdict: {bug}"))
            raise

    def _take(self) -> list[_Waiting] | None:
        """What has gathered; nothing when it is time to keep house; None at the end."""
        with self._ready:
            anchored = self._store.anchor.is_at(self._store.head)
            if not self._waiting and not self._closing:
                self._ready.wait(None if anchored else ANCHOR_IDLE_S)
            if not self._waiting and self._closing:
                return None
            group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            self._pictures -= sum(each.picture is not None for each in group)
        return group

    def _commit(self, group: list[_Waiting]) -> None:
        for each in group:
            self._look(each)
            self._keep_picture(each)
        tries = 0
        while True:
            with self._ready:
                self._writing = group
                entries, clocks, refused = self._entries(group)
            try:
                heads = self._store.append(entries)
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError):
                raise  # no disk's fault: to try again would hold up every verdict behind it
            except sqlite3.Error as error:
                self._writing = []
                tries = tries + 1 if self._closing else 0
                if tries >= CLOSE_TRIES:
                    why = BackendError(f"the ledger closed before the disk took a verdict: {error}")
                    self._tell(f"{len(group)} verdicts could not be recorded: {error}")
                    self._answer(group, why)
                    return
                self._in_trouble(error)
            else:
                break
        self._clocks = clocks
        with self._ready:
            self._refused -= refused
            self._refused_from_ns = self._refused_to_ns if self._refused else 0
        rows = {id(entry): head for entry, head in zip(entries, heads, strict=True)}
        receipts = [Receipt(rows[id(one.entry)].rows, rows[id(one.entry)].hash.hex(), one.image) for one in group]
        self._writing = []
        self._answer(group, receipts)
        if self.trouble:
            self.trouble = ""
            self._tell("the ledger's disk takes verdicts again; none was lost that waited")

    def _in_trouble(self, error: Exception) -> None:
        if not self.trouble:
            self.trouble = str(error)
            self._tell(f"verdicts wait, the ledger's disk refuses: {error}; make room for {self._store.folder}")
        with self._ready:
            self._ready.wait_for(lambda: self._closing, RETRY_S)
        if self._closing:
            time.sleep(RETRY_S / 10)

    def _entries(self, group: list[_Waiting]) -> tuple[list[Entry], tuple[int, int], int]:
        """The rows of a group, the ledger's own among them, the clocks after it, and how many refused ones it tells of."""
        (utc_ns, mono_ns), refused, entries = self._clocks, self._refused, []
        for each in group:
            entry = each.entry
            step_ns = (entry.utc_ns - utc_ns) - (entry.mono_ns - mono_ns)
            if abs(step_ns) > CLOCK_STEP_NS:
                entries.append(Entry("clock", entry.utc_ns, entry.mono_ns, {"step_ns": step_ns}))
            entries.append(entry)
            utc_ns, mono_ns = entry.utc_ns, entry.mono_ns
        if refused:
            span = {"verdicts": refused, "from_utc_ns": self._refused_from_ns, "to_utc_ns": self._refused_to_ns}
            entries.append(Entry("unrecorded", utc_ns, mono_ns, span))
        return entries, (utc_ns, mono_ns), refused

    def _look(self, one: _Waiting) -> None:
        """Find in the frame what the row says of it; a failure must not cost the verdict."""
        if one.look:
            look, one.look = one.look, None
            with suppress(Exception):
                self._add(one, look())

    def _add(self, one: _Waiting, fields: Mapping[str, Any]) -> None:
        with self._ready:
            one.entry = Entry(one.entry.kind, one.entry.utc_ns, one.entry.mono_ns, {**one.entry.says, **fields})

    def _keep_picture(self, one: _Waiting) -> None:
        """Write the picture, durably, and name it in the row; or say in the row why there is none."""
        if not (picture := one.picture):
            return
        one.picture, lost, data, size = None, "", b"", 0
        try:
            data = picture()
            size = size_on_disk(data)
        except Exception as error:  # noqa: BLE001 # an encoder's failure must not cost the verdict
            lost = f"it could not be encoded: {error}"
        if not lost and size > self._policy.quota_bytes:
            lost = "it is larger than the quota"
        if not lost:
            try:
                self._make_room(size, one.entry)
                one.image = self._images.write(data)
                self._used_bytes += size
            except (OSError, sqlite3.Error) as error:
                lost = f"the disk refused it: {error}"
        self.pictures_lost += bool(lost)
        self._add(one, {"image": one.image, "image_bytes": size if one.image else 0, "image_lost": lost})

    def _make_room(self, size: int, at: Entry) -> None:
        """Let the oldest pictures go until `size` more bytes are within the quota. Raises OSError or sqlite3.Error."""
        over = self._used_bytes + size - self._policy.quota_bytes
        if over <= 0:
            return
        gone = self._store.images_to_go(over + min(SLACK_BYTES, self._policy.quota_bytes // 20))
        names = [each.name for each in gone]
        self._store.append([Entry("image removed", at.utc_ns, at.mono_ns, {"names": names, "why": "quota"})])
        for each in gone:
            self._images.remove(each.name)
        self._used_bytes = self._store.images_bytes()

    def _keep_house(self) -> None:
        """Anchor and checkpoint, preferably while nobody waits."""
        idle = not self._waiting
        age_s = time.monotonic() - self._anchored_s
        if not self._store.anchor.is_at(self._store.head) and age_s >= (ANCHOR_IDLE_S if idle else ANCHOR_BUSY_S):
            self._anchor()
        if self._store.log_bytes() > (LOG_IDLE_BYTES if idle else LOG_BUSY_BYTES):
            with suppress(sqlite3.Error):  # a full disk: the rows are safe in the log, and a commit will say so
                self._store.checkpoint()

    def _anchor(self) -> None:
        self._anchored_s = time.monotonic()
        try:
            self._store.write_anchor(self._utc_ns())
        except OSError as error:
            if not self._unanchored:
                self._tell(f"the ledger's end is not anchored: {error.strerror}; make room for {self._store.folder}")
            self._unanchored = True
        else:
            self._unanchored = False

    def _answer(self, group: list[_Waiting], answers: list[Receipt] | BackendError) -> None:
        with self._ready:
            for each in group:
                self._unwritten.pop(each.done, None)

        def answer() -> None:
            for n, each in enumerate(group):
                if each.done.done():
                    continue
                if isinstance(answers, BackendError):
                    each.done.set_exception(answers)
                    each.done.exception()  # nobody may be waiting
                else:
                    each.done.set_result(answers[n])

        with suppress(RuntimeError):  # the loop was closed without us: the rows are durable all the same
            self._loop.call_soon_threadsafe(answer)

    def _tell(self, what: str) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._alarm, what)

    def end(self) -> None:
        """Take nothing more, write what waits, anchor, close. Blocks: for a thread. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()
        self._store.close()


@asynccontextmanager
async def open_ledger(
    folder: Path,
    *,
    policy: Policy = Policy(),
    key: bytes = b"",
    station: str = "",
    version: str = "",
    alarm: Callable[[str], None] = lambda _: None,
    utc_ns: Callable[[], int] = time.time_ns,
) -> AsyncIterator[Ledger]:
    """Open or create the ledger in `folder`, recovered and checked, and begin to write.

    `key` signs the anchor; `station` and `version` (of the application) stand in the row that opens a session. `alarm` is called on the loop with one sentence.
    Leaving writes what waits. Raises ConfigError as `Store` does.
    """
    mono_ns = now_ns()

    def opened() -> tuple[Store, Images]:
        store = Store(folder, key=key, utc_ns=utc_ns())
        try:
            last = store.last_clocks()
            images = Images(folder / "images")
            swept = images.sweep(store.images())
            fields: dict[str, Any] = {
                "ledger": store.name, "station": station, "version": version, "anchored_rows": store.anchor.rows,
                "pass_share": policy.pass_share, "quota_bytes": policy.quota_bytes, "seed": policy.seed,
                "strays_swept": swept, "clock_back_ns": max(0, last[0] - utc_ns()) if last else 0,
            }  # fmt: skip
            store.append([Entry("opened", utc_ns(), mono_ns, fields)])
            store.write_anchor(utc_ns())
        except (OSError, sqlite3.Error) as error:
            store.close()
            raise ConfigError(f"cannot write the ledger {folder}: {error}; make room or mend its rights") from error
        except BaseException:
            store.close()
            raise
        return store, images

    store, images = await asyncio.to_thread(opened)
    ledger = Ledger(store, images, policy, alarm=alarm, utc_ns=utc_ns)
    try:
        yield ledger
    finally:
        await asyncio.shield(asyncio.to_thread(ledger.end))
