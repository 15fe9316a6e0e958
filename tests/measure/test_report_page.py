"""Both reports' files: self-contained, whatever texts and recordings a run holds."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.comparison_samples import DIRECT
from support.report_page import (
    HOSTILE,
    KINDS,
    NAMESPACE,
    Elements,
    content,
    decoded,
    recorded,
    sounds,
    write,
)

from pipeline.compare import report as compare_report
from pipeline.compare.record import Conversation
from pipeline.measure import report, waterfall
from pipeline.measure.record import Check, MeasuredCall, Record, Turn
from pipeline.measure.summary import summarise
from pipeline.measure.waterfall import RATE
from pipeline.profile import report as profile_report

RUN: dict[str, dict[str, Any]] = {
    "profile": {"repeats": 1},
    "comparison": {"repeats": 1, "paths": (DIRECT,)},
}
"""Enough of each kind, in which things go wrong."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(kind)


@pytest.fixture(scope="module")
def page(kind: str, folder: Path) -> str:
    return write(kind, folder, sound=folder, **RUN[kind]).read_text(encoding="utf-8")


def test_it_names_nothing_outside_itself(page: str) -> None:
    markup = page.partition('<script type="application/json"')[0]
    addresses = set(re.findall(r"(?:https?:|ftp:|wss?:|//)[\w./-]+\.\w+[\w./-]*", markup))
    assert addresses <= {NAMESPACE}
    for _, attributes in Elements(page).found:
        assert not {"src", "srcset", "action", "data", "style"} & attributes.keys()
        assert re.match(r"data:,|#|wav/", attributes.get("href") or "#")
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_its_policy_allows_its_own_script_and_style_and_no_request(page: str) -> None:
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    for tag, directive in (('script type="module"', "script-src"), ("style", "style-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def hostile(text: str) -> Conversation:
    record = Record(text, text, 1, 0, "failed", text, transcript=text, expected=text, reply=text)
    turn = Turn(
        record,
        1,
        server_ms={text: 1.0},
        calls=(MeasuredCall(text, text, 1),),
        checks=(Check(text, text, None, text, text),),
        kept=text,
    )
    facts = {"model": text, "host": text, "connect_ms": 1.0, "simulated": {text: text}}
    return Conversation(text, text, 1, 0, "failed", text, facts, topic=text, turns=(turn,))


def told(kind: str, text: str) -> Elements:
    """A report of a run in which everything is this text."""
    header = {
        "variants": {text: {"kind": text}},
        "scenarios": {text: {"name": text}},
        "figures": {text: text},
        "judge": {"model": text, "prompt": text},
        "models": {"stt": text},
        "settings": {text: text},
    }
    if kind == "comparison":
        summary = {"verdict": [text], "warnings": [text]}
        shown = compare_report.content(header, [hostile(text)], summary)
        return Elements(compare_report.page(shown, {}))
    record = hostile(text).turns[0].record
    turns, summary = [waterfall.turn(0, record)], summarise(header, [record])
    values = profile_report.content(header, [record], turns, summary)
    return Elements(report.render("pipeline.profile", "profile.html", values, turns, {}))


@pytest.mark.parametrize(
    "text", [HOSTILE, "\ud800 half a pair", "'", '"', "&amp;", "\n", "{{ a }}"]
)
def test_no_text_leaves_its_place(kind: str, text: str) -> None:
    found = told(kind, text)
    assert text in found.text
    assert [tag for tag, _ in found.found] == [tag for tag, _ in told(kind, "plain").found]


def test_half_of_a_pair_is_written(kind: str, tmp_path: Path) -> None:
    path = write(
        kind, tmp_path, lambda one: replace(one, reply="\ud800"), **RUN[kind], summarised=False
    )
    assert "&#55296;" in path.read_text(encoding="utf-8")


def test_no_more_sound_is_inside_than_may_be_and_the_rest_is_linked(
    kind: str, folder: Path, page: str
) -> None:
    inside = sounds(page)
    everything = content(page)["turns"]
    assert len(inside) == len(everything)
    most = sum(map(len, inside.values())) // 3
    small = write(kind, folder, sound=folder, most=most, **RUN[kind], summarised=False).read_text(
        encoding="utf-8"
    )
    kept = sounds(small)
    assert 0 < sum(map(len, kept.values())) <= most
    turns = content(small)["turns"]
    assert {turn["id"] for turn in turns if turn["sound"] == "inside"} == set(kept)
    # What went wrong is heard first, and the warm-up last.
    records = recorded(kind, **RUN[kind])
    assert {number for number, one in enumerate(records) if one.status != "ok"} <= kept.keys()
    assert not {number for number, one in enumerate(records) if one.repeat == 0} & kept.keys()
    linked = [turn for turn in turns if turn["sound"] == "linked"]
    assert len(linked) == len(turns) - len(kept)
    for turn in linked:
        assert (folder / turn["wav"]).is_file()
        if kind == "comparison":
            start, end = map(float, turn["window"].removeprefix("#t=").split(","))
            assert start == pytest.approx(turn["offset_s"], abs=0.001) and end > start


def test_the_sound_inside_is_the_wav_to_the_sample(folder: Path, page: str) -> None:
    inside = sounds(page)
    for turn in content(page)["turns"][::11]:
        whole = decoded(folder / turn["wav"])
        embedded = decoded(inside[turn["id"]])
        first = int(turn.get("offset_s", 0) * RATE + 0.001)
        assert len(embedded) == round(turn["seconds"] * RATE)
        assert (embedded == whole[first : first + len(embedded)]).all()


@pytest.mark.parametrize("wav", ["", "wav/none.wav", "../beside.wav", "a\0b.wav", "wav", "broken"])
def test_a_recording_that_is_not_there_or_not_the_runs_is_left_out(
    kind: str, folder: Path, page: str, tmp_path: Path, wav: str
) -> None:
    (tmp_path / "inside" / "wav").mkdir(parents=True)
    shutil.copy(folder / content(page)["turns"][0]["wav"], tmp_path / "beside.wav")
    (tmp_path / "inside" / "broken").write_bytes(b"RIFF no sound at all")
    made = write(kind, tmp_path / "inside", wav=wav, **RUN[kind], summarised=False)
    text = made.read_text(encoding="utf-8")
    turns = content(text)["turns"]
    assert turns and all((turn["sound"], turn["wav"]) == ("none", "") for turn in turns)
    assert not sounds(text)


def test_numbers_that_json_has_no_word_for_become_nothing() -> None:
    values = {"a": [float("nan"), float("inf"), 1.5], "path": Path("x"), 3: (True, None)}
    assert report.plain(values) == {"a": [None, None, 1.5], "path": "x", "3": [True, None]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (-0.01, "0.0"),
        (3.14, "3.1"),
        (-99.96, "−100.0"),
        (631.2, "631"),
        (-480, "−480"),
    ],
)
def test_milliseconds_have_a_decimal_below_a_hundred(value: float | None, text: str) -> None:
    assert report.ms(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0234, "share", "2.3\u00a0%"),
        (-0.5, "points", "−50\u00a0points"),
        (12.34, "s", "12.3\u00a0s"),
        (0.0123, "usd", "$0.012"),
        (1_000_000, "bytes", "1\u202f000\u202f000\u00a0bytes"),
        (None, "ms", "–"),
    ],
)
def test_a_figure_comes_in_its_unit(value: float | None, unit: str, text: str) -> None:
    assert report.in_unit(value, unit) == text
    if value is not None:
        assert report.span([value, value], unit).startswith(f"[{text.partition(chr(0xA0))[0]}, ")


