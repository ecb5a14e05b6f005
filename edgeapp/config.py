"""One TOML a device -> frozen typed values. An unknown key is an error that names itself.

Milliseconds live here and on screens; the code behind it counts nanoseconds. Every key has a default, so an empty file
(or none) is the embedded demo device: bundled models, no download, no network.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeapp.core.events import ConfigError


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all tables of the file have in common: frozen, and strict about their keys."""


class Engine(Section, frozen=True):
    """One engine: which file in `engines/`, on which lane, and its own options."""

    engine: str
    """A file name in `engines/` without its suffix, such as `llm_ctranslate2`."""

    lane: str = ""
    """The accelerator it shares with others, such as `gpu`; empty gives it a lane of its own."""

    bound_ms: float | None = None
    """The bound on the time to its first part that is believed until enough runs were seen; left out, its stage's own."""

    options: dict[str, Any] = {}
    """Checked by the engine's own types when it is loaded."""


class Stage(Engine, frozen=True):
    """An engine on the device, and perhaps one elsewhere."""

    remote: Engine | None = None
    """Where this stage may run when the link's jitter makes that safe."""

    smaller: tuple[Engine, ...] = ()
    """Further engines on this device, best first: the best one that still fits a call's time is taken."""

    policy: Literal["edgeapp", "local", "remote", "seed", "seed-repaired", "hedge-p90", "race"] = "edgeapp"
    """Which rule says where a call runs; all but `edgeapp` are there to be compared with it (core/policies.py)."""

    race: bool = False
    """May both sides run at once when the remote's window is too short?"""

    local_j: float = 1.0
    """The energy of one run here; with the next two, joules or anything in proportion to them."""

    send_j: float = 0.4
    """The energy of one request and its answer."""

    value_j: float = 0.0
    """What the remote's answer is worth beyond local's, as when its model is the better one."""


class Endpoint(Section, frozen=True):
    """When a person has finished; see voice/endpoint.py."""

    preset: Literal["aggressive", "default", "relaxed", "digits"] = "default"
    """How much a cut-in weighs against a wait; `digits` for places where people spell out numbers."""

    rejoin_ms: float = 400.0
    """How long after its end a turn can be taken up again."""

    pre_roll_ms: float = 320.0
    utterance_max_ms: float = 30_000.0
    threshold: float = 0.5
    stop_threshold: float = 0.35


class Shares(Section, frozen=True):
    """What each stage may take of a voice turn's budget, after the endpoint."""

    stt_ms: float = 10.0
    llm_ms: float = 60.0
    tts_ms: float = 20.0


class Camera(Section, frozen=True):
    """Where pictures come from."""

    source: str = "simulated"
    """`simulated`, a /dev/v4l/by-id path, an index, an rtsp:// address, a GStreamer pipeline or a video file."""

    policy: Literal["latest", "every"] = "every"
    width: int = 0
    height: int = 0
    stall_ms: float = 500.0
    """Without a new frame for this long the camera counts as gone."""


class Presence(Section, frozen=True):
    """Who stands in front of the device; see vision/presence.py."""

    camera: Camera = Camera(source="0", policy="latest")
    detect: Engine | None = None
    """A detector that knows the class `label`. None ships with edgeapp: the bundled one knows parts and defects."""

    label: str = "person"
    person_score: float = 0.5
    height_share: float = 0.3
    """A person is at least so tall in the picture; smaller ones walk past further away."""

    every_ms: float = 100.0
    appear_ms: float = 300.0
    leave_ms: float = 4_000.0


class Wake(Section, frozen=True):
    """When the device listens; see voice/wake.py."""

    ways: tuple[Literal["always", "keyphrase", "key", "presence"], ...] = ("always",)
    """Any of them: always; after `keyphrase`; while a key is held or after it is tapped; while a person is there."""

    keyphrase: str = "hello kiosk"
    """Words of the recogniser's dictionary, or with their sounds in its `pronunciations`; three syllables or more, with hard
    consonants between them: "hello kiosk" is heard far more often than "hey edge app" (scripts/measure_wake.py)."""

    awake_ms: float = 20_000.0
    """From the last words of either side to sleep."""

    key_device: str = "terminal"
    """`terminal`, `screen` (touch to talk on the kiosk's page only), or an input device such as /dev/input/by-id/... (buttons on GPIO pins are input devices, too)."""

    key: str = "space"
    """`space`, `enter` or a character of the terminal; the kernel's name of an input device's, such as KEY_SPACE."""

    greeting: str = ""
    """Said to a person who comes; empty says nothing."""

    presence: Presence = Presence()


