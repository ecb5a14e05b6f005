"""Serial numbers: real codes are read, and what cannot be read is said and counted."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import cv2
import numpy as np
import pytest
import zxingcpp
from numpy.typing import NDArray

from edgeapp import config as settings
from edgeapp.apps.serials import Serials, open_serials
from edgeapp.apps.wiring import Parts
from edgeapp.core.events import BackendError, CameraFrame, ConfigError, TimestampKind
from edgeapp.core.lane import Lane
from edgeapp.engines import barcode_zxing
from edgeapp.vision.serial import Serial, SerialRule, serial_of


def code(text: str, kind: str, scale: int = 4) -> NDArray[np.uint8]:
    made = zxingcpp.create_barcode(text, zxingcpp.barcode_format_from_str(kind))
    return np.array(zxingcpp.write_barcode_to_image(made, scale=scale))


def frame(
    *codes: tuple[NDArray[np.uint8], int, int], turn: float = 0.0, noise: float = 8.0, blur: float = 0.6
) -> CameraFrame:
    """A grey, noisy, slightly blurred picture of 640 x 480 with codes at (x, y), all of it turned."""
    picture = np.full((480, 640), 140, np.uint8)
    for image, x, y in codes:
        picture[y : y + image.shape[0], x : x + image.shape[1]] = np.where(image > 127, 225, 35)
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D((320, 240), turn, 1.0), (640, 480), borderValue=140)
    seen = cv2.GaussianBlur(turned, (0, 0), blur) + np.random.default_rng(3).normal(0, noise, turned.shape)
    grey = np.clip(seen, 0, 255).astype(np.uint8)
    return CameraFrame(np.repeat(grey[..., None], 3, axis=2), 0, 1, "belt", TimestampKind.FILE)


async def read(picture: CameraFrame, **options: Any) -> tuple[str, ...]:
    lane = Lane("barcode")
    try:
        async with barcode_zxing.load(barcode_zxing.Options(**options), lane) as reader:
            return await reader(picture)
    finally:
        lane.close()


@pytest.mark.real_time
@pytest.mark.parametrize("kind", ["QRCode", "DataMatrix", "Code128"])
@pytest.mark.parametrize("turn", [0, 90, 187])
async def test_a_code_is_read_however_it_lies(kind: str, turn: int) -> None:
    scale = 2 if kind == "Code128" else 5
    assert await read(frame((code("S-0012345", kind, scale), 200, 150), turn=turn)) == ("S-0012345",)


@pytest.mark.real_time
async def test_two_codes_are_both_told_and_the_same_one_twice_is_one() -> None:
    one, other = code("S-1", "QRCode"), code("S-2", "QRCode")
    assert set(await read(frame((one, 60, 60), (other, 400, 300)))) == {"S-1", "S-2"}
    assert await read(frame((one, 60, 60), (one, 400, 300))) == ("S-1",)


@pytest.mark.real_time
async def test_only_the_region_and_the_formats_that_are_asked_for_are_read() -> None:
    picture = frame((code("S-1", "QRCode"), 60, 60), (code("S-2", "DataMatrix"), 400, 300))
    assert await read(picture, region=(0.5, 0.5, 1.0, 1.0)) == ("S-2",)
    assert await read(picture, formats=("QRCode",)) == ("S-1",)


@pytest.mark.real_time
async def test_a_code_that_is_half_hidden_blurred_or_absent_is_no_code() -> None:
    image = code("S-0012345", "DataMatrix", 5).copy()
    assert await read(frame((image, 200, 150))) == ("S-0012345",)
    assert await read(frame((image, 200, 150), blur=9)) == ()
    image[: image.shape[0] // 2] = 255
    assert await read(frame((image, 200, 150))) == ()
    assert await read(frame()) == ()


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"formats": ("QRCode", "Nonsense")}, "does not know one of the formats"),
        ({"formats": ()}, "needs at least one format"),
        ({"region": (0.5, 0, 0.4, 1)}, "give left, top, right, bottom"),
    ],
)
async def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await read(frame(), **options)


@pytest.mark.real_time
async def test_a_picture_that_is_none_is_the_readers_failure() -> None:
    with pytest.raises(BackendError):
        await read(CameraFrame(np.zeros((4, 4), np.uint8), 0, 1, "belt", TimestampKind.FILE))


SERIALS = [
    (("S-0000001",), Serial("S-0000001")),
    (("S-0000001", "https://maker.example"), Serial("S-0000001")),
    ((), Serial(why="the serial number could not be read")),
    (("https://maker.example",), Serial(why="no code of 1 is a serial number")),
    (("S-00000011",), Serial(why="no code of 1 is a serial number")),
    (("S-0000001", "S-0000002"), Serial(why="2 serial numbers in one picture")),
    (("S-0000001", "S-0000001"), Serial("S-0000001")),
]


@pytest.mark.parametrize(("codes", "serial"), SERIALS)
def test_exactly_one_code_that_looks_like_a_serial_number_is_it(codes: tuple[str, ...], serial: Serial) -> None:
    assert serial_of(codes, SerialRule(r"S-\d{7}")) == serial


def test_without_a_pattern_any_one_code_is_it() -> None:
    assert serial_of(("anything",), SerialRule()) == Serial("anything")


async def test_what_cannot_be_read_is_counted_and_never_raised() -> None:
    async def broken(_: CameraFrame) -> tuple[str, ...]:
        raise BackendError("barcode_zxing failed: no memory")

    async def works(_: CameraFrame) -> tuple[str, ...]:
        return ("S-1",)

    serials = Serials(broken, SerialRule())
    assert await serials(frame()) == Serial(why="barcode_zxing failed: no memory")
    assert serials.unreadable == 1
    assert (await Serials(works, SerialRule())(frame())).text == "S-1"


@pytest.mark.real_time
async def test_the_reader_is_opened_as_the_configuration_says() -> None:
    config = settings.parse(
        '[vision.barcode]\nengine = "barcode_zxing"\npattern = "S-[0-9]+"\nunreadable = "not_inspected"\n'
        'options.formats = ["QRCode"]'
    )
    async with AsyncExitStack() as stack:
        parts = Parts(stack, lambda _: None)
        assert await open_serials(settings.Barcode(), parts) is None
        serials = await open_serials(config.vision.barcode, parts)
        assert serials
        assert serials.rule == SerialRule("S-[0-9]+", must=True)
        assert (await serials(frame((code("S-77", "QRCode"), 100, 100)))).text == "S-77"
        assert (await serials(frame((code("S-77", "DataMatrix"), 100, 100)))).text == ""
        assert serials.unreadable == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pattern = '['", "vision.barcode.pattern is no regular expression"),
        ("engine = 'barcode_zxing'\noptions.format = 'QR'", "vision.barcode.options: unknown key 'format'"),
    ],
)
async def test_a_wrong_key_of_the_reader_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        async with AsyncExitStack() as stack:
            await open_serials(settings.parse(f"[vision.barcode]\n{text}").vision.barcode, Parts(stack, lambda _: None))


def test_shifts_are_times_of_the_day() -> None:
    for wrong in ('["6:00"]', '["24:00"]', '["06:60"]'):
        with pytest.raises(ConfigError, match="give times such as '06:00'"):
            settings.parse(f"[vision.golden]\nshifts_utc = {wrong}")
    with pytest.raises(ConfigError, match="name when a shift begins"):
        settings.parse('[vision.golden]\nfolder = "golden"\nshifts_utc = []')
