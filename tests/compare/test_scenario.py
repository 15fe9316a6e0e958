"""Scenarios as people write them, what they are told when they slip, and tools with answers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.cli_child import ROOT

from pipeline.audio.files import read_audio
from pipeline.compare.conditions import parse
from pipeline.compare.scenario import (
    LENGTHS,
    TOPICS,
    UNSPOKEN,
    Canned,
    CannedTool,
    CannedTools,
    Scenario,
    Wanted,
    agrees,
    builtin,
    gather_scenarios,
    lengthened,
    unspoken,
    with_recordings,
)
from pipeline.errors import BadInput
from pipeline.measure.corpus import Item
from pipeline.measure.gates import Gate

CORPUS = Path(__file__).parents[1] / "data" / "corpus"
PAGE = ROOT / "pipeline" / "docs" / "compare.md"


def read(folder: Path, text: str) -> list[Scenario]:
    file = folder / "mine.yaml"
    file.write_text(text)
    return gather_scenarios([str(file)], instructions="Be kind.", patience_s=60)[0]


def test_entities_may_be_written_as_yaml_reads_them(tmp_path: Path) -> None:
    (one,) = read(tmp_path, "turns: [{say: Hi, expect: {entities: [B7K, 15, 2.5, Anna|Hannah]}}]")
    assert one.steps[0].expect.entities == ("B7K", "15", "2.5", "Anna|Hannah")
    for wrong in ("['!']", "[Anna|]", "[true]", "[{a: 1}]"):
        with pytest.raises(BadInput, match="entities"):
            read(tmp_path, f"turns: [{{say: Hi, expect: {{entities: {wrong}}}}}]")


def test_those_that_come_along_are_sound() -> None:
    scenarios = gather_scenarios(builtin(), instructions="", patience_s=60).scenarios
    assert {one.topic for one in scenarios} >= set(TOPICS) - {"latency"}
    lengths = [one for one in scenarios if one.name.startswith("tools by turn")]
    assert [one.length for one in lengths] == list(LENGTHS)
    assert all(len(one.steps) == 10 for one in lengths)
    assert len(unspoken(scenarios)) > 20


def test_everything_that_can_be_said(tmp_path: Path) -> None:
    (scenario,) = read(
        tmp_path,
        """
topic: tools
tools:
  - name: weather
    description: The weather.
    parameters: {type: object, properties: {city: {type: string}}}
    responses: [{when: {city: Paris}, give: {sky: clear}, delay: 2, size: 100}]
turns:
  - say: "What is the  weather\\n in Paris?"
    expect:
      tool: {name: weather, arguments: {city: Paris}, within: 3}
      contains: [clear|sunny]
      lacks: [rain]
      number: 3
      regex: "c.*r"
      judge: Is it kind?
      history: [clear]
      history_lacks: [rain]
    patience: 12
  - say: Stop.
    interrupt: 1.5
    pause: 1
    expect: {tool: none}
""",
    )
    first, second = scenario.steps
    assert scenario.name == "mine"
    assert scenario.instructions == "Be kind."
    assert first.said == "What is the weather in Paris?"
    assert first.path == UNSPOKEN
    assert first.patience_s == 12
    assert first.expect.tool is not None
    assert first.expect.tool.within_s == 3
    assert first.expect.number == 3
    assert scenario.tools[0].responses[0].delay_s == 2
    assert second.interrupt_s == 1.5
    assert second.expect.tool is not None
    assert second.expect.tool.name == ""


def test_scenarios_of_the_page_are_read(tmp_path: Path) -> None:
    for name in ("cough.wav", "cafe.wav"):
        shutil.copy(CORPUS.parent / "recordings" / "dev_14.wav", tmp_path / name)
    blocks = re.findall("```yaml\\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown = [one for one in blocks if "say:" in one]
    assert len(shown) == 2
    for block in shown:
        assert read(tmp_path, block if "turns:" in block else f"turns:\n{block}")


def test_a_corpus_is_a_conversation_each() -> None:
    scenarios = gather_scenarios([str(CORPUS)], instructions="Be kind.", patience_s=9).scenarios
    assert len(scenarios) == 10
    one = scenarios[0]
    assert one.topic == "latency"
    assert one.steps[0].said
    assert one.steps[0].patience_s == 9
    assert one.steps[0].end_of_speech_s


def test_recordings_beside_the_file(tmp_path: Path) -> None:
    sound = sorted(CORPUS.glob("*.flac"))[0]
    (tmp_path / "a.flac").write_bytes(sound.read_bytes())
    (scenario,) = read(tmp_path, "turns: [{file: a.flac, text: Hello, end_of_speech: 1.0}]")
    (step,) = scenario.steps
    assert (step.said, step.path, step.end_of_speech_s) == ("Hello", tmp_path / "a.flac", 1.0)
    assert step.seconds > 1


def test_what_is_to_stop_and_what_is_to_be_ignored(tmp_path: Path) -> None:
    sound = sorted(CORPUS.glob("*.flac"))[0]
    (scenario,) = read(
        tmp_path,
        f"""