class Voice(Section, frozen=True):
    """The voice kiosk."""

    budget_ms: float = 200.0
    """From the last voiced sample to the first audible one."""

    shares: Shares = Shares()
    endpoint: Endpoint = Endpoint()
    wake: Wake = Wake()
    vad: Engine = Engine(engine="vad_silero")
    stt: Stage = Stage(engine="stt_pocketsphinx")
    llm: Stage = Stage(engine="llm_ctranslate2", options={"model": "kiosk-lm"})
    tts: Stage = Stage(engine="tts_espeak")
    turn: Engine | None = None
    """A model that says by the voice alone whether a turn is over, such as `turn_smart`: a second opinion."""

    content: str = ""
    """The kiosk's content file; empty is the one that ships."""

    facts_per_question: int = 3
    """How many of the content's facts stand in the prompt; 0 is all of them, which an engine can keep resident."""

    closed_intents: bool = True
    """Answer the fixed forms of questions with no model: at once, and always right."""

    grounded: bool = True
    """Speak of a model's reply only what the content or a tool bears out."""

    speculate: bool = True
    """Prepare replies while it is not certain that the person has finished."""

    history_turns: int = 2
    history_tokens: int = 256
    """What of the past stands in the prompt at most."""

    max_tokens: int = 64


class Audio(Section, frozen=True):
    """The sound card."""

    microphone: str = ""
    """A part of the device's name; empty is the system's default."""

    speaker: str = ""
    echo: Literal["cancel", "none", "half-duplex"] = "cancel"
    """`cancel` takes our own voice out of the microphone's sound, so people may speak over it. `none` is for a headset or
    a speakerphone that cancels by itself. `half-duplex` does not listen while we speak."""

    block_ms: float = 16.0
    """Of the microphone and the loudspeaker. With `echo = "cancel"` it is 10, what the canceller takes at a time."""

    latency_ms: float = 20.0


class Rule(Section, frozen=True):
    """What makes a part good; see vision/rules.py."""

    parts: tuple[str, ...] = ("washer", "bracket")
    defects: tuple[str, ...] = ("scratch", "dent", "stain", "missing_hole", "burr", "crack")
    part_score: float = 0.5
    defect_score: float = 0.25
    defect_scores: dict[str, float] = {}
    """A defect's own least score, by its label. The detector's `confidence` (0.03) must be below it."""

    doubt_from_score: float = 0.03
    doubt_below_score: float = 0.0
    """A part whose surest defect scores from the one to below the other is looked at again, mirrored three ways, and its
    scores are the means of the four looks. 0 never looks again."""

    version: str = "1"


class Trigger(Section, frozen=True):
    """What says that a part is there."""

    source: Literal["camera", "gpio", "encoder", "timer", "plc", "modbus"] = "camera"
    """`camera`: each frame is a part. `plc`: the PLC at `outputs.modbus.plc_host` is polled. `modbus`: a PLC writes coil 16 of
    our Modbus server."""

    line: int = 0
    """`gpio`: which line of `outputs.gpio.chip`; a part is a rising edge."""

    active_low: bool = False
    debounce_ms: float = 1.0
    """`gpio`: how long a level must be stable."""

    hold_off_ms: float = 5.0
    """A pull so soon after the last one is the same part."""

    counts: int = 1000
    """`encoder`: a part every so many counts."""

    period_ms: float = 1000.0
    """`timer`: a part every so often."""

    table: Literal["coil", "discrete_input", "counter"] = "counter"
    """`plc`: a coil that is cleared once it was seen, an input that rises, or a holding register that counts parts."""

    address: int = 0
    poll_ms: float = 5.0
    waiting: int = 16
    """Triggers that may wait for the inspection; a part beyond them is NOT_INSPECTED at once."""


class Encoder(Section, frozen=True):
    """Where the belt's count comes from."""

    source: Literal["none", "gpio", "plc", "modbus"] = "none"
    """`gpio`: two lines in quadrature. `plc`: two holding registers of the PLC. `modbus`: a PLC writes ours."""

    a: int = 0
    b: int = 1
    debounce_ms: float = 0.0
    address: int = 0


