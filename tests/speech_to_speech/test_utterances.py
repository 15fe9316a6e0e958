"""Utterances as placeholders in a text, and as sound in a request."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from pipeline.conversation.history import History
from pipeline.engines.tools import Prompt, Tool
from pipeline.engines.whisper import bare
from pipeline.speech_to_speech.utterances import SPOKEN, UNUSED, Utterances, numbers, wav


def sound(number: int) -> npt.NDArray[np.float32]:
    """An utterance that tells which it is by its length."""
    return np.full(100 + number, 0.25, np.float32)


def samples(part: dict[str, Any]) -> int:
    assert part["type"] == "input_audio"
    assert part["input_audio"]["format"] == "wav"
    data = base64.b64decode(part["input_audio"]["data"], validate=True)
    with wave.open(io.BytesIO(data)) as reader:
        assert (reader.getframerate(), reader.getnchannels(), reader.getsampwidth()) == (
            16_000,
            1,
            2,
        )
        return reader.getnframes()


def heard(message: Any) -> list[Any]:
    """A message's content: which utterances, and which words."""
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [p["text"] if p["type"] == "text" else samples(p) - 100 for p in content]


def test_a_placeholder_becomes_sound_and_the_tools_stay() -> None:
    utterances = Utterances(8)
    place = utterances.take(sound(1))
    tool = Tool("weather")
    prompt = Prompt([{"role": "system", "content": "Hi"}, {"role": "user", "content": place}])
    spoken = utterances.spoken(Prompt(prompt, [tool]))
    assert [heard(m) for m in spoken] == [["Hi"], [1]]
    assert isinstance(spoken, Prompt)
    assert spoken.tools == (tool,)


def test_two_in_one_message_with_words_between() -> None:
    utterances = Utterances(8)
    content = f"{utterances.take(sound(1))} and {utterances.take(sound(2))}"
    [message] = utterances.spoken([{"role": "user", "content": content}])
    assert heard(message) == [1, "and", 2]


def test_older_ones_are_a_note_or_a_transcript() -> None:
    utterances = Utterances(1)
    places = [utterances.take(sound(i)) for i in range(3)]
    utterances.know(places[1], "What?")
    messages = [{"role": "user", "content": place} for place in places]
    assert [heard(m) for m in utterances.spoken(messages)] == [[SPOKEN], ["What?"], [2]]
    assert utterances.read(places[1]) == "What?"
    assert utterances.read(f"{places[0]} {places[2]}") == f"{SPOKEN} {SPOKEN}"


def test_messages_of_tools_are_left_alone() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    assert list(Utterances(1).spoken([call])) == [call]


def test_a_placeholder_is_no_words_for_those_who_look_for_words() -> None:
    place = Utterances(1).take(sound(1))
    assert bare(place) == []
    assert place.strip() == place
    assert len(place.split()) == 1


def test_it_goes_through_a_conversation_unharmed() -> None:
    utterances = Utterances(8)
    talk = History("Hi", budget_tokens=1000)
    talk.add("user", utterances.take(sound(1)), 1)
    talk.add("user", utterances.take(sound(2)), 2)
    assert [heard(m) for m in utterances.spoken(talk.prompt(said=utterances.take(sound(3))))] == [
        ["Hi"],
        [1, 2, 3],
    ]


def test_what_no_prompt_ever_has_is_forgotten_in_the_end() -> None:
    utterances = Utterances(1)
    used = utterances.take(sound(1))
    utterances.spoken([{"role": "user", "content": used}])
    places = [utterances.take(sound(i)) for i in range(UNUSED + 10)]
    kept = [place for place in places if utterances.sound(place) is not None]
    assert kept == places[10:]
    assert utterances.sound(used) is not None
    utterances.spoken([{"role": "user", "content": places[-1]}])
    assert [p for p in places if utterances.sound(p) is not None] == places[-1:]


def test_what_was_said_after_a_prompt_was_made_is_not_forgotten_with_it() -> None:
    utterances = Utterances(1)
    first, second = utterances.take(sound(1)), utterances.take(sound(2))
    utterances.spoken([{"role": "user", "content": first}])
    [message] = utterances.spoken([{"role": "user", "content": second}])
    assert heard(message) == [2]


def test_a_wav_holds_the_sound() -> None:
    audio = np.array([0, 0.5, -0.5, 1, -1, 2], np.float32)
    with wave.open(io.BytesIO(wav(audio))) as reader:
        data = np.frombuffer(reader.readframes(10), "<i2")
    assert data.tolist() == [0, 16384, -16384, 32767, -32767, 32767]


@given(st.lists(st.lists(st.one_of(st.just(None), st.text(max_size=5)), max_size=4), max_size=5))
def test_any_mix_of_words_and_utterances(messages: list[list[str | None]]) -> None:
    utterances = Utterances(1000)
    made, expected, count = [], [], 0
    for parts in messages:
        content, wanted = "", []
        for part in parts:
            if part is None:
                count += 1
                content += utterances.take(sound(count))
                wanted.append(count)
            else:
                content += part
        made.append({"role": "user", "content": content})
        expected.append(wanted)
        assert numbers(content) == wanted
    for message, wanted in zip(utterances.spoken(made), expected, strict=True):
        assert [part for part in heard(message) if isinstance(part, int)] == wanted
