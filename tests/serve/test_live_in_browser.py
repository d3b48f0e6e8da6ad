"""Live text on the page, in a real Chromium whose microphone plays a file."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
import soxr

from tests.report.html.browser import start_browser
from tests.serve.live import NAME, Live, running
from tests.serve.test_model_queue import wait_for_requests
from tests.serve.test_page_in_browser import MICROPHONE, ServedPage
from tests.transcribe.sound import RATE, noise, silence, speech
from zipperasr.serve.limits import Limits
from zipperasr.serve.service import Service
from zipperasr.transcribe import Segment, Transcriber
from zipperasr.transcribe.pcm import PcmReader

PARAGRAPHS = "#live-text bdi"
SPY = """
    window.sent = [];
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (data) {
      if (typeof data !== "string") window.sent.push(...new Uint8Array(data));
      else window.rateHz ??= JSON.parse(data).session.audio.input.format.rate;
      send.call(this, data);
    };"""
SENT = "return btoa(window.sent.map((byte) => String.fromCharCode(byte)).join(''))"


@pytest.fixture(scope="module")
def served(chunked) -> Iterator[Live]:
    with running(Service(chunked, NAME, Limits())) as live:
        yield live


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    """Two utterances with silence around them."""
    parts = [silence(0.5), speech("de", "eins zwei drei"), silence(1.0), speech("de", "vier fünf sechs"), silence(1.0)]
    samples = np.concatenate(parts)
    return samples + noise(len(samples) / RATE + 1, 9, 1e-3)[: len(samples)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory, said) -> Iterator[ServedPage]:
    path = tmp_path_factory.mktemp("said") / "said.wav"
    soundfile.write(path, said, RATE)
    file = f"--use-file-for-fake-audio-capture={path}%noloop"
    driver = start_browser(tmp_path_factory.mktemp("chromium"), *MICROPHONE, file)
    yield ServedPage(driver)
    driver.quit()


@pytest.fixture
def page(browser, served) -> ServedPage:
    browser.visit(served)
    return browser


def begin(page: ServedPage, language: str = "German") -> None:
    page.choose("language", language)
    page.one("#speak").click()
    page.until("return document.querySelector('#speak').textContent.startsWith('Stop')")


def end(page: ServedPage) -> None:
    page.one("#speak").click()
    page.until("return document.querySelector('#speak').textContent === 'Live'")


def streamed(transcriber: Transcriber, data: bytes, rate: int) -> list[Segment]:
    reader, stream = PcmReader(rate), transcriber.stream("de")
    events = [*stream.feed(reader.read(data)), *stream.feed(reader.flush()), *stream.finish()]
    return [event for event in events if isinstance(event, Segment)]


def similarity(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest correlation of `wanted` with a part of `found`."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size)))
    return float(products.max() / (np.linalg.norm(found) * np.linalg.norm(wanted)))


def test_what_is_said_is_shown_as_the_model_transcribes_it(page, chunked, served, said):
    page.js(SPY)
    begin(page)
    page.until("return document.querySelector('#live-open .unstable') !== null")
    page.until("return document.querySelectorAll('#live-text p').length === 2")
    end(page)
    assert page.error == "" and page.one("#status").text == "Done."
    data, rate = base64.b64decode(page.js(SENT)), page.js("return window.rateHz")
    assert page.texts(PARAGRAPHS) == [segment.text for segment in streamed(chunked, data, rate)]
    heard = soxr.resample(np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate, RATE)
    assert similarity(heard, said) > 0.5, "the file was heard; a busy Chromium leaves out blocks of it"
    assert page.one("#live-text").get_attribute("lang") == "de"
    assert page.complaints() == []
    wait_for_requests(served, 0)


COLORS = """
    const shown = [".note", "#live-open .unstable", "#live-open bdi"].map((place) => document.querySelector(place));
    return shown.every((found) => found) && shown.map((found) => getComputedStyle(found).color);"""


def test_what_may_change_is_grey_and_moves_into_a_finished_paragraph(page):
    begin(page)
    muted, unstable, text = page.until(COLORS)
    assert unstable == muted != text
    page.until("return document.querySelectorAll('#live-text p').length > 0")
    assert page.js("return document.querySelector('#live-text time').textContent").startswith("0:00.")
    end(page)
    assert page.one("#live-open").text == "" and page.all("#live .unstable") == []


def test_segments_are_drawn_from_events(page):
    """With events of the protocol: the stable beginning, doubts, a failure."""
    item = "conversation.item.input_audio_transcription"
    page.js("window.shown = new LiveText(); shown.clear('de')")
    page.js("shown.show(arguments[0])", {"type": "input_audio_buffer.speech_started", "audio_start_ms": 61_500})
    page.js("shown.show(arguments[0])", {"type": f"{item}.delta", "zipperasr": {"text": "ein <b>", "stable": "ein"}})
    assert page.texts("#live-open time") == ["1:01.5"] and page.texts("#live-open .unstable") == [" <b>"]
    done = {"start_s": 61.5, "doubts": ["a loop"]}
    page.js("shown.show(arguments[0])", {"type": f"{item}.completed", "transcript": "ein Wort", "zipperasr": done})
    assert page.texts(PARAGRAPHS) == ["ein Wort"] and page.texts("#live-open bdi") == []
    assert page.one("#live-text mark").get_attribute("title") == "doubtful: a loop"
    failed = {"type": f"{item}.failed", "error": {"message": "internal error"}}
    assert page.js("return shown.show(arguments[0])", failed) == "internal error"
    assert page.js("return shown.text") == "ein Wort"


def test_a_language_must_be_selected(page):
    assert not page.one("#speak").is_enabled()
    assert page.one("#speak-note").text == "For live text, select a language."
    assert page.one("#speak").get_attribute("aria-describedby") == "speak-note"
    page.choose("language", "German")
    assert page.one("#speak").is_enabled() and not page.one("#speak-note").is_displayed()
    page.choose("language", "Detect")
    assert not page.one("#speak").is_enabled()


def test_a_model_with_full_context_has_no_live_text(browser, transcriber):
    with running(Service(transcriber, NAME, Limits())) as live:
        browser.visit(live)
        browser.choose("language", "German")
        assert not browser.one("#speak").is_enabled()
        assert browser.one("#speak-note").text == "No live text: this model's encoder needs whole recordings."


def test_live_text_can_be_used_with_the_keyboard_only(page):
    from selenium.webdriver.common.keys import Keys

    page.one("[name=language]").send_keys("G")
    page.js("document.querySelector('#speak').focus()")
    page.press(Keys.ENTER)
    page.until("return document.querySelectorAll('#live-text p').length > 0")
    assert page.js("return document.activeElement.id") == "speak"
    page.press(Keys.SPACE)
    page.until("return document.querySelector('#speak').textContent === 'Live'")
    assert page.js("return document.activeElement.id") == "speak" and page.error == ""
    page.press(Keys.TAB, Keys.TAB)
    assert page.js("return document.activeElement.closest('#live, form') !== null")


def test_nothing_else_can_be_started_meanwhile(page):
    begin(page)
    for selector in ("[name=file]", "#record", "#send", "[name=language]"):
        assert not page.one(selector).is_enabled()
    assert page.one("#speak").get_attribute("aria-pressed") == "true"
    end(page)
    assert page.one("#record").is_enabled() and page.one("[name=language]").is_enabled()


def test_the_text_so_far_stays_when_the_connection_is_lost(browser, chunked):
    with running(Service(chunked, NAME, Limits())) as live:
        browser.visit(live)
        begin(browser)
        browser.until("return document.querySelectorAll('#live-text p').length > 0")
        text = browser.texts(PARAGRAPHS)[0]
        live.service.refuse_further()
        browser.until("return !document.querySelector('#error').hidden")
        assert browser.error == "the server is shutting down; try again later; the text so far is kept"
        assert browser.texts(PARAGRAPHS)[0] == text and browser.one("#live").is_displayed()
        assert browser.one("#speak").text == "Live"


def test_errors_of_the_server_are_shown_in_words(browser, chunked):
    with running(Service(chunked, NAME, Limits(max_streams=1))) as live:
        browser.visit(live)
        browser.js("window.other = new WebSocket(location.origin.replace('http', 'ws') + '/v1/realtime')")
        browser.until("return window.other.readyState === 1")
        browser.choose("language", "German")
        browser.one("#speak").click()
        browser.until("return !document.querySelector('#error').hidden")
        assert "streams" in browser.error and browser.one("#speak").text == "Live"
    browser.one("#speak").click()
    browser.until("return document.querySelector('#error').textContent.includes('still running')")
    assert browser.one("#speak").is_enabled()


KEEP_STREAM = """
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => (window.stream = await open(wanted));"""
RELEASED = "return window.stream.getTracks().every((track) => track.readyState === 'ended')"


@pytest.mark.parametrize("broken", ["window.AudioContext", "AudioContext.prototype.createMediaStreamSource"])
def test_a_capture_that_cannot_start_releases_the_microphone(page, served, broken):
    page.js(KEEP_STREAM)
    page.js(f"{broken} = function () {{ throw new Error('no capture') }}")
    page.choose("language", "German")
    page.one("#speak").click()
    page.until("return !document.querySelector('#error').hidden")
    assert page.error == "no capture" and page.js(RELEASED)
    assert page.one("#speak").text == "Live" and page.one("#speak").is_enabled()
    wait_for_requests(served, 0)


def test_stop_releases_the_microphone_even_if_the_capture_does_not_respond(page, served):
    page.js(KEEP_STREAM)
    page.js("MessagePort.prototype.postMessage = () => {}")
    begin(page)
    page.one("#speak").click()
    assert page.js(RELEASED)
    end(page)
    assert page.error == ""
    wait_for_requests(served, 0)


def test_the_policy_allows_sockets_to_this_server_only(page, served):
    refused = """
        const done = arguments[1];
        document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
        new WebSocket(arguments[0]).onopen = () => done("open");"""
    assert page.driver.execute_async_script(refused, "ws://example.invalid/") == "connect-src"
    assert page.driver.execute_async_script(refused, f"ws://127.0.0.1:{served.port}/v1/realtime") == "open"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_shows_live_text_without_horizontal_scrolling(page, theme):
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.js("document.documentElement.dataset.theme = arguments[0]", theme)
    try:
        begin(page)
        page.until("return document.querySelectorAll('#live-text p').length > 0")
        assert page.js("return document.documentElement.scrollWidth") <= 360
        end(page)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
