"""One TOML a device -> frozen typed values. An unknown key is an error that names itself.

Milliseconds live here and on screens; the code behind it counts nanoseconds. Every key has a default, so an empty file
(or none) is the embedded demo device: bundled models, no download, no network.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final, Literal

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


class StationVoice(Section, frozen=True):
    """The voice at the quality-control station; see docs/station-voice.md."""

    listen: bool = False
    """The station is spoken with: app = "qc" opens the microphone and the loudspeaker, app = "device" answers from the ledger."""

    speak_alarms: bool = True
    again_ms: float = 120_000.0
    """The same alarm is not said again sooner."""


class Voice(Section, frozen=True):
    """The voice kiosk."""

    budget_ms: float = 200.0
    """From the last voiced sample to the first audible one."""

    shares: Shares = Shares()
    endpoint: Endpoint = Endpoint()
    wake: Wake = Wake()
    station: StationVoice = StationVoice()
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


class Tolerance(Section, frozen=True):
    """Defects that are allowed all the same; a limit that is left out does not ask."""

    defects: tuple[str, ...]
    length_mm: float | None = None
    """No longer than this: the longest that fits into the box, errors included."""

    width_mm: float | None = None
    area_mm2: float | None = None
    count: int | None = None
    """At most so many."""

    zone: str = ""
    """Only wholly inside the zone of this name."""


class Zone(Section, frozen=True):
    """A polygon."""

    polygon: tuple[tuple[float, float], ...]
    """`part`: shares of the part's box, [0, 0] is its top left and [1, 1] its bottom right. `frame`: pixels of the picture."""

    of: Literal["part", "frame"] = "part"


class PartType(Section, frozen=True):
    """What is different for one type of part."""

    part_score: float | None = None
    defect_scores: dict[str, float] = {}
    sizes_mm: dict[Literal["length", "width"], tuple[float, float]] = {}
    """The least and the largest: `length` is the longer side of the part's box, `width` the shorter one."""

    tolerate: tuple[Tolerance, ...] = ()


class Rule(Section, frozen=True):
    """What makes a part good; see vision/rules.py. A rule file holds this table by itself."""

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

    part: dict[str, PartType] = {}
    """By the part's label."""

    zones: dict[str, Zone] = {}
    edge_px: float = 16.0
    """How far inside of a defect's edge its box's may lie, in pixels of the picture; counts against the part. That of the bundled
    detector's worst class, on pictures of 320 px (docs/rules.md)."""

    edges_px: dict[str, float] = {}
    """A defect's own, by its label, instead of `edge_px`."""

    part_edge_px: float = 2.5
    """The same for a part's edge, on either side."""

    version: str = "1"


class Trigger(Section, frozen=True):
    """What says that a part is there."""

    source: Literal["camera", "gpio", "encoder", "timer", "plc", "modbus", "photo_eye"] = "camera"
    """`camera`: each frame is a part, or parts are followed (vision.capture). `photo_eye`: something covers a region of the
    camera's own frames (vision/photo_eye.py). `plc`: the PLC at `outputs.modbus.plc_host` is polled. `modbus`: a PLC writes coil 16 of
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
    region: tuple[float, float, float, float] = (0.1, 0.1, 0.12, 0.9)
    """`photo_eye`: left, top, right, bottom in shares of the picture; the belt must be empty there at the start."""

    eye_frames: int = 2
    """`photo_eye`: so many frames must agree."""

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


class Golden(Section, frozen=True):
    """Known parts that are judged at every shift and switch; see station/golden_parts.py."""

    folder: str = ""
    """Of the golden set; empty is none."""

    shifts_utc: tuple[str, ...] = ("06:00", "14:00", "22:00")
    """When shifts begin, UTC. At each of them no part passes until the golden parts were judged right."""


class Barcode(Section, frozen=True):
    """The part's serial number; see vision/serial.py."""

    engine: str = ""
    """A file name in `engines/`, such as `barcode_zxing`; empty reads none."""

    lane: str = ""
    options: dict[str, Any] = {}
    pattern: str = ""
    """What a serial number looks like, as a regular expression for the whole of it; other codes are passed over. Empty takes any."""

    unreadable: Literal["inspect", "not_inspected"] = "inspect"
    """A part without exactly one serial number is judged without it, or NOT_INSPECTED. Either way it is counted."""


