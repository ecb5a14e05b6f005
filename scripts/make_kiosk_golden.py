"""Write the kiosk language model's golden set: held-out questions that the shipped int8 model answers right.

    python scripts/make_kiosk_golden.py            # models/kiosk-lm -> models/kiosk-lm/golden/golden.json

A build that answers them otherwise is not the model that was measured (`edgeapp/models/golden.py` runs them). Of every kind of
question a few, with held-out names, numbers and phrasings, from other dialogues than the evaluation's.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from eval_kiosk_lm import ROOT, Model
from make_kiosk_dialogues import DEV_PLANS, TEST_PLANS, dialogues

KINDS = {  # how many of each
    "price": 3, "where": 3, "how_many": 2, "in_stock": 2, "opens": 2, "closes": 2, "zone": 2, "qc_failed": 1, "qc_passed": 1,
    "qc_not_inspected": 1, "sensor": 3, "get_time": 1, "price (absent)": 2, "where (absent)": 1, "in_stock (absent)": 1,
    "sensor (absent)": 1, "get_time (absent)": 1, "off_topic (absent)": 1, "hello": 1, "thanks": 1,
}  # fmt: skip
AT_LEAST = 0.95
SEED = 9009
DIALOGUES_MOST = 400


def main() -> None:
    """Ask until every kind has its cases, each from another dialogue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kiosk-lm")
    options = parser.parse_args()
    model = Model(options.model)
    wanted = dict(KINDS)
    cases: list[dict[str, object]] = []
    asked = 0
    plans = (TEST_PLANS["held_both"], TEST_PLANS["held_names"], DEV_PLANS["dev_phrasings"])
    for number in range(DIALOGUES_MOST):
        if not any(wanted.values()):
            break
        (dialogue,) = dialogues(SEED + number, 1, plans[number % 3])
        for place, turn in enumerate(dialogue.turns):
            kind = turn.intent + (" (absent)" if turn.absent else "")
            if not wanted.get(kind):
                continue
            prompt = replace(dialogue.asked(place), turns=())
            asked += 1
            if model(prompt) == turn.answer:
                wanted[kind] -= 1
                cases.append({"facts": prompt.system.split("\n"), "question": turn.question, "reply": turn.answer})
                break
    folder = options.model / "golden"
    folder.mkdir(exist_ok=True)
    note = f"held-out names, numbers and phrasings; {len(cases)} of {asked} asked, those that the int8 model has right"
    golden = {"task": "reply", "at_least": AT_LEAST, "note": note, "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{len(cases)} cases, {asked} asked; without cases: {[kind for kind, left in wanted.items() if left]}")


if __name__ == "__main__":
    main()
