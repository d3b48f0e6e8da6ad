"""A real headless Chromium, and the page in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

REMEDY = "on Debian: apt install chromium chromium-driver; pip install -e '.[dev]' brings selenium"
# the browser's own network requests are disabled, so that all requests come from the page
ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
ARGUMENTS += ("--disable-background-networking", "--disable-component-update", "--window-size=1280,900", "--mute-audio")


def start_browser(user_data: Path, *more: str):
    """Start Chromium; skips the test if Chromium, its driver or selenium is missing. `more`: arguments of Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason=f"no selenium; {REMEDY}")
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"no {' and no '.join(missing)}; {REMEDY}")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for argument in (*ARGUMENTS, *more, f"--user-data-dir={user_data}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(programs["chromedriver"]))


class Page:
    """What a reader of the page sees and does."""

    def __init__(self, driver):
        from selenium.webdriver.support.wait import WebDriverWait

        self.driver = driver
        self._wait = WebDriverWait(driver, 15, poll_frequency=0.02)

    def open(self, path: Path) -> None:
        """Load the page and clear the log."""
        self.driver.get("about:blank")
        self.driver.get_log("performance"), self.driver.get_log("browser")
        self.driver.get(path.as_uri())
        self.until("return document.querySelectorAll('#table tbody tr').length > 0")

    def js(self, script: str, *arguments: object):
        return self.driver.execute_script(script, *arguments)

    def until(self, script: str):
        """Wait until `script` returns something true, and return it."""
        return self._wait.until(lambda _: self.js(script), message=script)

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def column(self, key: str) -> list[str]:
        return self.texts(f"#table td.col-{key}")

    def choose(self, name: str, text: str) -> None:
        """Select an entry of a list by the beginning of its text."""
        self.one(f"[name={name}]").find_element("xpath", f"option[starts-with(., '{text}')]").click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def requests(self) -> list[str]:
        """Addresses that the page has requested since it was opened."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def complaints(self) -> list[str]:
        """Lines in the browser's console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]
