"""Both reports in a real browser: drawn, sorted, zoomed, heard; without the network or an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import comparison_samples as samples
from support.browser import Page, chromium
from support.report_page import HOSTILE, KINDS, write

from pipeline.compare import cost
from pipeline.compare import report as comparison
from pipeline.measure.record import Record
from pipeline.profile import report as profile
from pipeline.speech_to_speech.brief import STAMP

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome is on the PATH, or this is Windows"
)

SECTIONS = {"profile": profile.SECTIONS, "comparison": comparison.SECTIONS}
LISTS = {"profile": "#section-4", "comparison": "#section-5"}
ROWS = {kind: f"{section} tbody:not([hidden]) tr.turn" for kind, section in LISTS.items()}
LATENCY = {"profile": "wav_ms", "comparison": f"path {samples.DIRECT}"}
PATHS = len(samples.PATHS)
OPEN = "document.querySelector('tr.open + .detailrow')"
TIP = "document.getElementById('tip')"
LABEL = "document.activeElement.getAttribute('aria-label')"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports with sound, by kind."""
    found = {}
    for kind, repeats in zip(KINDS, (3, 1), strict=True):
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = write(kind, folder, sound=folder, repeats=repeats)
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with Page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clean(browser: Page) -> Iterator[Page]:
    """The browser; nothing may go wrong in it, and nothing but a report may be asked for."""
    browser.errors.clear()
    browser.requests.clear()
    browser.open("about:blank")
    yield browser
    assert browser.errors == []
    outside = [url for url in browser.requests if not url.startswith(("data:", "about:"))]
    assert all(re.fullmatch(r"file:.*(/report\.html|\.wav)", url) for url in outside)


@pytest.fixture
def page(clean: Page, files: dict[str, Path], kind: str) -> Page:
    clean.open(files[kind].as_uri())
    return clean


@pytest.fixture
def compared(clean: Page, files: dict[str, Path]) -> Page:
    clean.open(files["comparison"].as_uri())
    return clean


@pytest.fixture
def profiled(clean: Page, files: dict[str, Path]) -> Page:
    clean.open(files["profile"].as_uri())
    return clean


def texts(page: Page, selector: str) -> list[str]:
    found: list[str] = page.run(
        f"[...document.querySelectorAll('{selector}')].map((one) => one.innerText)"
    )
    return found


def column(page: Page, kind: str, key: str) -> list[str]:
    """The first lines of what a table's rows show in a column, top to bottom."""
    head = f"document.querySelector('{LISTS[kind]} th[data-key=\"{key}\"]')"
    found: list[str] = page.run(
        f"[...document.querySelectorAll('{ROWS[kind]}')]"
        f".map((row) => row.cells[{head}.cellIndex].innerText.split('\\n')[0])"
    )
    return found


def choose(page: Page, kind: str, field: str, value: str) -> None:
    """Choose in a list of the filters, or type into the search."""
    page.run(
        f"""(() => {{
          const field = document.querySelector("{LISTS[kind]} .filters {field}");
          field.value = "{value}";
          field.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }})()"""
    )


def open_turn(page: Page, number: int) -> None:
    page.run(f"location.hash = 'turn-{number}'")
    page.wait(f"Boolean({OPEN}?.querySelector('.canvas'))")
    page.settle()


def open_row(page: Page, name: str) -> None:
    """Opens an utterance of a comparison, such as `capital #1`."""
    page.run(
        f"[...document.querySelectorAll('button.open')]"
        f".find((button) => button.textContent === '{name}').click()"
    )
    page.settle()


