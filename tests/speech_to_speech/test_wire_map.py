"""Maps of other people's protocols, as people write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.cli_child import ROOT

from pipeline.audio.encoding import Encoding
from pipeline.errors import BadInput
from pipeline.speech_to_speech import wire_map
from pipeline.speech_to_speech.wire_map import (
    Selector,
    filled,
    kind_of,
    load,
    value_at,
    with_query,
)

PAGE = ROOT / "pipeline" / "docs" / "compare.md"
WRONG = [
    ("send: {audio: {a: x}}", "send.audio: has no {audio} in it"),
    ("send: {start: [{a: '{audio}'}]}", "send.start.1: {audio} stands for nothing here; there are"),
    ("send: {audio: {a: '{audio} {sound}'}}", "send.audio: {sound} stands for nothing here"),
    ("receive: {audio: {at: media..payload}}", "receive.audio.at: is no path; write names"),
    ("receive: {audio: {when: {event: media}}}", "receive.audio.at: is missing"),
    ("receive: {clear: {when: {}}}", "receive.clear.when: dictionary should have at least 1 item"),
    ("receive: {clear: {when: {'a b': 1}}}", "is no path"),
    ("receive: {sound: {at: a}}", "receive.sound: is not known here"),
    ("encoding: opus", "encoding: input should be 'pcm16', 'mulaw' or 'alaw'"),
    ("rate: 800", "rate: input should be greater than or equal to 4000"),
    ("chunk_ms: 1\nrate: 22050", "chunk_ms: 1 ms are no whole samples at this rate"),
    ("answers: [{when: {a: 1}, send: {b: '{a}'}}]", "answers.1.send: {a} stands for nothing here"),
    ("headers: {Authorization: 'Bearer ${MYBOT}'}", "headers: ${MYBOT}: call the variable …_KEY"),
    ("- a\n- b", "is no map"),
    ("send: {", "is no YAML"),
]


@pytest.mark.parametrize(("text", "complaint"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_wrong_with_a_map_is_told_with_its_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "mybot.yaml"
    file.write_text(text)
    with pytest.raises(BadInput) as told:
        load(str(file))
    assert str(told.value).startswith(str(file)) and "\n" not in str(told.value)
    assert complaint in str(told.value)


def test_a_map_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"no such file or map; .* json, pcm, twilio"):
        load("nothing")


def test_the_map_in_the_documentation(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(# mybot.yaml.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "mybot.yaml"
    file.write_text(text, "utf-8")
    described = load(str(file))
    assert described.variables == ["MYBOT_TOKEN"]
    assert (described.sent.rate, described.received.rate) == (16_000, 24_000)
    assert described.receive.audio is not None
    assert described.receive.audio.find({"type": "audio", "data": {"pcm": "AAAA"}}) == "AAAA"


def test_the_sound_of_the_maps_that_come_along() -> None:
    assert wire_map.builtin() == ["json", "pcm", "twilio"]
    assert load("twilio").sent == load("twilio").received == Encoding("pcmu", 8_000)
    for name in ("json", "pcm"):
        assert load(name).sent == load(name).received == Encoding("pcm", 16_000)


def test_sound_that_comes_otherwise_than_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("rate: 16000\nreceive: {rate: 24000}")
    assert (load(str(file)).sent.rate, load(str(file)).received.rate) == (16_000, 24_000)
    file.write_text("encoding: alaw\nreceive: {encoding: pcm16, rate: 44100}")
    assert load(str(file)).name == "bot"
    assert load(str(file)).sent == Encoding("pcma", 8_000)
    assert load(str(file)).received == Encoding("pcm", 44_100)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", {"b": [{"c": 1}]}),
        ("a.b.0.c", 1),
        ("a.b.1.c", None),
        ("a.b.c", None),
        ("a.b.0.c.d", None),
        ("x", None),
    ],
)
def test_paths(path: str, value: Any) -> None:
    assert value_at({"a": {"b": [{"c": 1}]}}, path) == value


@pytest.mark.parametrize("message", [None, 3, "text", [], [1], {"event": None}, {"event": ["x"]}])
def test_what_is_no_object_is_selected_by_nothing(message: Any) -> None:
    assert Selector("media.payload", {"event": "media"}).find(message) is None
    assert not load("twilio").answers[0].fits(message)
    assert kind_of(message, load("twilio").naming)


def test_conditions_and_values() -> None:
    chosen = Selector("text", {"type": "transcript", "final": True})
    assert chosen.find({"type": "transcript", "final": True, "text": "Hello"}) == "Hello"
    assert chosen.find({"type": "transcript", "final": False, "text": "Hello"}) is None
    assert chosen.find({"type": "transcript", "final": True, "text": 3}) is None
    assert Selector("sound").find({"sound": "AAAA"}) == "AAAA"


def test_places_are_filled() -> None:
    template = {"id": "{message.id}", "about": ["MZ{call}", {"n": 3, "at": "{message.id}/{call}"}]}
    values = {"message.id": 7, "call": "abc"}
    assert filled(template, values.__getitem__) == {
        "id": 7,
        "about": ["MZabc", {"n": 3, "at": "7/abc"}],
    }


def test_messages_are_called_by_what_the_map_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("receive: {audio: {when: {what.kind: sound}, at: data}}")
    described = load(str(file))
    assert kind_of({"what": {"kind": "sound"}, "type": "x"}, described.naming) == "sound"
    assert kind_of({"type": "x"}, described.naming) == "x"
    assert kind_of({"a": 1, "b": 2}, described.naming) == "{a, b}"


def test_a_query_is_added() -> None:
    assert with_query("ws://h/a?x=1", {}) == "ws://h/a?x=1"
    assert with_query("ws://h/a?x=1", {"y": "ä b"}) == "ws://h/a?x=1&y=%C3%A4+b"


def test_a_result_tells_the_map_without_what_lets_it_in(tmp_path: Path) -> None:
    file = tmp_path / "bot.yaml"
    file.write_text("url: 'ws://me:pw@h'\nheaders: {A: secret}\nquery: {b: secret}\nrate: 8000")
    told = load(str(file)).about()
    assert told["rate"] == 8000 and "secret" not in str(told) and "pw" not in str(told)
