"""A reply in virtual time: what overlaps, what is bounded, what is spoken and told of."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from support.scene import ASKS, Scene, run
from support.scripted import Engines, Model

from pipeline.config import Settings
from pipeline.conversation.reply import ReplyPace
from pipeline.engines.tools import Tool
from pipeline.events import Failure, ReplyAudio, ReplyDone, ReplyInterrupted, ReplyText
from pipeline.trace import DETAILS

STORY = (
    "Well, the train to Madrid leaves at nine in the morning, from platform four. "
    "It takes about three hours, and there is a dining car. "
    "Would you like me to book a seat for you? "
) * 3
CALL = "CALL:tool:{}"
MODES = pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])


def answer(
    *scripts: str,
    mode: str = "overlapped",
    token_s: float = 0.01,
    first_token_s: float = 0.07,
    pace: ReplyPace | None = None,
    tool_s: float = 3.0,
    file: Path | None = None,
    total_s: float = 60.0,
) -> Scene:
    """The model writes these scripts; each but the last ends with a call."""
    model = Model(list(scripts), first_token_s=first_token_s, token_s=token_s)
    engines = Engines(["When does the train leave?"], model)
    scene = Scene(
        engines,
        options=Settings.model_validate({"reply": {"mode": mode}}),
        tools=[Tool("tool")],
        results=[(tool_s, "done")] * len(scripts),
        file=file,
        pace=pace or ReplyPace(),
    )
    return run(scene, *ASKS, (total_s, False))


def details(file: Path) -> dict[str, list[dict[str, str]]]:
    """The lines of a trace, by their marks."""
    lines = [json.loads(line) for line in file.open()][1:]
    return {name: [line for line in lines if line["mark"] == name] for name in DETAILS}


@MODES
def test_everything_written_is_spoken_in_order_and_told_of_in_detail(
    mode: str, tmp_path: Path
) -> None:
    scene = answer(STORY, mode=mode, file=tmp_path / "trace.jsonl")
    assert scene.text("reply-1").split() == STORY.split()
    assert " ".join(scene.engines.voice.said).split() == STORY.split()
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]
    told = details(tmp_path / "trace.jsonl")
    assert "".join(line["text"] for line in told["token"]) == scene.text("reply-1")
    assert [line["text"] for line in told["clause"]] == scene.engines.voice.said
    assert [line["text"] for line in told["tts.clause"]] == scene.engines.voice.said
    made = sum(len(event.frame.samples) for event in scene.of(ReplyAudio))
    assert sum(int(line["samples"]) for line in told["tts.piece"]) >= made > 0


def test_the_first_clause_is_spoken_while_the_model_writes() -> None:
    scene = answer(STORY, token_s=0.05)
    first, last = scene.of(ReplyAudio)[0], scene.of(ReplyText)[-1]
    begun = scene.time(scene.of(ReplyText)[0])
    assert scene.time(first) - begun < (scene.time(last) - begun) / 2
    marks = scene.trace.marks(1)
    order = ["llm.request", "llm.first_token", "clause.first", "tts.start", "tts.first_audio"]
    assert sorted(order, key=marks.__getitem__) == order
    assert marks["tts.first_audio"] < marks["llm.last_token"] < marks["tts.last_audio"]


def test_sequential_mode_does_one_thing_after_another() -> None:
    scene = answer(STORY, mode="sequential")
    marks = scene.trace.marks(1)
    written, heard = scene.of(ReplyText)[-1], scene.of(ReplyAudio)[0]
    assert round(scene.time(written) * 1e9) <= marks["tts.start"]
    assert round(scene.time(heard) * 1e9) >= marks["tts.last_audio"]


@MODES
def test_what_was_written_before_a_call_is_spoken_while_the_tool_works(
    mode: str, tmp_path: Path
) -> None:
    scripts = (f"Let me see {CALL}", f"{STORY}{CALL}", "Well")
    scene = answer(*scripts, mode=mode, file=tmp_path / "trace.jsonl")
    said = scene.engines.voice.said
    assert said[0] == "Let me see"
    assert " ".join(said).split() == ["Let", "me", "see", *STORY.split(), "Well"]
    assert scene.time(scene.of(ReplyAudio)[0]) < 3.0
    assert not scene.of(ReplyAudio)[-1].filler
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").open()][1:]
    once = Counter(line["mark"] for line in lines if line["mark"].startswith(("llm", "tts.last")))
    assert set(once.values()) == {1}
    marks = scene.trace.marks(1)
    assert min(marks["llm.last_token"], marks["tts.last_audio"]) > marks["llm.first_token"] + 6e9


def test_no_more_is_made_ahead_than_the_lead() -> None:
    """And one piece: what a piece ends is known only when it is there."""

    class Watched(Scene):
        """Looks at how much is made ahead whenever something is played."""

        ahead = 0.0

        async def play(self) -> None:
            self.session.heard, heard = self.heard, self.session.heard  # type: ignore[method-assign]
            self._heard = heard
            await super().play()

        async def heard(self, reply_id: str, samples: int) -> None:
            longest = max(map(len, self.engines.voice.said)) * 60 / 2
            self.ahead = max(self.ahead, (self._made[reply_id] - samples - longest) / 1000)
            await self._heard(reply_id, samples)

    scene = Watched(Engines(["When?"], Model([STORY])), pace=ReplyPace(lead_s=2.0))
    run(scene, *ASKS, (60.0, False))
    assert 1.0 < scene.ahead <= 2.0
    assert " ".join(scene.engines.voice.said).split() == STORY.split()


@pytest.mark.parametrize(("deadline_ms", "least", "most"), [(300, 4, 8), (30, 2, 2)])
def test_without_punctuation_the_deadline_cuts_the_first_clause_of_each_pass(
    deadline_ms: int, least: int, most: int, tmp_path: Path
) -> None:
    """No pass begins with a single word, however late it is."""
    words = " ".join(["word"] * 20)
    pace = ReplyPace(first_deadline_ms=deadline_ms)
    scene = answer(f"{words} {CALL}", words, token_s=0.05, pace=pace, file=tmp_path / "trace.jsonl")
    marks = scene.trace.marks(1)
    late_ns = marks["clause.first"] - marks["llm.first_token"]
    assert late_ns == pytest.approx(deadline_ms * 1e6, abs=8e7)
    clauses = [line["text"] for line in details(tmp_path / "trace.jsonl")["clause"]]
    first = next(i for i in range(len(clauses)) if sum(map(len, clauses[:i])) >= len(words) * 0.8)
    assert all(len(clause.split()) >= 2 for clause in clauses)
    assert least <= len(clauses[first].split()) <= most
    assert least <= len(clauses[0].split()) <= most
    tokens = [scene.times[i] for i, e in enumerate(scene.events) if isinstance(e, ReplyText)]
    assert tokens[20] - tokens[19] > 3


@MODES
def test_a_model_that_breaks_off_is_heard_so_far_and_then_fails(mode: str) -> None:
    scene = answer("It leaves at nine from BREAK platform four.", mode=mode)
    assert " ".join(scene.engines.voice.said) == "It leaves at nine from"
    assert scene.of(Failure) == [Failure(1, "llm", "the server broke off", False)]
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "failed")]
    assert scene.kept()[1:] == [("assistant", "It leaves at nine from …")]


@MODES
def test_a_model_that_is_cut_off_is_heard_so_far_and_the_history_marks_it(mode: str) -> None:
    scene = answer("It leaves at nine from CUT platform four.", mode=mode)
    assert " ".join(scene.engines.voice.said) == "It leaves at nine from"
    assert scene.of(Failure) == []
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "incomplete", "the server cut it off")]
    assert scene.kept()[1:] == [("assistant", "It leaves at nine from …")]


def test_what_was_not_heard_of_a_reply_that_was_cut_off_is_not_marked() -> None:
    scene = answer(f"{STORY}CUT", total_s=8.0)
    _, kept = scene.kept()[-1]
    assert 0 < len(kept.split()) < len(STORY.split()), "the conversation ends before the reply"
    assert "…" not in kept


@MODES
def test_the_first_token_is_the_first_that_is_not_white_space(mode: str, tmp_path: Path) -> None:
    blank = ["\\n"] * 30
    scene = answer(" ".join([*blank, STORY]), mode=mode, token_s=0.02, file=tmp_path / "trace")
    marks = scene.trace.marks(1)
    assert marks["llm.first_token"] - marks["llm.request"] >= 30 * 20_000_000
    # The deadline of the first clause counts from there.
    late = answer(STORY, mode=mode, token_s=0.02, first_token_s=0.67)
    assert scene.engines.voice.said == late.engines.voice.said
    assert details(tmp_path / "trace")["token"][0]["text"].strip()
    assert not scene.of(ReplyText)[0].delta[0].isspace()
    assert scene.text("reply-1").split() == STORY.split()


THOUGHT = "Okay, they want to know when it leaves. So I look at the timetable. It says nine."
ANSWER = "At nine in the morning, from platform four."


@MODES
def test_a_thought_that_is_known_late_is_neither_kept_nor_said_any_more(mode: str) -> None:
    scene = answer(f"{THOUGHT} UNSAID {ANSWER}", mode=mode, token_s=0.05)
    said = scene.engines.voice.said
    assert " ".join(said).endswith(ANSWER)
    assert "It says nine." not in said
    assert scene.kept()[1:] == [("assistant", ANSWER)]
    assert scene.of(ReplyDone) == [ReplyDone(1, "reply-1", "completed")]


def test_nothing_of_a_thought_is_told_that_is_known_before_the_turn_is_over() -> None:
    scene = answer(f"{THOUGHT} UNSAID {ANSWER}", mode="speculative", token_s=0.001)
    assert len(scene.engines.voice.said) > 1
    assert scene.text("reply-1").strip() == ANSWER
    made = sum(len(event.frame.samples) for event in scene.of(ReplyAudio))
    assert made <= len(ANSWER) * scene.engines.voice.samples_per_char
    assert scene.of(ReplyAudio)[0].frame.offset == 0
    assert scene.kept()[1:] == [("assistant", ANSWER)]


def test_a_thought_before_a_call_is_not_kept_either() -> None:
    scene = answer(f"{THOUGHT} UNSAID Let me see. {CALL}", f"Yes. UNSAID {ANSWER}")
    words = [(who, text) for who, text in scene.kept() if who == "assistant"]
    assert words == [("assistant", "Let me see."), ("assistant", ANSWER)]


def test_of_a_reply_that_is_interrupted_a_thought_is_no_heard_word() -> None:
    engines = Engines(["When?", "Stop."], Model([f"{THOUGHT} UNSAID {ANSWER * 5}", "Yes."]))
    engines.model.token_s = 0.05
    scene = Scene(engines, options=Settings.model_validate({"reply": {"mode": "overlapped"}}))
    run(scene, *ASKS, (9.0, False), (1.5, True), (4.0, False))
    (told,) = scene.of(ReplyInterrupted)
    assert told.heard_text
    assert (ANSWER * 5).startswith(told.heard_text)
    assert scene.kept()[1] == ("assistant", told.heard_text)
