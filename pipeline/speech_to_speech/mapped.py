"""A session with a system that nobody here knows, by a map of its protocol (`wire_map`).

This side does what a telephone's carrier does: it sends the user's sound in real time, plays what
comes until it is told to clear it, and decides nothing. Most systems tell of no turns, so these are
made here: the user's by our own detector, and a reply is what is heard of the system until it has
been silent for a while, or says that it is done. Sound may come in real time, silence included, or
much faster than it is played: what counts is when it is heard.

What a system remembers, which tools it calls, and when it takes the user's turn to be over cannot
be known; `committed` is the first sign of a reply. A connection that ends is not made again, for
the system would know nothing of what was said.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import logging
import math
import os
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import numpy as np
from pydantic import ValidationError as Invalid
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline import yaml_file
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.engines.servers import is_loopback, split_url
from pipeline.errors import BadInput, StageError
from pipeline.events import ReplyStatus, Samples
from pipeline.speech_to_speech import keys, wire_map
from pipeline.speech_to_speech.brief import Brief, Facts, SystemSpec, given
from pipeline.speech_to_speech.connection import ApiSession
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.ledger import (
    ODD_KINDS,
    Now,
    Parcel,
    ReplyEntry,
    TakeMark,
)
from pipeline.speech_to_speech.turnless import OWED_MS, SoundGate, TurnlessCore
from pipeline.speech_to_speech.wire import WireErrors, sound_in
from pipeline.speech_to_speech.wire_map import Answer, WireMap, filled
from pipeline.trace import Trace

OPTIONS = {"rate": range(8_000, 48_001)}
"""What the command line can say beside the URL: the rate of the sound, both ways (Hz)."""

SCHEMES = ("ws", "wss")

CONNECT_S = 10.0
"""For the connection, the secure one, and the handshake together."""

CLOSE_S = 0.4
"""For the last messages and the closing handshake."""

MOST_BYTES = 16 * 1024 * 1024
"""The longest message that is taken: minutes of sound in base64."""

PAUSE_MS = 1500.0
"""Silence, once all that came was heard, after which a reply is over: longer than a system needs
that makes the next sentence while the last one is played."""

APART_MS = 400.0
"""Sound that comes after so much silence, and after the user has begun to speak, is the answer to
that, and not the rest of what was said before."""

DOUBT_S = 10.0
"""When the user has waited in vain for so long, and no sound has ever come, the map is in doubt."""

GREETING_S = 30.0
"""The longest greeting that is waited for."""

MOST_ANSWERS = 10_000
"""So many answers wait for what came before them to be heard, as for 200 s in pieces of 20 ms;
where more do, the first are given at once."""

KINDS_SHOWN = 12
"""Of the kinds of messages that came, the most frequent are told."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be made of a template, with values for its places."""

    template: wire_map.Template
    values: Mapping[str, Any]


