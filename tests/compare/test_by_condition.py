"""Figures by condition: of the right turns, against the same words in clean sound."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
from support import comparison_samples as made
from support.pages import on_terminal

from pipeline.compare import figures, report
from pipeline.compare.cost import prices
from pipeline.compare.record import Conversation
from pipeline.compare.summary import summarise
from pipeline.compare.terminal import show
from pipeline.compare.verdict import verdict
from pipeline.measure.record import Turn

TABLE = prices()
PATHS = (made.CASCADE, made.DIRECT)


@cache
def compared() -> tuple[dict[str, Any], list[Conversation], Any]:
    """Header, conversations and summary, which no test changes."""
    header, held = made.in_conditions(*made.comparison(paths=PATHS, faults=False))
    return header, held, summarise(header, held, TABLE)


def test_each_condition_is_paired_with_clean_sound() -> None:
    _, held, found = compared()
    assert found["conditions"] == ["clean", "cafe 10 dB", "g711u"]
    one = found["variants"][made.CASCADE]["by_condition"]
    assert [*one] == found["conditions"]
    clean, cafe, phone = one.values()
    assert "against_clean" not in clean
    turns = [
        t for c in held if c.path == made.CASCADE and c.repeat and not c.condition for t in c.turns
    ]
    assert clean["turns"] == cafe["turns"] == phone["turns"] == len(turns)
    against = cafe["against_clean"]
    assert against["voice_to_voice_ms"]["n"] == len(turns)
    assert against["voice_to_voice_ms"]["median"] == pytest.approx(200)
    assert against["voice_to_voice_ms"]["verdict"] == "slower"
    assert against["wer"]["difference"] == pytest.approx(
        len(turns) / clean["wer"]["words"], abs=0.001
    )
    assert against["wer"]["verdict"] == "more"
    assert against["success"]["difference"] == 0
    lost = sum(turn.number % 3 == 0 for turn in turns)
    assert phone["answered"]["met"] == len(turns) - lost
    assert phone["against_clean"]["answered"]["verdict"] == "fewer"
    assert phone["against_clean"]["voice_to_voice_ms"]["median"] == 0


def test_a_systems_own_figures_are_of_clean_sound_and_its_costs_of_all() -> None:
    _, _, found = compared()
    alone: Any = summarise(made.header(PATHS), made.comparison(paths=PATHS, faults=False)[1], TABLE)
    for path in PATHS:
        mine, before = found["variants"][path], alone["variants"][path]
        for name in ("n", "voice_to_voice_ms", "parts_ms", "wer", "expectations", "tools"):
            assert mine[name] == before[name], name
        assert mine["conversations"]["n"] == 3 * before["conversations"]["n"]
        assert (
            len(mine["failures"])
            == mine["by_condition"]["g711u"]["answered"]["n"]
            - (mine["by_condition"]["g711u"]["answered"]["met"])
        )
    other = found["variants"][made.DIRECT]["against_first"]
    assert (
        other["voice_to_voice_ms"]
        == alone["variants"][made.DIRECT]["against_first"]["voice_to_voice_ms"]
    )


def test_where_nothing_is_clean_all_counts() -> None:
    header, held, _ = compared()
    header = {
        **header,
        "scenarios": {k: v for k, v in header["scenarios"].items() if v["condition"]},
    }
    some = [one for one in held if one.condition]
    found: Any = summarise(header, some, TABLE)
    assert found["conditions"] == ["cafe 10 dB", "g711u"]
    one = found["variants"][made.CASCADE]
    assert one["n"] + one["failed"] == sum(each["turns"] for each in one["by_condition"].values())
    assert not any("against_clean" in each for each in one["by_condition"].values())


def test_without_an_axis_there_is_none() -> None:
    header, held = made.comparison(paths=PATHS)
    found: Any = summarise(header, held, TABLE)
    assert found["conditions"] == []
    assert found["variants"][made.CASCADE]["by_condition"] == {}
    text = on_terminal(show, found, width=200)
    assert "condition" not in text
    titles = [one["title"] for one in figures.measures(found, PATHS, header)]
    assert "Rooms and lines" not in titles


def test_the_report_draws_what_the_whole_is_of_and_links_what_was_heard() -> None:
    """What its table and curves say of each condition is in the kept pages."""
    header, held, found = compared()
    content = report.content(header, held, found)
    dots = content["panels"][0]["drawn"]["rows"][0]["dots"]
    assert len(dots) == found["variants"][made.CASCADE]["n"]
    page = report.page(content, {})
    assert page.count("-heard.wav") == sum(len(c.turns) for c in held if c.heard)


def in_a_cafe(turn: Turn) -> Turn:
    """Where each second turn is cut into, both speak for longer, and no reply stops."""
    assert turn.taking is not None
    taking = dataclasses.replace(
        turn.taking,
        cut_in_ns=200 * made.MS if turn.number % 2 == 0 else None,
        talk_over_ns=turn.taking.talk_over_ns + 300 * made.MS,
        stopped=False if turn.interrupts else turn.taking.stopped,
    )
    silence_ns = turn.silence_ns and turn.silence_ns + 150 * made.MS
    return dataclasses.replace(turn, taking=taking, silence_ns=silence_ns)


def test_who_speaks_when_in_each_condition() -> None:
    header, held, _ = compared()
    noisy = [
        dataclasses.replace(one, turns=tuple(map(in_a_cafe, one.turns)))
        if one.condition == "cafe 10 dB"
        else one
        for one in held
    ]
    found: Any = summarise(header, noisy, TABLE)
    one = found["variants"][made.CASCADE]
    clean, cafe, phone = one["by_condition"].values()
    assert clean["selectivity"] == one["selectivity"]
    assert clean["interruption"] == one["interruption"]
    cut_in = cafe["selectivity"]["cut_in"]
    assert 0 < cut_in["met"] < cut_in["n"]
    against = cafe["against_clean"]
    assert against["selectivity"]["cut_in"]["difference"] == pytest.approx(cut_in["share"])
    assert against["selectivity"]["cut_in"]["verdict"] == "more"
    assert against["selectivity"]["stops"]["difference"] == -1
    assert against["stop_ms"]["median"] == pytest.approx(150)
    assert cafe["selectivity"]["talk_over_ms"]["median"] == pytest.approx(300)
    assert phone["against_clean"]["selectivity"]["cut_in"]["difference"] == 0
    # What is clearly worse is in the verdict, and each figure in the report and on a terminal.
    found["variants"][made.DIRECT]["by_condition"] = {}
    del against["wer"]
    assert "cascade cuts in " in verdict(found)[1]
    assert "points more often (95 %: +" in verdict(found)[1]
    rows = {
        row["label"]: row["cells"][0]
        for table in figures.measures(found, [made.CASCADE], header)
        for row in table["rows"]
    }
    assert rows["Cut in, clean"]["value"] == 0
    cell = rows["Cut in, cafe 10 dB"]
    assert (cell["value"], cell["ci"]) == (cut_in["share"], cut_in["ci95"])
    assert cell["difference"]["verdict"] == "more"
    assert rows["Median time to silence, cafe 10 dB"]["difference"]["value"] == pytest.approx(150)
    curves = {curve["title"] for curve in figures.curves(found, [made.CASCADE])}
    assert "Cut in by condition" in curves
    assert "Spurious replies by condition" not in curves
    text = " ".join(on_terminal(show, found, width=80).split())
    assert f"cascade, cafe 10 dB: cuts in {100 * cut_in['share']:.0f} % (" in text
    assert "stops when told to 0 % (0 to 56), -100 points" in text
    # A fault that nobody made is left out; what nobody did right is not.
    for each in (clean, cafe, phone):
        each["selectivity"]["stops"] = cafe["selectivity"]["stops"]
    (table,) = (
        table
        for table in figures.measures(found, [made.CASCADE], header)
        if table["title"] == "Rooms and lines"
    )
    shown = {row["label"]: row["cells"][0]["value"] for row in table["rows"]}
    assert shown["Stopped when told to, clean"] == 0
    assert "Spurious replies, clean" not in shown
