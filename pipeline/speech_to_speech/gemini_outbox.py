"""What is on its way to a Gemini Live server, and what may have to be sent again. Pure.

While there is no connection the user's sound waits here. What was sent, and not answered yet, is
kept as well: a server that goes away takes it along, for the state that a session is resumed from
is older.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from pipeline.audio.audible import is_audible
from pipeline.errors import StageError

BYTES_PER_S = 32_000
"""16 kHz, 16 bits."""

WAITING_S = 30.0
"""So much sound may wait to be sent; more means that the server takes none."""

KEPT_S = 30.0
"""Of an utterance that is not answered, so much is kept."""

IDLE_S = 5.0
"""The same while nobody is known to speak: the server may be the last to notice."""

LEAD_S = 1.0
"""So much before the first audible sound is sent again with it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Something to be sent.

    Attributes:
        kind: Sound; the user's turn begins, or is over, by our word; a tool's result.
        sound: 16-bit samples as bytes.
        result: Of a tool: `id`, `name`, `response`, `scheduling`.
    """

    kind: Literal["sound", "start", "end", "result"]
    sound: bytes = b""
    result: Mapping[str, Any] | None = None

    @classmethod
    def of_tool(cls, call_id: str, name: str, output: str, scheduling: str) -> Self:
        """A tool's result: an object as it is, anything else as its `output`."""
        response: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            response = json.loads(output)
        if not isinstance(response, dict):
            response = {"output": output}
        result = {"id": call_id, "name": name, "response": response}
        if scheduling:
            result["scheduling"] = scheduling.upper()
        return cls("result", result=result)

    @property
    def seconds(self) -> float:
        """Length of the sound (s)."""
        return len(self.sound) / BYTES_PER_S

    @property
    def silent(self) -> bool:
        """Whether it is sound that nobody can hear."""
        return self.kind == "sound" and not is_audible(np.frombuffer(self.sound, np.int16))


class Outbox:
    """A queue that remembers what left it. The first parcel leaves when it has been sent whole."""

    def __init__(self) -> None:
        self._waiting: deque[Parcel] = deque()
        self._waiting_s = 0.0
        self._sent: deque[Parcel] = deque()
        self._sent_s = 0.0

    @property
    def first(self) -> Parcel | None:
        """What is to be sent next."""
        return self._waiting[0] if self._waiting else None

    def put(self, parcel: Parcel) -> None:
        """Add something to be sent.

        Raises:
            StageError: Too much waits already.
        """
        if self._waiting_s > WAITING_S:
            raise StageError(
                "direct", f"the server has taken no sound for {WAITING_S:g} s", fatal=True
            )
        self._waiting.append(parcel)
        self._waiting_s += parcel.seconds

    def sent(self, *, open_turn: bool) -> None:
        """The first parcel was sent.

        Args:
            open_turn: The user has said something that is not answered: keep all of it.
        """
        parcel = self._waiting.popleft()
        self._waiting_s -= parcel.seconds
        if parcel.kind == "result":
            return
        self._sent.append(parcel)
        self._sent_s += parcel.seconds
        most = KEPT_S if open_turn else IDLE_S
        while self._sent_s > most:
            self._sent_s -= self._sent.popleft().seconds

    def answered(self) -> None:
        """What was sent has reached its goal."""
        self._sent.clear()
        self._sent_s = 0.0

    def again(self, *, broken: bool) -> None:
        """Send again what was not answered, but not the silence before it; then all else.

        Args:
            broken: The connection was lost, and with it the calls whose results still wait.
        """
        if broken:
            self._waiting = deque(parcel for parcel in self._waiting if parcel.kind != "result")
        again = list(self._sent)
        self.answered()
        first = next((i for i, parcel in enumerate(again) if not parcel.silent), len(again))
        lead = 0.0
        while first > 0 and lead < LEAD_S:
            first -= 1
            lead += again[first].seconds
        self._waiting.extendleft(reversed(again[first:]))
        self._waiting_s += sum(parcel.seconds for parcel in again[first:])
