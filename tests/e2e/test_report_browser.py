"""The report in a real browser: it draws, sorts, zooms, plays, and asks nothing of the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import samples
from support.browser import Page, chromium

from pipeline.profile import report

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome is on the PATH, or this is Windows"
)

FEW = tuple(samples.SAID)[:4]
FIRST = "#section-4 tbody tr.turn"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    return report.write(folder, *samples.profile(folder, files=FEW))


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


def column(page: Page, key: str) -> list[str]:
    """What the measured turns' table shows in a column, top to bottom."""
    found: list[str] = page.run(
        f"""(() => {{
          const heads = [...document.querySelectorAll("#section-4 thead th")];
          const index = heads.findIndex((head) => head.dataset.key === "{key}");
          return [...document.querySelectorAll("{FIRST}")].map((row) => row.cells[index].innerText);
        }})()"""
    )
    return found


def test_every_section_is_drawn(page: Page) -> None:
    assert page.run("document.querySelectorAll('main > section').length") == 7
    assert page.run("document.querySelectorAll('.bars .bar svg rect.solid').length") > 3 * 3
    assert page.run("document.querySelectorAll('.bars rect.outline[fill^=\"url(\"]').length") >= 3
    assert page.run("document.querySelectorAll('.strip .dots').length") == 8 * 3
    assert page.run(f"document.querySelectorAll('{FIRST}').length") == 3 * 4 * 3
    assert page.run("document.querySelectorAll('#section-6 tbody tr.turn').length") == 3
    failures = page.run("document.querySelector('#section-5').innerText")
    assert "no reply within 15 s" in failures
    assert "the server closed the connection" in failures


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_it_fits_the_window(page: Page, file: Path, width: int, dark: bool) -> None:
    page.requests.clear()
    page.open("about:blank")
    page.open(file.as_uri(), width=width, dark=dark)
    page.run(f"document.querySelector('{FIRST} button').click()")
    page.settle()
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('.fall svg').clientWidth") <= width
    color = page.run("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") != dark


