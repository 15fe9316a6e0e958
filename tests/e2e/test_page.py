"""The page in a real browser, whose microphone plays a recording."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
from servers.llm_server import Answer, LlmServer, Request, reply
from support.browser import Page, chromium
from support.cli_child import (
    HUMAN,
    REAL,
    needs_people,
    read_wav,
    recording,
    require_models,
)
from support.cli_child import scripted as scripted_llm
from support.page_server import PageServer, page_server
from support.pictures import pixels_of
from support.realtime_client import RATE, scripted
from support.report_page import HOSTILE
from support.serve_child import cascade_serve
from websockets.sync.client import connect

from pipeline.events import Samples
from pipeline.pictures import MOST_SIDE
from pipeline.serve import page as page_module
from pipeline.serve.script import ScriptedTurn
from pipeline.serve.speech import hum

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium or Chrome is on the PATH, or this is Windows"
)

SHORT = "It is nine o'clock."
LONG = "This is a reply that takes so long that somebody will interrupt it. " * 3
QUESTION, AGAIN = "what time is it", "never mind"

TAP = """
{
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    const { context } = this;
    if (to === context.destination && context.sampleRate === 24000) {
      const tap = context.createMediaStreamDestination();
      tap.channelCount = 1;
      connect.call(this, tap);
      const recorder = new MediaRecorder(tap.stream, { mimeType: "audio/webm;codecs=pcm" });
      const pieces = [];
      recorder.ondataavailable = ({ data }) => pieces.push(data);
      recorder.start();
      window.recorded = () =>
        new Promise((done) => {
          const reader = new FileReader();
          reader.onload = () => done(reader.result);
          recorder.onstop = () => reader.readAsDataURL(new Blob(pieces));
          recorder.stop();
        });
    }
    return connect.call(this, to, ...rest);
  };
}
"""
"""Records what the page gives the loudspeaker, as it is."""


def text(selector: str) -> str:
    return f"(document.querySelector({selector!r})?.innerText ?? '')"


STATE, TRANSCRIPT, PROBLEM = text("#state"), text("#transcript"), text("#problem:not([hidden]) p")
SPOKEN, WORD = text(".assistant .spoken"), text(".assistant mark")


class Visit:
    """A page that is open.

    Args:
        browser: Where.
        url: Of the page.
    """

    def __init__(self, browser: Page, url: str, **size: Any) -> None:
        self.browser = browser
        self.run, self.wait, self.press = browser.run, browser.wait, browser.press
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=TAP)
        browser.open(url, **size)

    def write(self, words: str) -> None:
        """Type where the focus is."""
        self.browser.call("Input.insertText", text=words)

    def key(self, kind: str, key: str = " ") -> None:
        """`keyDown` or `keyUp`."""
        self.browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code="Space", windowsVirtualKeyCode=32
        )

    def focus(self, selector: str) -> None:
        """Go there by the Tab key."""
        for _ in range(30):
            if self.run(f"document.activeElement.matches({selector!r})"):
                outline = "getComputedStyle(document.activeElement).outlineStyle"
                assert self.run(outline) != "none", f"nobody sees that {selector} has the focus"
                return
            self.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {selector}")

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({selector!r}).click()")

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The events of a type that the page has sent."""
        return self._events(kind, sent=True)

    def got(self, kind: str) -> list[dict[str, Any]]:
        """The events of a type that the page was sent."""
        return self._events(kind, sent=False)

    def _events(self, kind: str, *, sent: bool) -> list[dict[str, Any]]:
        self.run("0")  # what has happened meanwhile is told first
        events = [json.loads(frame) for mine, frame in self.browser.frames if mine is sent]
        return [event for event in events if event["type"] == kind]

    def wait_for_sent(self, kind: str, count: int = 1) -> dict[str, Any]:
        for _ in range(600):
            if len(found := self.sent(kind)) >= count:
                return found[count - 1]
            self.browser.settle()
        raise TimeoutError(kind)

    def played(self) -> Samples:
        """All that the loudspeaker was given so far."""
        data = self.run("recorded()").partition(",")[2]
        with av.open(io.BytesIO(base64.b64decode(data))) as container:
            blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        sound = np.concatenate([block.reshape(-1) for block in blocks])
        return np.round(sound * 32768).astype(np.int16)


