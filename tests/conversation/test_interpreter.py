"""Live translation in virtual time: all that is said is said again, in order, over the user."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from support.scene import Scene, run
from support.scripted import Engines, Model, Speaker
from test_spoken_languages import Polyglot

from pipeline.config import load
from pipeline.conversation.interpreter import HURRY, LONGEST_S, Interpreter
from pipeline.engines.whisper import Transcription
from pipeline.errors import BadInput
from pipeline.events import ReplyAudio, ReplyDone, ReplyInterrupted, SpeechStarted, Transcript
from pipeline.talk import tool_sources

TO_GERMAN = load(None, {"conversation.translate_to": "de"})
TO_ENGLISH = load(None, {"conversation.translate_to": "en"})

SENTENCES = ["en:The train leaves at nine.", "en:It takes three hours.", "en:There is a bar in it."]
SAID = ["Der Zug fährt um neun.", "Er braucht drei Stunden.", "Es gibt eine Bar darin."]


def interpreted(engines: Engines, *parts: tuple[float, bool], to_english: bool = False) -> Scene:
    return run(Scene(engines, options=TO_ENGLISH if to_english else TO_GERMAN), *parts)


def talking(pauses_s: float) -> tuple[tuple[float, bool], ...]:
    """Three sentences of a second and a half, with pauses between them."""
    spoken = ((1.5, True), (pauses_s, False)) * 3
    return ((0.5, False), *spoken, (8.0, False))


def test_sentences_are_spoken_in_order_while_the_user_goes_on() -> None:
    voice = Speaker(language="de", samples_per_char=90)
    engines = Polyglot(SENTENCES, Model([*SAID]), voice)
    scene = interpreted(engines, *talking(0.9))
    assert engines.voice.said == SAID
    assert not scene.of(ReplyInterrupted)
    ids = [event.id for event in scene.of(ReplyAudio)]
    assert ids == sorted(ids), "none is begun before the one before is made"
    assert [event.status for event in scene.of(ReplyDone)] == ["completed"] * 3
    begun = {event.id: scene.time(event) for event in reversed(scene.of(ReplyAudio))}
    starts = [scene.time(event) for event in scene.of(SpeechStarted)]
    assert begun["reply-1"] < starts[2], "the first is spoken before the last is said"
    assert [t.text for t in scene.of(Transcript) if t.final] == [s[3:] for s in SENTENCES]
    assert scene.kept()[:2] == [("user", SENTENCES[0][3:]), ("assistant", SAID[0])]
    assert [m for m in scene.kept() if m[0] == "assistant"] == [("assistant", s) for s in SAID]


def test_the_model_gets_one_sentence_and_the_same_instructions() -> None:
    engines = Polyglot(SENTENCES, Model([*SAID]), Speaker(language="de"))
    interpreted(engines, *talking(0.9))
    prompts = engines.model.prompts
    assert len({prompt[0]["content"] for prompt in prompts}) == 1
    assert "Say in German what the user says" in prompts[0][0]["content"]
    assert [prompt[1]["content"] for prompt in prompts] == [s[3:] for s in SENTENCES]
    assert all(len(prompt) == 2 for prompt in prompts)


def test_who_falls_behind_speaks_faster() -> None:
    slow = Speaker(language="de", samples_per_char=250)
    engines = Polyglot(SENTENCES, Model([*SAID]), slow)
    scene = interpreted(engines, *talking(0.9))
    made = {r.id: 0 for r in scene.of(ReplyAudio)}
    for event in scene.of(ReplyAudio):
        made[event.id] += len(event.frame.samples)
    assert abs(made["reply-1"] - 250 * len(SAID[0])) < 20
    assert abs(made["reply-3"] - 250 * len(SAID[2]) / HURRY) < 20


def test_a_slow_model_keeps_the_order_and_loses_nothing() -> None:
    model = Model([*SAID], first_token_s=2.5)
    engines = Polyglot(SENTENCES, model, Speaker(language="de"))
    scene = interpreted(engines, *talking(0.9))
    assert " ".join(engines.voice.said) == " ".join(SAID)
    assert [event.turn for event in scene.of(ReplyDone)] == [1, 2, 3]
    ids = [event.id for event in scene.of(ReplyAudio)]
    assert ids == sorted(ids)


def test_what_is_in_the_language_already_is_not_said_again() -> None:
    said = "Guten Tag, wie geht es Ihnen?"
    engines = Polyglot([f"de:{said}", SENTENCES[0]], Model([SAID[0]]), Speaker(language="de"))
    scene = interpreted(engines, (0.5, False), *((1.5, True), (2.0, False)) * 2)
    assert engines.voice.said == [SAID[0]]
    assert [event.status for event in scene.of(ReplyDone)] == ["skipped", "completed"]
    assert scene.kept()[0] == ("user", said), "both are shown"


def test_whisper_translates_into_english_and_no_model_is_asked() -> None:
    class Ears(Polyglot):
        def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
            heard = super().understood(heard, voiced_ms)
            return replace(heard, english=f"English of {heard.text}")

    engines = Ears(["de:Guten Tag."], Model([]))
    scene = interpreted(engines, (0.5, False), (1.5, True), (3.0, False), to_english=True)
    assert engines.voice.said == ["English of Guten Tag."]
    assert not engines.model.prompts
    assert scene.kept() == [("user", "Guten Tag."), ("assistant", "English of Guten Tag.")]


def test_who_never_pauses_is_translated_so_far() -> None:
    engines = Polyglot([SENTENCES[0]], Model([SAID[0]] * 5), Speaker(language="de"))
    scene = interpreted(engines, (0.5, False), (3.4 * LONGEST_S, True), (3.0, False))
    done = [scene.time(event) for event in scene.of(ReplyDone)]
    assert len(done) == 4
    assert done[0] < 0.5 + LONGEST_S + 1
    assert all(b - a < LONGEST_S + 1 for a, b in pairwise(done))


def test_a_sentence_that_fails_is_told_and_the_next_one_is_said() -> None:
    engines = Polyglot(SENTENCES, Model([SAID[0], "BREAK", SAID[2]]), Speaker(language="de"))
    scene = interpreted(engines, *talking(0.9))
    assert [event.status for event in scene.of(ReplyDone)] == ["completed", "failed", "completed"]
    assert engines.voice.said == [SAID[0], SAID[2]]


def test_nothing_is_told_of_an_interpreter_before_anything_is_said() -> None:
    assert len(Interpreter("fr", budget_tokens=100).prompt()) == 1


def test_no_tool_is_made_ready_that_nothing_calls() -> None:
    flags = {"tools.files": ["nowhere.py"], "mcp.none": {"command": "nowhere"}}
    assert tool_sources(load(None, flags | {"conversation.translate_to": "de"})) == []
    with pytest.raises(BadInput, match=r"nowhere\.py"):
        tool_sources(load(None, flags))
