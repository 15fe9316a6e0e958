"""The whole session in virtual time: turns, replies, interruptions, failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import virtual_time
from support.scene import ASKS, BLUNT, FRAME, LONG, Scene, run
from support.scripted import LOUD, RATE, Engines, Model, Speaker

from pipeline.config import Settings, TurnSettings
from pipeline.conversation.cascade import ATTEMPTS, ATTEMPTS_A_SECOND, Cascade
from pipeline.conversation.history import Message
from pipeline.engines.prosody import EXPLAINED, Prosody
from pipeline.engines.whisper import Transcription
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Failure,
    Frame,
    ReplyAudio,
    ReplyDone,
    ReplyDucked,
    ReplyInterrupted,
    ReplyStarted,
    ReplySwelled,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    Transcript,
)
from pipeline.text.heard import Sound
from pipeline.trace import Trace
from pipeline.turns.taker import TIMES, TurnTimes


def test_a_turn_is_heard_answered_and_remembered() -> None:
    scene = run(
        Scene(Engines(["What time is it?"], Model(["It is nine."]))),
        (0.5, False),
        (1.2, True),
        (3.0, False),
    )
    kinds = [type(e) for e in scene.events if not isinstance(e, Transcript) or e.final]
    assert kinds[:4] == [SpeechStarted, SpeechStopped, Transcript, ReplyStarted]
    assert scene.events[-1] == ReplyDone(1, "reply-1", "completed")
    assert scene.kept() == [
        ("user", "What time is it?"),
        ("assistant", "It is nine."),
    ]


@pytest.mark.parametrize(("takes_s", "spoken_s"), [(0.015, 3.0), (0.4, 20.0)])
def test_partial_transcripts_come_while_the_user_speaks(takes_s: float, spoken_s: float) -> None:
    engines = Engines(["Yes."], Model(["Good."]), recognise_s=takes_s)
    scene = run(Scene(engines), (0.5, False), (spoken_s, True), (3.0, False))
    partial = [e for e in scene.of(Transcript) if not e.final]
    assert len(partial) >= 3
    assert max(map(scene.events.index, partial)) < scene.events.index(SpeechStopped(1))


def test_the_latency_adds_up_and_the_endpoint_is_the_hold() -> None:
    engines = Engines(["What time is it?"], Model(["It is nine."]))
    scene = run(Scene(engines, options=BLUNT), (0.5, False), (1.2, True), (3.0, False))
    marks, timeline = scene.trace.marks(1), scene.timeline()
    assert sum(timeline.parts.values()) == timeline.total_ns
    assert abs(timeline.parts["endpoint"] / 1e6 - Settings().turns.hold_ms) <= 64
    assert abs(timeline.hidden["stt"] - 15e6) < 1e6
    order = ["speech.start", "speech.end", "vad.stop", "provisional", "stt.start", "committed"]
    assert [marks[name] for name in order] == sorted(marks[name] for name in order)


def test_the_recogniser_gets_preroll_and_tail_but_not_the_whole_hold() -> None:
    scene = run(Scene(Engines(["Yes."], Model(["Good."]))), (1.0, False), (1.0, True), (2.0, False))
    _, seconds = scene.engines.heard[-1]
    assert abs(seconds - (1.0 + (TIMES.preroll_ms + TIMES.tail_ms) / 1000)) < 0.07


def test_speaking_over_the_reply_ends_it_and_keeps_what_was_heard() -> None:
    scene = run(
        Scene(Engines(["When?", "Stop."], Model([LONG, "Fine."]))),
        (0.5, False),
        (1.0, True),
        (3.0, False),
        (1.0, True),
        (3.0, False),
    )
    [interrupted] = scene.of(ReplyInterrupted)
    assert interrupted.turn == 1
    heard = interrupted.heard_text.split()
    assert 3 < len(heard) < len(LONG.split())
    assert LONG.split()[: len(heard)] == heard
    roles = [(m.role, m.content.split()[: len(heard)]) for m in scene.session.history]
    assert roles[1] == ("assistant", heard)
    assert scene.engines.model.prompts[1][2]["content"].split()[: len(heard)] == heard
    assert scene.of(ReplyDone)[-1] == ReplyDone(2, "reply-2", "completed")


def test_speaking_before_anything_is_heard_leaves_no_trace_of_the_reply() -> None:
    model = Model([LONG, "Fine."], first_token_s=2.0)
    scene = run(
        Scene(Engines(["I want", "a ticket."], model), options=BLUNT),
        (0.5, False),
        (0.6, True),
        (1.0, False),
        (0.6, True),
        (5.0, False),
    )
    assert ReplyDone(1, "reply-1", "interrupted") in scene.events
    assert model.prompts[1][1:] == [{"role": "user", "content": "I want a ticket."}]
    assert [m.role for m in scene.session.history] == ["user", "user", "assistant"]


def test_speaking_on_during_recognition_loses_no_words() -> None:
    engines = Engines(["I want", "a ticket."], Model(["Fine."]), recognise_s=1.0)
    scene = run(Scene(engines), *ASKS, (0.8, False), (0.6, True), (4.0, False))
    assert scene.of(ReplyDone) == [
        ReplyDone(1, "", "interrupted"),
        ReplyDone(2, "reply-2", "completed"),
    ]
    assert engines.model.prompts[0][1:] == [{"role": "user", "content": "I want a ticket."}]


def test_a_cough_during_recognition_does_not_leave_the_question_unanswered() -> None:
    engines = Engines(["What time is it?", ""], Model(["Nine."]), recognise_s=1.0)
    scene = run(Scene(engines), *ASKS, (0.8, False), (0.2, True), (4.0, False))
    assert scene.of(ReplyDone)[-1] == ReplyDone(2, "reply-2", "completed")
    assert engines.model.prompts[0][-1]["content"] == "What time is it?"


def test_speech_without_end_is_recognised_whole() -> None:
    engines = Engines(["one"] * 9, Model(["Yes."]), recognise_s=0.5)
    run(Scene(engines), (0.5, False), (45.0, True), (3.0, False))
    assert sum(seconds for _, seconds in engines.heard) > 45
    assert engines.model.prompts[0][1:] == [{"role": "user", "content": "one one"}]


def test_a_voice_that_never_ends_is_answered_after_two_turns_and_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The voice that goes on neither stops the reply nor is lost."""
    engines = Engines(["one"] * 9, Model(["Yes.", "Well.", "So."]), recognise_s=0.5)
    scene = run(Scene(engines, partial_ms=0), (0.5, False), (140.0, True), (8.0, False))
    done = scene.of(ReplyDone)
    assert [event for event in done if event.status == "completed"] == [
        ReplyDone(2, "reply-2", "completed"),
        ReplyDone(4, "reply-4", "completed"),
        ReplyDone(5, "reply-5", "completed"),
    ]
    assert scene.of(ReplyInterrupted) == scene.of(ReplyDucked) == []
    assert engines.model.prompts[0][-1]["content"] == "one one"
    final = [seconds for _, seconds in engines.heard]
    assert sum(final) > 140
    assert caplog.messages[0].startswith("somebody has spoken for 30 s without an end")


