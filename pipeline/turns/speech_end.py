"""Where speech ends: one definition for the trace, the WAV's witness, the corpus and `compare`.

The end is where the voice has fallen `FALL_DB` below its own loudest moment of the last `LOOK_S`,
noise subtracted, and `FADE_S` later, for the rest of its fade. All is relative to the recording's
own voice and floor, so gain does not move it; and the threshold lies so high that a room 15 dB
below the voice does not move it either.

Tried on Piper's sentences, whose ends are known, and on people's recordings, in white, pink and
real noise. A fixed level is wrong by seconds in noise. The detector alone (Silero's last window)
is right to 15 ms on clean voices and moves by up to 100 ms at 15 dB, so it says only whereabouts
to look. A deeper fall, of 25 dB, is nearer to the silence of a clean recording, but in pink noise
15 dB down it finds the same place in only 60 of 100.

Against known ends it is 9 ms early in the median, with a deviation of 31 ms: a soft last sound is
left out, and what is cut off in mid-voice is given 50 ms too much. In noise 15 and 20 dB down it
stays within 20 ms for 93 to 100 of 100 of Piper's sentences, and for 87 to 97 of 100 of people's
that nothing was fitted on; who label such recordings agree to some 50 ms.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.audio.resample import resampled
from pipeline.config import VadSettings
from pipeline.engines.vad import RATE, WINDOW, VoiceDetector
from pipeline.events import Samples

UNMEASURABLE = "noise after the speech; give end_of_speech_s"
"""Why a turn's latency is unmeasurable, and what to do."""

FALL_DB = 17.0
"""So far below its loudest moment a voice is over."""

FADE_S = 0.03
"""From there to silence (s), in the median of voices."""

LOOK_S = 0.6
"""The loudest moment is looked for in so much before the place (s): a word or two."""

BEYOND_S = 0.25
"""How far after the place a voice may still fade (s): as much as the shortest hold lets see."""

DOUBT_S = 0.05
"""What the detector takes for voice at its end may be silence (s): it is late by as much."""

GAP_S = 0.06
"""Silence (s) after which sound belongs to something else: longer than the stop in a `t`."""

FLOOR_S = 0.1
FLOOR_WITHIN_S = 0.4
"""The noise is the quietest `FLOOR_S` of the `FLOOR_WITHIN_S` after the place (s)."""

LEAST_SNR_DB = 14.5
"""With less the end cannot be told: 15 dB are to do, and the estimate is right to 2 dB."""

UNSTEADY = 0.5
UNSTEADY_SHARE = 0.1
"""Noise hides the end if this share of the second after it comes as near to the threshold."""

UNWATCHED_S = 0.1
WATCHED_S = 1.0
"""So long after the end noise is not yet watched, and then for so long (s)."""

ACTIVE_DB = 15.0
"""A voice sounds where it is at most so far below its loudest."""

QUANTISATION = 1 / 12 / 32768**2
"""Power of the noise of 16-bit samples: no floor is lower."""

OTHERS_DB = 20.0
"""In a recording a voice so far below the loudest is not the speaker's."""

TONES_DB = 6.0
"""What is no voice lasts as long as it is within this of its loudest."""

PAUSE = 10
"""Windows without voice after which another may speak: 0.3 s."""

PEAK = 16_384
"""To which a recording is turned up before it is judged: the gate stays shut on quiet sound."""

AROUND = RATE
"""How much sound (samples) before and after the end of a voice tells where it is."""

_LENGTH, _HOP, _SMOOTH = 320, 80, 7
_EDGES_HZ = np.array([100, 500, 1000, 1800, 3000, 5000, 8000])
_HZ = np.fft.rfftfreq(512, 1 / RATE)
_WITHIN = (_HZ[:, None] >= _EDGES_HZ[:-1]) & (_HZ[:, None] < _EDGES_HZ[1:])
_BANDS: npt.NDArray[np.float64] = np.where(_WITHIN, 2 / 512, 0.0)
# Voices fall off towards high frequencies, and many a quiet end is an s or an sh.
_WEIGHT = np.sqrt((_EDGES_HZ[:-1] + _EDGES_HZ[1:]) / 2000)
_TAPER = np.hanning(_LENGTH + 1)[:-1] / np.sqrt(np.sum(np.hanning(_LENGTH + 1)[:-1] ** 2))
_OUTSTANDING = 1 + 4 / np.sqrt(np.diff(_EDGES_HZ) * (_HOP * (_SMOOTH - 1) + _LENGTH / 2) / RATE)
"""Four standard deviations of noise in a band, as a factor of its mean power."""

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpeechEnd:
    """Where a voice ends, and how well that is known.

    Attributes:
        end: Index, one past its last sample.
        level_dbfs: Of the voice: its mean power where it sounds.
        noise_dbfs: Of what is left when it is over.
        measurable: Whether noise after it leaves the end to be told.
    """

    end: int
    level_dbfs: float
    noise_dbfs: float
    measurable: bool

    @property
    def snr_db(self) -> float:
        """By how much the voice is above the noise (dB)."""
        return self.level_dbfs - self.noise_dbfs