class Capture(Section, frozen=True):
    """Which frame shows a part; see vision/capture.py and docs/inspection.md."""

    policy: Literal["frames", "tracks"] = "frames"
    """What a camera without a trigger shows. `frames`: each frame is a part. `tracks`: the camera runs freely and sees a part in
    many frames, in which it is followed along the belt."""

    offset_ms: float = 0.0
    """With a trigger: from it to the earliest frame that shows the part."""

    window_ms: float = 50.0
    """With a trigger: a frame so much later does not show it any more; less than the time from part to part."""


class Integrity(Section, frozen=True):
    """May a picture be judged? See vision/integrity.py. Times of frames are always checked."""

    reference: str = ""
    """The file that `edgeapp learn-camera` wrote; without one pictures are not checked."""

    marks: tuple[tuple[float, float, float, float], ...] = ()
    """Regions (left, top, right, bottom, shares of the picture) with a fiducial mark that is fixed to the line, each some
    8 px larger than its mark on every side. Without marks a moved camera is not found."""


class Tracks(Section, frozen=True):
    """Parts that are followed along the belt; see vision/tracks.py."""

    towards: Literal["right", "left", "down", "up"] = "right"
    decide_at: float = 0.8
    """Share of the picture along the belt where the verdict is given."""

    confirm_frames: int = 2
    proof_frames: int = 3
    """PASS needs so many frames that say so."""

    lost_frames: int = 5


class Zones(Section, frozen=True):
    """Polygons in the picture, each a list of [x, y]; see vision/zones.py. For zones on the part see the rule's."""

    units: Literal["share", "px"] = "share"
    parts: tuple[tuple[tuple[float, float], ...], ...] = ()
    """A part counts if its centre is in one."""

    defects: tuple[tuple[tuple[float, float], ...], ...] = ()
    """A defect counts if any of it is in one."""

    ignored: tuple[tuple[tuple[float, float], ...], ...] = ()
    """What is wholly in one does not count."""


class FurtherCamera(Section, frozen=True):
    """One more camera that sees the same parts, on the same accelerator; its verdict is part of the part's one."""

    name: str
    """What it is called in verdicts, alarms and its calibration."""

    camera: Camera = Camera()
    calibration: str = ""
    """Its own file of `edgeapp rules calibrate --camera NAME`; without one this camera proves no size and tolerates nothing in mm."""

    offset_ms: float = 0.0
    window_ms: float = 50.0
    integrity: Integrity = Integrity()
    zones: Zones = Zones()


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

    rule_book: str = ""
    """The folder of signed rules (station/rule_book.py): the one in use there decides, in place of `rule`."""

    rule_key_file: str = ""
    """The key that seals the book (`edgeapp rules sign --key`): without it who can write the folder can write another book."""

    unsigned_rule: bool = False
    """Take a `rule` that is written here, which nobody signed. For tests; the bundled one needs no signature."""

    calibration: str = ""
    """The file that `edgeapp rules calibrate` wrote for this camera; without one nothing is measured in mm. Each of
    `further_cameras` has its own."""

    golden: Golden = Golden()
    barcode: Barcode = Barcode()
    capture: Capture = Capture()
    integrity: Integrity = Integrity()
    tracks: Tracks = Tracks()
    zones: Zones = Zones()
    further_cameras: tuple[FurtherCamera, ...] = ()
    """With a trigger: more eyes on the same part; PASS only if all of them say so."""


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
    discovery: str = ""
    """The prefix under which Home Assistant looks for devices, by its default `homeassistant`; empty announces nothing."""


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


