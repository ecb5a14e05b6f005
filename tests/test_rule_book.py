"""The rule book: signed by name, kept for ever, and what was tampered with is found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from ledger_world import evidence

from edgeapp import config as settings
from edgeapp.apps.rules import known_to, last_rule, moved_utc_ns, note_rule, open_rule, rule_of
from edgeapp.cli import cli
from edgeapp.core.events import ConfigError, Outcome
from edgeapp.station import queries
from edgeapp.station.evidence import Head, follow
from edgeapp.station.ledger import open_ledger
from edgeapp.station.rule_book import read_book, sign, use
from edgeapp.station.store import open_reading
from edgeapp.vision.calibration import by_scale

ONE = b'version = "1"\nparts = ["washer"]\ndefects = ["scratch", "stain"]\n'
TWO = ONE.replace(b'"1"', b'"2"') + b"defect_score = 0.4\n"
KEY = b"a key that nobody can guess"


def written(folder: Path, key: bytes = b"") -> Path:
    """Two signed rules, the second in use."""
    sign(folder, ONE, "1", by="ann", why="the first", utc_ns=1, key=key)
    sign(folder, TWO, "2", by="bob", why="fewer false rejects", utc_ns=2, key=key)
    use(folder, "1", by="ann", why="the start", utc_ns=3, key=key)
    use(folder, "2", by="ann", why="the dry run flips 3 of 900", utc_ns=4, key=key)
    return folder


def test_every_version_is_kept_and_the_last_one_taken_into_use_decides(tmp_path: Path) -> None:
    book = read_book(written(tmp_path / "book"))
    assert [(each.version, each.by, each.why, each.utc_ns) for each in book.signed] == [
        ("1", "ann", "the first", 1), ("2", "bob", "fewer false rejects", 2),
    ]  # fmt: skip
    assert book.in_use
    assert (book.in_use.version, book.in_use.by) == ("2", "ann")
    assert [book.text(book.find(name)) for name in ("1", book.signed[0].sha256[:8], book.signed[0].id)] == [
        ONE.decode()
    ] * 3
    assert book.text(book.find("2")) == TWO.decode()


def test_an_auditor_follows_the_signatures_without_our_code(tmp_path: Path) -> None:
    folder = written(tmp_path / "book")
    head = Head()
    for line in (folder / "signatures").read_bytes().splitlines():
        digest, _, body = line.partition(b" ")
        head = follow(head, body)
        assert digest.decode() == head.hash.hex()
        says = json.loads(body)
        assert (folder / f"{says['version']}-{says['sha256']}.toml").is_file()
    assert str(head) == str(read_book(folder).head)


def test_the_same_file_again_adds_nothing_and_another_needs_another_version(tmp_path: Path) -> None:
    folder = written(tmp_path / "book")
    before = read_book(folder).head
    assert sign(folder, ONE, "1", by="eve", why="again", utc_ns=9).head == before
    with pytest.raises(
        ConfigError, match="version 1 was signed by ann with other content; give the file a new version"
    ):
        sign(folder, TWO, "1", by="eve", why="quietly", utc_ns=9)
    assert read_book(folder).head == before


@pytest.mark.parametrize(
    ("by", "why", "version"), [(" ", "x", "3"), ("ann", "", "3"), ("ann", "x", "../3"), ("ann", "x", "")]
)
def test_a_signature_has_a_name_a_reason_and_a_version(tmp_path: Path, by: str, why: str, version: str) -> None:
    with pytest.raises(ConfigError, match=r"needs a name and a reason|must be letters"):
        sign(tmp_path / "book", ONE, version, by=by, why=why, utc_ns=1)
    assert read_book(tmp_path / "book").lines == ()


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "signatures").read_bytes().splitlines(keepends=True)


def put(folder: Path, lines: list[bytes]) -> None:
    (folder / "signatures").write_bytes(b"".join(lines))


def another_name(folder: Path) -> None:
    put(folder, [each.replace(b'"bob"', b'"ann"') for each in lines_of(folder)])


def another_name_and_its_hash(folder: Path) -> None:
    """The forger computes that line's hash anew; the next line does not follow."""
    lines, head = lines_of(folder), Head()
    head = follow(head, lines[0].partition(b" ")[2].rstrip())
    body = lines[1].partition(b" ")[2].rstrip().replace(b'"bob"', b'"ann"')
    put(folder, [lines[0], follow(head, body).hash.hex().encode() + b" " + body + b"\n", *lines[2:]])


def the_whole_chain_anew(folder: Path) -> None:
    lines, head = [], Head()
    for each in lines_of(folder):
        body = each.partition(b" ")[2].rstrip().replace(b'"bob"', b'"ann"')
        head = follow(head, body)
        lines.append(head.hash.hex().encode() + b" " + body + b"\n")
    put(folder, lines)


def a_line_less(folder: Path) -> None:
    put(folder, lines_of(folder)[1:])


def the_end_cut_off(folder: Path) -> None:
    put(folder, lines_of(folder)[:-1])


def lines_exchanged(folder: Path) -> None:
    lines = lines_of(folder)
    put(folder, [lines[1], lines[0], *lines[2:]])