def microphone(folder: Path, *, pause_s: float, said: Path | None = None) -> Path:
    """Somebody says something, and is silent after it."""
    samples, rate = read_wav(said or recording(1))
    sound = np.concatenate([np.zeros(rate), samples[:, 0], np.zeros(round(pause_s * rate))])
    path = folder / "microphone.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(sound.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("chromium")
    with Page(folder / "profile", microphone(folder, pause_s=5)) as page:
        yield page


@pytest.fixture
def browser(one_browser: Page) -> Iterator[Page]:
    """A browser; nothing may go wrong in it, and nothing but its server be asked."""
    page = one_browser
    page.open("about:blank")
    page.errors.clear()
    page.requests.clear()
    page.frames.clear()
    yield page
    page.run("0")
    errors, requests = list(page.errors), set(page.requests)
    page.run("sessionStorage?.clear(); localStorage?.clear()")
    page.open("about:blank")
    assert errors == []
    assert (
        len({url.split("/")[2] for url in requests if not url.startswith(("about:", "data:"))}) <= 1
    )


@pytest.fixture
def server() -> Iterator[PageServer]:
    turns = ScriptedTurn(QUESTION, LONG), ScriptedTurn(AGAIN, SHORT)
    with page_server(scripted(*turns, latency_ms=700)) as server:
        yield server


def test_it_hears_and_answers_and_is_interrupted(browser: Page, server: PageServer) -> None:
    page = Visit(browser, server.url)
    assert page.run(STATE) == "Not connected"
    page.click("#talk")
    page.wait(f"{STATE} === 'Hearing you'")
    page.wait(f"{TRANSCRIPT}.includes({QUESTION!r})")
    # A word lights up, and then a later one.
    page.wait(f"{WORD} && {SPOKEN}.length > 10")
    before = page.run(SPOKEN)
    page.wait(f"{SPOKEN}.length > {len(before) + 10}")
    assert LONG.startswith(before)
    assert page.run(SPOKEN).startswith(before)
    assert page.run(STATE) == "Speaking"
    # The recording begins again, and that interrupts.
    truncated = page.wait_for_sent("conversation.item.truncate")
    page.wait(f"{TRANSCRIPT}.includes({SHORT!r})")
    page.wait(f"{STATE} === 'Listening'")
    [item] = page.got("conversation.item.truncated")
    assert item["item_id"] == truncated["item_id"]
    kept = page.run(SPOKEN)
    assert LONG.startswith(kept) and len(before) < len(kept) < len(LONG.strip())
    # What was played is what was sent, to the sample, until it stopped; and so was it told.
    whole = page.played()
    places = np.flatnonzero(np.abs(whole) > 100)
    gap = int(np.argmax(np.diff(places)))
    first, second = whole[places[0] : places[gap] + 1], whole[places[gap + 1] : places[-1] + 1]
    assert len(first) == pytest.approx(truncated["audio_end_ms"] * RATE / 1000, abs=130)
    np.testing.assert_allclose(first[:-130], hum(LONG)[: len(first) - 130], atol=1)
    np.testing.assert_allclose(second, hum(SHORT)[: len(second)], atol=1)
    assert len(second) == pytest.approx(len(hum(SHORT)), abs=60)


