from __future__ import annotations

from typing import Any

from pipeline.measure.record import Span, lanes, wasted


def line(mark: str, t_ns: int, generation: int = 1, turn: int = 1, **more: Any) -> dict[str, Any]:
    return {"turn": turn, "generation": generation, "mark": mark, "t_ns": t_ns, **more}


def reply(at: int, generation: int) -> list[dict[str, Any]]:
    marks = [
        line("stt.start", at),
        line("stt.final", at + 10),
        line("llm.request", at + 11),
        line("llm.first_token", at + 20),
        line("token", at + 20, text="One"),
        line("token", at + 23, text=" two."),
        line("clause", at + 24, text="One two."),
        line("tts.clause", at + 25, text="One two."),
        line("tts.piece", at + 30, samples=4),
        line("tts.piece", at + 33, samples=4),
    ]
    return [{**mark, "generation": generation} for mark in marks]


def test_a_turn_in_lanes() -> None:
    lines = [
        line("speech.start", 0),
        line("speech.end", 100),
        *reply(110, 1),
        line("committed", 150),
        line("heard.first", 160),
    ]
    assert lanes(lines, 1, until_ns=500) == (
        Span("user", "speech", 0, 100),
        Span("endpoint", "hold", 100, 150),
        Span("stt", "recognition", 110, 120),
        Span("llm", "One", 121, 130),
        Span("llm", " two.", 130, 133),
        Span("tts", "One two.", 135, 143),
        Span("speaker", "reply", 160, 500),
    )


def test_what_was_thrown_away_is_shown_as_such() -> None:
    lines = [*reply(110, 1), line("discarded", 140, 1), *reply(200, 2), line("committed", 300, 2)]
    found = lanes(lines, 1, until_ns=500)
    dropped = [span for span in found if span.name.startswith("dropped: ")]
    assert [span.lane for span in dropped] == ["stt", "llm", "llm", "tts"]
    assert all(span.end_ns <= 143 for span in dropped)
    assert [span.lane for span in found if span not in dropped] == ["stt", "llm", "llm", "tts"]


def test_a_reply_that_never_came_is_waited_for_to_the_end() -> None:
    lines = [line("stt.start", 10), line("stt.final", 20), line("llm.request", 30)]
    assert lanes(lines, 1, until_ns=99)[-1] == Span("llm", "first token", 30, 99)


def test_other_turns_are_left_out() -> None:
    assert (
        lanes([line("speech.start", 5, turn=2), line("speech.end", 9, turn=2)], 1, until_ns=9) == ()
    )


def test_speculation_in_vain_is_added_up() -> None:
    more: dict[str, Any] = {
        "transcribed": True,
        "characters": 12,
        "speech_ms": 300,
        "reason": "the user went on",
    }
    lines = [
        line("discarded", 5, 1, **more),
        line("discarded", 9, 2, **{**more, "transcribed": False}),
    ]
    assert wasted(lines) == {
        "attempts": 2,
        "transcribed": 1,
        "characters": 24,
        "speech_ms": 600,
    }
    assert wasted([line("committed", 3)]) == {}