def middle(page: Page, element: str) -> tuple[float, float]:
    """Where the middle of an element is, which is brought into sight."""
    page.run(f"{element}.scrollIntoView({{ block: 'center' }})")
    page.settle()
    box = f"{element}.getBoundingClientRect()"
    x, y = page.run(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
    return x, y


def test_every_section_is_drawn(page: Page, kind: str) -> None:
    number = len(SECTIONS[kind])
    assert page.run("document.querySelectorAll('main > section').length") == number
    for section in range(1, number + 1):
        assert len(page.run(f"document.querySelector('#section-{section}').innerText")) > 100
    assert page.run("document.querySelectorAll('.strip .dot').length") > 100


def test_a_profiles_parts_and_failures_are_shown(profiled: Page) -> None:
    count = "document.querySelectorAll('.bar {}').length"
    assert profiled.run(count.format("rect.solid")) > 3 * 3
    assert profiled.run(count.format("rect.outline")) >= 3
    assert len(texts(profiled, ROWS["profile"])) == 3 * 4 * 3
    assert len(texts(profiled, "#section-6 tr.turn")) == 3
    [failures] = texts(profiled, "#section-5")
    assert "no reply within 15 s" in failures
    assert "the server closed the connection" in failures


def test_a_comparisons_tables_curves_and_failures_are_shown(compared: Page) -> None:
    assert len(texts(compared, ".verdict li")) == 3
    assert len(texts(compared, "#section-2 table")) == 11
    assert compared.run("document.querySelectorAll('.curve [data-row]').length") > PATHS
    said = sum(len(one.steps) for one in samples.scenarios())
    assert len(texts(compared, ROWS["comparison"])) == said + 1
    told = compared.run("document.querySelector('#section-7').textContent")
    for reason in (samples.QUOTA, samples.CLOSED, "nothing was understood", "no reply within 60 s"):
        assert reason in told
    method = compared.run("document.querySelector('#section-8').textContent")
    for part in ("Answer yes or no.", samples.SOURCE, "pipecat", cost.prices().as_of):
        assert part in method
    rows = texts(compared, "#section-6 tbody tr")
    assert len(rows) == PATHS
    for row in rows:
        assert "It opened nothing at all." in row and "A fox found a key under an oak" in row
    compared.run("document.querySelector('#section-7 a').click()")
    compared.wait(f"Boolean({OPEN})")


@pytest.mark.parametrize(("width", "dark"), [(390, False), (768, True), (1440, False)])
def test_it_fits_the_window(
    clean: Page, files: dict[str, Path], kind: str, width: int, dark: bool
) -> None:
    clean.open(files[kind].as_uri(), width=width, dark=dark)
    open_turn(clean, 20)
    clean.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    clean.settle()
    assert clean.run("document.documentElement.scrollWidth") <= width
    assert clean.run(f"{OPEN}.querySelector('.fall').clientWidth") <= width
    color = clean.run("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") != dark


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_shapes_stand_out_from_their_background(
    clean: Page, files: dict[str, Path], dark: bool
) -> None:
    clean.open(files["comparison"].as_uri(), dark=dark)
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
      const parts = ["endpoint", "stt", "llm_first_token", "first_clause", "tts_first_audio",
        "device", "own", "model"].map((part) => ["--on", `--${part}`, 4.5]);
      const texts = ["--ink", "--quiet", "--accent", "--bad", "--good"];
      const pairs = [["--stampink", "--stamp", 4.5], ...parts,
        ...texts.flatMap((t) => [[t, "--paper", 4.5], [t, "--raised", 4.5]]),
        ...[0, 1, 2, 3, 4, 5].map((n) => [`--p${n}`, "--paper", 3])];
      return pairs.map(([a, b, least]) => [a, b, least, contrast(a, b)])
        .filter(([, , least, ratio]) => !(ratio >= least));
    })()"""
    assert clean.run(script) == []


def test_the_table_sorts_both_ways(page: Page, kind: str) -> None:
    button = f"document.querySelector('{LISTS[kind]} th[data-key=\"{LATENCY[kind]}\"] button')"
    for direction in ("ascending", "descending"):
        page.run(f"{button}.click()")
        assert page.run(f"{button}.closest('th').getAttribute('aria-sort')") == direction
        shown = column(page, kind, LATENCY[kind])
        values = [float(text) for text in shown if text[:1].isdigit()]
        assert len(values) > 30
        assert values == sorted(values, reverse=direction == "descending")
        assert not any(text[:1].isdigit() for text in shown[len(values) :])


def test_a_profiles_table_filters(profiled: Page) -> None:
    choose(profiled, "profile", "select", "speculative")
    assert set(column(profiled, "profile", "variant")) == {"speculative"}
    assert texts(profiled, ".filters output") == ["12 of 36 turns"]
    choose(profiled, "profile", "input", "TIMER")
    assert set(column(profiled, "profile", "file")) == {"timer-ten-minutes.wav"}
    profiled.run("location.hash = 'turn-5'")  # a link leads past all filters
    profiled.wait(f"Boolean({OPEN})")
    assert texts(profiled, ".filters output") == ["36 of 36 turns"]


def test_a_comparisons_table_filters_by_path_scenario_status_and_words(compared: Page) -> None:
    def names() -> list[str]:
        return texts(compared, f"{ROWS['comparison']} button.open")

    def pick(facet: str, value: str) -> None:
        choose(compared, "comparison", f"[data-facet={facet}]", value)

    pick("Status", "failed")
    assert "timers 64k #6" in names() and "capital #1" in names()
    pick("Path", samples.CASCADE)
    assert texts(compared, ".filters output")[0].startswith("0 of ")
    pick("Status", "no reply")
    assert names() == ["sums #2"]
    pick("Status", "")
    pick("Scenario", "names")
    assert set(names()) == {f"names #{n}" for n in range(1, 5)}
    pick("Scenario", "")
    choose(compared, "comparison", "input", "SEARCH_ARCHIVE")
    assert names() == ["archive #1"]


def test_a_turn_opens_its_waterfall_which_zooms_and_scrolls(profiled: Page) -> None:
    open_turn(profiled, 5)
    fall = f"{OPEN}.querySelector('.fall')"
    assert profiled.run(f"{fall}.querySelectorAll('.item').length") > 20
    assert profiled.run(
        f"Boolean({fall}.querySelector('.commit') && {fall}.querySelector('.heard'))"
    )
    waves = f"[...{fall}.querySelectorAll('.wave path')].map((one) => one.getAttribute('d').length)"
    assert min(profiled.run(waves)) > 100
    shown = f"[...{fall}.querySelectorAll('.ticks span')].map((tick) => tick.textContent).join()"
    hold = f"{fall}.querySelector('.item.c-endpoint').getBoundingClientRect()"
    seen = f"(({{left, right}}) => [left, right])({fall}.getBoundingClientRect())"
    before, width, left = (profiled.run(one) for one in (shown, f"{hold}.width", f"{hold}.left"))
    first, last = profiled.run(seen)
    assert first < left and left + width < last, "the wait is what is shown"
    profiled.run(f"{fall}.focus()")
    profiled.press("+")
    profiled.settle()
    assert profiled.run(shown) != before
    assert profiled.run(f"{hold}.width") > width * 1.5
    zoomed = profiled.run(f"{hold}.left")
    profiled.press("ArrowRight", shift=True)
    profiled.settle()
    assert profiled.run(f"{hold}.left") < zoomed
    profiled.press("0")
    profiled.settle()
    assert profiled.run(shown) == before
    assert profiled.run(f"{hold}.left") == pytest.approx(left, abs=2)
    profiled.run(f"{OPEN}.querySelector('[data-act=\"1\"]').click()")
    profiled.settle()
    assert profiled.run(f"{fall}.scrollWidth <= {fall}.clientWidth + 1")
    x, y = middle(profiled, fall)
    wheel = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": -300, "modifiers": 2}
    profiled.call("Input.dispatchMouseEvent", **wheel)
    profiled.wait(f"{fall}.scrollWidth > {fall}.clientWidth * 1.5")


def test_the_keyboard_reaches_a_turn_and_every_piece_of_work(page: Page, kind: str) -> None:
    page.run(f"document.querySelector('{LISTS[kind]} .filters input').focus()")
    for matched in ("button.open", ".fall"):
        for _ in range(60):
            page.press("Tab")
            if page.run(f"document.activeElement.matches('{matched}')"):
                break
        if matched == "button.open":
            assert page.run("document.activeElement.getAttribute('aria-expanded')") == "false"
            page.press("Enter")
            assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    page.settle()
    assert page.run(LABEL).startswith("Waterfall of ")
    page.press("ArrowDown")
    assert page.run(LABEL).startswith("waited for: endpoint hold")
    assert "owner: setting" in page.run(f"!{TIP}.hidden && {TIP}.innerText")
    page.press("ArrowRight")
    second = page.run(LABEL)
    assert second.startswith("waited for: ") and "endpoint" not in second
    assert page.run("getComputedStyle(document.activeElement).outlineWidth") == "2px"
    page.press("Escape")
    assert page.run(f"{TIP}.hidden")
    seen = set()
    for _ in range(40):
        page.press("ArrowDown")
        seen.add(page.run(LABEL).rpartition(". ")[2])
    assert kind == "profile" or {samples.CASCADE, f"{samples.SIMULATED} [{STAMP}]"} <= seen


@pytest.mark.parametrize("side", ["both", "left", "right"])
def test_the_sound_plays_in_place_from_either_side(profiled: Page, side: str) -> None:
    open_turn(profiled, 6)
    audio = f"{OPEN}.querySelector('audio')"
    profiled.wait(f"{audio}.readyState >= 2")
    assert profiled.run(f"{audio}.duration") > 2
    profiled.run(f"{OPEN}.querySelector('input[value={side}]').click()")
    profiled.run(f"{audio}.play()")
    profiled.wait(f"{audio}.currentTime > 0")
    profiled.wait(f"{OPEN}.querySelector('.playhead').style.left !== ''")
    profiled.run(f"{audio}.pause()")
    x, y = middle(profiled, f"{OPEN}.querySelector('.c-endpoint')")
    before = profiled.run(f"{audio}.currentTime")
    for kind in ("mousePressed", "mouseReleased"):
        profiled.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    profiled.wait(f"{audio}.currentTime > {before} + 0.1")


def test_every_paths_reply_can_be_heard_one_at_a_time(compared: Page) -> None:
    open_row(compared, "names #1")
    sounds = f"[...{OPEN}.querySelectorAll('audio')]"
    assert compared.run(f"{sounds}.length") == PATHS
    for number in range(PATHS):
        compared.wait(f"{sounds}[{number}].readyState >= 2")
        assert compared.run(f"{sounds}[{number}].duration") > 2
    compared.run(f"{sounds}[0].play()")
    compared.wait(f"{sounds}[0].currentTime > 0")
    compared.run(f"{sounds}[1].play()")
    compared.wait(f"{sounds}[1].currentTime > 0 && {sounds}[0].paused")
    heads = f"[...{OPEN}.querySelectorAll('.playhead')]"
    compared.wait(f"!{heads}[1].hidden")
    assert compared.run(f"{heads}[2].hidden")
    compared.run(f"{sounds}[1].pause()")


def test_sound_that_is_not_inside_plays_from_the_folder(
    clean: Page, tmp_path: Path, kind: str
) -> None:
    path = write(kind, tmp_path, sound=tmp_path, most=0, repeats=1, summarised=False)
    clean.open(path.as_uri())
    open_turn(clean, 9)
    audio = f"{OPEN}.querySelector('audio')"
    clean.run(f"{audio}.play()")
    window = clean.run(f"{audio}.src").partition("#t=")[2]
    assert bool(window) == (kind == "comparison")
    clean.wait(f"{audio}.currentTime > {window.split(',')[0] or 0}")
    clean.wait(f"!{OPEN}.querySelector('.playhead').hidden")
    # The script cannot route the sound of another file.
    assert clean.run(f"{OPEN}.querySelector('.sides').querySelectorAll(':disabled').length") == 2
    clean.run(f"{audio}.pause()")


def test_a_dot_names_and_opens_its_turn(page: Page, kind: str) -> None:
    x, y = middle(page, "document.querySelector('#section-3 .strip .dot')")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = page.run(f"{TIP}.innerText")
    assert " ms" in told and (".wav" if kind == "profile" else samples.CASCADE) in told
    for press in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=press, x=x, y=y, button="left", clickCount=1)
    page.wait(f"document.querySelectorAll('{LISTS[kind]} tr.open').length === 1")


def test_all_waterfalls_of_a_row_share_one_axis(compared: Page) -> None:
    open_row(compared, "names #3")
    fall = f"{OPEN}.querySelector('.fall')"
    names = compared.run(f"[...{fall}.querySelectorAll('.groupname')].map((one) => one.innerText)")
    assert [name.split(" [")[0] for name in names] == [*samples.PATHS]
    assert STAMP in names[-1]
    spoken = compared.run(
        f"[...{OPEN}.querySelectorAll('.partsof tfoot td:nth-child(2)')]"
        ".map((one) => parseFloat(one.textContent))"
    )

    def scales() -> list[float]:
        """Pixels a millisecond by each path's latency as traced, from one zero."""
        zeros, heard = (
            compared.run(
                f"[...{fall}.querySelectorAll('.{kind}')]"
                ".map((one) => one.getBoundingClientRect().x)"
            )
            for kind in ("zero", "heard")
        )
        assert len(zeros) == len(heard) == PATHS and len(set(zeros)) == 1
        return [(x - zeros[0]) / ms for x, ms in zip(heard, spoken, strict=True)]

    before = scales()
    assert before == pytest.approx([before[0]] * PATHS, rel=0.01)
    compared.run(f"{fall}.focus()")
    compared.press("+")
    compared.settle()
    after = scales()
    assert after == pytest.approx([after[0]] * PATHS, rel=0.01)
    assert after[0] > before[0] * 1.3
    assert compared.run(f"{fall}.querySelectorAll('.wave').length") == 2 * PATHS


