"""An answer that is held: nothing of it gets out before the commit, and all of it after."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from support import virtual_time
from support.scripted import Engines, Model

from pipeline.config import Reply as ReplySettings
from pipeline.conversation.answer import Answer, Gate
from pipeline.conversation.history import History
from pipeline.engines.whisper import Transcription
from pipeline.errors import StageError
from pipeline.events import (
    Event,
    Failure,
    ReplyAudio,
    ReplyDone,
    ReplyStarted,
    SpeechStarted,
    Transcript,
)
from pipeline.trace import Trace

TEXT = "It leaves at nine in the morning, from platform four."


class Attempt:
    """An answer and what it told, with times (s)."""

    def __init__(self, script: str | StageError, recognised: str = "When?") -> None:
        self.engines = Engines([recognised], Model([script]))
        self.conversation = History("Be brief.", budget_tokens=1000, retention=0.5)
        self.told: list[tuple[float, Event]] = []
        self.began = 0
        self.recognised = recognised

    async def emit(self, event: Event) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))

    async def recognise(self) -> Transcription:
        await asyncio.sleep(0.05)
        if self.recognised == "FAIL":
            raise StageError("stt", "failed")
        return Transcription(self.recognised, "en", -0.1, 0.0, 1.0)

    async def run(self, commit_s: float | None, total_s: float = 30.0) -> Answer:
        def began(_: object) -> None:
            self.began += 1

        async def judge(*_: object) -> None:
            await asyncio.sleep(0.01)

        answer = Answer(
            1,
            1,
            engines=self.engines,
            settings=ReplySettings(lead_s=30),
            conversation=self.conversation,
            trace=Trace(),
            clock=virtual_time.VirtualClock(),
            emit=self.emit,
            began=began,
        )
        task = asyncio.create_task(answer.run(self.recognise, judge))
        if commit_s is not None:
            await asyncio.sleep(commit_s)
            await answer.commit()
            await asyncio.sleep(total_s)
        else:
            await asyncio.sleep(total_s)
            task.cancel()
        await asyncio.wait([task])
        return answer

    @property
    def kinds(self) -> list[type[Event]]:
        return list(dict.fromkeys(type(event) for _, event in self.told))


def test_an_answer_that_is_never_committed_leaves_no_trace() -> None:
    attempt = Attempt(TEXT)
    answer = virtual_time.run(attempt.run(None))
    assert attempt.told == []
    assert attempt.began == 0
    assert attempt.conversation.history == []
    assert answer.wasted()["characters"] == len(TEXT) + 1
    assert answer.wasted()["speech_ms"] > 1000


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 3))
def test_whenever_it_is_committed_the_same_is_told_in_the_same_order(commit_s: float) -> None:
    attempt = Attempt(TEXT)
    answer = virtual_time.run(attempt.run(commit_s))
    assert all(t >= commit_s - 1e-6 for t, _ in attempt.told)
    first, second, *_ = (event for _, event in attempt.told)
    assert first == Transcript(1, "When?", True)
    assert second == ReplyStarted(1, "reply-1")
    assert attempt.told[-1][1] == ReplyDone(1, "reply-1", "completed")
    assert attempt.began == 1
    assert [m.content for m in attempt.conversation.history] == ["When?", TEXT]
    audio = [t for t, event in attempt.told if isinstance(event, ReplyAudio)]
    assert audio[0] - commit_s <= 0.25
    assert answer.committed


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.sampled_from(["llm", "stt"]))
def test_a_failure_is_told_after_the_commit_only(commit_s: float, stage: str) -> None:
    attempt = Attempt(StageError("llm", "failed"), "FAIL" if stage == "stt" else "When?")
    virtual_time.run(attempt.run(commit_s))
    assert all(t >= commit_s - 1e-6 for t, _ in attempt.told)
    assert Failure(1, stage, "failed", False) in [event for _, event in attempt.told]
    assert attempt.told[-1][1].turn == 1
    assert isinstance(attempt.told[-1][1], ReplyDone)


def test_a_gate_keeps_the_order_of_what_comes_while_it_opens() -> None:
    passed: list[Event] = []

    async def slowly(event: Event) -> None:
        await asyncio.sleep(0.1)
        passed.append(event)

    async def scene() -> None:
        gate = Gate(slowly)
        for turn in range(3):
            await gate.emit(SpeechStarted(turn))
        opening = asyncio.create_task(gate.open())
        await asyncio.sleep(0.15)
        await gate.emit(SpeechStarted(3))
        await opening
        await gate.emit(SpeechStarted(4))

    virtual_time.run(scene())
    assert [event.turn for event in passed] == list(range(5))