class MappedCore(TurnlessCore):
    """Turns for a system of which a map tells where its sound is.

    Args:
        mark: Takes the marks.
        now: Tells the time.
        described: The map.

    Attributes:
        came: What came, counted by kind.
        sounded: Sound came that can be heard.
        greeting: What is said now is heard by nobody: the conversation has not begun.
    """

    def __init__(self, mark: TakeMark, now: Now, described: WireMap) -> None:
        super().__init__(mark, now)
        self.came: Counter[str] = Counter()
        self.sounded = False
        self.greeting = False
        self._map = described
        self._naming = described.naming
        self._encoding = described.received
        self._gate = SoundGate(self._encoding.rate)
        self._half = b""
        self._length = 0
        # Until when all that came will have been played; until when the latest of it that can be
        # heard; and until when what was told of it.
        self._free_ns = 0
        self._voiced_ns = 0
        self._told_ns = 0
        # When the reply is over, if nothing more comes of it.
        self._over_ns = math.inf
        self._answers: deque[tuple[int, Outgoing]] = deque()
        self._waits_ns: int | None = None

    def receive(self, message: str | bytes) -> None:
        """Take a message of the system's, whatever that is."""
        if isinstance(message, bytes):
            self._count("binary messages")
            if self._map.receive.audio is None:
                self._sound(message)
            return
        try:
            data = json.loads(message)
        except (ValueError, RecursionError):
            self._count("text that is no JSON")
            return
        self._count(wire_map.kind_of(data, self._naming))
        seen = self._map.receive
        if seen.clear is not None and seen.clear.fits(data):
            self._clear()
        if seen.transcript is not None and (said := seen.transcript.find(data)):
            before = self._turn.said
            self._understood(before + said if seen.transcript.delta else f"{before} {said}".strip())
            self._settle()
        if seen.text is not None and (said := seen.text.find(data)):
            self._said(said, delta=seen.text.delta)
        if seen.audio is not None and (found := seen.audio.find(data)) is not None:
            if (sound := sound_in(found)) is None:
                self._count("sound that is no base64")
            else:
                self._sound(sound)
        if seen.done is not None and seen.done.fits(data) and self._reply is not None:
            self._finish("completed")
        if seen.error is not None and (why := seen.error.find(data)) is not None:
            self.ledger.fail(self._turn if self._turn.number else None, shown(why))
        for answer in self._map.answers:
            if answer.fits(data):
                self._answer(answer, data)

    def begin(self) -> None:
        """The greeting is over: from now on what is said is heard."""
        self.greeting = False
        self._gate.close()

    def user_began(self, voiced_ns: int) -> None:
        """The user speaks, since `voiced_ns`."""
        before = self._turn
        self.ledger.finish_transcript(before)
        if self._reply is not None and self.ledger.now_ns >= self._told_ns:
            self._finish("completed")
        if before.number and before.reply is None:
            # A pause in what the user says, or nothing that the system answers.
            self.ledger.close(before, "skipped")
        self._begin_turn(voiced_ns)

    def user_stopped(self) -> None:
        """The user's turn is over."""
        self.ledger.commit(self._turn, marked=False)
        self._settle()
        if self._waits_ns is None:
            self._waits_ns = self.ledger.now_ns

    def tick(self) -> None:
        """Time goes by: end what only silence can end, and answer what was played."""
        now_ns = self.ledger.now_ns
        self._answer_due()
        if self._reply is not None and now_ns >= self._over_ns:
            self._finish("completed")
        waits_ns = self._waits_ns
        if not self.sounded and waits_ns and now_ns - waits_ns >= DOUBT_S * NS_PER_S:
            self._waits_ns = 0
            log.warning("%s", self.complaint)

    @property
    def complaint(self) -> str:
        """What to say of a conversation in which the user was never answered; empty: it was."""
        if self.sounded or self._waits_ns is None:
            return ""
        return f"no sound came that the map {self._map.name} finds; {self.what_came}"

    @property
    def what_came(self) -> str:
        """Which messages came, and how many, for a person."""
        kinds = self.came.most_common(KINDS_SHOWN)
        came = ", ".join(f"{kind} ({count})" for kind, count in kinds) or "nothing at all"
        return f"what came: {came}{', …' if len(self.came) > KINDS_SHOWN else ''}"

    @property
    def greeted(self) -> bool:
        """Whether a greeting has come, and is over."""
        return self.sounded and self.ledger.now_ns - self._voiced_ns >= PAUSE_MS * NS_PER_MS

    def result(self, call_id: str, output: str) -> None:
        """There are no calls.

        Raises:
            CascadeError: Always.
        """
        self.ledger.take_result(call_id, output)

    def lost(self, why: str, *, fatal: bool) -> None:
        """The connection is gone: what was under way has failed."""
        turn = self.ledger.last
        self.ledger.fail(turn if turn is not None and not turn.done else None, why, fatal=fatal)
        if self._reply is not None:
            self._finish("failed")

    def _count(self, kind: str) -> None:
        kind = kind if kind in self.came else shown(kind)
        self.came[kind if kind in self.came or len(self.came) < ODD_KINDS else "others"] += 1

    def _sound(self, data: bytes) -> None:
        """Sound came: it is played after what came before it."""
        data = self._half + data
        self._half = data[len(data) // self._encoding.width * self._encoding.width :]
        samples, rate, now_ns = self._encoding.decode(data), self._encoding.rate, self.ledger.now_ns
        waited_ns, self._came_ns = now_ns - self._came_ns, now_ns
        begin, begin_ns = self._length, max(now_ns, self._free_ns)
        self._length += len(samples)
        self._free_ns = begin_ns + len(samples) * NS_PER_S // rate
        for stretch in self._gate.push(samples, PAUSE_MS):
            if not len(stretch.samples):
                continue
            at_ns = begin_ns + (stretch.start - begin) * NS_PER_S // rate
            silent_ns = at_ns - self._voiced_ns
            if self._turn.committed:  # until then it may be the rest that was still to be sent
                silent_ns = max(silent_ns, waited_ns)
            sounded = self._gate.sounded - begin
            self.sounded = True
            self._voiced_ns = max(self._voiced_ns, begin_ns + sounded * NS_PER_S // rate)
            if self.greeting:
                continue
            reply = self._take_floor(silent_ns)
            # The silence that was left out before it is heard as well, what is left of it.
            from_ns = max(now_ns, self._told_ns)
            gap = np.zeros(max(0, at_ns - from_ns) * rate // NS_PER_S, np.int16)
            silent = stretch.start + len(stretch.samples) - self._gate.sounded
            self.ledger.sound(reply, reply.part(""), gap, rate, len(gap))
            self.ledger.sound(reply, reply.part(""), stretch.samples, rate, silent)
            self._told_ns = from_ns + (len(gap) + len(stretch.samples)) * NS_PER_S // rate
            self._expect(self._voiced_ns + round(PAUSE_MS * NS_PER_MS))
        self._settle()

    def _take_floor(self, silent_ns: int = 0) -> ReplyEntry:
        """A sign of a reply after so much silence: it is under way, or begins."""
        reply = self._reply
        earlier = reply is not None and reply.turn is not self._turn
        if earlier and silent_ns >= APART_MS * NS_PER_MS:
            self._end_reply("completed")
        return super()._take_floor()

    def _expect(self, over_ns: int) -> None:
        """The reply is over by then, unless the system says itself when it is."""
        if self._map.receive.done is None:
            self._over_ns = over_ns

    def _finish(self, status: ReplyStatus) -> None:
        """The reply is over; what the stream has besides is silence, until there is sound again."""
        self._gate.close()
        self._end_reply(status)

    def _end_reply(self, status: ReplyStatus) -> None:
        self._over_ns = math.inf
        super()._end_reply(status)

    def _clear(self) -> None:
        """Nothing of what came is to be played any more."""
        for reply in self.ledger.replies:
            if reply.playing and not reply.interrupted:
                self.ledger.interrupt(reply)
        self._gate.close()
        if self._reply is not None:
            self._end_reply("completed")
        now_ns = self.ledger.now_ns
        self._free_ns, self._told_ns = min(self._free_ns, now_ns), min(self._told_ns, now_ns)
        self._voiced_ns = min(self._voiced_ns, now_ns)
        self._answers = deque((now_ns, message) for _, message in self._answers)

    def _settle(self) -> None:
        """Once the answer is heard, what it answers is known; where that comes whole."""
        turn, seen = self._turn, self._map.receive.transcript
        if turn.committed and turn.reply is not None and not (seen is not None and seen.delta):
            self.ledger.finish_transcript(turn)

    def _said(self, said: str, *, delta: bool) -> None:
        """The system tells what it says, or more of that; before its sound, or after."""
        if self.greeting:
            return
        reply = self._reply or self._late()
        if reply is None or (reply is not self._reply and reply.turn is not self._turn):
            reply = self._take_floor()
            self._expect(self.ledger.now_ns + round(OWED_MS * NS_PER_MS))
        part = reply.part("")
        self.ledger.text(reply, part, said if delta or not part.text else f" {said}")

    def _answer(self, answer: Answer, message: Any) -> None:
        prefix = wire_map.MESSAGE
        values = {
            name: wire_map.value_at(message, name.removeprefix(prefix))
            for name in wire_map.places(answer.send)
            if name.startswith(prefix)
        }
        if answer.played:
            self._answers.append((self._free_ns, Outgoing(answer.send, values)))
            self._answer_due()
        else:
            self._out.append(Parcel(Outgoing(answer.send, values)))

    def _answer_due(self) -> None:
        answers, now_ns = self._answers, self.ledger.now_ns
        while answers and (answers[0][0] <= now_ns or len(answers) > MOST_ANSWERS):
            self._out.append(Parcel(answers.popleft()[1]))


class MappedSession(ApiSession[ClientConnection]):
    """A `SpeechToSpeech` session with a system that a map describes."""

    def __init__(
        self,
        spec: SystemSpec,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        environ: Mapping[str, str] = os.environ,
        connect_s: float = CONNECT_S,
        greeting_s: float = GREETING_S,
        **more: Any,
    ) -> None:
        """Prepare a session; nothing is connected.

        Args:
            spec: `map`, with the options in `OPTIONS`.
            brief: What the conversation is about.
            trace: Takes the marks.
            clock: The one clock.
            environ: Where the variables are that the map names.
            connect_s: See `CONNECT_S`.
            greeting_s: See `GREETING_S`.
            more: See `ApiSession`.

        Raises:
            BadInput: The map, the URL or an option cannot be, or a variable is not set.
        """
        described, url = map_of(spec, environ)
        self._map = described
        self._url = wire_map.with_query(url, _with_variables(described.query, environ))
        self._headers = _with_variables(described.headers, environ)
        self._connect_s = connect_s
        self._greeting_s = greeting_s
        self._encoding = described.sent
        self._chunk = described.chunk_ms * self._encoding.rate // 1000
        self._waiting: Samples = np.zeros(0, np.int16)
        self._chunks = itertools.count(1)
        self._numbers = itertools.count(1)
        self._fixed = {
            "call": uuid.uuid4().hex,
            "instructions": brief.instructions,
            "language": brief.language,
        }
        self._mapped = MappedCore(trace.mark, clock.now_ns, described)
        parts = urlsplit(url)
        self._loopback = is_loopback(parts.hostname or "")
        host = parts.netloc.rpartition("@")[2]
        settings = ", ".join(described.variables) or "the headers in the map"
        errors = WireErrors(host, described.name, settings, "WebSocket there")
        super().__init__(self._mapped, errors, clock, rate=self._encoding.rate, **more)

    async def __aenter__(self) -> Self:
        """Connect, and hear the greeting, if the map says that there is one.

        Raises:
            StageError: The system cannot be had, or does not greet; the message says why.
        """
        self._mapped.greeting = self._map.greets
        await super().__aenter__()
        if self._map.greets:
            try:
                await self._hear_greeting()
            except BaseException as error:
                await self.__aexit__(type(error), error, error.__traceback__)
                raise
        return self

    @property
    def history(self) -> None:
        """Nobody can tell what the system remembers."""
        return

    @property
    def unheard(self) -> str:
        """Why nothing was heard though the user has spoken; empty: something was."""
        return f"{self._errors.host}: {why}" if (why := self._mapped.complaint) else ""

    async def _hear_greeting(self) -> None:
        """Be silent until the system has greeted."""
        silence = np.zeros(self._chunk, np.int16)
        chunk_s = self._map.chunk_ms / 1000
        began_ns = self._clock.now_ns()
        for number in itertools.count(1):
            waited_ns = self._clock.now_ns() - began_ns
            if self._mapped.greeted or self._over or waited_ns >= self._greeting_s * NS_PER_S:
                break
            self._outbox.put(Parcel(self._pack(silence), chunk_s))
            await asyncio.sleep(number * chunk_s - waited_ns / NS_PER_S)
        self._mapped.begin()
        if not self._mapped.sounded and not self._over:
            why = f"it does not greet, as the map {self._map.name} says it does"
            why = f"{self._errors.host}: {why}; {self._mapped.what_came}"
            raise StageError("direct", why, fatal=True)

    def _pieces(self, samples: Samples) -> Iterator[Samples]:
        self._waiting = np.concatenate([self._waiting, samples])
        end = len(self._waiting) // self._chunk * self._chunk
        whole, self._waiting = self._waiting[:end], self._waiting[end:]
        yield from whole.reshape(-1, self._chunk)

    def _pack(self, samples: Samples) -> Outgoing | bytes:
        sound = self._encoding.encode(samples)
        if (template := self._map.send.audio) is None:
            return sound
        chunk = next(self._chunks)
        at_ms = (chunk - 1) * self._map.chunk_ms
        values = {"audio": base64.b64encode(sound).decode(), "chunk": str(chunk), "ms": str(at_ms)}
        return Outgoing(template, values)

    async def _connect(self) -> ClientConnection:
        connection: ClientConnection | None = None
        wanted: Any = {"subprotocols": [self._map.subprotocol]} if self._map.subprotocol else {}
        if self._loopback:
            wanted["proxy"] = None  # no proxy can reach this machine
        try:
            async with asyncio.timeout(self._connect_s):
                connection = await connect(
                    self._url,
                    additional_headers=self._headers,
                    open_timeout=None,
                    close_timeout=CLOSE_S,
                    max_size=MOST_BYTES,
                    logger=keys.QUIET,
                    **wanted,
                )
                for template in self._map.send.start:
                    await self._deliver(connection, Parcel(Outgoing(template, {})))
        except BaseException as error:
            if connection is not None:
                await self._shut(connection)
            if isinstance(error, Exception):
                raise self._errors.unreachable(error, self._connect_s) from None
            raise
        return connection

    async def _deliver(self, connection: ClientConnection, parcel: Parcel) -> None:
        message = parcel.message
        if isinstance(message, Outgoing):
            value = partial(self._value, message.values)
            message = json.dumps(filled(message.template, value), ensure_ascii=False)
        await connection.send(message)

    def _value(self, values: Mapping[str, Any], name: str) -> Any:
        if name == "sequence":
            return str(next(self._numbers))
        return values[name] if name in values else self._fixed[name]

    async def _read(self, connection: ClientConnection) -> str | bytes:
        return await connection.recv()

    async def _listen(self, connection: ClientConnection) -> NoReturn:
        try:
            while True:
                self._mapped.receive(await self._read(connection))
                await self._took()
        except ConnectionClosed as error:
            closed = self._errors.closed(error)
            closed.fatal = True
            raise closed from None

    async def _leave(self, connection: ClientConnection) -> None:
        """Say what the map says at the end."""
        with contextlib.suppress(TimeoutError, ConnectionClosed, OSError):
            async with asyncio.timeout(CLOSE_S):
                for template in self._map.send.end:
                    await self._deliver(connection, Parcel(Outgoing(template, {})))

    async def _shut(self, connection: ClientConnection) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.5 * CLOSE_S):
                await connection.close()
        connection.transport.abort()

    async def _release(self) -> None:
        """Nothing is kept beside the connection."""

    def _found(self, connection: ClientConnection, connect_ms: float) -> Facts:
        return Facts(self._map.name, self._errors.host, connect_ms, calls=False)


def map_of(spec: SystemSpec, environ: Mapping[str, str] = os.environ) -> tuple[WireMap, str]:
    """The map of a system, and its URL.

    Raises:
        BadInput: One of them cannot be, or a variable that the map names is not set.
    """
    described = wire_map.load(spec.model)
    if rate := given(spec, OPTIONS).get("rate"):
        received = replace(described.receive, rate=None)
        try:
            described = replace(described, rate=int(rate), receive=received)
        except Invalid as error:
            raise BadInput(f"{spec.name}: {yaml_file.complaint(error)}") from None
    url = spec.url or described.url
    if not url:
        raise BadInput(f"{spec.name}: where is it? Write map:{spec.model},url=ws://HOST:PORT/…")
    if split_url(url, SCHEMES) is None:
        raise BadInput(f"{spec.name}: not a usable URL; write it as ws://HOST:PORT/…")
    for name in described.variables:
        if not keys.key(environ, name):
            raise BadInput(f"{spec.name}: the map {described.name} needs {name}; set it")
    return described, url


def _with_variables(texts: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {name: wire_map.with_variables(text, environ) for name, text in texts.items()}