class Television(Scene):
    """Somebody speaks from the beginning to the end; the user joins, 25 dB louder."""

    async def speak(self, seconds: float, *, loud: bool) -> None:
        self.said = 18_001 if loud else 0
        await super().speak(seconds, loud=True)


def test_a_television_is_neither_heard_nor_answered_once_the_user_has_spoken() -> None:
    engines = Engines(["Buy now.", "What time is it?"], Model(["It is nine. " * 20]))
    times = TurnTimes(preroll_ms=0, tail_ms=0)
    scene = run(
        Television(engines, options=BLUNT, times=times), (3.2, False), (1.6, True), (9.0, False)
    )
    told = scene.of(Transcript)
    assert told[0].text == "Buy now."
    assert "Buy now. What time is it?" not in [event.text for event in told]
    assert told[-1] == Transcript(1, "What time is it?", True)
    assert len(scene.of(SpeechStarted)) == 1
    assert scene.of(ReplyDucked) == scene.of(ReplyInterrupted) == []
    assert engines.model.prompts[0][1:] == [{"role": "user", "content": "What time is it?"}]


def test_a_cough_over_a_reply_ducks_it_and_it_swells_back() -> None:
    engines = Engines(["When?", "", "Stop it."], Model([LONG, "Yes."]))
    scene = run(
        Scene(engines),
        *(*ASKS, (3.0, False)),
        *((0.3, True), (2.0, False), (0.3, True), (3.0, False)),
    )
    kinds = [type(e) for e in scene.events if isinstance(e, ReplyDucked | ReplySwelled)]
    assert kinds == [ReplyDucked, ReplySwelled, ReplyDucked]
    assert [done.status for done in scene.of(ReplyDone)] == [
        "interrupted",
        "completed",
    ]
    assert [e.turn for e in scene.of(SpeechStarted)] == [1, 2]


@pytest.mark.parametrize(
    ("said", "sure", "seconds", "ends"),
    [
        *((sign, -0.1, 0.6, False) for sign in ("Mm-hm.", "Yeah.", "Okay, right.")),
        ("Bless you", -1.5, 0.5, False),  # a guess
        ("Stop.", -0.1, 0.6, True),
        ("", -0.1, 2.5, True),  # a long voice, whatever it says
    ],
)
def test_what_ends_a_reply(said: str, sure: float, seconds: float, ends: bool) -> None:
    engines = Engines(["When?", said], Model([LONG, "Pardon?"]), sure=sure)
    scene = run(Scene(engines), *ASKS, (3.0, False), (seconds, True), (30.0, False))
    assert bool(scene.of(ReplyInterrupted)) == ends
    if not ends:
        assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
        assert scene.session.history[-1].content == LONG.strip()


