"""What the detector promises: ultralytics' boxes, one bite a frame, errors that tell, and use after them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_yolo
from numpy.typing import NDArray

from edgeapp.core.events import BackendError, CameraFrame, ConfigError, Detections, TimestampKind
from edgeapp.core.lane import Lane
from edgeapp.engines.detect_yolo import Detector, Model, Options, fit, load, open_detector

BUNDLED = Path(__file__).parents[2] / "models" / "qc-yolo11n" / "qc-yolo11n.onnx"
# Made by ultralytics 8.4.190, predict(picture, conf=0.4, iou=0.5), on tiny_yolo.build() and tiny_yolo.pictures().
EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "tiny_yolo_boxes.json").read_text())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with random weights."""
    return tiny_yolo.build(tmp_path_factory.mktemp("tiny-yolo") / "tiny.onnx")


def opened(path: Path, **options: Any) -> Detector:
    lane = Lane("test")
    try:
        return open_detector(Options(model=str(path), **options), lane)
    finally:
        lane.close()


@asynccontextmanager
async def loaded(path: Path, **options: Any) -> AsyncIterator[tuple[Detector, Lane]]:
    lane = Lane("test")
    try:
        async with load(Options(model=str(path), **options), lane) as detector:
            yield detector, lane
    finally:
        lane.close()
        lane.close()


def frame(pixels: NDArray[Any], number: int = 1) -> CameraFrame:
    return CameraFrame(pixels, 0, number, "test", TimestampKind.FILE)


def same(found: Detections, expected: Sequence[Any]) -> None:
    assert [box.label for box in found.boxes] == [row[5] for row in expected]
    ours = np.array([(box.left, box.top, box.right, box.bottom, box.score) for box in found.boxes]).reshape(-1, 5)
    theirs = np.array([row[:5] for row in expected], float).reshape(-1, 5)
    assert np.abs(ours[:, :4] - theirs[:, :4]).max(initial=0) < 0.05
    assert np.abs(ours[:, 4] - theirs[:, 4]).max(initial=0) < 2e-3


def test_the_boxes_are_those_that_ultralytics_predicted(model: Path) -> None:
    detector = opened(model, confidence=0.4, iou=0.5)
    assert detector.plan == "boxes on demand"
    assert detector.provider == "cpu"
    assert detector.labels == ("round", "square", "odd")
    for picture, expected in zip(tiny_yolo.pictures(), EXPECTED, strict=True):
        same(detector.look(frame(picture)), expected)


