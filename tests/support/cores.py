"""The cores of the protocols, each with a server's and a driver's side to it, in made-up time."""

from __future__ import annotations

import itertools
import json
from typing import Any

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.events import Event, ReplyDone, ReplyInterrupted
from pipeline.speech_to_speech.gemini import GeminiCore
from pipeline.speech_to_speech.openai_live import LiveCore
from pipeline.speech_to_speech.openai_realtime import RealtimeCore
from support.dialects import RATE, Gemini, Live, Message, Realtime


class Stage:
    """A conversation with a core.

    Attributes:
        say: Makes the server's messages.
        events: All that was told.
        sent: All that the server was sent.
        marks: When what happened first, by turn and name (ns).
    """

    def __init__(self, core: Any, say: Any) -> None:
        self.core = core
        self.say = say
        self.now = 0
        self.events: list[Event] = []
        self.sent: list[Message] = []
        self.marks: dict[tuple[int, str], int] = {}

    def tell(self, *parts: list[Message]) -> list[Event]:
        """The server sends something; gives what is told then."""
        told = len(self.events)
        for message in itertools.chain(*parts):
            self.now += NS_PER_MS
            self.feed(message)
            self.collect()
        return self.events[told:]

    def server(self, kind: str, **fields: Any) -> list[Event]:
        """The same, for one message of a protocol whose messages have a type."""
        return self.tell([{"type": kind, **fields}])

    def feed(self, message: Message) -> None:
        self.core.receive(message)

    def began(self) -> list[Event]:
        """The user begins to speak."""
        return self.tell(self.say.began())

    def ended(self) -> list[Event]:
        """The user's turn is over."""
        return self.tell(self.say.ended())

    def user(self, words: str = "Hello?") -> None:
        """The user says something."""
        self.began()
        self.tell(self.say.understood(words))
        self.ended()

    def reply(self, words: str = "Hi there.", seconds: float = 1.0) -> None:
        """The model answers, and is done."""
        self.tell(self.say.says(words, seconds), self.say.completed())

    def heard(self, reply: str, seconds: float) -> None:
        """So much of a reply has been played."""
        if cut := self.core.ledger.played(reply, round(seconds * RATE)):
            self.core.cut(cut)
        self.collect()

    def listen(self) -> None:
        """All that was said is heard to its end."""
        for reply in self.core.ledger.replies:
            self.heard(reply.id, 1e6)

    def result(self, call_id: str = "c1", output: str = "4") -> list[Event]:
        """A tool has answered."""
        self.core.result(call_id, output)
        return self.collect()

    def lost(self, *, fatal: bool = False) -> list[Event]:
        """The connection is gone."""
        self.core.lost("gone", fatal=fatal)
        return self.collect()

    def resumed(self) -> None:
        """There is another connection."""

    def tick(self, seconds: float) -> list[Event]:
        """Time goes by."""
        self.now += round(seconds * NS_PER_S)
        self.core.tick()
        return self.collect()

    def collect(self) -> list[Event]:
        """What is told and sent since."""
        for parcel in self.core.take():
            json.dumps(parcel.message)
            self.sent.append(parcel.message)
        events = self.core.ledger.take()
        for event in events:
            if isinstance(event, ReplyInterrupted):
                self.core.ledger.noticed(event.id)
        self.events += events
        return events

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    def done(self) -> list[tuple[int, str, str]]:
        """Turns that were over, with which reply, and how."""
        return [(event.turn, event.id, event.status) for event in self.of(ReplyDone)]

    def sent_of(self, kind: str) -> list[Message]:
        """The messages of a type that the server was sent."""
        return [message for message in self.sent if message["type"] == kind]

    def history(self) -> list[tuple[str, str, int]]:
        return [(m.role, m.content, m.turn) for m in self.core.history]

    def _now(self) -> int:
        return self.now

    def _mark(self, turn: int, name: str, t_ns: int) -> None:
        assert (turn, name) not in self.marks
        self.marks[turn, name] = t_ns


class RealtimeStage(Stage):
    def __init__(self, *, manual: bool = False, interrupts: bool = True) -> None:
        core = RealtimeCore(self._mark, self._now, manual=manual, patience_s=60)
        super().__init__(core, Realtime())
        detection = {"type": "server_vad", "interrupt_response": interrupts}
        session = {"audio": {"input": {"turn_detection": None if manual else detection}}}
        self.server("session.updated", session=session)

    def resumed(self) -> None:
        self.say = Realtime()
        self.core.configured = True


class LiveStage(Stage):
    """Our own detector tells of the user; time goes on with the model's sound."""

    def __init__(self, **how: Any) -> None:
        super().__init__(LiveCore(self._mark, self._now, **{"tools": True, **how}), Live())

    def feed(self, message: Message) -> None:
        super().feed(message)
        if message.get("type") == "session.output_audio.delta":
            self.now += 99 * NS_PER_MS
            self.core.tick()

    def began(self) -> list[Event]:
        if not self.core.speaking:
            self.core.user_began(self.now)
        return self.collect()

    def ended(self) -> list[Event]:
        if self.core.speaking:
            self.core.user_stopped()
        return self.collect()

    def _mark(self, turn: int, name: str, t_ns: int) -> None:
        # What was said into the user's speech was not the answer: it is marked again.
        self.marks[turn, name] = t_ns


class GeminiStage(Stage):
    def __init__(self, *, signals: bool = True, **how: Any) -> None:
        core = GeminiCore(self._mark, self._now, **{"blocking": True, **how})
        super().__init__(core, Gemini(signals=signals))

    def content(self, **fields: Any) -> list[Event]:
        """The server tells of the model's turn."""
        return self.tell([{"serverContent": fields}])

    def resumed(self) -> None:
        self.core.resumed()


STAGES: dict[str, type[Stage]] = {
    "realtime": RealtimeStage,
    "openai-live": LiveStage,
    "gemini": GeminiStage,
}
