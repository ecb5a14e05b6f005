"""Measure the kiosk's language model as it ships: CTranslate2 int8, one thread, no torch.

    python scripts/eval_kiosk_lm.py                       # models/kiosk-lm: four held-out sets, the default shop, times
    python scripts/eval_kiosk_lm.py --beside FOLDER       # and another export of it, such as the float one
    python scripts/eval_kiosk_lm.py --sets                # only the default shop and the times
    python scripts/eval_kiosk_lm.py --dialogues 10 --sets dev_phrasings --show 20

Every question is asked as the kiosk asks it: the facts it is about (`edgeapp/voice/relevance.py`), at most two turns of
history. A fact counts if the whole answer is, word for word, the one that the facts dictate. A call is valid if it is
one of those that the kiosk offers, and exact if it is the one asked for. Intervals are Wilson's, 95 %. The project's bars for
the shipped model are printed as lines `bar name value limit ok` (or `missed`). The last line is JSON.
"""

import argparse
import collections
import json
import math
import random
import statistics
import time
from pathlib import Path
from typing import Any

from kiosk_phrasings import SMALL_TALK
from make_kiosk_dialogues import CANNOT, DEV_PLANS, TEST_PLANS, UNKNOWN, Dialogue, Turn, answers, dialogues, expand
from tokenizers import Tokenizer

from edgeapp.core.events import Prompt
from edgeapp.voice.content import DAYS, ZONES, Content, facts, load_content, tool_call, with_counts
from edgeapp.voice.prompt import END, TOOL, prefix, render
from edgeapp.voice.relevance import FACTS_MOST, relevant

CLAUSE_TOKENS = 8
BARS = {  # of the project: what is measured, on which set, at least
    ("exact_fact", "held_names"): 0.95,
    ("exact_fact", "held_phrasings"): 0.85,
    ("unknown", "held_names"): 0.95,
    ("unknown", "held_phrasings"): 0.95,
    ("valid_call", "held_names"): 0.97,
    ("valid_call", "held_phrasings"): 0.97,
}
CLAUSE_BAR_MS = 200 / 3
ROOT = Path(__file__).parent.parent


class Model:
    """The exported model; calls take a `Prompt` and give the reply and the milliseconds to its first clause."""

    def __init__(self, folder: Path, compute: str = "int8") -> None:
        import ctranslate2

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._generator: Any = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=compute, inter_threads=1, intra_threads=1
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


def judge(dialogue: Dialogue, turn: Turn, reply: str) -> dict[str, bool]:
    """What one reply says for each of the figures that it belongs to."""
    dunno = reply in (UNKNOWN, CANNOT)
    if turn.absent:
        return {"unknown": dunno, "no_invented_call": not reply.startswith(TOOL)}
    right = reply == turn.answer
    if turn.answer.startswith(TOOL):
        offered = {tool_call(tool) for tool in dialogue.content.tools}
        return {"exact_call": right, "valid_call": reply in offered}
    if turn.intent in SMALL_TALK or turn.intent == "which_day":
        return {"courtesy": right}
    return {"exact_fact": right, "not_refused": not dunno}


