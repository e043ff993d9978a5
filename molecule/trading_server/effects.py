"""A trading server by its effects, in this order: each test leaves a healthy, trading host to the next."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from world import CODE, DRAIN, LOG_GROUP, MODEL, World

PATIENCE = 120
STATE = "/var/lib/algo-trader"


def until(condition: Callable[[], Any], told: Callable[[], str], patience: float = PATIENCE) -> Any:
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {patience} s: {told()}"
        time.sleep(0.3)
    return found


class Trader(World):
    def command(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        said = self.run(f"{command} 2>&1; code=$?; echo; echo $code").rstrip().rpartition("\n")
        return int(said[2]), said[0].strip()

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.command("algo-host status --json")[1]))

    def boot(self) -> tuple[int, dict[str, Any]]:
        code, said = self.command("systemd-run --quiet --pipe --wait algo-host boot --json --claim-seconds 5")
        return code, json.loads(said)

    def trades(self) -> dict[str, Any]:
        return dict(until(lambda: (now := self.status())["healthy"] and now["state"] == "trading" and now, self.why))

    def why(self) -> str:
        return self.run("algo-host status; journalctl --no-pager -n 30 -u 'algo-*'")

    def endpoint_in_host(self) -> str:
        """The address of the embedded AWS as the host sees it."""
        found = self.run(
            "systemctl show-environment | sed -n 's|^AWS_ENDPOINT_URL=http://\\([0-9.]*\\):.*|\\1|p'"
        ).strip()
        assert found
        return found

    def up(self) -> str:
        """What the host says of itself, empty while it does not run."""
        try:
            return self.why() if self.run("test -e /run/algo-trader/health.json && echo yes") else ""
        except Exception:
            return ""

    def drain_by_ssm(self) -> tuple[str, str]:
        """Send the environment's own document; its status and its output."""
        return self.by_ssm(DocumentName=DRAIN)

    def by_ssm(self, patience: float = PATIENCE, **command: Any) -> tuple[str, str]:
        """Send a command; its status and its output."""
        ssm = self.client("ssm")
        sent = ssm.send_command(InstanceIds=[self.id], **command)["Command"]["CommandId"]

        def ended() -> Any:
            listed = ssm.list_command_invocations(CommandId=sent, Details=True)["CommandInvocations"]
            return listed and listed[0]["Status"] not in ("Pending", "InProgress") and listed[0]

        found = until(ended, self.why, patience)
        return found["Status"], found["CommandPlugins"][0]["Output"]


@pytest.fixture(scope="module")
def host() -> Trader:
    return Trader(Path(os.environ["SCENARIO_AWS_STATE"]), Path(os.environ["SCENARIO_FOLDER"]))


def test_it_trades_the_model_of_its_tags(host: Trader) -> None:
    found = host.trades()
    assert (found["model"], found["environment"], found["halt"]) == (MODEL, "local", {})
    text = host.command("algo-host status")
    assert text[0] == 0
    assert "healthy" in text[1]


def test_the_sandbox_forbids_what_a_trader_does_not_need(host: Trader) -> None:
    inside = "nsenter --all --target $(systemctl show -P MainPID algo-trader)"
    assert host.command("stat -c %U /proc/$(systemctl show -P MainPID algo-trader)") == (0, "algo-trader")
    for path in ("/etc/x", "/opt/algo-trading/trader/x", "/var/lib/algo-trading/models/x", "/var/lib/x"):
        code, said = host.command(f"{inside} touch {path}")
        assert (code, "Read-only file system" in said) == (1, True), (path, said)
    assert host.command(f"{inside} test -e /root/.bashrc")[0] == 1
    assert host.command("runuser -u algo-trader -- cat /run/algo-trading/broker.json")[0] == 1
    shown = host.run(
        "systemctl show -p IPAddressDeny,CapabilityBoundingSet,NoNewPrivileges,TimeoutStopUSec,WatchdogUSec algo-trader"
    )
    assert set(shown.splitlines()) >= {
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "TimeoutStopUSec=40s",
        "WatchdogUSec=10s",
    }
    assert "169.254.169.254" in shown
    # By systemd's own judgement, from 0 to 100.
    assert (
        host.command("systemd-analyze security --no-pager --threshold=30 algo-trader algo-halt algo-first-boot")[0] == 0
    )


