"""What the microphone hears: frames in, verdicts on voice out, and the sound kept for a while."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from pipeline.audio.resample import Resampler
from pipeline.audio.speech_end import RATE, SpeechEnd, speech_end
from pipeline.audio.tape import Tape
from pipeline.config import Vad
from pipeline.engines.vad import WINDOW, Voice, VoiceDetector
from pipeline.engines.whisper import Audio
from pipeline.events import Frame, Samples

AROUND = RATE
"""How much sound (samples) before and after the end of a voice tells where it is."""

OTHERS_DB = 20.0
"""In a recording a voice so far below the loudest is not the speaker's."""

TONES_DB = 6.0
"""What is no voice lasts as long as it is within this of its loudest."""

PAUSE = 10
"""Windows without voice after which another may speak: 0.3 s."""

PEAK = 16_384
"""To which a recording is turned up before it is judged: the gate stays shut on quiet sound."""

LOST_S = 0.5
"""So much lost sound (s), and what comes has nothing to do with what was."""


class Detector(Protocol):
    """Judges voice (`stages.vad.VoiceDetector`)."""

    def push(self, samples: Samples) -> list[Voice]:
        """Take 16 kHz audio, give the verdicts on its 32 ms windows."""
        ...


class Hearing:
    """Resamples, keeps and judges what is heard. Offsets are samples at 16 kHz since the start.

    Args:
        detector: Judges voice.
        seconds: How much sound to keep (s).
    """

    def __init__(self, detector: Detector, seconds: float) -> None:
        self._detector = detector
        self._tape = Tape(RATE, seconds)
        self._resampler: Resampler | None = None
        self._lag_ns = 0
        self._last: Frame | None = None

    @property
    def end(self) -> int:
        """How many samples have been heard."""
        return self._tape.end

    def follows(self, frame: Frame) -> bool:
        """Whether `frame` goes on where the last one ended; not so after a machine slept.

        Its samples are counted, not its time: a file that is read on a busy machine comes late, and
        is whole.
        """
        last = self._last
        if last is None or last.rate != frame.rate:
            return True
        return frame.offset - last.offset - len(last.samples) <= LOST_S * frame.rate

    def push(self, frame: Frame) -> list[Voice]:
        """Take the next frame, at any rate; gives the verdicts on the windows it completes."""
        self._last = frame
        if self._resampler is None or self._resampler.rate_in != frame.rate:
            self._resampler = Resampler(frame.rate, RATE)
            self._lag_ns = 0
        samples = self._resampler.push(frame.samples)
        # The resampler holds samples back: the first to come out went in that much earlier.
        self._tape.append(samples, frame.t_ns - self._lag_ns)
        self._lag_ns += frame.duration_ns - len(samples) * 1_000_000_000 // RATE
        return self._detector.push(samples)

    def time_of(self, offset: int) -> int:
        """When the sample at `offset` was captured (ns)."""
        return self._tape.time_of(offset)

    def last_sound(self, judged: int) -> int:
        """Where the voice ended that was judged to end at `judged` (see `audio.speech_end`).

        Only what was heard so far is looked at.
        """
        start = max(0, judged - AROUND, self._tape.begin)
        found = speech_end(self._tape.cut(start, judged + AROUND), judged - start)
        return start + found.end

    def sound(self, start: int, end: int, *, until: int = 0) -> Audio:
        """What was heard from `start` to before `end`, and silence up to `until` if that is later.

        float32 in ±1, as the recogniser takes it.
        """
        audio = self._tape.cut(start, end).astype(np.float32) / np.float32(32768)
        return np.pad(audio, (0, max(0, until - end)))


def end_of_speech(samples: Samples, rate: int) -> SpeechEnd | None:
    """Where the speech in a whole recording ends; indices are at `rate`.

    Args:
        samples: Mono int16.
        rate: Hz.

    Returns:
        None of silence. Where the detector hears no voice, as in tones, the loudest sound counts;
        if that goes on to the recording's end, it is noise.
    """
    resampler = Resampler(rate, RATE)
    sound = np.concatenate([resampler.push(samples), resampler.flush()])
    judged, voice = _judged_until(sound)
    if not judged:
        return None
    # Digital silence after it is what a microphone that falls silent gives.
    found = speech_end(np.pad(sound, (0, AROUND)), judged)
    end = min(found.end * rate // RATE, len(samples))
    told = voice or found.end < len(sound)
    return dataclasses.replace(found, end=end, measurable=found.measurable and told)


def _judged_until(sound: Samples) -> tuple[int, bool]:
    """One past the last sample of the speaker's voice, as it is judged; whether there is voice."""
    peak = int(np.abs(sound.astype(np.int32)).max(initial=0))
    level = sound * np.float32(max(1.0, PEAK / max(1, peak)))
    settings = Vad()
    heard, on = [], False
    for voice in VoiceDetector(settings).push(np.rint(level).astype(np.int16)):
        on = voice.probability >= (settings.release if on else settings.threshold)
        if on:
            heard.append(voice.start // WINDOW)
    windows = len(sound) // WINDOW
    loudness = np.square(level[: windows * WINDOW]).reshape(windows, WINDOW).mean(axis=1)
    if not heard:
        loudest = loudness >= max(loudness.max(initial=0) / 10 ** (TONES_DB / 10), 1e-9)
        return (int(np.flatnonzero(loudest).max(initial=-1)) + 1) * WINDOW if peak else 0, False
    # Words of one speaker are of one level, give or take; the last of them fades.
    numbers = np.array(heard)
    utterances = np.split(numbers, np.flatnonzero(np.diff(numbers) > PAUSE) + 1)
    peaks = [loudness[one].max() for one in utterances]
    theirs = [peak >= max(peaks) / 10 ** (OTHERS_DB / 10) for peak in peaks]
    last = utterances[len(theirs) - 1 - theirs[::-1].index(True)][-1]
    return (int(last) + 1) * WINDOW, True
