"""What the stereo WAV of a turn says: when the user stopped, and when the reply was heard.

The WAV decides, and knows nothing of the trace: both times are found in the sound itself, where the
user's speech ends by `turns.speech_end`, where the reply begins by `audio.audible`.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from pipeline.audio.audible import onset
from pipeline.audio.files import read_audio
from pipeline.audio.resample import resampled
from pipeline.errors import BadInput
from pipeline.events import Samples
from pipeline.turns.speech_end import SpeechEnd, end_of_speech

CHECK_RATE = 16_000
"""At which a recording is compared with what was played of it (Hz): the microphone's rate."""

MISSED = CHECK_RATE // 2
"""So much of a recording's beginning may be missing in the WAV (samples)."""

ALREADY_S = 0.1
"""A reply with sound this close before the end of speech was under way already. Fillers between two
words are shorter, and so is the fade of a reply that was interrupted in time."""


def true_end(
    user: Samples, rate: int, recording: Path | None, label_s: float | None
) -> tuple[SpeechEnd | None, int]:
    """What the sound says of the end of speech; and its index, by the label where there is one.

    Where nothing of the user is in the sound the first is None, and the second its length.

    Args:
        user: What was played of a recording.
        rate: Of it (Hz).
        recording: The recording; only a label needs it.
        label_s: Where speech ends in the recording (s); None to find it in the sound.

    Raises:
        BadInput: The recording cannot be read.
    """
    found = end_of_speech(user, rate)
    if found is None:
        return None, len(user)
    if label_s is None or recording is None:
        return found, found.end
    clean = np.concatenate([*read_audio(recording, CHECK_RATE), np.zeros(1, np.int16)])
    return found, begin_of(clean, user, rate) + round(label_s * rate)


def begin_of(clean: Samples, left: Samples, rate: int) -> int:
    """Index at which a recording begins in what was played of it: where the two agree best.

    Below zero where its first samples are missing.

    Args:
        clean: The recording, at `CHECK_RATE`.
        left: What was played.
        rate: Of that, and of the index (Hz).
    """
    played = resampled(left, rate, CHECK_RATE)
    size = 1 << (len(clean) + len(played)).bit_length()
    spectra = (np.fft.rfft(one.astype(np.float64), size) for one in (played, clean))
    agreement = np.fft.irfft(next(spectra) * np.conj(next(spectra)), size)
    # A WAV may begin a frame after the recording: what is before its beginning is at the end.
    begin = int(np.roll(agreement, MISSED)[: len(played) + MISSED].argmax()) - MISSED
    return begin * rate // CHECK_RATE


def first_reply(right: Samples, rate: int, end: int) -> int | None:
    """Index of the first audible sample of the reply to speech that ends at `end`."""
    if onset(right[max(0, end - int(ALREADY_S * rate)) : end], rate) is not None:
        return onset(right, rate)
    after = onset(right[end:], rate)
    return None if after is None else end + after


def stereo(path: Path) -> tuple[Samples, Samples, int]:
    """Both channels of a 16-bit stereo WAV, and its rate (Hz).

    Raises:
        BadInput: It is no such file.
    """
    try:
        with wave.open(str(path), "rb") as file:
            if (file.getnchannels(), file.getsampwidth()) != (2, 2):
                raise BadInput(f"{path}: is no 16-bit stereo WAV")
            rate, frames = file.getframerate(), file.getnframes()
            read = file.readframes(frames)
            if len(read) < 4 * frames:
                there = len(read) / 4 / rate
                raise BadInput(f"{path}: is cut off: of {frames / rate:.3f} s it has {there:.3f} s")
            data = np.frombuffer(read, "<i2").reshape(-1, 2)
    except (OSError, EOFError, wave.Error, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    return data[:, 0].astype(np.int16), data[:, 1].astype(np.int16), rate
