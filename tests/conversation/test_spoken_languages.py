"""What language is spoken, in virtual time: the reply has its voice, and the model is told once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from support.scene import ASKS, Scene, run
from support.scripted import Engines, Model, Speaker

from pipeline.conversation.history import Message
from pipeline.engines.whisper import Transcription
from pipeline.events import Transcript, to_json

QUIET = (4.0, False)


class Polyglot(Engines):
    """A recogniser that hears in which language a text is: it is written before it, as in de:Ja."""

    doubts = False

    def understood(self, heard: Transcription, voiced_ms: float | None) -> Transcription:
        code, _, text = heard.text.partition(":")
        return replace(heard, text=text, language=code, sure=not self.doubts)


def polyglot(texts: list[str], answers: list[str]) -> Polyglot:
    voice = Speaker(others={"de": Speaker(language="de")})
    return Polyglot(texts, Model([*answers]), voice)


def asked(engines: Engines, turn: int) -> list[Any]:
    return [message["content"] for message in engines.model.prompts[turn]][1:]


def test_the_reply_is_in_the_language_that_was_spoken_and_the_model_is_told_of_a_change() -> None:
    texts = ["en:When?", "de:Wann?", "de:Und wo?", "en:Thanks."]
    engines = polyglot(texts, ["At nine.", "Um neun.", "Hier.", "Bye."])
    scene = run(Scene(engines), *(ASKS[0], ASKS[1], QUIET) * 4)
    assert engines.voice.said == ["At nine.", "Bye."]
    assert engines.voice.others["de"].said == ["Um neun.", "Hier."]
    # Each prompt begins with the one before: a server need not read it again.
    first = "When?"
    second = [first, "At nine.", "Wann? (Answer in German.)"]
    third = [*second, "Um neun.", "Und wo?"]
    assert [asked(engines, turn) for turn in range(4)] == [
        [first], second, third, [*third, "Hier.", "Thanks. (Answer in English.)"],
    ]  # fmt: skip
    assert scene.kept()[2] == ("user", "Wann?"), "what is kept is what was said"


def test_the_transcript_tells_its_language() -> None:
    engines = polyglot(["de:Ich möchte wissen, wann der Zug fährt."], ["Um neun."])
    scene = run(Scene(engines), (0.5, False), (3.0, True), QUIET)
    told = scene.of(Transcript)
    assert len(told) > 2
    assert {event.language for event in told} == {"de"}
    assert to_json(told[-1])["language"] == "de"
    assert "language" not in to_json(Transcript(1, "Yes.", True)), "where it is not known"


def test_in_doubt_the_language_is_what_it_was() -> None:
    engines = polyglot(["en:When?", "de:Hm."], ["At nine.", "Yes."])
    engines.doubts = True
    scene = run(Scene(engines), *(ASKS[0], ASKS[1], QUIET) * 2)
    assert engines.voice.others["de"].said == []
    assert asked(engines, 1)[-1] == "Hm."
    assert scene.of(Transcript)[-1].language == ""


def test_a_language_without_a_voice_is_answered_all_the_same() -> None:
    engines = polyglot(["it:Quando?"], ["Alle nove."])
    run(Scene(engines), *ASKS, QUIET)
    assert engines.voice.said == ["Alle nove."]
    assert asked(engines, 0) == ["Quando? (Answer in Italian.)"]


def test_a_voice_gets_ready_while_the_user_speaks() -> None:
    wanted: list[str] = []

    class Asked(Speaker):
        def in_language(self, language: str) -> Speaker:
            wanted.append(language)
            return super().in_language(language)

    engines = polyglot(["de:Ich möchte wissen, wann der Zug fährt."], ["Um neun."])
    engines.voice = Asked(others={"de": Speaker(language="de")})
    scene = Scene(engines)
    run(scene, (0.5, False), (3.0, True))
    assert wanted
    assert not scene.engines.model.prompts, "nobody has been answered yet"


def test_neighbours_are_one_message_and_the_note_stays_where_it_was() -> None:
    said = [Message("user", "Also", 1, answer_in="German"), Message("user", "gut.", 2)]
    from pipeline.conversation.history import joined, wire

    assert [wire(message)["content"] for message in joined(said)] == [
        "Also (Answer in German.) gut."
    ]