def test_the_environments_halt_is_obeyed_and_stays_with_the_endpoint_cut_off(host: Trader) -> None:
    host.halt("halted by somebody: wrong prices")
    until(lambda: host.status()["state"] == "halted", host.why)
    address = host.endpoint_in_host()
    host.run(f"nft add table inet cut; nft add chain inet cut out '{{ type filter hook output priority 0; }}'; "
             f"nft add rule inet cut out ip daddr {address} drop")  # fmt: skip
    try:
        host.halt("false")
        host.run("systemctl restart algo-halt")
        code, said = host.command("algo-host resume")
        assert (code, "wrong prices" in said) == (1, True)
        assert host.run("cat /run/algo-trader/halt").startswith("environment: /molecule/halt is ")
        assert host.status()["state"] == "halted"
    finally:
        host.run("nft delete table inet cut")
    host.trades()


def test_a_hosts_own_halt_is_not_taken_back_by_the_environment(host: Trader) -> None:
    assert host.command("algo-host halt --reason looking")[0] == 0
    until(lambda: host.status()["state"] == "halted", host.why)
    host.run("rm /run/algo-trader/halt")
    until(lambda: host.run("cat /run/algo-trader/halt || true").strip() == "operator: looking", host.why)
    assert host.command("algo-host resume") == (0, "resumed")
    host.trades()


def test_the_watchdog_restarts_a_trader_that_hangs(host: Trader) -> None:
    before = host.run("systemctl show -P MainPID algo-trader")
    host.run(f"touch {STATE}/hang")
    until(lambda: "watchdog" in host.run("journalctl --no-pager -u algo-trader | grep -i watchdog || true"), host.why)
    host.trades()
    assert host.run("systemctl show -P MainPID algo-trader") != before


def test_a_corrupt_model_is_refused_with_the_reason_and_the_one_before_is_kept(host: Trader) -> None:
    before = host.run("readlink /var/lib/algo-trading/models/current")
    host.publish('{"second": 2}', told='{"second": 3}')
    code, report = host.boot()
    assert (code, report["result"]) == (78, "refused")
    assert "corrupt: model.json has another SHA-256" in report["reason"]
    assert host.run("readlink /var/lib/algo-trading/models/current") == before
    assert json.loads(host.run("cat /var/lib/algo-trading/boot.json"))["reason"] == report["reason"]
    host.publish('{"third": 3}')
    code, report = host.boot()
    assert (code, report["result"], report["restart_needed"]) == (0, "ok", True)
    assert host.run("readlink /var/lib/algo-trading/models/previous") == before
    assert [phase["name"] for phase in report["phases"]][-1] == "start"
    streams = host.client("logs").describe_log_streams(logGroupName=LOG_GROUP)["logStreams"]
    assert any(stream["logStreamName"].startswith(f"{host.id}/boot/") for stream in streams)


def test_what_belongs_elsewhere_is_refused_and_a_host_without_claim_starts_nothing(host: Trader) -> None:
    host.tag(Environment="prod")
    code, report = host.boot()
    assert code == 78
    assert "Environment is 'prod', not 'local'" in report["reason"]
    host.tag(Environment="local", Model="")
    code, report = host.boot()
    assert (code, report["result"]) == (75, "waiting")
    assert "no tag Model" in report["reason"]
    host.tag(Model=MODEL)


def test_of_the_trading_code_the_version_in_use_and_the_one_before_stay(host: Trader) -> None:
    code = "/opt/algo-trading/trader"
    used = host.run(f"readlink {code}/current").strip()

    def use(name: str) -> dict[str, Any]:
        host.run(f"test -e {code}/{name} || cp -a {code}/{used} {code}/{name}; touch {code}/{name}.txt")
        status, said = host.command(f"algo-host use --json {name}")
        assert status == 0, said
        return dict(json.loads(said))

    host.run(f"mkdir -p {code}/interrupted/bin")
    assert use("1.0.0-b")["removed"] == ["interrupted"]
    # The trader runs from one that is neither current nor the one before.
    assert (use("1.0.0-c")["previous"], use("1.0.0-c")["removed"]) == ("1.0.0-b", [])
    assert host.trades()
    assert use("1.0.0-d")["removed"] == ["1.0.0-b"]
    assert use(used)["previous"] == "1.0.0-d"
    assert host.run(f"ls -d {code}/*/").split() == [
        f"{code}/{name}/" for name in sorted(("1.0.0-d", "current", "previous", used))
    ]