def a_changed_rule(folder: Path) -> None:
    (path,) = folder.glob("2-*.toml")
    path.write_bytes(path.read_bytes().replace(b"0.4", b"0.9"))


def a_rule_gone(folder: Path) -> None:
    (path,) = folder.glob("2-*.toml")
    path.unlink()


def no_anchor(folder: Path) -> None:
    (folder / "anchor.json").unlink()


def another_anchor(folder: Path) -> None:
    path = folder / "anchor.json"
    path.write_bytes(path.read_bytes().replace(b'"rows":4', b'"rows":3'))


TAMPERS = [
    (another_name, "line 2 of the rule book .* was changed"),
    (another_name_and_its_hash, "line 3 of the rule book .* was changed"),
    (the_whole_chain_anew, "the end of the rule book .* is missing or another one"),
    (a_line_less, "line 1 of the rule book .* was changed"),
    (the_end_cut_off, "was changed|is missing"),
    (lines_exchanged, "line 1 of the rule book .* was changed"),
    (a_changed_rule, "is not what .* signed: it was changed; put the file back"),
    (a_rule_gone, "cannot read the rule"),
    (no_anchor, "has lost its anchor"),
    (another_anchor, "is missing or another one"),
]


def station(folder: Path, **more: Any) -> settings.Vision:
    return settings.Vision(rule_book=str(folder), **more)


@pytest.mark.parametrize(("tamper", "said"), TAMPERS, ids=[each.__name__ for each, _ in TAMPERS])
def test_a_book_that_was_tampered_with_gives_the_station_no_rule(tmp_path: Path, tamper: Any, said: str) -> None:
    folder = written(tmp_path / "book")
    assert open_rule(station(folder), (), camera="belt").rule.defect_score == 0.4
    tamper(folder)
    with pytest.raises(ConfigError, match=said):
        open_rule(station(folder), (), camera="belt")


def test_without_the_key_nobody_adds_a_signature(tmp_path: Path) -> None:
    """Somebody who can write the folder signs a rule and takes it into use: without the key, or with another one."""
    folder = written(tmp_path / "book", KEY)
    three = ONE.replace(b'"1"', b'"3"')
    sign(folder, three, "3", by="eve", why="quietly", utc_ns=9)
    use(folder, "3", by="eve", why="quietly", utc_ns=9)
    with pytest.raises(ConfigError, match="was not made with this key"):
        open_rule(station(folder), (), camera="belt", key=KEY)


def test_a_line_that_the_anchor_does_not_count_is_none(tmp_path: Path) -> None:
    """What a power cut between line and anchor leaves, and what a forger without the key can add."""
    folder = written(tmp_path / "book", KEY)
    before = read_book(folder, KEY)
    anchor = (folder / "anchor.json").read_bytes()
    use(folder, "1", by="eve", why="quietly", utc_ns=9)
    (folder / "anchor.json").write_bytes(anchor)
    assert read_book(folder, KEY) == before
    put(folder, [*lines_of(folder), b"half a li"])
    assert read_book(folder, KEY) == before
    assert use(folder, "1", by="ann", why="back", utc_ns=10, key=KEY).lines == (
        *before.lines,
        read_book(folder, KEY).lines[-1],
    )
    assert len(lines_of(folder)) == len(before.lines) + 1


def test_an_unsigned_rule_is_refused_unless_the_configuration_takes_it() -> None:
    own = settings.parse('[vision.rule]\nversion = "x"').vision
    with pytest.raises(ConfigError, match=r"the rule in vision\.rule is signed by nobody"):
        open_rule(own, (), camera="belt")
    allowed = settings.parse('[vision]\nunsigned_rule = true\n[vision.rule]\nversion = "x"').vision
    assert open_rule(allowed, (), camera="belt").signature is None
    bundled = open_rule(settings.Vision(), (), camera="belt")
    assert (bundled.rule.version, bundled.signature) == ("1", None)


def test_the_book_and_the_configuration_do_not_both_decide(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"vision\.rule_book and vision\.rule are both given"):
        settings.parse('[vision]\nrule_book = "rules"\n[vision.rule]\nversion = "x"')


def test_a_book_with_nothing_in_use_decides_nothing(tmp_path: Path) -> None:
    sign(tmp_path / "book", ONE, "1", by="ann", why="the first", utc_ns=1)
    with pytest.raises(ConfigError, match=r"no rule of the book .* is in use: edgeapp rules use"):
        open_rule(station(tmp_path / "book"), (), camera="belt")


def test_a_class_that_the_detector_does_not_know_is_named_with_those_it_knows() -> None:
    rule = rule_of(settings.parse_rule(ONE.decode(), "r"))
    known_to(rule, ("washer", "scratch", "stain"), "r")
    known_to(rule, (), "r")
    with pytest.raises(ConfigError) as raised:
        known_to(rule, ("washer", "scratch", "dent"), "the rule 1")
    assert str(raised.value) == (
        "the rule 1 names the class 'stain', which the detector does not know; it knows washer, scratch, dent"
    )