def speech_end(samples: Samples, judged: int) -> SpeechEnd:
    """Find where a voice ends.

    Args:
        samples: Mono int16 at `RATE`, with the voice and what is known of the time after it.
        judged: One past the last sample that a detector took for voice.
    """
    power = _power(samples)
    place = judged / _HOP
    floor = _floor(power, place)
    smooth = _averaged(power, _SMOOTH)
    loud = np.where(smooth > _OUTSTANDING * floor, smooth - floor, 0.0) @ _WEIGHT
    begin = max(0, int(place - LOOK_S * RATE / _HOP))
    beyond = min(len(loud), int(place + BEYOND_S * RATE / _HOP) + 1)
    top = float(_averaged(loud[begin:beyond, None], 9).max(initial=0.0))
    threshold = top * 10 ** (-FALL_DB / 10)
    above = begin + np.flatnonzero(loud[begin:beyond] >= max(threshold, 1e-30))
    last = _last(above, place)
    end = judged if last is None else round((last + 1) * _HOP + FADE_S * RATE)
    level, noise = _levels(power, floor, int(place) if last is None else last)
    after = (int(place) if last is None else last) + int(UNWATCHED_S * RATE / _HOP)
    watched = loud[after : after + int(WATCHED_S * RATE / _HOP)]
    steady = not len(watched) or np.mean(watched > UNSTEADY * threshold) <= UNSTEADY_SHARE
    measurable = last is not None and bool(steady) and level - noise >= LEAST_SNR_DB
    return SpeechEnd(min(end, len(samples)), level, noise, measurable)


def end_of_speech(samples: Samples, rate: int) -> SpeechEnd | None:
    """Where the speech in a whole recording ends; indices are at `rate`.

    Args:
        samples: Mono int16.
        rate: Hz.

    Returns:
        None of silence. Where the detector hears no voice, as in tones, the loudest sound counts;
        if that goes on to the recording's end, it is noise.
    """
    sound = resampled(samples, rate, RATE)
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
    settings = VadSettings()
    heard, on = [], False
    for voice in VoiceDetector().push(np.rint(level).astype(np.int16)):
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


def _power(samples: Samples) -> _Floats:
    """Power by time and band: a frame each `_HOP` samples, centred there, of full scale 1."""
    padded = np.pad(samples.astype(np.float64) / 32768, (_LENGTH // 2, _LENGTH // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _LENGTH)[::_HOP] * _TAPER
    spectrum = np.fft.rfft(frames, 512)
    found: _Floats = (spectrum.real**2 + spectrum.imag**2) @ _BANDS
    return found


def _averaged(power: _Floats, frames: int) -> _Floats:
    """The mean over so many frames (odd) around each."""
    before = frames // 2
    padded = np.pad(power, ((before + 1, before), (0, 0)), "edge")
    total = np.cumsum(padded, axis=0)
    mean: _Floats = (total[frames:] - total[:-frames]) / frames
    return np.maximum(mean, 0.0)


def _floor(power: _Floats, place: float) -> _Floats:
    frames = int(FLOOR_S * RATE / _HOP)
    begin = max(0, int(place - DOUBT_S * RATE / _HOP))
    after = power[begin : int(place + FLOOR_WITHIN_S * RATE / _HOP)]
    if len(after) < frames:
        after = power[-frames:]
    stretches = np.lib.stride_tricks.sliding_window_view(after, min(frames, len(after)), axis=0)
    means = stretches.mean(axis=-1)
    quietest: _Floats = means[means.sum(axis=1).argmin()]
    return quietest


def _last(above: npt.NDArray[np.intp], place: float) -> int | None:
    """The last loud frame before the place, or after it with no gap in between."""
    if not len(above):
        return None
    sure = above[above <= place - DOUBT_S * RATE / _HOP]
    last = int(sure[-1] if len(sure) else above[0])
    for frame in above[above > last]:
        if frame - last > GAP_S * RATE / _HOP:
            break
        last = int(frame)
    return last


def _levels(power: _Floats, floor: _Floats, last: int) -> tuple[float, float]:
    """Of the voice up to frame `last` and of the noise (dBFS); 0 dBFS is a square wave."""
    heard = power[: last + 1].sum(axis=1)
    # Not `np.percentile`, which imports `numpy.ma` when it is first used: 9 ms that somebody waits.
    loudest = np.sort(heard)[round(0.95 * (len(heard) - 1))] if len(heard) else 0.0
    active = heard[heard >= loudest * 10 ** (-ACTIVE_DB / 10)]
    noise = max(float(floor.sum()), QUANTISATION)
    level = max(float(active.mean()) - noise, QUANTISATION) if len(active) else QUANTISATION
    return 10 * float(np.log10(level)), 10 * float(np.log10(noise))
