"""`cascade talk --profile`: the waterfall that is shown is that of the trace."""

from __future__ import annotations

from pathlib import Path

from servers.llm_server import reply
from support.cli_child import read_trace, recording, run, scripted

from pipeline.terminal import waterfall
from pipeline.trace import MARKS


def test_each_turn_is_drawn_from_its_marks(tmp_path: Path) -> None:
    with scripted(otherwise=reply("It is open until nine.")) as llm:
        done = run(
            *("talk", "--input", recording(5), "--input", recording(2), "--mode", "overlapped"),
            *("--output", tmp_path / "out.wav", "--trace", tmp_path / "trace", "--fast"),
            *("--llm", llm.url, "--profile", "--json"),
        )
    assert done.code == 0, done.err
    assert len(done.of("reply_done")) == 2
    assert "voice-to-voice " in done.err
    assert " ms = endpoint" not in done.err
    _, turns = read_trace(tmp_path / "trace")
    assert sorted(turns) == [1, 2]
    for marks in turns.values():
        drawn = [
            line.plain for line in waterfall({name: marks[name] for name in MARKS if name in marks})
        ]
        assert "\n".join(drawn) in done.err
