"""What a report draws and plays of a turn: a record in, plain values and sound out.

Times are in ms and count from the true end of the user's speech. No statistics are made here.

The sound is FLAC, because that is exact to the sample, keeps the channels apart (lossy stereo
coding may leak one into the other), shrinks silence to nothing, and plays in every browser.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import av
import av.error
import numpy as np
import numpy.typing as npt

from pipeline.clock import NS_PER_MS
from pipeline.measure.corpus import flac
from pipeline.measure.record import Record
from pipeline.trace import MARKS

OWNERS = {
    "endpoint": "setting",
    "stt": "stage",
    "llm_first_token": "stage",
    "first_clause": "stage",
    "tts_first_audio": "stage",
    "model": "model",
    "device": "device",
    "own": "own code",
}
"""Who can do something about a part."""

LABELS = {
    "endpoint": "endpoint hold",
    "stt": "STT",
    "llm_first_token": "LLM first token",
    "first_clause": "first clause",
    "tts_first_audio": "TTS first audio",
    "model": "speech model",
    "device": "device",
    "own": "own code",
}
"""What a part is called in a report."""


RATE = 16_000
"""Sample rate of the embedded sound (Hz): enough for speech, and what the stages work at."""

PEAK_MS = 10
"""Length of sound (ms) for which the drawn waveform holds one height."""

MOST_BYTES = 25_000_000
"""Most sound (as base64 text) inside a report: a page of this size still opens at once. The
recordings beyond it are linked in the folder."""

Stereo = npt.NDArray[np.int16]
"""Samples at `RATE`, a row each: user, reply."""


def parts(names: Iterable[str]) -> list[dict[str, str]]:
    """Name, label and owner of each of these parts."""
    return [{"name": name, "label": LABELS[name], "owner": OWNERS[name]} for name in names]


def turn(number: int, record: Record) -> dict[str, Any]:
    """One record; `number` is what its links name it by."""
    zero = zero_ns(record)
    timeline = record.timeline
    wav_ns = record.wav_voice_to_voice_ns if record.status == "ok" else None
    trace_ns = timeline.total_ns if timeline else None
    both = wav_ns is not None and trace_ns is not None
    return {
        "id": number,
        "about": f"{record.file}\n{record.variant}, repeat {record.repeat}",
        "variant": record.variant,
        "file": record.file,
        "repeat": record.repeat,
        "order": record.order,
        "status": record.status,
        "shown": "not heard" if record.status == "ok" and wav_ns is None else record.status,
        "reason": record.reason,
        "end_of_speech": record.end_of_speech,
        "from_speech_end": "speech.end" in record.marks,
        "wav_ms": in_ms(wav_ns),
        "trace_ms": in_ms(trace_ns),
        "difference_ms": in_ms((trace_ns or 0) - (wav_ns or 0)) if both else None,
        "parts": {name: in_ms(ns) for name, ns in timeline.parts.items()} if timeline else None,
        "hidden": {name: in_ms(ns) for name, ns in timeline.hidden.items()} if timeline else None,
        "blocking": [
            [name, in_ms(start), in_ms(end)]
            for name, start, end in (timeline.stretches if timeline else ())
        ],
        "marks": [
            [name, in_ms(record.marks[name] - zero)]
            for name in sorted(record.marks, key=lambda name: (record.marks[name], _rank(name)))
        ],
        "spans": [
            [span.lane, span.name, in_ms(span.start_ns - zero), in_ms(span.end_ns - zero)]
            for span in record.spans
        ],
        "transcript": record.transcript,
        "expected": record.expected,
        "reply": record.reply,
        "underrun_ms": in_ms(record.underrun_ns),
        "wasted": dict(record.wasted),
        "cpu_ms": in_ms(record.cpu_ns),
        "late_ms": in_ms(record.late_ns),
        "hold_ms": record.hold_ms,
        "level_dbfs": _rounded(record.level_dbfs),
        "snr_db": _rounded(record.snr_db),
        "node": record.node,
        "wav": quote(record.wav.replace("\\", "/")),
        "wav_start_ms": in_ms(record.wav_start_ns - zero),
    }


def zero_ns(record: Record) -> int:
    """Where the axis of a turn begins: the true end of speech, else the first thing known."""
    if "speech.end" in record.marks:
        return record.marks["speech.end"]
    times = [*record.marks.values(), *(span.start_ns for span in record.spans)]
    return min(times, default=record.wav_start_ns)


def in_ms(ns: int | None) -> float | None:
    """Nanoseconds as milliseconds, to the microsecond."""
    return None if ns is None else round(ns / NS_PER_MS, 3)


def _rounded(decibels: float | None) -> float | None:
    return None if decibels is None else round(decibels, 1)


def _rank(mark: str) -> int:
    return MARKS.index(mark) if mark in MARKS else len(MARKS)


class Room:
    """The sound inside a report, until there is no more room.

    Attributes:
        inside: Base64 FLAC by number of turn.
    """

    def __init__(self, most: int) -> None:
        """Room for `most` bytes of base64."""
        self.inside: dict[int, str] = {}
        self._left = most

    def take(self, number: int, stereo: Stereo | None) -> dict[str, Any]:
        """Embed the sound of a turn if there is room; gives what the page is to know of it.

        `sound` is `inside`, `linked`, or `none` where there is no recording; the first turn for
        which there is no room ends it for those that follow.
        """
        if stereo is None:
            return {"sound": "none", "wav": ""}
        about = {"sound": "linked", "peaks": peaks(stereo), "seconds": len(stereo) / RATE}
        if self._left >= 0:
            encoded = _text(flac(stereo, RATE))
            self._left -= len(encoded)
            if self._left >= 0:
                self.inside[number] = encoded
                about["sound"] = "inside"
        return about


def read(folder: Path, name: str) -> Stereo | None:
    """A recording inside the run's folder, mono sound on both channels; None: none can be read."""
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
    blocks: list[av.AudioFrame] = []
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            return None
        with path.open("rb") as file, av.open(file, "r") as container:
            for frame in container.decode(container.streams.audio[0]):
                blocks += resampler.resample(frame)
            blocks += resampler.resample(None)
    except (OSError, ValueError, av.error.FFmpegError, IndexError):
        return None
    samples = [block.to_ndarray().reshape(-1, 2) for block in blocks]
    return np.concatenate(samples) if samples else None


def peaks(stereo: Stereo) -> tuple[str, str]:
    """The drawn waveform of user and reply: base64 of one byte per `PEAK_MS`.

    It is the root of the largest amplitude, so that quiet sound is seen too; 255 is full scale.
    """
    return _peaks(stereo[:, 0]), _peaks(stereo[:, 1])


def _peaks(channel: npt.NDArray[np.int16]) -> str:
    step = RATE * PEAK_MS // 1000
    padded = np.pad(channel.astype(np.int32), (0, -len(channel) % step))
    loudest = np.abs(padded).reshape(-1, step).max(axis=1)
    heights = np.sqrt(np.minimum(loudest / 32767, 1.0)) * 255
    return _text(heights.astype(np.uint8).tobytes())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
