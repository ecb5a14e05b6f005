"""Smart Turn: its features, and its file where pipecat-ai is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgeapp.core.events import ConfigError
from edgeapp.core.lane import Lane
from edgeapp.engines import turn_smart


def test_the_features_are_whispers() -> None:
    from faster_whisper.feature_extractor import FeatureExtractor

    samples = np.random.default_rng(0).integers(-3_000, 3_000, turn_smart.SAMPLES).astype(np.int16)
    heard = samples / np.float32(32_768)
    normal = (heard - heard.mean()) / np.sqrt(heard.var() + np.float32(1e-7))
    theirs = FeatureExtractor(chunk_length=8)(normal.astype(np.float32), padding=0)
    ours = turn_smart.log_mel(samples)
    assert ours.shape == (turn_smart.MELS, turn_smart.FRAMES)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs[:, : turn_smart.FRAMES]).max() < 1e-3


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    lane = Lane("turn")
    with pytest.raises(ConfigError, match="there is no model file"):
        async with turn_smart.load(turn_smart.Options(model=str(tmp_path / "x.onnx")), lane):
            pass


@pytest.mark.real_time
@pytest.mark.skipif(find_spec("pipecat") is None, reason="pipecat-ai is not installed")
async def test_the_carried_model_answers_with_a_probability() -> None:
    lane = Lane("turn")
    async with turn_smart.load(turn_smart.Options(), lane) as over:
        assert 0 <= await over(np.zeros(8_000, np.int16)) <= 1
    lane.close()