def test_a_row_shows_what_each_path_heard_said_and_did(compared: Page) -> None:
    open_row(compared, "archive #1")
    panels = f"[...{OPEN}.querySelectorAll('.pathpanel')]"
    assert compared.run(f"{panels}.map((one) => one.dataset.path)") == [*samples.PATHS]
    for path in range(PATHS):
        told = compared.run(f"{panels}[{path}].innerText")
        assert "search_archive(" in told and "1000000 bytes" in told
        assert "I am looking." in told
    assert compared.run(f"{panels}[1].innerText").count("met:") >= 1


def test_the_keyboard_and_the_pointer_go_along_a_curve(compared: Page) -> None:
    compared.run("document.querySelector('.curve').focus()")
    compared.press("ArrowRight")
    assert "turn 1" in compared.run(LABEL)
    compared.press("ArrowRight")
    first = compared.run(LABEL)
    assert "turn 2" in first and "95 % interval" in first and samples.CASCADE in first
    assert not compared.run(f"{TIP}.hidden")
    compared.press("ArrowDown")
    assert samples.DIRECT in compared.run(LABEL) and "turn 2" in compared.run(LABEL)
    compared.press("ArrowDown")
    assert STAMP in compared.run(LABEL)
    compared.run("document.querySelector('#section-4 details summary').click()")
    [shown, *_] = texts(compared, "#section-4 details table")
    assert first.split("%")[0].strip() in shown
    x, y = middle(compared, "document.querySelector('.point .solid')")
    compared.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    compared.wait(f"!{TIP}.hidden && {TIP}.innerText.includes('turn 1')")


