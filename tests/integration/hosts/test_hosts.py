"""Instances are hosts: they boot with their user data, know themselves from IMDS, and end as EC2 says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.algo.trading.tests.integration.hosts.conftest import Server, processes, until
from embedded_aws.hosts.enclosure import Enclosure

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, Yard

pytestmark = pytest.mark.hosts

TOKEN = 'T=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token)'


def metadata(host: Host, path: str) -> str:
    return host.run(
        f'{TOKEN}; curl -sf -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/{path}'
    )


def test_a_host_boots_runs_its_user_data_and_reports_no_failed_unit(pair: list[Host]) -> None:
    for host in pair:
        assert host.run("systemctl is-system-running").strip() == "running"
        assert host.run("cat /root/told").strip() == "from user data"
        assert host.run("cloud-id").strip() == "aws"
        assert host.described()["State"]["Name"] == "running"


def test_a_host_has_the_address_and_the_name_that_ec2_says(pair: list[Host]) -> None:
    one, other = pair
    address = other.described()["PrivateIpAddress"]
    assert f"{address}/16" in other.run("ip -brief address show eth0")
    assert one.run(f"ping -c1 -W5 {address}")
    assert other.run("hostname").strip() == other.described()["PrivateDnsName"].partition(".")[0]


def test_a_host_that_goes_does_not_cut_the_others_off_from_aws(yard: Yard, pair: list[Host]) -> None:
    """The kernel gives a bridge the lowest address of what is at it, which the bridge loses with it."""
    inside, host = yard.control("inside"), pair[0]

    def ip(*command: str) -> str:
        return subprocess.run([*inside, "ip", *command], capture_output=True, text=True, check=True).stdout

    def bridge() -> list[str]:
        return ip("-oneline", "link", "show", "type", "bridge").split()

    name = bridge()[1].rstrip(":")
    before = bridge()[bridge().index("link/ether") + 1]
    ip("link", "add", "lowest", "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", "other-end")
    ip("link", "set", "lowest", "master", name, "up")
    # The host asks again who is its gateway, and then knows it by what it is now.
    asked = host.run(
        f"ip neighbour flush dev eth0; {TOKEN}; ip neighbour show $(ip route show default | cut -d ' ' -f 3)"
    )
    ip("link", "delete", "lowest")
    assert bridge()[bridge().index("link/ether") + 1] == before
    assert before in asked
    assert host.run(f"{TOKEN}; echo $T").strip()


def test_metadata_needs_a_token_and_knows_the_host_by_its_address(pair: list[Host]) -> None:
    code = 'curl -s -o /dev/null -w "%{http_code}"'
    for host in pair:
        assert host.run(f"{code} http://169.254.169.254/latest/meta-data/instance-id") == "401"
        assert metadata(host, "instance-id") == host.id
        assert metadata(host, "iam/security-credentials/") == "pair"
    one, other = pair
    token = one.run(f"{TOKEN}; echo $T").strip()
    header = f'-H "X-aws-ec2-metadata-token: {token}"'
    assert one.run(f"{code} {header} http://169.254.169.254/latest/meta-data/") == "200"
    assert other.run(f"{code} {header} http://169.254.169.254/latest/meta-data/") == "401"


def test_the_answer_with_the_token_travels_as_far_as_the_hop_limit(pair: list[Host]) -> None:
    """From a network namespace in the host, as from a container there, one hop more is needed."""
    host = pair[0]
    inside = (
        "ip netns list | grep -q inner || { ip netns add inner; ip link add out type veth peer name in netns inner;"
        " ip addr add 10.99.0.1/24 dev out; ip link set out up; ip -n inner addr add 10.99.0.2/24 dev in;"
        " ip -n inner link set in up; ip -n inner route add default via 10.99.0.1; sysctl -qw net.ipv4.ip_forward=1;"
        " nft add table ip hop; nft 'add chain ip hop post { type nat hook postrouting priority 100; }';"
        " nft add rule ip hop post ip saddr 10.99.0.0/24 masquerade; }"
    )
    host.run(inside)
    ask = (
        'nsenter --net=/run/netns/inner curl -s -m 4 -o /dev/null -w "%{http_code}" -X PUT'
        ' -H "X-aws-ec2-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token || true'
    )
    ec2 = host.yard.aws.client("ec2")
    ec2.modify_instance_metadata_options(InstanceId=host.id, HttpPutResponseHopLimit=1)
    assert host.run(ask).strip() == "000"
    ec2.modify_instance_metadata_options(InstanceId=host.id, HttpPutResponseHopLimit=2)
    assert host.run(ask).strip() == "200"


def test_tags_are_live(pair: list[Host]) -> None:
    host = pair[0]
    assert metadata(host, "tags/instance/Fleet") == "pair"
    host.yard.aws.client("ec2").create_tags(Resources=[host.id], Tags=[{"Key": "Model", "Value": "m1"}])
    assert metadata(host, "tags/instance/Model") == "m1"


def test_the_hosts_role_is_what_the_api_sees(pair: list[Host]) -> None:
    host = pair[0]
    given = json.loads(metadata(host, "iam/security-credentials/pair"))
    assert given["Type"] == "AWS-HMAC"
    host.yard.aws.forget_calls()
    s3 = host.yard.aws.client("s3", access_key=given["AccessKeyId"])
    with pytest.raises(s3.exceptions.ClientError, match="AccessDenied"):
        s3.list_objects_v2(Bucket="somebody-elses")


def test_the_endpoint_and_the_region_are_in_the_environment_of_every_unit(pair: list[Host]) -> None:
    shown = pair[0].run("systemctl show --property=Environment --value nothing.service; systemctl show-environment")
    assert "AWS_REGION=us-east-1" in shown
    assert pair[0].run('curl -sf "$(systemctl show-environment | sed -n s/^AWS_ENDPOINT_URL=//p)/_algo/ping"')


def test_stop_start_reboot_and_terminate(yard: Yard) -> None:
    (host,) = yard.launch(UserData="#!/bin/sh\necho once >> /root/told\n")
    host.booted()
    ec2 = yard.aws.client("ec2")
    first = host.run("cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat | cut -d' ' -f22")

    assert ec2.stop_instances(InstanceIds=[host.id])["StoppingInstances"][0]["PreviousState"]["Name"] == "running"
    until(lambda: host.state == "stopped")
    assert host.described()["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert host.status == "not-applicable"

    ec2.start_instances(InstanceIds=[host.id])
    host.booted()
    second = host.run("cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat | cut -d' ' -f22")
    assert second != first
    assert host.run("cat /root/told") == "once\n"  # the disk was kept, and user data runs once

    ec2.reboot_instances(InstanceIds=[host.id])
    until(lambda: host.status != "ok" or _boot(host) not in ("", second))
    host.booted()
    assert host.state == "running"

    ec2.terminate_instances(InstanceIds=[host.id])
    until(lambda: host.state == "terminated")
    with pytest.raises(ec2.exceptions.ClientError, match="IncorrectInstanceState"):
        ec2.start_instances(InstanceIds=[host.id])


def _boot(host: Host) -> str:
    """Which boot it is in; empty while it is down."""
    try:
        return host.run("cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat | cut -d' ' -f22")
    except AssertionError:
        return ""


def test_a_host_that_powers_itself_off_is_stopped_and_says_so(yard: Yard) -> None:
    (host,) = yard.launch()
    host.booted()
    assert "Reached target" in _console(host)
    host.run("systemctl poweroff --no-wall || true")
    until(lambda: host.state == "stopped", yard.log)
    assert host.described()["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    yard.aws.client("ec2").terminate_instances(InstanceIds=[host.id])


def _console(host: Host) -> str:
    return str(host.yard.aws.client("ec2").get_console_output(InstanceId=host.id)["Output"])


def test_a_host_whose_kernel_dies_is_impaired_and_one_that_cannot_be_made_is_terminated(yard: Yard) -> None:
    (host,) = yard.launch()
    host.booted()
    yard.control("hosts", "PUT", instance=host.id)
    until(lambda: host.status == "impaired", yard.log)
    assert host.state == "running"
    yard.aws.client("ec2").terminate_instances(InstanceIds=[host.id])

    ec2 = yard.aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.10.128.0/17")["Vpc"]["VpcId"]  # overlaps: two networks cannot both have it
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.10.128.0/24")["Subnet"]["SubnetId"]
    (refused,) = yard.launch(SubnetId=subnet)
    until(lambda: refused.state == "terminated", yard.log)
    reason = refused.described()["StateReason"]
    assert reason["Code"] == "Server.InternalError"
    assert "10.10.128.0/17" in reason["Message"]


def test_an_image_of_a_host_carries_its_disk(yard: Yard, pair: list[Host]) -> None:
    ec2 = yard.aws.client("ec2")
    pair[0].run("echo baked > /opt/baked")
    image = ec2.create_image(InstanceId=pair[0].id, Name="baked")["ImageId"]
    until(lambda: ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available", yard.log)
    (host,) = yard.launch(ImageId=image, UserData="#!/bin/sh\necho second > /root/told\n")
    host.booted()
    assert host.run("cat /opt/baked") == "baked\n"
    assert host.run("cat /root/told") == "second\n"  # a new instance, so its own user data
    ec2.terminate_instances(InstanceIds=[host.id])
    until(lambda: host.state == "terminated")
    ec2.deregister_image(ImageId=image)


def test_two_servers_use_the_same_addresses_and_leave_nothing_when_killed(
    possible: None, pair: list[Host], tmp_path: Path
) -> None:
    before = traces()
    other = Server(tmp_path)
    groups = f"**/{Enclosure(other.state / 'hosts').cgroup}"
    (host,) = other.yard.launch(PrivateIpAddress=pair[0].described()["PrivateIpAddress"])
    host.booted()
    assert host.described()["PrivateIpAddress"] == pair[0].described()["PrivateIpAddress"]
    assert list(Path("/sys/fs/cgroup").glob(groups))
    assert traces() == before  # also while they run
    other.kill()
    until(lambda: not processes(str(other.state)) and not list(Path("/sys/fs/cgroup").glob(groups)))
    assert traces() == before
    assert not (other.state / "hosts").exists()
    assert pair[0].run("true") == ""


def traces() -> dict[str, list[str]]:
    """What hosts could leave on the machine, and have only in namespaces of their own."""
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return {
        "mounts": sorted(line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("*")),
        "rules": rules.splitlines(),
        "sysctls": sysctls(),
        "images": sorted(str(path) for path in Path("/var/lib/containers").glob("**") if path.name != "tmp"),
        "locks": sorted(path.name for path in Path("/dev/shm").glob("*libpod*")),
        "runtime": sorted(
            path.name for path in Path("/run").iterdir() if path.name in ("libpod", "runc", "containers")
        ),
    }


def sysctls() -> list[str]:
    """The kernel's settings of networks and namespaces, which container engines change."""
    found = []
    for folder in ("net", "user", "kernel/keys", "fs/inotify"):
        for path in sorted(Path("/proc/sys", folder).rglob("*")):
            if path.name == "nf_conntrack_count":  # a figure, not a setting
                continue
            try:
                found.append(f"{path} {path.read_text().strip()}" if path.is_file() else str(path))
            except OSError:  # some can only be written
                found.append(str(path))
    return found