turns:
  - say: Tell me a story.
  - {{file: {sound}, level: -20, interrupt: 1, expect: ignore}}
  - {{say: Stop., interrupt: 3, expect: {{outcome: stop}}}}
  - silence: 60
  - {{say: Mhm., level: -30, expect: ignore}}
""",
    )
    assert [one.outcome for one in scenario.steps] == [
        "respond", "ignore", "stop", "ignore", "ignore",
    ]  # fmt: skip
    _, soft, _, silent, _ = scenario.steps
    loud, quieter = (np.concatenate([*read_audio(path, 16_000)]) for path in (sound, soft.path))
    assert np.abs(quieter * 10.0 - loud).max() <= 15
    assert silent.seconds == 60
    assert not np.concatenate([*read_audio(silent.path, 16_000)]).any()
    # What a voice has yet to speak is made softer once it is spoken.
    spoken = {line: Item(sound, "a", line, 1.0, 2.0) for line in unspoken([scenario])}
    steps = with_recordings(scenario, spoken).steps
    assert (steps[2].path, steps[4].seconds) == (sound, 2.0)
    heard = np.concatenate([*read_audio(steps[4].path, 16_000)])
    assert np.abs(heard).max() == pytest.approx(np.abs(loud).max() / 10**1.5, abs=1)


def test_a_level_that_clips_or_leaves_nothing(tmp_path: Path) -> None:
    sound = sorted(CORPUS.glob("*.flac"))[0]
    for level, why in ((40, "it would be clipped"), (-60, "nothing is audible in it at -60 dB")):
        with pytest.raises(BadInput, match=why):
            read(tmp_path, f"turns: [{{file: {sound}, level: {level}, expect: ignore}}]")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no scenario"),
        ("turns: []", "turns: needs a list of at least one turn"),
        ("turns: [{say: a, file: b}]", "turn 1: needs one of `say`"),
        ("turns: [{}]", "turn 1: needs one of `say`"),
        ("turns: [{say: a, after_call: 1}]", "nothing before it"),
        ("turns: [{say: a, interrupt: 1}]", "no reply before it that it could interrupt"),
        ("turns: [{say: a, expect: wait}]", "turns.1.expect.outcome: input should be 'respond'"),
        ("turns: [{say: a, expect: {outcome: ignore, contains: [b]}}]", "`ignore` asks for no"),
        ("turns: [{say: a, expect: {outcome: stop, number: 0}}]", "of which `number` could be"),
        ("turns: [{say: a, expect: stop}]", "turn 1: there is no reply before it that it could s"),
        ("turns: [{say: a}, {say: b, expect: stop}]", "turn 2: to `stop` a reply it is said into"),
        (
            "turns: [{say: a}, {say: b, expect: ignore}, {say: c, interrupt: 1}]",
            "turn 3: there is no reply before it",
        ),
        ("turns: [{silence: 3, level: -20}]", "turn 1: `level` needs a sound"),
        ("turns: [{silence: 3, expect: respond}]", "turn 1: silence can only be ignored"),
        ("turns: [{silence: 0}]", "turn 1: silence: 0 is none"),
        ("turns: [{silence: 0.00001}]", "turn 1: silence: 1e-05 is none; it is seconds, from"),
        ("turns: [{say: ' '}]", "turn 1: needs one of `say`"),
        ("turns: [{say: a, patience: .inf}]", "turns.1.patience: input should be a finite number"),
        ("turns: [{silence: 3, say: a}]", "turn 1: needs one of `say`"),
        ("turns: [{say: a, level: -90}]", "turns.1.level: input should be greater than or"),
        ("turns: [{say: a, seconds: 3}]", "turn 1: seconds is not known here"),
        ("turns: [{say: a, shout: 1}]", "turns.1.shout: is not known here"),
        ("turns: [{say: Stop, please.}]", "please.: is not known here; quote a text with a comma"),
        ("turns: [{say: How old?}]", "got '?'; quote a text with a question mark"),
        ("turns: [{say: a, expect: {tool: {name: b}}}]", "which `tools` does not have"),
        ("turns: [{say: a, expect: {tool: maybe}}]", "turns.1.expect.tool"),
        ("turns: [{say: a, expect: {tool: {within: 3}}}]", "turns.1.expect.tool: needs a `name`"),
        ("turns: [{say: a, expect: {regex: 1}}]", "turns.1.expect.regex: input should be"),
        ("turns: [a]", "turn 1: needs one of `say`"),
        ("turns: [{say: a, expect: {regex: '('}}]", "turns.1.expect.regex: is no reg"),
        ("turns: [{say: a, expect: {contains: ['']}}]", "turns.1.expect.contains.1"),
        ("turns: [{file: gone.wav}]", "there is no file"),
        ("topic: fun\nturns: [{say: a}]", "topic: input should be 'latency'"),
        ("lengths: [8k]\nturns: [{say: a}]", "allowed: short, 4k, 16k, 64k"),
        ("turns: [{say: a}", "line 1: is no YAML"),
        ("expect: {p99_ms: 9}\nturns: [{say: a}]", "expect: there is no figure 'p99_ms'"),
        ("expect: {a: {p90_ms: 9}}\nturns: [{say: a}]", "a: limits of one system go with --ex"),
        ("expect: often\nturns: [{say: a}]", "expect: needs figures with limits"),
        ("conversations: [{expect: {wer: 1}, turns: [{say: a}]}]", "expect: is not known here"),
        ("tools: [{name: 'a b'}]\nturns: [{say: a}]", "tools.1.name"),
    ],
)
def test_slips_are_told_with_their_place(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(BadInput, match=r"mine\.yaml") as error:
        read(tmp_path, text)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_gates_of_a_file_are_about_all_its_conversations(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        """
