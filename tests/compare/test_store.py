"""The folder of a comparison: what was written is read again, whatever happened in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.comparison_samples import SIMULATED, comparison, header

from pipeline.compare.store import CONVERSATIONS
from pipeline.errors import BadInput
from pipeline.measure.run import TRACE, Journal, Made


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    conversations = comparison()[1]
    store = Journal(tmp_path, CONVERSATIONS)
    store.begin(header())
    for one in conversations:
        store.add(Made(one, [{"turn": 1, "mark": "committed", "t_ns": 1}]))
    found, held = CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)
    assert found["interrupted"]
    assert held == list(conversations)
    store.end({**header(), "interrupted": False}, conversations)
    found, held = CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)
    assert not found["interrupted"]
    assert held == list(conversations)


def test_every_line_of_a_simulation_says_so(tmp_path: Path) -> None:
    conversations = comparison()[1]
    store = Journal(tmp_path, CONVERSATIONS)
    store.begin(header(), conversations)
    for one in conversations:
        store.add(Made(one, [{"turn": 1, "mark": "committed", "t_ns": 1}]))
    store.close()
    lines = [
        json.loads(line) for line in (tmp_path / CONVERSATIONS.name).read_text().splitlines()[1:]
    ]
    lines += [json.loads(line) for line in (tmp_path / TRACE).read_text().splitlines()[1:]]
    played = [line for line in lines if line["path"] == SIMULATED]
    assert played
    assert all(line["simulated"] for line in played if line.get("facts", True))
    assert not any("simulated" in line for line in lines if line["path"] != SIMULATED)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    conversations = comparison()[1]
    Journal(tmp_path, CONVERSATIONS).end(header(), conversations)
    file = tmp_path / CONVERSATIONS.name
    text = file.read_text()
    file.write_text(text[: len(text) - 200])
    assert len(CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)[1]) == len(conversations) - 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "name a folder that `compare` made"),
        ("", "is no comparison's records"),
        ('{"profile": 1}\n', "is no comparison's records"),
        ('{"comparison": 99}\n', "version 99"),
        ('{"comparison": 1}\nnothing\n{}\n', "line 2 is damaged"),
    ],
)
def test_what_is_no_comparison_is_told(tmp_path: Path, text: str | None, why: str) -> None:
    if text is not None:
        (tmp_path / CONVERSATIONS.name).write_text(text)
    with pytest.raises(BadInput, match=why):
        CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)


def test_a_resumed_run_keeps_its_trace(tmp_path: Path) -> None:
    store = Journal(tmp_path, CONVERSATIONS)
    store.begin(header())
    one, *rest = comparison()[1]
    store.add(Made(one, [{"turn": 1, "mark": "committed", "t_ns": 1}]))
    store.close()
    store.begin(header(), [one])
    store.add(Made(rest[0], [{"turn": 2, "mark": "committed", "t_ns": 2}]))
    store.close()
    assert len((tmp_path / TRACE).read_text().splitlines()) == 3
    assert CONVERSATIONS.read(tmp_path / CONVERSATIONS.name)[1] == [one, rest[0]]
