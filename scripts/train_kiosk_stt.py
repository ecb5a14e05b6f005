"""Train the kiosk's nano Whisper on synthetic speech and export it for faster-whisper.

    python scripts/make_kiosk_speech.py --out /tmp/speech --clips 20000             # first, or beside it: new shards are seen
    python scripts/train_kiosk_stt.py --speech /tmp/speech --work /tmp/kiosk-stt --minutes 90    # train, or go on
    python scripts/train_kiosk_stt.py --work /tmp/kiosk-stt --export models/kiosk-whisper
    python scripts/train_kiosk_stt.py --smoke                                       # everything once on tones, in seconds

Each clip goes through another room every time it is drawn. The decoder learns by cross entropy, the encoder also by CTC
(Watanabe et al. 2017, doi:10.1109/JSTSP.2017.2763455) of the words' sounds as espeak-ng writes them; cross attention is pulled towards
where a token must lie in the clip at first (guided attention: Tachibana et al. 2018, doi:10.1109/ICASSP.2018.8461829).
SpecAugment: Park et al. 2019, doi:10.21437/Interspeech.2019-2680. Matrices are trained by Muon
(Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/), the rest by AdamW. What is drawn depends on the seed and
on the clips seen; which shards it is drawn from, on what lay there then.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from faster_whisper.feature_extractor import FeatureExtractor
from kiosk_rooms import Rooms
from kiosk_sentences import word_errors
from kiosk_whisper import FEATURES, LONGEST_S, KioskWhisper, Shape, export, make_tokenizer
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from tqdm import tqdm

from edgeapp.core.events import SAMPLE_RATE_HZ

BATCH_S: Final = 64  # seconds of audio in a step
SECONDS: Final = tuple(range(2, LONGEST_S + 1))  # the lengths that the engine pads to and that training knows
NOISE_SHARE: Final = 0.03  # clips without speech
LOG_EVERY: Final = 10  # steps
SHORT_ONLY: Final = 6_000  # clips at first that last at most 3 s
HARD_AT: Final = 30_000  # clips until masks are as large as they get
HARD_MOST: Final = 0.35  # of the rooms and noises: an hour of training is too short for worse
GUIDED_UNTIL: Final = 60_000  # clips during which attention is pulled to its place
GUIDED_S: Final = 0.25  # how far from there it may look freely
POSITION_S: Final = 2 * FEATURES["hop_length"] / SAMPLE_RATE_HZ


@dataclass
class Progress:
    """Where the training stands; saved in the checkpoint."""

    step: int = 0
    clips: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Words:
    """The tokenizer, the tokens that have a role, and how words sound."""

    tokenizer: Tokenizer
    sounds: dict[str, list[int]]
    end: int
    start: int
    no_speech: int
    no_timestamps: int

    @staticmethod
    def of(work: Path) -> "Words":
        """From tokenizer.json and sounds.json."""
        tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
        sounds = json.loads((work / "sounds.json").read_text())
        numbers = {sound: n for n, sound in enumerate(sorted({each for row in sounds.values() for each in row}), 1)}
        names = ("endoftext", "startoftranscript", "nospeech", "notimestamps")
        return Words(
            tokenizer,
            {word: [numbers[sound] for sound in row] for word, row in sounds.items()},
            *(tokenizer.token_to_id(f"<|{name}|>") for name in names),
        )

    def phones(self, text: str) -> list[int]:
        """The sounds of a text; a word that is not known has none."""
        return [sound for word in text.split() for sound in self.sounds.get(word, [])]

    def tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(f" {text}").ids) if text else []

    def text(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode([token for token in tokens if token < self.end])).strip()


@dataclass(frozen=True)
class Clip:
    """One clip in its room: features (48, frames), its text, and when the speech begins and ends, in seconds."""

    features: NDArray[np.float32]
    text: str
    begin_s: float
    end_s: float


class Shards:
    """The clips that `make_kiosk_speech.py` has written so far."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._folder, self._pattern = folder, pattern
        self._known: set[str] = set()
        self._audio: list[NDArray[np.int16]] = []
        self.clips: list[tuple[int, int, int, str, str]] = []
        self.look()

    def look(self) -> None:
        """Take in shards that are new."""
        for path in sorted(self._folder.glob(self._pattern)):
            if path.name in self._known:
                continue
            self._known.add(path.name)
            index = json.loads(path.read_text())
            self._audio.append(np.load(path.with_suffix(".npy"), mmap_mode="r"))
            starts = [0, *index["ends"][:-1]]
            rows = zip(starts, index["ends"], index["texts"], index["voices"], strict=True)
            self.clips += [(len(self._audio) - 1, *row) for row in rows]

    def samples(self, number: int) -> NDArray[np.int16]:
        shard, start, end, _, _ = self.clips[number]
        return self._audio[shard][start:end]