expect: {p90_ms: 900, tools: 0.95}
lengths: [short, 4k]
conversations: [{name: one, turns: [{say: a}]}, {name: two, turns: [{say: b}]}]
"""
    )
    (tmp_path / "b.yaml").write_text("turns: [{say: c}]")
    (of,) = gather_scenarios([str(tmp_path)], instructions="", patience_s=1).expected
    assert of.file == "a.yaml"
    assert {*of.scenarios} == {"one short", "one 4k", "two short", "two 4k"}
    assert of.gates == (Gate("p90_ms", 900), Gate("tools", 0.95))


def test_a_date_is_text(tmp_path: Path) -> None:
    """A scenario is kept as JSON, and so are a tool's arguments and results."""
    (scenario,) = read(
        tmp_path,
        """
tools: [{name: book, responses: [{give: {day: 2026-11-21}}]}]
turns: [{say: a, expect: {tool: {name: book, arguments: {day: 2026-11-21}}}}]
""",
    )
    assert (scenario.steps[0].expect.tool or Wanted()).arguments == {"day": "2026-11-21"}
    assert scenario.tools[0].responses[0].give == {"day": "2026-11-21"}


def test_what_is_not_there_is_told_with_what_is() -> None:
    with pytest.raises(BadInput, match="tools-by-turn"):
        gather_scenarios(["nothing"], instructions="", patience_s=1)


def test_names_are_unlike(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text("name: same\nturns: [{say: hello}]")
    with pytest.raises(BadInput, match="two scenarios are called 'same'"):
        gather_scenarios([str(tmp_path)], instructions="", patience_s=1)


@pytest.mark.parametrize("length", list(LENGTHS))
def test_instructions_are_as_long_as_their_name_says(length: str) -> None:
    text = lengthened("Be kind.", length)
    wanted = max(LENGTHS[length], len("Be kind."))
    assert wanted * 0.98 <= len(text) <= wanted
    assert text.startswith("Be kind.")


WEATHER = CannedTool(
    "weather",
    responses=(
        Canned({"sky": "clear"}, when={"city": "Paris"}),
        Canned("rain", when={"city": "Oslo"}, delay_s=2.0),
        Canned("snow", when={"city": "Oslo"}),
    ),
)


def test_the_first_response_that_fits_is_used_up_but_not_the_last() -> None:
    box = CannedTools([WEATHER])
    oslo = json.dumps({"city": "oslo"})
    assert box.answer("weather", oslo) == ("rain", 2.0)
    assert box.answer("weather", oslo) == ("snow", 0.0)
    assert box.answer("weather", oslo) == ("snow", 0.0)
    assert box.answer("weather", '{"city": "Paris, France"}') == ('{"sky": "clear"}', 0.0)


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("time", "{}", "no tool"),
        ("weather", "{", "no JSON"),
        ("weather", "[]", "no JSON"),
        ("weather", '{"city": "Rome"}', "nothing is known"),
        ("weather", "", "nothing is known"),
    ],
)
def test_what_cannot_be_answered_is_an_error_for_the_model(
    name: str, arguments: str, why: str
) -> None:
    output, _ = CannedTools([WEATHER]).answer(name, arguments)
    assert why in json.loads(output)["error"]


