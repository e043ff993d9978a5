# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make day`: three days on the moved clock, from provisioning to the report; and the page, in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.environments import MODELS, Environment
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from market_day import record
from market_day.page import Page
from market_day.record import Alert, Day, Mark, Step

if TYPE_CHECKING:
    from conftest import Aws, Playbook

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
LIFELINE = ROOT / "services" / "alpaca_websocket" / "tests" / "lifeline.py"
ODD = '<img src=x onerror="document.title=1">'
NEW_YORK = "America/New_York"
# From the calendar that the exchange publishes: an ordinary Tuesday, the day after Thanksgiving, Christmas Day.
USUAL, HALF, HOLIDAY = "2026-06-02", "2026-11-27", "2026-12-25"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    if not (BROWSER and DRIVER):
        why = "no Chromium with its driver here: apt-get install -y chromium chromium-driver"
        pytest.fail(why) if os.environ.get("HOSTS") == "on" else pytest.skip(why)
    # Its standard input is a pipe of ours: driver and browser end with us, also when we are killed.
    driver_of_ours = tmp_path_factory.mktemp("browser") / "driver"
    driver_of_ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{LIFELINE}" 0 -- "{DRIVER}" "$@"\n')
    driver_of_ours.chmod(0o755)
    options = Options()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1366,1400"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    try:
        driver = webdriver.Chrome(options=options, service=Service(str(driver_of_ours)))
    except WebDriverException as error:
        pytest.skip(f"the browser does not start here: {error.msg}")
    yield driver
    driver.quit()


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within a minute"
        time.sleep(0.1)


def text(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def complaints(browser: webdriver.Chrome) -> list[Any]:
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]  # selenium leaves it untyped