def unstamped(page: Page) -> list[str]:
    """Figures, tables and sections on which the stamp cannot be seen; names that stand without."""
    found: list[str] = page.run(
        f"""(() => {{
          const shown = (node) => Boolean(node && node.getClientRects().length);
          const bare = [];
          for (const one of document.querySelectorAll("main > section")) {{
            if (!shown(one.querySelector("h2 .stamped"))) bare.push(one.id);
          }}
          for (const one of document.querySelectorAll("figure")) {{
            if (!one.querySelector("figcaption .stamped")) bare.push(one.innerText.slice(0, 80));
          }}
          for (const one of document.querySelectorAll("table")) {{
            const of = one.querySelector("caption .stamped")
              || one.closest("figure")?.querySelector("figcaption .stamped");
            if (!of) bare.push(one.outerHTML.slice(0, 120));
          }}
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          for (let node = walker.nextNode(); node; node = walker.nextNode()) {{
            const outer = node.parentElement.closest("script, style, pre, #stamp, .compared");
            if (outer || !node.data.includes("{samples.SIMULATED}")) continue;
            const near = node.parentElement.textContent;
            if (!near.includes("{STAMP}")) bare.push(near.slice(0, 100));
          }}
          return bare;
        }})()"""
    )
    return found


def test_the_stamp_is_on_everything_and_stays_in_sight(compared: Page) -> None:
    assert compared.run("document.title").startswith(STAMP)
    open_row(compared, "capital #1")
    assert unstamped(compared) == []
    compared.run("window.scrollTo(0, document.documentElement.scrollHeight)")
    compared.settle()
    box = "document.getElementById('stamp').getBoundingClientRect()"
    assert compared.run(f"{box}.top") == 0 and compared.run(f"{box}.height") > 15
    compared.call("Emulation.setEmulatedMedia", media="print")
    try:
        shown = "getComputedStyle(document.querySelector('.watermark'))"
        assert compared.run(f"{shown}.display") == "block"
        assert compared.run(f"{shown}.position") == "fixed"
        assert compared.run("document.getElementById('stamp').getClientRects().length") == 1
    finally:
        compared.call("Emulation.setEmulatedMedia", media="")


