"""Measure the kiosk's language model as it ships: CTranslate2 int8, one thread, no torch.

    python scripts/eval_kiosk_lm.py                       # models/kiosk-lm, four held-out sets, the default shop
    python scripts/eval_kiosk_lm.py --dialogues 10 --model models/kiosk-lm --show 20
    python scripts/eval_kiosk_lm.py --facts 3             # with the facts a question is about, as the kiosk asks

An answer counts as an exact fact if it is, word for word, the answer that the facts dictate. Every question stands
after at most two turns of history, as at the kiosk. The last line is JSON.
"""

import argparse
import collections
import json
import random
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from kiosk_phrasings import SMALL_TALK
from make_kiosk_dialogues import CANNOT, TEST_PLANS, UNKNOWN, Turn, answers, dialogues, expand
from tokenizers import Tokenizer

from edgeapp.core.events import Prompt
from edgeapp.voice.content import DAYS, ZONES, Content, facts, load_content, with_counts
from edgeapp.voice.prompt import END, prefix, render
from edgeapp.voice.relevance import relevant

HISTORY_TURNS = 2
CLAUSE_TOKENS = 8
ROOT = Path(__file__).parent.parent


class Model:
    """The exported model; calls take a `Prompt` and give the reply and the milliseconds to its first clause."""

    def __init__(self, folder: Path) -> None:
        import ctranslate2

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._generator: Any = ctranslate2.Generator(
            str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=1
        )

    def tokens(self, text: str) -> list[str]:
        """The vocabulary's strings for `text`."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    def __call__(self, prompt: Prompt, most: int = 64) -> str:
        """The whole reply, greedy. The prefix is not kept, since every dialogue has its own."""
        made = self._generator.generate_batch(
            [self.tokens(render(prompt))],
            max_length=most,
            include_prompt_in_result=False,
            sampling_topk=1,
            end_token=END,
        )
        ids = [self._tokenizer.token_to_id(token) for token in made[0].sequences[0] if token != END]
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def clause_ms(self, prompt: Prompt) -> tuple[float, float]:
        """Wall milliseconds to the first and to the eighth token, the prefix being resident."""
        head = self.tokens(prefix(prompt))
        rest = self.tokens(render(prompt).removeprefix(prefix(prompt)))
        times: list[float] = []
        began = time.perf_counter()
        self._generator.generate_batch(
            [rest], static_prompt=head, cache_static_prompt=True, include_prompt_in_result=False, sampling_topk=1,
            max_length=CLAUSE_TOKENS, min_length=CLAUSE_TOKENS,
            callback=lambda step: times.append(time.perf_counter() - began) or False,
        )  # fmt: skip
        return times[0] * 1e3, times[-1] * 1e3


def kind_of(turn: Turn) -> str:
    """Which of the four bars a question belongs to."""
    if turn.absent:
        return "unknown"
    if turn.answer.startswith("<tool>"):
        return "tool"
    return "talk" if turn.intent in SMALL_TALK or turn.intent == "which_day" else "fact"


def is_right(turn: Turn, reply: str) -> bool:
    """A fact or a call must match exactly; what is not known may be refused in either wording."""
    return reply in (UNKNOWN, CANNOT) if turn.absent else reply == turn.answer


def is_call(reply: str) -> bool:
    """True for `<tool>` and a JSON object with a name and arguments."""
    if not reply.startswith("<tool>"):
        return False
    try:
        call = json.loads(reply.removeprefix("<tool>"))
    except json.JSONDecodeError:
        return False
    return isinstance(call, dict) and set(call) == {"name", "arguments"} and isinstance(call["arguments"], dict)


def measure(model: Model, split: str, seed: int, count: int, show: int, most: int) -> dict[str, float]:
    """Accuracy on `count` dialogues of one test plan; `most` facts stand in the prompt, 0 for all."""
    kinds: dict[str, list[bool]] = collections.defaultdict(list)
    intents: dict[str, list[bool]] = collections.defaultdict(list)
    for dialogue in dialogues(seed, count, TEST_PLANS[split]):
        for number, turn in enumerate(dialogue.turns):
            prompt = dialogue.prompt(number)
            system = relevant(prompt.system, prompt.question, most) if most else prompt.system
            reply = model(replace(prompt, system=system, turns=prompt.turns[-HISTORY_TURNS:]))
            right = is_right(turn, reply)
            kinds[kind_of(turn)].append(right)
            intents[turn.intent + (" (absent)" if turn.absent else "")].append(right)
            if kind_of(turn) == "tool":
                kinds["valid_call"].append(is_call(reply))
            if not right and show > 0:
                show -= 1
                print(f"    {turn.question!r}: {reply!r}, not {turn.answer!r}")
    print(f"{split}: " + ", ".join(f"{kind} {_share(hits):.3f} of {len(hits)}" for kind, hits in sorted(kinds.items())))
    worst = sorted(intents.items(), key=lambda entry: _share(entry[1]))[:8]
    print("    weakest: " + ", ".join(f"{name} {sum(hits)}/{len(hits)}" for name, hits in worst))
    return {kind: round(_share(hits), 4) for kind, hits in kinds.items()}


def shop_questions(content: Content) -> list[tuple[str, str]]:
    """Every question of the kiosk's own grammar about one shop, with the right answer."""
    asked: list[tuple[str, str]] = []
    forms = {
        "where": ("where is the {}", "where can i find the {}"),
        "price": ("how much is the {}", "what does the {} cost"),
        "in_stock": ("is the {} in stock",),
        "how_many": ("how many {} do you have",),
        "opens": ("when do you open on {}", "what time do you open on {}"),
        "closes": ("when do you close on {}",),
        "zone": ("{}", "what is at the {}"),
        "qc_failed": ("how many parts failed today",),
        "qc_passed": ("how many parts passed today",),
        "qc_not_inspected": ("how many parts were not inspected today",),
    }
    items = tuple(item.name for item in content.items)
    things = {"zone": ZONES, "opens": DAYS, "closes": DAYS}
    for intent, questions in forms.items():
        for thing in ("",) if intent.startswith("qc") else things.get(intent, items):
            asked += [(question.format(thing), answers(content, intent, thing)) for question in questions]
    talk = {"hello": "hello", "thank you": "thanks", "goodbye": "bye", "who are you": "who"}
    asked += [(question, SMALL_TALK[intent].format(name=content.name)) for question, intent in talk.items()]
    return asked


