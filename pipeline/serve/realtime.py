"""The cascade behind the Realtime protocol: one conversation with one client.

What the client asks for becomes acts of a `Cascade`; what the cascade tells becomes events, in the
protocol's order, at the moment in which it happens. The conversation is the client's: its items are
what the model is reminded of (`remembered`).
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.audio.resample import Resampler
from pipeline.clock import NS_PER_MS, NS_PER_S, Clock
from pipeline.config import PACES, Settings, TurnSettings
from pipeline.conversation.cascade import Cascade, Manner
from pipeline.conversation.reply import CUT_MARK, AtSpeed, Engines, Synthesiser
from pipeline.driver import Over
from pipeline.engines.tools import arguments
from pipeline.engines.whisper import Transcription
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    LongSilence,
    PicturesUnseen,
    ReplyAudio,
    ReplyDone,
    ReplyInterrupted,
    ReplyStarted,
    ReplyText,
    Samples,
    SpeechStarted,
    SpeechStopped,
    ToolCall,
    ToolCalling,
    Transcript,
    Usage,
)
from pipeline.pictures import NoPicture
from pipeline.prompts import Prompts
from pipeline.serve.items import KeptItem
from pipeline.serve.link import Author, Link, Opening
from pipeline.serve.protocol import ServerSide
from pipeline.serve.refused import RequestRefused, invalid, stage_failed
from pipeline.serve.remembered import SILENCE, Remembered
from pipeline.serve.remote_tools import RemoteTools
from pipeline.serve.responses import PIECE, RealtimeResponse, ResponseStatus, cost, settings
from pipeline.serve.session_object import EAGERNESS, JsonObject
from pipeline.serve.sound import RATE
from pipeline.text.language_names import code_of
from pipeline.tools.mcp import McpServer
from pipeline.trace import Timeline, Trace
from pipeline.turns.taker import RATE as EARS
from pipeline.turns.taker import TIMES

FRAME = EARS // 25
"""Samples that are heard at a time: 40 ms, which is what many clients send at once."""

KEPT_MS = 5000
"""So much sound from before a turn is kept beside the padding (ms): words over a reply begin one
long before it is known that they do."""

FRAMES = 8
"""After so many frames of one message others have their turn: it may hold minutes."""

REPORT_S = 0.1
"""How often it is looked how much of a reply has been played (s)."""

UNSEEN = "The language model does not see images: the conversation goes on without them."

LATENCY = "cascade.latency_ms"
"""Where the metadata of a response has its latency, as JSON: in all, and by part."""


class Playhead:
    """Where a client is in a reply: it plays in real time from the first sound on, as that comes.

    What a client really plays begins later, by its line and its device. It may say so itself
    (`conversation.item.truncate`); until then this is what is known.

    Args:
        rate: Hz.
        free_ns: When what was sent before it has been played.
    """

    def __init__(self, rate: int, free_ns: int = 0) -> None:
        self.rate = rate
        self._made = 0
        # So much was played at that time.
        self._played, self._at_ns = 0, free_ns

    @property
    def made_s(self) -> float:
        """How long it is so far (s)."""
        return self._made / self.rate

    def add(self, samples: int, now_ns: int) -> None:
        """So much more of it was sent just now."""
        self._played, self._at_ns = self.played(now_ns), max(now_ns, self._at_ns)
        self._made += samples

    def played(self, now_ns: int) -> int:
        """How many samples of it have been played by now."""
        passed = max(0, now_ns - self._at_ns) * self.rate // NS_PER_S
        return min(self._made, self._played + passed)

    @property
    def ends_ns(self) -> int:
        """When all that was sent has been played."""
        left = self._made - self._played
        return self._at_ns + -(-left * NS_PER_S // self.rate)


@dataclass(slots=True)
class _Answer:
    """A response that is being made, or played.

    Attributes:
        response: What is told of it.
        turn: Of the cascade.
        resampler: To the protocol's rate; None: it has no sound yet.
        playhead: How much of it has been played.
        used: What it cost, if that is known.
        message: Its words, once there are any.
        text: What was written so far.
        told: How many characters of that the client knows.
        calling: What it knows of the arguments of a call that is being written.
    """

    response: RealtimeResponse
    turn: int = 0
    resampler: Resampler | None = None
    playhead: Playhead | None = None
    used: Usage | None = None
    message: KeptItem | None = None
    text: str = ""
    told: int = 0
    calling: str = ""

    def heard(self, seconds: float) -> str:
        """What of its words is over when so much of its sound has been played (s)."""
        if self.message is None:
            return ""
        if sound := self.message.sounds.get(0):
            return sound.heard(seconds) if sound.heard is not None else ""
        return str(self.message.about["content"][0]["text"])

    def cut(self, words: str) -> None:
        """The model is reminded of these words of it, unless the client says which were heard."""
        if self.message is not None and not self.message.cuts:
            self.message.words[0] = words


class RealtimeConversation:
    """One conversation: its state is that of the protocol's side and the cascade's.

    Args:
        engines: Ready to compute; any number of conversations may share them.
        settings: Of the server; a client's session begins with them.
        clock: The time.
        link: The connection.
        opening: What the client asked for.
        over: Is told of every turn that is over.
        prompts: That the client may name.
        tools: Definitions of functions that a session begins with.
        mcp: The operator's MCP servers, by their labels.
        languages: Codes of what the recogniser knows; empty: that is not known.
    """

    def __init__(
        self,
        engines: Engines,
        settings: Settings,
        clock: Clock,
        link: Link,
        opening: Opening,
        *,
        over: Over | None = None,
        prompts: Prompts | None = None,
        tools: Sequence[JsonObject] = (),
        mcp: Mapping[str, McpServer] | None = None,
        languages: Collection[str] = (),
    ) -> None:
        self._engines = engines
        self._settings = settings
        self._clock = clock
        self._over = over
        self._link = link
        self._author = Author(
            f"{uuid.uuid4().hex[:8]}_", lambda event: link.send(json.dumps(event))
        )
        model = opening.model or "cascade"
        expires_at = int(time.time() + settings.serve.minutes * 60)
        self._side = ServerSide(
            self._author,
            model,
            expires_at,
            opening,
            begins={"instructions": settings.llm.instructions, "tools": [*tools]},
            ears=EARS,
            prompts=prompts,
            languages=languages,
        )
        self._remote = RemoteTools(
            self._side, settings, mcp or {}, self._tools_changed, self._go_on
        )
        self._side.remote = self._remote
        self._memory = Remembered(
            self._side,
            settings.conversation,
            engines.tokens,
            engines.voice.language,
            self._remote,
        )
        self._trace = Trace()
        self._cascade = Cascade(
            engines,
            settings,
            self._trace,
            clock,
            memory=self._memory,
            tell=self._told,
            # How long to wait, and how often, is the client's to say.
            times=replace(TIMES, idle_times=1 << 30),
        )
        self._tasks = asyncio.TaskGroup()
        self._heard = 0
        # By turn: the utterances whose words are not known yet; by reply: the responses.
        self._utterances: dict[int, KeptItem] = {}
        self._answers: dict[str, _Answer] = {}
        self._playing: dict[str, tuple[_Answer, asyncio.Task[None]]] = {}
        self._stable = ""
        self._cut: _Answer | None = None
        self._cancelled = ""
        self._failure: Failure | None = None
        self._asked = self._wanted()
        self._has_answered = self._is_over = False

    async def run(self) -> None:
        """Serve the client until it is gone; leaving it stops all work for it."""
        async with self._cascade, self._tasks:
            expiring = self._tasks.create_task(self._expire())
            try:
                self._side.begin()
                self._configure()
                async for arrived_ns, message in self._link.messages():
                    event = self._side.receive(message)
                    if event is not None:
                        await self._do(event, arrived_ns)
            finally:
                self._is_over = True
                expiring.cancel()
                self._stop_playing()
                await self._remote.close()

    async def _expire(self) -> None:
        """Close the connection when the session is over."""
        lasts_ns = round(self._settings.serve.minutes * 60 * NS_PER_S)
        await self._clock.sleep_until(self._clock.now_ns() + lasts_ns)
        self._side.expire()
        self._link.close(1001, "The session has expired.")

    # --- what the client asks for ---

    async def _do(self, event: JsonObject, arrived_ns: int) -> None:
        match event["type"]:
            case "session.update":
                self._configure()
            case "input_audio_buffer.append":
                for sound, follows_s in event["audio"]:
                    await self._hear(sound, arrived_ns - round(follows_s * NS_PER_S))
            case "input_audio_buffer.commit":
                await self._hear(event["audio"], arrived_ns)
                self._commit()
            case "input_audio_buffer.clear":
                self._cascade.forget_turn()
            case "conversation.item.create":
                self._created(event)
            case "conversation.item.delete":
                self._cascade.changed()
            case "conversation.item.truncate":
                self._truncated(event["item_id"])
            case "response.create":
                self._respond(event["response"])
            case "response.cancel":
                self._cancelled = self._reply_of(event["response_id"])
                self._cascade.cancel(self._cancelled)
                self._cancelled = ""

    def _configure(self) -> None:
        """Do as the session says from now on."""
        session = self._side.session
        self._cascade.behave(manner(session, self._settings, self._voice(session)))
        if self._side.answers:
            self._remote.use(session["tools"])
        before, self._asked = self._asked, self._wanted()
        if before != self._asked:
            self._cascade.changed()

    def _wanted(self) -> JsonObject:
        """What the model is told besides the conversation."""
        return settings(self._side.session, {}) if self._side.answers else {}

    async def _hear(self, sound: Samples, arrived_ns: int) -> None:
        """Hear a piece of sound, as if its end had been spoken when it arrived."""
        since_ns = self._clock.now_ns()
        for number, start in enumerate(range(0, len(sound), FRAME), 1):
            samples = sound[start : start + FRAME]
            t_ns = arrived_ns - (len(sound) - start) * NS_PER_S // EARS
            frame = Frame(samples, EARS, self._heard, t_ns)
            self._heard += len(samples)
            await self._cascade.send(frame)
            if number % FRAMES == 0:
                # As much time for others as this took, however much there is and comes.
                await asyncio.sleep((self._clock.now_ns() - since_ns) / NS_PER_S)
                since_ns = self._clock.now_ns()
        detection, side = self._side.detection, self._side
        if detection is not None and side.speech is None:
            padding_ms = detection.get("prefix_padding_ms", 0)
            side.buffer.forget(self._place - (KEPT_MS + padding_ms) * RATE // 1000)

    def _commit(self) -> None:
        """What was sent so far is an item: the client says so."""
        if self._cascade.in_speech:
            self._cascade.finish_turn()
        elif self._side.speech is not None:  # of which the client wants to say itself how it ends
            self._understand(self._side.speech_stopped())
        else:
            self._understand(self._side.commit())

    def _created(self, event: JsonObject) -> None:
        """The client has added an item."""
        item = self._side.items.get(event["item"]["id"])
        assert item is not None
        self._listen_to(item)
        if item.about["type"] == "mcp_approval_response":
            self._remote.decide(item)
        if not self._look_at(item, event.get("event_id"), "item"):
            self._cascade.changed()

    def _look_at(self, item: KeptItem, event_id: str | None, param: str) -> bool:
        """See that what a client shows are pictures, and none too large; whether it shows any."""
        shown = [
            (place, part["image_url"])
            for place, part in enumerate(item.about.get("content", ()))
            if part["type"] == "input_image"
        ]
        for place, url in shown:
            where = f"{param}.content[{place}].image_url"
            then = functools.partial(self._looked, item, place, event_id, where)
            self._cascade.prepare(self._look(url), then)
        return bool(shown)

    async def _look(self, url: str) -> str | NoPicture:
        try:
            return (await self._engines.look(url)).url
        except NoPicture as error:
            return error

    def _looked(
        self,
        item: KeptItem,
        place: int,
        event_id: str | None,
        param: str,
        found: str | NoPicture,
    ) -> None:
        """It is known what of an image a model is shown."""
        item.seen[place] = "" if isinstance(found, NoPicture) else found
        if isinstance(found, NoPicture):
            refused = invalid(param, str(found))
            refused.event_id = event_id
            self._author.refuse(refused)
        self._cascade.changed()

    def _listen_to(self, item: KeptItem) -> None:
        """What is said in an item that a client gave is recognised, unless it says that."""
        for place in item.sounds:
            if item.about["content"][place]["transcript"] is None:
                self._understand(item, place)

    def _truncated(self, item_id: str) -> None:
        """The client says how much of a reply was heard, which is what the item now tells."""
        item = self._side.items.get(item_id)
        assert item is not None
        item.words.clear()
        self._cascade.changed()

    def _understand(self, item: KeptItem, place: int = 0) -> None:
        samples = item.sounds[place].samples
        assert samples is not None
        self._cascade.understand(samples, RATE, functools.partial(self._understood, item, place))

    def _understood(self, item: KeptItem, place: int, heard: Transcription | StageError) -> None:
        """It is known what an item says, or that this cannot be known."""
        if isinstance(heard, StageError):
            failed = stage_failed(heard.stage, str(heard))
            self._side.transcription_failed(item, failed.message, place)
            self._author.refuse(failed)
        else:
            item.words[place] = heard.text
            item.language = heard.language if heard.sure else ""
            self._side.transcribed(item, heard.text, place)

    def _tools_changed(self) -> None:
        """Other tools are on offer, or one has a result."""
        if not self._is_over:
            self._cascade.changed()

    def _go_on(self) -> None:
        """Tools that the client does not know of have results: tell them, if nobody speaks."""
        if not (self._is_over or self._side.active or self._cascade.in_speech):
            self._respond({})

    def _respond(self, options: JsonObject) -> None:
        self._remote.use_for_one(options.get("tools", []))
        response = self._side.respond(options)
        self._answers[response.id] = _Answer(response)
        for number, item in enumerate(response.given or ()):
            if item not in self._side.items.kept:
                self._listen_to(item)
                self._look_at(item, None, f"response.input[{number}]")
        self._cascade.respond(
            response.id,
            functools.partial(self._memory.prompt_for, response),
            self._voice(response.settings) if response.speaks else None,
            apart=not response.in_band,
        )

    def _voice(self, asked: Mapping[str, Any]) -> Synthesiser | None:
        """What speaks under these settings; None: nothing does."""
        if asked.get("output_modalities") != ["audio"]:
            return None
        spoken = asked["audio"]["output"]
        name, speed = spoken["voice"], spoken.get("speed", 1.0)
        # Any other name, such as OpenAI's, is our voice.
        named = self._engines.voice.named(name if isinstance(name, str) else name["id"])
        voice = named or self._engines.voice
        return voice if speed == 1 else AtSpeed(voice, speed)

    # --- what the cascade tells ---

    def _told(self, *events: Event) -> None:
        for event in events:
            if not self._is_over:
                self._tell(event)

    def _tell(self, event: Event) -> None:
        match event:
            case SpeechStarted():
                self._speech_started(round(event.at_s * RATE))
            case SpeechStopped():
                if self._side.speech is not None:
                    self._utterances[event.turn] = self._side.speech_stopped(self._place)
            case Transcript(final=False):
                self._hears(event.stable)
            case Transcript():
                if item := self._utterances.pop(event.turn, None):
                    item.words[0], item.language = event.text, event.language
                    self._side.transcribed(item, event.text)
            case ReplyStarted():
                self._begin(event)
            case ReplyText():
                self._write(self._answers[event.id], event)
            case ReplyAudio():
                self._speak(self._answers[event.id], event)
            case Usage():
                self._answers[event.reply_id].used = event
            case ToolCalling():
                self._calling(self._answers[event.reply_id], event)
            case ToolCall():
                self._call(self._answers[event.reply_id], event)
            case ReplyInterrupted():
                self._interrupted(event)
            case PicturesUnseen():
                self._author.refuse(RequestRefused("image_not_seen", UNSEEN))
            case Failure():
                self._failure = event
            case ReplyDone():
                self._done(event)
            case LongSilence():
                self._break_silence()

    def _speech_started(self, place: int) -> None:
        if self._side.speech is not None:
            # Nobody said how it ended: detection was off for a while.
            self._understand(self._side.speech_stopped(place))
        self._stable = ""
        self._side.speech_started(place)
        if self._cut is not None:
            answer, self._cut = self._cut, None
            self._finish(answer, "cancelled", reason="turn_detected")

    @property
    def _place(self) -> int:
        """Where the ears are in the stream (samples at the protocol's rate)."""
        return self._heard * RATE // EARS

    def _hears(self, stable: str) -> None:
        """Of the utterance that is under way, so much is sure."""
        if self._side.speech is not None and stable.startswith(self._stable):
            self._side.transcribing(self._side.speech, stable[len(self._stable) :])
            self._stable = stable

    def _begin(self, event: ReplyStarted) -> None:
        answer = self._answers.get(event.id)
        if answer is None:
            answer = self._answers[event.id] = _Answer(self._side.respond())
        answer.turn = event.turn
        answer.response.begin()

    def _open(self, answer: _Answer, reply_id: str) -> None:
        """A message of the reply begins."""
        self._close(answer)  # a call that was begun before any words is told after them
        answer.response.open()
        answer.message = answer.response.output[-1]
        if answer.response.speaks:
            answer.message.sounds[0].heard = self._cascade.words_of(reply_id)

    def _write(self, answer: _Answer, event: ReplyText) -> None:
        if answer.message is None:
            self._open(answer, event.id)
        answer.text += event.delta
        if not answer.response.speaks:
            self._tell_words(answer, len(answer.text))

    def _tell_words(self, answer: _Answer, end: int) -> None:
        """Send a reply's words up to that character.

        Words go before the sound that they end in, so that a client can tell which one is heard.
        """
        if end > answer.told:
            answer.response.text(answer.text[answer.told : end])
            answer.told = end

    def _speak(self, answer: _Answer, event: ReplyAudio) -> None:
        now, frame = self._clock.now_ns(), event.frame
        if answer.playhead is None or answer.resampler is None:
            answer.resampler = Resampler(frame.rate, RATE)
            ends = [each.playhead.ends_ns for each, _ in self._playing.values() if each.playhead]
            answer.playhead = Playhead(frame.rate, max(ends, default=0))
            self._side.spoke = True
            if answer.response.in_band:
                for mark in ("playout.first", "heard.first"):
                    self._trace.mark(event.turn, mark, now)
                task = self._tasks.create_task(self._play(event.id, answer.playhead))
                self._playing[event.id] = answer, task
        answer.playhead.add(len(frame.samples), now)
        self._tell_words(answer, len(answer.heard(answer.playhead.made_s)))
        answer.response.audio(answer.resampler.push(frame.samples))

    async def _play(self, reply_id: str, playhead: Playhead) -> None:
        """Tell the cascade how much of a reply is played, until all of it is."""
        while reply_id in self._answers or self._clock.now_ns() < playhead.ends_ns:
            await asyncio.sleep(REPORT_S)
            await self._cascade.heard(reply_id, playhead.played(self._clock.now_ns()))
        del self._playing[reply_id]

    def _stop_playing(self) -> list[_Answer]:
        """Nothing is played any more; gives what was."""
        played, self._playing = self._playing, {}
        for _, task in played.values():
            task.cancel()
        return [answer for answer, _ in played.values()]

    def _interrupted(self, event: ReplyInterrupted) -> None:
        """Nothing more is heard of a reply, nor of what is played before it.

        Until the client says more, this is what is known of it.
        """
        now = self._clock.now_ns()
        if event.id in self._answers:
            self._answers[event.id].cut(event.heard_text)
        for answer in self._stop_playing():
            if (playhead := answer.playhead) is not None:
                answer.cut(answer.heard(playhead.played(now) / playhead.rate))

    def _calling(self, answer: _Answer, event: ToolCalling) -> None:
        """More of a call is written; what the server calls itself is told whole."""
        response = answer.response
        if response.in_band and event.name in self._remote.places_for(response.settings):
            return
        if not answer.calling:
            response.open_call(event.name, self._author.new_id("call"))
        answer.calling += event.delta
        response.arguments(event.delta)

    def _call(self, answer: _Answer, event: ToolCall) -> None:
        """A call is whole."""
        response, said = answer.response, arguments(event.arguments)
        if not (answer.calling and said.startswith(answer.calling)):
            self._close(answer)
            if self._remote.call(response, event.name, said):
                return
            response.open_call(event.name, self._author.new_id("call"))
        for start in range(len(answer.calling), len(said), PIECE):
            response.arguments(said[start : start + PIECE])
        answer.calling = ""
        response.close()

    def _close(self, answer: _Answer, status: ResponseStatus = "completed") -> None:
        """There is no more of a reply's words and sound; what was cut off is not told.

        Clients take sound that comes after the user has begun to speak for the next reply's.
        """
        if status != "cancelled":
            self._tell_words(answer, len(answer.text))
            if answer.resampler is not None:
                answer.response.audio(answer.resampler.flush())
        answer.resampler = None
        # A call that was begun and never was one is none.
        whole = status == "completed" and not answer.calling
        answer.calling = ""
        answer.response.close("completed" if whole else "incomplete")

    def _done(self, event: ReplyDone) -> None:
        failure, self._failure = self._failure, None
        answer = self._answers.pop(event.id, None)
        if answer is None:
            item = self._utterances.pop(event.turn, None)
            if failure is not None:
                failed = stage_failed(failure.stage, failure.message)
                if item is not None:
                    self._side.transcription_failed(item, failed.message)
                self._author.refuse(failed)
        elif event.status == "interrupted" and event.id != self._cancelled:
            self._cut = answer  # it is told after the speech that cuts it
        else:
            self._end(answer, event, failure)
        self._turn_over(event.turn, answer)

    def _end(self, answer: _Answer, event: ReplyDone, failure: Failure | None) -> None:
        """A response is over, and nobody spoke over it."""
        match event.status:
            case "interrupted":
                self._finish(answer, "cancelled", reason="client_cancelled")
            case "failed":
                assert failure is not None
                self._failed(answer, failure)
            case "incomplete":
                self._cut_off(answer, filtered=event.filtered)
            case _:
                self._finish(answer, "completed")

    def _failed(self, answer: _Answer, failure: Failure) -> None:
        """A response has failed, unless the model just had nothing to say, or was not let."""
        failed = stage_failed(failure.stage, failure.message)
        match failure.unanswered:
            case "model":
                self._finish(answer, "completed")
            case "limit" | "filter" as why:
                self._cut_off(answer, filtered=why == "filter")
            case _:
                error = {"type": "server_error", "code": failed.code, "message": failed.message}
                self._finish(answer, "failed", error=error)
                self._keep(answer)
                self._author.refuse(failed)

    def _cut_off(self, answer: _Answer, *, filtered: bool) -> None:
        """A response was cut off, by a filter or a limit."""
        reason = "content_filter" if filtered else "max_output_tokens"
        self._finish(answer, "incomplete", reason=reason)
        self._keep(answer, CUT_MARK)

    def _finish(self, answer: _Answer, status: ResponseStatus, **details: Any) -> None:
        """End a response with all that is known of it."""
        response = answer.response
        self._close(answer, status)
        if response.in_band:
            self._has_answered = True
            self._stamp(answer)
        usage = None if answer.used is None else cost(answer.used, response.made_audio)
        self._side.end(response, status, usage=usage, **details)

    def _keep(self, answer: _Answer, mark: str = "") -> None:
        """The model is reminded of what is spoken of a reply that did not come to its end."""
        if said := answer.heard(math.inf).rstrip():
            answer.cut(said + mark)

    def _stamp(self, answer: _Answer) -> None:
        """Tell where the time of a turn went."""
        marks = self._trace.marks(answer.turn)
        # Where nothing was said, it is counted from the moment in which the response was asked for.
        since = {"speech.end": marks["committed"]} if "committed" in marks else {}
        if (timeline := Timeline.from_marks(since | marks)) is not None:
            parts = {"total": timeline.total_ns, **timeline.parts}
            told = {name: round(ns / NS_PER_MS) for name, ns in parts.items()}
            answer.response.stamp({LATENCY: json.dumps(told)})

    def _turn_over(self, turn: int, answer: _Answer | None) -> None:
        if self._over is not None and (answer is None or answer.response.in_band):
            self._over(turn, self._trace.marks(turn), answer.used if answer else None)

    def _break_silence(self) -> None:
        """Nobody has spoken for as long as the client wants to wait: the model may."""
        detection = self._side.detection
        if self._cascade.answering or detection is None or not self._has_answered:
            return
        since = self._place - detection["idle_timeout_ms"] * RATE // 1000
        item = self._side.timed_out(max(0, since))
        item.words[0] = SILENCE
        self._respond({})

    def _reply_of(self, response_id: str) -> str:
        """The reply that a response is of."""
        return next(
            reply_id
            for reply_id, answer in self._answers.items()
            if answer.response.id == response_id
        )


LONGEST_MS = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}
"""Silence that ends an unfinished turn, by eagerness, as OpenAI's guide has it."""