def test_measured_paths_bear_no_stamp(clean: Page, tmp_path: Path) -> None:
    paths = (samples.CASCADE, samples.DIRECT)
    clean.open(write("comparison", tmp_path, paths=paths, repeats=1).as_uri())
    open_row(clean, "sums #1")
    assert STAMP not in clean.run("document.body.innerText")
    assert clean.run("document.querySelectorAll('.stamped, #stamp, .watermark').length") == 0


def test_hostile_texts_are_shown_as_they_are(clean: Page, tmp_path: Path, kind: str) -> None:
    hostile = HOSTILE.replace("\0", "")  # of which markup has none

    def change(one: Record) -> Record:
        return replace(one, file=hostile, transcript=hostile, reply=hostile, reason=hostile)

    header = {"models": {"stt": hostile}, "judge": {"model": hostile, "prompt": hostile}}
    path = write(kind, tmp_path, change, header=header, repeats=1, summarised=False)
    clean.open(path.as_uri())
    clean.run(f"document.querySelector('{ROWS[kind]} button').click()")
    clean.settle()
    assert clean.run("document.querySelector('#evil, img')") is None
    assert clean.run("document.title").endswith(f"Cascade {kind}")
    shown = clean.run(f"{OPEN}.textContent")
    assert hostile in shown