class Station(Section, frozen=True):
    """What the quality-control station keeps, and when it stops; see docs/station.md."""

    folder: str = ""
    """Of the evidence ledger. Empty keeps no evidence: for a look at a camera, not for a line."""

    key_file: str = ""
    """The key that signs the ledger's end; see docs/ledger.md."""

    pass_share: float = 0.02
    """Pictures of parts that passed are kept for this share of them; of all others always."""

    quota_mb: float = 2_000.0
    """Of all pictures together."""

    seed: int = 1
    """Which of the pictures of parts that passed are kept."""

    record_ms: float = 20.0
    """What of `vision.budget_ms` is left for the verdict's way to the disk: the inspection decides so much earlier."""

    operator: str = ""
    lot: str = ""
    stop_after: int = 0
    """So many rejects in a row stop the station until somebody acknowledges; 0 never stops it."""

    point_parts: int = 50
    """Inspected parts of one point of the running control chart, whose alarms are Western Electric's; 0 draws none."""

    reject_share: float | None = None
    """Of a line in control: the chart's centre. Left out, that of the first 25 points."""


class OpenAiServer(Section, frozen=True):
    """An OpenAI-compatible API, Realtime included: docs/protocols.md."""

    serve: bool = False
    host: str = "127.0.0.1"
    """The address to listen on. Another one than this machine's own needs a key."""

    port: int = 8321
    key_env: str = ""
    """The environment variable that holds the key that clients send."""

    key_file: str = ""
    """Or the file. The key itself never stands here."""

    tls_certificate: str = ""
    """A file; with it and `tls_key` the API is served by TLS, so that nobody on the way reads the key."""

    tls_key: str = ""
    realtime_sessions: int = 1
    """Conversations over `/v1/realtime` at once. Each keeps a recogniser of its own in memory from the start on: 60 MB with the bundled one."""

    idle_ms: float = 120_000.0
    """A session without a message for so long is closed."""


class WyomingServer(Section, frozen=True):
    """The voice protocol of Home Assistant: docs/protocols.md."""

    serve: bool = False
    host: str = "127.0.0.1"
    """The address to listen on: the home network's, since Wyoming has no passwords."""

    port: int = 10300
    connections: int = 4
    """At once; another one is closed."""

    zeroconf: bool = False
    """Tell the local network that the server is there: Home Assistant finds it by itself."""

    wake: bool = True
    """Offer the keyphrase of `voice.wake`, if the recogniser can listen for one; it is a recogniser of its own."""

    idle_ms: float = 120_000.0
    """A connection without an event for so long is closed."""


class Protocols(Section, frozen=True):
    """What other programs may speak with this device. All of it is off until it is switched on."""

    requests: int = 4
    """Served at once, all protocols together; another one is refused. Realtime sessions are counted by themselves."""

    openai: OpenAiServer = OpenAiServer()
    wyoming: WyomingServer = WyomingServer()


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
    station: Station = Station()
    protocols: Protocols = Protocols()
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
    if wrong := (
        _line_does_not_add_up(config)
        or _rule_does_not_add_up(config.vision.rule, "vision.rule.")
        or _is_served_wrongly(config.protocols)
    ):
        raise ConfigError(f"{source}: {wrong}")
    _check_station(config.vision, source)
    return config


def parse_rule(text: str, source: str) -> Rule:
    """A rule file's text to typed values. Raises ConfigError with one sentence that names the key."""
    try:
        rule = msgspec.convert(tomllib.loads(text), Rule)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_plainly(str(error))}") from error
    if wrong := _rule_does_not_add_up(rule, ""):
        raise ConfigError(f"{source}: {wrong}")
    return rule


