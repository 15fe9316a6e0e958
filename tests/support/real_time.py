"""Turns that are measured in real time, on a machine that may be busy with something else."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from pipeline.audio.files import WavWriter, read_audio
from pipeline.measure.corpus import Item
from pipeline.measure.record import Record
from pipeline.turns.taker import RATE

LATE_NS = 40_000_000
"""A machine that gave sound later than this was busy with something else: once more, then."""

TRIES = 4


async def in_time(measure: Callable[[], Awaitable[Record]]) -> Record:
    """The first record for which the machine kept time, or the last of `TRIES`."""
    for _ in range(TRIES):
        record = await measure()
        if record.status == "ok" and record.late_ns < LATE_NS:
            break
    return record


def shortened(item: Item, folder: Path, spoken_s: float) -> Item:
    """The end of a recording: a turn's latency is counted from there, and it is played in real
    time."""
    assert item.end_of_speech_s is not None
    sound = np.concatenate([*read_audio(item.path, RATE)])
    sound = sound[round((item.end_of_speech_s - spoken_s) * RATE) :]
    path = folder / f"{item.path.stem}.wav"
    with contextlib.closing(WavWriter(path, RATE, 1)) as writer:
        writer.write(sound)
    return Item(path, path.name, item.text, spoken_s, len(sound) / RATE)
