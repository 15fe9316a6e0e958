"""What was recognised of a recording, in the forms that the OpenAI API gives it. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.engines.vad import RATE
from pipeline.engines.whisper import Transcription
from pipeline.serve.pieces import VoicedPiece

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
