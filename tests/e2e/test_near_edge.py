"""The near edge for real: Triton serves our models, dies in every way, and the device neither waits nor loses a word."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from rude_triton import listening
from triton_server import Running
from worlds import Mouth, microphone

from edgeapp.apps.content_file import BUNDLED_CONTENT
from edgeapp.apps.inspection import open_inspection
from edgeapp.apps.kiosk import open_conversation
from edgeapp.apps.wiring import Parts
from edgeapp.config import parse
from edgeapp.core.budget import Budget
from edgeapp.core.clock import now_ns
from edgeapp.core.events import (
    MS,
    AudioChunk,
    BackendError,
    CameraFrame,
    Clause,
    ConfigError,
    Outcome,
    Prompt,
    TimestampKind,
    Utterance,
)
from edgeapp.core.lane import Lane
from edgeapp.core.link import Link
from edgeapp.core.placement import Late, Placement, Situation, Terms, Why
from edgeapp.core.record import AnyRecord, Record, TurnRecord
from edgeapp.core.stage import Stage
from edgeapp.core.stream import Stream
from edgeapp.doctor import doctor
from edgeapp.engines import detect_split, detect_yolo, fake, llm_ctranslate2, triton
from edgeapp.models.store import bundled_root, path_of
from edgeapp.near_edge import certificates, environment
from edgeapp.near_edge.repository import Served, build
from edgeapp.near_edge.serve import Server, Settings, serving
from edgeapp.voice.answering import Answering, AnswerRule
from edgeapp.voice.content import facts, load_content
from edgeapp.voice.conversation import Conversation
from edgeapp.voice.relevance import relevant
from edgeapp.voice.turns import Manners

GOLDEN = sorted((bundled_root() / "qc-yolo11n" / "golden").glob("*.jpg"))
LLM = bundled_root() / "kiosk-lm"
VOICE_ONLY = (Served("tts", "tts"),)
QUESTION = "how much is the power drill"

pytestmark = pytest.mark.skipif(bool(environment.no_wheel()), reason=environment.no_wheel())


def frame(path: Path) -> CameraFrame:
    return CameraFrame(np.asarray(cv2.imread(str(path)), np.uint8), 0, 7, "test", TimestampKind.FILE)


@asynccontextmanager
async def opened(options: triton.Options) -> AsyncIterator[Any]:
    lane = Lane("test")
    try:
        async with triton.load(options, lane) as engine:
            yield engine
    finally:
        lane.close()


async def sound_of(tts: triton.Voice) -> int:
    return sum([part.samples.size async for part in await tts(Clause("yes"))])


def close(there: Any, here: Any, tolerance_px: float) -> None:
    assert [box.label for box in there.boxes] == [box.label for box in here.boxes]
    for one, other in zip(there.boxes, here.boxes, strict=True):
        corners = [(one.left, other.left), (one.top, other.top), (one.right, other.right), (one.bottom, other.bottom)]
        assert max(abs(a - b) for a, b in corners) < tolerance_px
        assert abs(one.score - other.score) < 0.02


# The same answers there as here


@pytest.mark.real_time
async def test_the_detector_sees_there_what_it_sees_here(near_edge: Running) -> None:
    lane = Lane("test")
    here = detect_yolo.open_detector(detect_yolo.Options(model=str(path_of("qc-yolo11n"))), lane)
    async with opened(near_edge.options("detect", jpeg_quality=0, expects=here.model)) as exact:
        for path in GOLDEN[:4]:
            found = await exact(frame(path))
            close(found, here.look(frame(path)), 0.01)
            assert (found.frame_number, found.model) == (7, here.model)
    async with opened(near_edge.options("detect", expects="000000000000")) as other:
        with pytest.raises(BackendError, match="expects '000000000000'"):
            await other(frame(GOLDEN[0]))
    lane.close()


@pytest.mark.real_time
async def test_the_rest_goes_on_there_from_the_stem_here(near_edge: Running) -> None:
    lane = Lane("test")
    whole = detect_yolo.open_detector(detect_yolo.Options(model=str(path_of("qc-yolo11n"))), lane)
    split = detect_split.open_split(detect_split.Options(model=str(path_of("qc-yolo11n"))), lane)
    async with opened(near_edge.options("rest", expects=whole.model)) as rest:
        for path in GOLDEN[:4]:
            features = split.begin(frame(path))
            close(split.finish(features), whole.look(frame(path)), 0.01)
            close(await rest(features), whole.look(frame(path)), 1.0)
        with pytest.raises(BackendError, match=r"refused.*INVALID_ARGUMENT"):
            await rest(replace(features, values=np.zeros((64, 20, 20), np.float32)))
        with pytest.raises(BackendError, match="no picture has"):
            await rest(replace(features, frame_width=0))
        assert (await rest(features)).boxes
    lane.close()


@pytest.mark.real_time
async def test_the_language_model_says_there_what_it_says_here(near_edge: Running) -> None:
    system = relevant(facts(load_content(BUNDLED_CONTENT)), QUESTION, 3)
    async with AsyncExitStack() as stack:
        lane = Lane("test")
        stack.callback(lane.close)
        here = await stack.enter_async_context(llm_ctranslate2.load(llm_ctranslate2.Options(model=str(LLM)), lane))
        there = await stack.enter_async_context(opened(near_edge.options("llm")))
        for prompt in (Prompt(system, (), QUESTION), Prompt(system, (), QUESTION, said="The power")):
            assert [piece async for piece in await there(prompt)] == [piece async for piece in await here(prompt)]


@pytest.mark.real_time
async def test_the_recogniser_knows_the_kiosk_s_sentences(near_edge: Running) -> None:
    import soundfile

    file = Path(triton.__file__).parent.parent / "assets" / "questions" / "02_where_is_the_hammer.flac"
    samples, rate_hz = soundfile.read(file, dtype="int16")
    assert rate_hz == 16_000
    async with opened(near_edge.options("stt")) as stt:
        heard = await stt(Utterance(1, samples, 0))
        assert (heard.text, heard.complete) == ("where is the hammer", True)


# What the real server refuses


@pytest.mark.real_time
async def test_what_the_server_does_not_have_is_one_sentence(near_edge: Running) -> None:
    for wrong, says in (({"version": "7"}, "version"), ({"served_model": "nothing"}, "nothing")):
        async with opened(near_edge.options("stt", **wrong)) as stt:
            with pytest.raises(BackendError, match=says) as refused:
                await stt(Utterance(1, np.zeros(100, np.int16), 0))
            assert "\n" not in str(refused.value)
    async with opened(near_edge.options("stt", served_model="detector")) as stt:
        with pytest.raises(BackendError, match="refused"):
            await stt(Utterance(1, np.zeros(100, np.int16), 0))


@pytest.mark.real_time
async def test_malformed_inputs_are_refused_and_the_next_call_works(near_edge: Running) -> None:
    empty = triton.Tensor("jpeg", "UINT8", [3], b"abc")
    async with opened(near_edge.options("detect")) as detect:
        for tensor in (
            empty,
            triton.Tensor("jpeg", "UINT8", [0], b""),
            triton.Tensor("image", "FP32", [1, 1, 3], bytes(12)),
        ):
            with pytest.raises(BackendError, match="refused"):
                await detect.ask(lambda tensor=tensor: [tensor], triton._SEEN)
        assert (await detect(frame(GOLDEN[1]))).boxes
    async with opened(near_edge.options("llm")) as llm:
        for data in (b"{", b"\xff", b'{"question": 3}'):
            sent = triton.Tensor("prompt", "UINT8", [len(data)], data)
            with pytest.raises(BackendError, match="malformed"):
                async for _ in llm.pull(lambda sent=sent: [sent], {"text": ("UINT8", 1)}, []):
                    pass
        await llm.probe()


@pytest.mark.real_time
async def test_the_doors_that_change_the_server_are_shut(near_edge: Running) -> None:
    import grpc
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    with grpc.insecure_channel(near_edge.server.url) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for call, request in (
            (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="tts")),
            (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
            (stub.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest()),
            (stub.LogSettings, pb.LogSettingsRequest()),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                call(request, timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, call
    assert near_edge.server._admin_key not in repr(near_edge.server)
    assert near_edge.server._admin_key not in near_edge.server.log.read_text()


@pytest.mark.real_time
async def test_metrics_are_there_for_this_machine(near_edge: Running) -> None:
    address = f"http://127.0.0.1:{near_edge.server.metrics_port}/metrics"
    page = await asyncio.to_thread(urllib.request.urlopen, address, timeout=10)
    with page:
        assert 'nv_inference_request_success{model="tts"' in page.read().decode()


# A whole device


DEVICE = """
[voice.stt]
engine = "stt_pocketsphinx"
[voice.llm]
engine = "llm_ctranslate2"
options = {{ model = "kiosk-lm" }}
[voice.tts]
engine = "tts_espeak"
[voice.stt.remote]
engine = "triton"
options = {{ url = "{url}", kind = "stt" }}
[voice.llm.remote]
engine = "triton"
options = {{ url = "{url}", kind = "llm" }}
[voice.tts.remote]
engine = "triton"
options = {{ url = "{url}", kind = "tts" }}
[vision.detect]
engine = "{engine}"
options = {{ model = "qc-yolo11n" }}
policy = "{policy}"
[vision.detect.remote]
engine = "triton"
options = {{ url = "{url}", kind = "{kind}", jpeg_quality = 0 }}
"""


@pytest.mark.real_time
@pytest.mark.parametrize(("engine", "kind"), [("detect_yolo", "detect"), ("detect_split", "rest")])
async def test_a_device_lends_its_detector_as_the_configuration_says(
    engine: str, kind: str, near_edge: Running
) -> None:
    for url, side in ((near_edge.server.url, "remote"), ("127.0.0.1:1", "local")):
        config = parse(DEVICE.format(url=url, engine=engine, kind=kind, policy="remote"))
        records: list[AnyRecord] = []
        async with AsyncExitStack() as stack:
            patient = msgspec.structs.replace(config.vision, budget_ms=60_000)
            inspection = await open_inspection(
                msgspec.structs.replace(config, vision=patient), Parts(stack, records.append)
            )
            verdict = await inspection.inspect(replace(frame(GOLDEN[1]), at_ns=now_ns()))
        assert verdict.outcome is Outcome.FAIL
        assert [each.side for each in records if isinstance(each, Record)] == [side]


@pytest.mark.real_time
async def test_a_kiosk_starts_without_its_near_edge() -> None:
    config = parse(DEVICE.format(url="127.0.0.1:1", engine="detect_yolo", kind="detect", policy="edgeapp"))
    async with AsyncExitStack() as stack:
        assert await open_conversation(config, Parts(stack, lambda _: None))


def test_doctor_says_whether_the_near_edge_is_there(
    near_edge: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, says in ((near_edge.server.url, "answers"), ("127.0.0.1:1", "cannot be reached")):
        file = tmp_path / "device.toml"
        file.write_text(DEVICE.format(url=url, engine="detect_yolo", kind="detect", policy="edgeapp"))
        doctor(file)
        lines = [line for line in capsys.readouterr().out.splitlines() if "near edge of vision.detect" in line]
        assert len(lines) == 1
        assert says in lines[0]


# Deaths


def stub_of(server: Server, model: str) -> int:
    """The process of one model."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        ours = b"triton_python_backend_stub" in words[0] and f"/{model}/1/model.py".encode() in b" ".join(words)
        if ours and os.getpgid(int(path.parent.name)) == server.pid:
            return int(path.parent.name)
    raise AssertionError(model)


