"""What `make day` shows of hosts: one that hangs, or whose trader is dead, is not shown as working."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ansible_collections.algo.trading.plugins.module_utils._naming import Scope
from ansible_collections.algo.trading.plugins.module_utils.sessions import Calendar
from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, Yard
from market_day import record, watch
from market_day.cloud import Cloud
from market_day.watch import Watch

pytestmark = pytest.mark.hosts

TRADES = """echo '{"healthy": true, "state": "trading"}'"""
DEAD = """echo '{"healthy": false, "state": "trading", "reason": "the unit failed"}'; exit 1"""
HANGS = "exec sleep 600"


def says(host: Host, status: str) -> None:
    """What the host's own command tells of it."""
    host.run(f"cat > /usr/local/bin/algo-host <<'END'\n#!/bin/sh\n{status}\nEND\nchmod 755 /usr/local/bin/algo-host")


@pytest.fixture
def servers(yard: Yard, pair: list[Host]) -> Iterator[list[Host]]:
    """The shared hosts as an environment's trading servers."""
    tags = {**Scope("algo-trading", "seen").tags("trading_server"), "Model": "a/B/c-outer_0_inner_0"}
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    ids = [host.id for host in pair]
    yard.aws.client("ec2").create_tags(Resources=ids, Tags=given)
    yield pair
    yard.aws.client("ec2").delete_tags(Resources=ids, Tags=given)
    for host in pair:
        host.run("rm -f /usr/local/bin/algo-host")


def test_a_host_that_hangs_or_whose_trader_is_dead_is_not_shown_as_working(
    yard: Yard, servers: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_ANSWER_SECONDS", 5.0)
    cloud = Cloud(yard.aws.endpoint, "seen")
    seen = Watch(cloud, Calendar())
    seen.now()
    seen.instances = cloud.instances()

    def looked() -> dict[str, tuple[str, str]]:
        seen._ask_hosts()
        return {each.id: (seen.state(each), str(seen._known(each).get("reason", ""))) for each in seen.instances}

    dead, hung = servers
    for host in servers:
        says(host, TRADES)
    assert looked() == dict.fromkeys((dead.id, hung.id), (record.WORKING, ""))
    says(dead, DEAD)
    says(hung, HANGS)
    found = looked()
    assert found[dead.id] == (record.UNHEALTHY, "the unit failed")
    assert found[hung.id] == (record.UNHEALTHY, "the host does not answer")
    assert not hung.run("pgrep -fx 'sleep 600' || true").strip(), (
        "what hung is ended, or each look would leave one more"
    )
    # What was known counts for a while only, whatever keeps the next answer from coming.
    says(hung, TRADES)
    assert looked()[hung.id][0] == record.WORKING
    monkeypatch.setattr(watch, "_KNOWN_SECONDS", -1.0)
    (instance,) = [each for each in seen.instances if each.id == hung.id]
    assert seen.state(instance) == record.UNHEALTHY
    assert str(seen._known(instance)["reason"]).startswith("no answer for")
