"""Turn-taking: when the user begins, pauses, ends, and interrupts. A pure state machine.

It is fed the verdict on each 32 ms window of the microphone and answers with decisions. It has no
clock: time is the sample offset of the windows, at 16 kHz.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.config import Turns, Vad
from pipeline.stages.vad import Voice

RATE = 16_000
"""Samples per second of all offsets here (Hz)."""

ONSET_GAP_MS = 100
"""Silence inside the first syllable that still counts as one onset: longer than the stop before a
plosive, shorter than the gap between two clicks."""


@dataclass(frozen=True, slots=True)
class Began:
    """The user speaks.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        voiced: Offset of its first voiced sample.
        at: Offset of the audio that decided it.
    """

    start: int
    voiced: int
    at: int


@dataclass(frozen=True, slots=True)
class Paused:
    """The provisional end: a short silence. The turn may be over, or go on (`Resumed`)."""

    speech_end: int
    at: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """The user went on speaking after `Paused`."""

    at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The endpoint: the turn is over.

    Attributes:
        start: Offset of the utterance's first sample, pre-roll included.
        end: One past its last sample, with a short tail of silence.
        speech_end: One past the last voiced sample.
        silence_from: Offset at which the first silent window was known, after `speech_end`.
        voiced_ms: How much of it was voiced.
        at: Offset of the audio that decided it.
        reason: The silence was long enough, or the turn too long.
    """

    start: int
    end: int
    speech_end: int
    silence_from: int
    voiced_ms: float
    at: int
    reason: Literal["silence", "length"]


Decision = Began | Paused | Resumed | Ended


class TurnTaker:
    """Decides from voice alone: threshold with hysteresis, minimum speech, fixed hangover."""

    def __init__(self, settings: Turns, vad: Vad) -> None:
        self._settings = settings
        self._vad = vad
        self._in_speech = False
        self._paused = False
        self._onset: int | None = None
        self._voiced = 0
        self._start = 0
        self._speech_end = 0
        self._silence_from = 0
        self._floor = 0

    def push(self, voice: Voice, *, speaking: bool) -> list[Decision]:
        """Take the next window's verdict.

        Args:
            voice: Windows come in order, with no gaps.
            speaking: The assistant can be heard, so that it takes more voice to begin a turn.
        """
        begun = self._in_speech or self._onset is not None
        voiced = voice.probability >= (self._vad.release if begun else self._vad.threshold)
        if not self._in_speech:
            return self._idle(voice, voiced, speaking)
        return self._speech(voice, voiced)

    def _idle(self, voice: Voice, voiced: bool, speaking: bool) -> list[Decision]:
        if not voiced:
            if self._onset is not None and voice.end - self._speech_end > _samples(ONSET_GAP_MS):
                self._onset = None
            return []
        if self._onset is None:
            self._onset = voice.start
            self._voiced = 0
        self._voiced += voice.end - voice.start
        self._speech_end = self._silence_from = voice.end
        needed = self._settings.barge_in_ms if speaking else self._settings.start_ms
        if self._voiced < _samples(needed):
            return []
        self._in_speech = True
        self._paused = False
        self._start = max(self._floor, self._onset - _samples(self._settings.preroll_ms))
        return [Began(self._start, self._onset, voice.end)]

    def _speech(self, voice: Voice, voiced: bool) -> list[Decision]:
        decisions: list[Decision] = []
        if voiced:
            if self._paused:
                self._paused = False
                decisions.append(Resumed(voice.end))
            self._voiced += voice.end - voice.start
            self._speech_end = voice.end
            self._silence_from = voice.end
        elif self._silence_from == self._speech_end:
            self._silence_from = voice.end
        silence = voice.end - self._speech_end
        if silence >= _samples(self._settings.hold_ms):
            return [*decisions, *self._pause(voice), self._end(voice, "silence")]
        if voice.end - self._start >= int(self._settings.max_turn_s * RATE):
            return [*decisions, *self._pause(voice), self._end(voice, "length")]
        if silence >= _samples(self._settings.provisional_ms):
            decisions += self._pause(voice)
        return decisions

    def _pause(self, voice: Voice) -> list[Decision]:
        """`Paused`, unless it was said before: every turn has a provisional end before its end."""
        if self._paused:
            return []
        self._paused = True
        return [Paused(self._speech_end, voice.end)]

    def _end(self, voice: Voice, reason: Literal["silence", "length"]) -> Ended:
        end = min(voice.end, self._speech_end + _samples(self._settings.tail_ms))
        self._in_speech = False
        self._onset = None
        # What one turn had, the next one's pre-roll does not repeat.
        self._floor = end
        return Ended(
            self._start,
            end,
            self._speech_end,
            self._silence_from,
            self._voiced * 1000 / RATE,
            voice.end,
            reason,
        )

    @property
    def in_speech(self) -> bool:
        """Whether the user's turn is going on."""
        return self._in_speech


def _samples(ms: float) -> int:
    return int(ms * RATE / 1000)