class Vision(Section, frozen=True):
    """The quality-control station."""

    trigger: Trigger = Trigger()
    encoder: Encoder = Encoder()
    budget_ms: float = 200.0
    """From the sensor's timestamp to the verdict."""

    camera: Camera = Camera()
    detect: Stage = Stage(engine="detect_yolo", options={"model": "qc-yolo11n"})
    rule: Rule = Rule(
        defect_scores={
            "scratch": 0.2,
            "dent": 0.08,
            "stain": 0.07,
            "missing_hole": 0.11,
            "burr": 0.1,
            "crack": 0.165,
        },
        doubt_from_score=0.03,
        doubt_below_score=0.3,
    )
    """If nothing is written, the bundled detector's own scores, chosen on its validation set (its card)."""


class ModbusOutput(Section, frozen=True):
    """PLCs by Modbus TCP, in either direction or both."""

    serve: bool = False
    """Listen: PLCs read the station's registers (devices/modbus_server.py)."""

    host: str = "127.0.0.1"
    """The address to listen on: the machine network's, since Modbus has no passwords."""

    port: int = 5020
    """Modbus's own is 502, which needs rights."""

    unit: int = 1
    plc_host: str = ""
    """The PLC to write into and to poll; empty is none."""

    plc_port: int = 502
    plc_unit: int = 1
    plc_word: int = 0
    """Where the station's registers begin in it."""

    plc_coil: int = 0
    timeout_ms: float = 500.0


class MqttOutput(Section, frozen=True):
    """A broker that gets every verdict; see devices/mqtt.py."""

    host: str = ""
    """Empty is none."""

    port: int = 1883
    prefix: str = "edgeapp"
    """The topics are prefix/verdict, prefix/alarm, prefix/state and prefix/status."""

    client: str = ""
    """The client identifier; empty is the station's name."""

    outbox: str = "outbox.sqlite"
    """The file where messages wait while the broker is gone."""

    outbox_rows: int = 200_000
    user: str = ""
    password_env: str = ""
    """The environment variable that holds the password."""

    password_file: str = ""
    """Or the file. The password itself never stands here."""

    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


class OpcUaOutput(Section, frozen=True):
    """An OPC UA server; see devices/opcua.py."""

    serve: bool = False
    host: str = "127.0.0.1"
    port: int = 4840
    certificate: str = ""
    """With a certificate and a key every connection is signed and encrypted."""

    key: str = ""


class GpioOutput(Section, frozen=True):
    """Lines that say the verdict. Left out, a line is not used."""

    chip: str = ""
    """Such as /dev/gpiochip0, or `simulated`; the trigger's, the encoder's and the gate's lines are on it too. Empty is none."""

    active_low: bool = False
    passed: int | None = None
    """Active for `pulse_ms` after a PASS, and only then: a broken wire rejects."""

    failed: int | None = None
    not_inspected: int | None = None
    heartbeat: int | None = None
    """Changes with each part that was looked at."""

    pulse_ms: float = 50.0


class RejectOutput(Section, frozen=True):
    """The gate that takes bad parts off the belt; see devices/reject.py."""

    by: Literal["none", "time", "encoder"] = "none"
    line: int | None = None
    """The gate's line on `outputs.gpio.chip`, or"""

    plc_coil: int | None = None
    """its coil in the PLC."""

    delay_ms: float = 500.0
    """`time`: from the trigger to the gate."""

    window_ms: float = 50.0
    """`time`: how long the part is at the gate."""

    delay_counts: int = 500
    """`encoder`: the same in counts."""

    window_counts: int = 50
    pulse_ms: float = 40.0
    """How long the gate is open."""

    parts_between: int = 64
    """How many parts fit between the camera and the gate."""


class Outputs(Section, frozen=True):
    """What the line's machines are told."""

    modbus: ModbusOutput = ModbusOutput()
    mqtt: MqttOutput = MqttOutput()
    opcua: OpcUaOutput = OpcUaOutput()
    gpio: GpioOutput = GpioOutput()
    reject: RejectOutput = RejectOutput()


