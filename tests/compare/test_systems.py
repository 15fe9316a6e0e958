"""Scenarios held with a session whose latency is known, and what a simulated server replays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.metronome import Answer, MetronomeSystem, cut_in
from support.noise import LEAD_S, SPEECH_S, utterance
from support.said import latency_ms, words
from support.virtual_time import in_virtual_time

from pipeline.audio.files import WavWriter, read_audio
from pipeline.clock import NS_PER_MS
from pipeline.compare.conditions import Condition, Disturbance
from pipeline.compare.record import Conversation
from pipeline.compare.scenario import Canned, CannedTool, Expect, Scenario, Step, Wanted
from pipeline.compare.scoring import check
from pipeline.compare.systems import PREAMBLE, REPLY, hold_scenario, rehearse
from pipeline.events import Frame
from pipeline.measure.conduct import heard_wav
from pipeline.measure.instrument import begin_of, stereo
from pipeline.serve.script import Latency, Script, ScriptedTurn
from pipeline.turns.speech_end import UNMEASURABLE

ERROR_MS = 5.01
"""A reply is heard with the next part of a frame; in virtual time there is no other error."""


def scenario(folder: Path, *steps: dict[str, Any], tools: Sequence[CannedTool] = ()) -> Scenario:
    said = tuple(words(folder, **{"patience_s": 3.0, **more}) for more in steps)
    return Scenario("noise", "latency", "", said, tuple(tools))


async def held(
    system: MetronomeSystem, said: Scenario, folder: Path, listen_s: float | None = None
) -> Conversation:
    return (await hold_scenario(system, said, folder / "both.wav", listen_s=listen_s)).result


@pytest.mark.parametrize("known_ms", [100, 500, 1500])
@in_virtual_time
async def test_a_known_latency_is_measured(tmp_path: Path, known_ms: float) -> None:
    conversation = await held(MetronomeSystem(known_ms), scenario(tmp_path, {}, {}), tmp_path, 0.3)
    assert conversation.status == "ok"
    for turn in conversation.turns:
        assert turn.record.status == "ok", turn.record.reason
        assert latency_ms(turn) == pytest.approx(known_ms, abs=ERROR_MS)
        timeline = turn.record.timeline
        assert timeline is not None
        assert sum(timeline.parts.values()) == timeline.total_ns
        assert set(timeline.parts) == {"endpoint", "model", "device", "own"}
        assert turn.answering_ns == turn.record.wav_voice_to_voice_ns


def noisy(path: Path, below_db: float) -> Path:
    """The utterance of `path` with noise all through, and a second of it afterwards."""
    sound = np.pad(np.concatenate([*read_audio(path, 16_000)]).astype(float), (0, 16_000))
    level = np.sqrt(np.mean(sound[sound != 0] ** 2))
    hiss = np.random.default_rng(1).standard_normal(len(sound)) * level / 10 ** (below_db / 20)
    made = path.with_name(f"noisy-{below_db:g}.wav")
    with WavWriter(made, 16_000) as wav:
        wav.write(np.rint(sound + hiss).clip(-32768, 32767).astype(np.int16))
    return made


@pytest.mark.parametrize(
    ("below_db", "label", "status"),
    [(20, None, "ok"), (6, None, "unmeasurable"), (6, LEAD_S + SPEECH_S, "ok")],
)
@in_virtual_time
async def test_noise_moves_no_latency(
    tmp_path: Path, below_db: float, label: float | None, status: str
) -> None:
    path = noisy(utterance(tmp_path / "noise.wav"), below_db)
    step = {"path": path, "end_of_speech_s": label, "seconds": 2.2}
    said = scenario(tmp_path, step)
    # Its ear takes the noise for the beginning.
    system = MetronomeSystem(1800, ends_s=[LEAD_S + SPEECH_S])
    (turn,) = (await held(system, said, tmp_path, 0.3)).turns
    assert turn.record.status == status, turn.record.reason
    assert turn.record.snr_db == pytest.approx(below_db, abs=3)
    latency_ns = turn.record.wav_voice_to_voice_ns
    if status == "ok":
        assert latency_ns is not None
        assert abs(latency_ns / NS_PER_MS - 1800) <= ERROR_MS + (0 if label else 60)
    else:
        assert turn.record.reason == UNMEASURABLE
        assert (latency_ns, turn.answering_ns) == (None, None)
        assert turn.record.answered


@in_virtual_time
async def test_a_filler_is_no_answer(tmp_path: Path) -> None:
    tool = CannedTool("look", responses=(Canned("found", delay_s=1.0),))
    system = MetronomeSystem(300, answers=[Answer(tool="look", filler_s=0.4, seconds=0.5)])
    (turn,) = (await held(system, scenario(tmp_path, {}, tools=[tool]), tmp_path)).turns
    assert turn.answering_ns is not None
    assert latency_ms(turn) == pytest.approx(300, abs=ERROR_MS)
    # The tool takes a second from the call, which comes with the filler's sound.
    assert turn.answering_ns / NS_PER_MS == pytest.approx(1300, abs=2 * ERROR_MS)
    (call,) = turn.calls
    assert call.answered_ns is not None
    assert (call.answered_ns - call.asked_ns) / NS_PER_MS == pytest.approx(1000, abs=2 * ERROR_MS)
    assert turn.record.reply == "[found] Here you are."
    assert "tools" in {span.lane for span in turn.record.spans}


@in_virtual_time
async def test_an_interruption(tmp_path: Path) -> None:
    system = MetronomeSystem(200, answers=[Answer(seconds=20), Answer(seconds=0.5)])
    first, second = (
        await held(system, scenario(tmp_path, {}, {"interrupt_s": 0.5}), tmp_path)
    ).turns
    assert second.interrupts
    assert second.silence_ns is not None
    # It is stopped at the first frame that is audible, and fades.
    assert 0 < second.silence_ns / NS_PER_MS < 100
    assert first.kept == "Here"
    assert second.kept == "Here you are."
    assert latency_ms(second) == pytest.approx(200, abs=ERROR_MS)


@in_virtual_time
async def test_one_turn_that_fails_leaves_the_others(tmp_path: Path) -> None:
    answers = [Answer(seconds=0.3), Answer(fails="the model is tired"), Answer(seconds=0.3)]
    conversation = await held(
        MetronomeSystem(100, answers=answers), scenario(tmp_path, {}, {}, {}), tmp_path
    )
    assert [turn.record.status for turn in conversation.turns] == ["ok", "failed", "ok"]
    assert conversation.turns[1].record.reason == "direct: the model is tired"


@in_virtual_time
async def test_nothing_for_long(tmp_path: Path) -> None:
    answers = [Answer(mute=True), Answer(seconds=0.3)]
    conversation = await held(
        MetronomeSystem(100, answers=answers), scenario(tmp_path, {"patience_s": 1.0}, {}), tmp_path
    )
    assert [turn.record.status for turn in conversation.turns] == ["timeout", "ok"]
    assert conversation.turns[0].record.reason == "no reply within 1 s"


@in_virtual_time
async def test_a_conversation_that_breaks_off_keeps_the_turns_before_it(tmp_path: Path) -> None:
    """The line is cut in the second reply; there is no third turn."""
    system = MetronomeSystem(100, wrap=cut_in("r2"))
    conversation = await held(system, scenario(tmp_path, {}, {}, {}), tmp_path)
    reason = "the line is cut"
    assert (conversation.status, conversation.reason) == ("failed", reason)
    told = [(turn.record.status, turn.record.reason) for turn in conversation.turns]
    assert told == [("ok", ""), ("failed", reason), ("failed", reason)]
    assert "heard.first" in conversation.turns[1].record.marks


@in_virtual_time
async def test_a_path_that_cannot_be_had(tmp_path: Path) -> None:
    system = MetronomeSystem(refuses="the key is refused (401); set OPENAI_API_KEY")
    conversation = await held(system, scenario(tmp_path, {}, {}), tmp_path)
    assert conversation.status == "failed"
    assert conversation.reason == "the key is refused (401); set OPENAI_API_KEY"
    assert [turn.record.status for turn in conversation.turns] == ["failed", "failed"]
    assert all(turn.record.reason == conversation.reason for turn in conversation.turns)


@in_virtual_time
async def test_a_reply_that_comes_too_late_is_not_the_next_one(tmp_path: Path) -> None:
    """It sounds between the end of the second utterance and the reply to that."""
    answers = [Answer(seconds=0.3, late_s=1.9), Answer(seconds=0.3)]
    said = scenario(tmp_path, {"patience_s": 1.0}, {})
    conversation = await held(MetronomeSystem(800, answers=answers), said, tmp_path)
    first, second = (turn.record for turn in conversation.turns)
    assert (first.status, first.reason) == ("timeout", "no reply within 1 s")
    assert second.status == "ok"
    assert latency_ms(conversation.turns[1]) == pytest.approx(800, abs=ERROR_MS)


@in_virtual_time
async def test_a_tool_may_be_spoken_over_and_answered_later(
    tmp_path: Path,
) -> None:
    tool = CannedTool("look", responses=(Canned("found", delay_s=2.5),))
    answers = [Answer(tool="look", seconds=0.3), Answer(seconds=0.3)]
    said = scenario(tmp_path, {}, {"after_call_s": 0.3}, tools=[tool])
    conversation = await held(MetronomeSystem(100, answers=answers), said, tmp_path)
    assert [turn.record.status for turn in conversation.turns] == ["ok", "ok"]
    first, second = conversation.turns
    assert latency_ms(first) == pytest.approx(2600, abs=2 * ERROR_MS)
    assert latency_ms(second) == pytest.approx(100, abs=ERROR_MS)


@in_virtual_time
async def test_a_session_hears_one_microphone_and_not_that_a_recording_begins(
    tmp_path: Path,
) -> None:
    """What it has learnt of the user's level it may keep: else a voice far away is the user."""
    told: list[bool] = []

    def listened(session: Any) -> Any:
        send = session.send

        async def sent(frame: Frame) -> None:
            told.append(frame.begins)
            await send(frame)

        session.send = sent
        return session

    await held(MetronomeSystem(100, wrap=listened), scenario(tmp_path, {}, {}), tmp_path, 0.3)
    assert len(told) > 100
    assert not any(told)


