"""What a person can type. Everything heavy is imported inside its command, so `edgeapp --help` is instant."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal

import click

from edgeapp import __version__
from edgeapp.core.events import BackendError, ConfigError, DeviceError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgeapp")
def cli() -> None:
    """Hear, answer and see in real time on a small device: every voice turn and every inspected frame within 200 ms."""


@cli.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
def run(config: Path | None) -> None:
    """Run the device that CONFIG (a TOML file) describes; without one, the embedded defaults.

    Ctrl-C ends it within two seconds in any state.
    """
    from edgeapp import config as settings

    device = settings.load(config)
    if device.app == "kiosk":
        from edgeapp.apps.kiosk import kiosk as app
    elif device.app == "qc" and not device.voice.station.listen:
        from edgeapp.apps.qc import station as app
    else:
        from edgeapp.apps.device import device as app
    _until_stopped(app(device, config))


@cli.command()
@click.argument("what", type=click.Choice(["all", "kiosk", "qc", "web"]), default="all")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True)
@click.option("--parts", default=60, show_default=True, type=click.IntRange(1, 10_000), help="Parts on the conveyor.")
@click.option("--turns", type=click.IntRange(1), help="Only the first so many questions.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="Of the pages.")
@click.option("--seconds", type=click.FloatRange(min=1), help="End the pages by themselves.")
def demo(what: str, out: Path, parts: int, turns: int | None, port: int, seconds: float | None) -> None:
    """Show a spoken conversation and a conveyor of parts; needs no sound card, camera, network or GPU.

    Pictures, sound and records go into OUT. The last line of each demo is JSON. `web` serves the pages of a device
    that does both without end.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {out}: {error.strerror}; give another folder with --out") from error
    failed = False
    if what in {"all", "kiosk"}:
        from edgeapp.demo.kiosk import demo_kiosk

        failed |= not _until_stopped(demo_kiosk(out, turns))
    if what in {"all", "qc"}:
        from edgeapp.demo.qc import demo_qc

        failed |= not _until_stopped(demo_qc(out, parts))
    if what == "web":
        from edgeapp.demo.web import demo_web

        failed |= not _until_stopped(demo_web(out, port, seconds))
    sys.exit(1 if failed else 0)


@cli.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
def doctor(config: Path | None) -> None:
    """Check audio, camera, models, accelerators and the system, and print the exact fix of what is wrong."""
    from edgeapp.doctor import doctor as check

    sys.exit(check(config))


@cli.group()
def bench() -> None:
    """Measure, print the conditions, and end with one line of JSON; exit 1 when a bar is missed."""


@bench.command("models")
@click.option("--quick", is_flag=True, help="End within 50 seconds: fewer cases, judged by their 95 % interval.")
def bench_models(*, quick: bool) -> None:
    """Accuracy beside speed of every bundled model, on held-out data made now.

    The detector in float32 and INT8, the language model, the recognisers, golden sets and size.
    """
    from edgeapp.bench.models import bench_models as measure

    sys.exit(measure(quick=quick))


@bench.command("core")
@click.option("--quick", is_flag=True, help="End within 50 seconds.")
def bench_core(*, quick: bool) -> None:
    """What the application itself costs, on this machine, now."""
    from edgeapp.bench.core import bench_core as measure

    sys.exit(measure(quick=quick))


@bench.command("voice")
@click.option("--quick", is_flag=True, help="End within 50 seconds: a few turns of one preset.")
@click.option(
    "--preset",
    "presets",
    multiple=True,
    type=click.Choice(["default", "aggressive", "relaxed", "digits"]),
    help="Only this one; repeatable. The first is judged by the bars.",
)
@click.option("--turns", type=click.IntRange(1, 5_000), help="Of the first preset; 220, or 8 if quick.")
@click.option(
    "--sound-card",
    type=click.Choice(["pulseaudio", "pipewire"]),
    help="On real PortAudio streams instead: a private server with a null sink, timed by a recording; 10 turns.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out/voice"), show_default=True)