class Web(Section, frozen=True):
    """The pages in a browser and the interface behind them; see docs/web.md."""

    serve: bool = False
    host: str = "127.0.0.1"
    """The address to listen on. One that is not loopback needs a password (`edgeapp web passwd`), and TLS or `plain`."""

    port: int = 8080
    names: tuple[str, ...] = ()
    """Further names under which browsers may reach it, such as kiosk.example; others are refused (DNS rebinding)."""

    certificate: str = ""
    """PEM files; with both the pages are served by TLS only."""

    key: str = ""
    plain: bool = False
    """Serve an address that is not loopback without TLS: passwords then cross the network as they are."""

    visitors: Literal["here", "anyone", "nobody"] = "here"
    """Who may open the kiosk's face, which needs no login: the device's own screen, everybody who reaches the port, nobody."""

    pictures: bool = True
    """Show the cameras to who is signed in."""

    words: bool = True
    """Show the words of both sides: to who is signed in, and to visitors as captions."""

    languages: tuple[Literal["en", "de", "fr", "es"], ...] = ("en",)
    """Of the kiosk's face; the first is shown first. What it hears and says is the voice's configuration."""

    idle_ms: float = 20_000.0
    """After so long without speech the kiosk's face shows what may be asked."""


class Records(Section, frozen=True):
    """What is written down, and where."""

    path: str = ""
    """A JSON-lines file; empty writes none. It is rotated at `max_mb`, keeping one older file."""

    max_mb: float = 64.0
    log_text: bool = False
    """Write the words of a turn too. Off: transcripts never reach a log."""


class Config(Section, frozen=True):
    """One device."""

    name: str = "edgeapp"
    app: Literal["kiosk", "qc", "device"] = "device"
    voice: Voice = Voice()
    audio: Audio = Audio()
    vision: Vision = Vision()
    outputs: Outputs = Outputs()
    web: Web = Web()
    records: Records = Records()


def load(path: Path | None) -> Config:
    """Read a configuration; None is the embedded default. Raises ConfigError with one sentence that names the key."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str = "the configuration") -> Config:
    """TOML text to typed values. Raises ConfigError."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_plainly(str(error))}") from error
    _check_ranges(config, source)
    _check_wake(config.voice.wake, source)
    if wrong := _line_does_not_add_up(config):
        raise ConfigError(f"{source}: {wrong}")
    return config


