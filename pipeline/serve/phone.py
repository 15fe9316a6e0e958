"""A telephone call as a client of the Realtime protocol: Twilio's Media Streams.

A telephone number is answered with `<Connect><Stream url="wss://…/v1/phone">`; Twilio then opens a
WebSocket for the call, and sends and takes sound as telephones have it (G.711 mu-law, 8 kHz), with
marks that come back once what was sent before them was played. `Call` is what the session's client
is here: it says what a client would say, and what is heard of a reply is known to a fifth of a
second. Messages: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import base64
import collections
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.clock import NS_PER_S
from pipeline.errors import one_line
from pipeline.serve.link import Link
from pipeline.serve.refused import RequestRefused
from pipeline.serve.session_object import JsonObject

PATH = "/v1/phone"

START_S = 5.0
"""So long a caller may take to say who it is (s): Twilio does so at once."""

LARGEST = 64 * 1024
"""Bytes of a message, of anybody's before it is known who calls; Twilio's have less than one."""

KEY, PROMPT = _OURS = "token", "prompt"
"""Parameters of the stream: what lets it in, and the prompt (`ID`, or `ID@VERSION`). Others are its
variables."""

RATE = 8000
"""Bytes of G.711 in a second."""

PIECE_S = 0.2
"""Sound between two marks (s)."""

DIALLED_S = 2.0
"""Keys that are pressed within so long of each other (s) are one number; `#` ends it."""

MOST_KEYS = 64
"""Keys of one number, at most."""

MOST_REASON = 123
"""Bytes of the reason with which a WebSocket is closed, at most (RFC 6455)."""

NO_FUNCTIONS = "Error: nothing runs functions in a telephone call; tools of an MCP server are run."
"""What the model is told that calls a function that was on offer to a client."""

_PCMU: JsonObject = {"format": {"type": "audio/pcmu"}}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, as the message `start` has it.

    Attributes:
        stream: The stream's id.
        parameters: What the TwiML gave the stream, by name.
    """

    stream: str
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def key(self) -> str:
        """The server's token, or an ephemeral key; empty: there is none."""
        return self.parameters.get(KEY, "")


async def caller(messages: AsyncIterator[tuple[int, str | bytes]]) -> Caller:
    """Who calls: waits for the message that says so.

    Raises:
        RequestRefused: Something else comes.
    """
    async for _, message in messages:
        match _object(message):
            case {"event": "connected"}:
                continue
            case {"event": "start", "start": {"streamSid": str(stream), **rest}}:
                match rest.get("customParameters"):
                    case dict(given):
                        return Caller(stream, {name: str(value) for name, value in given.items()})
                return Caller(stream)
        break
    raise RequestRefused("invalid_event", "This is for streams of Twilio's: no start came.")


