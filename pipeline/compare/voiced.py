"""When the user's voice was heard: for sessions that do not tell where an utterance ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.config import VadSettings
from pipeline.engines.vad import RATE, WINDOW
from pipeline.events import Frame
from pipeline.trace import Trace
from pipeline.turns.listener import Detector, Hearing

KEPT_S = 120.0
"""How long the voice is remembered: longer than anybody waits for a reply."""


class Voiced:
    """Listens to the microphone for voice, as the cascade does."""

    def __init__(self, detector: Detector, settings: VadSettings) -> None:
        """Judge by `detector`, with the thresholds of `settings`."""
        self._hearing = Hearing(detector, KEPT_S)
        self._settings = settings
        self._voice = False
        self._windows: deque[tuple[int, int]] = deque(maxlen=int(KEPT_S * RATE / WINDOW))

    def push(self, frame: Frame) -> None:
        """Hear the next frame, at any rate."""
        for verdict in self._hearing.push(frame):
            least = self._settings.release if self._voice else self._settings.threshold
            self._voice = verdict.probability >= least
            if self._voice:
                self._windows.append((verdict.start, verdict.end))

    def last_before(self, t_ns: int) -> int | None:
        """When the last voiced sample before `t_ns` was captured (ns); None if none was."""
        for start, end in reversed(self._windows):
            if self._hearing.time_of(start) < t_ns:
                return self._hearing.time_of(self._hearing.last_sound(end))
        return None


class PathTrace(Trace):
    """The marks of one path, which go to the file of all of them.

    A speech-to-speech model does not say when the user fell silent: where its session marks no
    `speech.end`, that is the last voiced sample before it took the turn for over.
    """

    def __init__(
        self,
        file: Trace,
        labels: Mapping[str, Any],
        voiced: Voiced,
        tell: Callable[[Mapping[str, int]], None],
    ) -> None:
        """Take the marks of a path.

        Args:
            file: Of all paths.
            labels: What each line of this one has beside its own fields; may change.
            voiced: Knows when the user spoke.
            tell: Is given a turn's marks once its reply is heard.
        """
        super().__init__()
        self._all = file
        self._labels = labels
        self._voiced = voiced
        self._tell = tell

    def mark(
        self, turn: int, name: str, t_ns: int, *, generation: int | None = None, **more: Any
    ) -> None:
        """Note a mark (see `Trace.mark`)."""
        super().mark(turn, name, t_ns, generation=generation, **more)
        if name != "heard.first":
            return
        marks = self.marks(turn)
        if "speech.end" not in marks and "committed" in marks:
            end_ns = self._voiced.last_before(marks["committed"])
            if end_ns is not None:
                super().mark(turn, "speech.end", end_ns)
        self._tell(self.marks(turn))

    def _write(self, line: Mapping[str, Any]) -> None:
        self._all._write({**line, **self._labels})
