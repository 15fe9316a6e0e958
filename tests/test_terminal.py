"""The waterfall of a turn: as wide as it may be, whole, and each bar where its time is."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console
from support.known_turns import MS, SPECULATIVE, marks_at

from pipeline.events import Frame, ReplyAudio, ReplyDone, ReplyStarted, ReplyText
from pipeline.terminal import (
    ASCII,
    BLOCKS,
    COMMIT,
    LABELS,
    Display,
    Shown,
    State,
    waterfall,
    waterfall_strip,
    whole_ms,
)
from pipeline.text.heard import CHARS_PER_SECOND
from pipeline.trace import Timeline

near = st.integers(0, 5_000 * MS)
times = st.one_of(near, st.integers(0, 10**15), st.sampled_from([0, 1, MS, 500 * MS]))
some_marks = marks_at(times)
widths = st.one_of(st.integers(0, 130), st.just(80))


def timeline_of(marks: dict[str, int]) -> Timeline:
    timeline = Timeline.from_marks(marks)
    assert timeline is not None
    return timeline


def rows(marks: dict[str, int], width: int = 80, *, ascii_only: bool = False) -> dict[str, str]:
    """The lines by their label."""
    made = [line.plain for line in waterfall(marks, width, ascii_only=ascii_only)]
    label = max(map(len, LABELS.values()))
    return {line[:label].strip(): line for line in made}


def numbers(line: str) -> tuple[int, int]:
    """Milliseconds waited for, and hidden."""
    label = max(map(len, LABELS.values()))
    found = re.match(r" *(-?\d+) ?( {0,6}\d*)", line[label:])
    assert found is not None, line
    return int(found[1]), int(found[2].strip() or 0)


@given(some_marks, widths, st.booleans())
def test_it_is_never_wider_than_the_width(
    marks: dict[str, int], width: int, ascii_only: bool
) -> None:
    for line in waterfall(marks, width, ascii_only=ascii_only):
        assert line.cell_len <= width
        assert "\n" not in line.plain


@given(some_marks)
def test_the_order_of_the_marks_does_not_matter(marks: dict[str, int]) -> None:
    backwards = dict(reversed(marks.items()))
    assert waterfall(marks) == waterfall(backwards)


@given(some_marks)
def test_what_is_shown_sums_to_what_is_shown(marks: dict[str, int]) -> None:
    assume(abs(marks["heard.first"] - marks["speech.end"]) < 90_000 * MS)
    assume(all(at < 90_000 * MS for at in marks.values()))
    shown = rows(marks)
    waited, hidden = zip(
        *(numbers(shown[LABELS[name]]) for name in timeline_of(marks).parts), strict=True
    )
    assert (sum(waited), sum(hidden)) == numbers(shown["total"])
    assert sum(waited) == round(timeline_of(marks).total_ns / MS)


@given(st.dictionaries(st.text(), st.integers(-(10**15), 10**15)))
def test_rounding_moves_no_part_by_a_millisecond(parts: dict[str, int]) -> None:
    shown = whole_ms(parts)
    assert sum(shown.values()) == round(sum(parts.values()) / MS)
    for name, ns in parts.items():
        assert abs(shown[name] * MS - ns) <= MS


@given(some_marks, widths)
def test_ascii_is_ascii(marks: dict[str, int], width: int) -> None:
    assert all(line.plain.isascii() for line in waterfall(marks, width, ascii_only=True))


@given(some_marks, widths, st.integers(0, 10_000 * MS))
def test_an_axis_that_is_longer_says_the_same(
    marks: dict[str, int], width: int, until_ns: int
) -> None:
    drawn = waterfall(marks, width, until_ns=until_ns)
    assert all(line.cell_len <= width for line in drawn)
    numbers = [line.plain[:27].split() for line in drawn][1:]
    assert numbers == [line.plain[:27].split() for line in waterfall(marks, width)][1:]


def test_two_turns_have_one_axis() -> None:
    later = {**SPECULATIVE, "playout.first": 2350 * MS, "heard.first": 2400 * MS}
    short, long = waterfall(SPECULATIVE, 100, until_ns=1400 * MS), waterfall(later, 100)
    assert short[0] == long[0]
    assert short[-1].cell_len < long[-1].cell_len
    assert rows(later, 100)["endpoint"] == short[1].plain


@given(some_marks, st.integers(1, 130), st.booleans(), st.integers(0, 10_000 * MS))
def test_a_strip_is_as_long_as_the_turn(
    marks: dict[str, int], width: int, ascii_only: bool, until_ns: int
) -> None:
    drawn = waterfall_strip(marks, width, ascii_only=ascii_only, until_ns=until_ns)
    total = max(0, timeline_of(marks).total_ns)
    assert drawn.cell_len == round(total * width / max(1, total, until_ns))
    assert drawn.plain.isascii() or not ascii_only


def test_a_strip_has_every_part() -> None:
    assert waterfall_strip(SPECULATIVE, 70, ascii_only=True).plain == "-" * 50 + "#" * 15 + "." * 5


def test_work_in_the_hold_is_lighter_than_work_that_is_waited_for() -> None:
    for ascii_only, glyphs in ((False, BLOCKS), (True, ASCII)):
        shown = rows(SPECULATIVE, ascii_only=ascii_only)
        assert numbers(shown["endpoint"]) == (500, 0)
        assert numbers(shown["STT"]) == (0, 100)
        assert glyphs.hidden in shown["STT"]
        assert glyphs.waited not in shown["STT"]
        # The voice began 50 ms before the commit and went on for 100 ms.
        assert numbers(shown["first audio"]) == (100, 50)
        voice = shown["first audio"]
        light, dark = voice.count(glyphs.hidden), voice.count(glyphs.waited)
        assert abs(dark - 2 * light) <= 2
        assert voice.index(glyphs.hidden) + light == voice.index(glyphs.waited)
        assert glyphs.hidden not in shown["device"]


def test_all_lines_have_one_axis() -> None:
    shown = rows(SPECULATIVE)
    scale = shown[""]
    origin = shown["total"].index(BLOCKS.begin)
    assert scale.index("0", len("           ms hidden")) == origin
    assert shown["endpoint"].index(BLOCKS.begin) == origin
    assert "hold" in shown["endpoint"]
    commit = shown["endpoint"].index(BLOCKS.end)
    assert shown["endpoint"][commit + 1 :] == COMMIT
    assert shown["STT"].index(BLOCKS.commit) == commit
    assert shown["first audio"].index(BLOCKS.waited) == commit
    # 500 of 700 ms, and the axis is as long as the total's span.
    length = len(shown["total"]) - origin
    assert abs((commit - origin) / length - 500 / 700) < 1 / length
    assert len(shown["device"]) == len(shown["total"])
    for tick in re.findall(r"\d+", scale):
        at = scale.index(tick, origin) - origin
        assert abs(at / length - int(tick) / 700) < 1 / length


def test_a_reply_before_the_end_of_speech_has_numbers_and_no_bars() -> None:
    marks = {"speech.end": 900 * MS, "committed": 500 * MS, "heard.first": 700 * MS}
    shown = rows(marks)
    assert numbers(shown["total"]) == (-200, 0)
    assert numbers(shown["endpoint"]) == (-200, 0)
    assert not any(glyph in "".join(shown.values()) for glyph in "▇░├┤")


def test_a_turn_without_a_reply_is_not_drawn() -> None:
    assert waterfall({"speech.end": 0, "committed": 5 * MS}) == []
    assert waterfall({}) == []


def test_the_screen_shows_it_in_place_of_the_line_of_latencies() -> None:
    for encoding, glyphs in (("utf-8", BLOCKS), ("ascii", ASCII)):
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding=encoding)
        console = Console(file=file, width=80, markup=False, emoji=False, highlight=False)
        with Display(console, drawn=True) as display:
            display.heard(timeline_of(SPECULATIVE))
            display.profile(SPECULATIVE)
        file.flush()
        said = raw.getvalue().decode(encoding)
        first, *drawn = said.splitlines()
        assert first == "listening"
        assert drawn == [
            line.plain for line in waterfall(SPECULATIVE, ascii_only=encoding == "ascii")
        ]
        assert glyphs.hidden in said


def test_without_it_there_is_the_line_of_latencies_alone() -> None:
    file = io.StringIO()
    with Display(Console(file=file, width=200)) as display:
        display.heard(timeline_of(SPECULATIVE))
        display.profile(SPECULATIVE)
    assert file.getvalue().count("\n") == 2
    assert "voice-to-voice 700 ms" in file.getvalue()


def test_a_line_that_is_alive_is_drawn_when_it_has_changed() -> None:
    file = io.StringIO()
    display = Display(Console(file=file, width=80, force_terminal=True, _environ={}))

    def drawn(state: State) -> str:
        file.seek(0)
        file.truncate()
        display.state(state)
        display._live.refresh()
        return file.getvalue()

    # As the thread does that refreshes it.
    display._live.auto_refresh = False
    with display:
        assert "listening" in drawn("listening")
        assert drawn("listening") == ""
        assert "hearing" in drawn("hearing")
        display.note("a line that stays")
        assert drawn("hearing") == ""


def test_a_reply_that_begins_while_another_is_played_costs_no_words() -> None:
    file = io.StringIO()
    with Display(Console(file=file, width=200)) as display:
        for event in (
            ReplyStarted(1, "a"),
            ReplyText(1, "a", "Let me look. "),
            ReplyStarted(1, "b"),
            ReplyText(1, "b", "It is nine."),
        ):
            display.event(event)
        display.heard(None)
        display.event(ReplyStarted(2, "c"))
        display.heard(None)
    assert "cascade  Let me look. It is nine.\n" in file.getvalue()
    assert file.getvalue().count("nine") == 1


def test_words_light_up_as_they_are_spoken() -> None:
    shown = Shown()
    sound = Frame(np.zeros(16_000, np.int16), 8_000, 0, 0)
    for event in (ReplyStarted(1, "a"), ReplyText(1, "a", "x" * 100), ReplyAudio(1, "a", sound)):
        shown.event(event)
    # As long as not all of it is made, how long it lasts is guessed.
    shown.playing(0.5)
    assert shown.spoken == int(0.5 * CHARS_PER_SECOND)
    shown.event(ReplyDone(1, "a", "completed"))
    shown.playing(0.5)
    assert shown.spoken == 25
    shown.heard(None)
    assert (shown.spoken, shown.doing) == (100, "listening")


def test_what_tools_print_is_not_among_the_lines_for_machines() -> None:
    code = (
        "import subprocess, sys\n"
        "from pipeline.terminal import stdout_alone\n"
        "with stdout_alone() as lines:\n"
        "    print('printed')\n"
        "    sys.stdout.write('written')\n"
        "    subprocess.run([sys.executable, '-c', 'print(\"started\")'], check=True)\n"
        "    print('line', file=lines, flush=True)\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "line\nafter\n"
    assert set(re.findall(r"printed|written|started", done.stderr)) == {
        "printed",
        "written",
        "started",
    }


def test_debug_tells_no_url_that_may_hold_a_secret() -> None:
    code = (
        "import logging\n"
        "from pipeline.terminal import log_to_stderr\n"
        "log_to_stderr(debug=True)\n"
        "for name in ('mcp.client.streamable_http', 'httpx2', 'pipeline.tools.mcp'):\n"
        "    logging.getLogger(name).debug('by %s: http://me:hush@a.org', name)\n"
        "    logging.getLogger(name).info('by %s: http://me:hush@a.org', name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(re.findall(r"by (\S+):", done.stderr)) == {"pipeline.tools.mcp"}