@pytest.mark.real_time
async def test_a_model_whose_process_died_is_noticed_and_repaired(near_edge: Running) -> None:
    os.kill(stub_of(near_edge.server, "tts"), signal.SIGKILL)
    async with opened(near_edge.options("tts")) as tts:
        with pytest.raises(BackendError):
            await tts(Clause("yes"))
        found = await asyncio.to_thread(near_edge.do, near_edge.server.check())
        assert found["tts"]
        assert not found["llm"]
        await asyncio.to_thread(near_edge.do, near_edge.server.repair("tts"))
        assert await sound_of(tts) > 1_000


@pytest.mark.real_time
async def test_a_server_killed_and_started_again_is_found_by_the_same_engine(tmp_path: Path) -> None:
    async with serving(Settings(models=VOICE_ONLY, folder=tmp_path), watch=False) as server:
        prefix = server._shm_prefix
        async with opened(triton.Options(url=server.url, kind="tts", deadline_ms=5_000)) as tts:
            assert await sound_of(tts) > 1_000
            server.kill()
            await server.ended()
            assert not server.running
            with pytest.raises(BackendError, match="cannot be reached"):
                await tts(Clause("yes"))
            await server.restart()
            async with asyncio.timeout(20):
                while tts.counts.answered < 2:
                    with suppress(BackendError):  # the pause before the next attempt to connect, at most a second
                        assert await sound_of(tts) > 1_000
                    await asyncio.sleep(0.05)
            assert tts.counts.answered == 2
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))