def test_words_said_one_by_one_end_a_reply_and_are_all_heard() -> None:
    engines = Engines(["When?", "Two.", "Seven."], Model([LONG, "Two?"]), sure=-0.8)
    word, gap = (0.3, True), (1.5, False)
    scene = run(Scene(engines), *ASKS, (3.0, False), word, gap, word, (9, False))
    said = [m.content for m in scene.session.history if m.role == "user"]
    assert said == ["When?", "Two. Seven."]
    assert scene.of(ReplyInterrupted)


@dataclass
class Slow(Engines):
    """Takes what is not heard for long enough for another word."""

    def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
        early = voiced_ms is not None and voiced_ms < 500
        return replace(heard, text="Emma") if early and heard.text else heard


@settings(deadline=None, max_examples=60)
@given(
    takes_s=st.floats(0.1, 2.0),
    spoken_s=st.lists(st.sampled_from([0.6, 0.9, 1.4, 1.9]), min_size=1, max_size=2),
    pause_s=st.sampled_from([0.06, 0.16, 0.36, 0.46]),
    reply=st.sampled_from([LONG, "The train leaves at nine in the morning."]),
)
@example(takes_s=1.0, spoken_s=[1.4], pause_s=0.06, reply=LONG)
@example(takes_s=0.2109375, spoken_s=[0.6], pause_s=0.06, reply=LONG)
@example(takes_s=0.25, spoken_s=[0.6, 0.6], pause_s=0.36, reply=LONG)
def test_what_is_said_over_a_reply_is_answered_however_slow_the_recogniser_is(
    takes_s: float, spoken_s: list[float], pause_s: float, reply: str
) -> None:
    """An order, with or without a pause; the reply may be over before it is understood."""
    words = ["Set a timer", "for ten minutes."][: len(spoken_s)]
    engines = Slow(["When?", *words], Model([reply, *["Done."] * 20]), recognise_s=takes_s)
    said = [part for seconds in spoken_s for part in ((pause_s, False), (seconds, True))]
    wait = (2 * takes_s + 1.5, False)
    scene = run(Scene(engines), *ASKS, wait, *said, (12.0, False))
    kept = [m.content for m in scene.session.history if m.role == "user"]
    assert " ".join(kept) == " ".join(["When?", *words])
    assert scene.kept()[-1] == ("assistant", "Done.")


