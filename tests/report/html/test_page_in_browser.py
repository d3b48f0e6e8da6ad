"""report.html in a real Chromium: what a reader sees and does, with the mouse and with the keyboard only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.html.browser import Page, start_browser
from tests.report.html.example import (
    ARABIC,
    DURATION_S,
    ENGLISH,
    EVIL,
    SYSTEMS,
    add_to_score,
    set_flags,
    write_page_run,
)
from tests.report.html.timed import OTHER, build, write_timed_run
from tests.transcribe.conftest import backbones, trained
from zipperasr.report.html import template
from zipperasr.report.html.__main__ import main

__all__ = ["backbones", "trained"]

ASSETS = Path(template.__file__).parent / "assets"
MORE = 60  # utterances: two pages of the table
ENGLISH_SET = "English, librispeech"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    driver = start_browser(tmp_path_factory.mktemp("chromium"))
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="session")
def report(tmp_path_factory, languages) -> Path:
    """A page with an interval and with flags for the first system only. Read-only."""
    run = write_page_run(tmp_path_factory.mktemp("browser"), languages.path, MORE)
    english, other = (
        run / "exp" / system / "decode_greedy_chunked" / "test_librispeech_en" / "score_wer" for system in SYSTEMS
    )
    set_flags(english, {"spk1-en00004": ["loop", "burst"]})
    set_flags(other, None)
    add_to_score(english, low=20.5, high=41.25, resampled_by="speaker")
    places = ["--exp", run / "exp", "--raw", run / "dump" / "raw", "--out", run / "report.html"]
    settings = ["--languages", languages.path, "--audio_utts", str(len(ENGLISH))]
    assert main([str(word) for word in [*places, *settings]]) == 0
    return run / "report.html"


@pytest.fixture
def page(browser, report) -> Page:
    browser.open(report)
    browser.js("try { localStorage.clear() } catch (error) {}")
    return browser


@pytest.fixture(scope="session")
def timed(tmp_path_factory, languages, trained) -> Path:
    """A page with word times. Read-only."""
    run = write_timed_run(tmp_path_factory.mktemp("timed"), trained, languages.path)
    assert build(run, languages.path) == 0
    return run / "report.html"


def numbers(cells: list[str]) -> list[float]:
    return [float(cell) for cell in cells]


def test_scores_show_rate_interval_and_the_best_system(page):
    assert page.texts("#scores tbody th span") == ["Alignment", "zipper_soft"]
    first = page.texts("#scores tbody tr:first-child td")[0]
    assert "20.5–41.3" in first and "95 % interval over speakers" in page.one("#scores td button").get_attribute(
        "title"
    )
    assert page.texts("#scores tbody tr:last-child td.best strong"), "the second system is better in English"
    assert "resampling speakers" in page.one("#scores-note").text
    headings = page.texts("#scores thead tr:last-child button span")
    assert {"WER · whisper_en", "WER · whisper", "WER · whisper_marks"} <= set(headings)


def test_a_score_opens_its_utterances(page):
    page.all("#scores tbody tr:last-child td button")[1].click()
    page.until("return document.querySelector('#status').textContent.startsWith('2 of 2')")
    assert page.one("[name=system]").get_attribute("value") == "1"
    assert page.texts("#table td.col-hypothesis")[0] == ARABIC[0][2]


@pytest.mark.parametrize("key", ["id", "speaker", "duration", "units", "errors", "rate", "S", "D", "I"])
def test_every_column_sorts_both_ways(page, key):
    orders = []
    for _ in range(2):
        page.one(f"#table th.col-{key} button").click()
        orders.append(page.one(f"#table th.col-{key}").get_attribute("aria-sort"))
        cells = page.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.title)", f"td.col-{key}")
        values = cells if key in ("id", "speaker") else numbers(page.column(key))
        assert values == sorted(values, reverse=orders[-1] == "descending")
    assert set(orders) == {"ascending", "descending"}
    assert len(page.all("#table th[aria-sort=ascending], #table th[aria-sort=descending]")) == 1


def test_the_worst_utterances_come_first(page):
    assert page.one("#table th.col-errors").get_attribute("aria-sort") == "descending"
    assert page.column("errors")[0] == "5" and page.column("reference")[0] == "stop"


def test_sorting_covers_all_pages(page):
    page.one("#table th.col-errors button").click()
    assert page.column("errors")[0] == "0"
    page.one("#next").click()
    assert page.column("errors")[-1] == "5" and page.column("reference")[-1] == "stop"


def test_a_score_table_wider_than_the_window_is_marked(page):
    """The three columns of the example fit into a wide window but not into that of a phone."""
    sign = "return getComputedStyle(document.querySelector('.frame'), '::after').content"
    assert page.js(sign) == "none"
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.until("return document.querySelector('.frame.continues') !== null")
        assert page.js(sign) == '"more →"'
        page.js("document.querySelector('.scroll').scrollLeft = 10000")
        page.until("return document.querySelector('.frame.continues') === null")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_speakers_that_only_repeat_the_ids_have_no_column(page):
    script = "".join((ASSETS / name).read_text(encoding="utf-8") for name in ("utterances.js", "table.js"))
    shown = """
        const named = [{id: "a", speaker: "a", place: 0}, {id: "s-b", speaker: "s-b", place: 1}];
        const others = [...named, {id: "s-c", speaker: "s", place: 2}];
        return [named, others].map((rows) => shownColumns(rows).some(({ key }) => key === "speaker"));
    """
    assert page.js(script + shown) == [False, True]
    assert page.all("#table th.col-speaker"), "the example's speakers have several utterances"


def test_utterances_can_be_filtered_by_text_and_rate(page):
    page.one("[name=text]").send_keys("RED")
    assert page.column("reference") == ["the red house"]
    page.one("[name=text]").clear()
    page.one("[name=text]").send_keys("e")
    page.one("[name=rate]").send_keys("33")
    assert min(numbers(page.column("rate"))) >= 33 and len(page.column("rate")) > 1
    page.one("#filters [type=reset]").click()
    assert page.one("#status").text.startswith(f"{len(ENGLISH) + MORE} of {len(ENGLISH) + MORE} utterances")


@pytest.mark.parametrize(
    ("kind", "references"),
    [
        ("D", {"we go home now", "nothing comes out"}),
        ("I", {"stop"}),
        ("empty", {"nothing comes out"}),
        ("loop", {"stop"}),
        ("burst", {"stop"}),
        ("script", set()),
    ],
)
def test_utterances_can_be_filtered_by_kind_of_error(page, kind, references):
    page.one(f"[name=kind][value={kind}]").click()
    assert set(page.column("reference")) == references


def test_filters_for_flags_are_disabled_without_flags(page):
    page.choose("system", "zipper_soft")
    page.until("return document.querySelector('[name=kind][value=loop]').disabled")
    assert "rerun stage 8" in page.one("#unflagged").text


def test_a_second_system_can_be_compared(page):
    page.choose("beside", "zipper_soft")
    page.until("return document.querySelector('#table th.col-change') !== null")
    page.one("#table th.col-change button").click()
    page.one("#table th.col-change button").click()
    assert page.column("change")[0] == "−5" and page.column("hypothesis2")[0] == "stop"
    page.all("#table tbody tr")[0].click()
    assert len(page.all("#detail .alignment")) == 2


def test_alignment_names_each_operation_by_its_letter(page):
    page.one("[name=text]").send_keys("go home")
    page.all("#table tbody tr")[0].click()
    cells = page.texts("#detail .alignment li:not(.labels) span:not(.unseen)")
    assert [cells[n : n + 3] for n in range(0, len(cells), 3)] == [
        ["we", "we", "\u00a0"], ["go", "***", "D"], ["home", "home", "\u00a0"], ["now", "now", "\u00a0"]
    ]  # fmt: skip
    assert "go → nothing deleted" in page.texts("#detail .alignment li.op-D .unseen")
    assert page.texts("#detail .raw dd") == ["we go home now", "we home now"]


def test_arabic_is_displayed_from_right_to_left(page):
    page.choose("column", "Arabic, commonvoice, WER, whisper")
    page.until("return document.querySelector('#status').textContent.startsWith('2 of 2')")
    page.all("#table tbody tr")[0].click()
    assert page.one("#detail .alignment").get_attribute("dir") == "rtl"
    first, second = page.js(
        "return [...document.querySelectorAll('.alignment li:not(.labels)')].map((e) => e.getBoundingClientRect().x)"
    )
    assert first > second
    assert page.one("#table td.col-reference").value_of_css_property("direction") == "rtl"


def test_the_table_can_be_used_with_the_keyboard_only(page):
    from selenium.webdriver.common.keys import Keys

    page.js("document.querySelector('#table tbody tr').focus()")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ARROW_DOWN)
    chosen = "return document.querySelector('[aria-selected=true]').getAttribute('aria-rowindex')"
    assert page.js(chosen) == "3" and page.js("return document.activeElement.tagName") == "TR"
    assert page.js("return document.activeElement.matches(':focus-visible')")
    page.press(Keys.END)
    assert page.js(chosen) == str(len(ENGLISH) + MORE + 1) and page.one("#page").text == "2 of 2"
    page.press(Keys.PAGE_UP)
    assert page.js(chosen) == str(len(ENGLISH) + MORE + 1 - 50) and page.one("#page").text == "1 of 2"
    page.press(Keys.HOME)
    page.press(Keys.ENTER)
    assert page.js("return document.activeElement.id") == "detail"
    page.press(Keys.ESCAPE)
    assert page.one("#detail").is_displayed() is False
    assert page.js("return document.activeElement.getAttribute('aria-rowindex')") == "2"


def test_tab_order_goes_from_the_skip_link_to_the_utterances(page):
    from selenium.webdriver.common.keys import Keys

    page.press(Keys.TAB)
    assert page.js("return document.activeElement.textContent") == "Skip to the utterances"
    page.press(Keys.ENTER)
    assert page.js("return document.activeElement.id") == "utterances"
    page.press(Keys.TAB)
    assert page.js("return document.activeElement.name") == "system"
    assert page.js("return [...document.querySelectorAll('select, input')].every((e) => e.closest('label'))")
    assert len(page.all("#table tbody tr[tabindex='0']")) == 1


def test_audio_next_to_the_page_can_be_played(page, report):
    from selenium.webdriver.common.keys import Keys

    page.one("[name=text]").send_keys("stop")
    page.all("#table tbody tr")[0].click()
    source = page.one("#detail audio").get_attribute("src")
    assert source == (report.parent / "report_audio" / "test_librispeech_en" / "spk1-en00004.flac").as_uri()
    assert page.one("#detail audio").get_dom_attribute("src").startswith("report_audio/")
    page.until("return document.querySelector('audio').readyState >= 1")
    assert page.js("return document.querySelector('audio').duration") == pytest.approx(DURATION_S, abs=0.01)
    page.press(Keys.SPACE)
    page.until("return document.querySelector('audio').currentTime > 0.1")
    assert page.js("return document.querySelector('audio').error") is None


WORDS = "#detail .raw .word"
WATCH = """
    window.played = new Promise((done) => {
      const audio = document.querySelector("#detail audio");
      const heard = new Set();
      const timer = setInterval(() => {
        for (const word of document.querySelectorAll("#detail .word.heard")) heard.add(word.title);
      }, 5);
      audio.addEventListener("pause", () => { clearInterval(timer); done([audio.currentTime, [...heard]]); });
    });"""


def test_a_word_plays_its_span_by_mouse_and_keyboard_and_is_marked_meanwhile(browser, timed):
    from selenium.webdriver.common.keys import Keys

    browser.open(timed)
    browser.one("[name=text]").send_keys("s-1")
    browser.all("#table tbody tr")[0].click()
    browser.until("return document.querySelector('#detail audio').readyState >= 1")
    assert browser.texts(WORDS) == browser.texts("#detail .raw dd")[1].split()
    words = browser.all(WORDS)
    spans = [tuple(map(float, word.get_attribute("title").split()[:3:2])) for word in words]  # `0.32 to 0.58 s, ...`
    start_s, end_s = max(spans, key=lambda span: span[1] - span[0])
    word = words[spans.index((start_s, end_s))]
    for play in (word.click, lambda: word.send_keys(Keys.ENTER)):
        browser.js(WATCH)
        play()
        stopped_s, heard = browser.driver.execute_async_script("window.played.then(arguments[0])")
        assert start_s < end_s <= stopped_s <= end_s + 0.1
        assert word.get_attribute("title") in heard
    assert browser.all(f"{WORDS}.heard") == []
    assert browser.complaints() == []


def test_words_show_their_confidence(browser, timed):
    browser.open(timed)
    browser.one("[name=text]").send_keys("s-1")
    browser.all("#table tbody tr")[0].click()
    for word in browser.all(WORDS):
        title = word.get_attribute("title")
        doubt = float(browser.js("return arguments[0].style.getPropertyValue('--doubt')", word))
        assert title.endswith(f", confidence {1 - doubt:.2f}")


def test_an_utterance_without_word_times_has_no_buttons(browser, timed):
    browser.open(timed)
    browser.one("[name=text]").send_keys(OTHER)
    browser.all("#table tbody tr")[0].click()
    assert browser.texts("#detail .raw h4") == ["Before normalisation"] and browser.all(WORDS) == []


def test_an_utterance_without_audio_says_why(page):
    page.one("[name=text]").send_keys("en00006")
    page.all("#table tbody tr")[0].click()
    assert f"only the {len(ENGLISH)} utterances" in page.one("#detail .heading").text


def test_a_transcript_that_looks_like_code_is_shown_as_text(page):
    from selenium.common.exceptions import NoAlertPresentException

    page.one("[name=text]").send_keys("onerror")
    assert len(page.column("reference")) == 1
    page.all("#table tbody tr")[0].click()
    assert EVIL in page.texts("#detail .raw dd")
    assert page.all("main img, main script") == []
    with pytest.raises(NoAlertPresentException):
        page.driver.switch_to.alert.accept()


def test_confusions_filter_the_table(page):
    page.one("#confusions summary").click()
    page.until("return document.querySelector('#confusions li') !== null")
    assert page.texts("#confusions li")[0] == f"{MORE}words→birds"
    (house,) = [button for button in page.all("#confusions li button") if button.text == "house→mouse"]
    house.click()
    assert page.column("reference") == ["the red house"]
    assert "substituted: house → mouse" in page.one("#status").text


def test_light_and_dark(page):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = page.js(ground)
    page.one("#theme").click()
    assert page.js(ground) != light and page.one("#theme").get_attribute("aria-pressed") == "true"
    page.one("#theme").click()
    assert page.js(ground) == light
    page.js("delete document.documentElement.dataset.theme")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert page.js(ground) != light
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_shows_everything_without_horizontal_scrolling(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.all("#table tbody tr")[0].click()
        assert page.js("return document.documentElement.scrollWidth") == 390
        assert page.one("#table td.col-hypothesis").is_displayed()
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_makes_no_requests_and_the_console_is_empty(page, report):
    page.all("#table tbody tr")[0].click()
    page.until("return document.querySelector('audio').readyState >= 1")
    page.one("#confusions summary").click()
    page.choose("column", "Arabic")
    page.until("return document.querySelector('#status').textContent.startsWith('2 of 2')")
    home = report.parent.as_uri() + "/"
    requested = page.requests()
    assert report.as_uri() in requested and any("report_audio" in url for url in requested)
    assert [url for url in requested if not url.startswith((home, "data:"))] == []
    assert page.complaints() == []


def test_the_policy_blocks_foreign_requests(page):
    refused = page.driver.execute_async_script(
        "const done = arguments[0]; document.addEventListener('securitypolicyviolation', (e) => done(e.blockedURI));"
        "fetch('https://example.invalid/').catch(() => null)"
    )
    assert refused == "https://example.invalid/"
