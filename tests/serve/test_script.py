from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio.audible import ending, onset
from pipeline.errors import BadInput
from pipeline.serve.script import (
    PRESETS,
    Fault,
    Latency,
    Script,
    ScriptedCall,
    ScriptedNetwork,
    ScriptedTurn,
    dump,
    load,
    preset,
)
from pipeline.serve.sound import RATE
from pipeline.serve.speech import pieces, speak, texts

TURNS = st.builds(
    ScriptedTurn,
    transcript=st.text(max_size=20),
    reply=st.text(max_size=20),
    ends_s=st.none() | st.floats(0.1, 10),
    calls=st.just(())
    | st.builds(
        lambda arguments: (ScriptedCall("f", arguments, "One moment."),),
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=2),
    ),
    fault=st.sampled_from([None, Fault("drop"), Fault("close", "speech", 4001, "enough")]),
)
SCRIPTS = st.builds(
    Script,
    name=st.text(min_size=1, max_size=10),
    conversations=st.dictionaries(st.text(max_size=8), st.tuples(TURNS), min_size=1, max_size=2),
    latency=st.builds(Latency, median_ms=st.floats(1, 5000)),
    network=st.sampled_from([ScriptedNetwork(), ScriptedNetwork(rtt_ms=40, jitter_ms=0.5)]),
    voice=st.sampled_from(["piper", "tone"]),
)


@given(SCRIPTS)
def test_what_is_written_is_read_again(tmp_path_factory: Any, script: Script) -> None:
    path = tmp_path_factory.mktemp("script") / "script.yaml"
    path.write_text(dump(script), encoding="utf-8")
    assert load(path) == script


HEAD = "name: x\n"
TURN = "conversations: {a: [{reply: hi}]}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a", "is no script"),
        ("", "is no script"),
        ("a: [", "is no YAML"),
        (HEAD, "conversations: is missing"),
        (HEAD + "conversations: {}", "(it is {})"),
        (TURN, "name: is missing"),
        (HEAD + "conversations: {a: []}", "conversations.a: "),
        (HEAD + TURN + "colour: red", "colour: is not known here"),
        (HEAD + "conversations: {a: [{repli: hi}]}", "conversations.a.1.repli: is not known here"),
        (HEAD + "conversations: {a: [{reply: 3}]}", "conversations.a.1.reply: "),
        (HEAD + "conversations: {a: [{reply: x, ends_s: -1}]}", "(it is -1)"),
        (HEAD + "conversations: {a: [{fault: {kind: bang}}]}", "'close'"),
        (HEAD + "conversations: {a: [{fault: {kind: close, code: 5}}]}", "closing code"),
        (HEAD + "conversations: {a: [{fault: {kind: rate}}]}", "at how many Hz"),
        (HEAD + "conversations: {a: [{calls: [{name: '', arguments: {}}]}]}", "calls.1.name"),
        (HEAD + TURN + "latency: {distribution: normal}", "'lognormal'"),
        (
            HEAD + TURN + "latency: {distribution: lognormal, median_ms: 9}",
            "`p95_ms` is `median_ms` at least",
        ),
        (HEAD + TURN + "latency: {distribution: uniform, low_ms: 9}", "no range"),
        (HEAD + TURN + "latency: {median_ms: 0}", "latency.median_ms: "),
        (HEAD + TURN + "network: {rtt_ms: -1}", "network.rtt_ms: "),
        (HEAD + TURN + "network: {stall_every_s: 1, stall_ms: 2000}", "a stall ends"),
        (HEAD + TURN + "silence_ms: 0", "silence_ms: "),
        (HEAD + TURN + "refuse: 500", "401, 404 or 429"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as error:
        load(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        load(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        load(tmp_path / "x.yaml")


def test_conversations_by_the_models_name() -> None:
    one, two = (ScriptedTurn("one"),), (ScriptedTurn("two"), ScriptedTurn("three"))
    script = Script("s", conversations={"one": one, "two": two})
    assert script.conversation("") == script.conversation("gpt") == one
    assert script.conversation("gpt#two") == two
    with pytest.raises(BadInput, match="it has one, two"):
        script.conversation("gpt#three")


def test_the_stamp_says_every_parameter() -> None:
    network = ScriptedNetwork(rtt_ms=40, jitter_ms=5, stall_every_s=9, stall_ms=200)
    latency = Latency("lognormal", median_ms=1504, p95_ms=2676)
    turns = {"a": (ScriptedTurn(),)}
    assert Script("s", turns, "somebody", latency, network, seed=7).describe() == {
        "name": "s",
        "source": "somebody",
        "latency": "lognormal, median 1504 ms, p95 2676 ms",
        "network": "round trip 40 ms, jitter up to 5 ms, stalls of 200 ms every 9 s",
        "seed": "7",
    }
    assert "nothing was published" in Script("s", turns).describe()["source"]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_name_their_source(name: str) -> None:
    script = preset(name)
    assert f"median {script.latency.median_ms:g} ms" in script.source
    assert "aiewf-eval" in script.source and "p95" in script.source
    draw = random.Random(1)
    drawn = [script.latency.draw_ns(draw) / 1e6 for _ in range(4000)]
    assert np.median(drawn) == pytest.approx(script.latency.median_ms, rel=0.05)
    assert np.percentile(drawn, 95) == pytest.approx(script.latency.p95_ms, rel=0.1)


def test_no_preset_of_that_name() -> None:
    with pytest.raises(BadInput, match=r"gpt-realtime-2\.1"):
        preset("gpt-9")


def test_draws_are_in_their_bounds() -> None:
    draw = random.Random(1)
    uniform = Latency("uniform", low_ms=200, high_ms=300)
    drawn = {uniform.draw_ns(draw) for _ in range(50)}
    assert len(drawn) > 1 and all(200e6 <= ns <= 300e6 for ns in drawn)
    assert Latency(median_ms=500).draw_ns(draw) == 500_000_000
    assert Latency(median_ms=0.001).draw_ns(draw) == 1_000_000


def test_replies_are_spoken_once_each_and_trimmed() -> None:
    calls = (ScriptedCall("f", {}, preamble="One moment."),)
    turns = (ScriptedTurn(reply="Good morning."), ScriptedTurn(reply="Good morning.", calls=calls))
    script = Script("s", conversations={"a": turns, "b": (ScriptedTurn(reply=" "),)})
    assert texts(script) == ["Good morning.", "One moment."]
    for spoken in (speak(script), speak(dataclasses.replace(script, voice="tone"))):
        assert set(spoken) == {"Good morning.", "One moment."}
        for sound in spoken.values():
            assert 0.3 * RATE < len(sound) < 3 * RATE
            assert onset(sound, RATE) == 0
            assert ending(sound, RATE) == len(sound)


def test_a_reply_without_sound_is_refused() -> None:
    script = Script("s", conversations={"a": (ScriptedTurn(reply="..."),)})
    with pytest.raises(BadInput, match="cannot be spoken"):
        speak(script)


@given(st.text("ab ", max_size=80), st.integers(0, 60_000))
def test_pieces_make_up_the_reply(text: str, samples: int) -> None:
    sound = np.arange(samples, dtype=np.int32).astype(np.int16)
    made = [*pieces(text, sound)]
    assert "".join(piece.text for piece in made) == text
    np.testing.assert_array_equal(np.concatenate([piece.samples for piece in made]), sound)
    assert made[0].wait_ns == 0
    # Faster than it plays.
    total = sum(piece.wait_ns for piece in made)
    assert total <= samples * 1_000_000_000 // RATE // 4
