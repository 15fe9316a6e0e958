"""What a change would buy: what may be written, what is refused, what is told."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support import known_turns as known

from pipeline.config import TurnSettings
from pipeline.errors import BadInput
from pipeline.measure.record import RECORDS, Record, Span
from pipeline.profile.what_if import (
    COSTS,
    HOLD,
    Change,
    ChangedCost,
    checks,
    forecast,
    lacking,
    parse,
    predict,
    replay,
)
from pipeline.trace import MARKS, PARTS, Timeline
from pipeline.turns.end_of_turn import hold_ms, moved_hold_ms

MS = 1_000_000


def turn(number: int, **more: Any) -> Record:
    """A turn of 1070 ms, 200 of them STT, and one more with every number; 3 more by the WAV."""
    made = known.turn("overlapped", f"{number}.wav", wav_off_ms=3, llm_first_token=100 + number)
    return replace(made, **more)


HEADER = {
    "variants": {
        "overlapped": {"reply.mode": "overlapped"},
        "speculative": {"reply.mode": "speculative"},
    },
    "settings": {"turns": {"hold_ms": 500}, "reply": {"mode": "speculative"}, "stt": {}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = [
        turn(2000, repeat=0),
        *(turn(number) for number in range(1, 8)),
        turn(8, status="timeout", reason="no reply", marks={}, wav_voice_to_voice_ns=None),
    ]
    RECORDS.write(tmp_path / RECORDS.name, HEADER, records)
    return tmp_path


def shown(folder: Path, *specs: str) -> str:
    out = io.StringIO()
    assert predict(folder, specs, Console(file=out, width=100)) == 0
    return out.getvalue()


# ---- what may be written ----------------------------------------------------------------------


def test_changes_are_read() -> None:
    assert parse("llm.first_token=200ms, stt=0.5x,tts=+0.3s,llm.tokens=-5ms") == {
        "llm.first_token": ChangedCost("set", 200 * MS),
        "stt": ChangedCost("scale", 0.5),
        "tts": ChangedCost("shift", 300 * MS),
        "llm.tokens": ChangedCost("shift", -5 * MS),
    }
    assert parse("turns.hold_ms=300") == {"turns.hold_ms": ChangedCost("set", 300 * MS)}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("sst=0.5x", "did you mean stt?"),
        ("", "There are stt, llm.first_token"),
        ("stt", "allowed: stt=200ms (set), stt=0.5x (multiply)"),
        ("stt=", "allowed: stt=200ms (set)"),
        ("stt=200", "allowed: stt=200ms (set)"),
        ("stt=fast", "allowed: stt=200ms (set)"),
        ("stt=+2x", "a factor is between 0 and 1000"),
        ("stt=1e9x", "allowed: stt=200ms (set)"),
        ("stt=2001x", "a factor is between"),
        ("tts=9999s", "more than an hour"),
        ("tts=1ms,tts=2ms", "twice"),
        ("reply.mode=speculative", "cascade profile CORPUS --mode speculative,overlapped"),
        ("turns.provisional_ms=64", "cascade profile CORPUS --vary turns.provisional_ms"),
        ("stt=0.5x,,tts=1ms", "no such thing"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(spec: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(spec)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20), st.sampled_from(["", *COSTS, HOLD]))
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        change = parse(f"{name}={text}")
    except BadInput:
        return
    assert change


# ---- what is told -----------------------------------------------------------------------------


def test_a_faster_stage_shows_as_that_stage(folder: Path) -> None:
    text = shown(folder, "stt=10ms")
    assert "what if stt=10ms" in text
    assert "overlapped: 7 turns, 1 without a reply left out" in text
    assert "STT shrinks by 190 ms" in text
    assert "grows" not in text
    # 1077 measured in the middle turn, with what the WAV says on top of the trace.
    assert "1077" in text
    assert "887" in text
    assert "not predicted: contention" in text
    assert "speculative: 0 turns" in text


def test_what_is_too_small_to_see_shows_as_no_change(folder: Path) -> None:
    text = shown(folder, "device=+0.4ms")
    assert "no part moves" in text


def test_a_shorter_hold_is_no_promise(folder: Path) -> None:
    text = shown(folder, "turns.hold_ms=0.5x")
    assert "endpoint shrinks by 250 ms" in text
    assert "not predicted: cut-ins" in text


def test_machines_get_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["stt=10ms", "tts=+10ms"]
    assert predict(folder, specs, Console(file=io.StringIO()), as_json=True) == 0
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert first["what_if"] == "stt=10ms"
    told = first["variants"]["overlapped"]
    assert (told["n"], told["left_out"]) == (7, 1)
    assert told["measured_ms"]["median"] == 1077
    assert told["predicted_ms"]["median"] == 887
    assert told["difference_ms"] == {"median": -190, "ci95": [-190, -190]}
    assert told["parts_ms"]["stt"] == {"measured": 200, "predicted": 10}
    assert told["underrun_ms"] == {"measured": 0, "predicted": 0}
    slower = second["variants"]["overlapped"]
    assert slower["parts_ms"]["tts_first_audio"] == {"measured": 80, "predicted": 90}
    assert slower["underrun_ms"] == {"measured": 0, "predicted": None}
    assert any("gaps in the reply" in sentence for sentence in slower["cannot_predict"])
    assert second["variants"]["speculative"]["measured_ms"] is None


def test_a_variant_is_predicted_from_the_first_that_only_costs_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variants: dict[str, dict[str, Any]] = {
        "base": {"reply.mode": "overlapped", "stt.model": "a", HOLD: 500},
        "other": {"reply.mode": "overlapped", "stt.model": "b", HOLD: 900},
        "eager": {"reply.mode": "speculative", "stt.model": "a", HOLD: 500},
    }
    # The recogniser took 60 ms more and the hold 400; and 20 ms were lost elsewhere.
    slow = known.turn(wav_off_ms=3, endpoint=900, stt=260, llm_first_token=101, own=30)
    made = {"base": turn(1), "other": slow, "eager": turn(1)}
    records = [
        replace(one, variant=name, file="1.wav", repeat=n)
        for name, one in made.items()
        for n in range(7)
    ]
    header = {**HEADER, "variants": variants}
    found = checks(header, records)
    # How far ahead of the commit another mode works, records do not tell.
    assert list(found) == ["other"]
    assert found["other"]["change"] == "turns.hold_ms=900ms,stt=1.30x"
    differs = {
        side: found["other"][side]["voice_to_voice_ms"] for side in ("predicted", "measured")
    }
    assert {side: one and one["median"] for side, one in differs.items()} == pytest.approx(
        {"predicted": 460, "measured": 480}
    )
    RECORDS.write(tmp_path / RECORDS.name, header, records)
    text = shown(tmp_path, "variants")
    assert "other against base\n  as turns.hold_ms=900ms,stt=1.30x\n  predicted: +460 (" in text
    assert "  measured: +480 (+480 … +480) ms; moved: endpoint +400, STT +60, own +20" in text
    assert predict(tmp_path, ["variants", "stt=2x"], Console(), as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["checks"]["other"]["measured"]["n"] == 6
    assert [one["what_if"] for one in told["predictions"]] == ["stt=2x"]
    # A run that was interrupted may have other turns of each.
    apart = [replace(one, file=f"{one.variant}.wav") for one in records]
    assert checks(header, apart) == {}


def test_a_run_without_such_variants_is_told(folder: Path) -> None:
    with pytest.raises(BadInput, match="no two variants that differ in engines"):
        predict(folder, ["variants"], Console())


def test_turns_that_do_not_say_what_is_changed_are_counted() -> None:
    told = turn(1)
    untold = turn(2, marks={k: v for k, v in told.marks.items() if not k.startswith("tts")})
    one = forecast(HEADER, [told, untold], parse("tts=10ms"))["overlapped"]
    assert one["n"] == 1
    assert any("1 of 2 turns" in sentence for sentence in one["cannot_predict"])
    with pytest.raises(BadInput, match="do not say how long tts took"):
        forecast(HEADER, [untold], parse("tts=10ms"))
    assert lacking(told, parse("llm.tokens=10ms")) == {"llm.tokens"}
    assert lacking(told, parse("llm.tokens=2x")) == set()


def test_gaps_in_the_reply_are_told_of(folder: Path) -> None:
    RECORDS.write(folder / RECORDS.name, HEADER, [turn(1, underrun_ns=40 * MS)])
    assert "gaps in the reply, mean" in shown(folder, "stt=0.5x")


def test_records_without_a_wav_are_judged_by_their_traces() -> None:
    untold = turn(1, wav_voice_to_voice_ns=None)
    one = forecast(HEADER, [untold], parse("stt=0x"))["overlapped"]
    assert (one["measured_ms"]["median"], one["predicted_ms"]["median"]) == (1071, 871)
    # Where others have one, this turn's reply was not found in its WAV, and has no latency.
    one = forecast(HEADER, [untold, turn(2)], parse("stt=0x"))["overlapped"]
    assert (one["n"], one["left_out"]) == (1, 1)


def test_a_folder_that_holds_nothing_to_predict_from(tmp_path: Path) -> None:
    console = Console(file=io.StringIO())
    with pytest.raises(BadInput, match=r"records\.jsonl"):
        predict(tmp_path, ["stt=0.5x"], console)
    RECORDS.write(tmp_path / RECORDS.name, HEADER, [turn(0, repeat=0)])
    with pytest.raises(BadInput, match="nothing to predict from"):
        predict(tmp_path, ["stt=0.5x"], console)
    with pytest.raises(BadInput, match="such as --what-if"):
        predict(tmp_path, [], console)


def test_damaged_settings_are_told_of() -> None:
    damaged = {**HEADER, "settings": {"turns": {"hold_ms": "soon"}}}
    with pytest.raises(BadInput, match="settings cannot be used"):
        forecast(damaged, [turn(1)], parse("stt=0.5x"))


# ---- the replay -------------------------------------------------------------------------------


def record(marks: Mapping[str, int], **more: Any) -> Record:
    return Record("v", "f.wav", 1, 0, "ok", marks=marks, **more)


TURNS = TurnSettings(predict=True, hold_ms=500, shortest_ms=320, longest_ms=2000)


def marks_of(**ms: float) -> dict[str, int]:
    """Marks given in milliseconds, with `__` for the dot in their names."""
    return {name.replace("__", "."): round(at * MS) for name, at in ms.items()}


NEEDED = ("speech.end", "committed", "heard.first")
CHAIN = (
    *("stt.start", "stt.final", "llm.request", "llm.first_token", "clause.first"),
    *("tts.start", "tts.first_audio", "playout.first", "heard.first"),
)
anything = st.fixed_dictionaries(
    dict.fromkeys(NEEDED, st.integers(0, 10**12)),
    optional={
        name: st.integers(0, 10**12)
        for name in MARKS
        # What a speech-to-speech model does is not replayed.
        if name not in NEEDED and not name.startswith("model.")
    },
)
costs = st.one_of(
    st.builds(ChangedCost, st.just("set"), st.integers(0, 10**9)),
    st.builds(ChangedCost, st.just("scale"), st.floats(0, 5)),
    st.builds(ChangedCost, st.just("shift"), st.integers(-(10**9), 10**9)),
)
changes = st.dictionaries(st.sampled_from([*COSTS, HOLD]), costs, max_size=4)


@st.composite
def in_order(draw: st.DrawFn) -> Record:
    """A turn whose work begins before the commit or at it, one mark after another."""
    marks = {"speech.end": 0, "committed": draw(st.integers(0, 10**9))}
    at = draw(st.sampled_from([0, marks["committed"]]))
    for name in CHAIN:
        at = max(at, marks["committed"]) if name == "playout.first" else at
        at += draw(st.integers(0, 4 * 10**8))
        marks[name] = at
    return record(marks)


@given(anything, st.booleans(), st.none() | st.integers(-(10**9), 10**10))
def test_no_change_gives_what_was_measured_whatever_the_marks(
    marks: dict[str, int], whole: bool, wav: int | None
) -> None:
    turn = record(marks, wav_voice_to_voice_ns=wav)
    same = replay(turn, {}, TURNS, whole=whole)
    assert same.marks == marks
    assert same.timeline == turn.timeline
    expected = marks["heard.first"] - marks["speech.end"] if wav is None else wav
    assert same.voice_to_voice_ns == expected


@given(anything, st.booleans(), changes)
def test_parts_sum_to_the_latency_whatever_the_marks_and_the_change(
    marks: dict[str, int], whole: bool, change: Change
) -> None:
    predicted = replay(record(marks), change, TURNS, whole=whole)
    assert predicted.marks.keys() == marks.keys()
    assert tuple(predicted.timeline.parts) == PARTS
    assert sum(predicted.timeline.parts.values()) == predicted.timeline.total_ns
    assert predicted.timeline == Timeline.from_marks(predicted.marks)
    assert predicted.voice_to_voice_ns == predicted.timeline.total_ns


@given(
    in_order(),
    st.sampled_from([*COSTS, HOLD]),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    changes,
)
def test_a_slower_stage_never_makes_the_reply_earlier(
    turn: Record, name: str, slow: int, more: int, others: dict[str, ChangedCost]
) -> None:
    def at(cost: ChangedCost) -> int:
        return replay(turn, {**others, name: cost}, TURNS).voice_to_voice_ns

    assert at(ChangedCost("shift", slow)) <= at(ChangedCost("shift", slow + more))
    assert at(ChangedCost("set", slow)) <= at(ChangedCost("set", slow + more))
    assert at(ChangedCost("scale", 1.0)) <= at(ChangedCost("scale", 1.5))


SPECULATIVE = marks_of(
    speech__end=1000,
    provisional=1128,
    stt__start=1135,
    stt__final=1165,
    llm__request=1170,
    llm__first_token=1270,
    clause__first=1300,
    tts__start=1301,
    tts__first_audio=1341,
    committed=1520,
    playout__first=1540,
    heard__first=1550,
)


def test_a_faster_recogniser_buys_nothing_where_all_was_hidden() -> None:
    faster = replay(record(SPECULATIVE), parse("stt=0x"), TURNS)
    assert faster.marks["stt.final"] == 1135 * MS
    assert faster.voice_to_voice_ns == 550 * MS


def test_what_comes_to_light_is_what_the_hold_no_longer_hides() -> None:
    predicted = replay(record(SPECULATIVE), parse("llm.first_token=+300ms"), TURNS)
    assert predicted.marks["llm.first_token"] == 1570 * MS
    # First sound at 1641, 121 ms after the commit; 20 to the loudspeaker, 10 to the ear.
    assert predicted.voice_to_voice_ns == (1641 + 20 + 10 - 1000) * MS
    parts = predicted.timeline.parts
    assert (parts["endpoint"], parts["llm_first_token"], parts["stt"]) == (520 * MS, 50 * MS, 0)
    # A longer hold hides it again.
    hidden = replay(record(SPECULATIVE), parse("llm.first_token=+300ms,turns.hold_ms=700"), TURNS)
    assert hidden.voice_to_voice_ns == 750 * MS


@pytest.mark.parametrize(("was", "moved"), [(320, 320), (400, 566), (500, 1000), (2000, 2000)])
def test_a_hold_is_as_sure_of_the_end_as_it_was(was: float, moved: float) -> None:
    turn = replay(record(SPECULATIVE, hold_ms=was), parse("turns.hold_ms=1000"), TURNS)
    assert turn.marks["committed"] / MS == pytest.approx(1520 + moved - was, abs=1)


@given(
    st.sampled_from([320, 500, 900, 2000]),
    st.floats(0.01, 0.99),
    st.integers(64, 5000),
)
def test_a_moved_hold_is_what_the_turn_taker_would_ask_for(
    middle: int, p: float, usual: int
) -> None:
    settings = TURNS.model_copy(update={"hold_ms": middle})
    held = hold_ms(settings, p, middle)
    moved = moved_hold_ms(settings, held, usual)
    if held == middle:  # The usual hold is that of an end of which nothing is known.
        assert moved == usual
    elif settings.shortest_ms < middle < settings.longest_ms:
        assert moved == pytest.approx(hold_ms(settings, p, usual), rel=1e-6)


TOKENS = tuple(
    Span("llm", text, (at - 10) * MS, at * MS)
    for text, at in [
        ("It ", 1270),
        ("leaves ", 1280),
        ("now. ", 1290),
        ("We ", 1300),
        ("go ", 1310),
    ]
)
"""10 ms apart; the fourth shows that the first clause is whole."""


def test_the_first_clause_waits_for_its_words() -> None:
    turn = record(SPECULATIVE, spans=TOKENS)

    def clause(spec: str) -> int:
        return replay(turn, parse(spec), TURNS).marks["clause.first"] // MS

    assert clause("llm.tokens=0.5x") == 1285
    assert clause("llm.tokens=2ms") == 1276
    assert clause("llm.tokens=+20ms") == 1360


def test_a_clause_that_is_overdue_is_cut_at_its_second_word() -> None:
    """Of tokens that come 40 ms apart two are there after 40 ms: later than the deadline."""

    def clause(spec: str, committed_ms: int) -> int:
        marks = {**SPECULATIVE, "committed": committed_ms * MS}
        return replay(record(marks, spans=TOKENS), parse(spec), TURNS).marks["clause.first"] // MS

    assert clause("llm.tokens=4x", 1200) == 1270 + 40
    assert clause("llm.tokens=1x", 1200) == 1300
    # Before the end of the turn nothing is overdue. A first token after it is soon overdue.
    assert clause("llm.first_token=+400ms,llm.tokens=4x", 1520) == 1670 + 40
    assert clause("llm.tokens=4x", 1520) == 1270 + 120


def test_the_settings_are_the_variants_where_it_differs() -> None:
    header = {**HEADER, "variants": {"overlapped": {"turns.hold_ms": 300}}}
    one = forecast(header, [turn(1)], parse("turns.hold_ms=2x"))["overlapped"]
    assert one["difference_ms"]["median"] == 300


def test_the_textbook_cascade_waits_for_the_last_word_and_the_last_sound() -> None:
    marks = marks_of(
        speech__end=1000,
        committed=1500,
        stt__start=1500,
        stt__final=1600,
        llm__request=1600,
        llm__first_token=1700,
        llm__last_token=1900,
        clause__first=1900,
        tts__start=1900,
        tts__first_audio=1950,
        tts__last_audio=2150,
        playout__first=2160,
        heard__first=2170,
    )
    faster = replay(record(marks), parse("llm.tokens=0.5x,tts=0.5x"), TURNS, whole=True)
    assert faster.voice_to_voice_ns == (1170 - 100 - 25 - 100) * MS


def test_a_turn_without_a_reply_is_refused() -> None:
    with pytest.raises(ValueError, match="no latency"):
        replay(record({"speech.end": 0}), {}, TURNS)