def options(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    """An engine's own options, checked by its own types. Raises ConfigError that names the key and `where` it stands."""
    try:
        return msgspec.convert(values, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}.options: {_plainly(str(error))}") from error


def _is_served_wrongly(protocols: Protocols) -> str:
    """What in the protocols does not go together; empty if all is well."""
    openai, wyoming = protocols.openai, protocols.wyoming
    open_to_others = openai.serve and openai.host not in {"127.0.0.1", "::1", "localhost"}
    checks = {
        "protocols.openai names both key_env and key_file; give one": bool(openai.key_env and openai.key_file),
        f"protocols.openai.host is {openai.host}, which others can reach; give a key with key_env or key_file":
            open_to_others and not openai.key_env and not openai.key_file,
        "protocols.openai.tls_certificate and tls_key go together": bool(openai.tls_certificate) is not bool(openai.tls_key),
        "protocols.requests must be 1 to 16": not 1 <= protocols.requests <= 16,
        "protocols.openai.realtime_sessions must be 1 to 16": not 1 <= openai.realtime_sessions <= 16,
        "protocols.wyoming.connections must be 1 to 64": not 1 <= wyoming.connections <= 64,
    }  # fmt: skip
    return next((sentence for sentence, wrong in checks.items() if wrong), "")


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
    } | _captures(config.vision) | {
        "outputs.reject needs exactly one of line and plc_coil": reject.by != "none"
        and (reject.line is None) is (reject.plc_coil is None),
        "outputs.reject.plc_coil needs outputs.modbus.plc_host": reject.plc_coil is not None and not plc,
        "outputs.reject.parts_between is 0; at least 1 part must fit": reject.parts_between < 1,
        "outputs.mqtt names both password_env and password_file; give one": bool(mqtt.password_env and mqtt.password_file),
        "outputs.mqtt.outbox_rows is 0; at least 1 message must be able to wait": mqtt.outbox_rows < 1,
        "outputs.mqtt.prefix must be a topic without + and #, and not empty": not mqtt.prefix or bool({"+", "#"} & set(mqtt.prefix)),
        "outputs.mqtt.discovery must be a topic without + and #": bool({"+", "#"} & set(mqtt.discovery)),
        "outputs.mqtt.certificate and key go together": bool(mqtt.certificate) is not bool(mqtt.key),
        "outputs.opcua.certificate and key go together": bool(out.opcua.certificate) is not bool(out.opcua.key),
    }  # fmt: skip
    return next((sentence for sentence, wrong in checks.items() if wrong), "")


def _captures(vision: Vision) -> dict[str, bool]:
    """What is wrong between trigger, capture and cameras, by the sentence that says so."""
    triggered, tracks = vision.trigger.source != "camera", vision.capture.policy == "tracks"
    names = [each.name for each in vision.further_cameras]
    longest_ms = max(vision.capture.window_ms, *(each.window_ms for each in vision.further_cameras), 0.0)
    return {
        "vision.capture.policy is 'tracks', for which vision.trigger.source must be 'camera'": triggered and tracks,
        "vision.capture.window_ms must leave something of vision.budget_ms; make it shorter": triggered
        and longest_ms + 2 >= vision.budget_ms,
        "vision.further_cameras need a vision.trigger.source other than 'camera'": bool(names) and not triggered,
        "vision.further_cameras have the same name twice": len(set(names)) < len(names),
        "vision.further_cameras has a 'camera' or 'belt', which is the first one's name; give it another": bool(
            {"camera", "belt"} & set(names)
        ),
    }


TOLERANCES_MAX: Final = 64  # of one part type: bounds what judging costs


