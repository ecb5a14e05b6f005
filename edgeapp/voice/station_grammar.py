"""What people may say to a recogniser with a grammar at the station: a finite list, each sentence a question that is understood.

Kept short: the more sentences sound alike, the more often one is heard as another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edgeapp.voice.grammar import Grammar, grammar_of
from edgeapp.voice.station_questions import plural, spoken

_SPANS: Final = ("", "this hour", "this shift", "today")
_COUNTED: Final = (
    "how many rejects {}",
    "how many rejects {} and why",
    "how many parts failed {}",
    "how many parts passed {}",
    "how many parts were not inspected {}",
    "what is the yield {}",
    "what is the reject rate {}",
    "what is the most common defect {}",
)
_BY_DEFECT: Final = (
    "show the last {0}",
    "when was the last {0}",
    "how many {1} this hour",
    "how many {1} this shift",
    "how many {1} today",
)
_FIXED: Final = (
    "how many rejects in the last hour",
    "how many rejects yesterday",
    "how many rejects in the last shift",
    "which defect is most common",
    "why",
    "and why",
    "and today",
    "show the last reject",
    "show the last part",
    "when was the last reject",
    "what was the last verdict",
    "did the last part pass",
    "why was the last part rejected",
    "is the golden check due",
    "are there any alarms",
    "why did the line stop",
    "is the line running",
    "acknowledge",
    "acknowledge the alarm",
    "yes seen",
    "i have seen it",
    "stop the line",
    "start the line",
    "do not stop on rejects",
    "repeat that",
    "say that again",
)
_ROWS: Final = ("two", "three", "four", "five", "six", "eight", "ten")


def station_grammar(labels: Sequence[str]) -> Grammar:
    """The sentences, with these defects' names. Labels that are no words in letters are left out: nobody can say them."""
    said = [label for label in labels if spoken(label).replace(" ", "").isalpha()]
    return grammar_of(
        [
            *(form.format(span) for form in _COUNTED for span in _SPANS),
            *(form.format(spoken(label), plural(label)) for form in _BY_DEFECT for label in said),
            *(f"stop on {row} in a row" for row in _ROWS),
            *(f"stop on {row} rejects in a row" for row in _ROWS),
            *_FIXED,
        ]
    )