def test_text_can_be_read_against_its_background(page: Page, file: Path) -> None:
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
      const parts = PARTS_LIST.map((part) => ["--on", `--${part}`]);
      const texts = ["--ink", "--quiet", "--accent", "--bad"];
      return [...parts, ...texts.flatMap((t) => [[t, "--paper"], [t, "--raised"]])]
        .map(([a, b]) => [a, b, contrast(a, b)]).filter(([, , ratio]) => ratio < 4.5);
    })()"""
    parts = "['endpoint','stt','llm_first_token','first_clause','tts_first_audio','device','own']"
    for dark in (False, True):
        page.requests.clear()
        page.open("about:blank")
        page.open(file.as_uri(), dark=dark)
        assert page.run(script.replace("PARTS_LIST", parts)) == []


def test_the_table_sorts_both_ways(page: Page) -> None:
    button = "document.querySelector('#section-4 th[data-key=wav_ms] button')"
    for direction in ("ascending", "descending"):
        page.run(f"{button}.click()")
        head = f"{button}.closest('th').getAttribute('aria-sort')"
        assert page.run(head) == direction
        shown = [text for text in column(page, "wav_ms") if text != "–"]
        values = [float(text) for text in shown]
        assert len(values) == 3 * 4 * 3 - 3
        assert values == sorted(values, reverse=direction == "descending")
        assert column(page, "wav_ms")[-3:] == ["–"] * 3


def test_the_table_filters(page: Page) -> None:
    page.run(
        """(() => {
          const [variant, status] = document.querySelectorAll(".filters select");
          variant.value = "speculative";
          variant.dispatchEvent(new Event("change"));
        })()"""
    )
    assert set(column(page, "variant")) == {"speculative"}
    assert page.run("document.querySelector('.filters output').textContent") == "12 of 36 turns"
    page.run(
        """(() => {
          const search = document.querySelector(".filters input");
          search.value = "TIMER";
          search.dispatchEvent(new Event("input"));
        })()"""
    )
    assert set(column(page, "file")) == {"timer-ten-minutes.wav"}


def test_a_turn_opens_its_waterfall_which_zooms_and_pans(page: Page) -> None:
    page.run("location.hash = 'turn-5'")
    page.wait("Boolean(document.querySelector('#turn-5 + .detailrow .fall path.commit'))")
    fall = "document.querySelector('#turn-5 + .detailrow .fall')"
    assert page.run(f"{fall}.querySelectorAll('g.item').length") > 20
    assert page.run(
        f"Boolean({fall}.querySelector('path.commit') && {fall}.querySelector('path.heard'))"
    )
    waves = f"[...{fall}.querySelectorAll('.wave')].map((wave) => wave.getAttribute('d').length)"
    assert min(page.run(waves)) > 100
    shown = f"[...{fall}.querySelectorAll('text.tick')].map((tick) => tick.textContent).join()"
    hold = f"{fall}.querySelector('g.item.c-endpoint rect').getBoundingClientRect()"
    before, width = page.run(shown), page.run(f"{hold}.width")
    page.run(f"{fall}.focus()")
    page.press("+")
    page.settle()
    assert page.run(shown) != before
    assert page.run(f"{hold}.width") > width * 1.5
    left = page.run(f"{hold}.left")
    page.press("ArrowRight", shift=True)
    page.settle()
    assert page.run(f"{hold}.left") < left
    page.press("0")
    page.settle()
    assert page.run(shown) == before
    box = page.run(
        f"(() => {{ const b = {fall}.getBoundingClientRect(); return [b.x + 300, b.y + 40] }})()"
    )
    x, y = box
    left = page.run(f"{hold}.left")
    for kind, at in (("mousePressed", x), ("mouseMoved", x + 50), ("mouseReleased", x + 50)):
        page.call(
            "Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1, clickCount=1
        )
    page.settle()
    assert page.run(f"{hold}.left") == pytest.approx(left + 50, abs=1)


def test_the_keyboard_reaches_a_turn_and_every_piece_of_work(page: Page) -> None:
    page.run("document.querySelector('#section-4 .filters input').focus()")
    for _ in range(40):
        page.press("Tab")
        if page.run("document.activeElement.matches('button.open')"):
            break
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "false"
    page.press("Enter")
    assert page.run("document.activeElement.getAttribute('aria-expanded')") == "true"
    for _ in range(6):
        page.press("Tab")
        if page.run("document.activeElement.matches('.fall')"):
            break
    page.settle()
    assert page.run("document.activeElement.getAttribute('aria-label')").startswith(
        "Waterfall of turn"
    )
    page.press("ArrowDown")
    assert page.run("document.activeElement.getAttribute('aria-label')").startswith(
        "waited for: endpoint hold"
    )
    tip = page.run(
        "(() => { const t = document.getElementById('tip'); return !t.hidden && t.innerText })()"
    )
    assert "owner: setting" in tip
    page.press("ArrowRight")
    second = page.run("document.activeElement.getAttribute('aria-label')")
    assert second.startswith("waited for: ") and "endpoint" not in second
    assert page.run("getComputedStyle(document.activeElement.firstChild).strokeWidth") == "2px"
    page.press("Escape")
    assert page.run("document.getElementById('tip').hidden")


@pytest.mark.parametrize("side", ["both", "left", "right"])
def test_the_sound_plays_in_place_from_either_side(page: Page, side: str) -> None:
    page.run("location.hash = 'turn-6'")
    row = "document.querySelector('#turn-6 + .detailrow')"
    page.wait(f"Boolean({row})")
    audio = f"{row}.querySelector('audio')"
    page.wait(f"{audio}.readyState >= 2")
    assert page.run(f"{audio}.duration") > 2
    page.run(f"{row}.querySelector('input[value={side}]').click()")
    page.run(f"{audio}.play()")
    page.wait(f"{audio}.currentTime > 0")
    page.wait(f"{row}.querySelector('.playhead').hasAttribute('d')")
    page.run(f"{audio}.pause()")


def test_a_dot_names_and_opens_its_turn(page: Page) -> None:
    page.run("document.querySelector('#section-3').scrollIntoView()")
    page.settle()
    box = page.run(
        """(() => {
          const svg = document.querySelector(".strip.c-total svg");
          const [x, y] = svg.querySelector(".dots").getAttribute("d").slice(1).split(/[ h]/);
          const box = svg.getBoundingClientRect();
          return [box.left + Number(x), box.top + Number(y)];
        })()"""
    )
    x, y = box
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert ".wav" in page.run("document.getElementById('tip').innerText")
    for kind in ("mousePressed", "mouseReleased"):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    page.wait("document.querySelectorAll('#section-4 .detailrow').length === 1")


def test_sound_that_is_not_inside_plays_from_the_folder(browser: Page, tmp_path: Path) -> None:
    header, records = samples.profile(tmp_path, files=FEW, repeats=1)
    path = report.write(tmp_path, header, records, sound_bytes=0)
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(path.as_uri())
    browser.run("location.hash = 'turn-5'")
    audio = "document.querySelector('#turn-5 + .detailrow audio')"
    browser.wait(f"Boolean({audio})")
    browser.run(f"{audio}.play()")
    browser.wait(f"{audio}.currentTime > 0")
    # The script cannot route the sound of another file.
    sides = "document.querySelectorAll('#turn-5 + .detailrow .sides input:disabled')"
    assert browser.run(f"{sides}.length") == 2
    assert browser.errors == []


def test_many_variants_with_long_names_fit_a_phone(browser: Page, tmp_path: Path) -> None:
    grid = [f"speculative stt=base.en llm=model-{size} turns.hold=0.{size}" for size in range(3, 9)]
    names = (*grid, "x" * 80)
    path = report.write(tmp_path, *samples.profile(None, variants=names, files=FEW, repeats=6))
    browser.errors.clear()
    browser.open("about:blank")
    for width in (390, 1440):
        browser.open(path.as_uri(), width=width)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run(f"document.querySelectorAll('{FIRST}').length") == 100
        browser.run("document.querySelector('.more').click()")
        assert browser.run(f"document.querySelectorAll('{FIRST}').length") == 7 * 4 * 6
    browser.run("location.hash = 'turn-170'")
    browser.wait("Boolean(document.querySelector('#turn-170 + .detailrow'))")
    assert browser.errors == []


def test_hostile_texts_are_shown_as_they_are(browser: Page, tmp_path: Path) -> None:
    hostile = "</script><b id='evil'>x</b><img src=x onerror=document.title='evil'>"
    header, records = samples.profile(tmp_path, files=FEW, repeats=1)
    records = [replace(one, file=hostile, transcript=hostile, reply=hostile) for one in records]
    path = report.write(tmp_path, header | {"models": {"stt": hostile}}, records)
    browser.errors.clear()
    browser.open(path.as_uri())
    browser.run(f"document.querySelector('{FIRST} button').click()")
    assert browser.run("document.querySelector('#evil, img')") is None
    assert browser.run("document.title") == "Cascade profile"
    assert browser.run(f"document.querySelector('{FIRST} button').textContent") == hostile
    assert browser.errors == []


@pytest.mark.parametrize("size", ["none failed", "all failed", "no turns"])
def test_a_poor_profile_is_drawn_too(browser: Page, tmp_path: Path, size: str) -> None:
    header, records = samples.profile(None, files=FEW, repeats=1)
    if size == "all failed":
        records = [replace(one, status="timeout", marks={}, spans=()) for one in records]
    elif size == "no turns":
        records = []
    else:
        records = [one for one in records if one.status == "ok"]
    path = report.write(tmp_path, header | {"interrupted": True}, records)
    browser.errors.clear()
    browser.open("about:blank")
    browser.open(path.as_uri())
    browser.run("document.querySelectorAll('button.open').forEach((button) => button.click())")
    browser.settle()
    assert browser.run("document.querySelectorAll('main > section').length") == 7
    assert "was interrupted" in browser.run("document.getElementById('top').innerText")
    assert browser.errors == []