def test_a_private_zone_answers_in_its_own_vpc(pair: list[Host]) -> None:
    yard, (one, other) = pair[0].yard, pair
    route53 = yard.aws.client("route53")
    vpc = {"VPCRegion": "us-east-1", "VPCId": yard.vpc}
    made = route53.create_hosted_zone(
        Name="qa.algo-trading.internal", CallerReference="1", VPC=vpc, HostedZoneConfig={"PrivateZone": True}
    )
    zone = made["HostedZone"]["Id"]
    address = other.described()["PrivateIpAddress"]
    for name, kind, value in (("feed", "A", address), ("alias", "CNAME", "feed.qa.algo-trading.internal")):
        record = {"Name": f"{name}.qa.algo-trading.internal", "Type": kind, "TTL": 60}
        change = {"Action": "CREATE", "ResourceRecordSet": {**record, "ResourceRecords": [{"Value": value}]}}
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})
    for name in (
        "feed.qa.algo-trading.internal",
        "ALIAS.qa.algo-trading.internal",
        other.described()["PrivateDnsName"],
    ):
        assert one.run(f"getent ahostsv4 {name}").split()[0] == address
    missing = one.run("python3 -c 'import socket; socket.getaddrinfo(\"no.qa.algo-trading.internal\", 1)' 2>&1 || true")
    assert "Name or service not known" in missing


