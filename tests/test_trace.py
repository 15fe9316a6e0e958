"""The trace: what its file says, what it keeps, and that a full disk does not stop a session."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import LlmSettings, Settings
from pipeline.errors import BadInput
from pipeline.trace import DETAILS, MARKS, PACKAGES, VERSION, WORK, Trace, description

FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that sets nothing."""
    for variable in os.environ:
        if variable.upper().startswith("CASCADE_"):
            monkeypatch.delenv(variable)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_first_line_describes_the_run(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    told = description(Settings(), {})
    with Trace(file, told) as trace:
        pass
    assert lines(file) == [{"trace": VERSION, "session": trace.session, **told}]
    assert Trace().session != trace.session, "sessions have names of their own"


def test_each_later_line_is_one_mark(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    with Trace(file) as trace:
        trace.mark(1, "speech.start", 123)
        trace.mark(1, "stt.final", 2**62, generation=2, dropped="no\nspeech é")
    common = {"session": trace.session, "turn": 1}
    assert lines(file)[1:] == [
        {**common, "generation": 1, "mark": "speech.start", "t_ns": 123},
        {
            **common,
            "generation": 2,
            "mark": "stt.final",
            "t_ns": 2**62,
            "dropped": "no\nspeech é",
        },
    ]
    assert list(lines(file)[1]) == ["session", "turn", "generation", "mark", "t_ns"]


def test_a_line_is_in_the_file_before_the_trace_is_closed(tmp_path: Path) -> None:
    """So that a crash costs none that was asked for; whole lines only, however many there are."""
    file = tmp_path / "trace.jsonl"
    with Trace(file) as trace:
        for number in range(1, 2000):
            trace.mark(1, "token", number, text="word " * 20)
            if number % 500 == 0:
                trace.written().result(30)
                assert len(lines(file)) == number + 1
    assert Trace().written().done()


@pytest.mark.parametrize("name", DETAILS)
def test_a_detail_goes_to_the_file_alone(tmp_path: Path, name: str) -> None:
    file = tmp_path / "trace.jsonl"
    with Trace(file) as trace:
        trace.mark(1, name, 7, generation=2, text="Yes")
        trace.mark(1, name, 9, generation=2, text=" no.")
    assert [(line["mark"], line["t_ns"], line["text"]) for line in lines(file)[1:]] == [
        (name, 7, "Yes"),
        (name, 9, " no."),
    ]
    assert trace.marks(1) == {}


@pytest.mark.parametrize("name", ["", "stt", "STT.start", "heard"])
def test_an_unknown_mark_is_refused_and_not_written(tmp_path: Path, name: str) -> None:
    file = tmp_path / "trace.jsonl"
    with Trace(file) as trace, pytest.raises(ValueError, match="no such mark"):
        trace.mark(1, name, 0)
    assert len(lines(file)) == 1
    assert trace.marks(1) == {}


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(MARKS), st.integers(0, 10**15))),
)
def test_the_marks_of_the_last_turns_are_kept_and_no_older_ones(
    marks: list[tuple[int, str, int]],
) -> None:
    trace = Trace()
    turn = 1
    expected: dict[int, dict[str, int]] = {}
    for advance, name, at in marks:
        turn += advance
        trace.mark(turn, name, at)
        expected.setdefault(turn, {})[name] = at
        if name == "discarded":
            expected[turn] = {m: t for m, t in expected[turn].items() if m not in WORK}
    for number in range(turn + 2):
        kept = number > turn - 4
        assert trace.marks(number) == (expected.get(number, {}) if kept else {})


def test_a_later_attempt_at_a_reply_replaces_the_marks_of_the_first() -> None:
    """And one that is discarded takes its marks back."""
    trace = Trace()
    trace.mark(1, "llm.request", 1)
    trace.mark(1, "llm.request", 9, generation=2)
    trace.marks(1).clear()  # a copy
    assert trace.marks(1) == {"llm.request": 9}
    trace.mark(1, "vad.stop", 10)
    trace.mark(1, "discarded", 11, generation=2)
    assert trace.marks(1) == {"vad.stop": 10, "discarded": 11}


@pytest.mark.parametrize("where", ["missing/trace.jsonl", "."])
def test_a_file_that_cannot_be_opened_is_bad_input_that_names_it(
    tmp_path: Path, where: str
) -> None:
    with pytest.raises(BadInput, match="the trace cannot be written") as error:
        Trace(tmp_path / where)
    assert str(tmp_path / where) in str(error.value)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.filterwarnings("error")
def test_a_full_disk_is_told_once_and_the_session_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The trace stops at the first line, the header, and leaves no file open."""
    with caplog.at_level(logging.DEBUG), Trace(FULL, {"models": {}}) as trace:
        for turn in (1, 2, 3):
            trace.mark(turn, "committed", turn)
        assert trace.marks(3) == {"committed": 3}
        trace.written().result(30)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert str(FULL) in record.getMessage()


def test_a_disk_that_fills_up_during_a_session_keeps_what_was_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource", reason="no limit on file size on this system")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    file = tmp_path / "trace.jsonl"
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with Trace(file) as trace:
            for turn in range(1, 3000):
                trace.mark(turn, "committed", turn)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert trace.failed
    assert file.stat().st_size == 200_000
    assert len(caplog.records) == 1


def test_the_description_says_what_a_run_depended_on_but_not_the_key() -> None:
    secret = "sk-do-not-tell-anyone"
    url = f"http://me:{secret}@here/v1"
    settings = Settings().model_copy(update={"llm": LlmSettings(api_key=secret, model=url)})
    told = description(settings, {"stt": "mini", "llm": "http://here/v1"})
    text = json.dumps(told)
    assert secret not in text
    assert "api_key" not in text
    assert told["settings"]["llm"]["model"] == "http://here/v1"
    assert told["settings"]["stt"]["threads"] == settings.stt.threads
    assert told["models"] == {"stt": "mini", "llm": "http://here/v1"}
    assert set(told["machine"]) == {"system", "processor", "cores", "python"}
    assert set(told["versions"]) <= set(PACKAGES)
    assert "numpy" in told["versions"]
    assert settings.llm.api_key == secret, "the settings of the run keep theirs"
