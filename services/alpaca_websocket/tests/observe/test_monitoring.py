# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard and the alert rules beside a real server, and beside a real Prometheus where there is one."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shutil
import socket
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from serving import calling
from support import ROOT, Process, Server, StandIn, ended, get, wait_for

MONITORING = ROOT / "monitoring"
ALERTS = MONITORING / "alerts.yml"
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
JOB = "alpaca-websocket"
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
# PromQL's words that are followed by no bracket.
WORDS = {"and", "or", "unless", "bool", "offset"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """All that Prometheus is asked, with the dashboard's variables filled in as Grafana would."""
    found = [rule["expr"] for rule in rules()]
    found += [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    found += [re.sub(r"label_values\((.*), \w+\)", r"\1", each["query"]["query"]) for each in variables]
    names = {"$__rate_interval": "1m"} | {f"${each['name']}": ".*" for each in variables}
    for name, value in names.items():
        found = [expression.replace(name, value) for expression in found]
    return found


class Selector(NamedTuple):
    metric: str
    labels: frozenset[str]


def selectors(expression: str) -> Iterator[Selector]:
    """The metrics that a PromQL expression names, and the labels it matches."""
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", expression)
    text = re.sub(r"\[[^\]]*\]", "", text)
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])(?:\{([^}]*)\})?", text.replace("1e9", "1")):
        if name not in WORDS and not re.search(rf'"[^"]*\b{name}\b[^"]*"', text):
            yield Selector(name, frozenset(re.findall(r"(\w+)\s*(?:=|!)", re.sub(r'"[^"]*"', "", matchers))))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, StandIn]]:
    """One that has seen something: messages, a client, a wrong key, a lost connection."""
    standin = StandIn(rate=20)
    with ended(standin):
        wanted = {"trades": ["*"], "quotes": ["*"], "bars": ["*"]}
        made = Server(tmp_path_factory.mktemp("server"), standin, upstream={"subscribe": wanted})
        with ended(made):

            async def clients() -> None:
                async with calling(made.url, key=None) as stranger:
                    assert (await stranger.ask(action="auth", key="nobody", secret=""))["code"] == 402
                async with calling(made.url, key="key-1", secret="secret-1") as client:
                    await client.ask(action="subscribe", trades=["*"])
                    await client.until(lambda item: item["T"] == "t")

            asyncio.run(clients())
            standin.control("abort")
            wait_for(lambda: made.status()["gaps"], "a gap")
            made.phase("streaming")
            yield made, standin


def test_every_metric_and_label_that_is_asked_for_is_there(server: tuple[Server, StandIn]) -> None:
    text = get(f"{server[0].page}/metrics")[1]
    labels: dict[str, set[str]] = {"up": set()}
    for family in text_string_to_metric_families(text):
        for ending in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",)):
            labels.setdefault(family.name + ending, set())
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    asked = {selector for expression in expressions() for selector in selectors(expression)}
    assert {selector.metric for selector in asked} - labels.keys() == set()
    # What Prometheus adds itself, and nothing that a metric without samples so far cannot tell.
    wrong = {each for each in asked if labels[each.metric] and each.labels - labels[each.metric] - {"job", "instance"}}
    assert wrong == set()
    told = sum(bool(labels[each.metric]) for each in asked)
    assert told > 0.7 * len(asked)


def test_the_names_in_an_expression_are_found() -> None:
    """The test above is worth as much as this."""
    found = set(selectors('sum by (feed) (rate(a_total{x="y z", b!~"c"}[5m])) / on (q) d > 1e9 and time() - e == 0'))
    assert found == {Selector("a_total", frozenset({"x", "b"})), Selector("d", frozenset()), Selector("e", frozenset())}


def test_the_phases_that_are_asked_for_exist(server: tuple[Server, StandIn]) -> None:
    text = get(f"{server[0].page}/metrics")[1]
    there = set(re.findall(r'phase="(\w+)"', text))
    assert set(re.findall(r'phase="(\w+)"', " ".join(expressions()))) <= there


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "action"}
    cases = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    fired = {check["alertname"] for case in cases for check in case["alert_rule_test"] if check.get("exp_alerts")}
    assert fired == set(names), "each needs a case in alerts_test.yml in which it fires"


