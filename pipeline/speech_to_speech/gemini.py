"""A session with the Gemini Live API, through Google's own client.

The protocol has turns of the model's, but hardly any of the user's: nothing promises a sign that
the user began or stopped. A turn therefore begins with the first of: the server's voice activity, a
piece of what it understood, an interruption, the model's first output. It is committed with the
first of: the end of that activity (or our own `activity_end`), the model's first output. Where only
the latter comes, the wait for the end of the turn and the model's own time cannot be told apart.

Connections of this API last some minutes. When the server says that it will go away, the session
moves to a new connection as soon as nothing is under way, and goes on where it was; sound waits
meanwhile. It does the same when a connection ends: what the user had said and was not answered is
then sent again. Where the server has given no handle to go on with, or takes it no longer, another
session is begun, which is told the history as text.

Google's client connects, and sends. Its own reading takes a message that is new to it for an error,
and the usual end of a connection too; so the messages are read here, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import re
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from websockets.asyncio.client import ClientConnection

from pipeline.audio.audible import is_audible, onset
from pipeline.clock import NS_PER_S, Clock
from pipeline.conversation.history import Message
from pipeline.engines.servers import split_url
from pipeline.errors import BadInput, StageError
from pipeline.events import Frame, Samples, Usage
from pipeline.speech_to_speech import keys
from pipeline.speech_to_speech.brief import Brief, Facts, SystemSpec, given
from pipeline.speech_to_speech.connection import ApiSession, Outbox
from pipeline.speech_to_speech.keys import shown
from pipeline.speech_to_speech.ledger import (
    Now,
    Parcel,
    ProtocolCore,
    ReplyEntry,
    ReplyPart,
    TakeMark,
    TurnEntry,
)
from pipeline.speech_to_speech.wire import (
    WireErrors,
    count,
    error_in,
    listed,
    mapping,
    reason,
    sound_in,
    text_in,
)
from pipeline.trace import Trace

if TYPE_CHECKING:
    from google.genai import types
    from google.genai.live import AsyncSession

MODEL = "gemini-3.8-live"
"""What is asked for unless the command line names another."""

NON_BLOCKING = ("gemini-3.8-live",)
"""Models (by how their names begin) whose tools do not hold up the conversation unless asked to."""

RATE_IN, RATE_OUT = 16_000, 24_000
"""Of the sound that is sent, and of the model's (Hz)."""

PCM = "audio/pcm"
"""What the model's sound is where its type is not told."""

HOST = "generativelanguage.googleapis.com"

URL, CERTIFICATE = "CASCADE_GEMINI_URL", "CASCADE_GEMINI_CERTIFICATE"
"""In the environment: another server, and the certificate that it is to be trusted by."""

READY_S = 15.0
"""From the attempt to connect to a session that is set up."""

GRACE_S = 3.0
"""From the first thing that a server says until it says that the session is set up."""

CLOSE_S = 0.3
"""How long the closing of a connection may take."""

LARGEST = 2**24
"""Of a message (bytes): a reply's sound may come in one."""

MARGIN_S = 1.0
"""A connection that will be closed is left so long before, whatever is under way."""

KEPT_S = 30.0
"""Of an utterance that is not answered, so much is kept to be sent again."""

IDLE_S = 5.0
"""The same while nobody is known to speak: the server may be the last to notice."""

LEAD_S = 1.0
"""So much before the first audible sound is sent again with it."""

OPTIONS: Mapping[str, Sequence[str] | range] = {
    "turns": ("server", "manual"),
    "voice": (),
    "silence_ms": range(1, 10_001),
    "start": ("low", "high"),
    "end": ("low", "high"),
    "behavior": ("blocking", "non_blocking"),
    "scheduling": ("interrupt", "when_idle", "silent"),
    "certificate": (),
}
"""What the command line can say, and the values that are allowed; none listed: any."""

FINE = ("TURN_COMPLETE_REASON_UNSPECIFIED", "NEED_MORE_INPUT")
"""Reasons for the end of the model's turn that say nothing bad."""