def options(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """An engine's own options, checked by its own types. Raises ConfigError that names the key and `where` it stands."""
    try:
        return msgspec.convert(values, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}.options: {_plainly(str(error))}") from error


def _line_does_not_add_up(config: Config) -> str:
    """What in the trigger and the outputs needs something else that is not there; empty if all is well."""
    trigger, encoder, out = config.vision.trigger, config.vision.encoder, config.outputs
    gpio, plc, reject, mqtt = bool(out.gpio.chip), bool(out.modbus.plc_host), out.reject, out.mqtt
    sources = {"gpio": (gpio, "outputs.gpio.chip"), "plc": (plc, "outputs.modbus.plc_host")}
    sources["modbus"] = (out.modbus.serve, "outputs.modbus.serve = true")
    for key, source in (("vision.trigger", trigger.source), ("vision.encoder", encoder.source)):
        there, what = sources.get(source, (True, ""))
        if not there:
            return f"{key}.source is {source!r}, which needs {what}"
    lines = [out.gpio.passed, out.gpio.failed, out.gpio.not_inspected, out.gpio.heartbeat, reject.line]
    if trigger.source == "gpio":
        lines.append(trigger.line)
    if encoder.source == "gpio":
        lines += [encoder.a, encoder.b]
    used = [each for each in lines if each is not None]
    twice = sorted({each for each in used if used.count(each) > 1})
    by_encoder = [key for key, on in (("vision.trigger.source", trigger.source == "encoder"),
                                      ("outputs.reject.by", reject.by == "encoder")) if on]  # fmt: skip
    web = config.web
    checks = {
        "web.certificate and key go together": bool(web.certificate) is not bool(web.key),
        'web.languages is empty; name at least one, such as "en"': not web.languages,
        f"GPIO line {twice[0] if twice else ''} is used twice; give each signal a line of its own": bool(twice),
        "GPIO lines are named, which needs outputs.gpio.chip": bool(used) and not gpio,
        f"{''.join(by_encoder[:1])} is 'encoder', which needs vision.encoder.source": bool(by_encoder)
        and encoder.source == "none",
        "vision.trigger.counts is 0; a part needs at least 1": trigger.counts < 1,
        "vision.trigger.waiting is 0; at least 1 trigger must be able to wait": trigger.waiting < 1,
        "outputs.reject needs exactly one of line and plc_coil": reject.by != "none"
        and (reject.line is None) is (reject.plc_coil is None),
        "outputs.reject.plc_coil needs outputs.modbus.plc_host": reject.plc_coil is not None and not plc,
        "outputs.reject.parts_between is 0; at least 1 part must fit": reject.parts_between < 1,
        "outputs.mqtt names both password_env and password_file; give one": bool(mqtt.password_env and mqtt.password_file),
        "outputs.mqtt.outbox_rows is 0; at least 1 message must be able to wait": mqtt.outbox_rows < 1,
        "outputs.mqtt.prefix must be a topic without + and #, and not empty": not mqtt.prefix or bool({"+", "#"} & set(mqtt.prefix)),
        "outputs.mqtt.certificate and key go together": bool(mqtt.certificate) is not bool(mqtt.key),
        "outputs.opcua.certificate and key go together": bool(out.opcua.certificate) is not bool(out.opcua.key),
    }  # fmt: skip
    return next((sentence for sentence, wrong in checks.items() if wrong), "")


def _check_ranges(config: Config, source: str) -> None:
    """Durations are more than nothing, scores and probabilities lie in 0 to 1."""

    def visit(section: Section, name: str) -> None:
        for key in section.__struct_fields__:
            value, full = getattr(section, key), f"{name}{key}"
            if isinstance(value, Section):
                visit(value, f"{full}.")
            elif key == "smaller":
                for n, each in enumerate(value):
                    visit(each, f"{full}[{n}].")
            elif value is not None and key in {"hold_off_ms", "debounce_ms"}:
                if not 0 <= value <= 10_000:
                    raise ConfigError(f"{source}: {full} is {value:g}; give a number from 0 to 10000")
            elif key in {"port", "plc_port"} and not 0 < value <= 65_535:
                raise ConfigError(f"{source}: {full} is {value}; give a port from 1 to 65535")
            elif key in {"unit", "plc_unit"} and not 0 <= value <= 255:
                raise ConfigError(f"{source}: {full} is {value}; give a unit from 0 to 255")
            elif key in {"address", "plc_word", "plc_coil"} and value is not None and not 0 <= value <= 65_400:
                raise ConfigError(f"{source}: {full} is {value}; give an address from 0 to 65400")
            elif value is not None and key.endswith(("_ms", "_mb")) and not 0 < value <= 3_600_000:
                raise ConfigError(f"{source}: {full} is {value:g}; give a number above 0")
            elif key.endswith("_j") and not 0 <= value <= 1_000_000:
                raise ConfigError(f"{source}: {full} is {value:g}; give a number from 0 to 1000000")
            elif key.endswith(("_score", "_share", "threshold")) and not 0 <= value <= 1:
                raise ConfigError(f"{source}: {full} is {value:g}; give a number from 0 to 1")
            elif key == "defect_scores":
                for label, score in value.items():
                    if label not in getattr(section, "defects", ()):
                        raise ConfigError(f"{source}: {full} names {label!r}, which is not among {name}defects")
                    if not 0 <= score <= 1:
                        raise ConfigError(f"{source}: {full}.{label} is {score:g}; give a number from 0 to 1")
            elif isinstance(value, int) and not 0 <= value <= 1_000_000:
                raise ConfigError(f"{source}: {full} is {value}; give a whole number from 0 to 1000000")

    visit(config, "")


def _check_wake(wake: Wake, source: str) -> None:
    """What the ways need is there."""
    if not wake.ways:
        raise ConfigError(f'{source}: voice.wake.ways is empty; name at least one, such as "always"')
    if "keyphrase" in wake.ways and sum(sign.isalpha() for sign in wake.keyphrase) < 6:
        raise ConfigError(
            f"{source}: voice.wake.keyphrase is {wake.keyphrase!r}; use words of three syllables or more, "
            "shorter ones are heard everywhere"
        )
    if "presence" in wake.ways and wake.presence.detect is None:
        raise ConfigError(
            f'{source}: voice.wake.ways has "presence" but voice.wake.presence.detect names no detector; '
            f"give one that knows the class {wake.presence.label!r}, none is bundled"
        )


def _plainly(message: str) -> str:
    """`Object contains unknown field `x` - at `$.voice`` -> `unknown key 'voice.x'`."""
    what, _, where = message.partition(" - at `")
    where = where.rstrip("`").removeprefix("$").removeprefix(".")
    if what.startswith("Object contains unknown field `"):
        key = what.split("`")[1]
        return f"unknown key '{f'{where}.' if where else ''}{key}'; remove it or correct its spelling"
    return f"key '{where}': {what[0].lower()}{what[1:]}" if where else what
