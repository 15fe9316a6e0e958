"""One run of a command that measures: whatever ends it, what was measured until then is there."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import INTERRUPTED, BadInput, StageError
from pipeline.measure.record import RECORDS, Record
from pipeline.measure.run import TRACE, Files, Made, Run, new_folder

HEADER = {"started": "today", "seed": 1}


class Counting(Run[Record]):
    """Measures turns that are there already, and then does what it is told."""

    form = RECORDS

    def __init__(self, folder: Path, turns: int, then: BaseException | None, **more: Any) -> None:
        self.said = io.StringIO()
        console = Console(file=self.said, width=200)
        super().__init__(folder, HEADER, console, **{"as_json": False, **more})
        self.turns = turns
        self.then = then
        self.full = False

    @property
    def total(self) -> int:
        return self.turns

    async def measure(self) -> AsyncGenerator[Made[Record], None]:
        for number in range(self.turns):
            yield Made(Record("v", "a.wav", number, number, "ok"), [{"mark": "committed"}])
        if self.then is not None:
            raise self.then

    def line(self, result: Record) -> str:
        return f"turn {result.order}"

    def figures(self, result: Record) -> dict[str, Any]:
        return {"type": "turn", "order": result.order}

    def facts(self) -> Mapping[str, Any]:
        return {"noise": "none"}

    def summarise(self) -> dict[str, Any]:
        return {"turns": len(self.results)}

    def files(self, summary: Any) -> Files:
        def made() -> str:
            if self.full:
                raise OSError(28, "No space left on device")
            return json.dumps({**summary, "reply": "\ud800"}, ensure_ascii=False)

        return {"summary.json": made}

    def show(self, console: Console, summary: Any) -> None:
        console.print(f"{summary['turns']} turns")

    def shortfall(self) -> int:
        return 0 if self.results else 1


def kept(folder: Path) -> tuple[dict[str, Any], int]:
    header, records = RECORDS.read(folder / RECORDS.name)
    assert len((folder / TRACE).read_text().splitlines()) == 1 + len(records)
    return header, len(records)


async def test_a_run_leaves_all_it_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Counting(tmp_path, 3, None)
    assert await run.run() == 0
    assert kept(tmp_path) == ({**HEADER, "noise": "none", "interrupted": False}, 3)
    # Half of a surrogate pair has no place in UTF-8.
    left = json.loads((tmp_path / "summary.json").read_text())
    assert left == {"turns": 3, "reply": "&#55296;"}
    assert "3/3 turn 2" in run.said.getvalue()
    assert capsys.readouterr().out.splitlines() == ["3 turns", "", str(tmp_path / "report.html")]


async def test_who_stops_it_after_the_last_turn_keeps_all(tmp_path: Path) -> None:
    """While a judge or a recogniser is still at work."""

    class Judged(Counting):
        resumable = True

        async def complete(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(10)

    run = Judged(tmp_path, 3, None)
    assert await run.run() == INTERRUPTED
    header, records = kept(tmp_path)
    assert (header["interrupted"], records) == (True, 3)
    assert json.loads((tmp_path / "summary.json").read_text())["turns"] == 3
    assert f"go on with --resume {tmp_path}" in run.said.getvalue()


async def test_machines_get_a_line_for_each_result_and_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await Counting(tmp_path, 2, None, as_json=True).run() == 0
    *turns, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert turns == [{"type": "turn", "order": 0}, {"type": "turn", "order": 1}]
    assert last == {"type": "profile", "folder": str(tmp_path), "summary": {"turns": 2}}


async def test_a_run_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    """What was being written then is no part of what is written next."""
    await Counting(tmp_path, 2, None).run()
    for name in (TRACE, RECORDS.name):
        with (tmp_path / name).open("ab") as file:
            file.write(b'{"mark": "comm')
    _, results = RECORDS.read(tmp_path / RECORDS.name)
    assert len(results) == 2
    await Counting(tmp_path, 2, None, results=results).run()
    assert kept(tmp_path)[1] == 4
    assert all(json.loads(line) for line in (tmp_path / TRACE).read_text().splitlines())


@pytest.mark.parametrize(
    ("then", "code", "says"),
    [
        (StageError("tts", "the voice is gone"), 1, "the voice is gone; 2 turns were measured"),
        (BadInput("no such model"), 1, "no such model; 2 turns were measured"),
        (asyncio.CancelledError(), 130, ""),
    ],
)
async def test_what_ends_it_early_costs_no_result(
    tmp_path: Path, then: BaseException, code: int, says: str
) -> None:
    run = Counting(tmp_path, 2, then)
    assert await run.run() == code
    header, count = kept(tmp_path)
    assert (header["interrupted"], count) == (True, 2)
    assert says in run.said.getvalue()


@pytest.mark.parametrize("done", [0, 2])
async def test_whoever_stops_it_is_told_how_to_go_on(tmp_path: Path, done: int) -> None:
    run = Counting(tmp_path, done, asyncio.CancelledError())
    run.resumable = True
    with contextlib.suppress(asyncio.CancelledError):
        await run.run()
    assert f"go on with --resume {tmp_path}" in run.said.getvalue()


@pytest.mark.parametrize("then", [StageError("tts", "gone"), asyncio.CancelledError()])
async def test_before_the_first_result_it_is_only_raised(
    tmp_path: Path, then: BaseException
) -> None:
    with pytest.raises(type(then)):
        await Counting(tmp_path, 0, then).run()
    assert kept(tmp_path) == ({**HEADER, "interrupted": True}, 0)


async def test_a_part_that_cannot_be_written_costs_no_other(tmp_path: Path) -> None:
    run = Counting(tmp_path, 2, None)
    run.full = True
    assert await run.run() == 1
    assert kept(tmp_path)[1] == 2
    assert f"{tmp_path / 'summary.json'}: No space left on device; make room" in run.said.getvalue()


async def test_without_anything_to_show_for_it_a_run_has_failed(tmp_path: Path) -> None:
    assert await Counting(tmp_path, 0, None).run() == 1


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    with pytest.raises(BadInput, match="is not empty; name a new folder, or go on with --resume"):
        new_folder(tmp_path, "compare", resumable=True)
    assert (new_folder(tmp_path / "new", "profile") / "wav").is_dir()


@pytest.mark.parametrize(
    ("met", "code", "said"),
    [
        ([True], 0, ""),
        ([True, False], 3, "gate not met: cascade: failed is 2"),
        ([None], 0, "gates were not judged: why"),
    ],
)
async def test_gates_decide_the_exit_code(
    tmp_path: Path, met: list[bool | None], code: int, said: str
) -> None:
    judged = [
        {"system": "cascade", "told": "failed is 2", "met": one, "reason": "why"} for one in met
    ]

    class Gated(Counting):
        def summarise(self) -> dict[str, Any]:
            return {**super().summarise(), "gates": judged}

    run = Gated(tmp_path, 2, None)
    assert await run.run() == code
    assert [line for line in run.said.getvalue().splitlines() if "gate" in line] == (
        [said] if said else []
    )
    # What is not on the disk is worse than a gate, and what was interrupted was judged by none.
    (tmp_path / "full").mkdir()
    run = Gated(tmp_path / "full", 2, None)
    run.full = True
    assert await run.run() == 1
    (tmp_path / "stopped").mkdir()
    assert await Gated(tmp_path / "stopped", 2, asyncio.CancelledError()).run() == 130