def measure_shop(model: Model, content: Content) -> float:
    """All grammar questions about the default shop, each with no history; prints every wrong answer."""
    system = facts(content)
    asked = shop_questions(content)
    wrong = 0
    for question, answer in asked:
        reply = model(Prompt(system, (), question))
        if reply != answer:
            wrong += 1
            print(f"    {question!r}: {reply!r}, not {answer!r}")
    print(f"default shop: {len(asked) - wrong} of {len(asked)} right")
    return 1 - wrong / len(asked)


def measure_time(model: Model, content: Content, count: int) -> dict[str, float]:
    """First token and first clause after the resident facts, p50 and p95 in wall milliseconds."""
    rng = random.Random(3)
    system = facts(content)
    times = []
    for _ in range(count):
        question = expand(rng, f"where (is|can i find) the {rng.choice(content.items).name}")
        times.append(model.clause_ms(Prompt(system, (), question)))
    first, clause = zip(*times[5:], strict=True)
    length = len(model.tokens(prefix(Prompt(system, (), ""))))
    print(
        f"after a resident prefix of {length} tokens: first token {statistics.median(first):.1f} ms, "
        f"{CLAUSE_TOKENS} tokens {statistics.median(clause):.1f} ms (p95 {_p95(clause):.1f})"
    )
    return {
        "prefix_tokens": length,
        "first_token_ms": round(statistics.median(first), 2),
        "first_clause_ms": round(statistics.median(clause), 2),
        "first_clause_p95_ms": round(_p95(clause), 2),
    }


def _share(hits: list[bool]) -> float:
    return sum(hits) / len(hits)


def _p95(values: tuple[float, ...]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def main() -> None:
    """Print accuracy, the default shop's wrong answers and the times; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kiosk-lm")
    parser.add_argument(
        "--dialogues", type=int, default=40, help="for each of the four test sets; about 10 questions each"
    )
    parser.add_argument("--seed", type=int, default=1001)
    parser.add_argument("--show", type=int, default=5, help="wrong answers to print for each set")
    parser.add_argument("--facts", type=int, default=0, help="facts in the prompt, chosen as the kiosk does; 0: all")
    options = parser.parse_args()
    model = Model(options.model)
    shop = with_counts(load_content(ROOT / "edgeapp" / "assets" / "kiosk.toml"), 212, 7, 3)
    result: dict[str, Any] = {"dialogues": options.dialogues, "seed": options.seed, "facts": options.facts}
    for split in TEST_PLANS:
        result[split] = measure(model, split, options.seed, options.dialogues, options.show, options.facts)
    result["default_shop"] = round(measure_shop(model, shop), 4)
    result |= measure_time(model, shop, 60)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