@in_virtual_time
async def test_nobody_says_that_they_have_finished_after_a_cough(tmp_path: Path) -> None:
    commits: list[int] = []

    def by_hand(session: Any) -> Any:
        async def commit() -> None:
            commits.append(session._turn)

        session.commit = commit
        return session

    system = MetronomeSystem(100, answers=[Answer(seconds=0.3)] * 3, wrap=by_hand, manual=True)
    said = scenario(tmp_path, {}, {"expect": Expect("ignore")}, {})
    await held(system, said, tmp_path, 0.3)
    assert commits == [1, 3]


@in_virtual_time
async def test_what_is_laid_over_the_sound_moves_no_figure(tmp_path: Path) -> None:
    """A room, a telephone, lost packets: the WAV is as clean as the recording; what was heard is
    beside it, at the same places, and no later."""
    room = np.zeros(8_000, np.int16)
    room[4_000] = 20_000
    room[4_200::97] = 900
    condition = Condition(room=Path("hall"), codec="g711u", loss=5)
    passage = Disturbance(condition, room=room).begin("a")
    said, wav = scenario(tmp_path, {}, {}), tmp_path / "both.wav"
    # Its ear takes the room for more of the utterance.
    system = MetronomeSystem(500, ends_s=[SPEECH_S, SPEECH_S])
    made = await hold_scenario(system, said, wav, listen_s=0.3, passage=passage)
    for turn in made.result.turns:
        assert turn.record.status == "ok", turn.record.reason
        assert latency_ms(turn) == pytest.approx(500, abs=ERROR_MS)
        timeline = turn.record.timeline
        assert timeline is not None
        assert timeline.total_ns / NS_PER_MS == pytest.approx(500, abs=20)
    left, _, rate = stereo(wav)
    clean = np.concatenate([*read_audio(said.steps[0].path, 16_000)])
    heard = np.concatenate([*read_audio(heard_wav(wav), 16_000)])
    begin, begin_heard = begin_of(clean, left, rate) / rate, begin_of(clean, heard, 16_000) / 16_000
    assert begin == pytest.approx(begin_heard, abs=0.001)
    played = np.concatenate([*read_audio(wav, 16_000)])
    assert len(heard) == pytest.approx(len(played), abs=0.1 * 16_000)


