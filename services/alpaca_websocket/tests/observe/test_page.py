# SPDX-License-Identifier: GPL-3.0-or-later
"""The status page in a real browser, beside a real server part whose state the test moves."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

import lifeline
from alpaca_websocket.observe import Client, Phase, State, http
from alpaca_websocket.protocol import Message, Messages
from support import wait_for

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium with its driver here (Debian: chromium, chromium-driver)"
)
T = TypeVar("T")
ODD = '<img src=x onerror="document.title=1">'


class Page:
    """The page's server on a thread of its own; the state is changed on that thread's event loop."""

    def __init__(self, *others: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.states = {name: State() for name in ("iex", *others)}
        self.state = self.states["iex"]
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.runner, self.port = self.do(http.start(self.states, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.port}/"

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        return future.result(60)

    def change(self, action: Callable[[State], object]) -> None:
        async def run() -> None:
            action(self.state)

        self.do(run())

    def close(self) -> None:
        self.do(self.runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    # Its standard input is a pipe of ours: driver and browser end with us, also when we are killed.
    driver_of_ours = tmp_path_factory.mktemp("browser") / "driver"
    driver_of_ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{lifeline.__file__}" 0 -- "{DRIVER}" "$@"\n')
    driver_of_ours.chmod(0o755)
    options = Options()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1600"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(str(driver_of_ours)))
    except WebDriverException as error:
        pytest.skip(f"the browser does not start here: {error.msg}")
    yield driver
    driver.quit()


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page()
    yield made
    made.close()


def _text(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def _console(browser: webdriver.Chrome) -> list[dict[str, Any]]:
    """What it complained of since the last time."""
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]  # selenium leaves it untyped


def _live(state: State) -> None:
    now = time.time_ns()
    state.version, state.upstream_url, state.session_open = "9.8.7", "wss://upstream.example/v2/iex", True
    state.enter(Phase.STREAMING)
    received = [Message("t", "AAPL", b"")] * 40 + [Message("q", "IBM", b"")] * 20 + [Message("b", ODD, b"")]
    state.received(Messages.of(received), 6000, now)
    state.delivered += 120
    state.relay_lag.record(1_500_000, 120)
    state.upstream_subscriptions = {"trades": ["AAPL", "IBM"], "bars": ["*"]}
    state.clients[1] = Client(
        1, "10.0.0.7:4711", now, name=ODD, subscriptions={"trades": ["AAPL"]}, delivered=120, buffered=50_000,
        buffered_highest=100_000, slow=True,
    )  # fmt: skip
    gap = state.open_gap("closed by upstream", now - 90_000_000_000)
    gap.ended_ns, gap.bars, gap.trades, gap.filled, gap.settled = now - 60_000_000_000, 3, 44, True, True


def test_a_person_sees_feed_rates_symbols_clients_and_gaps(page: Page, browser: webdriver.Chrome) -> None:
    page.change(_live)
    browser.get(page.url)

    wait_for(lambda: _text(browser, "#phase") == "Streaming", "the phase")
    wait_for(
        lambda: browser.execute_script("return document.querySelectorAll('#chart-in polygon').length") >= 3, "areas"
    )

    assert browser.execute_script("return document.querySelector('#state').dataset.status") == "ok"
    assert _text(browser, "#upstream") == "wss://upstream.example/v2/iex"
    assert "61 since the start" in _text(browser, "#total-in")
    assert "AAPL" in _text(browser, "#symbols")
    assert "10.0.0.7:4711" in _text(browser, "#clients tr.slow")
    assert "trades 1" in _text(browser, "#clients")
    assert "3 bars, 44 trades" in _text(browser, "#gaps")
    assert "30 s" in _text(browser, "#gaps")
    assert "trades\t2" in _text(browser, "#channels")
    assert "9.8.7" in _text(browser, "#version")


def test_it_follows_what_happens_and_says_what_is_wrong(page: Page, browser: webdriver.Chrome) -> None:
    page.change(_live)
    browser.get(page.url)
    wait_for(lambda: _text(browser, "#phase") == "Streaming", "the phase")

    page.change(lambda state: state.enter(Phase.HALTED, "402 auth failed"))

    wait_for(lambda: _text(browser, "#phase") == "Halted", "the new phase")
    assert "402 auth failed" in _text(browser, "#reasons")
    assert browser.title.startswith("failing")
    page.change(lambda state: state.enter(Phase.STREAMING))
    page.change(lambda state: state.clients.clear())
    wait_for(lambda: "nobody" in _text(browser, "#clients"), "the client to go")
    wait_for(lambda: not _text(browser, "#reasons"), "the reason to go")


def test_it_says_when_the_server_does_not_answer(page: Page, browser: webdriver.Chrome) -> None:
    browser.get(page.url)
    wait_for(lambda: _text(browser, "#phase") == "Starting", "the phase")
    page.do(page.runner.cleanup())
    wait_for(lambda: _text(browser, "#phase") == "No Answer", "the missing answer to be told")


def test_names_from_outside_are_text_and_nothing_is_fetched_from_elsewhere(
    page: Page, browser: webdriver.Chrome
) -> None:
    _console(browser)
    page.change(_live)
    browser.get(page.url)
    wait_for(lambda: ODD in _text(browser, "#clients"), "the odd name")

    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    fetched = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert fetched
    assert all(url.startswith(page.url) or url == "data:," for url in fetched)
    assert _console(browser) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark(page: Page, browser: webdriver.Chrome, scheme: str) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.change(_live)
    browser.get(page.url)
    wait_for(lambda: _text(browser, "#phase") == "Streaming", "the phase")
    measured = browser.execute_script(
        """
        const light = (colour) => {
          const canvas = document.createElement('canvas').getContext('2d');
          canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
          const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const card = light(getComputedStyle(document.querySelector('.tile')).backgroundColor);
        return ['.tile b', '.tile small', 'th', '#state strong', '.empty, td'].map((selector) => {
          const text = light(getComputedStyle(document.querySelector(selector)).color);
          return [selector, (Math.max(text, card) + 0.05) / (Math.min(text, card) + 0.05)];
        }).concat([['card', card]]);
        """
    )
    contrast = dict(measured)
    assert (contrast.pop("card") > 0.5) == (scheme == "light")
    assert {name: round(value, 1) for name, value in contrast.items() if value < 4.5} == {}  # WCAG AA


@pytest.mark.parametrize("width", [380, 1280])
def test_it_fits_a_phone_and_a_desk(page: Page, browser: webdriver.Chrome, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.change(_live)
    browser.get(page.url)
    wait_for(lambda: _text(browser, "#phase") == "Streaming", "the phase")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_day_is_a_click_away(page: Page, browser: webdriver.Chrome) -> None:
    browser.get(page.url)
    wait_for(lambda: _text(browser, "#phase") == "Starting", "the phase")
    button = browser.find_element("css selector", "[data-range=minutes]")
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert browser.find_element("css selector", "[data-range=seconds]").get_attribute("aria-pressed") == "false"


def test_of_several_feeds_one_is_shown_and_the_others_are_a_click_away(browser: webdriver.Chrome) -> None:
    page = Page("crypto")
    try:
        page.change(_live)
        page.states["crypto"].upstream_url = "wss://upstream.example/v1beta3/crypto/us"
        browser.get(page.url)
        wait_for(lambda: "/v2/iex" in _text(browser, "#upstream"), "the first feed")
        browser.execute_script("document.querySelector('#feeds button:nth-child(2)').click()")
        wait_for(lambda: "crypto/us" in _text(browser, "#upstream"), "the other feed")
        assert browser.current_url.endswith("#crypto")
    finally:
        page.close()