def test_security_groups_decide_who_may_open_which_port(pair: list[Host]) -> None:
    """Trading hosts may reach the feed's port and nothing of each other."""
    yard, (feed, trader) = pair[0].yard, pair
    ec2 = yard.aws.client("ec2")
    feeds, traders = yard.make_group("feeds"), yard.make_group("traders")
    permission = {"IpProtocol": "tcp", "FromPort": 8765, "ToPort": 8765, "UserIdGroupPairs": [{"GroupId": traders}]}
    ec2.authorize_security_group_ingress(GroupId=feeds, IpPermissions=[permission])
    address = {host: host.described()["PrivateIpAddress"] for host in pair}
    for host in pair:
        for port in (8765, 9000):
            host.run(f"systemd-run --quiet --unit=port-{port} python3 -m http.server {port} --directory /opt")
    try:
        ways = [(trader, address[feed]), (feed, address[trader])]
        until(lambda: all(_opens(host, to, port) for host, to in ways for port in (8765, 9000)))

        ec2.modify_instance_attribute(InstanceId=feed.id, Groups=[feeds])
        ec2.modify_instance_attribute(InstanceId=trader.id, Groups=[traders])
        until(lambda: not _opens(feed, address[trader], 9000))
        assert _opens(trader, address[feed], 8765)
        assert not _opens(trader, address[feed], 9000)
        assert not _opens(feed, address[trader], 8765)

        ec2.revoke_security_group_ingress(GroupId=feeds, IpPermissions=[permission])
        until(lambda: not _opens(trader, address[feed], 8765))
    finally:
        for host in pair:
            ec2.modify_instance_attribute(InstanceId=host.id, Groups=[yard.group])
            host.run("systemctl stop port-8765 port-9000")


def _opens(host: Host, address: str, port: int) -> bool:
    return host.run(f"nc -z -w 2 {address} {port} && echo open || true").strip() == "open"
