"""A recording of any length as text: cut at its pauses, and told as the OpenAI API does. Pure.

Between pieces whoever talks live gets the recogniser, so that a piece is short; and since what is
not voice is in no piece, nothing is made up of it. A piece is held, and never the recording.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline.config import VadSettings
from pipeline.engines.vad import RATE, WINDOW
from pipeline.engines.whisper import UNSURE_S, Transcription, quietest
from pipeline.events import Samples
from pipeline.serve.sound import InputBuffer
from pipeline.turns.listener import Detector

PAUSE_S = 1.0
"""Silence (s) that ends a piece of any length: who pauses for so long has finished a sentence."""

SHORT_PAUSE_S = 0.3
"""Silence (s) that ends a piece which is long enough: between phrases. With 0.2 s a Piper voice,
which pauses for little more between its sentences, lost twice as many words."""

AROUND_S = SHORT_PAUSE_S
"""Sound (s) around a voice that belongs to it: soft beginnings and ends."""

ENOUGH_S = 7.0
"""Length (s) from which on it does: what Whisper's short window holds."""

LONGEST_S = UNSURE_S
"""A piece of somebody who does not pause is cut here (s), where its last seconds are quietest."""

FULL = 16_384
"""To which a recording is turned up for the detector: its gate stays shut on quiet sound."""

MOST_GAIN = 40
"""By how much at most: what is quieter than that is noise."""


@dataclass(frozen=True, slots=True, eq=False)
class VoicedPiece:
    """A stretch of a recording with a voice in it.

    Attributes:
        start: Where it begins (samples from the start of the recording).
        samples: int16 at 16 kHz, shape (n,).
        voiced_ms: How much of it is voiced.
    """

    start: int
    samples: Samples
    voiced_ms: float

    @property
    def end(self) -> int:
        """Where it ends, exclusive."""
        return self.start + len(self.samples)


class Cutter:
    """Cuts one recording.

    Args:
        detector: Judges voice; a new one.
        settings: From which probability on a voice is one.
    """

    def __init__(self, detector: Detector, settings: VadSettings) -> None:
        self._detector = detector
        self._settings = settings
        self._sound = InputBuffer()
        self._peak = FULL / MOST_GAIN
        self._on = False
        self._done = 0
        self._begin = 0
        self._voices: list[int] = []

    @property
    def seconds(self) -> float:
        """How long the recording is, as far as it was looked at."""
        return self._sound.end / RATE

    def cut(self, blocks: Iterable[Samples]) -> Iterator[VoicedPiece]:
        """Yield the pieces of a recording that comes in blocks: int16 at 16 kHz, any length."""
        for block in blocks:
            self._sound.push(block)
            self._peak = max(self._peak, float(np.abs(block.astype(np.int32)).max(initial=0)))
            level = block * np.float32(max(1.0, FULL / self._peak))
            for voice in self._detector.push(np.rint(level).clip(-32768, 32767).astype(np.int16)):
                self._judge(voice.probability, voice.start, voice.end)
                if (end := self._over(voice.end)) is not None:
                    yield self._piece(end)
        if self._voices:
            yield self._piece(min(self._last_end(), self._sound.end))

    def _judge(self, probability: float, start: int, end: int) -> None:
        settings, around = self._settings, int(AROUND_S * RATE)
        self._on = probability >= (settings.release if self._on else settings.threshold)
        if self._on:
            if not self._voices:
                self._begin = max(self._done, start - around)
            self._voices.append(end)
        elif not self._voices:
            self._sound.forget(end - around)

    def _over(self, now: int) -> int | None:
        """Where the piece ends that has been heard up to `now`, if it does."""
        if not self._voices:
            return None
        length, pause = now - self._begin, now - self._voices[-1]
        enough = length >= ENOUGH_S * RATE
        if pause >= (SHORT_PAUSE_S if enough else PAUSE_S) * RATE:
            return self._last_end()
        if length >= LONGEST_S * RATE:
            heard = self._sound.between(self._begin, now)
            return self._begin + quietest(heard.astype(np.float32))
        return None

    def _last_end(self) -> int:
        """Where the last voice ends, with what belongs to it."""
        return self._voices[-1] + int(AROUND_S * RATE)

    def _piece(self, end: int) -> VoicedPiece:
        voices = [each for each in self._voices if each <= end]
        piece = VoicedPiece(
            self._begin,
            self._sound.between(self._begin, end),
            len(voices) * WINDOW * 1000 / RATE,
        )
        self._voices = self._voices[len(voices) :]
        self._begin = self._done = end
        self._sound.forget(end)
        return piece


Form = Literal["json", "text", "srt", "verbose_json", "vtt"]
"""`response_format`."""

MEDIA_TYPES: dict[Form, str] = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "verbose_json": "application/json",
    "vtt": "text/vtt",
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording, and what is said in it.

    Attributes:
        start_s: Where it begins (s).
        end_s: Where it ends (s).
        heard: What the recogniser made of it.
    """

    start_s: float
    end_s: float
    heard: Transcription

    @classmethod
    def of(cls, piece: VoicedPiece, heard: Transcription) -> Segment:
        """What was heard in a piece."""
        return cls(piece.start / RATE, piece.end / RATE, heard)


def text_of(segments: Sequence[Segment]) -> str:
    """All that is said."""
    return " ".join(segment.heard.text for segment in segments)


def told(form: Form, segments: Sequence[Segment], seconds: float) -> str | dict[str, Any]:
    """A transcript: text, or an object that goes into JSON.

    Args:
        form: Which.
        segments: In order; each has words.
        seconds: How long the recording is.
    """
    text = text_of(segments)
    usage = {"type": "duration", "seconds": seconds}
    match form:
        case "json":
            return {"text": text, "usage": usage}
        case "text":
            return text + "\n"
        case "srt":
            cues = (f"{n}\n{_cue(each, ',')}" for n, each in enumerate(segments, 1))
            return "\n".join(cues)
        case "vtt":
            return "\n".join(["WEBVTT\n", *(_cue(each, ".") for each in segments)])
        case "verbose_json":
            return {
                "task": "transcribe",
                "language": next((each.heard.language for each in segments), ""),
                "duration": seconds,
                "text": text,
                "segments": [_verbose(n, each) for n, each in enumerate(segments)],
                "usage": usage,
            }


def _cue(segment: Segment, point: str) -> str:
    times = f"{_time(segment.start_s, point)} --> {_time(segment.end_s, point)}"
    # An arrow in a cue's text would be another line of times.
    return f"{times}\n{segment.heard.text.replace('-->', '->')}\n"


def _time(seconds: float, point: str) -> str:
    rest, ms = divmod(round(seconds * 1000), 1000)
    minutes, s = divmod(rest, 60)
    hours, m = divmod(minutes, 60)
    return f"{hours:02}:{m:02}:{s:02}{point}{ms:03}"


def _verbose(number: int, segment: Segment) -> dict[str, Any]:
    data = segment.heard.text.encode()
    return {
        "id": number,
        "seek": round(segment.start_s * 100),
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.heard.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": segment.heard.log_prob,
        "compression_ratio": len(data) / len(zlib.compress(data)),
        "no_speech_prob": segment.heard.no_speech,
    }