@pytest.mark.parametrize("takes_s", [0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("said", ["", "Mm-hm.", "Emma.", "I'm so sorry."])
def test_a_slow_recogniser_makes_no_order_of_a_hum(takes_s: float, said: str) -> None:
    engines = Engines(["When?", said, ""], Model([LONG]), recognise_s=takes_s)
    hum = ((0.5, True), (0.2, False), (0.6, True), (6.0, False))
    scene = run(Scene(engines), *ASKS, (2 * takes_s + 1.5, False), *hum)
    assert scene.of(ReplyInterrupted) == []
    assert len(scene.of(ReplySwelled)) == len(scene.of(ReplyDucked)) > 0


def test_a_word_that_was_a_turn_says_nothing_over_the_next_reply() -> None:
    reply = "Yes. Yes. Yes. " + LONG
    engines = Engines(["When?", "Stop.", "Four."], Model([reply] * 3), sure=-0.8)
    parts = ((0.6, True), (2.0, False), (0.4, True), (1.6, False), (0.3, True), (6.0, False))
    scene = run(Scene(engines, options=BLUNT), (0.5, False), *parts)
    assert scene.of(ReplyInterrupted) == [ReplyInterrupted(1, "reply-1", ANY)]
    assert len(scene.of(ReplySwelled)) == 1


@pytest.mark.parametrize("fails", [True, False])
def test_who_reads_gets_the_end_however_a_session_is_left(fails: bool) -> None:
    async def leave() -> None:
        session = Cascade(
            Engines(["When?"], Model(["Nine."])), BLUNT, Trace(), virtual_time.VirtualClock()
        )

        async def hold() -> None:
            async with session:
                await asyncio.sleep(1)
                if fails:
                    raise ValueError("outside")
                await asyncio.sleep(100)

        async def read() -> list[Event]:
            return [event async for event in session.events()]

        held, reading = asyncio.create_task(hold()), asyncio.create_task(read())
        await asyncio.sleep(2)
        held.cancel()
        await asyncio.wait([held])
        held.cancelled() or held.exception()
        await asyncio.wait_for(reading, 1)

    virtual_time.run(leave())


def test_an_answer_is_ready_when_the_turn_ends() -> None:
    engines = Engines(["What time is it?"], Model(["It is nine."]))
    scene = run(Scene(engines), (0.5, False), (1.2, True), (3.0, False))
    marks = scene.trace.marks(1)
    assert marks["tts.first_audio"] < marks["committed"]
    audio = scene.of(ReplyAudio)[0]
    assert scene.events.index(SpeechStopped(1)) < scene.events.index(audio)
    timeline = scene.timeline()
    assert sum(timeline.parts.values()) - timeline.parts["endpoint"] <= 21e6
    assert timeline.hidden["llm_first_token"] == 80e6  # the judge is asked first


def test_a_first_clause_waits_for_a_place_to_cut_until_the_turn_is_nearly_over() -> None:
    engines = Engines(["What time is it?"], Model(["word " * 60], token_s=0.02))
    engines.voice.delay_s = 0.07
    scene = run(Scene(engines, options=BLUNT), (0.5, False), (1.2, True), (6.0, False))
    marks = scene.trace.marks(1)
    assert marks["clause.first"] > marks["committed"] - 1e8
    assert marks["clause.first"] > marks["llm.first_token"] + 1e8
    assert marks["tts.first_audio"] < marks["committed"]
    assert len(engines.voice.said[0].split()) > 4


def test_speaking_on_drops_the_answer_and_nobody_learns_of_it_but_from_the_trace(
    tmp_path: Path,
) -> None:
    engines = Engines(["I want", "a ticket."], Model([LONG, "Fine."]))
    scene = Scene(engines, file=tmp_path / "trace.jsonl")
    run(scene, *ASKS, (0.4, False), (0.6, True), (4.0, False))
    assert [m["content"] for m in engines.model.prompts[0][1:]] == ["I want"]
    assert [m["content"] for m in engines.model.prompts[1][1:]] == ["I want a ticket."]
    assert scene.kept() == [
        ("user", "I want a ticket."),
        ("assistant", "Fine."),
    ]
    assert scene.of(ReplyStarted) == [ReplyStarted(1, "reply-1")]
    assert not any("leaves" in e.delta for e in scene.of(ReplyText))
    assert [e.text for e in scene.of(Transcript) if e.final] == ["I want a ticket."]
    assert engines.model.open == engines.voice.open == 0
    assert engines.model.written < 40
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").open()][1:]
    [dropped] = [line for line in lines if line["mark"] == "discarded"]
    assert dropped["generation"] == 1
    assert dropped["transcribed"]
    assert dropped["characters"] > 0
    assert {line["generation"] for line in lines if line["mark"] == "llm.request"} == {1, 2}
    [committed] = [line for line in lines if line["mark"] == "committed"]
    assert committed["generation"] == 2


def test_attempts_are_bounded() -> None:
    pauses, every_s = 30, 0.5
    engines = Engines(["word"] * pauses, Model(["Fine."] * pauses))
    scene = Scene(engines)
    run(scene, (0.5, False), *[(0.2, True), (every_s - 0.2, False)] * pauses, (4.0, False))
    most = ATTEMPTS + ATTEMPTS_A_SECOND * pauses * every_s + 1
    assert ATTEMPTS + 1 < len(engines.model.prompts) <= most < pauses
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


@pytest.mark.parametrize("mode", ["overlapped", "sequential"])
def test_without_speculation_nothing_is_begun_before_the_end(mode: str) -> None:
    engines = Engines(["When?"], Model(["Nine."]))
    settings = Settings.model_validate({"reply": {"mode": mode}})
    scene = run(Scene(engines, options=settings), *ASKS, (3.0, False))
    marks = scene.trace.marks(1)
    assert marks["stt.start"] >= marks["committed"]
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


def test_of_engines_that_are_behind_nothing_is_asked_that_may_be_for_nothing() -> None:
    engines = Engines(["Please tell me when the train leaves."], Model(["Nine."]), behind=True)
    scene = run(Scene(engines), (0.5, False), (4.0, True), (3.0, False))
    marks = scene.trace.marks(1)
    assert marks["stt.start"] >= marks["committed"]
    assert all(prompt[-1]["role"] == "assistant" for prompt in engines.ahead)
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


@pytest.mark.parametrize("pauses", [1, ATTEMPTS + 1])
def test_other_words_in_the_end_are_answered_instead(pauses: int) -> None:
    class Soft(Engines):
        """With the real silence after it a soft last syllable is heard too."""

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            return replace(heard, text="Call Ann." if voiced_ms else "Call Anna.")

    model = Model([*["Ann."] * pauses, "Anna."])
    engines = Soft(["Call Ann."] * pauses, model)
    said = ((0.3, True), (0.1, False)) * pauses
    # The hold does not follow the pauses.
    options = Settings.model_validate({"turns": {"predict": False}})
    scene = run(Scene(engines, options=options), (0.5, False), *said, (3.0, False))
    assert [m.content for m in scene.session.history] == ["Call Anna.", "Anna."]
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    # However often the user has paused, that waits for nobody.
    assert scene.trace.marks(1)["llm.request"] < scene.trace.marks(1)["committed"]


@pytest.mark.parametrize(
    ("partly", "paused", "last", "answered"),
    [
        # It ended at a pause, as Whisper does now and then.
        ("Call Anna and say I am late.", "Call Anna and say I am late.", "Call Anna.", 1),
        ("Call Anna and say I am late.", "Call Anna.", "Call Anna and say.", 2),
        ("Thank you very much.", "Thank you very much.", "Yes.", 2),
        ("I am I am I am late.", "I am I am I am late.", "I am late.", 2),
    ],
)
def test_a_last_look_takes_no_words_away_that_it_does_not_replace(
    partly: str, paused: str, last: str, answered: int
) -> None:
    class Looking(Engines):
        """It hears something else while the user speaks, when they pause, and after that."""

        paused = False

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            self.paused = self.paused or bool(voiced_ms)
            return replace(heard, text=paused if voiced_ms else last if self.paused else partly)

    engines = Looking(["?"], Model(["First.", "Second."]))
    options = Settings.model_validate({"turns": {"predict": False}})
    scene = run(Scene(engines, options=options), (0.5, False), (3.0, True), (3.0, False))
    assert scene.session.history[0].content == (paused if answered == 1 else last)


def test_the_same_words_in_another_writing_are_answered_already() -> None:
    class Spelt(Engines):
        """With the real silence after it a word comes in two pieces."""

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            return replace(heard, text="The workhouse." if voiced_ms else "The work house.")

    engines = Spelt(["The workhouse."], Model(["It is gone."]))
    scene = run(Scene(engines), (0.5, False), (0.5, True), (3.0, False))
    assert [m.content for m in scene.session.history] == ["The workhouse.", "It is gone."]


PHRASES = [f"phrase {word}" for word in "abcdefghij"]
TALE = ((0.5, False), *((2.4, True), (0.3, False)) * (len(PHRASES) - 1), (2.4, True), (3.0, False))
"""Half a minute, with pauses that no turn ends in."""


@pytest.mark.parametrize("recognise_s", [0.02, 0.2])
def test_of_a_long_utterance_only_the_end_is_recognised_again(recognise_s: float) -> None:
    engines = Engines(PHRASES, Model(["Yes."] * 99), recognise_s=recognise_s)
    scene = run(Scene(engines, options=BLUNT), *TALE)
    assert scene.session.history[0].content == " ".join(PHRASES)
    assert max(seconds for _, seconds in engines.heard) < 8.0
    told = [event.text for event in scene.of(Transcript) if not event.final]
    assert all(text == " ".join(PHRASES[: len(text.split()) // 2]) for text in told)
    assert len(told) > 20


def test_without_pauses_all_of_it_is_recognised_again() -> None:
    engines = Engines(["one"], Model(["Yes."]))
    run(Scene(engines), (0.5, False), (20.0, True), (3.0, False))
    assert max(seconds for _, seconds in engines.heard) > 20.0


def test_a_pause_in_which_other_words_were_heard_is_no_place_to_cut() -> None:
    class Fickle(Engines):
        """In a pause it hears more than is said."""

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            return replace(heard, text=f"Oh, {heard.text}") if voiced_ms else heard

    engines = Fickle(PHRASES, Model(["Yes."] * 99))
    run(Scene(engines, options=BLUNT), *TALE)
    assert max(seconds for _, seconds in engines.heard) > 20.0


def test_words_that_are_left_out_where_others_come_before_are_not_lost() -> None:
    class Skipping(Engines):
        """Hears a phrase only where the sound begins with it."""

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            return replace(heard, text=heard.text.replace(" phrase b", ""))

    engines = Skipping(PHRASES, Model(["Yes."] * 99))
    scene = run(Scene(engines, options=BLUNT), *TALE)
    assert scene.session.history[0].content == " ".join(PHRASES)


def test_the_answer_to_a_long_utterance_is_ready_at_its_end() -> None:
    engines = Engines(PHRASES, Model(["Yes."] * 99))
    scene = run(Scene(engines, options=BLUNT), *TALE)
    marks = scene.trace.marks(1)
    assert marks["tts.first_audio"] < marks["committed"]


class Judging(Engines):
    """Its model takes its time to judge whether the user has finished."""

    async def judge(self, messages: Sequence[Mapping[str, Any]]) -> float | None:
        await asyncio.sleep(0.4)
        return None


class LettingGo(Speaker):
    """Takes its time to stop."""

    async def speak(self, text: str, speed: float = 1.0) -> AsyncGenerator[Sound, None]:
        try:
            async for sound in super().speak(text, speed):
                yield sound
                await asyncio.sleep(1.0)
        finally:
            await asyncio.sleep(0.4)


@pytest.mark.parametrize(
    "engines",
    [
        Judging(["What time is it now?"], Model(["It is nine."] * 2)),
        Engines(["What time", "is it?"], Model(["It is nine."] * 2), LettingGo()),
        Engines(["What time", "is it?"], Model(["It is nine."] * 2), recognise_s=0.6),
    ],
    ids=["the judge", "the answer before", "the recogniser"],
)
def test_who_is_waited_for_is_told(engines: Engines) -> None:
    """Whatever the reply waits for before its stages compute, it is none of our own time."""
    scene = run(Scene(engines), *ASKS, (0.3, False), (0.6, True), (5.0, False))
    timeline = scene.timeline()
    assert sum(timeline.parts.values()) == timeline.total_ns
    assert timeline.parts["own"] <= 25e6


def test_whoever_foresees_the_end_may_fail() -> None:
    class Broken(Engines):
        """Only what nobody can do without works."""

        async def melody(self, audio: npt.NDArray[np.float32]) -> float | None:
            raise StageError("endpoint", "failed")

        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            if voiced_ms is None:
                raise StageError("stt", "failed")
            return heard

    engines = Broken(["What time is it?"], Model(["It is nine."]))
    scene = run(Scene(engines), (0.5, False), (2.0, True), (3.0, False))
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    assert not scene.of(Failure)
    assert not [e for e in scene.of(Transcript) if not e.final]


@pytest.mark.parametrize(
    ("text", "language", "likely", "melody", "shorter"),
    [
        ("What time is it?", "en", 0.99, None, True),
        ("Tell me what the", "en", 0.01, None, False),
        # Of other languages the words tell nothing.
        ("何時ですか", "ja", None, 1.0, True),
        ("何時ですか", "ja", None, 0.0, False),
    ],
)
def test_words_and_melody_move_the_end_of_the_turn(
    text: str, language: str, likely: float | None, melody: float | None, shorter: bool
) -> None:
    finished = {} if likely is None else {text: likely}
    engines = Engines([text], Model(["Nine."]), finished=finished, sounds=melody, speaks=language)
    scene = run(Scene(engines), *ASKS, (4.0, False))
    waited_ms, turns = scene.timeline().parts["endpoint"] / 1e6, Settings().turns
    assert (waited_ms < turns.hold_ms - 64) == shorter
    assert shorter or waited_ms > turns.hold_ms + 64
    if likely is not None:
        expected = turns.shortest_ms if shorter else turns.longest_ms
        assert abs(waited_ms - expected) < 0.15 * expected + 64


@settings(deadline=None, max_examples=20)
@given(st.integers(100, 3000))
def test_whenever_the_turn_ends_the_same_is_told_in_the_same_order(hold_ms: int) -> None:
    turns = TurnSettings(predict=False, hold_ms=hold_ms)
    engines = Engines(["When?"], Model(["It leaves at nine in the morning, from platform four."]))
    scene = run(Scene(engines, options=Settings(turns=turns), partial_ms=0), *ASKS, (9.0, False))
    _, stopped, *rest = scene.events
    assert stopped == SpeechStopped(1)
    assert rest[:2] == [Transcript(1, "When?", True), ReplyStarted(1, "reply-1")]
    assert rest[-1] == ReplyDone(1, "reply-1", "completed")
    assert scene.time(scene.of(ReplyAudio)[0]) - scene.time(stopped) <= 0.25


def test_the_assistant_speaks_first_after_a_long_silence_but_not_for_ever() -> None:
    turns = TurnSettings(idle_s=5)
    engines = Engines(["Yes."], Model(["Good."]))
    scene = Scene(engines, options=Settings(turns=turns))
    run(scene, (30.0, False), (0.6, True), (3.0, False))
    assert [m.content for m in scene.session.history] == [
        turns.idle_text,
        turns.idle_text,
        "Yes.",
        "Good.",
    ]
    assert [e.turn for e in scene.of(ReplyDone)] == [1, 2, 3]


def test_a_turn_ends_where_audio_is_lost() -> None:
    """Not where the machine was only too busy to read a file, of which each sample is there."""

    class Asleep(Scene):
        lost = True

        async def speak(self, seconds: float, *, loud: bool) -> None:
            await super().speak(seconds, loud=loud)
            await asyncio.sleep(60.0 if loud else 0.0)
            self.offset += 60 * RATE if loud and self.lost else 0

    engines = Engines(["When", "Where?"], Model(["Nine.", "Here."]))
    scene = run(Asleep(engines), *ASKS, (3.0, False), (0.6, True), (3.0, False))
    assert [m.content for m in scene.session.history] == ["When", "Nine.", "Where?", "Here."]
    Asleep.lost = False
    busy = Asleep(Engines(["When is", "it?"], Model(["Nine."] * 9)))
    run(busy, *ASKS, (0.2, False), (0.6, True), (3.0, False))
    assert [m.content for m in busy.session.history] == ["When is it?", "Nine."]


def test_all_words_but_the_last_are_read_while_the_user_speaks() -> None:
    text = "Please tell me when the train leaves."
    engines = Engines([text], Model(["At nine."]))
    run(Scene(engines), (0.5, False), (4.0, True), (3.0, False))
    read = engines.ahead[0][-1]
    assert (read["role"], read["content"]) == ("user", "Please tell me when the train")


def test_a_session_keeps_the_language_that_is_beyond_doubt_and_the_next_one_does_not() -> None:
    engines = Engines(["Wann?", "Wo?"], Model(["Um neun.", "Hier."] * 2), speaks="de")
    talk = (*ASKS, (3.0, False), (0.6, True), (3.0, False))
    run(Scene(engines), *talk)
    assert engines.languages[0] == ""
    assert engines.languages[-1] == "de", "as what is usual"
    engines.languages.clear()
    run(Scene(engines), *talk)
    assert engines.languages[0] == ""


def test_one_task_may_send_and_read() -> None:
    words = "and then " * 300
    engines = Engines(["When?"], Model([words], token_s=0.0005))
    told = virtual_time.run(_alone(engines))
    assert told[0] == SpeechStarted(1)
    assert sum(isinstance(event, ReplyText) for event in told) > 256


async def _alone(engines: Engines) -> list[Event]:
    """All that a session tells a task that reads it only when it has sent everything."""
    held = Settings(turns=TurnSettings(predict=False, hold_ms=1500))
    session = Cascade(engines, held, Trace(None), virtual_time.VirtualClock())
    async with session:
        for i, level in enumerate([0] * 25 + [LOUD] * 30 + [0] * 200):
            await asyncio.sleep(0.02)
            samples = np.full(FRAME, level, np.int16)
            await session.send(Frame(samples, RATE, i * FRAME, session._clock.now_ns()))
    return [event async for event in session.events()]


def test_a_recogniser_that_fails_aside_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    engines = Engines(["FAIL"], Model([]))
    scene = run(Scene(engines), (0.5, False), (6.0, True), (3.0, False))
    assert caplog.text.count("cannot be recognised while it is said: the recogniser failed") == 1
    assert scene.of(Failure)


def test_what_is_wrong_in_the_program_itself_is_not_hidden() -> None:
    class Broken(Engines):
        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            raise TypeError("ours")

    with pytest.raises(BaseExceptionGroup, match="unhandled") as caught:
        run(Scene(Broken(["When?"], Model([]))), (0.5, False), (6.0, True), (3.0, False))
    assert caught.group_contains(TypeError, match="ours")


def test_no_words_no_reply() -> None:
    scene = run(Scene(Engines([""], Model([]))), *ASKS, (3.0, False))
    assert scene.events[-1] == ReplyDone(1, "", "skipped")
    assert scene.session.history == []


@pytest.mark.parametrize(
    ("told", "said", "answered"),
    [
        ("It is nine.", "Oh.", False),
        ("It is nine.", "Mm-hm, uh-huh.", False),
        ("It is nine. Shall I wake you? Breakfast is at ten.", "Uh-huh.", True),
        ("九点了。要我叫你吗？", "Uh-huh.", True),
        ("It is nine.", "Okay.", True),
        ("It is nine.", "Where?", True),
        ("It is nine.", "Oh, no.", True),
    ],
)
def test_a_hum_is_answered_only_where_something_was_asked(
    told: str, said: str, answered: bool
) -> None:
    engines = Engines(["What time is it?", said], Model([told, "So be it."]))
    scene = run(Scene(engines), *ASKS, (6.0, False), (0.6, True), (3.0, False))
    assert scene.of(ReplyDone)[-1] == ReplyDone(
        2, "reply-2" if answered else "", "completed" if answered else "skipped"
    )
    assert (("user", said) in scene.kept()) == answered


def test_a_noise_before_the_words_is_no_turn_of_its_own() -> None:
    engines = Engines(["", "What time is it?"], Model(["It is nine."]))
    scene = run(Scene(engines), (0.5, False), (0.2, True), (1.2, False), (1.0, True), (3.0, False))
    assert [e.turn for e in scene.of(SpeechStopped)] == [1]
    assert scene.events[-1] == ReplyDone(1, "reply-1", "completed")
    assert scene.session.history[0].content == "What time is it?"


def test_a_failing_turn_is_told_and_the_next_one_works() -> None:
    told = [
        Failure(1, "stt", "the recogniser failed", False),
        Failure(2, "llm", "refused", False),
        Failure(3, "llm", ANY, False),
        Failure(4, "tts", "the voice failed", False),
        Failure(5, "cascade", "ValueError: ours", False),
    ]
    model = Model(
        [
            StageError("llm", "refused"),
            "",
            "This will FAIL. " + LONG,
            ValueError("ours"),
            "It is nine.",
        ]
    )
    engines = Engines(["FAIL", "One?", "Two?", "Three?", "Four?", "Five?"], model)
    scene = run(Scene(engines), *[*ASKS, (2.0, False)] * 6)
    assert scene.of(Failure) == told
    assert "nothing to say" in scene.of(Failure)[2].message
    assert [done.status for done in scene.of(ReplyDone)] == ["failed"] * 5 + ["completed"]
    assert scene.kept() == [
        *(("user", text) for text in ("One?", "Two?", "Three?", "Four?", "Five?")),
        ("assistant", "It is nine."),
    ]
    assert model.prompts[-1][-1]["content"] == "One? Two? Three? Four? Five?"
    assert max(seconds for _, seconds in engines.heard) < 1.5, "each is recognised alone"
    assert model.open == engines.voice.open == 0
    assert model.written < 40


def test_a_conversation_goes_on_where_it_was_saved() -> None:
    history = [Message("user", "I am Alice.", 1), Message("assistant", "Hello Alice.", 1)]
    engines = Engines(["Who am I?"], Model(["Alice."]))
    scene = run(Scene(engines, history), *ASKS, (2.0, False))
    assert [m["content"] for m in engines.model.prompts[0][1:]] == [
        "I am Alice.",
        "Hello Alice.",
        "Who am I?",
    ]
    assert scene.events[-1].turn == 2


def test_the_next_prompt_is_read_while_the_reply_plays() -> None:
    engines = Engines(["When?", "Where?"], Model([LONG, "Here."]))
    run(Scene(engines), *[*ASKS, (25.0, False)] * 2)
    assert engines.ahead[0][-1] == {"role": "assistant", "content": LONG.strip()}
    assert engines.model.prompts[1][:-1] == engines.ahead[0]


def test_leaving_in_the_middle_of_a_reply_keeps_what_was_heard() -> None:
    scene = run(Scene(Engines(["When?"], Model([LONG]))), (0.5, False), (1.0, True), (3.0, False))
    [_, assistant] = scene.session.history
    assert 0 < len(assistant.content.split()) < len(LONG.split())


CALM = Prosody(2.0, (), -25.0, 40.0, 0.8, 120.0, 7.0)
LOUD_AND_FAST = replace(CALM, spoken_s=1.4, level_db=-12.0)
NOTE = "speaks fast, louder than before"
ORDERS = ["Where is my", "Where is my order now, please?", "Thank you very much indeed."]


def hurried(mode: str) -> Scene:
    """Somebody who asks for their order twice, the second time in haste, and thanks then."""
    options = Settings.model_validate(
        {"conversation": {"prosody": True}, "reply": {"mode": mode}, "turns": {"predict": True}}
    )
    engines = Engines(["Where is my order, please?", *ORDERS[1:]], Model(["Soon."] * 3))
    engines.spoken = [CALM, LOUD_AND_FAST, CALM]
    return run(Scene(engines, options=options), *[*ASKS, (3.0, False)] * 3)


@pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])
def test_the_model_is_told_how_something_was_said_and_nobody_else_is(mode: str) -> None:
    scene = hurried(mode)
    first, second, third = scene.engines.model.prompts
    assert first[0]["content"] == f"{Settings().llm.instructions} {EXPLAINED}"
    assert first[-1]["content"] == "Where is my order, please?"
    assert second[-1]["content"] == f"{ORDERS[1]} [{NOTE}]"
    assert third[: len(second)] == second, "so that what has been read need not be read again"
    assert [m.content for m in scene.session.history if m.role == "user"][1] == ORDERS[1]
    told = [event.text for event in scene.of(Transcript)]
    assert not [text for text in told if "speaks" in text]
    assert not [said for said in scene.engines.voice.said if "speaks" in said]
    assert [message["content"] for message in scene.engines.ahead[-1]][3] == second[-1]["content"]


def test_whether_the_words_are_whole_is_judged_without_the_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged: list[str] = []

    async def judge(self: Engines, messages: Sequence[Mapping[str, Any]]) -> None:
        judged.append(messages[-1]["content"])

    monkeypatch.setattr(Engines, "judge", judge)
    hurried("speculative")
    assert ORDERS[1] in judged
    assert not [text for text in judged if "[" in text]


def test_of_what_is_said_in_pieces_each_keeps_its_note() -> None:
    history = [Message("user", "I want", 1, note="speaks fast"), Message("user", "a ticket.", 2)]
    engines = Engines(["Now."], Model(["Fine."]))
    run(Scene(engines, history), *ASKS, (3.0, False))
    assert engines.model.prompts[0][1]["content"] == "I want [speaks fast] a ticket. Now."


def test_nothing_is_measured_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Engines, "prosody")
    engines = Engines(["When?"], Model(["Now."]))
    run(Scene(engines), *ASKS, (3.0, False))
    assert engines.model.prompts[0] == [
        {"role": "system", "content": Settings().llm.instructions},
        {"role": "user", "content": "When?"},
    ]
