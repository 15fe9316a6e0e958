"""What a change would buy: what may be written, what is refused, what is told."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.errors import BadInput
from pipeline.measure.record import RECORDS, Record
from pipeline.profile.change import COSTS, WAITS, Change, Cost, parse
from pipeline.profile.what_if import forecast, predict

MS = 1_000_000


def turn(number: int, variant: str = "overlapped", stt_ms: int = 50, **more: Any) -> Record:
    """A turn with the work after the commit; 600 ms and a little more with every number."""
    begin = 1000 + number
    times = {
        "speech.end": 1000,
        "vad.stop": 1032,
        "provisional": 1128,
        "committed": 1512,
        "stt.start": 1512,
        "stt.final": 1512 + stt_ms,
        "llm.request": 1513 + stt_ms,
        "llm.first_token": 1513 + stt_ms + begin - 1000 + 20,
        "clause.first": 1540 + stt_ms + begin - 1000,
        "tts.start": 1540 + stt_ms + begin - 1000,
        "tts.first_audio": 1560 + stt_ms + begin - 1000,
        "playout.first": 1570 + stt_ms + begin - 1000,
        "heard.first": 1570 + stt_ms + begin - 1000,
    }
    marks = {name: ms * MS for name, ms in times.items()}
    fields: dict[str, Any] = {
        "repeat": 1,
        "order": number,
        "status": "ok",
        "marks": marks,
        "wav_voice_to_voice_ns": marks["heard.first"] - marks["speech.end"] + 3 * MS,
    }
    return Record(variant, f"{number}.wav", **{**fields, **more})


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
        turn(0, repeat=0, stt_ms=2000),
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
    assert parse("llm.first_token=200ms, stt=0.5x,tts=+0.3s,llm.tokens=-5ms") == Change(
        {
            "llm.first_token": Cost("set", 200 * MS),
            "stt": Cost("scale", 0.5),
            "tts": Cost("shift", 300 * MS),
            "llm.tokens": Cost("shift", -5 * MS),
        }
    )
    assert parse("turns.hold_ms=300,reply.mode=sequential") == Change(
        {"turns.hold_ms": Cost("set", 300 * MS)}, "sequential"
    )
    assert parse("turns.provisional_ms=+32").costs["turns.provisional_ms"].kind == "shift"


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
        ("reply.mode=fast", "speculative | overlapped | sequential"),
        ("stt=0.5x,,tts=1ms", "no such thing"),
    ],
)
def test_nonsense_is_refused_with_what_is_allowed(spec: str, told: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse(spec)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20), st.sampled_from(["", *COSTS, *WAITS, "reply.mode"]))
def test_any_text_is_read_or_refused(text: str, name: str) -> None:
    try:
        change = parse(f"{name}={text}")
    except BadInput:
        return
    assert change.costs or change.mode


# ---- what is told -----------------------------------------------------------------------------


def test_a_faster_stage_shows_as_that_stage(folder: Path) -> None:
    text = shown(folder, "stt=10ms")
    assert "what if stt=10ms" in text
    assert "overlapped: 7 turns, 1 without a reply left out" in text
    assert "STT shrinks by 40 ms" in text
    assert "grows" not in text
    # 627 measured in the middle turn, with what the WAV says on top of the trace.
    assert "627" in text
    assert "587" in text
    assert "not predicted: contention" in text
    assert "speculative: 0 turns" in text


def test_what_is_hidden_shows_as_no_change(folder: Path) -> None:
    text = shown(folder, "turns.provisional_ms=64")
    assert "no part moves" in text


def test_a_shorter_hold_is_no_promise(folder: Path) -> None:
    text = shown(folder, "turns.hold_ms=0.5x")
    assert "endpoint shrinks by 256 ms" in text
    assert "not predicted: cut-ins" in text


def test_machines_get_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = ["stt=10ms", "reply.mode=speculative"]
    assert predict(folder, specs, Console(file=io.StringIO()), as_json=True) == 0
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert first["what_if"] == "stt=10ms"
    told = first["variants"]["overlapped"]
    assert (told["n"], told["left_out"]) == (7, 1)
    assert told["measured_ms"]["median"] == 627
    assert told["predicted_ms"]["median"] == 587
    assert told["difference_ms"] == {"median": -40, "ci95": [-40, -40]}
    assert told["parts_ms"]["stt"] == {"measured": 50, "predicted": 10}
    hidden = second["variants"]["overlapped"]
    assert hidden["parts_ms"]["stt"] == {"measured": 50, "predicted": 0}
    assert any("the hold" in sentence for sentence in hidden["cannot_predict"])
    assert second["variants"]["speculative"]["measured_ms"] is None


def test_turns_that_do_not_say_what_is_changed_are_counted() -> None:
    told = turn(1)
    untold = turn(2, marks={k: v for k, v in told.marks.items() if not k.startswith("tts")})
    [one, _] = forecast(HEADER, [told, untold], parse("tts=10ms"))
    assert len(one.turns) == 1
    assert any("1 of 2 turns" in sentence for sentence in one.cannot)
    with pytest.raises(BadInput, match="do not say how long tts took"):
        forecast(HEADER, [untold], parse("tts=10ms"))
    with pytest.raises(BadInput, match=r"whole reply took; .* a larger --reply-seconds"):
        forecast(HEADER, [told], parse("reply.mode=sequential"))


def test_gaps_in_the_reply_are_told_of(folder: Path) -> None:
    RECORDS.write(folder / RECORDS.name, HEADER, [turn(1, underrun_ns=40 * MS)])
    assert "gaps in the reply, mean" in shown(folder, "stt=0.5x")


def test_records_without_a_wav_are_judged_by_their_traces() -> None:
    [one, _] = forecast(HEADER, [turn(1, wav_voice_to_voice_ns=None)], parse("stt=0x"))
    assert one.measured_ms == [621]
    assert one.predicted_ms == [571]
    # Where others have one, this turn's reply was not found in its WAV, and has no latency.
    [one, _] = forecast(HEADER, [turn(1, wav_voice_to_voice_ns=None), turn(2)], parse("stt=0x"))
    assert (len(one.turns), one.left_out) == (1, 1)


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
    with pytest.raises(BadInput, match="damaged at hold_ms"):
        forecast(damaged, [turn(1)], parse("stt=0.5x"))
