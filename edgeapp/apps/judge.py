"""`edgeapp ledger judge`: what a person found in a part that was looked at again, where no pages are served."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from edgeapp import __version__
from edgeapp.core.events import BackendError, ConfigError, Outcome
from edgeapp.station import queries
from edgeapp.station.anchor import read_key
from edgeapp.station.evidence import Judgement
from edgeapp.station.ledger import open_ledger
from edgeapp.station.store import open_reading


async def judge(
    folder: Path, row: int, outcome: Outcome, by: str, causes: Sequence[str], key: Path | None, *, sampled: bool
) -> str:
    """Write the judgement on the verdict in `row`, durably; what was done, in a sentence.

    Raises ConfigError: `row` is no verdict, a good part has defects, or another process writes the ledger.
    """
    if not by.strip():
        raise ConfigError("give --by the name of whoever looked at the part")
    if outcome is Outcome.PASS and causes:
        raise ConfigError("a good part has no defects: leave --cause out")
    with closing(open_reading(folder)) as database:
        found = next(queries.verdicts(database, seq=row, columns=("seq", "outcome")), None)
    if found is None:
        raise ConfigError(f"row {row} of {folder} is no verdict: `edgeapp ledger show {folder}` lists them")
    judgement = Judgement(row, outcome, by.strip(), tuple(dict.fromkeys(causes)), sampled=sampled)
    signed = read_key(key) if key else b""
    try:
        async with open_ledger(folder, key=signed, station="edgeapp ledger judge", version=__version__) as ledger:
            receipt = await ledger.judge(judgement)
    except BackendError as error:
        raise ConfigError(f"the judgement was not recorded: {error}") from error
    return f"row {receipt.seq}: {by.strip()} found {outcome} where row {row} says {found['outcome']}"