def bench_voice(
    *,
    quick: bool,
    presets: tuple[str, ...],
    turns: int | None,
    sound_card: Literal["pulseaudio", "pipewire"] | None,
    seed: int,
    out: Path,
) -> None:
    """How soon the reply begins, endpoint and buffers included, at real-time pace; half an hour for all presets.

    Beside it: hit rate, cut-offs, false commits, missed endpoints, wasted work, and where the milliseconds went.
    """
    from edgeapp.bench.voice import bench_voice as measure

    sys.exit(measure(quick=quick, presets=presets, turns=turns, seed=seed, out=out, sound_card=sound_card))


@bench.command("grounding")
@click.option("--quick", is_flag=True, help="End within 50 seconds: 150 questions.")
@click.option("--questions", type=click.IntRange(10, 100_000), help="How many; 1,000, or 150 if quick.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def bench_grounding(*, quick: bool, questions: int | None, seed: int) -> None:
    """Does the kiosk say anything that is not so? Held-out questions and traps, with and without the check of facts."""
    from edgeapp.bench.grounding import bench_grounding as measure

    sys.exit(measure(quick=quick, questions=questions, seed=seed))


@bench.command("near-edge")
@click.option("--quick", is_flag=True, help="End within 50 seconds.")
def bench_near_edge(*, quick: bool) -> None:
    """What lending a call to a real Triton costs above tritonclient's own call, and what it does to the loop."""
    from edgeapp.bench.near_edge import bench_near_edge as measure

    sys.exit(measure(quick=quick))


@bench.command("tts")
@click.option("--quick", is_flag=True, help="End within 50 seconds.")
def bench_tts(*, quick: bool) -> None:
    """How soon a Piper voice is heard: its graph split, against whole synthesis of the same clause."""
    from edgeapp.bench.tts import bench_tts as measure

    sys.exit(measure(quick=quick))


@bench.command("echo")
@click.option("--quick", is_flag=True, help="End within 50 seconds: minutes of talk, not an hour.")
@click.option("--judged-alone", is_flag=True, help="Only at -10 dB, where the bars are: half the time.")
def bench_echo(*, quick: bool, judged_alone: bool) -> None:
    """Our voice in simulated rooms: does it interrupt itself, and does it stop for people but not for coughs?"""
    from edgeapp.bench.echo import bench_echo as measure

    sys.exit(measure(quick=quick, judged_alone=judged_alone))


@bench.command("ledger")
@click.option(
    "--quick", is_flag=True, help="End within 50 seconds: 300,000 rows beside 30,000, not 10,000,000 beside 100,000."
)
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="On this disk; that of the temporary files."
)
def bench_ledger(*, quick: bool, folder: Path | None) -> None:
    """The evidence ledger beside a bare fsync of this disk, and an hour's Pareto over few and many rows."""
    from edgeapp.bench.ledger import bench_ledger as measure

    sys.exit(measure(quick=quick, folder=folder))


@bench.command("integrity")
@click.option("--quick", is_flag=True, help="End within 50 seconds: a few lines of parts.")
@click.option(
    "--lines", type=click.IntRange(1, 1_000), help="Lines of parts, each with its own light; 100, or 9 if quick."
)
@click.option("--seed", default=10, show_default=True, type=click.IntRange(0))
def bench_integrity(*, quick: bool, lines: int | None, seed: int) -> None:
    """Twelve faults of a camera, each 100 times, and 10,000 good frames: what is caught, and what is a false alarm."""
    from edgeapp.bench.integrity import bench_integrity as measure

    sys.exit(measure(quick=quick, lines=lines, seed=seed))


@bench.command("station")
@click.option("--quick", is_flag=True, help="End within 50 seconds: 40 parts and 6 seconds of frames.")
def bench_station(*, quick: bool) -> None:
    """From the trigger to the PLC's coil on the bundled detector, ledger included; 30 frames a second, each accounted for."""
    from edgeapp.bench.station import bench_station as measure

    sys.exit(measure(quick=quick))