def played(aws: Aws, output: Path, *options: str) -> subprocess.Popen[str]:
    # It ends with us, also when we are killed.
    command = [sys.executable, str(LIFELINE), "0", str(ROOT / "tools" / "market_day" / "__main__.py"), "play"]
    command += ["--endpoint", aws.endpoint, "--environment", "qa", "--after", "2026-06-01", "--quick"]
    command += ["--output", str(output), *options]
    return subprocess.Popen(command, env=aws.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def lines_of(running: subprocess.Popen[str]) -> list[str]:
    """What it prints, as it comes."""
    lines: list[str] = []

    def read() -> None:
        assert running.stdout
        for line in running.stdout:
            lines.append(line)

    threading.Thread(target=read, daemon=True).start()
    return lines


def test_three_days_are_played_and_shown(
    fresh_aws: Aws, playbook: Playbook, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    qa = Environment(fresh_aws, playbook, "qa")
    qa.publish(*MODELS)
    qa(aws_trading_server_once_power="running")
    broken = sorted(MODELS)[0]
    running = played(fresh_aws, tmp_path / "day", "--stay")
    lines = lines_of(running)
    try:
        wait_for(lambda: lines, "the address of the page")
        url = lines[0].split()[-1]
        browser.get(url)
        complaints(browser)
        wait_for(lambda: text(browser, "#environment") == "algo-trading qa", "the environment")
        wait_for(lambda: "3 of 3 trading servers run" in text(browser, "#fleetcount"), "the servers on the page")
        while running.poll() is None and not any(line.startswith("The page stays") for line in lines):
            time.sleep(0.2)
        said = "".join(lines)
        assert running.poll() is None, said
        found = json.loads((tmp_path / "day" / "day.json").read_text())
        assert found["ok"], said
        _the_days_are_these(found, broken)
        assert f"-e 'algo_models={broken}'" in said

        wait_for(lambda: broken in text(browser, "#alerts"), "the alert on the page")
        assert "playbooks/drain.yml" in text(browser, "#alerts")
        assert "no session (holiday)" in text(browser, "#session")
        assert "trading_server does nothing and says why" in text(browser, "#steps")
        assert "0 of 3 trading servers run" in text(browser, "#fleetcount")
        wait_for(
            lambda: browser.execute_script("return document.getElementById('picture').naturalWidth") > 500,
            "the picture",
        )
        assert complaints(browser) == []
        # Nothing that opens a door is on the page.
        secrets = fresh_aws.client("secretsmanager")
        for secret in secrets.list_secrets()["SecretList"]:
            value = secrets.get_secret_value(SecretId=secret["ARN"])["SecretString"]
            assert value not in browser.page_source
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(180)
    drawn = ElementTree.parse(tmp_path / "day" / "day.svg").getroot()
    words = " ".join(drawn.itertext())
    assert all(model in words for model in MODELS)
    assert "No host ran. Nothing to do: XNYS has no session on Friday, 2026-12-25." in words
    assert "href" not in (tmp_path / "day" / "day.svg").read_text()
    # The queue that read the alerts is gone, and the clock is the machine's.
    assert not fresh_aws.client("sns").list_subscriptions()["Subscriptions"]

    hold = {"do": "hold", "record": "by a test", "until": "2099-01-01T00:00:00+00:00"}
    fresh_aws.client("ssm").put_parameter(
        Name="/algo-trading/qa/halt", Value=json.dumps({"orders": [hold]}), Overwrite=True
    )
    other = played(fresh_aws, tmp_path / "held")
    assert other.stdout
    told = other.stdout.read()  # closing its standard input would end it
    assert other.wait(60) == 1, told
    assert "✗ everything is stopped on the evening before" in told
    assert not json.loads((tmp_path / "held" / "day.json").read_text())["ok"]


def _the_days_are_these(found: dict[str, Any], broken: str) -> None:
    """By what AWS recorded, and not by what the story says of itself."""
    days = {day["day"]: day for day in found["days"]}
    assert list(days) == [USUAL, HALF, HOLIDAY]
    ends = {day: {row["name"]: clock(row["spans"], NEW_YORK) for row in days[day]["rows"]} for day in days}
    # The clock runs while a function does: on a busy machine it is some minutes later when it has ended.
    for day, stop, next_event in ((USUAL, "16:10", "16:45"), (HALF, "13:10", "16:10")):
        ran = {name: end for name, end in ends[day].items() if name in MODELS}
        assert set(ran) == set(MODELS)
        assert all("09:00" <= begin < "09:20" and stop <= end < next_event for begin, end in ran.values()), ran
        begin, end = ends[day]["alpaca_websocket"]
        assert "08:45" <= begin < "09:00"
        assert "16:45" <= end <= "17:05"
    assert set(ends[HOLIDAY].values()) == {("", "")}
    assert [len(day["alerts"]) for day in days.values()] == [1, 0, 0]
    marks = {row["name"]: [mark["kind"] for mark in row["marks"]] for row in days[USUAL]["rows"]}
    assert [name for name, kinds in marks.items() if "undrained" in kinds] == [broken]


def clock(spans: list[dict[str, Any]], zone: str) -> tuple[str, str]:
    from market_day import report

    ran = [span for span in spans if span["state"] != record.STOPPED]
    if not ran:
        return "", ""
    return report.clock(ran[0]["begin"], zone), report.clock(ran[-1]["end"], zone)


class Shown:
    """A day that was never played, with names that somebody else chose."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.day = Day(date(2026, 11, 30), NEW_YORK, 1796049000.0, 1796072400.0, "usual hours")
        row = self.day.row(f"momentum/AAPL/{ODD}", "trading_server")
        row.seen(record.BOOTING, 1796047200.0)
        row.seen(record.WORKING, 1796050000.0)
        row.seen(record.WORKING, 1796060000.0)
        row.marks.append(Mark(1796055000.0, "order", f"buy 1 {ODD}"))
        self.day.alerts.append(Alert(1796072400.0, ODD, f"{ODD}\nsecond line"))
        self.day.steps.append(Step(1796049000.0, ODD))
        self.days = {self.day.day: self.day}

    def snapshot(self) -> dict[str, Any]:
        host = {
            "id": "i-1", "component": "trading_server", "name": f"momentum/AAPL/{ODD}", "model": ODD, "state": ODD,
            "instance_state": "running", "health": "healthy", "colour": "working", "last_work_age": 1.25,
            "feed_lag": 0.4, "orders": 1234, "position": -7, "symbol": "AAPL", "reason": ODD, "gain": -2742.1,
        }  # fmt: skip
        return {
            "environment": "algo-trading local", "hosts": True, "now": 1796060000.0, "rate": 1, "zone": NEW_YORK,
            "exchange": "XNYS", "day": self.day.as_dict(), "days": [], "next": [], "fleet": [host],
            "positions": {ODD: "12"}, "prices": {ODD: "3.5"}, "cash": "100000", "orders": [], "order_count": 0,
            "in_force": [f"halt of everything, {ODD}"], "alerts": [vars(each) for each in self.day.alerts],
            "problem": "",
        }  # fmt: skip


def test_names_are_text_on_the_page_and_in_the_picture(browser: webdriver.Chrome) -> None:
    with Page(Shown()) as page:
        complaints(browser)
        browser.get(page.url)
        wait_for(lambda: ODD in text(browser, "#fleet"), "the odd name")
        assert ODD in text(browser, "#alerts")
        assert ODD in text(browser, "#orders_in_force")
        assert ODD in text(browser, "#steps")
        assert ODD in text(browser, "#positions")
        assert "1,234" in text(browser, "#fleet")
        assert "-2,742.10" in text(browser, "#fleet")
        assert text(browser, "#session").startswith("XNYS open: 09:30 to 16:00")
        assert browser.execute_script("return [...document.images].map((image) => image.id)") == ["picture"]
        fetched = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(url.startswith(page.url) for url in fetched)
        browser.get(f"{page.url}day.svg")
        assert ODD in browser.execute_script("return document.documentElement.textContent")
        assert browser.execute_script("return document.getElementsByTagName('img').length") == 0
        assert complaints(browser) == []
        browser.get(page.url)
        wait_for(lambda: ODD in text(browser, "#fleet"), "the page again")
    wait_for(lambda: "does not answer" in text(browser, "#problem"), "that the tool is gone")


def test_the_page_is_for_this_machine_only() -> None:
    import http.client

    with Page(Shown()) as page:
        address = page.url.removeprefix("http://").rstrip("/")
        assert address.startswith("127.0.0.1:")
        for host, status in ((address, 200), ("elsewhere.example", 403)):
            connection = http.client.HTTPConnection(address, timeout=10)
            connection.request("GET", "/day.json", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