@in_virtual_time
async def test_what_the_system_hears_as_it_is_has_no_file_of_its_own(tmp_path: Path) -> None:
    await held(MetronomeSystem(100), scenario(tmp_path, {}), tmp_path, 0.2)
    assert not heard_wav(tmp_path / "both.wav").exists()


@pytest.mark.parametrize(("label_s", "status"), [(None, "ok"), (1.1, "ok"), (1.6, "unmeasurable")])
@in_virtual_time
async def test_who_answers_in_a_pause_has_cut_in(
    tmp_path: Path, label_s: float | None, status: str
) -> None:
    """The system's own word that speech was over then is no contradiction; a wrong label is."""

    def deceived(session: Any) -> Any:
        mark = session._mark

        def marked(turn: int, name: str) -> None:
            if name == "committed":
                mark(turn, "speech.end")
            mark(turn, name)

        session._mark = marked
        return session

    assert pytest.approx(1.1) == LEAD_S + SPEECH_S
    sound = np.concatenate([*read_audio(utterance(tmp_path / "short.wav"), 16_000)])
    sound = np.pad(sound, (0, 8_000))
    with WavWriter(tmp_path / "long.wav", 16_000) as wav:
        wav.write(sound)
    step = Step(
        "words",
        tmp_path / "long.wav",
        end_of_speech_s=label_s,
        seconds=len(sound) / 16_000,
        patience_s=3.0,
    )
    # It answers 100 ms after 0.7 s, where the voice pauses.
    system = MetronomeSystem(100, ends_s=[0.4], wrap=deceived)
    (turn,) = (await held(system, Scenario("x", "latency", "", (step,)), tmp_path, 0.3)).turns
    assert turn.record.status == status, turn.record.reason
    if status == "ok":
        assert latency_ms(turn) == pytest.approx(-300, abs=60)