class Call:
    """What a client does, for a telephone that does nothing of that. Pure.

    Args:
        caller: Says which stream it is, and with which prompt.
        say: Takes the client's events for the server, in their order.
        send: Takes messages for Twilio.
    """

    def __init__(
        self, caller: Caller, say: Callable[[JsonObject], None], send: Callable[[JsonObject], None]
    ) -> None:
        self._say = say
        self._stream = caller.stream
        self._send = send
        # What was sent and is yet to be heard: the item, and where in it that begins (bytes).
        self._unheard: collections.deque[tuple[str, int]] = collections.deque()
        self._sent: dict[str, int] = {}
        self._keys, self._pressed_ns = "", 0
        self._is_set = self._calls = self._has_dialled = False
        self._interrupts = True
        self._answering = 0
        variables = {k: v for k, v in caller.parameters.items() if k not in _OURS}
        session: JsonObject = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": _PCMU, "output": _PCMU},
        }
        if prompt := caller.parameters.get(PROMPT):
            name, _, version = prompt.partition("@")
            session["prompt"] = {"id": name, "variables": variables}
            if version:
                session["prompt"]["version"] = version
        elif variables:
            log.warning("a telephone call: without a prompt %s mean nothing", ", ".join(variables))
        say({"type": "session.update", "session": session})

    def hear(self, message: JsonObject, now_ns: int) -> None:
        """Twilio says something, at that time."""
        match message:
            case {"event": "media", "media": {"payload": str(sound)}}:
                self._say({"type": "input_audio_buffer.append", "audio": sound})
                if self._keys and now_ns - self._pressed_ns > DIALLED_S * NS_PER_S:
                    self._dialled()
            case {"event": "mark", "mark": {"name": str(name)}}:
                self._played(name)
            case {"event": "dtmf", "dtmf": {"digit": str(key)}}:
                self._pressed(key, now_ns)

    def tell(self, event: JsonObject) -> None:
        """The server says something.

        Raises:
            RequestRefused: It cannot hold the call as its parameters want it.
        """
        match event:
            case {"type": "response.output_audio.delta", "item_id": item, "delta": sound}:
                self._speak(item, base64.b64decode(sound))
            case {"type": "input_audio_buffer.speech_started"} if self._interrupts:
                self._hush()
            case {"type": "session.updated", "session": session}:
                self._is_set = True
                detection = session["audio"]["input"]["turn_detection"]
                self._interrupts = bool(detection and detection["interrupt_response"])
            case {"type": "response.created"}:
                self._answering += 1
            case {"type": "response.done", "response": {"status": status}}:
                self._answering -= 1
                # Who spoke over it is answered anyway, and what was called with that.
                if self._has_dialled or (self._calls and status != "cancelled"):
                    self._say({"type": "response.create"})
                self._has_dialled = self._calls = False
            case {"type": "response.output_item.done", "item": {"type": "function_call"} as call}:
                if call["status"] == "completed":
                    self._calls = True
                    self._add("function_call_output", call_id=call["call_id"], output=NO_FUNCTIONS)
            case {
                "type": "conversation.item.done",
                "item": {"type": "mcp_approval_request"} as item,
            }:
                # There is nobody who could read what is asked.
                self._add("mcp_approval_response", approval_request_id=item["id"], approve=False)
            case {"type": "error", "error": error} if not self._is_set:
                raise RequestRefused(error["code"], error["message"], error["param"])
            case {"type": "error", "error": error}:
                log.warning("a telephone call: %s", one_line(error["message"]))

    def _add(self, kind: str, **fields: Any) -> None:
        self._say({"type": "conversation.item.create", "item": {"type": kind, **fields}})

    def _speak(self, item: str, sound: bytes) -> None:
        """Sound of a reply, and marks that tell how much of it is heard."""
        piece = round(PIECE_S * RATE)
        for start in range(0, len(sound), piece):
            part = sound[start : start + piece]
            begins = self._sent.get(item, 0)
            self._sent[item] = begins + len(part)
            self._unheard.append((item, begins))
            self._tell("media", media={"payload": base64.b64encode(part).decode("ascii")})
            self._tell("mark", mark={"name": f"{item}:{begins}"})

    def _played(self, name: str) -> None:
        """A mark came back: what it ends is heard. One of what was cleared means nothing."""
        for count, (item, begins) in enumerate(self._unheard, 1):
            if name == f"{item}:{begins}":
                for _ in range(count):
                    self._unheard.popleft()
                return

    def _hush(self) -> None:
        """Nothing more is to be played, and the server is told what was."""
        if self._unheard:
            self._tell("clear")
        cut: dict[str, int] = {}
        for item, begins in self._unheard:
            cut.setdefault(item, begins * 1000 // RATE)
        self._unheard.clear()
        for item, ms in cut.items():
            where = {"item_id": item, "content_index": 0}
            self._say({"type": "conversation.item.truncate", **where, "audio_end_ms": ms})

    def _pressed(self, key: str, now_ns: int) -> None:
        """A key was pressed: as a word over a reply it ends that."""
        ends = key == "#" and self._keys
        self._keys, self._pressed_ns = self._keys + ("" if ends else key), now_ns
        if ends or len(self._keys) >= MOST_KEYS:
            self._dialled()
        else:
            self._end_reply()

    def _end_reply(self) -> None:
        if self._answering:
            self._say({"type": "response.cancel"})
        self._hush()

    def _dialled(self) -> None:
        """All keys were pressed: that is what the caller says."""
        # Of what was said before, which may be answered by now.
        self._end_reply()
        text, self._keys = f"[keys pressed: {self._keys}]", ""
        self._add("message", role="user", content=[{"type": "input_text", "text": text}])
        self._has_dialled = self._answering > 0
        if not self._has_dialled:
            self._say({"type": "response.create"})

    def _tell(self, event: str, **fields: Any) -> None:
        self._send({"event": event, "streamSid": self._stream, **fields})


class Phone:
    """A call's connection as the session of a Realtime client knows it (`Link`).

    Args:
        connection: To Twilio.
        messages: What arrives on it, after the first.
        caller: Said so in the first.
    """

    def __init__(
        self, connection: Link, messages: AsyncIterator[tuple[int, str | bytes]], caller: Caller
    ) -> None:
        self._connection = connection
        self._messages = messages
        self._said: collections.deque[JsonObject] = collections.deque()
        self._call = Call(
            caller, self._said.append, lambda message: connection.send(json.dumps(message))
        )

    async def messages(self) -> AsyncIterator[tuple[int, str | bytes]]:
        """What a client says for the caller; it ends when the caller hangs up.

        What it says to the server's events waits for the caller's next sound: 20 ms at most.
        """
        for event in self._events():  # that it begins with
            yield 0, event
        async for arrived_ns, message in self._messages:
            said = _object(message)
            if said.get("event") == "stop":
                return
            self._call.hear(said, arrived_ns)
            for event in self._events():
                yield arrived_ns, event

    def _events(self) -> Iterator[str]:
        while self._said:
            yield json.dumps(self._said.popleft())

    def send(self, message: str) -> None:
        """Tell the caller what an event of the server's means to a telephone."""
        try:
            self._call.tell(json.loads(message))
        except RequestRefused as refused:
            log.warning("a telephone call cannot be held: %s", refused)
            hang_up(self._connection, refused)

    def close(self, code: int, reason: str) -> None:
        """Hang up, after what was sent."""
        self._connection.close(code, reason)


def hang_up(connection: Link, refused: RequestRefused) -> None:
    """End a call, and say why."""
    why = refused.message.encode(errors="replace")[:MOST_REASON].decode(errors="ignore")
    connection.close(1008, why)


def _object(message: str | bytes) -> JsonObject:
    """A message that is a JSON object; empty: it is none."""
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
