"""The page in a real Chromium with a simulated microphone: choose, drop, record, transcribe; by mouse and keyboard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.model import tiny
from tests.report.html.browser import Page, start_browser
from tests.serve.live import NAME, Live, as_file, recording, running
from tests.serve.test_model_queue import Gated, gated, wait_for_requests
from zipperasr.serve.limits import Limits
from zipperasr.serve.samples import Sample
from zipperasr.serve.service import Service

MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
EVIL = "<img src=x onerror=alert(1)>.wav"


class ServedPage(Page):
    """What a user does with the page of a running server."""

    def visit(self, live: Live) -> None:
        self.driver.get("about:blank")
        self.driver.get_log("performance"), self.driver.get_log("browser")
        self.driver.get(live.url)
        self.until("return document.querySelector('#model').textContent !== ''")

    def upload(self, path: Path) -> None:
        self.one("[name=file]").send_keys(str(path))
        self.until("return !document.querySelector('#send').disabled || !document.querySelector('#error').hidden")

    def drop(self, name: str, data: bytes) -> None:
        script = """
            const bytes = Uint8Array.from(atob(arguments[1]), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], arguments[0]));
            const how = {dataTransfer, bubbles: true, cancelable: true};
            const drop = document.querySelector("#drop");
            for (const type of ["dragover", "drop"]) drop.dispatchEvent(new DragEvent(type, how));"""
        self.js(script, name, base64.b64encode(data).decode())
        self.until("return !document.querySelector('#send').disabled || !document.querySelector('#error').hidden")

    def transcribe(self) -> None:
        self.one("#send").click()
        self.until("return !document.querySelector('#result').hidden || !document.querySelector('#error').hidden")

    @property
    def error(self) -> str:
        return self.one("#error").text


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[ServedPage]:
    driver = start_browser(tmp_path_factory.mktemp("chromium"), *MICROPHONE)
    yield ServedPage(driver)
    driver.quit()


@pytest.fixture
def page(browser: ServedPage, live: Live) -> Iterator[ServedPage]:
    browser.visit(live)
    yield browser
    foreign = [url for url in browser.requests() if not url.startswith((live.url, "data:", "blob:", "about:"))]
    assert foreign == []


@pytest.fixture
def speech(tmp_path) -> Path:
    path = tmp_path / "speech.flac"
    path.write_bytes(recording(kind="FLAC"))
    return path


def test_a_file_is_transcribed_in_the_selected_language(page, speech, live):
    page.upload(speech)
    assert page.one("#name").text == "speech.flac"
    page.until("return document.querySelector('#player').duration === 1.5")
    page.choose("language", "German")
    page.transcribe()
    expected = live.post(speech.read_bytes(), "speech.flac", language="de").json()["text"]
    assert page.js("return document.querySelector('#text').textContent") == expected
    assert page.one("#text").get_attribute("lang") == "de"
    assert page.one("#taken").text.startswith("1.5 s of audio, transcribed in ")
    assert page.one("#language-note").text == "German was selected, so no language was detected."
    assert page.complaints() == []


def test_a_detected_language_is_shown_with_probabilities(page, speech, live):
    page.upload(speech)
    page.transcribe()
    own = live.post(speech.read_bytes(), "speech.flac", response_format="verbose_json").json()["zipperasr"]
    likeliest = sorted(own["language_probabilities"].items(), key=lambda item: -item[1])
    names = {language.code: language.name for language in tiny.table()}
    assert page.texts("#languages th") == [f"{names[code]} ({code})" for code, _ in likeliest]
    assert page.texts("#languages td:last-child") == [f"{100 * share:.1f} %" for _, share in likeliest]
    assert page.texts("#languages tr[aria-current=true] th") == [f"{names[likeliest[0][0]]} ({likeliest[0][0]})"]
    script = "return [...document.querySelectorAll('.gauge')].map((g) => g.firstChild.offsetWidth / g.clientWidth)"
    assert page.js(script) == pytest.approx([share for _, share in likeliest], abs=0.02)


def test_unlikely_languages_are_collapsed(page):
    probabilities = {"de": 0.97, "es": 0.024, "ja": 0.006}
    page.js(f"drawLanguages({probabilities}, 'de', {{code: 'de', name: 'German'}}, {{languages: []}})")
    page.js("document.querySelector('#result').hidden = false")
    assert page.texts("#languages th") == ["de (de)", "es (es)"]
    assert page.one("#unlikely summary").text == "1 below 1 %" and not page.one("#unlikely th").is_displayed()
    page.one("#unlikely summary").click()
    assert page.texts("#unlikely th") == ["ja (ja)"]


def test_doubtful_segments_are_marked_in_the_text(page):
    segments = [("good", []), ("плохо", ["written in another script"]), ("", []), ("end", [])]
    parts = [
        {"start": i, "end": i + 1, "text": text, "note": "", "doubts": why} for i, (text, why) in enumerate(segments)
    ]
    own = {"language_code": "de", "language_probabilities": {}, "transcribed_s": 1, "waited_s": 0}
    answer = {"text": "good плохо end", "segments": parts, "duration": 4, "zipperasr": own}
    page.js("drawText(arguments[0], 'de'); document.querySelector('#result').hidden = false", answer)
    assert page.one("#text").text == "good плохо end"
    assert page.texts("#text mark") == ["плохо"]
    assert page.texts("#notes li") == ["0:01.0 to 0:02.0: doubtful: written in another script"]


def test_a_sample_is_loaded_and_transcribed_in_its_language(browser, transcriber):
    samples = {"ja": Sample("what was said", recording())}
    with running(Service(transcriber, NAME, Limits(), samples)) as live:
        browser.visit(live)
        assert browser.texts("#samples button") == ["Japanese"]
        browser.one("#samples button").click()
        browser.until("return !document.querySelector('#send').disabled")
        assert browser.one("[name=language]").get_attribute("value") == "ja"
        browser.transcribe()
        assert browser.one("#reference").text == "What was said: what was said"
        browser.drop("other.wav", recording())
        browser.transcribe()
        assert not browser.one("#reference").is_displayed()


def test_router_weights_are_shown_as_a_table(page, speech, transcriber):
    page.upload(speech)
    page.choose("language", "Japanese")
    page.transcribe()
    adapters = transcriber.opened.model.adapters
    mean = adapters.specific_shares()[:, tiny.CODES.index("ja")].mean(-1)
    by_name = dict(zip(adapters.layers, mean.tolist(), strict=True))
    columns = page.texts("#router thead th")[1:]
    for number, row in enumerate(page.all("#router tbody tr")):
        cells = [cell.text for cell in row.find_elements("css selector", "td")]
        own = {name.split(".")[-1]: p for name, p in by_name.items() if name.startswith(f"layers.{number}.")}
        assert [float(cell) for cell in cells] == pytest.approx([own[column] for column in columns], abs=6e-4)
    assert len(page.all("#router td")) == len(by_name)
    assert f"Mean of all layers: {mean.mean():.3f}." in page.one("#router-note").text


def test_for_a_model_without_a_router_there_is_a_note(page):
    page.js("drawRouter(null, 'de', {code: 'de', name: 'German'})")
    assert page.js("return document.querySelector('#router-note').textContent").endswith("variant has no router.")


def test_a_dropped_file_is_accepted_and_its_name_is_escaped(page):
    page.drop(EVIL, recording())
    assert page.one("#name").text == EVIL
    page.transcribe()
    assert page.all("img") == [] and page.error == ""


def test_the_microphone_is_recorded_and_transcribed(page):
    page.one("#record").click()
    page.until("return document.querySelector('#record').textContent.startsWith('Stop  0:01')")
    assert page.one("#record").get_attribute("aria-pressed") == "true"
    page.one("#record").click()
    page.until("return !document.querySelector('#send').disabled")
    assert page.one("#name").text == "recording.webm" and "sent as WAV" in page.one("#size").text
    page.until("return document.querySelector('#player').duration > 0.5")
    page.transcribe()
    assert page.error == ""
    assert float(page.one("#taken").text.split()[0]) > 0.5
    assert page.complaints() == []


def test_audio_decoded_by_the_browser_keeps_its_samples(page):
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    script = """
        const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const done = arguments[arguments.length - 1];
        wavOf(new Blob([bytes]), "a.b.m4a").then(async (file) => {
          const view = new Uint8Array(await file.arrayBuffer());
          done([file.name, btoa(String.fromCharCode(...view))]);
        });"""
    stereo = as_file(np.stack([samples, 0 * samples], axis=1))
    name, wav = page.driver.execute_async_script(script, base64.b64encode(stereo).decode())
    assert name == "a.b.wav"
    found = base64.b64decode(wav)
    assert found[:44] == as_file(samples)[:44]
    assert np.allclose(np.frombuffer(found[44:], "<i2") / 32768, samples / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("notes.wav", b"no audio", "notes.wav: cannot be decoded (Format not recognised.)"),
        ("notes.txt", b"no audio", "notes.txt: neither the server nor this browser can decode it"),
        ("none.wav", b"", "none.wav: empty"),
        ("big.wav", bytes(2**20 + 1), "big.wav: larger than 1 MB; send flac or mp3, or split the recording"),
        ("long.ogg", recording(21, "OGG"), "long.ogg: longer than 20 s; split the recording"),
    ],
)
def test_errors_are_shown_and_cleared_by_the_next_recording(page, name, data, message):
    page.drop(name, data)
    if page.one("#send").is_enabled():
        page.transcribe()
    assert page.error.startswith(message)
    assert not page.one("#result").is_displayed()
    page.drop("speech.wav", recording())
    assert page.error == "" and page.one("#send").is_enabled()


def test_silence_is_reported(page):
    page.drop("silence.wav", as_file(np.zeros(16_000, dtype=np.float32)))
    page.transcribe()
    assert page.one("#text").text == "No text."
    assert page.texts("#notes li")[0].startswith("0:00.0 to 0:01.0: silence")
    assert page.one("#router-note").text == "No weights without a language."


def test_segments_can_be_played_from_their_start(browser, transcriber):
    with running(Service(transcriber, NAME, Limits(max_mb=4))) as live:
        browser.visit(live)
        browser.drop("long.wav", recording(40))
        browser.transcribe()
        starts = browser.texts("#segments button")
        assert len(starts) >= 2 and starts[0].startswith("▶ 0:00.0 – ")
        browser.all("#segments button")[1].click()
        second = starts[1].removeprefix("▶ 0:").split(" ")[0]
        browser.until(f"return document.querySelector('#player').currentTime >= {float(second) - 0.1}")


def test_a_request_can_be_cancelled(browser, transcriber):
    service: Gated = gated(transcriber)
    with running(service) as live:
        browser.visit(live)
        browser.drop("speech.wav", recording())
        browser.one("#send").click()
        assert service.reached.wait(10)
        browser.one("#cancel").click()
        browser.until("return document.querySelector('#status').textContent === 'Cancelled.'")
        wait_for_requests(live, 0)
        assert browser.one("#send").is_enabled()


def test_a_stopped_server_is_reported(browser, transcriber):
    with running(Service(transcriber, NAME, Limits())) as live:
        browser.visit(live)
        browser.drop("speech.wav", recording())
    browser.transcribe()
    assert browser.error == "the server does not respond; is it still running?"


def test_the_page_can_be_used_with_the_keyboard_only(page, speech):
    from selenium.webdriver.common.keys import Keys

    page.upload(speech)
    assert page.js("return document.activeElement.id") == "send"
    page.one("#send").send_keys(Keys.SHIFT + Keys.TAB)
    assert page.js("return document.activeElement.name") == "language"
    page.press("J", Keys.TAB, Keys.ENTER)
    page.until("return !document.querySelector('#result').hidden")
    assert page.one("#text").get_attribute("lang") == "ja"
    assert page.js("return document.activeElement.id") == "result"


def test_a_phone_shows_everything_without_horizontal_scrolling(page, speech):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        page.upload(speech)
        page.transcribe()
        assert page.js("return document.documentElement.scrollWidth") <= 360
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_has_a_dark_mode(page):
    page.one("#theme").click()
    assert page.one("#theme").get_attribute("aria-pressed") == "true"
    assert page.js("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 28)"
    page.one("#theme").click()
