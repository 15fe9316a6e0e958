"""One reply in virtual time: what overlaps, what is bounded, what is left when it is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import virtual_time
from support.scripted import Model, Speaker

from pipeline.config import ReplyMode
from pipeline.conversation.reply import PACE, Reply, ReplyPace
from pipeline.engines.llm import Messages
from pipeline.engines.tools import ToolUse
from pipeline.errors import StageError
from pipeline.events import Event, ReplyAudio, ReplyText, Usage
from pipeline.trace import DETAILS

STORY = (
    "Well, the train to Madrid leaves at nine in the morning, from platform four. "
    "It takes about three hours, and there is a dining car. "
    "Would you like me to book a seat for you? "
) * 3
CALL = "CALL:tool:{}"
MESSAGES = [{"role": "user", "content": "When does the train leave?"}]


@dataclass
class Stage:
    """A reply and what it did."""

    model: Model
    voice: Speaker = field(default_factory=Speaker)
    mode: ReplyMode = "speculative"
    pace: ReplyPace = PACE
    events: list[tuple[float, Event]] = field(default_factory=list)
    marks: list[tuple[str, float]] = field(default_factory=list)
    playing: bool = True
    details: list[tuple[str, Any]] = field(default_factory=list)
    tool_s: float = 3.0

    def reply(self) -> Reply:
        loop = asyncio.get_running_loop()

        reply = Reply(
            1,
            model=self.model,
            voice=self.voice,
            mode=self.mode,
            pace=self.pace,
            clock=virtual_time.VirtualClock(),
            tell=lambda event: self.events.append((loop.time(), event)),
            mark=self.mark,
            tools=self.use,
        )
        reply.begin("reply-1")
        return reply

    async def use(self, reply: Reply, uses: Sequence[ToolUse]) -> Messages:
        """The tools take their time."""
        await asyncio.sleep(self.tool_s)
        return MESSAGES

    def mark(self, name: str, **more: Any) -> None:
        if name in DETAILS:
            self.details.append((name, *more.values()))
        else:
            self.marks.append((name, asyncio.get_running_loop().time()))

    async def play(self, reply: Reply) -> None:
        """Hear the reply in real time, 20 ms at a time."""
        position = 0
        while self.playing:
            await asyncio.sleep(0.02)
            position = min(position + self.voice.rate // 50, self.made())
            reply.played(position)

    def made(self) -> int:
        return sum(len(e.frame.samples) for _, e in self.events if isinstance(e, ReplyAudio))

    def text(self) -> str:
        return "".join(e.delta for _, e in self.events if isinstance(e, ReplyText))


async def _run(stage: Stage, *, cancel_after: float | None = None) -> Reply:
    reply = stage.reply()
    task = asyncio.create_task(reply.make(MESSAGES))
    player = asyncio.create_task(stage.play(reply))
    try:
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()):
            raise error
    finally:
        player.cancel()
    return reply


def test_first_clause_is_spoken_while_the_model_writes() -> None:
    stage = Stage(Model([STORY]))
    virtual_time.run(_run(stage))
    first_audio = next(t for t, e in stage.events if isinstance(e, ReplyAudio))
    last_word = max(t for t, e in stage.events if isinstance(e, ReplyText))
    assert first_audio < last_word / 2
    assert dict(stage.marks)["tts.first_audio"] < dict(stage.marks)["llm.last_token"]


def test_marks_come_once_and_in_order() -> None:
    stage = Stage(Model([STORY]))
    virtual_time.run(_run(stage))
    names = [name for name, _ in stage.marks]
    assert len(names) == len(set(names))
    assert [n for n in names if n != "llm.last_token"] == [
        "llm.request",
        "llm.first_token",
        "clause.first",
        "tts.start",
        "tts.first_audio",
        "tts.last_audio",
    ]


@pytest.mark.parametrize("mode", ["overlapped", "sequential"])
def test_details_tell_of_each_token_clause_and_piece_of_sound(
    mode: Literal["overlapped", "sequential"],
) -> None:
    stage = Stage(Model([STORY]), mode=mode)
    virtual_time.run(_run(stage))
    told = {name: [what for n, what in stage.details if n == name] for name in DETAILS}
    assert "".join(told["token"]) == stage.text()
    assert " ".join(told["clause"]).split() == stage.text().split()
    assert told["tts.clause"] == told["clause"]
    assert sum(told["tts.piece"]) >= stage.made() > 0


def test_everything_written_is_spoken_in_order() -> None:
    stage = Stage(Model([STORY]))
    reply = virtual_time.run(_run(stage))
    assert " ".join(stage.voice.said).split() == STORY.split()
    assert reply.text == stage.text()
    offsets = [e.frame.offset for _, e in stage.events if isinstance(e, ReplyAudio)]
    lengths = [len(e.frame.samples) for _, e in stage.events if isinstance(e, ReplyAudio)]
    assert offsets == [sum(lengths[:i]) for i in range(len(lengths))]


def test_usage_is_told() -> None:
    stage = Stage(Model(["Yes."]))
    virtual_time.run(_run(stage))
    assert [e for _, e in stage.events if isinstance(e, Usage)] == [Usage(1, 10, 5, 1)]


@pytest.mark.parametrize("mode", ["overlapped", "sequential"])
def test_what_was_written_before_a_lull_is_spoken_in_it(mode: ReplyMode) -> None:
    stage = Stage(
        Model([f"Let me see {CALL}", f"{STORY}{CALL}", "Well"]),
        mode=mode,
    )
    reply = virtual_time.run(_run(stage))
    assert stage.voice.said[0] == "Let me see"
    assert " ".join(stage.voice.said).split() == ["Let", "me", "see", *STORY.split(), "Well"]
    assert [stage.text()[cut:][:9] for cut in reply.cuts] == ["Well, the", "Well "]
    audio = [(t, e) for t, e in stage.events if isinstance(e, ReplyAudio)]
    offsets = [e.frame.offset for _, e in audio]
    lengths = [len(e.frame.samples) for _, e in audio]
    assert offsets == [sum(lengths[:i]) for i in range(len(lengths))]
    assert audio[0][0] < 1.0
    assert any(e.filler for _, e in audio) or mode == "overlapped"
    assert not audio[-1][1].filler
    names = [name for name, _ in stage.marks]
    assert len(names) == len(set(names))
    marks = dict(stage.marks)
    assert marks["llm.first_token"] < 1.0
    assert marks["llm.last_token"] > 6.0
    assert marks["tts.last_audio"] > 6.0


def test_after_a_lull_a_pass_begins_as_a_reply_does() -> None:
    """The deadline cuts the first clause of each pass; no pass begins with a single word."""
    words = " ".join(["word"] * 20)
    stage = Stage(
        Model([f"{words} {CALL}", words], token_s=0.05),
        pace=ReplyPace(first_deadline_ms=300),
    )
    virtual_time.run(_run(stage))
    clauses = [what for name, what in stage.details if name == "clause"]
    tokens = [t for t, e in stage.events if isinstance(e, ReplyText)]
    first = next(i for i in range(len(clauses)) if sum(map(len, clauses[:i])) >= len(words) * 0.8)
    assert all(len(clause.split()) >= 2 for clause in clauses)
    assert 4 <= len(clauses[first].split()) <= 8
    assert tokens[20] - tokens[19] > 3


@settings(max_examples=60)
@given(cut=st.floats(0, 20), heard=st.integers(0, 30_000))
def test_cut_in_or_after_a_lull_it_knows_what_was_heard(cut: float, heard: int) -> None:
    stage = Stage(Model([f"**Let me see.** {CALL}", STORY]))

    async def scene() -> None:
        reply = await _run(stage, cancel_after=cut)
        assert stage.model.open == stage.voice.open == 0
        reply.stop()
        reply.played(heard)
        assert stage.text().startswith(reply.heard_text())

    virtual_time.run(scene())


def test_it_knows_when_all_before_a_lull_was_heard() -> None:
    stage = Stage(Model([f"Let me see. {CALL}", "Fine."]))
    lulled: list[tuple[float, bool]] = []

    async def scene() -> None:
        reply = stage.reply()
        task = asyncio.create_task(reply.make(MESSAGES))
        player = asyncio.create_task(stage.play(reply))
        while not task.done():
            lulled.append((asyncio.get_running_loop().time(), reply.lulled))
            await asyncio.sleep(0.1)
        lulled.append((asyncio.get_running_loop().time(), reply.lulled))
        player.cancel()

    virtual_time.run(scene())
    times = [t for t, yes in lulled if yes]
    assert 0.6 < min(times) < 1.5
    assert 2.9 < max(times) < 3.3


def test_no_more_is_made_ahead_than_the_lead() -> None:
    stage = Stage(Model([STORY]), pace=ReplyPace(lead_s=2.0))
    ahead: list[float] = []

    async def watch() -> None:
        reply = stage.reply()
        task = asyncio.create_task(reply.make(MESSAGES))
        position = 0
        while not task.done():
            await asyncio.sleep(0.02)
            longest = max((len(c) for c in stage.voice.said), default=0) * 60 / 2
            ahead.append((stage.made() - position - longest) / stage.voice.rate)
            position = min(position + 20, stage.made())
            reply.played(position)

    virtual_time.run(watch())
    assert max(ahead) <= 2.0
    assert " ".join(stage.voice.said).split() == STORY.split()


def test_without_punctuation_the_deadline_cuts_the_first_clause() -> None:
    words = " ".join(["word"] * 60)
    stage = Stage(Model([words], token_s=0.05), pace=ReplyPace(first_deadline_ms=300))
    virtual_time.run(_run(stage))
    marks = dict(stage.marks)
    assert marks["clause.first"] - marks["llm.first_token"] == pytest.approx(0.3, abs=0.06)


def test_sequential_mode_does_one_thing_after_another() -> None:
    stage = Stage(Model([STORY]), mode="sequential")
    virtual_time.run(_run(stage))
    last_word = max(t for t, e in stage.events if isinstance(e, ReplyText))
    audio = [t for t, e in stage.events if isinstance(e, ReplyAudio)]
    assert dict(stage.marks)["tts.start"] >= last_word
    assert min(audio) >= dict(stage.marks)["tts.last_audio"]
    assert " ".join(stage.voice.said).split() == STORY.split()


@pytest.mark.parametrize("mode", ["overlapped", "sequential"])
def test_a_model_that_breaks_off_is_heard_so_far_and_then_fails(mode: ReplyMode) -> None:
    stage = Stage(
        Model(["It leaves at nine from BREAK platform four."]),
        mode=mode,
    )
    with pytest.raises(StageError, match="broke off"):
        virtual_time.run(_run(stage))
    assert " ".join(stage.voice.said).split() == ["It", "leaves", "at", "nine", "from"]


def test_a_voice_that_fails_ends_the_writing() -> None:
    stage = Stage(Model(["This is a FAIL, " + STORY]))
    with pytest.raises(StageError, match="voice failed"):
        virtual_time.run(_run(stage))
    assert stage.model.open == 0
    assert stage.model.written < len(STORY.split())


def test_an_empty_reply_ends() -> None:
    stage = Stage(Model([""]))
    virtual_time.run(_run(stage))
    assert stage.voice.said == []


@settings(max_examples=60)
@given(cut=st.floats(0, 15), mode=st.sampled_from(["overlapped", "sequential"]))
def test_cancelled_at_any_instant_it_stops_at_once_and_knows_what_was_heard(
    cut: float, mode: ReplyMode
) -> None:
    stage = Stage(Model([STORY]), mode=mode)

    async def scene() -> None:
        reply = await _run(stage, cancel_after=cut)
        count = len(stage.events)
        assert stage.model.open == 0
        assert stage.voice.open == 0
        await asyncio.sleep(5)
        assert len(stage.events) == count
        reply.stop()
        heard = reply.heard_text()
        assert stage.text().startswith(heard)
        assert STORY.split()[: len(heard.split())] == heard.split()

    virtual_time.run(scene())


def test_heard_text_follows_the_playing() -> None:
    stage = Stage(Model([STORY]))

    async def scene() -> list[int]:
        reply = stage.reply()
        task = asyncio.create_task(reply.make(MESSAGES))
        counts = []
        for position in range(0, 40_000, 500):
            await asyncio.sleep(0.5)
            reply.played(position)
            counts.append(len(reply.heard_text().split()))
        await task
        return counts

    counts = virtual_time.run(scene())
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == len(STORY.split())