def _rule_does_not_add_up(rule: Rule, where: str) -> str:
    """What in a rule is out of range or names what is not there; empty if all is well."""
    scores = {
        f"{where}{key}": getattr(rule, key)
        for key in ("part_score", "defect_score", "doubt_from_score", "doubt_below_score")
    }
    named = {f"{where}defect_scores": rule.defect_scores}
    unknown = sorted({*rule.edges_px} - {*rule.defects})
    checks = {f"{where}version is empty; give it a name": not rule.version.strip()}
    edges = {key: getattr(rule, key) for key in ("edge_px", "part_edge_px")}
    for key, edge_px in (edges | {f"edges_px.{label}": each for label, each in rule.edges_px.items()}).items():
        checks[f"{where}{key} is {edge_px:g}; give a number from 0 to 100"] = not 0 <= edge_px <= 100
    checks[f"{where}edges_px names {''.join(unknown[:1])!r}, which is not among {where}defects"] = bool(unknown)
    both = sorted({*rule.parts} & {*rule.defects})
    checks[f"{where}parts and {where}defects both name {''.join(both[:1])!r}"] = bool(both)
    for name, zone in rule.zones.items():
        flat = [each for corner in zone.polygon for each in corner]
        checks[f"{where}zones.{name}.polygon needs 3 to 64 corners"] = not 3 <= len(zone.polygon) <= 64
        checks[f"{where}zones.{name}.polygon has a corner that is no number"] = not all(
            abs(each) < 1e6 for each in flat
        )
    for name, part in rule.part.items():
        here = f"{where}part.{name}"
        checks[f"{here} is not among {where}parts, which are {', '.join(rule.parts)}"] = name not in rule.parts
        named[f"{here}.defect_scores"] = part.defect_scores
        if part.part_score is not None:
            scores[f"{here}.part_score"] = part.part_score
        for size, (least, most) in part.sizes_mm.items():
            checks[f"{here}.sizes_mm.{size} is {least:g} to {most:g}; the first must be the smaller, from 0 on"] = (
                not 0 <= least < most < 1e6
            )
        checks[f"{here}.tolerate has {len(part.tolerate)} tables; at most {TOLERANCES_MAX}"] = (
            len(part.tolerate) > TOLERANCES_MAX
        )
        for n, each in enumerate(part.tolerate):
            this = f"{here}.tolerate[{n}]"
            missing = sorted({*each.defects} - {*rule.defects})
            checks[f"{this} names {''.join(missing[:1])!r}, which is not among {where}defects"] = bool(missing)
            checks[f"{this}.zone is {each.zone!r}, which is not among {where}zones"] = (
                bool(each.zone) and each.zone not in rule.zones
            )
            limits = [each.length_mm, each.width_mm, each.area_mm2, each.count]
            checks[f"{this} has a limit that is no number from 0 to 1000000"] = not all(
                one is None or 0 <= one <= 1e6 for one in limits
            )
    for key, by_label in named.items():
        missing = sorted({*by_label} - {*rule.defects})
        checks[f"{key} names {''.join(missing[:1])!r}, which is not among {where}defects"] = bool(missing)
        scores |= {f"{key}.{label}": score for label, score in by_label.items()}
    for key, score in scores.items():
        checks[f"{key} is {score:g}; give a number from 0 to 1"] = not 0 <= score <= 1
    return next((sentence for sentence, wrong in checks.items() if wrong), "")


def _check_station(vision: Vision, source: str) -> None:
    """The book and the rule do not both decide; shifts are times of the day, a serial's pattern is one."""
    if vision.rule_book and vision.rule != Vision().rule:
        raise ConfigError(
            f"{source}: vision.rule_book and vision.rule are both given; move the rule into the book: edgeapp rules sign"
        )
    for each in vision.golden.shifts_utc:
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", each):
            raise ConfigError(f"{source}: vision.golden.shifts_utc has {each!r}; give times such as '06:00'")
    if vision.golden.folder and not vision.golden.shifts_utc:
        raise ConfigError(f"{source}: vision.golden.shifts_utc is empty; name when a shift begins, such as '06:00'")
    try:
        re.compile(vision.barcode.pattern)
    except re.error as error:
        raise ConfigError(f"{source}: vision.barcode.pattern is no regular expression: {error}") from error


def _check_ranges(config: Config, source: str) -> None:
    """Durations are more than nothing, scores and probabilities lie in 0 to 1."""

    def visit(section: Section, name: str) -> None:
        for key in section.__struct_fields__:
            value, full = getattr(section, key), f"{name}{key}"
            if isinstance(value, Rule):
                continue  # it is checked as a rule file is
            if isinstance(value, Section):
                visit(value, f"{full}.")
            elif key in {"smaller", "further_cameras"}:
                for n, each in enumerate(value):
                    visit(each, f"{full}[{n}].")
            elif value is not None and key in {"hold_off_ms", "debounce_ms"}:
                if not 0 <= value <= 10_000:
                    raise ConfigError(f"{source}: {full} is {value:g}; give a number from 0 to 10000")
            elif key == "offset_ms":
                if not -10_000 <= value <= 600_000:
                    raise ConfigError(f"{source}: {full} is {value:g}; give a number from -10000 to 600000")
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
            elif value is not None and key.endswith(("_score", "_share", "threshold")) and not 0 <= value <= 1:
                raise ConfigError(f"{source}: {full} is {value:g}; give a number from 0 to 1")
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