class Clips(torch.utils.data.IterableDataset[Any]):
    """Batches for ever, each of clips of one padded length."""

    def __init__(self, speech: Path, words: Words, seed: int, clips_seen: int) -> None:
        self._speech, self._words, self._seed, self._seen = speech, words, seed, clips_seen

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng((self._seed, self._seen))
        shards, rooms = Shards(self._speech, "train-*.json"), Rooms(self._seed)
        extractor = FeatureExtractor(**FEATURES)
        pools: dict[int, list[Clip]] = {seconds: [] for seconds in SECONDS}
        seen = self._seen
        while True:
            clip, seconds = draw(shards, rooms, extractor, rng, min(HARD_MOST, 0.15 + seen / HARD_AT))
            if seconds > (3 if seen < SHORT_ONLY else SECONDS[-1]):
                continue
            pools[seconds].append(clip)
            if len(pools[seconds]) == BATCH_S // seconds:
                yield collate(pools[seconds], self._words)
                seen += len(pools[seconds])
                pools[seconds] = []
                shards.look()


def draw(
    shards: Shards, rooms: Rooms, extractor: FeatureExtractor, rng: np.random.Generator, hard: float
) -> tuple[Clip, int]:
    """A random clip in a random room, and to how many seconds it is padded."""
    number = int(rng.integers(len(shards.clips)))
    if rng.random() < NOISE_SHARE:
        level = float(np.exp(rng.uniform(np.log(0.0005), np.log(0.1))))
        samples = rooms.background(int(rng.uniform(0.3, 2.9) * SAMPLE_RATE_HZ), rng, level)
        text, begin_s, end_s = "", 0.0, 0.0
    else:
        samples, begin_s, end_s = rooms(shards.samples(number), rng, hard)
        text = shards.clips[number][3]
    return Clip(features_of(extractor, samples), text, begin_s, end_s), seconds_of(samples.size)