BROKEN_OFF = (
    *("BLOCKLIST", "GENERATED_", "IMAGE_", "INPUT_", "MALFORMED_", "MAX_", "OUTPUT_"),
    *("PROHIBITED_", "RESPONSE_REJECTED", "UNSAFE_"),
)
"""How those begin that say that it was broken off. Others, of a reply that was made, are news."""

KNOWN = frozenset(
    {"setupComplete", "serverContent", "toolCall", "toolCallCancellation", "usageMetadata"}
    | {"goAway", "sessionResumptionUpdate", "voiceActivity", "voiceActivityDetectionSignal"}
    | {"error", "code", "message", "status", "details"}
)
"""Fields of the server's messages."""

log = logging.getLogger(__name__)


class GeminiCore(ProtocolCore):
    """The state of a conversation with Gemini.

    Args:
        mark: Takes the marks.
        now: Tells the time.
        blocking: The model waits for the results of its tools, and goes on in the same breath;
            else it finishes what it says, and speaks of a result in another one.
        manual: We say when the user begins and stops; what the server says of it is no news.
        scheduling: When a result is spoken about (see `OPTIONS`); empty: when the model is idle.

    Attributes:
        speaking: Whether the user speaks, as far as anybody has said so.
        generating: The model has begun to answer and has not said that it is done.
        handle: Stands for the session at the server, to go on with; empty: it gave none.
    """

    def __init__(
        self,
        mark: TakeMark,
        now: Now,
        *,
        blocking: bool,
        manual: bool = False,
        scheduling: str = "",
    ) -> None:
        super().__init__(mark, now, RATE_OUT)
        self.speaking = False
        self.generating = False
        self.handle = ""
        self._blocking = blocking
        self._manual = manual
        self._scheduling = scheduling
        self._leave_ns: int | None = None
        self._active: TurnEntry | None = None
        self._rates = {RATE_OUT}
        # Turns of which a result was given that the model has not spoken about yet; of these, the
        # ones that were over by then, in order.
        self._owed: set[TurnEntry] = set()
        self._late: list[TurnEntry] = []
        # What the model says next is a sentence of its own.
        self._parted = False
        # The server tells of voice activity: nothing else need be taken for a sign of it.
        self._signals = False
        # What the user has spoken over may still come, until the server says that it has ended.
        self._stale = False
        # After `interrupted` a `turn_complete` follows that ends nothing new.
        self._ending = False
        # What was not answered is said again to another connection: it is the same turn.
        self._repeated = False
        # A result of ours interrupts the model: that it stops is not the user's doing.
        self._forced = False

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way: nobody speaks, nothing is owed, no tool works."""
        last = self.ledger.last
        busy = self.speaking or self.generating or self._late or self.ledger.open_calls()
        return not busy and (last is None or last.done)

    @property
    def unanswered(self) -> bool:
        """Whether the user has said something that the model has not begun to answer."""
        last = self.ledger.last
        return last is not None and not last.done and last.reply is None

    def receive(self, message: object) -> None:
        """Take a message of the server's: JSON as it was parsed, whatever that is."""
        if not isinstance(message, Mapping):
            self.strange("a message that is no object")
            return
        for name in message.keys() - KNOWN:
            self.strange(str(name))
        update = mapping(message, "sessionResumptionUpdate")
        if update.get("resumable") is True:
            self.handle = text_in(update, "newHandle") or self.handle
        if message.get("goAway") is not None:
            left = text_in(mapping(message, "goAway"), "timeLeft")
            self._leave_ns = self.ledger.now_ns + _duration_ns(left)
        if message.get("voiceActivity") is not None:
            self._activity(text_in(mapping(message, "voiceActivity"), "type"))
        content = mapping(message, "serverContent")
        self._content(content)
        for call in listed(mapping(message, "toolCall"), "functionCalls"):
            self._call(call)
        if ids := listed(mapping(message, "toolCallCancellation"), "ids"):
            self._cancel(ids)
        if used := mapping(message, "usageMetadata"):
            replies = self.ledger.replies
            turn = replies[-1].turn.number if replies else self.ledger.number
            self.ledger.add(usage(used, turn))
        if content.get("turnComplete") is True:
            self._complete(content)
        if "error" in message or "code" in message:
            self.ledger.fail(self.ledger.last, f"the server reports: {reason(error_in(message))}")

    def user_began(self) -> None:
        """The user speaks: a new turn, and the end of what the model was saying."""
        if self.speaking:
            return
        if self._repeated and self.unanswered:
            self._repeated, self.speaking = False, True
            return
        waits = self._blocking and self._active and self.ledger.open_calls(self._active)
        self._stale = self.generating and not waits
        self._cut_short()
        self.generating = self._ending = False
        self.speaking = True
        self.ledger.open(began_ns=self.ledger.now_ns)

    def user_stopped(self) -> None:
        """The user's turn is over."""
        last = self.ledger.last
        if self.speaking and last is not None:
            self.speaking = False
            self.ledger.commit(last)

    def result(self, call_id: str, output: str) -> None:
        """Take a tool's result: an object as it is, anything else as its `output`."""
        if (call := self.ledger.take_result(call_id, output)) is None:
            return
        response: Any = None
        with contextlib.suppress(ValueError, RecursionError):
            response = json.loads(output)
        if not isinstance(response, dict):
            response = {"output": output}
        scheduling = {"scheduling": self._scheduling.upper()} if self._scheduling else {}
        self._say({"id": call_id, "name": call.name, "response": response, **scheduling})
        call.sent = True
        if self._scheduling == "silent":
            self._finish(call.turn)
            return
        self._forced = self._scheduling == "interrupt" and self.generating
        self._owe(call.turn)

    def lost(self, why: str, *, fatal: bool) -> None:
        """The connection is gone.

        Unless for good, what the user has said is said again to the next one, so that only a reply
        that had begun is lost, and the tools that were at work.
        """
        broken = [
            turn
            for turn in self.ledger.turns
            if (turn is self._active and self.generating)
            or turn in self._owed
            or (not _over(turn) and (fatal or self.ledger.open_calls(turn)))
        ]
        if fatal or broken:
            self.ledger.fail(self.ledger.last, why, fatal=fatal)
        self.ledger.cancel(self.ledger.open_calls())
        for turn in broken:
            self._owed.discard(turn)
            self._done(turn, "failed")
        self._late.clear()
        self._active = None
        self.generating = self._stale = self._ending = self._forced = False

    def resumed(self) -> None:
        """The conversation goes on over a new connection, where what was not answered is repeated.

        The server will tell of it, and understand it, once more.
        """
        self._leave_ns, self.leave = None, False
        last = self.ledger.last
        self._repeated = self.unanswered and not self.speaking
        if last is not None and self.unanswered and not last.told:
            last.said = ""

    def tick(self) -> None:
        """Leave a connection that will be closed: when nothing is under way, or just before.

        A reply that is being made would be lost; it may be whole before the server goes.
        """
        if self._leave_ns is not None:
            pressing = self.ledger.now_ns >= self._leave_ns - round(MARGIN_S * NS_PER_S)
            self.leave = self.quiet or (pressing and not self.generating)

    def _activity(self, kind: str) -> None:
        if kind not in ("ACTIVITY_START", "ACTIVITY_END"):
            self.strange(f"voice activity {kind or 'of no kind'}")
            return
        self._signals = True
        if not self._manual:
            happens = self.user_began if kind.endswith("START") else self.user_stopped
            happens()

    def _content(self, content: Mapping[str, Any]) -> None:
        if content.get("interrupted") is True:
            self._interrupted()
        if heard := mapping(content, "inputTranscription"):
            self._understood(text_in(heard, "text"), finished=heard.get("finished") is True)
        for part in listed(mapping(content, "modelTurn"), "parts"):
            self._take_part(part)
        spoken = text_in(mapping(content, "outputTranscription"), "text")
        # Between an interruption and the end of that turn only its own text can still come.
        if spoken and not (self._stale or self._ending):
            reply = self._told_already() or self._output()
            self.ledger.text(reply, self._part(reply), spoken)

    def _take_part(self, part: object) -> None:
        blob = mapping(part, "inlineData")
        if data := text_in(blob, "data"):
            self._sound(data, text_in(blob, "mimeType"))
        elif not text_in(part, "text"):
            # Text of an audio model's turn is what it thinks; what it says is a transcription.
            self.strange("a part that is neither sound nor text")

    def _sound(self, text: str, mime_type: str) -> None:
        if self._stale:
            return
        data, rate = sound_in(text), sample_rate(mime_type or PCM)
        if data is None:
            self.strange("sound that is no base64")
            return
        if rate is None:
            self.strange(f"sound of type {mime_type[:40]!r}")
            return
        reply = self._output()
        if rate not in self._rates:
            self._rates.add(rate)
            why = f"the server sends sound at {rate} Hz instead of {RATE_OUT} Hz; it was converted"
            self.ledger.fail(self.ledger.last, why)
        samples = np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16, copy=False)
        self.ledger.sound(reply, self._part(reply), samples, rate)

    def _call(self, call: object) -> None:
        if self._stale:
            return
        call_id, name = text_in(call, "id"), text_in(call, "name")
        if not call_id or not name:
            self.strange("a tool call without id or name")
            return
        reply = self._output()
        arguments = json.dumps(mapping(call, "args"), ensure_ascii=False)
        self.ledger.called(reply.turn, call_id, name, arguments)
        self._parted = True

    def _cancel(self, ids: list[Any]) -> None:
        calls = [call for call in self.ledger.calls.values() if call.id in ids]
        self.ledger.cancel(calls)
        for turn in {call.turn.number: call.turn for call in calls}.values():
            self._finish(turn)

    def _output(self) -> ReplyEntry:
        """The model says something: in which reply, begun if need be."""
        self._ending = False
        if not self.generating or self._active is None:
            self._active, self.generating = self._addressee(), True
            self._owed.discard(self._active)
            self._parted = True
        elif self._blocking:
            self._owed.discard(self._active)
        reply = self.ledger.reply(self._active)
        if not reply.late:
            self.ledger.mark(self._active, "model.start")
        return reply

    def _told_already(self) -> ReplyEntry | None:
        """The whole reply that a text comes after; None: it is of one that is made.

        Transcriptions come in no order with what they are of.
        """
        last = self.ledger.last
        if self.generating or self._late or last is None or not last.done or last.called:
            return None
        reply = last.reply
        return None if reply is None or reply.interrupted or reply.broken else reply

    def _part(self, reply: ReplyEntry) -> ReplyPart:
        if self._parted or not reply.parts:
            self._parted = False
            return reply.new_part()
        return reply.parts[-1]

    def _addressee(self) -> TurnEntry:
        """The turn that the model begins to answer; committed or opened where nobody said so."""
        last = self.ledger.last
        if last is not None and not last.done and not (self._late and self.speaking):
            self.speaking = False
            self.ledger.commit(last)
            return last
        if self._late:
            return self._late.pop(0)
        if last is not None and last.called and last.done and not self.speaking:
            # Each of several results may bring a reply of its own.
            return last
        last = self.ledger.open(began_ns=self.ledger.now_ns)
        self.speaking = False
        self.ledger.commit(last)
        return last

    def _interrupted(self) -> None:
        """The server says that it stopped generating."""
        was_stale, forced = self._stale, self._forced
        self._stale = self._forced = False
        if not (was_stale or self.speaking or forced):
            self.user_began()
            self._stale = False
        elif self.generating and not was_stale and self._active and (self._late or not forced):
            self._cut(self._active)
        self.generating, self._ending = False, True

    def _understood(self, text: str, *, finished: bool) -> None:
        """The server understood more of what the user says."""
        last = self.ledger.last
        if last is None or (last.done and last.said.strip() and not self._signals):
            if not text.strip():
                return
            self.user_began()
            last = self.ledger.turns[-1]
        if text or finished:
            said = last.said + text
            final = bool(said.strip()) and (finished or last.done)
            self.ledger.understood(last, said, final=final)

    def _complete(self, content: Mapping[str, Any]) -> None:
        """The model has said all that it has to say for now."""
        if self._stale or self._ending:
            self._stale = self._ending = False
            self._active = None
            return
        self.generating = self._forced = False
        if content.get("interactionStatus") == "IN_PROGRESS":
            return
        active, self._active = self._active, None
        if active is None:
            active = self.ledger.last
            if active is None or active.done or not active.committed:
                return
        # What a server has no name for it sends as a number.
        why = str(content.get("turnCompleteReason") or FINE[0])
        if why not in FINE and (active.reply is None or why.startswith(BROKEN_OFF)):
            words = shown(why.lower().replace("_", " "))
            self.ledger.fail(self.ledger.last, f"the model gave no answer: {words}")
            self._done(active, "failed")
        elif active.reply is None:
            self._done(active, "skipped")
        else:
            self._finish(active)

    def _finish(self, turn: TurnEntry) -> None:
        """End a turn of which nothing more is to come."""
        making = self.generating and self._active is turn
        if turn.reply and not (making or turn in self._owed or self.ledger.open_calls(turn)):
            self._done(turn, "completed")

    def _cut_short(self) -> None:
        """The user speaks: end what is being said, or played, or awaited."""
        for turn in self.ledger.turns:
            reply = turn.reply
            waits = self._blocking and self.ledger.open_calls(turn)
            making = self.generating and self._active is turn and not waits
            if reply is None:
                self._done(turn, "interrupted")
            elif making or (reply is self.ledger.replies[-1] and reply.playing):
                self._cut(turn)
            else:
                self._done(turn, "completed")

    def _cut(self, turn: TurnEntry) -> None:
        """Stop the latest reply to a turn where it is."""
        reply = turn.reply
        if reply is not None and not reply.interrupted:
            over = reply.done
            self.ledger.finish_transcript(turn)
            self.ledger.interrupt(reply)
            if turn in self._owed and not over:
                self._owe(turn)

    def _done(self, turn: TurnEntry, status: Any) -> None:
        """Nothing more comes for a turn, for now."""
        if _over(turn):
            return
        self.ledger.finish_transcript(turn)
        self.ledger.close(turn, status)
        if turn in self._owed:
            self._owe(turn)

    def _owe(self, turn: TurnEntry) -> None:
        """The model will speak of a result; of a closed turn's in a reply of its own."""
        self._owed.add(turn)
        if turn.done and turn not in self._late:
            self._late.append(turn)