@pytest.mark.parametrize("confidence", [0.001, 0.2, 0.6, 0.99])
def test_the_cut_graph_gives_what_the_whole_graph_gives(
    confidence: float, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = opened(model, confidence=confidence)
    monkeypatch.setattr("edgeapp.engines.detect_yolo._agree", lambda *_: False)
    whole = opened(model, confidence=confidence)
    assert whole.plan == "whole graph (the cut one differs)"
    for picture in tiny_yolo.pictures():
        rows = [
            (box.left, box.top, box.right, box.bottom, box.score, box.label) for box in whole.look(frame(picture)).boxes
        ]
        same(cut.look(frame(picture)), rows)


def test_the_boxes_are_those_that_ultralytics_predicts_here(model: Path) -> None:
    ultralytics = pytest.importorskip("ultralytics")
    for path, pictures in ((model, tiny_yolo.pictures()), (BUNDLED, tiny_yolo.pictures())):
        detector, theirs = opened(path, confidence=0.1), ultralytics.YOLO(str(path), task="detect")
        for picture in pictures:
            result = theirs.predict(picture, conf=0.1, verbose=False)[0]
            rows = [(*row[:5].tolist(), result.names[int(row[5])]) for row in result.boxes.data.numpy()]
            same(detector.look(frame(picture)), rows)


def test_the_bundled_detector_takes_the_fast_way() -> None:
    assert opened(BUNDLED).plan == "boxes on demand"


def test_one_file_looks_at_every_size(tmp_path: Path) -> None:
    golden = BUNDLED.parent / "golden" / "00-washer-sound.jpg"
    picture = cv2.imread(str(golden))
    assert picture is not None
    picture = picture.astype(np.uint8)
    view = np.concatenate([np.concatenate([picture, picture], axis=1)] * 2)
    for file in (BUNDLED, BUNDLED.with_name("qc-yolo11n-int8.onnx")):
        detectors = [opened(file, size_px=size_px, confidence=0.25) for size_px in (0, 320, 640)]
        assert {detector.plan for detector in detectors} == {"boxes on demand"}
        free, small, large = (
            detector.look(frame(seen)).boxes for detector, seen in zip(detectors, (picture, picture, view), strict=True)
        )
        assert [box.label for box in free] == [box.label for box in small] == ["washer"]
        assert abs(free[0].left - small[0].left) < 0.05
        assert [box.label for box in large] == ["washer"] * 4
    # 16:9 fits into 320 x 192 when the size is free, and is boxed into 320 x 320 when it is pinned.
    wide = np.zeros((720, 1280, 3), np.uint8)
    assert [opened(BUNDLED, size_px=each, confidence=0.25).look(frame(wide)).boxes for each in (0, 320)] == [(), ()]
    fixed = tiny_yolo.build(tmp_path / "fixed.onnx")
    assert opened(fixed, size_px=64).labels
    with pytest.raises(ConfigError, match="takes pictures of 64 x 64 px only"):
        opened(fixed, size_px=320)


def test_a_model_with_its_own_suppression_is_taken_at_its_word(tmp_path: Path) -> None:
    detector = opened(tiny_yolo.build(tmp_path / "nms.onnx", suppressed=True), confidence=0.3)
    assert detector.plan == "whole graph (suppression inside)"
    found = detector.look(frame(np.zeros((128, 128, 3), np.uint8)))
    same(found, [(16, 16, 48, 48, 0.9, "square"), (60, 60, 80, 120, 0.5, "round")])


def test_the_best_boxes_are_kept_and_the_pixels_are_only_read(model: Path) -> None:
    picture = tiny_yolo.pictures()[0]
    before = picture.copy()
    picture.flags.writeable = False
    every = opened(model, confidence=0.3).look(frame(picture, 7))
    few = opened(model, confidence=0.3, max_boxes=3).look(frame(picture, 7))
    assert few.boxes == every.boxes[:3]
    assert [box.score for box in every.boxes] == sorted((box.score for box in every.boxes), reverse=True)
    assert every.frame_number == 7
    assert len(every.model) == 12
    assert np.array_equal(picture, before)


def test_a_view_of_a_larger_picture_is_looked_at_like_a_copy(model: Path) -> None:
    detector = opened(model, confidence=0.4)
    large = tiny_yolo.pictures()[3]
    view = large[100:300, 50:350]
    assert detector.look(frame(view)).boxes == detector.look(frame(view.copy())).boxes


@pytest.mark.parametrize(
    ("frame_size", "input_size", "dynamic", "expected"),
    [  # ultralytics' LetterBox.get_params: inner width and height, top, left, height and width with the bars
        ((720, 1280), (320, 320), False, (320, 180, 70, 0, 320, 320)),
        ((480, 640), (320, 320), False, (320, 240, 40, 0, 320, 320)),
        ((1, 900), (320, 320), False, (320, 1, 159, 0, 320, 320)),
        ((77, 33), (64, 64), False, (27, 64, 0, 18, 64, 64)),
        ((101, 101), (320, 192), False, (192, 192, 64, 0, 320, 192)),
        ((333, 500), (640, 640), True, (640, 426, 11, 0, 448, 640)),
        ((720, 1280), (320, 320), True, (320, 180, 6, 0, 192, 320)),
        ((1080, 1921), (640, 640), True, (640, 360, 12, 0, 384, 640)),
    ],
)
def test_the_letterbox_is_ultralytics_own(
    frame_size: tuple[int, int], input_size: tuple[int, int], dynamic: bool, expected: tuple[int, ...]
) -> None:
    model = Model("", {}, 32, *input_size, dynamic, suppressed=False)
    found = fit(*frame_size, model)
    assert (found.inner_width, found.inner_height, found.top, found.left, found.height, found.width) == expected


@pytest.mark.real_time
async def test_a_cancel_ends_within_the_bite_and_the_detector_goes_on(model: Path) -> None:
    async with loaded(model, confidence=0.4, iou=0.5) as (detector, _):
        picture = tiny_yolo.pictures()[0]
        for yields in range(4):
            call = asyncio.create_task(detector(frame(picture)))
            for _ in range(yields):
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        async with asyncio.timeout(20):
            same(await detector(frame(picture)), EXPECTED[0])


@pytest.mark.real_time
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
async def test_what_is_not_a_picture_is_refused_and_the_next_frame_is_looked_at(
    pixels: NDArray[Any], model: Path
) -> None:
    async with loaded(model, confidence=0.4, iou=0.5) as (detector, _):
        with pytest.raises(BackendError, match=r"uint8 BGR pictures.* frame 4 of test"):
            await detector(frame(pixels, 4))
        same(await detector(frame(tiny_yolo.pictures()[1])), EXPECTED[1])


def test_a_file_that_is_no_detector_is_refused_in_one_sentence(model: Path, tmp_path: Path) -> None:
    text, short = tmp_path / "text.onnx", tmp_path / "short.onnx"
    text.write_text("this is not a model")
    short.write_bytes(model.read_bytes()[:-2000])
    cases = [
        (tmp_path / "gone.onnx", "cannot read its model"),
        (tmp_path, "cannot read its model"),
        (text, "damaged or not an ONNX model"),
        (short, "damaged or not an ONNX model"),
        (tiny_yolo.build(tmp_path / "a.onnx", names=""), "not a detector exported by ultralytics"),
        (tiny_yolo.build(tmp_path / "b.onnx", task="segment"), "not a detector exported by ultralytics"),
        (tiny_yolo.build(tmp_path / "c.onnx", names="{0: 'a'"), "unreadable metadata"),
        (tiny_yolo.build(tmp_path / "d.onnx", imgsz="large"), "unreadable metadata"),
        (tiny_yolo.build(tmp_path / "e.onnx", names="{0: 'one'}"), "not one of a YOLO detector"),
    ]
    for path, says in cases:
        with pytest.raises(ConfigError, match=says) as refused:
            opened(path)
        assert str(path) in str(refused.value)


def test_options_are_checked(model: Path) -> None:
    for options in (
        {"confidence": 0.0},
        {"confidence": 1.5},
        {"iou": 0.0},
        {"threads": 0},
        {"max_boxes": 0},
        {"size_px": 100},
    ):
        with pytest.raises(ConfigError, match="detect_yolo needs"):
            opened(model, **options)
    with pytest.raises(ConfigError, match="told to use tensorrt, but this onnxruntime has only"):
        opened(model, provider="tensorrt")
    with pytest.raises(TypeError):
        Options(model="x", confidense=0.5)  # type: ignore[call-arg]