def test_a_drain_that_fails_makes_the_command_fail_and_the_trader_stays(host: Trader) -> None:
    host.run(f"touch {STATE}/stubborn")
    status, said = host.drain_by_ssm()
    assert status == "Failed"
    assert "Not drained: exit status 1: position not flat" in said
    assert "position not flat" in host.status()["failed_drain"]["reason"]
    assert host.run("systemctl is-active algo-trader").strip() == "active"
    host.run(f"rm {STATE}/stubborn")
    status, said = host.drain_by_ssm()
    assert (status, said.strip().splitlines()[-1]) == ("Success", "drained")
    assert host.run("systemctl is-active algo-trader || true").strip() == "inactive"
    assert (host.status()["undrained"], host.status()["failed_drain"]) == (False, {})
    assert host.drain_by_ssm()[0] == "Success"


def test_a_trader_that_says_yes_and_keeps_a_position_is_not_taken_for_drained(host: Trader) -> None:
    assert host.boot()[0] == 0
    host.trades()
    host.run(f"touch {STATE}/keeps")
    for _attempt in range(2):  # the second finds that its process has ended, in order as it says
        status, said = host.drain_by_ssm()
        assert status == "Failed"
        assert "says that it is drained, and holds 1 positions, although flatten_on_drain is set" in said
    assert host.status()["undrained"] is True
    host.run(f"rm {STATE}/keeps")
    assert host.boot()[0] == 0
    host.trades()
    assert host.drain_by_ssm()[0] == "Success"


def test_a_trader_that_was_killed_is_not_taken_for_drained(host: Trader) -> None:
    assert host.boot()[0] == 0
    host.trades()
    host.run(f"touch {STATE}/refuse; systemctl kill --signal=KILL algo-trader")
    until(lambda: host.run("systemctl is-active algo-trader || true").strip() == "failed", host.why)
    status, said = host.drain_by_ssm()
    assert status == "Failed"
    assert "ended without a confirmed drain" in said
    host.run(f"rm {STATE}/refuse")


def test_a_second_boot_trades_again_and_one_during_a_halt_is_halted(host: Trader) -> None:
    host.halt("halted by somebody: maintenance")
    host.client("ec2").reboot_instances(InstanceIds=[host.id])
    until(lambda: host.up() and host.status()["state"] == "halted", host.up)
    assert "maintenance" in json.loads(host.run("cat /var/lib/algo-trading/boot.json"))["halted"]
    host.halt("false (resumed by somebody)")
    host.trades()


PULL = """\
set -e
mkdir -p /root/checkout
/usr/bin/python3 - <<'END'
import boto3, os
s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
s3.download_file("molecule-code", "pull/checkout.tar", "/root/checkout.tar")
END
tar -xf /root/checkout.tar -C /root/checkout
/root/checkout/tools/pull.sh ENVIRONMENT -e algo_endpoint_url= OPTIONS 2>&1"""


def pull(host: Trader, environment: str = "local", options: str = "") -> tuple[str, dict[str, str], str]:
    """Send the command that makes the host configure itself; its status, what Ansible counted, and its output."""
    script = PULL.replace("ENVIRONMENT", environment).replace("OPTIONS", options)
    status, said = host.by_ssm(600, DocumentName="AWS-RunShellScript", Parameters={"commands": [script]})
    counted = re.findall(rf"^{host.id}\s+: (.*)$", said, re.MULTILINE)
    return status, dict(word.split("=") for word in counted[-1].split()) if counted else {}, said


def test_a_host_that_pulls_configures_itself_as_a_push_does(host: Trader) -> None:
    root = Path(__file__).parents[2]
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    ).stdout
    made = subprocess.run(
        ["tar", "--null", "--ignore-failed-read", "-T", "-", "-cf", "-"],
        cwd=root,
        input=listed,
        capture_output=True,
        check=True,
    ).stdout
    host.client("s3").put_object(Bucket=CODE, Key="pull/checkout.tar", Body=made)
    status, counted, said = pull(host, "qa")
    assert (status, "Nothing was changed" in " ".join(said.split())) == ("Failed", True), said
    assert host.command("test -e /etc/ssh/sshd_config.d/10-algo-trading.conf")[0] != 0
    host.run("echo broken > /etc/systemd/system/algo-trader.service")
    status, counted, said = pull(host)
    assert (status, counted.get("failed")) == ("Success", "0"), said
    # What no push had brought to this host, and what somebody broke.
    assert host.run("systemctl is-enabled algo-logs").strip() == "enabled"
    assert "Type=notify" in host.run("cat /etc/systemd/system/algo-trader.service")
    status, counted, said = pull(host)
    assert (status, counted.get("changed")) == ("Success", "0"), said
    host.trades()
