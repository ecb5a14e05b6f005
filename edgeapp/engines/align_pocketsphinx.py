"""Where each word of a known sentence begins in a recording: forced alignment by PocketSphinx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from edgeapp.core.events import SAMPLE_RATE_HZ, BackendError, ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FRAME: Final = SAMPLE_RATE_HZ // 100  # the decoder's frames have 10 ms
_SILENCES: Final = {"<s>", "</s>", "<sil>", "(NULL)"}


def word_starts(samples: NDArray[np.int16], text: str) -> list[int]:
    """The sample at which each word of `text` (lower case, no punctuation) begins; blocks for about 0.1 s.

    `samples` is int16 at 16 kHz, shape (n,). Raises ConfigError without the package, and BackendError if a word has no
    pronunciation or the recording does not hold the sentence.
    """
    try:
        import pocketsphinx
    except ImportError as error:
        raise ConfigError("aligning words needs the package pocketsphinx: pip install 'edgeapp[voice]'") from error
    decoder = pocketsphinx.Decoder(samprate=SAMPLE_RATE_HZ, lm=None, bestpath=False, loglevel="FATAL")
    try:
        decoder.set_align_text(text)
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        found = [] if decoder.hyp() is None else list(decoder.seg())
    except RuntimeError as error:
        raise BackendError(f"cannot align {text!r}: {error}") from error
    starts = [each.start_frame * _FRAME for each in found if each.word not in _SILENCES and each.word[0] != "["]
    if len(starts) != len(text.split()):
        raise BackendError(f"cannot align {text!r}: the recording does not hold these words")
    return starts