def test_a_result_is_filled_up_to_its_size() -> None:
    filled = Canned({"year": 1950}, size=1_000_000).text
    assert len(filled.encode()) == 1_000_000
    assert filled.startswith('{"year": 1950}\n')


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        ({"n": 2}, {"n": "2"}, True),
        ({"n": 2}, {"n": 2.0}, True),
        ({"n": 2}, {"n": 3}, False),
        ({"item": "lamp"}, {"item": " Lamp "}, True),
        ({"item": "lamp"}, {"item": "lampshade"}, False),
        ({"item": "lamp"}, {}, False),
        ({}, {"anything": 1}, True),
        ({"list": [1, 2]}, {"list": [1, 2]}, True),
        ({"item": ""}, {"item": "lamp"}, False),
    ],
)
def test_arguments_agree(wanted: dict[str, object], given: dict[str, object], same: bool) -> None:
    assert agrees(wanted, given) is same


def test_conditions_are_an_axis(tmp_path: Path) -> None:
    for name in ("cafe.flac", "hall.flac"):
        (tmp_path / name).write_bytes(sorted(CORPUS.glob("*.flac"))[0].read_bytes())
    text = """
name: orders
lengths: [short, 4k]
conditions: [clean, {noise: cafe.flac, snr: 10}, {codec: g711u, loss: 3}]
turns: [{say: Hello.}]
"""
    found = read(tmp_path, text)
    names = ["clean", "cafe 10 dB", "g711u, loss 3"]
    expected = [f"orders {length} {name}" for length in ("short", "4k") for name in names]
    assert [one.name for one in found] == expected
    assert [one.condition for one in found[:3]] == ["", "cafe 10 dB", "g711u, loss 3"]
    clean, noisy, line = (one.through for one in found[:3])
    assert clean is None
    assert noisy is not None and noisy.noise == tmp_path / "cafe.flac"
    assert line is not None and (line.codec, line.loss) == ("g711u", 3)
    # The command line's own axis is that of all: files with another one, and recordings.
    axis = [parse("clean"), parse("gain=-20")]
    sources = [str(tmp_path / "mine.yaml"), str(CORPUS)]
    found = gather_scenarios(sources, instructions="", patience_s=9, axis=axis).scenarios
    assert len(found) == 2 * (2 + 10)
    assert {one.condition for one in found} == {"", "gain -20"}


@pytest.mark.parametrize(
    ("axis", "complaint"),
    [
        ("[clean, clean]", "two are called 'clean'"),
        ("[{loss: 3}, {loss: 3.0}]", "two are called 'loss 3'"),
        ("[{codec: opus}]", "codec: input should be 'g711u' or 'g711a'"),
        ("[{loss: 120}]", "loss: input should be less than or equal to 100"),
        ("[{noise: none.wav, snr: 3}]", "none.wav: there is no such file"),
        ("[{room: mine.yaml}]", "mine.yaml: is no sound file that can be read"),
        ("[{noise: cafe.wav}]", "noise and snr go together"),
        ("loud", "'loud' is none"),
    ],
)
def test_a_condition_that_is_none(tmp_path: Path, axis: str, complaint: str) -> None:
    with pytest.raises(BadInput) as told:
        read(tmp_path, f"conditions: {axis}\nturns: [{{say: Hello.}}]")
    assert str(told.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert complaint in str(told.value)


def test_an_axis_has_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="condition: is not known here; axes are `lengths`"):
        read(tmp_path, "condition: clean\nturns: [{say: Hello.}]")