def test_it_is_used_by_the_keyboard_alone(browser: Page, server: PageServer) -> None:
    page = Visit(browser, server.url)
    page.focus("#settings summary")
    page.press("Enter")
    page.focus("#turns")
    page.run("document.activeElement.value = 'hold'")  # a list of the system's, not of the page
    page.run("document.activeElement.dispatchEvent(new Event('change', { bubbles: true }))")
    page.run("document.activeElement.dispatchEvent(new Event('input', { bubbles: true }))")
    page.focus("#instructions")
    page.write("Be brief. Say it all.")
    page.focus("#words")
    page.write("good morning")
    page.press("Enter")
    page.wait(f"{TRANSCRIPT}.includes('good morning')")
    page.wait(f"{STATE} === 'Speaking'")
    [update] = page.sent("session.update")
    assert update["session"]["instructions"] == "Be brief. Say it all."
    assert update["session"]["audio"]["input"]["turn_detection"] is None
    # The space bar is a space where one writes, and elsewhere the button that is held.
    page.write("a b")
    page.key("keyDown")
    page.key("keyUp")
    assert page.sent("input_audio_buffer.append") == []
    page.focus("#talk")
    page.key("keyDown")
    page.wait(f"{STATE} === 'Hearing you'")
    page.wait_for_sent("conversation.item.truncate")
    page.wait_for_sent("input_audio_buffer.append", 50)
    page.key("keyUp")
    page.wait_for_sent("response.create", 2)
    page.wait(f"{TRANSCRIPT}.includes({SHORT!r})")
    assert len(page.sent("input_audio_buffer.commit")) == 1
    held = len(page.sent("input_audio_buffer.append"))
    page.wait(f"{STATE} === 'Ready'")
    assert len(page.sent("input_audio_buffer.append")) == held
    page.focus(".timing summary")
    page.press("Enter")
    assert "ms" in page.run(text(".timing[open] .fall"))
    # What cannot hold a button, such as a screen reader, presses it twice.
    page.click("#talk")
    page.wait(f"{STATE} === 'Hearing you'")
    assert page.run("document.querySelector('#talk').ariaPressed") == "true"
    page.wait_for_sent("input_audio_buffer.append", held + 20)
    page.click("#talk")
    page.wait_for_sent("response.create", 3)
    page.wait(f"{STATE} === 'Speaking'")


def test_it_comes_back_by_itself_with_what_was_said(browser: Page) -> None:
    turn = ScriptedTurn(QUESTION, SHORT)
    with page_server(scripted(turn)) as first:
        page = Visit(browser, first.url)
        page.focus("#words")
        page.write("good morning")
        page.press("Enter")
        page.wait(f"{TRANSCRIPT}.includes({SHORT!r}) && {STATE} === 'Ready'")
    page.wait(f"{PROBLEM}.includes('Trying again in')")
    assert page.run(STATE) == "Not connected"
    page.write("are you there")
    page.press("Enter")
    browser.frames.clear()
    with page_server(scripted(turn, ScriptedTurn("", "I am.")), port=first.port):
        page.wait(f"{TRANSCRIPT}.includes('I am.') && {STATE} === 'Ready'")
        assert page.run(PROBLEM) == ""
        said = [
            (event["item"]["role"], event["item"]["content"][0]["text"])
            for event in page.sent("conversation.item.create")
        ]
        assert said == [("user", "good morning"), ("assistant", SHORT), ("user", "are you there")]
    # That nobody answered is in the console, as it should be.
    assert all(
        "ERR_CONNECTION_REFUSED" in error or "WebSocket" in error for error in browser.errors
    )
    browser.errors.clear()


TOKEN = "a-secret-of-the-server"


def test_it_asks_for_the_token_and_keeps_it_for_the_tab_only(browser: Page) -> None:
    with page_server(scripted(ScriptedTurn(QUESTION, SHORT)), token=TOKEN) as server:
        page = Visit(browser, server.url)
        page.focus("#words")
        page.write("good morning")
        page.press("Enter")
        for token, said in (("wrong", "asks for its token"), (TOKEN, "does not know this token")):
            page.wait(f"{PROBLEM}.includes({said!r})")
            assert page.run("document.activeElement.id") == "key"
            page.write(token)
            page.press("Enter")
        page.wait(f"{TRANSCRIPT}.includes({SHORT!r}) && {STATE} === 'Ready'")
        assert page.run(PROBLEM) == ""
        assert page.run("document.querySelector('#token').hidden")
        assert TOKEN in page.run("JSON.stringify(sessionStorage)")
        assert TOKEN not in page.run("JSON.stringify(localStorage) + document.cookie")
        assert not any(TOKEN in url for url in browser.requests)
    assert all("401" in error for error in browser.errors) and len(browser.errors) == 2
    browser.errors.clear()


