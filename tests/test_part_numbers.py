"""Which parts came is known after the process has died, and numbers go on."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgeapp.station.part_numbers import FILE, PartNumbers


def _open(folder: Path, *, rows: int = 0, known: int = 0) -> PartNumbers:
    return PartNumbers(folder, rows=rows, known=known)


def test_parts_that_came_and_have_no_row_are_known_to_the_next_run(tmp_path: Path) -> None:
    first = _open(tmp_path)
    for number in (1, 2, 3, 4):
        first.came(number, rows=number - 1, utc_ns=7, counter=100 + number)
    first.settle(1, rows=1)
    first.settle(3, rows=2)  # nothing is closed: the process is killed here
    second = _open(tmp_path, rows=2, known=3)
    assert second.unsettled == range(2, 5)
    assert (second.mark.came, second.found.row, second.found.counter) == (4, 1, 104)
    for number in second.unsettled:
        second.settle(number, rows=9)
    assert _open(tmp_path, rows=9, known=4).unsettled == range(5, 5)


def test_the_ledgers_own_numbers_count_where_the_file_knows_less(tmp_path: Path) -> None:
    first = _open(tmp_path)
    first.came(1, rows=0, utc_ns=7)
    second = _open(tmp_path, rows=5, known=12)
    assert (second.mark.came, second.unsettled) == (12, range(1, 13))
    (tmp_path / FILE).unlink()
    third = _open(tmp_path, rows=5, known=12)
    assert (third.mark.came, third.unsettled) == (12, range(13, 13))


def test_a_file_that_speaks_of_rows_the_ledger_does_not_have_is_another_ledgers(tmp_path: Path) -> None:
    first = _open(tmp_path)
    for number in (1, 2):
        first.came(number, rows=50, utc_ns=7)
    first.settle(1, rows=51)
    second = _open(tmp_path, rows=3, known=2)
    assert (second.mark.came, second.unsettled) == (2, range(3, 3))


def test_a_torn_write_leaves_the_one_before(tmp_path: Path) -> None:
    first = _open(tmp_path)
    for number in (1, 2, 3):
        first.came(number, rows=0, utc_ns=7)
    data = bytearray((tmp_path / FILE).read_bytes())
    newer = 512 * (first.mark.written % 2)
    data[newer + 20] ^= 1
    (tmp_path / FILE).write_bytes(data)
    assert _open(tmp_path).mark.came == 2


@given(st.lists(st.integers(0, 7), max_size=60), st.integers(0, 60))
def test_wherever_it_is_killed_what_has_no_row_is_among_the_unsettled(
    tmp_path_factory: object, settles: list[int], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("numbers")  # type: ignore[attr-defined]
    numbers, rows, came = _open(folder), 0, 0
    waiting: list[int] = []
    settled: dict[int, int] = {}
    for step in settles[:cut]:
        if step < 4 or not waiting:
            came += 1
            numbers.came(came, rows=rows, utc_ns=1)
            waiting.append(came)
        else:
            rows += 1
            one = waiting.pop((step - 4) % len(waiting))
            settled[one] = rows
            numbers.settle(one, rows=rows)
    after = _open(folder, rows=rows, known=max(settled, default=0))
    assert after.mark.came == came
    assert set(waiting) <= set(after.unsettled)
    assert all(settled[each] > after.found.row for each in after.unsettled if each in settled)