OWN = (ScriptedTurn(reply="My own."),)


def recording(path: Path) -> Path:
    sound = np.zeros(32_000, np.int16)
    sound[8_000:24_000] = 9_000
    with WavWriter(path, 16_000) as wav:
        wav.write(sound)
    return path


def test_a_conversation_for_each_scenario(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    steps = (
        Step("How much is it?", path, end_of_speech_s=1.5, expect=Expect(number=12)),
        Step("Look it up.", path, expect=Expect(tool=Wanted("look", {"item": "lamp"}))),
        Step("Which city?", path, expect=Expect(contains=("Paris|Rome", "France"))),
    )
    tools = (CannedTool("look"),)
    scenarios = [
        Scenario("shop", "tools", "", steps, tools),
        Scenario("one", "latency", "", steps[:1]),
    ]
    script = Script("model", {"own": OWN}, latency=Latency("constant", 100))
    made = rehearse(script, scenarios)
    assert made.latency == script.latency
    assert {name: len(turns) for name, turns in made.conversations.items()} == {
        "shop": 3,
        "one": 1,
        "own": 1,
    }
    first, second, third = made.conversations["shop"]
    assert first.transcript == "How much is it?"
    # The sound begins half a second into the recording.
    assert first.ends_s == pytest.approx(1.0, abs=0.001)
    assert (second.ends_s, second.reply) == (None, REPLY)
    assert second.calls[0].name == "look"
    assert second.calls[0].arguments == {"item": "lamp"}
    assert second.calls[0].preamble == PREAMBLE
    assert third.reply == "The answer is Paris and France."


def test_what_it_says_meets_what_is_expected(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    for expect in (Expect(number=42), Expect(contains=("Anna|Ann", "Max")), Expect(number=3.5)):
        step = Step("words", path, expect=expect)
        scenario = Scenario("one", "understanding", "", (step,))
        (turn,) = rehearse(Script("model", {"own": OWN}), [scenario]).conversations["one"]
        assert all(one.met for one in check(step, scenario, turn.reply))


def test_what_the_script_has_stays(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.wav")
    scenarios = [Scenario("one", "latency", "", (Step("words", path),))]
    script = rehearse(Script("model", {"one": OWN, "two": OWN}), scenarios)
    assert script.conversations == {"one": OWN, "two": OWN}