@given(st.floats(-1e5, 1e5), st.floats(1, 1e5), st.integers(1, 12))
def test_ticks_are_round_and_on_the_axis(low: float, length: float, most: int) -> None:
    axis = report.Axis(low, low + length)
    found = axis.ticks(most)
    assert len(found) <= most + 1
    assert all(axis.pad - 0.1 <= tick["x"] <= 100.1 - axis.pad for tick in found)


@given(st.lists(st.floats(-10, 5000), min_size=1, max_size=40))
def test_a_strip_shows_every_turn_inside_and_apart(values: list[float]) -> None:
    dots = [(value, number, "about") for number, value in enumerate(values)]
    drawn = report.strips([{"label": "a", "stats": None, "dots": dots}], share=True, bins=100)
    assert drawn is not None
    [row] = drawn["rows"]
    assert sorted(number for *_, number, _ in row["dots"]) == [*range(len(values))]
    assert all(0 <= x <= 100 and -0.1 <= y <= report.DOTS_PX for x, y, *_ in row["dots"])
    assert report.strips([{"label": "a", "stats": None, "dots": []}], True, 100) is None


def test_settings_are_lines_of_dotted_names() -> None:
    values = {"a": {"b": 1, "c": {"d": None, "e": 0.123456789}}, "f": [True, "x"]}
    assert list(report.lines(values)) == [
        ("a.b", "1"),
        *(("a.c.d", "–"), ("a.c.e", "0.123457"), ("f.0", "true"), ("f.1", "x")),
    ]
    assert dict(report.lines(values, joined=True))["a.c"] == "d –, e 0.123457"
