"""Voice activity: how likely each 32 ms of the microphone holds speech.

Two detectors in a row. webrtcvad is the gate: it takes microseconds, and as long as it hears
nothing the other one sleeps. Silero v6 (the ONNX file inside faster-whisper) is the judge: it tells
speech from noise, and its probability is the verdict.
"""

from __future__ import annotations

import copy
import math
from collections import deque
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import webrtcvad

from pipeline.engines.worker import onnx_session
from pipeline.errors import StageError, first_line
from pipeline.events import Samples

RATE = 16_000
"""The only sample rate (Hz) this module takes."""

WINDOW = 512
"""Samples per verdict: the window that Silero was trained on at 16 kHz."""

GATE_MODE = 1
"""How aggressive webrtcvad is as the gate; above 1 it stays shut on quiet speech."""

GATE_HOLD_MS = 600
"""The gate stays open this long (ms) after its last voice."""

_CONTEXT = 64  # samples from before the window that Silero wants in front of it
# Windows that Silero hears again when the gate opens, for its state to settle. At ordinary
# levels 4 are as good as 8; of speech at -50 dBFS, 8 halve the difference that is left.
_REPLAY = 8
_FRAME_BYTES = 320  # 10 ms, the shortest that webrtcvad takes: three or four end in each window
_MODEL = "silero_vad_v6.onnx"
# Voices in whole recordings reach -10 dB; what is louder clips, and tells no level: whoever shouted
# once, or turned the microphone down, is heard again in an ordinary voice.
_LOUDEST_DB = -12.0


@dataclass(frozen=True, slots=True)
class Voice:
    """One window's verdict.

    Attributes:
        probability: That the window holds speech, 0 to 1.
        start: Sample offset (16 kHz) of the window's first sample since the last `reset`.
        end: One past its last; windows are 512 samples (32 ms) and follow each other.
        level_db: Its level: RMS (dB re full scale), at most -12: louder sound clips. 0: as loud as
            any, where nobody measures it.
    """

    probability: float
    start: int
    end: int
    level_db: float = 0.0


class VoiceDetector:
    """Judges a stream of audio, window by window.

    A window is judged as soon as its last sample is there, so the verdict depends on the audio
    alone and not on how it was cut into pieces. A window costs 0.02 ms while the gate is closed,
    0.15 ms while it is open, and 1 ms when it opens: call it from the event loop. Not thread-safe.

    Thresholds on the probability are the caller's business.

    Raises:
        StageError: Silero's model is missing or cannot be loaded.
    """

    def __init__(self) -> None:
        self._silero = _Silero()
        self.reset()

    @classmethod
    def ready(cls) -> Self:
        """A judge of voice that has run once (`warm`); that takes too long for an event loop.

        Raises:
            StageError: As above.
        """
        made = cls()
        made.warm()
        return made

    def another(self) -> Self:
        """A judge of another stream, by the same copy of the model, which takes 2 MB."""
        other = copy.copy(self)
        other._silero = copy.copy(self._silero)
        other.reset()
        return other

    def reset(self) -> None:
        """Forget everything heard; the next sample is number 0."""
        self._gate = _Gate()
        self._pending: Samples = np.zeros(0, np.int16)
        # The last windows: those that are heard again, and what comes before them.
        self._recent = deque([np.zeros(WINDOW, np.int16)] * (_REPLAY + 2), _REPLAY + 2)
        self._position = 0
        self._open_until = 0
        self._open = False

    def warm(self) -> None:
        """Run Silero once, so that the first window is as fast as the others."""
        # With the gate closed its state is free: it is reset when the gate opens.
        if not self._open:
            self._silero.probability(np.zeros(_CONTEXT + WINDOW, np.float32))

    def push(self, samples: Samples) -> list[Voice]:
        """Take more audio; return the verdicts on the windows it completes.

        Args:
            samples: int16, mono, 16 kHz, shape (n,), n ≥ 0. What does not fill a window is kept.

        Raises:
            ValueError: `samples` is not int16, or not one-dimensional.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(
                f"samples are {samples.dtype} of shape {samples.shape}, not int16 of shape (n,)"
            )
        pending = np.concatenate((self._pending, samples)) if len(self._pending) else samples
        whole = len(pending) - len(pending) % WINDOW
        self._pending = pending[whole:].copy()
        return [self._verdict(pending[i : i + WINDOW]) for i in range(0, whole, WINDOW)]

    def _verdict(self, window: Samples) -> Voice:
        start, end = self._position, self._position + WINDOW
        self._position = end
        self._recent.append(window)
        if self._gate.voiced(window):
            self._open_until = end + GATE_HOLD_MS * RATE // 1000
        was_open, self._open = self._open, end <= self._open_until
        heard = 0.0
        if self._open:
            if not was_open:
                self._rouse()
            heard = self._hear(self._recent[-2], window)
        return Voice(heard, start, end, _level_db(window))

    def _rouse(self) -> None:
        """Let Silero hear what was heard last, but the newest, as if it had never slept."""
        self._silero.reset()
        before, *windows, _ = self._recent
        for window in windows:
            self._hear(before, window)
            before = window

    def _hear(self, before: Samples, window: Samples) -> float:
        audio = np.concatenate((before[-_CONTEXT:], window)).astype(np.float32)
        return self._silero.probability(audio / np.float32(32768))


def _level_db(window: Samples) -> float:
    """RMS (dB re full scale), of silence -100: one step of 16 bits is -90."""
    audio = window.astype(np.float32)
    power = float(audio @ audio) / (len(audio) * 32768**2)
    return min(_LOUDEST_DB, 10 * math.log10(power + 1e-10))


class _Gate:
    """webrtcvad over windows that its 10 ms frames do not divide."""

    def __init__(self) -> None:
        self._vad = webrtcvad.Vad(GATE_MODE)
        self._rest = b""

    def voiced(self, window: Samples) -> bool:
        """Whether any of the frames that end in this window is voice."""
        data = self._rest + window.tobytes()
        whole = len(data) - len(data) % _FRAME_BYTES
        self._rest = data[whole:]
        voiced = False
        for i in range(0, whole, _FRAME_BYTES):  # it learns from each
            voiced |= self._vad.is_speech(data[i : i + _FRAME_BYTES], RATE)
        return voiced


class _Silero:
    """Silero v6, one window after the other. A copy goes on by itself in the same session."""

    def __init__(self) -> None:
        self._session = _session()
        self.reset()

    def reset(self) -> None:
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)

    def probability(self, audio: npt.NDArray[np.float32]) -> float:
        """Probability of speech in `audio`: 64 samples of context and 512 of the window, ±1."""
        speech, self._h, self._c = self._session.run(
            None, {"input": audio[np.newaxis], "h": self._h, "c": self._c}
        )
        return float(speech[0])


def _session() -> Any:
    """An onnxruntime session on Silero."""
    # Found, not imported: faster_whisper takes 0.3 s to import and only its data is needed.
    package = find_spec("faster_whisper")
    assert package is not None and package.origin is not None, "Cascade depends on it"
    path = Path(package.origin).parent / "assets" / _MODEL
    try:
        return onnx_session(path)
    except Exception as error:
        raise StageError(
            "vad",
            f"{path}: cannot be loaded: {first_line(error)}\nReinstall faster-whisper",
            fatal=True,
        ) from error