def test_it_says_that_the_server_is_full_and_waits(browser: Page) -> None:
    with page_server(scripted(ScriptedTurn(QUESTION, SHORT)), sessions=1) as server:
        url = f"ws{server.url[4:]}v1/realtime"
        with connect(url) as other:
            other.recv()
            page = Visit(browser, server.url)
            page.click("#talk")
            page.wait(f"{PROBLEM}.includes('as many sessions as it may have')")
            assert "Trying again in 10 s" in page.run(PROBLEM)
            browser.resize(375, 740)
            button = "document.querySelector('#problem button')"
            assert page.run(f"{button}.scrollWidth <= {button}.clientWidth")
        page.focus("#problem button")
        page.press("Enter")
        page.wait(f"{STATE} === 'Listening'")
        assert page.run(PROBLEM) == ""
    assert all("503" in error or "WebSocket" in error for error in browser.errors)
    browser.errors.clear()


def test_it_says_that_there_is_no_microphone_and_goes_on_in_writing(
    tmp_path: Path, server: PageServer
) -> None:
    with Page(tmp_path) as browser:
        page = Visit(browser, server.url)
        page.click("#talk")
        page.wait(f"{PROBLEM}.includes('you can write meanwhile')")
        assert "There is no microphone" in page.run(PROBLEM)
        assert page.run("document.querySelector('#talk').getAttribute('aria-pressed')") == "false"
        page.focus("#words")
        page.write("good morning")
        page.press("Enter")
        page.wait(f"{STATE} === 'Speaking'")
        assert browser.errors == []


def test_it_says_how_to_allow_the_microphone(tmp_path: Path, server: PageServer) -> None:
    permission = {"permission": {"name": "microphone"}, "origin": server.url}
    said = microphone(tmp_path, pause_s=5)
    with Page(tmp_path / "profile", said, allowed=False) as browser:
        browser.call("Browser.setPermission", **permission, setting="denied")
        page = Visit(browser, server.url)
        page.click("#talk")
        page.wait(f"{PROBLEM}.includes('Allow it')")
        browser.call("Browser.setPermission", **permission, setting="granted")
        page.click("#talk")
        page.wait(f"{STATE} === 'Hearing you'")
        assert page.run(PROBLEM) == ""
        assert browser.errors == []


def test_settings_are_kept_and_a_new_voice_is_a_new_session(
    browser: Page, server: PageServer
) -> None:
    page = Visit(browser, server.url)
    page.click("#settings summary")
    page.focus("#words")
    page.write("good morning")
    page.press("Enter")
    page.wait(f"{STATE} === 'Speaking' && {SPOKEN}.length > 20")
    page.run("document.querySelector('#speed').focus()")
    page.press("ArrowRight")
    sound = page.wait_for_sent("session.update", 2)["session"]["audio"]
    assert sound["output"]["speed"] == 1.05
    assert sound["input"]["turn_detection"] == {"type": "semantic_vad", "eagerness": "auto"}
    page.run("document.querySelector('#voice').focus()")
    page.write("somebody")
    page.press("Enter")
    assert page.wait_for_sent("session.update", 3)["session"]["audio"]["output"] == {
        "speed": 1.05,
        "voice": "somebody",
    }
    assert page.sent("conversation.item.create")[1]["item"]["content"][0]["text"] == "good morning"
    # What was begun on the line before is still heard, and can be interrupted.
    page.wait(f"{STATE} === 'Speaking' && {SPOKEN}.length > 30")
    page.focus("#words")
    page.write("never mind")
    page.press("Enter")
    deleted = page.wait_for_sent("conversation.item.delete")["item_id"]
    page.wait_for_sent("conversation.item.create", 5)
    before, again = (
        event["item"]["content"][0]["text"]
        for event in page.sent("conversation.item.create")
        if event["item"]["id"] == deleted
    )
    assert LONG.startswith(before) and before.startswith(again) and len(again) > 20
    page.wait(f"{STATE} === 'Ready'")
    browser.open(server.url)
    assert page.run("[speed, voice].map(({ value }) => value)") == ["1.05", "somebody"]