def measure(model: Model, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one set: share, how many, and the interval."""
    plan = (TEST_PLANS | DEV_PLANS)[name]
    hits: dict[str, list[bool]] = collections.defaultdict(list)
    intents: dict[str, list[bool]] = collections.defaultdict(list)
    show = options.show
    for dialogue in dialogues(options.seed, options.dialogues, plan):
        for number, turn in enumerate(dialogue.turns):
            prompt = dialogue.asked(number, options.facts) if options.facts else dialogue.prompt(number)
            reply = model(prompt)
            marks = judge(dialogue, turn, reply)
            for figure, hit in marks.items():
                hits[figure].append(hit)
            right = next(iter(marks.values()))
            intents[turn.intent + (" (absent)" if turn.absent else "")].append(right)
            if not right and show > 0:
                show -= 1
                print(f"    {turn.question!r}: {reply!r}, not {turn.answer!r}")
    result = {figure: share(values) for figure, values in sorted(hits.items())}
    for figure, value in result.items():
        print(f"{name:15} {figure:17} {value['share']:.3f} [{value['low']:.3f}, {value['high']:.3f}] of {value['of']}")
    worst = sorted(intents.items(), key=lambda entry: sum(entry[1]) / len(entry[1]))[:8]
    print("    weakest: " + ", ".join(f"{intent} {sum(values)}/{len(values)}" for intent, values in worst), flush=True)
    return result


def share(hits: list[bool]) -> dict[str, float]:
    """The share of hits with Wilson's 95 % interval (Wilson 1927)."""
    of, z = len(hits), 1.96
    at = sum(hits) / of
    middle, width = at + z * z / (2 * of), z * math.sqrt(at * (1 - at) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    low, high = (middle - width) / scale, (middle + width) / scale
    return {"share": round(at, 4), "low": round(low, 4), "high": round(high, 4), "of": of}


def bar_lines(result: dict[str, Any]) -> list[str]:
    """`bar name value limit ok` for every bar whose figure was measured; `missed` instead of `ok` below a share or above a time."""
    shares = {
        f"lm_{figure}_{name}": (result[name][figure]["share"], bar)
        for (figure, name), bar in BARS.items()
        if figure in result.get(name, {})
    }
    lines = [f"bar {name} {value} {bar} {'ok' if value >= bar else 'missed'}" for name, (value, bar) in shares.items()]
    clause_ms = result["first_clause_ms"]
    verdict = "ok" if clause_ms <= CLAUSE_BAR_MS else "missed"
    return [*lines, f"bar lm_first_clause_ms {clause_ms} {CLAUSE_BAR_MS:.1f} {verdict}"]


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
    talk |= {"yes": "okay", "no": "okay", "stop": "okay"}
    asked += [(question, SMALL_TALK[intent].format(name=content.name)) for question, intent in talk.items()]
    return asked


def measure_shop(model: Model, content: Content) -> float:
    """All grammar questions about the default shop, each with no history; prints every wrong answer."""
    every = facts(content)
    asked = shop_questions(content)
    wrong = 0
    for question, answer in asked:
        reply = model(Prompt(relevant(every, question), (), question))
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


def merged(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Figures of this run over those of others: so the times can be measured anew on a quiet machine (`--sets`)."""
    both = dict(known)
    for key, value in new.items():
        both[key] = merged(known.get(key, {}), value) if isinstance(value, dict) else value
    return both


def _shares(result: dict[str, Any]) -> dict[str, Any]:
    """The same without intervals: what the manifest lists."""
    return {
        key: (value["share"] if "share" in value else _shares(value)) if isinstance(value, dict) else value
        for key, value in result.items()
    }


def _p95(values: tuple[float, ...]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


def measure_all(model: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Everything about one export."""
    shop = with_counts(load_content(ROOT / "edgeapp" / "assets" / "kiosk.toml"), 212, 7, 3)
    result: dict[str, Any] = {name: measure(model, name, options) for name in options.sets}
    result["default_shop"] = round(measure_shop(model, shop), 4)
    return result | measure_time(model, shop, 60)


def main() -> None:
    """Print accuracy, the default shop's wrong answers and the times; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "kiosk-lm")
    parser.add_argument("--beside", type=Path, help="another export, run in float32")
    parser.add_argument("--dialogues", type=int, default=120, help="for each set; about 10 questions each")
    parser.add_argument("--sets", nargs="*", choices=(*TEST_PLANS, "dev_phrasings"), default=tuple(TEST_PLANS))
    parser.add_argument("--seed", type=int, default=4001)
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print for each set")
    parser.add_argument("--facts", type=int, default=FACTS_MOST, help="facts in the prompt; 0: all")
    parser.add_argument("--figures", type=Path, help="write the result here as well")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if options.sets:
        asked = f"--dialogues {options.dialogues} --seed {options.seed} --facts {options.facts}"
        result["command"] = f"scripts/eval_kiosk_lm.py {asked}"
    result["int8"] = measure_all(Model(options.model), options)
    print("\n".join(bar_lines(result["int8"])))
    if options.beside:
        print("float32:")
        result["float32"] = measure_all(Model(options.beside, "float32"), options)
    if options.figures:
        known = json.loads(options.figures.read_text()) if options.figures.is_file() else {}
        options.figures.write_text(json.dumps(merged(known, _shares(result)), indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