@bench.command("web")
@click.option("--quick", is_flag=True, help="End within 60 seconds.")
def bench_web(*, quick: bool) -> None:
    """What ten viewers of the pages cost a running device: CPU for each; p95 of verdicts and turns with and without them."""
    from edgeapp.bench.web import bench_web as measure

    sys.exit(measure(quick=quick))


@bench.command("offload")
@click.option("--simulated", is_flag=True, help="On virtual time: every policy and two oracles in the same worlds.")
@click.option("--real", is_flag=True, help="A real Triton behind a relay that behaves like a car's 5G; minutes.")
@click.option("--quick", is_flag=True, help="End within 50 seconds.")
@click.option("--calls", type=click.IntRange(100, 2_000_000), help="Calls in each world; 100,000, or 2,400 if quick.")
@click.option("--frames", type=click.IntRange(40, 100_000), help="Frames of the real run; 2,000, or 120 if quick.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--trace", "traces", multiple=True, type=click.Path(path_type=Path, dir_okay=False), help="A recorded link."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("out"), show_default=True)
def bench_offload(
    *, simulated: bool, real: bool, quick: bool, calls: int | None, frames: int | None, seed: int,
    traces: tuple[Path, ...], out: Path,
) -> None:  # fmt: skip
    """How each rule of offloading fares on bad links: misses, harm, what was served where, outages, cost, a picture."""
    if simulated == real:
        raise ConfigError("say what to measure: edgeapp bench offload --simulated, or --real")
    if real:
        from edgeapp.bench.offload_real import bench_offload_real

        sys.exit(_until_stopped(bench_offload_real(quick=quick, frames=frames, seed=seed, out=out)))
    from edgeapp.bench.offload import bench_offload as measure

    sys.exit(measure(quick=quick, calls=calls, seed=seed, traces=traces, out=out))


@cli.command()
@click.argument("what")
@click.option(
    "--records", type=click.Path(path_type=Path, dir_okay=False), default=Path("out/records.jsonl"), show_default=True
)
def explain(what: str, records: Path) -> None:
    """Say in sentences what happened in a turn (`7`, `"turn 7"`) or a frame (`"belt 12"`), and where it ran and why."""
    from edgeapp.explain import explain as tell

    tell(what, records)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=click.Choice(["edgeapp", "local", "remote", "seed", "seed-repaired", "hedge-p90", "race"]),
    help="One of the rules to compare; all by default.",
)
def replay(file: Path, policies: tuple[str, ...]) -> None:
    """Play the newest session recorded in FILE once more under other policies, on virtual time, and compare."""
    from edgeapp.replay import replay as play

    play(file, policies)


@cli.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(["stt", "llm", "tts", "detect"]), help="Only this one."
)
@click.option("--runs", default=3_000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--again", is_flag=True, help="Forget the runs that are kept for this state of the platform.")
def calibrate(config: Path | None, stages: tuple[str, ...], runs: int, *, again: bool) -> None:
    """Measure how long the local engines of CONFIG take at most, on this machine as it is set now.

    Stopped with Ctrl-C it goes on later where it was. Changed clocks, power mode or models need runs of their own.
    """
    from edgeapp import config as settings
    from edgeapp.calibrate import calibrate as measure

    sys.exit(0 if _until_stopped(measure(settings.load(config), stages, runs, again=again)) else 1)


@cli.command("learn-camera")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--frames", default=64, show_default=True, type=click.IntRange(24, 512), help="Good frames of the moving line."
)
@click.option("--camera", default="", help="The name of a further camera; the first one by default.")
def learn_camera(config: Path, file: Path, *, frames: int, camera: str) -> None:
    """Learn how the camera of CONFIG sees good parts, and write it to FILE, for vision.integrity.reference.

    Run it while the line runs with good parts, once at set-up and again whenever camera or light were changed on purpose.
    """
    from edgeapp import config as settings
    from edgeapp.apps.inspection import learn

    print(_until_stopped(learn(settings.load(config), file, frames, camera)))