def test_what_is_said_is_text_and_nothing_else(browser: Page) -> None:
    with page_server(scripted(ScriptedTurn(QUESTION, HOSTILE))) as server:
        page = Visit(browser, server.url)
        page.focus("#words")
        page.write(HOSTILE)
        page.press("Enter")
        page.wait(f"{STATE} === 'Speaking'")
        page.wait(f"{STATE} === 'Ready'")
        assert page.run(TRANSCRIPT).count("<b id='evil'>bold</b>") == 2
        assert page.run("document.title + document.querySelectorAll('b, img').length") == "Cascade0"


CONTRAST = """(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map((n) =>
      n / 255 <= 0.04045 ? n / 255 / 12.92 : ((n / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : color;
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => node.checkVisibility() && [...node.childNodes].some((child) =>
      child.nodeType === Node.TEXT_NODE && child.data.trim()))
    .map((node) => {
      const [x, y] = [getComputedStyle(node).color, behind(node)].map(light).sort((p, q) => q - p);
      return [node.className || node.id || node.tagName, (x + 0.05) / (y + 0.05)];
    });
})()"""


@pytest.mark.parametrize(("width", "dark"), [(360, False), (360, True), (1100, True)])
def test_it_fits_a_phone_and_can_be_read_by_day_and_night(
    browser: Page, server: PageServer, width: int, dark: bool
) -> None:
    page = Visit(browser, server.url, width=width, height=740, dark=dark)
    for words, until in (
        ("מה השעה עכשיו, בבקשה?", f"{SPOKEN}.length > 20"),
        ("wordwithoutanyend" * 12, f"{TRANSCRIPT}.includes({SHORT!r})"),
    ):
        page.focus("#words")
        page.write(words)
        page.press("Enter")
        page.wait(until)
    page.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.wait(f"{STATE} === 'Ready'")
    page.click("#talk")
    page.wait(f"{STATE} === 'Listening'")
    browser.settle()
    assert page.run("document.documentElement.scrollWidth") <= width
    right = "getComputedStyle(document.querySelector('.user p')).direction"
    assert page.run(right) == "rtl"
    color = page.run("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") != dark
    ratios = page.run(CONTRAST)
    assert len(ratios) > 20, ratios
    assert [one for one in ratios if one[1] < 4.5] == []
    sizes = "[...document.querySelectorAll('button, input, select')].map((b) => b.offsetHeight)"
    assert min(size for size in page.run(sizes) if size) >= 40


def test_nothing_is_sent_on_a_line_that_closes(browser: Page, server: PageServer) -> None:
    """Browsers complain of that, and of a server that leaves they tell a moment later."""
    page = Visit(browser, server.url)
    page.click("#talk")
    page.wait_for_sent("input_audio_buffer.append", 3)
    closing = "Object.defineProperty(WebSocket.prototype, 'readyState', { get: () => 2 })"
    page.run(f"Boolean({closing})")
    sent = len(page.sent("input_audio_buffer.append"))
    page.run("new Promise((done) => setTimeout(done, 500))")
    assert len(page.sent("input_audio_buffer.append")) == sent


