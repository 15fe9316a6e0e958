"""The report's file: self-contained, whatever texts and recordings a profile holds."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import samples
from support.report_page import NAMESPACE, Elements, content, sounds

from pipeline.errors import StageError
from pipeline.measure.html import page as pages
from pipeline.measure.html import sound, turns
from pipeline.measure.record import Record
from pipeline.profile import report
from pipeline.trace import MARKS, Timeline

FEW = tuple(samples.SAID)[:4]


def written(folder: Path, *args: Any, **options: Any) -> str:
    return report.write(folder, *args, **options).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def profile(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    return samples.profile(folder, files=FEW)


@pytest.fixture(scope="module")
def page(folder: Path, profile: tuple[dict[str, Any], list[Record]]) -> str:
    return written(folder, *profile)


def test_it_names_nothing_outside_itself(page: str) -> None:
    assert set(re.findall(r"(?:https?:|ftp:|wss?:|//)[\w./-]+\.\w+[\w./-]*", page)) <= {NAMESPACE}
    for _, attributes in Elements(page).found:
        assert not {"src", "srcset", "action", "data"} & attributes.keys()
        assert (attributes.get("href") or "data:,") == "data:,"
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_its_policy_allows_its_own_script_and_style_and_no_request(page: str) -> None:
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none';")
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy


def test_it_holds_each_turn_as_measured(
    page: str, profile: tuple[dict[str, Any], list[Record]]
) -> None:
    header, records = profile
    found = content(page)
    assert found["variants"] == list(header["variants"])
    assert [turn["file"] for turn in found["turns"]] == [record.file for record in records]
    for turn, record in zip(found["turns"], records, strict=True):
        if record.timeline is None:
            assert turn["parts"] is None
            continue
        assert sum(turn["parts"].values()) == pytest.approx(turn["trace_ms"], abs=0.01)
        assert turn["difference_ms"] == pytest.approx(turn["trace_ms"] - turn["wav_ms"], abs=0.002)
        assert dict(turn["marks"])["speech.end"] == 0
        assert turn["wav_start_ms"] < 0


def test_failures_and_time_outs_come_with_their_reasons(page: str) -> None:
    bad = {
        turn["status"]: turn["reason"] for turn in content(page)["turns"] if turn["status"] != "ok"
    }
    assert bad == {
        "failed": "llm: the server closed the connection before the first token",
        "timeout": "no reply within 15 s of the end of speech",
        "no reply": "nothing was understood",
    }


def _text(values: dict[str, Any]) -> str:
    return pages.text(report.KIT, report._page(values, {}))


HOSTILE = "</script><b>bold</b><script>alert(1)</script><!-- {{script}} & \u2028 \0 \\u003c"


@given(st.text())
@example(HOSTILE)
@example("\ud800 half a pair")
def test_no_text_leaves_its_place(text: str) -> None:
    record = Record(text, text, 1, 0, "failed", text, transcript=text, expected=text, reply=text)
    header = {"variants": {text: {"mode": text}}, "models": {"stt": text}, "settings": {text: text}}
    values = {"header": header, "turns": [turns.turn(0, record)]}
    found = content(_text(values))
    assert found["turns"][0]["transcript"] == text
    assert found["header"]["models"]["stt"] == text
    tags = [tag for tag, _ in Elements(_text(values)).found]
    assert tags == [tag for tag, _ in Elements(_text({})).found]


def test_a_hostile_profile_is_written_whole(tmp_path: Path) -> None:
    header, records = samples.profile(files=FEW, repeats=1)
    records = [replace(record, transcript=HOSTILE, file=HOSTILE) for record in records]
    page = written(tmp_path, header | {"models": {"stt": HOSTILE}}, records)
    assert [turn["file"] for turn in content(page)["turns"]] == [HOSTILE] * len(records)


def test_no_more_sound_is_inside_than_may_be_and_the_rest_is_linked(
    folder: Path, profile: tuple[dict[str, Any], list[Record]], page: str
) -> None:
    whole = sounds(page)
    assert len(whole) == len(profile[1])
    most = sum(map(len, whole.values())) // 3
    small = written(folder, *profile, sound_bytes=most)
    inside = sounds(small)
    assert 0 < sum(map(len, inside.values())) <= most
    turns = content(small)["turns"]
    assert {turn["id"] for turn in turns if turn["sound"] == "inside"} == set(inside)
    linked = [turn for turn in turns if turn["sound"] == "linked"]
    assert len(linked) == len(turns) - len(inside)
    assert all((folder / turn["wav"]).is_file() for turn in linked)
    # What went wrong is what people want to hear; the warm-up is what they want least.
    assert {turn["id"] for turn in turns if turn["status"] != "ok"} <= set(inside)
    assert not {turn["id"] for turn in turns if turn["repeat"] == 0} & set(inside)


def test_the_sound_inside_is_the_wav_to_the_sample(
    folder: Path, profile: tuple[dict[str, Any], list[Record]], page: str
) -> None:
    record = profile[1][5]
    with av.open(folder / record.wav) as container:
        frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    original = np.concatenate(frames)
    with av.open(io.BytesIO(base64.b64decode(sounds(page)[5]))) as container:
        assert container.streams.audio[0].rate == sound.RATE
        frames = [frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)]
    assert np.array_equal(np.concatenate(frames), original)


def test_the_drawn_waveform_shows_each_side_where_it_sounds() -> None:
    stereo = np.zeros((sound.RATE // 10 + 1, 2), np.int16)
    stereo[160:320, 0] = -32768
    stereo[480, 1] = 8192
    left, right = (list(base64.b64decode(text)) for text in sound.peaks(stereo))
    assert left == [0, 255] + [0] * 9
    assert right == [0, 0, 0, 127] + [0] * 7


@pytest.mark.parametrize("wav", ["", "wav/none.wav", "../beside.wav", "a\0b.wav", "wav", "broken"])
def test_a_recording_that_is_not_there_or_not_the_profiles_is_left_out(
    tmp_path: Path, wav: str
) -> None:
    header, [record, *_] = samples.profile(tmp_path / "inside", files=FEW, repeats=1)
    (tmp_path / "inside" / record.wav).rename(tmp_path / "beside.wav")
    (tmp_path / "inside" / "broken").write_bytes(b"RIFF no sound at all")
    page = written(tmp_path / "inside", header, [replace(record, wav=wav)])
    [turn] = content(page)["turns"]
    assert (turn["sound"], turn["wav"]) == ("none", "")
    assert not sounds(page)


def test_a_profile_without_any_reply_is_written(tmp_path: Path) -> None:
    header, records = samples.profile(files=FEW, repeats=1)
    failed = [
        replace(record, status="failed", reason="broken", marks={}, spans=()) for record in records
    ]
    for some in (failed, []):
        found = content(written(tmp_path, header, some))
        assert len(found["turns"]) == len(some)
        assert all(variant["n"] == 0 for variant in found["summary"]["variants"].values())


def test_a_header_that_says_nothing_is_enough(tmp_path: Path) -> None:
    _, records = samples.profile(files=FEW, repeats=1)
    assert content(written(tmp_path, {}, records))["variants"] == list(
        dict.fromkeys(record.variant for record in records)
    )


def test_numbers_that_json_has_no_word_for_become_nothing() -> None:
    values = {"a": [float("nan"), float("inf"), 1.5], "path": Path("x"), 3: (True, None)}
    assert pages.plain(values) == {"a": [None, None, 1.5], "path": "x", "3": [True, None]}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"report\.html: the report cannot be written"):
        report.write(tmp_path / "none", *samples.profile(files=FEW, repeats=1))


@given(st.dictionaries(st.sampled_from(MARKS), st.integers(-(10**12), 10**12)))
def test_what_blocked_is_contiguous_and_sums_to_the_parts(marks: dict[str, int]) -> None:
    timeline = Timeline.from_marks(marks)
    if timeline is None:
        return
    found = turns.blocking(marks)
    sums = dict.fromkeys(timeline.parts, 0)
    for part, start, end in found:
        sums[part] += end - start
    assert sums == dict(timeline.parts)
    assert all(a[2] == b[1] for a, b in itertools.pairwise(found))
    if found:
        assert (found[0][1], found[-1][2]) == (marks["speech.end"], marks["heard.first"])