def poor(kind: str, what: str) -> dict[str, Any]:
    """Options of `write` for a run of which there is little, or much."""
    if what == "all failed":
        return {"change": lambda one: replace(one, status="failed", marks={}, spans=())}
    if what == "none failed":
        return {"keep": lambda one: one.status == "ok"}
    if what == "nothing measured":
        return {"keep": lambda one: False}
    grid = [f"speculative stt=base.en llm=model-{size} turns.hold=0.{size}" for size in range(3, 9)]
    rich = {"profile": {"variants": (*grid, "x" * 80)}}
    return rich.get(kind, {"paths": (*samples.PATHS, "x" * 80, "a b", "wss")})


@pytest.mark.parametrize("what", ["none failed", "all failed", "nothing measured", "many systems"])
def test_a_poor_or_a_rich_run_is_drawn_too(
    clean: Page, tmp_path: Path, kind: str, what: str
) -> None:
    header = {"interrupted": True}
    path = write(kind, tmp_path, header=header, repeats=1, **poor(kind, what))
    for width in (390, 1440):
        clean.open(path.as_uri(), width=width)
        clean.run(
            "[...document.querySelectorAll('button.open')].slice(0, 3).forEach((b) => b.click())"
        )
        clean.settle()
        assert clean.run("document.documentElement.scrollWidth") <= width
    assert clean.run("document.querySelectorAll('main > section').length") == len(SECTIONS[kind])
    assert "was interrupted" in clean.run("document.getElementById('top').innerText")