_PACES = {eagerness: pace for pace, eagerness in EAGERNESS.items()}
"""Which of our paces an eagerness is; with `auto` it is the server's own."""

MOST_PADDING_MS = 1000
"""More sound from before an utterance than this is in its item, but is not recognised."""


def manner(session: JsonObject, settings: Settings, voice: Synthesiser | None) -> Manner:
    """How a session takes turns and answers, as its client asks for. Pure.

    Args:
        session: The session object.
        settings: The server's.
        voice: Speaks its replies; None: nothing does.
    """
    detection = session["audio"]["input"]["turn_detection"]
    heard = session["audio"]["input"]["transcription"] or {}
    hints = [heard.get("prompt"), ", ".join(heard.get("keywords") or ())]
    found = Manner(
        settings.turns,
        settings.vad,
        voice,
        language=code_of(heard.get("language") or ""),
        about=" ".join(filter(None, hints)),
    )
    if detection is None:
        return replace(found, listens=False, answers=False)
    answers = detection["create_response"] and session["type"] == "realtime"
    found = replace(found, answers=answers, interrupts=detection["interrupt_response"])
    # What is set here need not be what a user may set.
    if detection["type"] == "semantic_vad":
        eagerness = detection["eagerness"]
        pace = PACES.get(_PACES.get(eagerness, ""), {})
        waits = {**pace, "longest_ms": LONGEST_MS[eagerness], "predict": True}
        return replace(found, turns=_turns(settings.turns, **waits))
    idle_ms = detection["idle_timeout_ms"] or 0
    return replace(
        found,
        turns=_turns(
            settings.turns,
            predict=False,
            shortest_ms=0,
            hold_ms=detection["silence_duration_ms"],
            idle_s=idle_ms / 1000,
        ),
        vad=settings.vad.model_copy(
            update={"threshold": min(max(detection["threshold"], 0.01), 0.99)}
        ),
        preroll_ms=min(detection["prefix_padding_ms"], MOST_PADDING_MS),
    )


def _turns(turns: TurnSettings, **changed: Any) -> TurnSettings:
    return turns.model_copy(update={"idle_text": "", "idle_s": 0.0, **changed})