def _over(turn: TurnEntry) -> bool:
    """Whether nothing of a turn is under way, nor of a late reply to it."""
    return turn.done and (turn.reply is None or turn.reply.done)


def sample_rate(mime_type: str) -> int | None:
    """Samples per second of a type such as `audio/pcm;rate=24000`; None if it is none of those."""
    kind, *parameters = (part.strip() for part in mime_type.lower().split(";"))
    if kind != PCM:
        return None
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "rate":
            usable = value.isascii() and value.isdecimal() and 1000 <= int(value) <= 192_000
            return int(value) if usable else None
    return RATE_OUT


def usage(used: Mapping[str, Any], turn: int) -> Usage:
    """What a turn has cost, sound apart from the rest; results of tools count as read."""

    def audio(name: str) -> int:
        parts = (part for part in listed(used, name) if text_in(part, "modality") == "AUDIO")
        return sum(count(part, "tokenCount") for part in parts)

    return Usage(
        turn,
        count(used, "promptTokenCount") + count(used, "toolUsePromptTokenCount"),
        count(used, "cachedContentTokenCount"),
        count(used, "responseTokenCount") + count(used, "thoughtsTokenCount"),
        input_audio_tokens=audio("promptTokensDetails"),
        cached_audio_tokens=audio("cacheTokensDetails"),
        output_audio_tokens=audio("responseTokensDetails"),
    )


