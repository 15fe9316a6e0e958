"""A run goes on only as what it was, and its folder holds no secret."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from support import comparison_samples as made

from pipeline.compare.cost import prices
from pipeline.compare.resumption import ASKED, asked_of, resumed
from pipeline.compare.store import CONVERSATIONS
from pipeline.compare.summary import summarise
from pipeline.errors import BadInput
from pipeline.measure.run import Journal

SECRET = "x=ws://me:hunter2@host/v1/realtime?api_key=sesame,voice=alloy"


def asked(*paths: str) -> dict[str, Any]:
    more = {"sources": ("recall",), "paths": paths, "say": Path("lines.txt")}
    return asked_of(dict.fromkeys(ASKED, 1) | more)


def left(folder: Path, *paths: str) -> dict[str, Any]:
    """A folder of an earlier run, one of whose conversations failed; its header."""
    header = {**made.header(), "asked": asked(*paths)}
    one, other, *rest = [one for one in made.comparison()[1] if one.status == "ok" and one.repeat]
    Journal(folder, CONVERSATIONS).end(
        header, [dataclasses.replace(one, status="failed"), other, *rest]
    )
    return header


def test_what_was_asked_is_asked_again(tmp_path: Path) -> None:
    header = left(tmp_path, "cascade", "ws://host/v1")
    earlier = resumed(tmp_path, ["cascade"])
    assert earlier.asked["paths"] == ("cascade", "ws://host/v1")
    assert earlier.asked["say"] == Path("lines.txt")
    assert all(one.status == "ok" for one in earlier.kept)
    assert sum(earlier.retried.values()) == 1
    earlier.check(header)


def test_a_secret_is_not_kept_and_is_given_again(tmp_path: Path) -> None:
    left(tmp_path, "cascade", SECRET)
    assert not any(
        word in file.read_text("utf-8")
        for file in tmp_path.iterdir()
        for word in ("hunter", "sesam")
    )
    with pytest.raises(BadInput, match="give each --path again"):
        resumed(tmp_path, ["cascade"])
    assert resumed(tmp_path, ["cascade", SECRET]).asked["paths"] == ("cascade", SECRET)


@pytest.mark.parametrize("name", ["settings", "scenarios", "variants", "models"])
def test_another_run_is_not_taken_for_the_same(tmp_path: Path, name: str) -> None:
    header = left(tmp_path, "cascade")
    with pytest.raises(BadInput, match=f"{name} have changed"):
        resumed(tmp_path, []).check({**header, name: {}})


def test_failures_that_are_tried_again_are_told(tmp_path: Path) -> None:
    header = left(tmp_path, "cascade")
    earlier = resumed(tmp_path, [])
    ((path, _),) = earlier.retried.items()
    figures = summarise({**header, "retried": earlier.retried}, earlier.kept, prices(None))
    (told,) = (one for one in figures["warnings"] if "--resume" in one)
    assert told.startswith(path)
    assert "1 conversation that failed" in told
