"""Make the recordings of `edgeapp bench voice` in `edgeapp/assets/turns/`: every sentence of the kiosk's grammar, spoken.

    python scripts/make_voice_turns.py

It needs Debian's packages flite (three synthetic voices, turn and turn about) and alsa-utils (a person's eight zones). A
clip is 100 ms before the first voiced sample, the speech, and 50 ms behind the last one, as Opus; the index says where
the last voiced sample is, measured on the clean speech as `make_questions.py` does.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile
from make_questions import FLITE, FLITE_LICENCE, HUMAN, HUMAN_LICENCE, grammar, speak, voiced
from rich.progress import track

from edgeapp.core.events import SAMPLE_RATE_HZ
from edgeapp.voice.content import ZONES

FOLDER = Path(__file__).parent.parent / "edgeapp" / "assets" / "turns"
VOICES = ("slt", "rms", "awb")
BEFORE, BEHIND = SAMPLE_RATE_HZ // 10, SAMPLE_RATE_HZ // 20


def main() -> None:
    """Speak and write everything anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    wanted = [(VOICES[number % len(VOICES)], text) for number, text in enumerate(grammar().sentences)]
    wanted += [("alsa", zone) for zone in ZONES]
    lines = ["# Made by scripts/make_voice_turns.py. Times count from the beginning of the file."]
    for voice, text in track(wanted, "speaking"):
        clip = speak(voice, text)
        first, last = voiced(clip.samples)
        padded = np.concatenate([np.zeros(BEFORE), clip.samples, np.zeros(BEHIND)])
        name = f"{text.replace(' ', '_')}.{voice}.opus"
        cut = padded[first : last + BEFORE + BEHIND]
        soundfile.write(FOLDER / name, cut, SAMPLE_RATE_HZ, format="OGG", subtype="OPUS")
        who = (
            HUMAN.format(name=f"{text.title().replace(' ', '_')}.wav") if voice == "alsa" else FLITE.format(voice=voice)
        )
        lines += [
            "",
            "[[turns]]",
            f'file = "{name}"',
            f'text = "{text}"',
            f'source = "{who}"',
            f'licence = "{HUMAN_LICENCE if voice == "alsa" else FLITE_LICENCE}"',
            f"human = {str(voice == 'alsa').lower()}",
            f"last_voiced_ms = {1000 * (BEFORE + last - first) / SAMPLE_RATE_HZ:.1f}",
        ]
    (FOLDER / "turns.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