class RememberingOutbox(Outbox):
    """An outbox that keeps what was sent and not answered, for another connection.

    A server that goes away takes it along, for the state that a session is resumed from is older.

    Args:
        unanswered: Whether the user has said something that is not answered: all of it is kept.
    """

    def __init__(self, unanswered: Callable[[], bool]) -> None:
        super().__init__()
        self._unanswered = unanswered
        self._sent: deque[Parcel] = deque()
        self._sent_s = 0.0

    def sent(self) -> Parcel:
        """The first parcel was sent; gives it."""
        parcel = super().sent()
        if parcel.lasting:
            self._sent.append(parcel)
            self._sent_s += parcel.seconds
        most = KEPT_S if self._unanswered() else IDLE_S
        while self._sent_s > most:
            self._sent_s -= self._sent.popleft().seconds
        return parcel

    def arrived(self) -> None:
        """What was sent has reached its goal."""
        self._sent.clear()
        self._sent_s = 0.0

    def again(self) -> None:
        """Send again what was not answered, but not the silence before it; then all else."""
        again = list(self._sent)
        self.arrived()
        first = next((i for i, parcel in enumerate(again) if not _silent(parcel)), len(again))
        lead = 0.0
        while first > 0 and lead < LEAD_S:
            first -= 1
            lead += again[first].seconds
        self._waiting.extendleft(reversed(again[first:]))
        self._waiting_s += sum(parcel.seconds for parcel in again[first:])
        self.filled.set()