def seconds_of(samples: int) -> int:
    """To how many seconds the engine pads this many samples."""
    return max(SECONDS[0], -(-samples // SAMPLE_RATE_HZ))


def features_of(extractor: FeatureExtractor, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the engine gives the model for these samples."""
    padded = np.zeros(seconds_of(samples.size) * SAMPLE_RATE_HZ, np.float32)
    padded[: samples.size] = samples
    return np.asarray(extractor(padded, padding=0), np.float32)


def collate(clips: list[Clip], words: Words) -> dict[str, Tensor]:
    """Tensors of one step; `when` is the time in seconds at which each target token is said, negative where none is."""
    rows = [words.tokens(clip.text) for clip in clips]
    length = max(map(len, rows)) + 2
    inputs = torch.full((len(clips), length), words.end)
    targets = torch.full((len(clips), length), -100)
    when = torch.full((len(clips), length), -1.0)
    for number, (clip, row) in enumerate(zip(clips, rows, strict=True)):
        inputs[number, : len(row) + 2] = torch.tensor([words.start, words.no_timestamps, *row])
        first = words.no_timestamps if row else words.no_speech
        targets[number, : len(row) + 2] = torch.tensor([first, *row, words.end])
        if row:
            sizes = np.array([len(words.tokenizer.id_to_token(token)) for token in row])
            middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
            times = clip.begin_s + np.append(middles, 1.0) * (clip.end_s - clip.begin_s)
            when[number, 1 : len(row) + 2] = torch.from_numpy(times).float()
    sounds = [words.phones(clip.text) for clip in clips]
    sizes = torch.tensor([len(row) for row in sounds])
    flat = torch.tensor([sound for row in sounds for sound in row], dtype=torch.long)
    features = torch.from_numpy(np.stack([clip.features for clip in clips]))
    return {"features": features, "inputs": inputs, "targets": targets, "when": when, "flat": flat, "sizes": sizes}


def masked(features: Tensor, hard: float) -> Tensor:
    """SpecAugment: up to two bands and two stretches of each batch row replaced by the row's mean."""
    features = features.clone()
    count, bands, frames = features.shape
    mean = features.mean((1, 2))
    for row in range(count):
        for _ in range(2):
            height, width = int(random.random() * 7 * hard), int(random.random() * 8 * hard)
            low, start = random.randrange(bands - height), random.randrange(frames - width)
            features[row, low : low + height] = mean[row]
            features[row, :, start : start + width] = mean[row]
    return features


def losses_of(
    model: KioskWhisper, batch: dict[str, Tensor], words: Words, at: Progress, half: bool
) -> dict[str, Tensor]:
    """`total` and its parts for one batch."""
    hard = min(1.0, at.clips / HARD_AT)
    inputs = batch["inputs"].clone()
    # What was heard must count more than what usually comes next.
    swapped = torch.rand(inputs.shape, device=inputs.device) < 0.1 * hard
    swapped[:, :2] = False
    inputs[swapped] = torch.randint(0, words.end, (int(swapped.sum()),), device=inputs.device)
    memory = model.encode(masked(batch["features"], hard).to(torch.bfloat16 if half else torch.float32))
    scores, attention = model.decode(memory, inputs)
    log_probs = model.by_ctc(memory).float().log_softmax(-1).transpose(0, 1)
    lengths = torch.full((memory.shape[0],), memory.shape[1])
    ctc = F.ctc_loss(log_probs, batch["flat"], lengths, batch["sizes"], blank=0, zero_infinity=True)
    ce = F.cross_entropy(
        scores.float().flatten(0, 1), batch["targets"].flatten(), ignore_index=-100, label_smoothing=0.1
    )
    places = torch.arange(memory.shape[1], device=memory.device) * POSITION_S
    away = 1 - torch.exp(-((places - batch["when"][..., None]) ** 2) / (2 * GUIDED_S**2))
    said = batch["when"] >= 0
    guided = (attention * away).sum(-1)[said].mean()
    share = 0.7 - 0.4 * min(1.0, at.clips / HARD_AT)
    pull = max(0.0, 1 - at.clips / GUIDED_UNTIL)
    total = share * ctc + (1 - share) * ce + pull * guided
    return {"loss": total, "ctc": ctc, "ce": ce, "guided": guided}


def by_length(speech: Path, pattern: str, hard: float, seed: int) -> list[list[tuple[Clip, str]]]:
    """The clips of a shard with their voices, each in a room that depends on the seed only, in batches of one length."""
    shards, rooms, extractor = Shards(speech, pattern), Rooms(seed, rooms=20, noises=10), FeatureExtractor(**FEATURES)
    rng = np.random.default_rng(seed)
    groups: dict[int, list[tuple[Clip, str]]] = {}
    for number, (_, _, _, text, voice) in enumerate(shards.clips):
        samples, begin_s, end_s = rooms(shards.samples(number), rng, hard)
        clip = Clip(features_of(extractor, samples), text, begin_s, end_s)
        groups.setdefault(seconds_of(samples.size), []).append((clip, voice))
    return [group[i : i + 32] for group in groups.values() for i in range(0, len(group), 32)]


@torch.no_grad()
def check(model: KioskWhisper, words: Words, batches: list[list[tuple[Clip, str]]]) -> dict[str, float]:
    """Error rates of the decoder's words and of the encoder's sounds on voices that training never heard."""
    wrong = said = wrong_sounds = sounds = 0
    for batch in batches:
        features = torch.from_numpy(np.stack([clip.features for clip, _ in batch])).to(model.places.device)
        heard = model.transcribe(features, [words.start, words.no_timestamps], words.end)
        best = model.by_ctc(model.encode(features)).argmax(-1).tolist()
        for (clip, _), row, frames in zip(batch, heard, best, strict=True):
            kept = [sound for sound, before in zip(frames, [0, *frames], strict=False) if sound not in {0, before}]
            said += len(clip.text.split())
            wrong += word_errors(clip.text, words.text(row))
            truth = words.phones(clip.text)
            sounds += len(truth)
            wrong_sounds += word_errors(" ".join(map(str, truth)), " ".join(map(str, kept)))
    return {"wer": wrong / max(said, 1), "sound_error": wrong_sounds / max(sounds, 1)}


def optimizers(model: KioskWhisper, rate: float) -> list[Any]:
    """Muon for the blocks' matrices, AdamW for the rest. `initial_rate` is scaled by the schedule."""
    blocks = [*model.encoder.parameters(), *model.decoder.parameters()]
    matrices = [parameter for parameter in blocks if parameter.ndim == 2]
    others = [each for each in model.parameters() if all(each is not matrix for matrix in matrices)]
    made = [
        torch.optim.Muon(
            matrices, lr=rate, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw", ns_steps=4
        ),
        torch.optim.AdamW(others, lr=rate * 0.7, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_rate"] = group["lr"]
    return made


def rate_at(done: float, step: int) -> float:
    """Warm up over 100 steps, stay, fall in a line to 1 % over the last 40 % of the training."""
    return min(1.0, (step + 1) / 100) * min(1.0, max(0.01, (1.0 - done) / 0.4))


def train(options: argparse.Namespace) -> None:
    """Train until the clips or the minutes are used up, writing a checkpoint every few minutes."""
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    torch.set_num_threads(options.threads)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    words = _words(work, options.vocab)
    sizes = {name: getattr(options, name) for name in vars(Shape())}
    sizes |= {"vocab": words.tokenizer.get_vocab_size(), "phones": 1 + max(map(max, words.sounds.values()))}
    shape = Shape(**sizes)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = KioskWhisper(shape).to(device)
    steppers = optimizers(model, options.rate)
    checkpoint = work / "checkpoint.pt"
    at = _resume(checkpoint, model, steppers) if checkpoint.exists() else Progress()
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {device}, "
        f"from step {at.step} ({at.clips:,} clips)",
        flush=True,
    )
    checks = by_length(options.speech, "check.json", 0.5, 7)
    source = torch.utils.data.DataLoader(
        Clips(options.speech, words, options.seed, at.clips), batch_size=None, num_workers=options.workers,
        prefetch_factor=8 if options.workers else None,
    )  # fmt: skip
    began, checked = time.monotonic() - at.seconds, time.monotonic()
    bar = tqdm(total=options.clips, initial=at.clips, unit="clip", mininterval=5)
    for batch in source:
        at.seconds = time.monotonic() - began
        done = max(at.clips / options.clips, at.seconds / 60 / options.minutes)
        if done >= 1 or (work / "stop").exists():
            break
        on_device = {name: part.to(device) for name, part in batch.items()}
        parts = losses_of(model, on_device, words, at, not options.float32)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for stepper in steppers:
            for group in stepper.param_groups:
                group["lr"] = group["initial_rate"] * rate_at(done, at.step)
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        at.step += 1
        at.clips += len(batch["sizes"])
        bar.update(len(batch["sizes"]))
        if at.step % LOG_EVERY == 0:
            _log(work, at, **{name: value.item() for name, value in parts.items()})
            bar.set_postfix({name: f"{value.item():.2f}" for name, value in parts.items()})
        if time.monotonic() - checked > options.check_every:
            _log(work, at, **check(model, words, checks))
            _save(checkpoint, model, steppers, at)
            checked = time.monotonic()
    bar.close()
    _log(work, at, **check(model, words, checks))
    _save(checkpoint, model, steppers, at)


def _words(work: Path, vocab: int) -> Words:
    if not (work / "sounds.json").exists():
        from kiosk_sentences import TEST, WORDS, train_sentence

        rng = random.Random("tokenizer")
        texts = [train_sentence(rng) for _ in range(20_000)]
        make_tokenizer(texts, vocab).save(str(work / "tokenizer.json"))
        known = sorted({*WORDS, *(word for text in (*texts, *TEST) for word in text.split())})
        (work / "sounds.json").write_text(json.dumps(sounds_of(known), ensure_ascii=False))
    return Words.of(work)


def sounds_of(words: list[str]) -> dict[str, list[str]]:
    """Each word's sounds as espeak-ng writes them, without stress; without espeak-ng its letters."""
    if not shutil.which("espeak-ng"):
        print("espeak-ng is not installed: letters stand for sounds")
        return {word: list(word) for word in words}
    command = ["espeak-ng", "-q", "-v", "en-us", "-x", "--sep= "]
    lines = subprocess.run(command, check=True, input="\n".join(words), capture_output=True, text=True).stdout.split(
        "\n"
    )
    rows = [line.replace("'", "").replace(",", "").replace("|", " ").split() for line in lines if line.strip()]
    if len(rows) != len(words):
        raise SystemExit(f"espeak-ng wrote {len(rows)} lines for {len(words)} words; report this version of it")
    return dict(zip(words, rows, strict=True))


def _log(work: Path, at: Progress, **values: float) -> None:
    line = {"step": at.step, "clips": at.clips, "seconds": round(at.seconds, 1)}
    line |= {key: round(value, 4) for key, value in values.items()}
    with (work / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    if "wer" in values:
        tqdm.write(json.dumps(line))


def _save(path: Path, model: KioskWhisper, steppers: list[Any], at: Progress) -> None:
    state = {
        "model": model.state_dict(),
        "optimizers": [stepper.state_dict() for stepper in steppers],
        "progress": vars(at),
        "shape": vars(model.shape),
    }
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def _resume(path: Path, model: KioskWhisper, steppers: list[Any]) -> Progress:
    state = torch.load(path, weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    for stepper, saved in zip(steppers, state["optimizers"], strict=True):
        stepper.load_state_dict(saved)
    return Progress(**state["progress"])


def write_model(work: Path, out: Path) -> None:
    """The last checkpoint as a model folder, with the learning curve."""
    state = torch.load(work / "checkpoint.pt", weights_only=True, map_location="cpu")
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    export(Shape(**state["shape"]), state["model"], tokenizer, out)
    learning_curve(work / "log.jsonl", out / "learning_curve.png")
    size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
    print(f"{out}: {size / 1e6:.1f} MB, after {state['progress']}")


def learning_curve(log: Path, picture: Path) -> None:
    """Draw the log: losses over clips, and word error rates on unseen voices."""
    from matplotlib.figure import Figure

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [line for line in lines if "ce" in line]
    for name in ("ctc", "ce", "guided"):
        left.plot([s["clips"] / 1e3 for s in steps], [s[name] for s in steps], lw=0.8, label=name)
    left.set(xlabel="thousand clips", ylabel="loss", yscale="log")
    left.legend()
    checks = [line for line in lines if "wer" in line]
    for name, label in (("wer", "words, decoder"), ("sound_error", "sounds, encoder")):
        found = [c for c in checks if name in c]
        right.plot([c["clips"] / 1e3 for c in found], [c[name] for c in found], marker=".", label=label)
    right.axhline(0.15, color="grey", lw=0.8, ls="--")
    right.set(xlabel="thousand clips", ylabel="error rate, three unseen voices", ylim=(0, 1.05))
    right.legend()
    figure.savefig(picture, dpi=110)


def smoke() -> None:
    """Train a toy on tones for a few steps and export it: no synthesizer needed."""
    from kiosk_sentences import GRAMMAR
    from make_kiosk_speech import Voice, write_shard

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech"
        speech.mkdir()
        for name in ("train-0000", "check"):
            tones = [np.sin(np.arange(16_000) * rng.uniform(0.05, 0.5)) * 9_000 for _ in range(64)]
            said = [(Voice("tone", ""), GRAMMAR[n], tone.astype(np.int16)) for n, tone in enumerate(tones)]
            write_shard(speech, name, said)
        options = _parser().parse_args([])
        options.speech, options.work, options.workers, options.clips = speech, Path(folder) / "work", 0, 200
        options.width, options.encoder_layers, options.decoder_layers = 64, 1, 1
        train(options)
        write_model(options.work, Path(folder) / "model")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, help="folder that make_kiosk_speech.py wrote, training and --test")
    parser.add_argument("--work", type=Path, help="folder for the tokenizer, the checkpoint and the log")
    parser.add_argument("--export", type=Path, help="write the model of the last checkpoint here, train nothing")
    parser.add_argument("--smoke", action="store_true", help="train a toy for a few steps and export it")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--clips", type=int, default=1_000_000, help="stop after so many, drawn again or not")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="processes that prepare clips")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16 arithmetic")
    parser.add_argument("--check-every", type=float, default=240, help="seconds between checkpoints")
    for name, value in vars(Shape()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    return parser


def main() -> None:
    """Train, export, or do both once on a toy."""
    parser = _parser()
    options = parser.parse_args()
    if options.smoke:
        smoke()
    elif options.work is None or (options.speech is None and options.export is None):
        parser.error("--work FOLDER and --speech FOLDER say where the checkpoint and the clips are kept")
    elif options.export:
        write_model(options.work, options.export)
    else:
        train(options)


if __name__ == "__main__":
    main()