def shown(page: Visit) -> tuple[str, Any]:
    """The picture that the page sent last: of which item, and its pixels."""
    item = page.wait_for_sent("conversation.item.create")["item"]
    [part] = item["content"]
    assert part["type"] == "input_image"
    kind, _, data = part["image_url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return item["id"], pixels_of(base64.b64decode(data), "mjpeg")


def test_it_shows_a_picture_of_the_camera(
    browser: Page, server: PageServer, tmp_path: Path
) -> None:
    page = Visit(browser, server.url, width=360, height=740)
    page.focus("#camera")
    page.press("Enter")
    page.wait("document.activeElement.textContent === 'Show this'")
    # Who leaves shows nothing, and the camera is off.
    page.press("Escape")
    page.wait("!document.querySelector('#viewfinder').open")
    assert page.run("document.activeElement.id") == "camera"
    page.press("Enter")
    page.wait("document.activeElement.textContent === 'Show this'")
    browser.picture(tmp_path / "viewfinder.png")
    assert page.run("document.documentElement.scrollWidth") <= 360
    page.press("Enter")
    page.wait("document.querySelector('.user img')?.naturalWidth > 0")
    item, pixels = shown(page)
    assert max(pixels.shape) <= MOST_SIDE and pixels.std() > 20, "a picture of something"
    page.wait("document.querySelector('#said').textContent === 'You: A picture of the camera'")
    assert page.run("document.querySelector('.user img').alt") == "A picture of the camera"
    assert page.run("document.querySelector('#viewfinder video').srcObject") is None
    # It belongs to what is said next.
    assert page.sent("response.create") == []
    page.focus("#words")
    page.write("what is this")
    page.press("Enter")
    page.wait(f"{STATE} === 'Speaking'")
    assert page.wait_for_sent("conversation.item.create", 2)["item"]["content"][0]["text"]
    assert page.got("conversation.item.done")[0]["item"]["id"] == item
    page.run("document.querySelector('img').scrollIntoView()")
    browser.picture(tmp_path / "camera.png")


def test_a_picture_outlives_its_connection(browser: Page) -> None:
    turn = ScriptedTurn(QUESTION, SHORT)
    with page_server(scripted(turn)) as server:
        page = Visit(browser, server.url)
        page.click("#camera")
        page.wait("document.activeElement.textContent === 'Show this'")
        page.click("#viewfinder button")
        first = page.wait_for_sent("conversation.item.create")
    with page_server(scripted(turn), port=server.port):
        again = page.wait_for_sent("conversation.item.create", 2)
        assert again["item"] == first["item"]
        page.wait(f"{STATE} === 'Ready'")
        assert page.sent("response.create") == []
    browser.errors.clear()


def test_it_shows_a_picture_of_the_screen(browser: Page, server: PageServer) -> None:
    page = Visit(browser, server.url)
    page.focus("#screen")
    page.press("Enter")
    page.wait("document.querySelector('.user img')?.naturalWidth > 0")
    _, pixels = shown(page)
    assert 200 < max(pixels.shape) <= MOST_SIDE
    assert page.run("document.querySelector('.user img').alt") == "A picture of the screen"


def test_who_may_not_see_says_so(browser: Page, server: PageServer) -> None:
    page = Visit(browser, server.url)
    page.run(
        "navigator.mediaDevices.getUserMedia = navigator.mediaDevices.getDisplayMedia ="
        " () => Promise.reject(new DOMException('', 'NotAllowedError'))"
    )
    page.click("#screen")  # the user chose none
    page.click("#camera")
    page.wait(f"{PROBLEM}.includes('keeps the camera from this page')")
    assert page.sent("conversation.item.create") == []


RESAMPLED = """(async () => {{
  const context = new OfflineAudioContext(1, {rate}, {rate});
  await context.audioWorklet.addModule("page/capture.js");
  const node = new AudioWorkletNode(context, "capture", {{ outputChannelCount: [1] }});
  const pieces = [];
  node.port.onmessage = ({{ data }}) => pieces.push(...new Int16Array(data.pcm));
  node.connect(context.destination);
  for (const frequency of {frequencies}) {{
    const tone = new OscillatorNode(context, {{ frequency }});
    tone.connect(new GainNode(context, {{ gain: 0.25 }})).connect(node);
    tone.start();
  }}
  await context.startRendering();
  await new Promise((done) => setTimeout(done, 300));
  return pieces;
}})()"""


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_the_microphones_rate_becomes_that_of_the_line(
    browser: Page, server: PageServer, rate: int
) -> None:
    page = Visit(browser, server.url)
    tones = [1000, 5000] if rate == 16_000 else [1000, 5000, 15_000]
    sound = np.array(page.run(RESAMPLED.format(rate=rate, frequencies=tones))) / 32768
    assert len(sound) == pytest.approx(RATE, abs=RATE // 50 + 20)
    spectrum = np.abs(np.fft.rfft(sound[2400:21_600] * np.hanning(19_200))) / 19_200 * 4
    at = {hz: spectrum[round(hz * 19_200 / RATE)] for hz in (1000, 5000)}
    assert at == pytest.approx({1000: 0.25, 5000: 0.25}, rel=0.03)
    for hz in at:
        spectrum[round(hz * 19_200 / RATE) - 8 :][:17] = 0
    # What is above 12 kHz is no tone at 9 kHz: nothing else is louder than -60 dB.
    assert spectrum.max() < 0.25e-3


async def test_every_file_of_the_page_is_served_with_what_it_may_do(server: PageServer) -> None:
    folder = Path(page_module.__file__).with_suffix("")
    names = {f"page/{path.name}" for path in folder.iterdir()} - {"page/index.html"}
    async with httpx2.AsyncClient(base_url=server.url) as client:
        for name in ("", *names, "page/look.css"):
            answer = await client.get(name)
            assert answer.status_code == 200
            policy = answer.headers["content-security-policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "connect-src 'self'"} <= set(policy)
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["permissions-policy"] == (
                "microphone=(self), camera=(self), display-capture=(self)"
            )
        assert (await client.get("page/../page.py")).status_code == 404


def answer(request: Request) -> Answer:
    """A long reply to the first thing that is said, a short one to any other."""
    said = [message for message in request.body["messages"] if message["role"] == "user"]
    return reply(SHORT if len(said) > 1 else LONG)


@contextlib.contextmanager
def cascade(env: Mapping[str, str]) -> Iterator[tuple[str, LlmServer]]:
    """`cascade serve`; gives the URL of its page, and what writes its replies."""
    with (
        scripted_llm(otherwise=answer) as llm,
        cascade_serve("--llm", llm.url, env=env) as there,
    ):
        yield f"{there.http}/", llm


def hold_a_conversation(page: Visit, llm: LlmServer, words: str) -> None:
    """The recording is understood and answered, interrupts the answer, and is answered again."""
    page.click("#talk")
    page.wait(f"{text('.user')}.toLowerCase().includes({words!r})")
    page.wait(f"{STATE} === 'Speaking' && {SPOKEN}.length > 10")
    truncated = page.wait_for_sent("conversation.item.truncate")
    page.wait(f"{text('.assistant:last-child')}.includes({SHORT!r}) && {STATE} === 'Listening'")
    kept = page.run(SPOKEN)
    assert LONG.startswith(kept) and 10 < len(kept) < len(LONG.strip())
    [item] = page.got("conversation.item.truncated")
    assert item["audio_end_ms"] == truncated["audio_end_ms"]
    # What the model is reminded of is what the page shows as heard, give or take a few words:
    # within a piece of sound the page takes speech to be even.
    said = [each["content"] for each in llm.requests[-1].body["messages"]]
    [heard] = [each for each in said if LONG.startswith(each.removesuffix(" …")[:10])]
    assert abs(len(heard.split()) - len(kept.split())) <= 3
    assert page.run("document.querySelectorAll('.user').length") == 2
    # The server's parts and what is left of the page's own make up the whole.
    page.run("document.querySelectorAll('.timing').forEach((one) => (one.open = true))")
    rows = page.run(
        "[...document.querySelectorAll('.assistant:last-child .fall li')]"
        ".map((row) => [...row.childNodes].map((cell) => cell.textContent).filter(Boolean))"
    )
    assert {"endpoint", "line, device"} <= {name for name, _ in rows}
    total = int(page.run(text(".assistant:last-child .total")).split()[1])
    assert sum(int(ms.split()[0]) for _, ms in rows) == pytest.approx(total, abs=len(rows))
    assert page.browser.errors == []


@pytest.fixture
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A browser whose microphone plays the recording that the test names."""
    with Page(tmp_path / "profile", microphone(tmp_path, pause_s=7, said=request.param)) as page:
        yield page


@pytest.mark.parametrize("fresh", [None], indirect=True)
def test_it_talks_to_the_cascade(fresh: Page) -> None:
    with cascade({}) as (url, llm):
        hold_a_conversation(Visit(fresh, url), llm, "turn on the television")


@needs_people
@pytest.mark.parametrize("fresh", [HUMAN / "azure" / "whatstheweatherlike.wav"], indirect=True)
def test_it_hears_a_person(fresh: Page) -> None:
    require_models("stt", "tts")
    with cascade(REAL) as (url, llm):
        hold_a_conversation(Visit(fresh, url), llm, "weather like")