def _silent(parcel: Parcel) -> bool:
    """Whether it is sound that nobody can hear."""
    return parcel.seconds > 0 and not is_audible(np.frombuffer(parcel.message, np.int16))


@dataclass(frozen=True, slots=True)
class _Linked:
    """A connection, and what closes it."""

    session: AsyncSession
    wire: ClientConnection
    stack: contextlib.AsyncExitStack


class GeminiSession(ApiSession[_Linked]):
    """A `SpeechToSpeech` session with Gemini Live: 16 kHz in, 24 kHz out."""

    def __init__(
        self,
        spec: SystemSpec,
        brief: Brief,
        trace: Trace,
        clock: Clock,
        *,
        ready_s: float = READY_S,
        **more: Any,
    ) -> None:
        """Prepare; entering it connects.

        Args:
            spec: Which model, where, with what options (`OPTIONS`).
            brief: Instructions and tools.
            trace: Takes the marks.
            clock: The one clock.
            ready_s: See `READY_S`.
            more: See `ApiSession`.

        Raises:
            BadInput: The client library or the key is missing, or an option is wrong.
        """
        self._options = given(spec, OPTIONS)
        self._model = spec.model or MODEL
        self._brief = brief
        self._ready_s = ready_s
        self._manual = self._options.get("turns") == "manual"
        base, host, key = place(spec)
        certificate = self._options.get("certificate") or os.environ.get(CERTIFICATE, "").strip()
        self._wire: ClientConnection
        self._client = _client(base, key, certificate, self._made)
        self._gemini = GeminiCore(
            trace.mark,
            clock.now_ns,
            blocking=_blocking(self._model, self._options),
            manual=self._manual,
            scheduling=self._options.get("scheduling", ""),
        )
        self._memory = RememberingOutbox(lambda: self._gemini.speaking or self._gemini.unanswered)
        super().__init__(
            self._gemini,
            WireErrors(host, self._model, keys.GEMINI[0], "Gemini Live", renewable=None),
            clock,
            rate=RATE_IN,
            outbox=self._memory,
            **more,
        )

    async def send(self, frame: Frame) -> None:
        """Take the next of the microphone; where turns are ours to tell, sound begins one."""
        silent = not self._manual or self._gemini.speaking or self._over
        if not silent and onset(frame.samples, frame.rate) is not None:
            self._gemini.user_began()
            self._outbox.put(Parcel("activity_start", lasting=True))
            self._carry_out()
        await super().send(frame)

    async def commit(self) -> None:
        """End the user's turn; nothing happens where nothing was said."""
        if not self._manual:
            await super().commit()
        if self._gemini.speaking:
            self._gemini.user_stopped()
            self._outbox.put(Parcel("activity_end", lasting=True))
            self._carry_out()

    def _pack(self, samples: Samples) -> bytes:
        return samples.astype("<i2", copy=False).tobytes()

    async def _connect(self) -> _Linked:
        handle, history = self._gemini.handle, self._told
        config = configuration(self._model, self._options, self._brief, handle, bool(history))
        async with contextlib.AsyncExitStack() as stack:
            opened = self._client.aio.live.connect(model=self._model, config=config)
            try:
                async with asyncio.timeout(self._ready_s):
                    session = await stack.enter_async_context(opened)
                linked = _Linked(session, self._wire, stack)
                if session.setup_complete is None:
                    await self._ready(linked)
                if config.history_config is not None:
                    await session.send_client_content(turns=turns(history))
            except Exception as error:
                why = self._unreachable(error)
                if not why.fatal:
                    # The server closed it, maybe for it does not know the handle any more: the
                    # next attempt begins anew.
                    self._gemini.handle = ""
                raise why from None
            return replace(linked, stack=stack.pop_all())

    async def _ready(self, connection: _Linked) -> None:
        """Wait for a session of which the server had something else to say first.

        Raises:
            ValueError: It is none.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while True:
                    message = await self._receive(connection)
                    self._gemini.receive(message)
                    if isinstance(message, Mapping) and "setupComplete" in message:
                        return
        raise ValueError("no session")

    @property
    def _told(self) -> list[Message]:
        """What a new session is to know; what is not answered is said to it again as sound."""
        again = self._gemini.ledger.number if self._gemini.unanswered else 0
        return [message for message in self._core.history if message.turn != again]

    def _made(self, *how: Any, **more: Any) -> ClientConnection:
        """Make the client a connection, and keep it: its own reading ends at what is new to it."""
        self._wire = ClientConnection(*how, **more)
        return self._wire

    def _unreachable(self, error: Exception) -> StageError:
        from google.genai import errors

        if isinstance(error, errors.APIError) and isinstance(error.code, int):
            said = _details(error)
            if 400 <= error.code < 600:
                return self._errors.status(error.code, said)
            return self._errors.closed_with(error.code, said)
        return self._errors.unreachable(error, self._ready_s)

    async def _deliver(self, connection: _Linked, parcel: Parcel) -> None:
        from google.genai import types

        session = connection.session
        match parcel.message:
            case bytes() as sound:
                blob = types.Blob(data=sound, mime_type=f"audio/pcm;rate={RATE_IN}")
                await session.send_realtime_input(audio=blob)
            case "activity_start":
                await session.send_realtime_input(activity_start=types.ActivityStart())
            case "activity_end":
                await session.send_realtime_input(activity_end=types.ActivityEnd())
            case result:
                response = types.FunctionResponse.model_validate(result)
                await session.send_tool_response(function_responses=response)

    async def _read(self, connection: _Linked) -> bytes:
        return await connection.wire.recv(decode=False)

    async def _listen(self, connection: _Linked) -> None:
        while True:
            self._gemini.receive(await self._receive(connection))
            if self._gemini.generating:
                self._memory.arrived()
            await self._took()

    async def _shut(self, connection: _Linked) -> None:
        with contextlib.suppress(Exception):
            await connection.stack.aclose()

    async def _release(self) -> None:
        with contextlib.suppress(Exception):
            await self._client.aio.aclose()
            self._client.close()

    def _resume(self) -> None:
        self._memory.again()
        self._gemini.resumed()

    def _found(self, connection: _Linked, connect_ms: float) -> Facts:
        return Facts(self._model, self._errors.host, connect_ms)


def configuration(
    model: str, options: Mapping[str, str], brief: Brief, handle: str = "", told: bool = False
) -> types.LiveConnectConfig:
    """What is asked of the server.

    Args:
        model: Which model.
        options: As the command line gives them.
        brief: Instructions and tools.
        handle: Stands for a session to go on with; empty: there is none.
        told: What was said before is told to a session that does not go on with another.
    """
    from google.genai import types

    manual = options.get("turns") == "manual"
    silence, start, end = (options.get(name) for name in ("silence_ms", "start", "end"))
    detection = types.AutomaticActivityDetection(disabled=True) if manual else None
    if not manual and (silence or start or end):
        detection = types.AutomaticActivityDetection(
            silence_duration_ms=int(silence) if silence else None
        )
        if start:
            sensitivity = types.StartSensitivity(f"START_SENSITIVITY_{start.upper()}")
            detection.start_of_speech_sensitivity = sensitivity
        if end:
            detection.end_of_speech_sensitivity = types.EndSensitivity(
                f"END_SENSITIVITY_{end.upper()}"
            )
    speech = None
    if voice := options.get("voice"):
        prebuilt = types.PrebuiltVoiceConfig(voice_name=voice)
        speech = types.SpeechConfig(voice_config=types.VoiceConfig(prebuilt_voice_config=prebuilt))
    behavior = options.get("behavior", "").upper()
    functions = [
        types.FunctionDeclaration(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=dict(tool.parameters),
            behavior=types.Behavior(behavior) if behavior else None,
        )
        for tool in brief.tools
    ]
    return types.LiveConnectConfig(
        response_modalities=[types.Modality.AUDIO],
        system_instruction=brief.instructions or None,
        tools=[types.Tool(function_declarations=functions)] if functions else None,
        speech_config=speech,
        input_audio_transcription=types.AudioTranscriptionConfig(),
        output_audio_transcription=types.AudioTranscriptionConfig(),
        realtime_input_config=types.RealtimeInputConfig(
            automatic_activity_detection=detection,
            activity_handling=types.ActivityHandling.START_OF_ACTIVITY_INTERRUPTS,
        ),
        context_window_compression=types.ContextWindowCompressionConfig(
            sliding_window=types.SlidingWindow()
        ),
        session_resumption=types.SessionResumptionConfig(handle=handle or None),
        history_config=types.HistoryConfig(initial_history_in_client_content=True)
        if told and not handle
        else None,
    )


def turns(history: Sequence[Message]) -> list[types.ContentOrDict]:
    """The history as text, as a new session takes it."""
    return [
        {
            "role": "user" if message.role == "user" else "model",
            "parts": [{"text": message.content}],
        }
        for message in history
    ]


def place(spec: SystemSpec, environ: Mapping[str, str] = os.environ) -> tuple[str, str, str]:
    """Where a system's server is: what the client is told, how messages show it, and the key.

    Raises:
        BadInput: The client library is not installed, there is no key, or it cannot be one, or the
            URL cannot be used.
    """
    try:
        installed = importlib.util.find_spec("google.genai") is not None
    except ModuleNotFoundError:
        installed = False
    if not installed:
        raise BadInput(f"{spec.name}: needs google-genai: pip install 'voice-cascade[gemini]'")
    url = spec.url or environ.get(URL, "").strip()
    parts = split_url(url or f"https://{HOST}", ("https", "wss"))
    if parts is None:
        raise BadInput(f"{spec.name}: not a usable URL; write it as wss://HOST:PORT")
    key = keys.key(environ, *keys.GEMINI)
    if not key and not url:
        raise BadInput(f"{spec.name}: there is no key; set {' or '.join(keys.GEMINI)}")
    there = parts.netloc.rpartition("@")[2]
    # Servers elsewhere may need no key, but the client does.
    return f"https://{there}{parts.path.rstrip('/')}", there, key or "none"


def _client(base: str, key: str, certificate: str, made: Callable[..., ClientConnection]) -> Any:
    from google import genai

    arguments: dict[str, Any] = {
        "create_connection": made,
        "close_timeout": CLOSE_S,
        "compression": None,
        "max_size": LARGEST,
        "logger": keys.QUIET,
    }
    if certificate:
        try:
            arguments["ssl"] = ssl.create_default_context(cafile=certificate)
        except ssl.SSLError:
            raise BadInput(f"{certificate}: is no certificate in PEM form") from None
        except OSError as error:
            raise BadInput(f"{certificate}: cannot be read: {error.strerror}") from None
    options: Any = {"base_url": base, "async_client_args": arguments}
    return genai.Client(vertexai=False, api_key=key, http_options=options)


def _blocking(model: str, options: Mapping[str, str]) -> bool:
    """Whether the model waits for its tools."""
    if behavior := options.get("behavior"):
        return behavior == "blocking"
    return not model.startswith(NON_BLOCKING)


def _details(error: Any) -> str:
    """What an error of the client's tells of the server's reason."""
    details = error.details
    if isinstance(details, dict):
        inner = details.get("error", details)
        return str(inner.get("message", "") if isinstance(inner, dict) else inner)
    return str(details if details is not None else error)


def _duration_ns(text: str) -> int:
    """A duration such as `9.5s` (ns); 0 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s", text.strip())
    return round(float(found[1]) * NS_PER_S) if found else 0
