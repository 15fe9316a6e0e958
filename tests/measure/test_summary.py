"""A profile's figures: every turn is counted once, and each figure is that of the right turns."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.known_turns import PLAIN, header, turn
from support.pages import on_terminal

from pipeline.measure.record import Record, Status
from pipeline.measure.run import as_csv, as_json
from pipeline.measure.summary import COLUMNS, HIDEABLE, row, summarise
from pipeline.profile.terminal import PATTERNS, bar, show
from pipeline.trace import PARTS
from pipeline.turns.speech_end import UNMEASURABLE

FILES = ("a.wav", "b.wav", "c.wav", "d.wav", "e.wav", "f.wav")
STATUSES: tuple[Status, ...] = ("ok", "no reply", "failed", "timeout", "unmeasurable")


def shown(head: dict[str, Any], records: list[Record], **options: Any) -> str:
    return on_terminal(show, summarise(head, records), **options)


def two_variants(relative: float = 0.01) -> tuple[dict[str, Any], list[Record]]:
    """`slow` takes 300 ms longer to the first token, in every recording."""
    records = []
    for index, file in enumerate(FILES):
        for repeat in (1, 2):
            stt = 200 + 40 * index + repeat
            records.append(turn("plain", file, repeat, stt=stt))
            records.append(turn("slow", file, repeat, stt=stt, llm_first_token=400))
    return header("plain", "slow", relative=relative), records


def test_figures_of_a_variant() -> None:
    found = summarise(*two_variants())["variants"]["plain"]
    assert (found["n"], found["failed"]) == (12, 0)
    assert found["voice_to_voice_ms"]["median"] == 1070 + 101.5
    assert found["voice_to_voice_ms"]["max"] == 1070 + 202
    low, high = found["voice_to_voice_ms"]["ci95"]
    assert 1071 <= low < 1171.5 < high <= 1272
    low, high = found["voice_to_voice_ms"]["mean_ci95"]
    assert 1071 <= low < found["voice_to_voice_ms"]["mean"] < high <= 1272
    assert {name: part["median"] for name, part in found["parts_ms"].items()} == {
        **PLAIN,
        "stt": 301.5,
    }


def test_the_latency_is_the_wavs_and_the_parts_are_the_traces() -> None:
    records = [turn(file=file, wav_off_ms=off) for file, off in zip(FILES, range(6), strict=True)]
    found = summarise(header("plain"), records)["variants"]["plain"]
    assert found["voice_to_voice_ms"]["mean"] == 1070 + 2.5
    assert sum(part["mean"] for part in found["parts_ms"].values()) == 1070
    assert found["disagreement_ms"] == {"n": 6, "median": 2.5, "max": 5, "over": 0}


@given(st.lists(st.tuples(st.sampled_from(STATUSES), st.integers(0, 3)), max_size=25))
def test_every_turn_is_counted_once(turns: list[tuple[Status, int]]) -> None:
    records = [turn(repeat=repeat, status=status) for status, repeat in turns]
    found = summarise(header("plain"), records)["variants"]["plain"]
    counted = [status for status, repeat in turns if repeat > 0]
    assert found["n"] + found["failed"] + found["unmeasurable"] == len(counted)
    assert found["unmeasurable"] == counted.count("unmeasurable")
    assert found["statuses"] == {status: counted.count(status) for status in STATUSES}
    assert (found["voice_to_voice_ms"] is None) == (found["n"] == 0)
    warm = found["warm_up"]
    assert warm["n"] + warm["failed"] == len(turns) - len(counted)


def test_the_warm_up_is_apart() -> None:
    head, records = two_variants()
    without = summarise(head, records)["variants"]["plain"]
    found = summarise(head, [turn(repeat=0, stt=5000, wav_off_ms=99), *records])
    assert found["variants"]["plain"].pop("warm_up") == {
        "n": 1,
        "failed": 0,
        "median_ms": 5969,
        "max_ms": 5969,
    }
    without.pop("warm_up")
    assert found["variants"]["plain"] == without
    assert not found["warnings"]


def test_a_reply_that_the_wav_does_not_hold_is_no_latency() -> None:
    deaf = Record("plain", "a.wav", 1, 0, "ok", marks=turn().marks)
    found = summarise(header("plain"), [deaf])
    assert (found["variants"]["plain"]["n"], found["variants"]["plain"]["failed"]) == (0, 1)
    assert found["warnings"] == ["plain: 1 not heard in the WAV, in a.wav repeat 1"]


def test_an_unmeasurable_turn_is_no_failure_and_in_no_median() -> None:
    hidden = turn(file="b.wav", status="unmeasurable")
    hidden = replace(hidden, marks=turn().marks, wav_voice_to_voice_ns=None, reason=UNMEASURABLE)
    found = summarise(header("plain"), [turn(), hidden])
    alone = summarise(header("plain"), [turn()])
    plain = found["variants"]["plain"]
    assert (plain["n"], plain["failed"], plain["unmeasurable"]) == (1, 0, 1)
    assert plain["voice_to_voice_ms"] == alone["variants"]["plain"]["voice_to_voice_ms"]
    assert plain["parts_ms"] == alone["variants"]["plain"]["parts_ms"]
    assert (
        "plain: 1 turn is unmeasurable: noise after the speech; give end_of_speech_s (such as "
        "b.wav repeat 1)"
    ) in found["warnings"]
    only = summarise(header("plain"), [hidden])
    assert "plain: no turn was measured" in only["warnings"]
    assert "wav_voice_to_voice_ms" not in row(hidden)


def test_level_and_noise_of_each_recording() -> None:
    loud = replace(turn(), level_dbfs=-20.04, snr_db=40.0)
    again = replace(loud, repeat=2, level_dbfs=-20.0)
    found = summarise(header("plain"), [loud, again, turn(file="b.wav")])
    assert found["sound"] == {
        "a.wav": {"level_dbfs": -20.0, "snr_db": 40.0, "end_of_speech": loud.end_of_speech}
    }
    assert (row(loud)["level_dbfs"], row(loud)["snr_db"]) == ("-20.0", "40.0")


def test_a_slower_stage_shows_as_that_stage_and_no_other() -> None:
    against = summarise(*two_variants())["variants"]["slow"]["against_first"]
    assert (against["variant"], against["n"], against["moved"]) == (
        "plain",
        12,
        ["llm_first_token"],
    )
    whole = against["voice_to_voice_ms"]
    assert (whole["median"], whole["ci95"], whole["verdict"]) == (300, [300, 300], "slower")
    assert whole["within_noise"] is False
    assert against["parts_ms"]["stt"]["median"] == 0


def test_variants_are_compared_over_the_turns_that_both_answered() -> None:
    head, records = two_variants()
    lost = ("slow", "a.wav", 2)
    records = [
        turn(*lost, status="timeout") if (r.variant, r.file, r.repeat) == lost else r
        for r in records
    ]
    variants = summarise(head, records)["variants"]
    assert "against_first" not in variants["plain"]
    assert variants["slow"]["against_first"]["n"] == 11


def test_a_difference_within_the_machines_noise_is_said_to_be() -> None:
    against = summarise(*two_variants(relative=0.3))["variants"]["slow"]["against_first"]
    assert against["voice_to_voice_ms"]["within_noise"] is True
    assert "within the machine's noise" in flat(shown(*two_variants(relative=0.3)))
    assert "within the machine's noise" not in flat(shown(*two_variants()))


@pytest.mark.parametrize("noise", [None, {}, {"readings": 1, "relative": 0.0}])
def test_a_machine_that_was_not_looked_at_is_not_called_steady(noise: object) -> None:
    head, records = two_variants()
    found = summarise(head | {"noise": noise}, records)
    assert found["variants"]["slow"]["against_first"]["voice_to_voice_ms"]["within_noise"] is None
    assert any("how steady" in warning for warning in found["warnings"])


def test_warnings_say_what_and_where() -> None:
    head, records = two_variants(relative=0.12)
    records += [
        turn("slow", "g.wav", 1, status="failed", more={"reason": "llm: gone"}),
        turn("slow", "h.wav", 1, status="timeout"),
        turn("plain", "z.wav", 1, wav_off_ms=-41),
    ]
    assert summarise(head | {"interrupted": True}, records)["warnings"] == [
        "the run was interrupted: these are the turns until then",
        "slow: 1 failed, 1 timeout, such as in g.wav repeat 1: llm: gone",
        "the machine's speed varied by 12% during the run: differences of less than that may be "
        "its doing; close other programs, plug it in, run again",
        "WAV and trace disagree by more than 20 ms in 1 of 27 turns, most in plain z.wav repeat 1: "
        "the trace says +41 ms",
    ]


def test_variants_come_in_the_headers_order_even_if_never_run() -> None:
    found = summarise(header("later", "never", "plain"), [turn("plain"), turn("later")])
    assert list(found["variants"]) == ["later", "never", "plain"]
    assert found["variants"]["never"]["voice_to_voice_ms"] is None
    assert found["variants"]["never"]["against_first"]["voice_to_voice_ms"] is None
    assert "never: no turn was measured" in found["warnings"]


def test_what_was_lost_beside_latency_is_summed() -> None:
    more = {"underrun_ns": 140_000_000, "wasted": {"attempts": 1, "speech_ms": 250.5}}
    records = [turn(more=more), turn(repeat=2, more=more), turn(repeat=3)]
    found = summarise(header("plain"), records)["variants"]["plain"]
    assert found["underruns"] == {"turns": 2, "total_ms": 280, "max_ms": 140}
    assert found["wasted"] == {"attempts": 2, "speech_ms": 501}


def test_files_hold_what_was_measured() -> None:
    head, records = two_variants()
    awkward = 'a "b", c\nd.wav'
    records.append(turn("slow", awkward, 0, ahead_ms=85.25, stt=100.0004))
    records.append(turn("slow", "g.wav", status="failed", more={"reason": "llm: gone, for good"}))
    found = summarise(head, records)
    assert json.loads(as_json(found)) == json.loads(json.dumps(found))
    rows = list(csv.DictReader(io.StringIO(as_csv(COLUMNS, map(row, records)), newline="")))
    assert len(rows) == len(records)
    assert tuple(rows[0]) == COLUMNS
    warm, failed = rows[-2:]
    assert (warm["file"], warm["repeat"]) == (awkward, "0")
    assert (warm["stt_ms"], warm["hidden_stt_ms"]) == ("100.000", "85.250")
    assert warm["voice_to_voice_ms"] == warm["wav_voice_to_voice_ms"] == "970.000"
    assert (failed["status"], failed["reason"]) == ("failed", "llm: gone, for good")
    figures = [f"{part}_ms" for part in ("voice_to_voice", "wav_voice_to_voice", *PARTS)]
    assert not any(failed[name] for name in figures)
    assert not any(failed[f"hidden_{name}_ms"] for name in HIDEABLE)
    for one in rows[:-1]:
        total = sum(float(one[f"{part}_ms"]) for part in PARTS)
        assert total == pytest.approx(float(one["voice_to_voice_ms"]), abs=0.004)


def test_a_machine_that_does_not_keep_real_time_is_warned_of() -> None:
    late = [replace(turn(file=f"{ms}"), late_ns=ms * 1_000_000) for ms in (90, 1027)]
    (warning,) = summarise(header("plain"), late)["warnings"]
    assert "came up to 1027 ms late" in warning
    assert not summarise(header("plain"), late[:1])["warnings"]


def test_variants_on_different_machines_are_warned_of() -> None:
    head, records = two_variants()

    def warned(nodes: Callable[[Record], str]) -> bool:
        placed = [replace(one, node=nodes(one)) for one in records]
        warnings = summarise(head, placed)["warnings"]
        return any("not all was measured on one machine" in warning for warning in warnings)

    assert not warned(lambda one: "")
    assert not warned(lambda one: "a")
    assert warned(lambda one: one.variant)


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("suffix", ["", " stt=whisper-mini-en turns.hold=0.3"])
def test_it_fits_80_columns_and_any_encoding(encoding: str, suffix: str) -> None:
    head = header("sequential" + suffix, "speculative" + suffix)
    records = [
        turn(mode + suffix, file, ahead_ms=ahead, stt=stt)
        for file in FILES
        for mode, ahead, stt in (("sequential", 0, 24_500), ("speculative", 90, 110))
    ]
    lines = shown(head, records, encoding=encoding).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.rstrip().endswith("…") for line in lines)


def test_what_was_hidden_is_drawn_up_to_the_commit() -> None:
    records = [turn("speculative", file, ahead_ms=250, stt=0) for file in FILES]
    lines = shown(header("speculative"), records).splitlines()
    whole, hidden = next((line, below) for line, below in itertools.pairwise(lines) if "░░" in line)
    assert whole.endswith(" 870 ms")
    assert hidden.endswith(" 250 ms")
    assert hidden.rindex("█") == whole.rindex("░")
    assert abs(hidden.count("█") / whole.count("░") - 0.5) < 0.05


def test_nothing_measured_is_shown_too() -> None:
    text = flat(shown(header("plain"), [turn(status="timeout")]))
    assert "plain 0 1 - - - - -" in text
    assert "1 timeout, in a.wav repeat 1" in text
    assert "1 recording, 1 variant, 1 turn" in text


@given(
    st.dictionaries(st.sampled_from(PARTS), st.floats(-1e3, 1e5), max_size=len(PARTS)),
    st.floats(1e-4, 1),
)
def test_a_bar_is_as_long_as_its_parts(parts: dict[str, float], scale: float) -> None:
    drawn = bar(parts, scale, PATTERNS).plain
    lengths = {name: max(0.0, ms) * scale for name, ms in parts.items()}
    assert abs(len(drawn) - sum(lengths.values())) <= 0.5 + 1e-6
    for name, length in lengths.items():
        assert abs(drawn.count(PATTERNS[name]) - length) <= 1 + 1e-6
    order = [PATTERNS[name] for name in PARTS if PATTERNS[name] in drawn]
    assert re.fullmatch("".join(f"{mark}+" for mark in order), drawn)
