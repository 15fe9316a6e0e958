"""One client of the simulated Realtime server: what it sends is heard, done and answered."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pipeline.clock import NS_PER_MS, Clock
from pipeline.realtime import commands, settings
from pipeline.realtime.buffer import InputBuffer
from pipeline.realtime.conversation import RATE, Conversation
from pipeline.realtime.events import (
    BUSY,
    EMPTY_COMMIT,
    INVALID_VALUE,
    NOT_ACTIVE,
    Author,
    Event,
    Refused,
)
from pipeline.simulated.listener import Began, Ended, Listener
from pipeline.simulated.realtime_replies import Ask, Replies, Stage
from pipeline.simulated.script import MODEL_SEPARATOR, Script, ScriptedTurn, describe
from pipeline.simulated.timing import Latencies, sleep_until
from pipeline.simulated.voice import Sounds
from pipeline.simulated.wire import Wire
from pipeline.speech_to_speech.brief import STAMP

LEAST_COMMIT_MS = 100
"""A commit by the client needs so much sound."""

KEPT_S = 2
"""So much sound from before an utterance is kept, for the padding."""


class RealtimeSession:
    """A conversation with one client.

    Args:
        script: What to do.
        turns: The conversation that the client asked for.
        asked: The model that it asked for.
        sounds: All that is said.
        wire: The connection.
        seed: Of what is drawn, such as `"1/0"`.
        clock: The time.
    """

    def __init__(
        self,
        script: Script,
        turns: tuple[ScriptedTurn, ...],
        asked: str,
        sounds: Sounds,
        wire: Wire,
        seed: str,
        clock: Clock,
    ) -> None:
        author = Author(f"{seed.replace('/', '_')}_")
        expires = int(time.time()) + settings.SESSION_S
        session = settings.defaults(author.new_id("sess"), f"simulated:{script.name}", expires)
        session["tracing"] = {"workflow_name": STAMP, "metadata": describe(script)}
        vad = session["audio"]["input"]["turn_detection"]
        vad["silence_duration_ms"] = round(script.silence_ms)
        self._stage = Stage(
            script=script,
            turns=turns,
            sounds=sounds,
            wire=wire,
            clock=clock,
            author=author,
            session=session,
            conversation=Conversation(author),
            tasks=asyncio.TaskGroup(),
        )
        self._asked = asked.partition(MODEL_SEPARATOR)[0]
        self._replies = Replies(self._stage)
        self._latencies = Latencies(script.latency, seed)
        self._buffer = InputBuffer()
        self._listener = Listener(RATE, script.silence_ms)
        self._users = 0
        self._last: tuple[int, bool] = (0, False)
        self._end: Ended | None = None
        self._speech: str | None = None
        self._began = 0
        self._expect()

    async def run(self) -> None:
        """Serve the client until it is gone."""
        stage = self._stage
        stage.tell("session.created", session=stage.session)
        about = {"id": stage.conversation.id, "object": "realtime.conversation"}
        stage.tell("conversation.created", conversation=about)
        try:
            async with stage.tasks:
                moving = stage.tasks.create_task(stage.wire.run())
                working = stage.tasks.create_task(self._work())
                await asyncio.wait([moving, working], return_when=asyncio.FIRST_COMPLETED)
                raise _Over
        except* _Over:
            pass

    async def _work(self) -> None:
        async for arrived_ns, message in self._stage.wire.messages():
            event_id = None
            try:
                event = commands.parse(message)
                event_id = commands.own_id(event)
                self._do(event, arrived_ns)
            except Refused as refused:
                refused.event_id = refused.event_id or event_id
                self._stage.send(self._stage.author.error(refused))

    def _do(self, event: Event, arrived_ns: int) -> None:
        stage = self._stage
        match event["type"]:
            case "input_audio_buffer.append":
                self._hear(event, arrived_ns)
            case "input_audio_buffer.commit":
                self._commit_now()
            case "input_audio_buffer.clear":
                self._clear()
            case "session.update":
                self._update(event["session"])
            case "conversation.item.create":
                self._create(event)
            case "conversation.item.retrieve":
                stage.send(stage.conversation.retrieve(event["item_id"]))
            case "conversation.item.delete":
                stage.send(stage.conversation.delete(event["item_id"]))
            case "conversation.item.truncate":
                where = event["content_index"], event["audio_end_ms"]
                stage.send(stage.conversation.truncate(event["item_id"], *where))
            case "response.create":
                self._respond(event.get("response") or {})
            case "response.cancel":
                self._cancel(event.get("response_id"))

    def _update(self, update: Event) -> None:
        stage = self._stage
        update = dict(update)
        # A client may repeat the model that it asked for; and the stamp stays.
        if update.get("model") == self._asked:
            del update["model"]
        update.pop("tracing", None)
        merged = settings.merged(stage.session, update, voice_fixed=self._replies.spoke)
        for side in ("input", "output"):
            if merged["audio"][side]["format"] != settings.PCM:
                param = f"session.audio.{side}.format"
                raise Refused(INVALID_VALUE, "This server takes audio/pcm at 24000 Hz.", param)
        stage.session = merged
        detection = self._detection
        if detection is not None and detection["type"] == "server_vad":
            self._listener.silence_ms = detection["silence_duration_ms"]
        stage.tell("session.updated", session=merged)

    def _create(self, event: Event) -> None:
        item = event["item"]
        self._stage.send(*self._stage.conversation.create(event))
        if item.get("role") == "user":
            self._asked_for(self._users)
            self._users += 1
            self._expect()
        elif item["type"] == "function_call_output":
            number = self._replies.calls.get(item["call_id"], max(0, self._users - 1))
            self._last = (number, True)

    def _respond(self, options: Event) -> None:
        settings.check_response(options)
        in_band = options.get("conversation", "auto") == "auto"
        if in_band and self._replies.active is not None:
            message = "Conversation already has an active response in progress."
            raise Refused(BUSY, f"{message} Wait until it is done, or cancel it.")
        number, follow_up = self._last
        now = self._stage.clock.now_ns()
        from_ns = self._end.t_ns if self._end is not None else now
        self._end = None
        due = max(from_ns + self._latencies.draw_ns(), now)
        self._replies.answer(Ask(number, due, follow_up), options)
        # Asked again, it does not call again.
        self._last = (number, True)

    def _cancel(self, response_id: str | None) -> None:
        active = self._replies.active
        if active is None or response_id not in (None, active.id):
            raise Refused(NOT_ACTIVE, "Cancellation failed: no active response found.")
        self._replies.cancel("client_cancelled")

    @property
    def _detection(self) -> Event | None:
        detection: Event | None = self._stage.session["audio"]["input"]["turn_detection"]
        return detection

    def _hear(self, event: Event, arrived_ns: int) -> None:
        samples = commands.sound(event)
        self._buffer.push(samples)
        for found in self._listener.hear(samples, arrived_ns):
            if isinstance(found, Began):
                self._start(found)
            elif self._detection is None:
                self._end = found
            else:
                self._stop(found)
        if self._detection is not None and self._speech is None:
            self._buffer.forget(self._buffer.end - KEPT_S * RATE)

    def _start(self, began: Began) -> None:
        """The user begins to speak."""
        detection = self._detection
        if detection is not None:
            if self._speech is not None:
                # The utterance before is over, but that was not said yet.
                self._finish_speech(self._buffer.end)
                self._replies.withdraw()
            self._began = began.sample
            padding = detection.get("prefix_padding_ms", 0)
            self._speech = self._stage.author.new_id("item")
            self._stage.tell(
                "input_audio_buffer.speech_started",
                item_id=self._speech,
                audio_start_ms=max(0, began.sample * 1000 // RATE - padding),
            )
            if detection["interrupt_response"]:
                self._replies.withdraw()
                self._replies.cancel("turn_detected")
        self._stage.tasks.create_task(self._replies.fault(self._users, "speech"))

    def _stop(self, ended: Ended) -> None:
        """The user's utterance is over; say so a little later, and answer."""
        number, turn = self._users, self._stage.turn(self._users)
        latency = self._latencies.draw_ns()
        pause = min(round(self._listener.silence_ms * NS_PER_MS), latency // 2)
        stop_ns = ended.t_ns + pause
        is_told = turn.ends_s is not None or turn.early_s is not None

        async def finish() -> Ask | None:
            if is_told:
                await sleep_until(stop_ns, self._stage.clock)
            self._finish_speech(self._buffer.end)
            detection = self._detection
            if detection is None or not detection["create_response"]:
                self._end = ended
                return None
            self._last = (number, True)
            return Ask(number, ended.t_ns + latency)

        self._replies.after(finish)

    def _finish_speech(self, end: int) -> None:
        """Say that the utterance is over, and make an item of it."""
        item_id = self._speech
        assert item_id is not None
        self._speech = None
        end_ms = end * 1000 // RATE
        self._stage.tell("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=end_ms)
        self._commit(item_id, self._began, end)

    def _commit_now(self) -> None:
        """The client says that the utterance is over."""
        if len(self._buffer) * 1000 < LEAST_COMMIT_MS * RATE:
            has = len(self._buffer) * 1000 / RATE
            message = f"Error committing input audio buffer: buffer has only {has:.2f}ms of audio."
            raise Refused(EMPTY_COMMIT, f"{message} Expected at least {LEAST_COMMIT_MS}ms.")
        self._end = self._listener.stop() or self._end
        if self._speech is not None:
            self._replies.withdraw()
            self._finish_speech(self._buffer.end)
        else:
            item_id = self._stage.author.new_id("item")
            self._commit(item_id, self._buffer.start, self._buffer.end)

    def _commit(self, item_id: str, start: int, end: int) -> None:
        """An utterance becomes an item of the conversation."""
        stage = self._stage
        before = stage.conversation.last_id
        stage.tell("input_audio_buffer.committed", item_id=item_id, previous_item_id=before)
        item = stage.author.user_audio(item_id)
        detection = self._detection or {}
        padding = detection.get("prefix_padding_ms", 0) * RATE // 1000
        sound = self._buffer.between(start - padding, end)
        stage.conversation.keep_sound(item_id, sound)
        self._buffer.clear()
        stage.send(stage.conversation.begin(item), stage.conversation.finish(item))
        self._transcribe(item, len(sound) / RATE)
        self._asked_for(self._users)
        self._users += 1
        self._expect()

    def _transcribe(self, item: Event, seconds: float) -> None:
        """Say what the utterance was understood as, if the client wants that."""
        stage = self._stage
        if stage.session["audio"]["input"]["transcription"] is None:
            return
        text = stage.turn(self._users).transcript
        item["content"][0]["transcript"] = text
        where: dict[str, Any] = {"item_id": item["id"], "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        words = text.split(" ")
        for place, word in enumerate(words if text else []):
            stage.tell(f"{kind}.delta", **where, delta=f" {word}" if place else word)
        usage = {"type": "duration", "seconds": seconds}
        stage.tell(f"{kind}.completed", **where, transcript=text, usage=usage)

    def _clear(self) -> None:
        """Forget what was heard and is no item."""
        self._replies.withdraw()
        self._buffer.clear()
        self._listener.reset()
        self._speech = self._end = None
        self._stage.tell("input_audio_buffer.cleared")

    def _asked_for(self, number: int) -> None:
        """The user's turn of that number is what a response answers now."""
        self._last = (number, False)

    def _expect(self) -> None:
        """Tell the listener of the next utterance."""
        turn = self._stage.turn(self._users)
        self._listener.expect(turn.ends_s, turn.early_s)


class _Over(Exception):
    """The client is gone, and with it all that is done for it."""