@cli.group()
def ledger() -> None:
    """The evidence ledger of a quality-control station: FOLDER is where it lies. Only verify checks the rows; the others believe them."""


_FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
_FROM = click.option("--from", "start", default="", help="ISO 8601, UTC where no zone is given.")
_TO = click.option("--to", "end", default="", help="Before this time.")
_HOURS = click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="The last so many hours instead.")


@ledger.command("verify")
@_FOLDER
@click.option("--head", "heads", multiple=True, help="ROWS:HASH as noted elsewhere; repeatable.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="The file with the key of the anchor.")
@click.option("--images", is_flag=True, help="Read every kept picture too.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def ledger_verify(folder: Path, heads: tuple[str, ...], key: Path | None, *, images: bool, as_json: bool) -> None:
    """Read every row and name the first that was edited, is missing, out of order or cut off; exits 1 then.

    Only a head noted elsewhere (the last line of an earlier verify) proves that database and anchor were not both put
    back or rewritten.
    """
    from edgeapp.apps.ledger_report import report_verify

    sys.exit(report_verify(folder, heads, key, images=images, as_json=as_json))


@ledger.command("show")
@_FOLDER
@click.argument("row", required=False, type=click.IntRange(1))
@click.option("--last", default=20, show_default=True, type=click.IntRange(1), help="At most so many, newest first.")
@click.option("--cause", default="", help="A defect, or why a part was not inspected.")
@click.option("--serial", default="")
@click.option("--lot", default="")
@click.option("--outcome", default="", type=click.Choice(["", "PASS", "FAIL", "NOT_INSPECTED"]))
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a verdict.")
def ledger_show(
    folder: Path, row: int | None, last: int, cause: str, serial: str, lot: str, outcome: str, *, as_json: bool
) -> None:
    """Print the newest verdicts, those of a cause, a serial number or a lot, or one whole ROW."""
    from edgeapp.apps.ledger_report import report_show

    sys.exit(
        report_show(folder, seq=row, last=last, as_json=as_json, cause=cause, serial=serial, lot=lot, outcome=outcome)
    )


@ledger.command("stats")
@_FOLDER
@_FROM
@_TO
@_HOURS
@click.option(
    "--every", default=60, show_default=True, type=click.IntRange(1), help="Minutes of a point of the p-chart."
)
@click.option("--size", "sizes", multiple=True, help="NAME:LOWER:UPPER in mm, for its capability; repeatable.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Draw the charts into this folder.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def ledger_stats(
    folder: Path, start: str, end: str, hours: float | None, every: int, sizes: tuple[str, ...], out: Path | None, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Yield, p-chart with alarms, Pareto, Cp and Cpk, and the false rejects that re-inspection shows; whole minutes."""
    from edgeapp.apps.ledger_report import parse_size, parse_window, report_stats

    window, limits = parse_window(start, end, hours), [parse_size(each) for each in sizes]
    sys.exit(report_stats(folder, window, every_min=every, sizes=limits, out=out, as_json=as_json))


@ledger.command("export")
@_FOLDER
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_FROM
@_TO
@_HOURS
def ledger_export(folder: Path, file: Path, start: str, end: str, hours: float | None) -> None:
    """Write the verdicts to FILE, .csv or .parquet, oldest first; memory stays small however many there are."""
    from edgeapp.apps.ledger_report import parse_window, report_export

    sys.exit(report_export(folder, file, parse_window(start, end, hours)))


@ledger.command("judge")
@_FOLDER
@click.argument("row", type=click.IntRange(1))
@click.argument("outcome", type=click.Choice(["PASS", "FAIL"]))
@click.option("--by", required=True, help="Who looked at the part.")
@click.option("--cause", "causes", multiple=True, help="A defect that was found; repeatable.")
@click.option("--sampled", is_flag=True, help="The part was drawn at random: only such ones estimate a rate.")
@click.option("--key", type=click.Path(path_type=Path, dir_okay=False), help="The file with the key of the anchor.")
def ledger_judge(
    folder: Path, row: int, outcome: str, by: str, causes: tuple[str, ...], key: Path | None, *, sampled: bool
) -> None:
    """Record what a person found in the part of ROW. While the station runs it is done on its pages."""
    from edgeapp.apps.judge import judge
    from edgeapp.core.events import Outcome

    print(_until_stopped(judge(folder, row, Outcome(outcome), by, causes, key, sampled=sampled)))


@ledger.command("relabel")
@_FOLDER
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--training", required=True, type=click.IntRange(1), help="Pictures that people judged otherwise.")
@click.option("--calibration", required=True, type=click.IntRange(1), help="Pictures of normal production.")
@click.option("--floor", default=2, show_default=True, type=click.IntRange(0), help="Least of each stratum.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--never",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Hashes of golden pictures; repeatable.",
)
def ledger_relabel(
    folder: Path, out: Path, training: int, calibration: int, floor: int, seed: int, never: tuple[Path, ...]
) -> None:
    """Draw the next training and calibration set into OUT, by light, density and part type, rare ones kept.

    OUT/training is for scripts/train_qc.py, OUT/calibration for scripts/quantize_qc.py.
    """
    from edgeapp.apps.ledger_report import read_never, report_relabel
    from edgeapp.station.relabel import Wish

    sys.exit(report_relabel(folder, out, Wish(training, calibration, floor, seed, read_never(never))))


@cli.group()
def rules() -> None:
    """The inspection rules of a quality-control station: signed by name, kept for ever, tried on what was seen before."""


_BOOK = click.option(
    "--book", type=click.Path(path_type=Path, file_okay=False), default=Path("rules"), show_default=True,
    help="The rule book's folder.",
)  # fmt: skip
_BY = click.option("--by", required=True, help="Who says so.")
_WHY = click.option("--why", required=True, help="The reason, in words.")
_BOOK_KEY = click.option(
    "--key", type=click.Path(path_type=Path, dir_okay=False), help="The file with the key that seals the book."
)


@rules.command("list")
@_BOOK
@_BOOK_KEY
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def rules_list(book: Path, key: Path | None, *, as_json: bool) -> None:
    """Every signed rule: who signed it, when and why, and which one is in use."""
    from edgeapp.apps.rules_report import report_list

    sys.exit(report_list(book, key, as_json=as_json))


@rules.command("show")
@click.argument("version", default="")
@_BOOK
@_BOOK_KEY
def rules_show(version: str, book: Path, key: Path | None) -> None:
    """Print the rule VERSION (or the one in use), checked against its signature."""
    from edgeapp.apps.rules_report import report_show

    sys.exit(report_show(book, version, key))


@rules.command("diff")
@click.argument("one")
@click.argument("other")
@_BOOK
@_BOOK_KEY
def rules_diff(one: str, other: str, book: Path, key: Path | None) -> None:
    """What differs between two rules, each a version in the book or a file; exits 1 if anything does."""
    from edgeapp.apps.rules_report import report_diff

    sys.exit(report_diff(book, one, other, key))


@rules.command("sign")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_BY
@_WHY
@_BOOK
@_BOOK_KEY
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Whose detector must know the rule's classes."
)
def rules_sign(file: Path, by: str, why: str, book: Path, key: Path | None, config: Path | None) -> None:
    """Put the rule FILE into the book under a name. Try it first: edgeapp rules dry-run."""
    from edgeapp.apps.rules_report import report_sign

    sys.exit(report_sign(book, file, by, why, config, key))


@rules.command("use")
@click.argument("version")
@_BY
@_WHY
@_BOOK
@_BOOK_KEY
def rules_use(version: str, by: str, why: str, book: Path, key: Path | None) -> None:
    """Let the signed rule VERSION decide; a running station takes it within seconds, between two parts."""
    from edgeapp.apps.rules_report import report_use

    sys.exit(report_use(book, version, by, why, key))


@rules.command("dry-run")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("ledger", type=click.Path(path_type=Path, file_okay=False))
@_BOOK
@_BOOK_KEY
@click.option(
    "--calibration", "calibrations", multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="Of a camera, for limits in mm; one for each camera.",
)  # fmt: skip
@click.option(
    "--stored-from-score", default=0.03, show_default=True, type=click.FloatRange(0, 1),
    help="The detector's confidence: what scored less is not in the rows.",
)  # fmt: skip
@_FROM
@_TO
@_HOURS
@click.option("--list", "shown", default=20, show_default=True, type=click.IntRange(0, 1_000), help="Parts to name.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def rules_dry_run(
    file: Path, ledger: Path, book: Path, key: Path | None, calibrations: tuple[Path, ...], stored_from_score: float,
    start: str, end: str, hours: float | None, shown: int, *, as_json: bool,
) -> None:  # fmt: skip
    """Which verdicts of the LEDGER would have been others under the rule FILE, and where that cannot be told."""
    from edgeapp.apps.ledger_report import parse_window
    from edgeapp.apps.rules_report import report_dry_run

    sys.exit(
        report_dry_run(
            file, ledger, book=book, key=key, calibrations=calibrations, window=parse_window(start, end, hours),
            stored_from_score=stored_from_score, shown=shown, as_json=as_json,
        )
    )  # fmt: skip


@rules.command("calibrate")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@click.option("--camera", default="camera", show_default=True, help="What its frames are called.")
@click.option("--board", default="9x6", show_default=True, help="A chessboard's inner corners.")
@click.option("--square-mm", type=click.FloatRange(min=0, min_open=True), help="The side of its squares.")
@click.option(
    "--points",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Or lines of x y X Y: pixels, and where that is in mm.",
)
@click.option("--mm-per-px", type=click.FloatRange(min=0, min_open=True), help="Or one scale.")
@click.option("--error-mm", type=click.FloatRange(min=0), help="With --mm-per-px: what a length is wrong by at most.")
def rules_calibrate(
    images: tuple[Path, ...], out: Path, camera: str, board: str, square_mm: float | None, points: Path | None,
    mm_per_px: float | None, error_mm: float | None,
) -> None:  # fmt: skip
    """Where the pixels of a camera lie in mm, from IMAGES of a chessboard on the plane of the parts.

    Several pictures with the board at several places also say how wrong a length is there.
    """
    from edgeapp.apps.rules_report import report_calibrate

    sys.exit(
        report_calibrate(
            images,
            out,
            camera=camera,
            board=board,
            square_mm=square_mm,
            points=points,
            mm_per_px=mm_per_px,
            error_mm=error_mm,
        )
    )


@cli.group()
def golden() -> None:
    """The golden parts of a quality-control station: known parts that are judged at every shift and switch."""


_GOLDEN = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@golden.command("run")
@_GOLDEN
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Whose detector and rule judge.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def golden_run(folder: Path, config: Path | None, *, as_json: bool) -> None:
    """Judge the golden pictures in FOLDER now, beside the station; exits 1 if one is not judged as it is known."""
    from edgeapp import config as settings
    from edgeapp.apps.golden import report_run

    sys.exit(report_run(folder, settings.load(config), as_json=as_json))


@golden.command("add")
@_GOLDEN
@click.argument("image", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="What the part is called.")
@click.option("--expect", required=True, type=click.Choice(["PASS", "FAIL"]))
@click.option("--cause", "causes", multiple=True, help="A defect it must fail for; repeatable.")
@click.option("--serial", default="", help="The code on the part, if it is to be known on the belt by it.")
@click.option("--camera", default="camera", show_default=True, help="What took the picture.")
@click.option("--by", required=True, help="Who says so.")
def golden_add(
    folder: Path, image: Path, name: str, expect: str, causes: tuple[str, ...], serial: str, camera: str, by: str
) -> None:
    """Put the picture IMAGE of a known part into the golden set FOLDER; the ledger's kept pictures will do."""
    from edgeapp.apps.golden import report_add

    sys.exit(report_add(folder, image, name=name, expect=expect, causes=causes, serial=serial, camera=camera, by=by))


@cli.group()
def models() -> None:
    """The models on this device."""


@models.command("list")
def models_list() -> None:
    """List the models: what they are, what they weigh, where they came from."""
    from rich.console import Console

    from edgeapp.models.commands import list_models

    list_models(Console())


@models.command("verify")
@click.argument("names", nargs=-1)
@click.option("--golden", is_flag=True, help="Load each one too and ask it its golden set; exits 1 if one is wrong.")
@click.option("--json", "as_json", is_flag=True, help="With --golden: one line of JSON instead of a table.")
def models_verify(names: tuple[str, ...], *, golden: bool, as_json: bool) -> None:
    """Check size and hash of every file of the models NAMES (all of them by default).

    With --golden each model is opened by the engine that serves it and asked questions with known answers: a model
    built for other hardware, a corrupted one or a wrong tokenizer is caught here. Applications ask the first of these
    questions at every start.
    """
    if golden:
        from edgeapp.apps.golden_report import report_golden

        sys.exit(report_golden(names, as_json=as_json))
    if as_json:
        raise click.UsageError("--json goes with --golden")
    from rich.console import Console

    from edgeapp.models.commands import verify_models

    verify_models(Console(), names)


@models.command("pull")
@click.argument("name")
def models_pull(name: str) -> None:
    """Fetch the model NAME from the hub at its pinned revision; resumed after a cut, checked before use."""
    from rich.console import Console

    from edgeapp.apps.gate import check
    from edgeapp.models.commands import pull_model

    pull_model(Console(), name, check)


@models.command("convert")
@click.argument("name")
@click.option("--python", default="", help="A Python that has edgeapp[convert]; this one by default.")
@click.option("--size", default=640, show_default=True, help="The side of a detector's input, in pixels.")
def models_convert(name: str, python: str, size: int) -> None:
    """Make the pulled model NAME loadable: a language model or Whisper as int8, YOLO11 as ONNX."""
    from rich.console import Console

    from edgeapp.apps.gate import check
    from edgeapp.models.commands import convert_model

    convert_model(Console(), name, check, python, size)


@models.command("switch")
@click.argument("role")
@click.argument("name")
def models_switch(role: str, name: str) -> None:
    """Make NAME the current model for ROLE (stt, llm, tts, detect), if it passes its golden set here."""
    from rich.console import Console

    from edgeapp.apps.gate import check
    from edgeapp.models.commands import switch_model

    switch_model(Console(), role, name, check)


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Take the pulled or converted model NAME off this device."""
    from rich.console import Console

    from edgeapp.models.commands import remove_model

    remove_model(Console(), name)


@cli.group()
def web() -> None:
    """The pages: who may sign in, and what was changed."""


_NAME = click.argument("name")


@web.command("passwd")
@_NAME
@click.option("--role", type=click.Choice(["viewer", "operator", "engineer"]), help="Of a new user: engineer.")
@click.option("--stdin", is_flag=True, help="Read the password from standard input, not from the terminal.")
def web_passwd(name: str, role: str | None, *, stdin: bool) -> None:
    """Make the user NAME or change the password; asked for, never given on the command line."""
    from edgeapp.apps.web_users import set_password

    set_password(name, role, stdin=stdin)


@web.command("users")
def web_users() -> None:
    """List who may sign in."""
    from edgeapp.apps.web_users import list_users

    list_users()


@web.command("remove")
@_NAME
def web_remove(name: str) -> None:
    """Take the user NAME away; open sessions end."""
    from edgeapp.apps.web_users import remove_user

    remove_user(name)


@web.command("audit")
@click.option("--last", default=20, show_default=True, type=click.IntRange(1, 100_000), help="So many, newest last.")
def web_audit(last: int) -> None:
    """Check the chain of changes and print the last ones; exits 2 at a line that was changed."""
    from edgeapp.apps.web_users import show_changes

    show_changes(last)


@cli.command()
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="Of the device's pages.")
@click.option(
    "--token", type=click.Path(path_type=Path, dir_okay=False), help="The device's token file, if not its own."
)
@click.option("--certificate", default="", help="The device's own certificate, where the pages are served by TLS.")
@click.option("--once", is_flag=True, help="Print one picture of it and end.")
def top(url: str, token: Path | None, certificate: str, *, once: bool) -> None:
    """The live view in a terminal: verdicts, turns against their budget, stages, links, alarms. Ctrl-C ends it."""
    from edgeapp.apps.top import show

    show(url, token, certificate, once=once)


@cli.group("near-edge")
def near_edge() -> None:
    """The near edge: a Triton server that stages of this device may use."""


@near_edge.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="For gRPC; 0 is a free one."
)
@click.option("--metrics-port", default=8002, show_default=True, type=click.IntRange(0, 65535), help="On loopback.")
@click.option(
    "--tls", type=click.Path(path_type=Path, file_okay=False), help="The folder DIR/server of `certificates`."
)
@click.option("--model", "names", multiple=True, help="Only this one; repeatable.")
@click.option("--content", type=click.Path(path_type=Path, dir_okay=False), help="The kiosk's content file.")
def near_edge_serve(
    host: str, port: int, metrics_port: int, tls: Path | None, names: tuple[str, ...], content: Path | None
) -> None:
    """Serve detector, split detector, recogniser, voice and language model with a real Triton, until Ctrl-C.

    The first call makes an environment for Triton in the cache folder. An address that is not loopback needs --tls.
    """
    from edgeapp.near_edge.repository import chosen
    from edgeapp.near_edge.serve import Settings, serve

    settings = Settings(
        models=chosen(names), host=host, grpc_port=port, metrics_port=metrics_port, tls=tls, content=content
    )
    _until_stopped(serve(settings))


@near_edge.command("prepare")
def near_edge_prepare() -> None:
    """Make Triton's environment now, so that the first `serve` does not have to. Does nothing if it is there."""
    from edgeapp.near_edge.environment import prepare

    print(prepare().folder)


@near_edge.command("repository")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--gpu", is_flag=True, help="With the configurations for a GPU, for the official image.")
def near_edge_repository(folder: Path, *, gpu: bool) -> None:
    """Write the model repository to FOLDER, for a Triton that somebody else starts: see deploy/near-edge."""
    from edgeapp.near_edge.repository import build

    build(folder, gpu=gpu, copy=True)
    print(folder)


@near_edge.command("certificates")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--host", "hosts", multiple=True, default=("127.0.0.1", "localhost"), show_default=True, help="Repeatable."
)
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 398), help="How long they are good.")
def near_edge_certificates(folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make or renew the certificates for mutual TLS in FOLDER: authority/, server/ and device/."""
    from edgeapp.near_edge.certificates import make

    until = make(folder, hosts, days)
    print(f"{folder}/server goes to the near edge, {folder}/device to the devices, {folder}/authority stays with you;")
    print(f"good until {until:%Y-%m-%d %H:%M} UTC for {', '.join(hosts)}: run this again before that")


def _until_stopped(main: Coroutine[Any, Any, Any]) -> Any:
    """Run an application on its loop."""
    from edgeapp.apps.process import until_stopped

    return until_stopped(main)


def main() -> None:
    """Entry point: one clear sentence on stderr for what the operator can mend, and no traceback for it."""
    try:
        cli(standalone_mode=False)
    except (ConfigError, DeviceError, BackendError) as error:
        print(f"edgeapp: {error}", file=sys.stderr)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
