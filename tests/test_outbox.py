"""The outbox: order, the bound and its count, and what is there after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeapp.core.events import ConfigError
from edgeapp.devices.outbox import Outbox


def _put(box: Outbox, first: int, last: int) -> None:
    box.put([("t", str(n)) for n in range(first, last + 1)])


def test_messages_leave_in_order_and_only_when_confirmed(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "box.sqlite", rows_max=100)
    _put(box, 1, 5)
    assert [each.payload for each in box.first(3)] == ["1", "2", "3"]
    box.confirmed(box.first(3)[1].id)
    assert [each.payload for each in box.first(10)] == ["3", "4", "5"]
    assert box.waiting == 3


def test_the_bound_drops_the_oldest_and_the_file_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    box = Outbox(path, rows_max=10)
    _put(box, 1, 8)
    _put(box, 9, 15)
    assert (box.waiting, box.dropped) == (10, 5)
    box.close()
    again = Outbox(path, rows_max=10)
    assert (again.waiting, again.dropped) == (10, 5)
    assert [each.payload for each in again.first(99)] == [str(n) for n in range(6, 16)]


def test_a_number_is_never_used_twice_also_when_all_is_sent_and_the_file_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    box = Outbox(path, rows_max=10)
    _put(box, 1, 3)
    box.confirmed(3)
    box.close()
    again = Outbox(path, rows_max=10)
    _put(again, 4, 4)
    assert [each.id for each in again.first(1)] == [4]


def test_a_killed_process_leaves_everything_it_had_put(tmp_path: Path) -> None:
    path = tmp_path / "box.sqlite"
    program = (
        "import sys; from pathlib import Path; from edgeapp.devices.outbox import Outbox\n"
        "box = Outbox(Path(sys.argv[1]), rows_max=10_000)\n"
        "for n in range(10_000): box.put([('t', str(n))]); print(n, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line == "200\n":
                os.kill(process.pid, signal.SIGKILL)
                break
        said = [200, *(int(line) for line in process.stdout.read().split("\n")[:-1])]
    box = Outbox(path, rows_max=10_000)
    assert [int(each.payload) for each in box.first(20_000)][: said[-1] + 1] == list(range(said[-1] + 1))


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot keep messages in .* change outputs.mqtt.outbox"):
        Outbox(tmp_path / "file" / "box.sqlite", rows_max=10)
