"""May a tool be called? The user is asked aloud, and the next words are the answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scene import Scene, check_prompt, run
from support.scripted import Engines, Model

from pipeline.config import Settings
from pipeline.conversation.consent import (
    SILENCE_S,
    again,
    agreed,
    allowed,
    question,
)
from pipeline.conversation.phrases import PHRASES
from pipeline.engines.tools import Tool
from pipeline.events import Failure, ReplyDone, ToolCall

DELETE = Tool("delete_file", "Deletes a file.", approved=False)
CALL = 'CALL:delete_file:{"path":"notes"}'
ASKED = "May I use delete file with path notes? Say yes or no."
AGAIN = "Please say yes or no."


class Asking(Scene):
    """A user whose leave is asked before a tool is called."""

    async def _work(self, call: ToolCall, seconds: float, output: str) -> None:
        may = await allowed(self.session.ask, call.name, json.loads(call.arguments), "en")
        self.may.append(may)
        await super()._work(call, seconds, output if may else "Error: not allowed")

    may: list[bool]


def asking(
    answers: list[str],
    *parts: tuple[float, bool],
    scripts: list[str] | None = None,
    mode: str = "speculative",
) -> Asking:
    model = Model(list(scripts or [f"Let me see. {CALL}", "So be it.", "So be it."]))
    options = Settings.model_validate({"reply": {"mode": mode}})
    scene = Asking(
        Engines(["Delete my notes.", *answers], model),
        options=options,
        tools=[DELETE],
        results=[(0.5, "deleted")] * 2,
    )
    scene.may = []
    run(scene, (0.5, False), (0.8, True), *parts)
    return scene


def told(scene: Scene) -> list[str]:
    return [content for role, content in scene.kept() if role == "tool"]


PAUSE = (8.0, False)


@pytest.mark.parametrize("mode", ["speculative", "overlapped", "sequential"])
@pytest.mark.parametrize(("answer", "may"), [("Yes, please.", True), ("No, don't.", False)])
def test_the_next_words_are_the_answer(answer: str, may: bool, mode: str) -> None:
    scene = asking([answer], PAUSE, (0.6, True), PAUSE, mode=mode)
    assert scene.engines.voice.said[:2] == ["Let me see.", ASKED]
    assert scene.may == [may]
    assert told(scene) == ["deleted" if may else "Error: not allowed"]
    # Neither the question nor the answer is part of the conversation; the result is told.
    assert [content for role, content in scene.kept() if role == "user"] == ["Delete my notes."]
    assert scene.engines.voice.said[2:] == ["So be it."]
    assert len(scene.engines.model.prompts) == 2
    for prompt in scene.engines.model.prompts:
        check_prompt(prompt)
    [_, answered] = [
        done for done in scene.of(ReplyDone) if done.status in ("skipped", "completed")
    ][:2]
    assert answered.status == "skipped"


def test_an_answer_may_come_while_the_question_is_asked() -> None:
    scene = asking(["Yes, please."], (2.5, False), (1.0, True), PAUSE)
    assert scene.may == [True]
    assert told(scene) == ["deleted"]


def test_an_answer_may_be_a_whole_sentence() -> None:
    scene = asking(["Yes, please delete notes, go ahead."], PAUSE, (1.0, True), PAUSE)
    assert scene.may == [True]
    assert scene.of(Failure) == []


def test_what_is_unclear_is_asked_once_more_and_then_is_no() -> None:
    scene = asking(["What?", "Maybe."], PAUSE, (0.6, True), PAUSE, (0.6, True), PAUSE)
    assert scene.engines.voice.said[1:3] == [ASKED, AGAIN]
    assert scene.may == [False]
    scene = asking(["What?", "Go ahead."], PAUSE, (0.6, True), PAUSE, (0.6, True), PAUSE)
    assert scene.may == [True]


def test_silence_is_no_and_a_cough_is_silence() -> None:
    scene = asking([], (5.0 + SILENCE_S + 5.0, False))
    assert scene.may == [False]
    assert told(scene) == ["Error: not allowed"]
    assert scene.engines.voice.said == ["Let me see.", ASKED, "So be it."]
    scene = asking([""], (6.0, False), (0.3, True), (SILENCE_S + 5.0, False))
    assert scene.may == [False]


def test_two_calls_are_asked_one_after_the_other() -> None:
    both = f"{CALL} {CALL.replace('notes', 'letters')}"
    parts = (PAUSE, (0.6, True), PAUSE, (0.6, True), PAUSE)
    scene = asking(["Yes.", "No."], *parts, scripts=[both, "So be it.", "So be it."])
    assert scene.may == [True, False]
    assert sorted(told(scene)) == ["Error: not allowed", "deleted"]
    said = " ".join(scene.engines.voice.said)
    assert said == f"{ASKED} {ASKED.replace('notes', 'letters')} So be it."


def test_a_question_waits_until_the_user_has_spoken() -> None:
    """Who goes on before it was asked is answered first."""
    scripts = [CALL, "It is nine.", "So be it."]
    parts = ((0.62, False), (0.8, True), (12.0, False), (0.6, True), PAUSE)
    scene = asking(["And the time?", "Yes."], *parts, scripts=scripts)
    assert scene.may == [True]
    said = " ".join(scene.engines.voice.said)
    assert said.endswith(f"It is nine. {ASKED} So be it.")


# --- what is asked, and what answers mean ---


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ({}, "May I use delete file? Say yes or no."),
        ({"path": "a_b.txt"}, "May I use delete file with path a b.txt? Say yes or no."),
        (
            {"toPath": 3, "all": True, "c": None, "d": 1},
            "May I use delete file with to Path 3, all true, c null? Say yes or no.",
        ),
    ],
)
def test_what_is_asked(arguments: dict[str, Any], asked: str) -> None:
    assert question("delete_file", arguments, "en-GB") == asked
    assert question("delete.file", arguments, "xx") == asked


def test_what_is_asked_is_never_long() -> None:
    arguments = {f"key_{n}": "x" * 10_000 for n in range(50)}
    for language in PHRASES:
        assert len(question("t" * 64, arguments, language)) < 400


@pytest.mark.parametrize(
    ("answer", "language", "meant"),
    [
        ("Yes.", "en", True),
        ("Yeah, go ahead!", "en", True),
        ("OK", "en", None),
        ("Fine.", "en", None),
        ("Okay, sure, yes.", "en", True),
        ("Sure, go ahead.", "en", True),
        ("Yes, no, wait.", "en", False),
        ("No.", "en", False),
        ("Please don’t.", "en", False),
        ("Do not do it.", "en", False),
        ("Yesterday.", "en", None),
        ("I know.", "en", None),
        ("", "en", None),
        ("...", "en", None),
        ("Yes I wonder what the weather may be like in Tokyo today", "en", None),
        ("Yes, please do that.", "en", True),
        ("Yes, yes, of course. Thanks!", "en", True),
        ("Sure, go ahead and send the mail.", "en", None),
        ("Are you sure?", "en", None),
        ("Okay, who is Anna?", "en", None),
        ("Okay, hold on.", "en", None),
        ("Yes, but change the path to letters.", "en", None),
        ("Make sure it is the right file.", "en", None),
        ("It's fine weather.", "en", None),
        ("Yes?", "en", None),
        ("Yes, thank you.", "en", True),
        ("Thank you.", "en", None),
        ("Um, yes.", "en", True),
        ("Mm-hmm.", "en", None),
        ("Oui, s’il vous plaît.", "fr", True),
        ("Claro que sí.", "es", True),
        ("Claro que no.", "es", False),
        ("Certo che sì.", "it", True),
        ("Claro que sim.", "pt", True),
        ("Sim, um.", "pt", None),
        ("Ja graag, dat is goed.", "nl", True),
        ("Да, пожалуйста.", "ru", True),
        ("Так, будь ласка.", "uk", True),
        ("Evet, lütfen.", "tr", True),
        ("Never mind.", "en", False),
        ("Nevermind.", "en", False),
        ("Oh, forget it.", "en", False),
        ("Vergiss es.", "de", False),
        ("Ja, aber nur die erste.", "de", None),
        ("D’accord.", "fr", True),
        ("Ja, gerne.", "de", True),
        ("Lass das.", "de", False),
        ("Oui, vas-y.", "fr", True),
        ("Surtout pas !", "fr", False),
        ("Sí.", "es", True),
        ("Tak.", "pl", True),
        ("Nie.", "pl", False),
        ("Да, конечно.", "ru", True),
        ("Ні.", "uk", False),
        ("Evet.", "tr", True),
        ("Yes.", "xx", True),
    ],
)
def test_what_an_answer_means(answer: str, language: str, meant: bool | None) -> None:
    assert agreed(answer, language) is meant


def test_who_says_yes_may_repeat_what_was_asked() -> None:
    asked = question("delete_file", {"path": "my-notes.txt"}, "en")
    assert agreed("Yes, delete my notes.", "en", asked) is True
    assert agreed("Yes, delete the file.", "en", asked) is True
    assert agreed("Yes, delete it.", "en", asked) is True
    assert agreed("Yes, you may use it.", "en", asked) is True
    assert agreed("Delete my notes.", "en", asked) is None
    assert agreed("Yes, delete my letters.", "en", asked) is None
    scene = asking(["Yes, delete notes."], PAUSE, (0.6, True), PAUSE)
    assert scene.may == [True]


async def test_what_was_not_read_out_is_nothing_to_repeat() -> None:
    arguments = {"a": 1, "b": 2, "c": 3, "text": "but only the first"}

    async def ask(line: str) -> str:
        assert "first" not in line
        return "Yes, but only the first."

    assert await allowed(ask, "write", arguments, "en") is False


@given(st.sampled_from(sorted(PHRASES)), st.text(max_size=30))
def test_who_says_no_never_says_yes(language: str, more: str) -> None:
    for no in PHRASES[language].no.split("|"):
        assert agreed(f"{no}, {more}", language) is not True
    for yes in PHRASES[language].yes.split("|"):
        assert agreed(yes, language) is True, yes
    assert agreed(again(language), language) is not True
