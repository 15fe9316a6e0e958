"""How something was said: pace, loudness, pitch, pauses, and what of it is worth a word. Pure.

A recogniser hands on the words and loses the rest. Some of that can be given back to the language
model in a few words behind them: `Where is my order? [speaks fast, louder than before]`. A note is
made of what is unlike the speaker's own earlier turns, for voices differ more than moods; of a
first turn only what is extreme in anybody.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.engines.whisper import RATE, Audio, syllables

EXPLAINED = (
    "Square brackets behind the user's words tell how they were spoken. Answer in a manner that "
    "suits that, and never mention it."
)
"""What the model is told of the notes, behind its instructions."""

LOWEST_HZ, HIGHEST_HZ = 65.0, 450.0
"""Pitch that is looked for: of people who speak, from low men to high women and children."""

_STEP = 4  # of the samples every fourth is looked at for pitch, after a filter: 4 kHz
_FRAME_S = 0.046  # three periods of the lowest pitch, as Boersma has it
_HOP_S = 0.016
_PASS_HZ = 900.0  # the harmonics that are looked at
_VOICED = 0.5  # autocorrelation from which on a frame has a pitch (Boersma: 0.45)
_OCTAVE = 0.03  # what an octave higher is worth: with less a pitch is now and then halved

_BREAK_S = 0.25
"""A shorter silence is part of the words: the stop before a consonant."""

_SOFT_DB = 27.0
"""Sound so much below the loud parts is silence, where the recording is quiet enough for that."""

_ABOVE_NOISE = 0.3
"""Where it is not, what is within so much of the way from the noise to the voice."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """How an utterance was said.

    Attributes:
        spoken_s: How long somebody spoke, pauses left out (s).
        pauses: The pauses within it (s).
        level_db: Of its loud parts (dB re full scale).
        clear_db: How far these are above the quietest parts: little in noise.
        voiced: Share of the spoken time that has a pitch.
        pitch_hz: The median; 0 where there is none.
        range_st: From low to high, without the tenth at either end (semitones).
    """

    spoken_s: float = 0.0
    pauses: tuple[float, ...] = ()
    level_db: float = -120.0
    clear_db: float = 0.0
    voiced: float = 0.0
    pitch_hz: float = 0.0
    range_st: float = 0.0


def measure(audio: Audio) -> Prosody:
    """Measure an utterance (16 kHz, ±1). 10 s take some 10 ms."""
    pieces = [_frames(audio[at : at + _PIECE]) for at in range(0, max(1, len(audio)), _PIECE)]
    power, correlation, pitch = (np.concatenate(part) for part in zip(*pieces, strict=True))
    if not len(power) or power.max() <= 1e-12:
        return Prosody()
    db = 10 * np.log10(np.maximum(power, 1e-12))
    loud, quiet = np.percentile(db, 95), np.percentile(db, 5)
    over = min(max(loud - _SOFT_DB, quiet + _ABOVE_NOISE * (loud - quiet)), loud - _EVEN_DB)
    spoken, pauses = _runs(db >= over)
    if not spoken.any():
        return Prosody()
    voiced = spoken & (correlation >= _VOICED) & (db >= over)
    found = pitch[voiced]
    median = float(np.median(found)) if len(found) else 0.0
    # What is an octave away from most is mistaken for it more often than sung.
    near = found[np.abs(12 * np.log2(found / median)) < 9] if len(found) else found
    low, high = np.percentile(near, (10, 90)) if len(near) else (1.0, 1.0)
    active = db[spoken & (db >= over)]
    return Prosody(
        spoken_s=float(spoken.sum()) * _HOP_S,
        pauses=tuple(round(n * _HOP_S, 3) for n in pauses),
        level_db=float(np.percentile(active, 75)),
        clear_db=float(loud - quiet),
        voiced=float(voiced.sum() / max(1, len(active))),
        pitch_hz=median,
        range_st=float(12 * np.log2(high / low)),
    )


_PIECE = 30 * RATE  # so much is looked at at a time, which takes 27 MB
_EVEN_DB = 6.0  # within so much of the loud parts everything is voice, be it without a pause

Numbers = npt.NDArray[np.float64]


def _frames(audio: Audio) -> tuple[Numbers, Numbers, Numbers]:
    """Power of each frame, its best autocorrelation, and the pitch which that is of.

    Boersma, "Accurate short-term analysis of the fundamental frequency" (1993): the autocorrelation
    of a windowed frame, divided by that of the window.
    """
    rate = RATE / _STEP
    length, hop = round(_FRAME_S * rate), round(_HOP_S * rate)
    n = len(audio) // _STEP
    count = max(0, (n - length) // hop + 1)
    if not count:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    # A mean of four is filter enough: what lies above 2 kHz is not loud, and no pitch.
    low = audio[: n * _STEP].reshape(n, _STEP).mean(axis=1, dtype=np.float64)
    full = np.square(audio[: n * _STEP], dtype=np.float64).reshape(n, _STEP).mean(axis=1)
    at = np.arange(count)[:, None] * hop + np.arange(length)
    power = full[at].mean(axis=1)
    window = np.hanning(length + 2)[1:-1]
    frames = low[at]
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    size = 1 << (2 * length - 1).bit_length()
    first, last = math.floor(rate / HIGHEST_HZ), math.ceil(rate / LOWEST_HZ)
    # Without what is above, its peaks are round, and lie between samples as a parabola does.
    pass_hz = np.fft.rfftfreq(size, 1 / rate)
    kept = np.clip((1.2 * _PASS_HZ - pass_hz) / (0.2 * _PASS_HZ), 0, 1)
    own = np.fft.irfft(np.abs(np.fft.rfft(frames, size)) ** 2 * kept, size)[:, : last + 2]
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, size)) ** 2, size)[: last + 2]
    own = own / np.maximum(own[:, :1], 1e-12) / (of_window / of_window[0])
    before, here, after = (own[:, first + k : last + 1 + k] for k in (-1, 0, 1))
    bend = np.minimum(before - 2 * here + after, -1e-9)
    shift = 0.5 * (before - after) / bend
    height = here - 0.25 * (before - after) * shift
    lags = np.arange(first, last + 1)
    score = np.where((here >= before) & (here > after), height - _OCTAVE * np.log2(lags), -9.0)
    row, best = np.arange(count), np.argmax(score, axis=1)
    height = np.where(score[row, best] > -9, height[row, best], 0.0)
    return power, height, rate / (lags[best] + np.clip(shift[row, best], -0.5, 0.5))


def _runs(sounds: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """Where somebody speaks: from the first sound to the last, without pauses; and these (frames).

    A sound of one or two frames is a click.
    """
    edges = np.flatnonzero(np.diff(np.concatenate(([0], sounds.astype(np.int8), [0]))))
    runs = [(a, b) for a, b in edges.reshape(-1, 2) if b - a > 2]
    spoken = np.zeros(len(sounds), np.bool_)
    pauses: list[int] = []
    end = None
    for a, b in runs:
        if end is not None and (a - end) * _HOP_S >= _BREAK_S:
            pauses.append(int(a - end))
            end = None
        spoken[a if end is None else end : b] = True
        end = b
    return spoken, pauses


TURNS = 8
"""Earlier turns that tell how the speaker mostly speaks: the median of these."""

LEAST_SYLLABLES, LEAST_S = 6, 0.8
"""Shorter utterances have no pace ("Yes" is slow in anybody), and no loudness of their own."""

FASTER, SLOWER = 1.35, 0.68
"""Pace relative to the usual one that is notable. Of 19 sentences that three people read one is
outside, a telephone prompt that is said to be typed along; with 1.25 and 0.8 there are two more."""

FAST, SLOW = 7.5, 2.4
"""Syllables a second that are so in anybody: people's 34 recordings with known words have 3.1 to
6.6."""

LOUDER_DB = 8.0
"""Loudness relative to the usual one that is notable: 5 dB are no mood in one who reads aloud."""

HIGHER_ST = 5.0
"""Pitch likewise (semitones)."""

FLATTER, LIVELIER = 0.45, 1.9
"""Range of the pitch relative to the usual one that is notable."""

WHISPERED = 0.25
"""A smaller share of the spoken time with a pitch is a whisper; the least of people's voices is
0.49."""

CLEAR_DB = 15.0
"""In more noise than this below the voice nobody can tell a whisper."""

PAUSE_S, PAUSES = 0.5, 2
"""So many pauses of so long in one turn are long ones."""


class SpeakingHabits:
    """How somebody speaks, learnt from their turns, and what of a new one is worth a word."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._turns: deque[tuple[Prosody, float]] = deque(maxlen=TURNS)

    def learn(self, said: Prosody, words: str) -> None:
        """A turn is over, and was said so."""
        if said.spoken_s >= LEAST_S:
            self._turns.append((said, pace(said, words)))

    def note(self, said: Prosody, words: str) -> str:
        """What is notable in how these words were said; mostly nothing, which is empty."""
        if said.spoken_s < LEAST_S:
            return ""
        found = [self._pace(pace(said, words)), *self._voice(said), self._pauses(said)]
        parts = [part for part in found if part]
        return f"speaks {', '.join(parts)}" if parts else ""

    def _pace(self, pace: float) -> str:
        usual = _median(before for _, before in self._turns)
        if not pace:
            return ""
        if pace >= FAST or (usual and pace >= FASTER * usual):
            return "fast"
        return "slowly" if pace <= SLOW or pace <= SLOWER * usual else ""

    def _voice(self, said: Prosody) -> list[str]:
        if said.voiced < WHISPERED:
            return ["in a whisper"] if said.clear_db >= CLEAR_DB else []
        earlier = [before for before, _ in self._turns if before.voiced >= WHISPERED]
        if not earlier:
            return []
        found = []
        louder = said.level_db - statistics.median(before.level_db for before in earlier)
        if abs(louder) >= LOUDER_DB:
            found.append(f"{'louder' if louder > 0 else 'more quietly'} than before")
        higher = 12 * math.log2(
            said.pitch_hz / statistics.median(before.pitch_hz for before in earlier)
        )
        if abs(higher) >= HIGHER_ST:
            found.append(f"in a {'higher' if higher > 0 else 'lower'} voice than before")
        wider = said.range_st / max(statistics.median(b.range_st for b in earlier), 1.0)
        if wider <= FLATTER:
            found.append("in a flat voice")
        elif wider >= LIVELIER:
            found.append("in a lively voice")
        return found

    def _pauses(self, said: Prosody) -> str:
        usual = _median(1.0 + _long(before) for before, _ in self._turns)
        return "with long pauses" if _long(said) >= PAUSES + max(0.0, usual - 1.0) else ""


def pace(said: Prosody, words: str) -> float:
    """Syllables a second, pauses left out; 0 for what is too short to have a pace."""
    count = syllables(words)
    return count / said.spoken_s if count >= LEAST_SYLLABLES and said.spoken_s else 0.0


def _long(said: Prosody) -> int:
    return sum(pause >= PAUSE_S for pause in said.pauses)


def _median(values: Iterable[float]) -> float:
    """The median of the values that are known; 0 where there are none."""
    return statistics.median([value for value in values if value] or [0.0])
