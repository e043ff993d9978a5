"""RDS's instances of engine postgres are PostgreSQL servers in the hosts' network, and do what RDS says of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.algo.trading.tests.integration.hosts.conftest import Host, processes, until
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from ansible_collections.algo.trading.tests.integration.hosts.conftest import Yard

pytestmark = pytest.mark.hosts

# Whatever a password may contain must reach the database as it is.
PASSWORD, OTHER = rf"it's-\{secrets.token_hex(8)}", f"other-{secrets.token_hex(8)}"


@dataclass
class Client:
    """A host with psql."""

    host: Host
    yard: Yard

    @property
    def rds(self) -> Any:
        return self.yard.aws.client("rds")

    def described(self, name: str) -> dict[str, Any]:
        return dict(self.rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0])

    def status(self, name: str) -> str:
        return str(self.described(name)["DBInstanceStatus"])

    def reach(self, name: str, status: str) -> dict[str, Any]:
        reached = until(
            lambda: (now := self.status(name)) in (status, "failed") and now,
            lambda: f"{name} is {self.status(name)}\n{self.yard.log()}",
        )
        assert reached == status, f"{name} is {reached}: {self.events(name)}\n{self.yard.log()}"
        return self.described(name)

    def events(self, name: str) -> list[str]:
        told = self.rds.describe_events(SourceIdentifier=name, SourceType="db-instance")["Events"]
        return [event["Message"] for event in told]

    def sql(self, name: str, statement: str, password: str = PASSWORD, mode: str = "verify-full") -> str:
        """What psql prints, its errors too."""
        place = self.described(name)["Endpoint"]
        told = f"host={place['Address']} port={place['Port']} user=mlflow dbname=experiments connect_timeout=4"
        self.host.run(f"cat > /root/.password <<'END'\n{password}\nEND")
        command = (
            f'PGPASSWORD=$(cat /root/.password) psql -XAt "{told} sslmode={mode} sslrootcert=/root/rds-ca.pem"'
            f' -c "{statement}" 2>&1 || true'
        )
        # On a busy machine the answer to a name may come too late for the host.
        return str(until(lambda: "Temporary failure" not in (said := self.host.run(command).strip()) and [said])[0])

    def gone(self, *names: str) -> None:
        def left() -> list[str]:
            found = self.rds.describe_db_instances()["DBInstances"]
            return [f"{each['DBInstanceIdentifier']} is {each['DBInstanceStatus']}" for each in found]

        until(lambda: not [each for each in left() if each.split()[0] in names], lambda: f"{left()}\n{self.yard.log()}")


@pytest.fixture(scope="module")
def client(yard: Yard, pair: list[Host]) -> Client:
    host = pair[0]
    authority = (yard.state / "rds-ca.pem").read_text()
    host.run(f"cat > /root/rds-ca.pem <<'END'\n{authority}\nEND")
    host.run(
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
        " apt-get -qq install -y --no-install-recommends postgresql-client >/dev/null"
    )
    return Client(host, yard)


@pytest.fixture(scope="module")
def group(client: Client) -> str:
    """Lets nothing in."""
    return client.yard.make_group("database")


@pytest.fixture(scope="module")
def database(client: Client, group: str) -> str:
    """An available one."""
    ec2, yard = client.yard.aws.client("ec2"), client.yard
    other = ec2.create_subnet(VpcId=yard.vpc, CidrBlock="10.10.77.0/24")["Subnet"]["SubnetId"]
    client.rds.create_db_subnet_group(
        DBSubnetGroupName="within", DBSubnetGroupDescription="within", SubnetIds=[yard.subnet, other]
    )
    made = client.rds.create_db_instance(
        DBInstanceIdentifier="experiments",
        Engine="postgres",
        EngineVersion="17",
        DBInstanceClass="db.t4g.micro",
        AllocatedStorage=20,
        DBName="experiments",
        MasterUsername="mlflow",
        MasterUserPassword=PASSWORD,
        DBSubnetGroupName="within",
        VpcSecurityGroupIds=[group],
    )["DBInstance"]
    assert made["DBInstanceStatus"] == "creating"
    assert "Endpoint" not in made
    with pytest.raises(ClientError, match="is not in available state: it is creating"):
        client.rds.modify_db_instance(DBInstanceIdentifier="experiments", BackupRetentionPeriod=3)
    client.reach("experiments", "available")
    return "experiments"


def test_only_who_its_security_group_lets_in_reaches_it(client: Client, database: str, group: str) -> None:
    ec2 = client.yard.aws.client("ec2")
    members = [{"GroupId": client.yard.group}]
    allowed = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": members}]
    assert "timeout expired" in client.sql(database, "SELECT 1")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=allowed)
    until(lambda: client.sql(database, "SELECT 1") == "1", lambda: client.sql(database, "SELECT 1"))


def test_it_is_postgresql_with_tls_the_given_user_and_the_given_database(client: Client, database: str) -> None:
    assert client.sql(database, "SHOW server_version").split(".")[0].isdecimal()
    encrypted = client.sql(database, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert encrypted in ("TLSv1.3", "TLSv1.2")
    assert client.sql(database, "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = current_user") == "mlflow|f"
    assert "no encryption" in client.sql(database, "SELECT 1", mode="disable")
    assert "password authentication failed" in client.sql(database, "SELECT 1", OTHER)
    assert not processes(PASSWORD)
    assert PASSWORD not in (client.yard.state / "server.log").read_text()


def test_a_stop_a_reboot_and_a_new_password_keep_what_is_in_it(client: Client, database: str) -> None:
    client.sql(database, "CREATE TABLE kept AS SELECT 1 AS number")
    client.rds.modify_db_instance(DBInstanceIdentifier=database, MasterUserPassword=OTHER, ApplyImmediately=True)
    client.reach(database, "available")
    assert "password authentication failed" in client.sql(database, "SELECT 1")
    client.rds.stop_db_instance(DBInstanceIdentifier=database)
    client.reach(database, "stopped")
    assert "refused" in client.sql(database, "SELECT 1", OTHER) or "timeout" in client.sql(database, "SELECT 1", OTHER)
    client.rds.start_db_instance(DBInstanceIdentifier=database)
    client.reach(database, "available")
    client.rds.reboot_db_instance(DBInstanceIdentifier=database)
    client.reach(database, "available")
    assert client.sql(database, "SELECT number FROM kept", OTHER) == "1"


def test_a_snapshot_has_the_data_of_its_moment_and_a_final_one_outlives_the_database(
    client: Client, database: str, group: str
) -> None:
    rds = client.rds

    def snapshot(name: str) -> str:
        return str(rds.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0]["Status"])

    rds.create_db_snapshot(DBInstanceIdentifier=database, DBSnapshotIdentifier="before")
    until(lambda: snapshot("before") == "available", client.yard.log)
    client.sql(database, "INSERT INTO kept VALUES (2)", OTHER)
    rds.delete_db_instance(DBInstanceIdentifier=database, FinalDBSnapshotIdentifier="final")
    client.gone(database)
    for name, numbers in (("before", "1"), ("final", "1\n2")):
        rds.restore_db_instance_from_db_snapshot(
            DBInstanceIdentifier=f"from-{name}", DBSnapshotIdentifier=name, DBSubnetGroupName="within",
            VpcSecurityGroupIds=[group],
        )  # fmt: skip
        client.reach(f"from-{name}", "available")
        assert client.sql(f"from-{name}", "SELECT number FROM kept ORDER BY 1", OTHER) == numbers
        rds.delete_db_instance(DBInstanceIdentifier=f"from-{name}", SkipFinalSnapshot=True)
    client.gone("from-before", "from-final")


def test_an_address_is_used_again_as_soon_as_its_host_is_gone(client: Client, database: str) -> None:
    """moto gives it away when the host begins to shut down."""
    ec2, yard = client.yard.aws.client("ec2"), client.yard
    subnet = ec2.create_subnet(VpcId=yard.vpc, CidrBlock="10.10.78.0/24")["Subnet"]["SubnetId"]
    client.rds.create_db_subnet_group(
        DBSubnetGroupName="again", DBSubnetGroupDescription="again", SubnetIds=[subnet, yard.subnet]
    )
    card = {"DeviceIndex": 0, "SubnetId": subnet, "Groups": [yard.group], "DeleteOnTermination": True}
    made = ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, NetworkInterfaces=[card])
    host = Host(yard, made["Instances"][0]["InstanceId"]).booted()
    address = host.described()["PrivateIpAddress"]
    host.run("systemd-run --quiet --property=ExecStop='/bin/sleep 3' --property=Type=oneshot --remain-after-exit true")
    ec2.terminate_instances(InstanceIds=[host.id])
    client.rds.create_db_instance(
        DBInstanceIdentifier="again", Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
        MasterUsername="mlflow", MasterUserPassword=PASSWORD, DBSubnetGroupName="again",
    )  # fmt: skip
    client.reach("again", "available")
    name = client.described("again")["Endpoint"]["Address"]
    assert client.host.run(f"getent ahostsv4 {name}").split()[0] == address
    client.rds.delete_db_instance(DBInstanceIdentifier="again", SkipFinalSnapshot=True)
    client.gone("again")


def test_one_that_cannot_be_made_is_failed_with_the_reason_and_can_be_deleted(client: Client, database: str) -> None:
    """moto records automated snapshots; no data is kept with them."""
    rds = client.rds
    rds.create_db_instance(
        DBInstanceIdentifier="short", Engine="postgres", DBInstanceClass="db.t4g.micro", AllocatedStorage=20,
        MasterUsername="mlflow", ManageMasterUserPassword=True, DBSubnetGroupName="within",
    )  # fmt: skip
    managed = client.reach("short", "available")["MasterUserSecret"]["SecretArn"]
    assert (
        '"username": "mlflow"'
        in client.yard.aws.client("secretsmanager").get_secret_value(SecretId=managed)["SecretString"]
    )
    (automated,) = rds.describe_db_snapshots(DBInstanceIdentifier="short", SnapshotType="automated")["DBSnapshots"]
    rds.restore_db_instance_from_db_snapshot(
        DBInstanceIdentifier="empty", DBSnapshotIdentifier=automated["DBSnapshotIdentifier"], DBSubnetGroupName="within"
    )
    client.reach("empty", "failed")
    assert any("manual and final snapshots only" in message for message in client.events("empty"))
    for name in ("empty", "short"):
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)
    client.gone("empty", "short")
