"""What a profile's report says; that its file is self-contained is tested with `measure.report`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support import samples
from support.report_page import FEW, Elements, content

from pipeline.measure import waterfall
from pipeline.measure.record import Record
from pipeline.measure.report import render
from pipeline.measure.summary import summarise
from pipeline.profile import report

Profile = tuple[dict[str, Any], list[Record]]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return samples.profile(files=FEW)


@pytest.fixture(scope="module")
def page(profile: Profile) -> str:
    return made(*profile)


def made(header: dict[str, Any], records: list[Record]) -> str:
    turns = [waterfall.turn(number, record) for number, record in enumerate(records)]
    values = report.content(header, records, turns, summarise(header, records))
    return render("pipeline.profile", "profile.html", values, turns, {})


def test_every_turn_is_a_row_and_its_work_is_drawn(page: str, profile: Profile) -> None:
    rows = [found for tag, found in Elements(page).found if tag == "tbody" and "id" in found]
    order = {f"turn-{number}": record for number, record in enumerate(profile[1])}
    assert {row["id"] for row in rows} == set(order)
    for row in rows:
        assert (row["data-words"] or "").startswith(order[row["id"] or ""].file)
    assert [turn["id"] for turn in content(page)["turns"]] == [*range(len(order))]


@pytest.mark.parametrize("some", ["failed", "none"])
def test_a_profile_without_any_reply_is_written(some: str) -> None:
    header, records = samples.profile(files=FEW, repeats=1)
    failed = [
        replace(record, status="failed", reason="broken", marks={}, spans=()) for record in records
    ]
    page = made(header, failed if some == "failed" else [])
    assert "nothing to draw" in page
    assert page.count("no turn with a reply") == len(header["variants"])


def test_a_header_that_says_nothing_is_enough() -> None:
    _, records = samples.profile(files=FEW, repeats=1)
    page = made({}, records)
    assert all(record.variant in page for record in records)