@pytest.mark.real_time
async def test_a_server_that_is_looked_after_comes_back_by_itself(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(models=VOICE_ONLY, folder=tmp_path, health_every_s=0.2)
    async with serving(settings, say=said.append) as server:
        first = server.pid
        os.kill(stub_of(server, "tts"), signal.SIGKILL)
        async with asyncio.timeout(60):
            while not server.repairs or any(server.health.values()):
                await asyncio.sleep(0.05)
            server.kill()
            while server.pid == first or any(server.health.values()):
                await asyncio.sleep(0.05)
        assert server.restarts == 1
    assert any("does not answer" in line for line in said)
    assert any("starting it again" in line for line in said)


ORPHAN = """
import asyncio, sys
from pathlib import Path
from edgeapp.near_edge.repository import Served
from edgeapp.near_edge.serve import Settings, serving

async def main():
    async with serving(Settings(models=(Served("tts", "tts"),), folder=Path(sys.argv[1]))) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def gone(group: int, seconds: float = 20) -> bool:
    """Has every process of the group ended?"""
    import time

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_an_application_killed_leaves_no_server_behind(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        server = int(parent.stdout.readline())
        parent.kill()
    assert gone(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "edgeapp", "near-edge", "serve", "--model", "tts"]
    command += ["--port", "0", "--metrics-port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        said = [process.stderr.readline(), process.stderr.readline()]
        assert "serving tts at 127.0.0.1:" in said[0]
        assert "metrics at http://127.0.0.1:" in said[1]
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "Traceback" not in rest


# Certificates


@pytest.mark.real_time
async def test_only_a_device_with_a_certificate_of_the_same_authority_is_answered(tmp_path: Path) -> None:
    certificates.make(tmp_path / "ours", ["127.0.0.1"], 1)
    certificates.make(tmp_path / "theirs", ["127.0.0.1"], 1)
    ours, theirs = tmp_path / "ours" / "device", tmp_path / "theirs" / "device"

    def options(ca: Path | None, device: Path | None, url: str) -> triton.Options:
        return triton.Options(
            url=url,
            kind="tts",
            deadline_ms=5_000,
            ca=str(ca / "ca.pem") if ca else "",
            certificate=str(device / "device.pem") if device else "",
            key=str(device / "device.key") if device else "",
        )

    tls = tmp_path / "ours" / "server"
    async with serving(Settings(models=VOICE_ONLY, folder=tmp_path / "state", tls=tls), watch=False) as server:
        async with opened(options(ours, ours, server.url)) as tts:
            assert await sound_of(tts) > 1_000
        await server.repair("tts")
        for ca, device in ((None, None), (ours, None), (ours, theirs), (theirs, theirs), (theirs, ours)):
            async with opened(options(ca, device, server.url)) as tts:
                with pytest.raises(BackendError) as refused:
                    await tts(Clause("yes"))
                assert "PRIVATE KEY" not in str(refused.value)
        another_name = msgspec.structs.replace(options(ours, ours, server.url), server_name="edge.example")
        async with opened(another_name) as tts:
            with pytest.raises(BackendError, match="cannot be reached"):
                await tts(Clause("yes"))


async def test_without_certificates_it_stays_on_loopback() -> None:
    with pytest.raises(ConfigError, match="without TLS"):
        async with serving(Settings(host="0.0.0.0")):
            pass
    with pytest.raises(ConfigError, match=r"ca\.pem is missing"):
        async with serving(Settings(tls=Path("/nowhere"))):
            pass


def test_certificates_are_renewed_with_the_same_authority(tmp_path: Path) -> None:
    certificates.make(tmp_path, ["edge.example", "10.0.0.3"], 7)
    before = (tmp_path / "authority" / "ca.pem").read_bytes(), (tmp_path / "server" / "server.pem").read_bytes()
    certificates.make(tmp_path, ["edge.example"], 7)
    after = (tmp_path / "authority" / "ca.pem").read_bytes(), (tmp_path / "server" / "server.pem").read_bytes()
    assert before[0] == after[0]
    assert before[1] != after[1]
    for key in tmp_path.glob("*/*.key"):
        assert key.stat().st_mode & 0o077 == 0
    assert not (tmp_path / "server" / "ca.key").exists()
    (tmp_path / "authority" / "ca.key").write_text("damaged")
    with pytest.raises(ConfigError, match="damaged"):
        certificates.make(tmp_path, ["edge.example"], 7)
    with pytest.raises(ConfigError, match="neither an address nor a name"):
        certificates.make(tmp_path / "new", ["münchen"], 7)


# The repository


def test_a_repository_for_another_machine_holds_everything(tmp_path: Path) -> None:
    build(tmp_path / "repository", gpu=True, copy=True)
    assert (tmp_path / "repository" / "detector" / "1" / "model.onnx").stat().st_size > 1_000_000
    assert not [path for path in (tmp_path / "repository").rglob("*") if path.is_symlink()]
    assert "KIND_GPU" in (tmp_path / "repository" / "llm" / "config.pbtxt").read_text()
    with pytest.raises(ConfigError, match="is not empty"):
        build(tmp_path / "repository")
    with pytest.raises(ConfigError, match="no template 'video'"):
        build(tmp_path / "other", [Served("video", "video")])


# In the middle of an answer


def always_late(it: Situation, _: Terms) -> Placement:
    """Send it away whatever the link believes, if local can still make it after."""
    return Late(it.lane_last_ns or it.now_ns, Why.SAFE)


@pytest.mark.real_time
@pytest.mark.parametrize("breaks", ["in the first clause", "in the second clause"])
async def test_a_server_killed_in_the_middle_of_a_reply_costs_no_word_and_repeats_none(
    breaks: str, tmp_path: Path
) -> None:
    """The link carries some words, then the server is killed; the device says the others, and each once."""
    models = (Served("llm", "llm", "kiosk-lm"),)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(Settings(models=models, folder=tmp_path), watch=False))
        lane = Lane("llm")
        stack.callback(lane.close)
        here = await stack.enter_async_context(llm_ctranslate2.load(llm_ctranslate2.Options(model=str(LLM)), lane))
        prompt, pieces, first = await two_clauses(here)
        came = asyncio.Event()
        dies_after = 2 if breaks == "in the first clause" else first + 2

        async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Everything up; down a message at a time, until so many words have passed."""
            seen = b""
            there, back = await asyncio.open_connection("127.0.0.1", server.grpc_port)
            up = asyncio.ensure_future(_copy(reader, back))
            while data := await there.read(60):
                seen += data
                if seen.count(b"text") > dies_after:  # the name of the output, once a piece
                    await came.wait()  # what is in a connection's buffers when it breaks may be lost
                    server.kill()
                    break
                writer.write(data)
                await writer.drain()
            up.cancel()
            back.close()
            writer.close()

        url = await stack.enter_async_context(listening(link))
        there = await stack.enter_async_context(opened(triton.Options(url=url, kind="llm")))

        async def remote(asked: Prompt) -> Stream[str]:
            pieces = await there(asked)

            async def counted() -> AsyncGenerator[str, None]:
                count = 0
                async for piece in pieces:
                    count += 1
                    if count == dies_after:
                        came.set()
                    yield piece

            return await Stream.start(counted())

        turn, records = await converse(stack, here, lane, remote, prompt)
        asked = [each for each in records if isinstance(each, Record) and each.stage == "llm"]
        assert (turn.outcome, turn.said) == ("answered", " ".join("".join(pieces).split()))
        assert [(each.side, each.why) for each in asked] == [("remote", Why.SAFE), ("local", Why.RESUMED)]
        assert there.counts.failed == 1


async def two_clauses(llm: Any) -> tuple[Prompt, list[str], int]:
    """A question whose answer has two clauses -> its prompt, the answer's pieces, and how many make the first clause."""
    every = facts(load_content(BUNDLED_CONTENT))
    for question in ("who are you", "hello", "when do you open on saturday", "what is at the rear left", QUESTION):
        prompt = Prompt(relevant(every, question, 3), (), question)
        pieces = [piece async for piece in await llm(prompt)]
        first = next((number for number, piece in enumerate(pieces, 1) if piece.endswith(",")), 0)
        if 2 < first < len(pieces) - 4:
            return prompt, pieces, first
    raise AssertionError("the model's answers are too short for this test")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def converse(
    stack: AsyncExitStack, here: Any, lane: Lane, there: Any, prompt: Prompt
) -> tuple[TurnRecord, list[AnyRecord]]:
    """One turn with a scripted ear and mouth, and real language models here and there."""
    records: list[AnyRecord] = []

    async def scripted(kind: Any, **options: Any) -> tuple[Any, Lane]:
        own = Lane(kind)
        stack.callback(own.close)
        return await stack.enter_async_context(fake.load(fake.Options(kind=kind, **options), own)), own

    def stage(name: str, engine: Any, own: Lane, **more: Any) -> Stage[Any, Any]:
        return Stage(name, engine, own, local_prior_ns=20 * MS, sink=records.append, **more)

    ear, voice = await scripted("stt", texts=(prompt.question,)), await scripted("tts", takes_ms=1)
    conversation = Conversation(
        vad=(await scripted("vad", takes_ms=0))[0],
        stt=stage("stt", *ear),
        answering=Answering(
            stage("llm", here, lane, remote=there, link=Link("edge"), placer=always_late),
            lambda: load_content(BUNDLED_CONTENT),
            rule=AnswerRule(closed_intents=False, grounded=False),
        ),
        tts=stage("tts", *voice),
        budget=Budget(5_000 * MS, {"stt": 10 * MS, "llm": 60 * MS, "tts": 20 * MS}),
        sink=records.append,
        hear=ear[0].hear,
        manners=Manners(log_text=True),
    )
    began_ns = now_ns()

    async def heard() -> AsyncIterator[AudioChunk]:
        async for chunk in microphone((320, False), (640, True), (4_000, False)):
            yield replace(chunk, ended_ns=began_ns + chunk.ended_ns)

    await conversation.listen(heard(), Mouth())
    return next(each for each in records if isinstance(each, TurnRecord)), records
