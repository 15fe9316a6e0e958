"""Systems of known behaviour, measured as what they are: to 15 ms, and to the event."""

from __future__ import annotations

from pathlib import Path

from support.noise import SPEECH_S
from support.said import COUGH_S, cough, latency_ms, words
from support.virtual_time import in_virtual_time

from pipeline.compare import scoring, selectivity
from pipeline.compare.record import Conversation
from pipeline.compare.results import Selectivity
from pipeline.compare.scenario import Scenario, Step
from pipeline.compare.systems import ReferenceSystem, hold_scenario, parse
from pipeline.measure.cues import IDLE_S
from pipeline.measure.stats import Spread

ERROR_MS = 15.0
"""What the project allows its instrument."""


async def held(folder: Path, options: str, *steps: Step) -> Conversation:
    """A conversation with the reference system, scored as a run scores it."""
    (spec,) = parse([f"reference:{options}"])
    said = Scenario("words", "latency", "", steps)
    found = (await hold_scenario(ReferenceSystem(spec), said, folder / "both.wav")).result
    assert found.status == "ok", found.reason
    turns = zip(found.turns, steps, strict=True)
    scored = tuple(scoring.scored(turn, step, said) for turn, step in turns)
    return Conversation(found.path, found.scenario, 1, 0, "ok", turns=scored)


def figures(conversation: Conversation) -> Selectivity:
    return selectivity.figures(conversation.turns)


def counts(found: Selectivity) -> dict[str, tuple[int, int]]:
    """How many of how many, of each rate that there is any of."""
    shares = {rate: found[rate] for rate in selectivity.RATES}  # type: ignore[literal-required]
    return {rate: (one["met"], one["n"]) for rate, one in shares.items() if one["n"]}


def near(found: Spread | None, n: int, ms: float) -> None:
    """So many values, of which none is off by more than the instrument's error."""
    assert found is not None
    assert found["n"] == n
    assert abs(found["median"] - ms) <= ERROR_MS
    assert abs(found["max"] - ms) <= ERROR_MS


def stop_ms(conversation: Conversation) -> Spread | None:
    found = scoring.interruption([(conversation, turn) for turn in conversation.turns])
    return found and found["silence_ms"]


def outcomes(conversation: Conversation) -> list[str]:
    return [selectivity.told(turn) for turn in conversation.turns]


@in_virtual_time
async def test_who_answers_after_500_ms_and_stops_for_a_voice_only(tmp_path: Path) -> None:
    into = {"interrupt_s": 0.5}
    held_ = await held(
        tmp_path,
        "latency=500,stop=600,coughs=no,reply=4000",
        words(tmp_path),
        cough(tmp_path, **into),
        words(tmp_path, interrupt_s=2.0, expect={"outcome": "stop"}),
        cough(tmp_path),
        words(tmp_path),
        words(tmp_path, **into),
    )
    assert outcomes(held_) == ["", "ignored", "stopped", "ignored", "", ""]
    found = figures(held_)
    assert counts(found) == {
        "cut_in": (0, 3),
        "missed": (0, 3),
        "false_barge_in": (0, 1),
        "false_stop": (0, 1),
        "spurious": (0, 2),
        "stops": (2, 2),
    }
    near(stop_ms(held_), 2, 600)
    near(found["talk_over_ms"], 2, 600)
    assert [turn.checks[0].met for turn in held_.turns if turn.checks] == [True] * 3
    for turn in held_.turns:
        if turn.outcome == "respond":
            assert abs(latency_ms(turn) - 500) <= ERROR_MS
        else:
            assert turn.words == 0


@in_virtual_time
async def test_who_stops_for_every_cough(tmp_path: Path) -> None:
    held_ = await held(
        tmp_path,
        "latency=500,stop=300,coughs=yes,reply=2500",
        words(tmp_path),
        cough(tmp_path, interrupt_s=0.5),
        cough(tmp_path),
        words(tmp_path),
        words(tmp_path, interrupt_s=0.5, expect={"outcome": "stop"}),
    )
    assert outcomes(held_) == ["", "answered it, stopped for it", "answered it", "", "stopped"]
    found = figures(held_)
    assert counts(found) == {
        "cut_in": (0, 2),
        "missed": (0, 2),
        "false_barge_in": (1, 1),
        "false_stop": (1, 1),
        "spurious": (2, 2),
        "stops": (1, 1),
    }
    assert (found["came_back"]["met"], found["came_back"]["n"]) == (0, 1)
    near(stop_ms(held_), 1, 300)
    # Of a reply that was stopped there is in its memory what was heard.
    assert [bool(turn.kept) for turn in held_.turns] == [True] * 5
    assert len(held_.turns[0].kept or "") < len(held_.turns[2].kept or "")
    for turn in held_.turns[1:3]:
        assert turn.taking is not None
        assert turn.taking.spurious_ns is not None
        assert abs(turn.taking.spurious_ns / 1e6 - 1000 * COUGH_S - 500) <= ERROR_MS
    stopped = held_.turns[1]
    assert stopped.taking is not None
    assert abs((stopped.taking.ended_ns or 0) / 1e6 - 300) <= ERROR_MS
    (check,) = stopped.checks
    assert (check.met, check.topic) == (False, "turn-taking")
    assert check.found.startswith("silent after ")


@in_virtual_time
async def test_who_cuts_in_in_every_third_turn(tmp_path: Path) -> None:
    held_ = await held(tmp_path, "cut_in=3,reply=1200", *[words(tmp_path)] * 6)
    assert outcomes(held_) == ["", "", "cut in"] * 2
    found = figures(held_)
    assert counts(found) == {"cut_in": (2, 6), "missed": (0, 6)}
    near(found["cut_in_ms"], 2, 1000 * SPEECH_S - 500)
    for turn, latency in zip(held_.turns, [500, 500, 500 - 1000 * SPEECH_S] * 2, strict=True):
        assert abs(latency_ms(turn) - latency) <= ERROR_MS


@in_virtual_time
async def test_who_goes_on_and_who_says_nothing(tmp_path: Path) -> None:
    """A reply that is over by itself soon after the interruption was not shown to be stopped."""
    stop = words(tmp_path, interrupt_s=0.5, expect={"outcome": "stop"})
    went_on = await held(
        tmp_path, "stop=9000,latency=9000,reply=5000", words(tmp_path, patience_s=20), stop
    )
    assert outcomes(went_on) == ["", "went on"]
    over = await held(
        tmp_path, "stop=9000,latency=9000,reply=1500", words(tmp_path, patience_s=20), stop
    )
    assert outcomes(over) == ["", "not tested"]
    mute = await held(tmp_path, "latency=9000", words(tmp_path, patience_s=2))
    assert counts(figures(mute)) == {"missed": (1, 1)}
    assert IDLE_S < 9