def test_the_dashboard_is_one_that_grafana_can_show() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in itertools.combinations((panel["gridPos"] for panel in every), 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in every)
    defined = {each["name"] for each in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) == defined
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            # A legend's labels are those that are left after the sum.
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for summed in re.findall(r"sum by \(([^)]*)\)", target["expr"]):
                assert legend <= set(summed.split(", ")), target["expr"]


@pytest.mark.skipif(not PROMTOOL, reason="no promtool here, so the alerts' own tests are not run (Debian: prometheus)")
@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]])
def test_promtool_accepts_the_alerts_and_their_tests(command: list[str]) -> None:
    done = subprocess.run([str(PROMTOOL), *command], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


class Prometheus(Process):
    """A real one, that scrapes the server and evaluates the alerts every second."""

    def __init__(self, directory: Path, server: Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        directory.mkdir(exist_ok=True)
        scrape = {"job_name": JOB, "static_configs": [{"targets": [server.page.removeprefix("http://")]}]}
        timing = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": timing, "rule_files": [str(ALERTS)], "scrape_configs": [scrape]}
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://{address}/api/v1"
        super().__init__(
            "--", str(PROMETHEUS), f"--config.file={directory}/prometheus.yml", f"--web.listen-address={address}",
            f"--storage.tsdb.path={directory}/data", "--log.format=json", stream="stderr",
        )  # fmt: skip
        self.expect(lambda said: "ready to receive" in said.get("msg", ""), "that Prometheus is ready")

    def kill(self) -> None:
        """The program is a child of its lifeline, which ends it when it is told to end and not when it is killed."""
        self.stop()

    def ask(self, path: str, **query: str) -> Any:
        status, text = get(f"{self.url}/{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(text)
        assert (status, answer["status"]) == (200, "success"), text
        return answer["data"]

    def alerts(self) -> list[dict[str, Any]]:
        """Each with its name, its state and whether it could be evaluated."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def state(self, alert: str) -> str:
        """Either inactive, pending or firing."""
        return next(str(rule["state"]) for rule in self.alerts() if rule["name"] == alert)


@pytest.mark.skipif(not PROMETHEUS, reason="no Prometheus here, so none has scraped the server (Debian: prometheus)")
def test_a_real_prometheus_scrapes_the_server_and_judges_it(server: tuple[Server, StandIn], tmp_path: Path) -> None:
    ours, standin = server
    prometheus = Prometheus(tmp_path / "prometheus", ours)
    with ended(prometheus):
        wait_for(lambda: len(prometheus.ask("query", query="count_over_time(up[1m]) > 3")["result"]), "some scrapes")
        answers = {expression: prometheus.ask("query", query=expression)["result"] for expression in expressions()}
        shown = [target["expr"] for panel in panels() for target in panel["targets"]]
        filled = sum(
            bool(answers[expression])
            for expression in answers
            if expression.startswith(("alpaca", "rate", "histogram"))
        )
        assert filled > 0.5 * len(shown)
        [healthy] = prometheus.ask("query", query="alpaca_websocket_healthy")["result"]
        assert (healthy["metric"]["feed"], healthy["metric"]["job"], healthy["value"][1]) == ("iex", JOB, "1")
        assert {rule["name"] for rule in prometheus.alerts()} == {rule["alert"] for rule in rules()}
        wait_for(
            lambda: all(
                rule["health"] == "ok" for group in prometheus.ask("rules")["groups"] for rule in group["rules"]
            ),
            "all alerts to be evaluated",
        )
        assert prometheus.state("MarketDataNobodyStreams") == "inactive"
        standin.kill()
        wait_for(lambda: prometheus.state("MarketDataNobodyStreams") == "pending", "the loss to be noticed")
        ours.kill()
        wait_for(lambda: prometheus.state("MarketDataServerDown") == "pending", "the server to be missed")
