"""A comparison's report in a real browser: drawn, stamped, sorted, heard; without the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import comparison_samples as samples
from support.browser import Page, chromium

from pipeline.compare import cost, report
from pipeline.compare.summary import summarise
from pipeline.speech_to_speech.brief import STAMP

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome is on the PATH, or this is Windows"
)

ROWS = "#section-5 tbody tr.turn"
PATHS = len(samples.PATHS)


def write(folder: Path, **options: Any) -> Path:
    header, conversations = samples.comparison(folder, **options)
    return report.write(
        folder, header, conversations, summarise(header, conversations, cost.prices())
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("comparison"), repeats=1)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def page(browser: Page, file: Path) -> Iterator[Page]:
    """The report, freshly loaded; afterwards nothing may have gone wrong in it."""
    browser.errors.clear()
    browser.requests.clear()
    browser.open("about:blank")
    browser.open(file.as_uri())
    yield browser
    assert browser.errors == []
    outside = [url for url in browser.requests if not url.startswith(("data:", "about:"))]
    assert outside == [file.as_uri()]


def open_row(page: Page, name: str) -> str:
    """Opens an utterance, such as `capital #1`; gives an expression for what opened."""
    page.run(
        f"""[...document.querySelectorAll("{ROWS} button.open")]
          .find((button) => button.textContent === "{name}").click()"""
    )
    detail = "document.querySelector('#section-5 tr.open + .detailrow')"
    page.wait(f"Boolean({detail}.querySelector('.fall svg[width]'))")
    page.settle()
    return detail


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('{selector}')].map((one) => one.innerText)"
    )
    return found


def choose(page: Page, place: int, value: str) -> None:
    page.run(
        f"""(() => {{
          const select = document.querySelectorAll("#section-5 .filters select")[{place}];
          select.value = "{value}";
          select.dispatchEvent(new Event("change"));
        }})()"""
    )


def test_every_section_is_drawn(page: Page) -> None:
    assert page.run("document.querySelectorAll('main > section').length") == len(report.SECTIONS)
    assert page.run("document.querySelectorAll('.verdict li').length") == 3
    assert page.run("document.querySelectorAll('#section-2 table').length") == 9
    assert page.run("document.querySelectorAll('#section-3 .strip .dots').length") > 2 * PATHS
    assert page.run("document.querySelectorAll('#section-4 .curve svg .series').length") > PATHS
    said = sum(len(one.steps) for one in samples.scenarios())
    assert page.run(f"document.querySelectorAll('{ROWS}').length") == said + 1
    for number in range(2, len(report.SECTIONS) + 1):
        assert len(page.run(f"document.querySelector('#section-{number}').innerText")) > 100


def test_what_failed_is_told(page: Page) -> None:
    told = page.run("document.querySelector('#section-7').textContent")
    for reason in (samples.QUOTA, samples.CLOSED, "nothing was understood", "no reply within 60 s"):
        assert reason in told
    page.run("document.querySelector('#section-7 a').click()")
    page.wait("document.querySelectorAll('#section-5 .detailrow').length === 1")


def test_the_method_has_definitions_judge_and_source(page: Page) -> None:
    told = page.run("document.querySelector('#section-8').textContent")
    assert "Answer yes or no." in told
    assert samples.SOURCE in told
    assert "pipecat" in told
    assert cost.prices().as_of in told


def unstamped(page: Page) -> list[str]:
    """Figures, tables and sections on which the stamp cannot be seen."""
    found: list[str] = page.run(
        """(() => {
          const shown = (node) => Boolean(node && node.getClientRects().length);
          const bare = [];
          for (const one of document.querySelectorAll("main > section")) {
            if (!shown(one.querySelector("h2 .stamped"))) bare.push(one.id);
          }
          for (const one of document.querySelectorAll("figure")) {
            if (!one.querySelector("figcaption .stamped")) bare.push(one.innerText.slice(0, 80));
          }
          for (const one of document.querySelectorAll("table")) {
            const of = one.querySelector("caption .stamped")
              || one.closest("figure")?.querySelector("figcaption .stamped");
            if (!of) bare.push(one.outerHTML.slice(0, 120));
          }
          return bare;
        })()"""
    )
    return found


def test_the_stamp_is_on_everything(page: Page) -> None:
    assert page.run("document.title").startswith(STAMP)
    open_row(page, "capital #1")
    assert unstamped(page) == []
    name = samples.SIMULATED
    # Wherever the path is named by itself, the stamp is at its side.
    bare = page.run(
        f"""(() => {{
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const bare = [];
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {{
            const outer = node.parentElement.closest("script, style, pre, #stamp, .compared");
            if (outer || !node.data.includes("{name}")) continue;
            const near = node.parentElement.textContent;
            if (!near.includes("{STAMP}")) bare.push(near.slice(0, 100));
          }}
          return bare;
        }})()"""
    )
    assert bare == []


def test_the_stamp_stays_in_sight(page: Page) -> None:
    page.run("window.scrollTo(0, document.documentElement.scrollHeight)")
    page.settle()
    box = page.run(
        "(() => { const b = document.getElementById('stamp').getBoundingClientRect(); "
        "return [b.top, b.height] })()"
    )
    assert box[0] == 0 and box[1] > 15
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        shown = "getComputedStyle(document.querySelector('.watermark'))"
        assert page.run(f"{shown}.display") == "block"
        assert page.run(f"{shown}.position") == "fixed"
        assert page.run("document.getElementById('stamp').getClientRects().length") == 1
    finally:
        page.call("Emulation.setEmulatedMedia", media="")


def test_measured_paths_bear_no_stamp(browser: Page, tmp_path: Path) -> None:
    file = write(tmp_path, paths=(samples.CASCADE, samples.DIRECT), repeats=1)
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(file.as_uri())
    open_row(browser, "sums #1")
    assert STAMP not in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('.stamped, #stamp, .watermark').length") == 0
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_it_fits_the_window(page: Page, file: Path, width: int, dark: bool) -> None:
    page.requests.clear()
    page.open("about:blank")
    page.open(file.as_uri(), width=width, dark=dark)
    detail = open_row(page, "archive #1")
    page.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run(f"{detail}.querySelector('.fall svg').clientWidth") <= width
    color = page.run("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") != dark


def test_text_and_shapes_stand_out_from_their_background(page: Page, file: Path) -> None:
    script = """(() => {
      const canvas = document.createElement("canvas").getContext("2d");
      const style = getComputedStyle(document.documentElement);
      const light = (name) => {
        canvas.fillStyle = style.getPropertyValue(name).trim();
        const n = parseInt(canvas.fillStyle.slice(1), 16);
        const [r, g, b] = [n >> 16, (n >> 8) & 255, n & 255].map((v) =>
          v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const contrast = (a, b) => {
        const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
        return (x + 0.05) / (y + 0.05);
      };
      const texts = ["--ink", "--quiet", "--accent", "--bad", "--good"];
      const pairs = [["--stampink", "--stamp", 4.5], ["--on", "--model", 4.5],
        ...texts.flatMap((t) => [[t, "--paper", 4.5], [t, "--raised", 4.5]]),
        ...[0, 1, 2, 3, 4, 5].map((n) => [`--p${n}`, "--paper", 3])];
      return pairs.map(([a, b, least]) => [a, b, least, contrast(a, b)])
        .filter(([, , least, ratio]) => !(ratio >= least));
    })()"""
    for dark in (False, True):
        page.requests.clear()
        page.open("about:blank")
        page.open(file.as_uri(), dark=dark)
        assert page.run(script) == []


def test_the_rows_sort_both_ways(page: Page) -> None:
    button = "document.querySelectorAll('#section-5 th.num button')[1]"
    for direction in ("ascending", "descending"):
        page.run(f"{button}.click()")
        assert page.run(f"{button}.closest('th').getAttribute('aria-sort')") == direction
        place = page.run(f"{button}.closest('th').cellIndex")
        shown = page.run(
            f"[...document.querySelectorAll('{ROWS}')]"
            f".map((row) => parseFloat(row.cells[{place}].innerText))"
        )
        values = [value for value in shown if value is not None]
        assert len(values) > 40
        assert values == sorted(values, reverse=direction == "descending")


def test_the_rows_filter_by_path_scenario_status_and_words(page: Page) -> None:
    count = "document.querySelector('#section-5 .filters output').textContent"
    choose(page, 2, "failed")
    failed = texts(page, f"{ROWS} button.open")
    assert "timers 64k #6" in failed and "capital #1" in failed
    choose(page, 0, samples.CASCADE)
    assert page.run(count).startswith("0 of ")
    choose(page, 2, "no reply")
    assert texts(page, f"{ROWS} button.open") == ["sums #2"]
    choose(page, 2, "")
    choose(page, 1, "names")
    assert set(texts(page, f"{ROWS} button.open")) == {f"names #{n}" for n in range(1, 5)}
    choose(page, 1, "")
    page.run(
        """(() => {
          const search = document.querySelector("#section-5 .filters input");
          search.value = "SEARCH_ARCHIVE";
          search.dispatchEvent(new Event("input"));
        })()"""
    )
    assert texts(page, f"{ROWS} button.open") == ["archive #1"]


def test_a_row_shows_what_each_path_heard_said_and_did(page: Page) -> None:
    detail = open_row(page, "archive #1")
    panels = f"[...{detail}.querySelectorAll('.pathpanel')]"
    assert page.run(f"{panels}.map((one) => one.dataset.path)") == [*samples.PATHS]
    for path in range(PATHS):
        told = page.run(f"{panels}[{path}].innerText")
        assert "search_archive(" in told and "1000000 bytes" in told
        assert "I am looking." in told
    assert page.run(f"{panels}[1].innerText").count("met:") >= 1


def test_all_waterfalls_of_a_row_share_one_axis(page: Page) -> None:
    detail = open_row(page, "names #3")
    fall = f"{detail}.querySelector('.fall')"
    lines = (
        f"((kind) => [...{fall}.querySelectorAll('path.' + kind)]"
        ".map((line) => Number(/^M([-\\d.]+) /.exec(line.getAttribute('d'))[1])))"
    )
    names = page.run(f"[...{fall}.querySelectorAll('.groupname')].map((one) => one.textContent)")
    assert [name.split(" [")[0] for name in names] == [*samples.PATHS]
    assert STAMP in names[-1]
    assert page.run(f"{fall}.querySelectorAll('svg').length") == 1

    def scales() -> list[float]:
        """Pixels a millisecond by each path's latency as traced, from one zero."""
        zeros, heard = page.run(f"{lines}('zero')"), page.run(f"{lines}('heard')")
        assert len(zeros) == len(heard) == PATHS and len(set(zeros)) == 1
        spoken = page.run(
            f"""[...{detail}.querySelectorAll('.partsof tfoot td:nth-child(2)')]
              .map((one) => parseFloat(one.textContent))"""
        )
        return [(x - zeros[0]) / ms for x, ms in zip(heard, spoken, strict=True)]

    before = scales()
    assert before == pytest.approx([before[0]] * PATHS, rel=0.01)
    page.run(f"{fall}.focus()")
    page.press("+")
    page.settle()
    after = scales()
    assert after == pytest.approx([after[0]] * PATHS, rel=0.01)
    assert after[0] > before[0] * 1.3
    waves = f"[...{fall}.querySelectorAll('.wave')].map((wave) => wave.getAttribute('d').length)"
    found = page.run(waves)
    assert len(found) == 2 * PATHS and min(found) > 100


def test_the_keyboard_reaches_a_row_and_every_paths_work(page: Page) -> None:
    page.run("document.querySelector('#section-5 .filters input').focus()")
    for _ in range(40):
        page.press("Tab")
        if page.run("document.activeElement.matches('button.open')"):
            break
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.press("Enter")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    for _ in range(60):
        page.press("Tab")
        if page.run("document.activeElement.matches('.fall')"):
            break
    page.settle()
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.run(label).startswith("Waterfall of capital turn 1")
    page.press("ArrowDown")
    seen = {page.run(label).rpartition(". ")[2]}
    for _ in range(40):
        page.press("ArrowDown")
        seen.add(page.run(label).rpartition(". ")[2])
    assert {samples.CASCADE, f"{samples.SIMULATED} [{STAMP}]"} <= seen
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden")


def test_the_keyboard_goes_along_a_curve(page: Page) -> None:
    page.run("document.querySelector('#section-4 .curve').focus()")
    label = "document.activeElement.getAttribute('aria-label')"
    page.press("ArrowRight")
    assert "turn 1" in page.run(label)
    page.press("ArrowRight")
    first = page.run(label)
    assert "turn 2" in first and "95 % interval" in first and samples.CASCADE in first
    assert not page.run("document.getElementById('tip').hidden")
    page.press("ArrowDown")
    assert samples.DIRECT in page.run(label) and "turn 2" in page.run(label)
    page.press("ArrowDown")
    assert STAMP in page.run(label)
    page.run("document.querySelector('#section-4 details summary').click()")
    shown = page.run("document.querySelector('#section-4 details table').innerText")
    assert first.split("%")[0].strip() in shown


def test_a_curves_point_tells_its_values_under_the_pointer(page: Page) -> None:
    page.run("document.querySelector('#section-4').scrollIntoView()")
    page.settle()
    x, y = page.run(
        """(() => {
          const box = document.querySelector("#section-4 .point .solid").getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    tip = "document.getElementById('tip')"
    page.wait(f"!{tip}.hidden")
    assert "interval" in page.run(f"{tip}.innerText")


def test_every_paths_reply_can_be_heard_one_at_a_time(page: Page) -> None:
    detail = open_row(page, "names #1")
    sounds = f"[...{detail}.querySelectorAll('audio')]"
    assert page.run(f"{sounds}.length") == PATHS
    for number in range(PATHS):
        page.wait(f"{sounds}[{number}].readyState >= 2")
        assert page.run(f"{sounds}[{number}].duration") > 2
    page.run(f"{sounds}[0].play()")
    page.wait(f"{sounds}[0].currentTime > 0")
    page.run(f"{sounds}[1].play()")
    page.wait(f"{sounds}[1].currentTime > 0 && {sounds}[0].paused")
    heads = f"[...{detail}.querySelectorAll('.playhead')]"
    page.wait(f"{heads}[1].hasAttribute('d')")
    assert not page.run(f"{heads}[2].hasAttribute('d')")
    page.run(f"{detail}.querySelectorAll('.player')[1].querySelector('input[value=right]').click()")
    page.run(f"{sounds}[1].pause()")


def test_sound_that_is_not_inside_plays_its_window_from_the_folder(
    browser: Page, tmp_path: Path
) -> None:
    header, conversations = samples.comparison(tmp_path, repeats=1)
    path = report.write(tmp_path, header, conversations, {}, sound_bytes=0)
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(path.as_uri())
    detail = open_row(browser, "names #4")
    audio = f"{detail}.querySelector('audio')"
    browser.run(f"{audio}.play()")
    begin = float(browser.run(f"{audio}.src").rpartition("#t=")[2].split(",")[0])
    assert begin > 5
    browser.wait(f"{audio}.currentTime > {begin}")
    browser.wait(f"{detail}.querySelector('.playhead').hasAttribute('d')")
    browser.run(f"{audio}.pause()")
    assert browser.errors == []


def test_a_dot_names_and_opens_its_row(page: Page) -> None:
    page.run("document.querySelector('#section-3').scrollIntoView()")
    page.settle()
    x, y = page.run(
        """(() => {
          const svg = document.querySelector("#section-3 .strip svg");
          const [x, y] = svg.querySelector(".dots").getAttribute("d").slice(1).split(/[ h]/);
          const box = svg.getBoundingClientRect();
          return [box.left + Number(x), box.top + Number(y)];
        })()"""
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert samples.CASCADE in page.run("document.getElementById('tip').innerText")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    page.wait("document.querySelectorAll('#section-5 .detailrow').length === 1")


def test_interrupted_replies_are_told_with_what_is_remembered(page: Page) -> None:
    rows = texts(page, "#section-6 tbody tr")
    assert len(rows) == PATHS
    for row in rows:
        assert "It opened nothing at all." in row and "A fox found a key under an oak" in row


def test_hostile_texts_are_shown_as_they_are(browser: Page, tmp_path: Path) -> None:
    hostile = "</script><b id='evil'>x</b><img src=x onerror=document.title='evil'>"
    header, conversations = samples.comparison(tmp_path, paths=samples.PATHS[:2], repeats=1)
    conversations = [
        replace(
            one,
            scenario=hostile,
            reason=hostile,
            turns=tuple(
                replace(
                    turn,
                    kept=hostile,
                    record=replace(turn.record, transcript=hostile, reply=hostile, reason=hostile),
                )
                for turn in one.turns
            ),
        )
        for one in conversations
    ]
    judge = {"judge": {"model": hostile, "prompt": hostile}}
    path = report.write(tmp_path, header | judge, conversations, {"verdict": [hostile]})
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(path.as_uri())
    browser.run(f"document.querySelector('{ROWS} button').click()")
    browser.settle()
    assert browser.run("document.querySelector('#evil, img')") is None
    assert browser.run("document.title") == "Cascade comparison"
    assert browser.run("document.querySelector('.verdict').innerText") == hostile
    assert hostile in browser.run(f"document.querySelector('{ROWS} button').textContent")
    assert browser.errors == []


@pytest.mark.parametrize("kind", ["no faults", "all failed", "none held", "one path", "six paths"])
def test_a_poor_or_a_rich_comparison_is_drawn_too(browser: Page, tmp_path: Path, kind: str) -> None:
    paths = {"one path": samples.PATHS[:1], "six paths": (*samples.PATHS, "x" * 80, "a b", "wss")}
    header, conversations = samples.comparison(
        paths=paths.get(kind, samples.PATHS), repeats=1, faults=kind != "no faults"
    )
    if kind == "none held":
        conversations = []
    elif kind == "all failed":
        conversations = [
            replace(
                one,
                status="failed",
                reason="wrong key",
                turns=tuple(
                    replace(
                        turn,
                        record=replace(turn.record, status="failed", marks={}, spans=()),
                        answering_ns=None,
                    )
                    for turn in one.turns
                ),
            )
            for one in conversations
        ]
    header |= {"interrupted": True}
    summary = summarise(header, conversations, cost.prices())
    path = report.write(tmp_path, header, conversations, summary)
    browser.errors.clear()
    browser.open("about:blank")
    for width in (390, 1440):
        browser.open(path.as_uri(), width=width)
        browser.run(
            "[...document.querySelectorAll('button.open')].slice(0, 3).forEach((b) => b.click())"
        )
        browser.settle()
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('main > section').length") == len(report.SECTIONS)
    assert "was interrupted" in browser.run("document.getElementById('top').innerText")
    assert browser.errors == []