def test_a_rule_in_mm_needs_a_calibration(tmp_path: Path) -> None:
    folder = tmp_path / "book"
    sign(folder, ONE + b"[part.washer]\nsizes_mm.length = [1, 2]\n", "1", by="ann", why="mm", utc_ns=1)
    use(folder, "1", by="ann", why="mm", utc_ns=1)
    with pytest.raises(ConfigError, match="asks for millimetres: edgeapp rules calibrate"):
        open_rule(station(folder), (), camera="belt")


@pytest.mark.real_time
async def test_each_switch_is_a_row_of_the_ledger_and_no_switch_is_none(tmp_path: Path) -> None:
    book, folder = written(tmp_path / "book"), tmp_path / "ledger"
    for start in range(4):
        if start == 2:
            use(book, "1", by="bob", why="back again", utc_ns=9)
        opened = open_rule(station(book), (), camera="belt")
        past = last_rule(folder)
        async with open_ledger(folder) as ledger:
            await note_rule(ledger, opened, past)
            await ledger.record(evidence(start, rule=opened.rule.id))
    database = open_reading(folder)
    rows = queries.notes(database, "rule", 10)[::-1]
    verdicts = [each.rule for each in queries.rows(database)]
    assert queries.counts(database).parts == 4
    database.close()
    assert [(each["version"], each["signed_by"], each["instead_of"]) for each in rows] == [
        ("2", "bob", ""), ("1", "ann", rows[0]["rule"]),
    ]  # fmt: skip
    assert verdicts == [rows[0]["rule"]] * 2 + [rows[1]["rule"]] * 2
    assert rows[1]["book"] == str(read_book(book).head)


@pytest.mark.real_time
async def test_a_calibration_older_than_the_camera_moved_is_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "ledger", tmp_path / "belt.json"
    assert moved_utc_ns(folder, "belt") is None
    async with open_ledger(folder, utc_ns=lambda: 5_000) as ledger:
        await ledger.record(evidence(1))
        assert moved_utc_ns(folder, "belt") is None
        await ledger.record(evidence(2, Outcome.NOT_INSPECTED, ("camera moved",)))
    assert moved_utc_ns(folder, "belt") == 5_000
    assert moved_utc_ns(folder, "other") is None
    for utc_ns, refused in ((4_999, True), (5_001, False)):
        scale = by_scale(0.1, camera="belt", width=640, height=480, utc_ns=utc_ns)
        file.write_bytes(msgspec.json.encode(scale))
        vision = settings.Vision(calibration=str(file))
        if refused:
            with pytest.raises(ConfigError, match="was moved after it had been calibrated"):
                open_rule(vision, (), camera="belt", moved_utc_ns=moved_utc_ns(folder, "belt"))
        else:
            opened = open_rule(vision, (), camera="belt", moved_utc_ns=moved_utc_ns(folder, "belt"))
            assert opened.at("belt").calibration == scale
            assert opened.row()["calibrations"] == {"belt": hashlib.sha256(file.read_bytes()).hexdigest()}


# The commands


def told(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["rules", *map(str, arguments)])


def test_rules_are_signed_used_listed_shown_and_compared(tmp_path: Path) -> None:
    book, file = tmp_path / "book", tmp_path / "rule.toml"
    file.write_bytes(ONE)
    name = ("--by", "ann", "--why", "the first", "--book", book)
    assert told("sign", file, *name).exit_code == 0
    assert told("use", "1", *name).exit_code == 0
    file.write_bytes(TWO)
    assert told("sign", file, *name).exit_code == 0
    listed = told("list", "--book", book, "--json")
    says = json.loads(listed.output)
    assert [(each["what"], each["version"], each["by"]) for each in says["lines"]] == [
        ("signed", "1", "ann"), ("used", "1", "ann"), ("signed", "2", "ann"),
    ]  # fmt: skip
    assert says["in_use"].startswith("1 ")
    assert "in use" in told("list", "--book", book).output
    assert ONE.decode() in told("show", "--book", book).output
    assert "signed by ann" in told("show", "2", "--book", book).output
    compared = told("diff", "1", "2", "--book", book)
    assert compared.exit_code == 1
    assert "+defect_score = 0.4\n" in compared.output
    assert told("diff", "2", file, "--book", book).exit_code == 0


def test_a_rule_for_another_detector_is_not_signed(tmp_path: Path) -> None:
    """By the real bundled detector's own classes."""
    file = tmp_path / "rule.toml"
    file.write_bytes(ONE.replace(b'"stain"', b'"bubble"'))
    result = told("sign", file, "--by", "ann", "--why", "x", "--book", tmp_path / "book")
    assert isinstance(result.exception, ConfigError)
    assert "names the class 'bubble', which the detector does not know; it knows washer, bracket, scratch" in str(
        result.exception
    )
    assert not (tmp_path / "book").exists()


def test_an_empty_book_is_said(tmp_path: Path) -> None:
    assert "is empty" in told("list", "--book", tmp_path / "none").output
    result = told("show", "7", "--book", tmp_path / "none")
    assert "has no one rule '7'; signed are none yet" in str(result.exception)
