"""RDS's instances of engine postgres are PostgreSQL servers: one container each, in the network of the hosts.

moto keeps the records. Its methods are patched in `moto_databases` and called under moto's lock; everything that takes
time is queued for the database's own thread.
"""

from __future__ import annotations

import contextlib
import json
import queue
import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from .. import account
from .authority import Authority
from .containers import Containers
from .enclosure import EnclosureError
from .host import Host, live

_START_SECONDS = 120
_PSQL = "su postgres -c 'psql -qXAt -v ON_ERROR_STOP=1 -U rdsadmin -p '$EMBEDDED_AWS_PORT' postgres'"
_ANSWERS = f"until echo 'SELECT 1' | {_PSQL} >/dev/null 2>&1; do sleep 0.1; done"
_SQL = ["sh", "-c", f"exec {_PSQL}"]
_PLACE = """umask 077
mkdir -p /etc/postgresql
cat >/etc/postgresql/.new
chown postgres /etc/postgresql/.new
mv /etc/postgresql/.new /etc/postgresql/server.pem"""
NO_DATA = "The embedded AWS keeps the data of manual and final snapshots only."


class Database:
    """One instance's container.

    :param record: moto's; read and changed under moto's lock only
    """

    def __init__(self, record: Any, subnet: Any, cidr: str) -> None:
        self.record, self._subnet = record, subnet
        self.vpc, self.cidr = str(subnet.vpc_id), cidr
        self.address: str = subnet.get_available_subnet_ip(record)
        self.container = f"db-{secrets.token_hex(8)}"
        self.expected_end = True  # it does not run yet
        self.work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.gone = threading.Event()

    def groups(self) -> list[Any]:
        """Its security groups, as they are now."""
        ec2 = account.backend("ec2", self.record.region)
        found = (ec2.get_security_group_from_id(each) for each in self.record.vpc_security_group_ids)
        return [group for group in found if group is not None]

    def free_address(self) -> None:
        self._subnet.del_subnet_ip(self.address)


class Databases:
    """The databases of one server.

    :param containers: waits until hosts can run
    :param host_at: the host that has this address
    """

    def __init__(
        self,
        containers: Callable[[], Containers],
        host_at: Callable[[str], Host | None],
        moto: AbstractContextManager[Any],
        log: Callable[[str], None],
    ) -> None:
        self._containers, self._host_at, self._moto, self._log = containers, host_at, moto, log
        self._databases: list[Database] = []
        self._snapshots: dict[int, str] = {}  # image of each snapshot's record
        self._changing = threading.Lock()
        self.authority = Authority()
        self.before_start: Callable[[], None] = lambda: None

    # What the other parts ask

    def all(self) -> list[Database]:
        with self._changing:
            return list(self._databases)

    def of(self, record: Any) -> Database | None:
        return next((each for each in self.all() if each.record is record), None)

    def named(self, name: str) -> Database | None:
        """The database with this endpoint."""
        return next((each for each in self.all() if each.record.address.lower() == name), None)

    # What RDS's operations do; under moto's lock

    def create(self, record: Any, source: Any = None) -> None:
        """
        :param source: the snapshot that it is made of
        """
        database = Database(record, *_place(record))
        with self._changing:
            self._databases.append(database)
        record.status = "creating"
        live(database.work, record.db_instance_identifier, lambda why: self._fail(database, why))
        image = self._snapshots.get(id(source), "") if source is not None else None
        before = self._host_at(database.address)
        database.work.put(lambda: self._create(database, image, before))

    def start(self, database: Database) -> None:
        database.record.status = "starting"
        database.work.put(lambda: self._start(database))

    def stop(self, database: Database) -> None:
        database.record.status = "stopping"
        database.work.put(lambda: self._stop(database))

    def reboot(self, database: Database) -> None:
        database.record.status = "rebooting"
        database.work.put(lambda: self._restart(database))

    def set_password(self, database: Database) -> None:
        database.record.status = "resetting-master-credentials"
        database.work.put(lambda: self._set_password(database))

    def delete(self, database: Database, forget: Callable[[], Any]) -> None:
        """
        :param forget: removes the record, when the database is gone
        """
        database.record.status = "deleting"
        database.work.put(lambda: self._delete(database, forget))

    def snapshot(self, database: Database, snapshot: Any) -> None:
        snapshot.status = "creating"
        database.work.put(lambda: self._snapshot(database, snapshot))

    def copy_snapshot(self, snapshot: Any, other: Any) -> None:
        if image := self._snapshots.get(id(snapshot)):
            copy = _new_image()
            self._containers().tag(image, copy)
            self._snapshots[id(other)] = copy

    def drop_snapshot(self, snapshot: Any) -> None:
        if image := self._snapshots.pop(id(snapshot), ""):
            with contextlib.suppress(EnclosureError):  # a database that was made of it still needs it
                self._containers().remove_image(image)

    def forget(self) -> None:
        """Remove all databases: the account was reset."""
        databases = self.all()
        for database in databases:
            database.expected_end = True
            database.work.put(lambda database=database: self._remove(database))  # type: ignore[misc]
        for database in databases:
            database.gone.wait(60)
        for image in self._snapshots.values():
            with contextlib.suppress(EnclosureError):
                self._containers().remove_image(image)
        self._snapshots.clear()

    def watch(self) -> None:
        """Start a database that ended by itself again, as RDS does; for ever."""
        for name, status in self._containers().ends():
            database = next((each for each in self.all() if each.container == name), None)
            if database is not None and not database.expected_end:
                self._log(f"hosts: database {name} ended by itself with exit status {status}")
                database.work.put(lambda database=database: self._recover(database))  # type: ignore[misc]

    # What a database's own thread does

    def _fail(self, database: Database, why: str) -> None:
        """The reason is in the log and in DescribeEvents; the database does not stay as it is for ever."""
        from moto.rds.models import Event

        self._log(f"hosts: database {database.record.db_instance_identifier}: {why}")
        with self._moto:
            database.record.status = "failed"
            event = Event("DB_INSTANCE_CREATE", database.record)
            event.message, event.event_categories = why, ["failure"]
            database.record.backend.events.append(event)

    def _create(self, database: Database, image: str | None, before: Host | None) -> None:
        if image == "":
            raise EnclosureError(NO_DATA)
        if before is not None:  # moto gives an address away as soon as its instance is to be terminated
            before.leave()
        containers = self._containers()
        containers.prepare_databases(self._log)
        source = {"source": image} if image else {}
        containers.create_database(
            database.container, database.address, database.cidr, int(database.record.port), **source
        )
        self._start(database, first=True)

    def _start(self, database: Database, *, first: bool = False) -> None:
        containers, record = self._containers(), database.record
        self.before_start()
        containers.start(database.container)
        if first:
            # A restored one has its source's.
            name = f"*.{record.address.partition('.')[2]}"
            containers.feed(database.container, self.authority.issue(name), "sh", "-c", _PLACE)
        try:
            containers.execute(database.container, "sh", "-c", _ANSWERS, timeout=_START_SECONDS)
        except EnclosureError as error:
            raise EnclosureError(f"{error}. Its last words: {containers.console(database.container)[-600:]}") from error
        if first:
            containers.feed(database.container, _sql(record), *_SQL)
        database.expected_end = False
        self._settle(database, "available", "creating", "starting", "rebooting")

    def _stop(self, database: Database) -> None:
        database.expected_end = True
        self._containers().stop(database.container)
        self._settle(database, "stopped", "stopping")

    def _restart(self, database: Database) -> None:
        database.expected_end = True
        self._containers().stop(database.container)
        self._start(database)

    def _recover(self, database: Database) -> None:
        if not database.expected_end and not self._containers().running(database.container):
            self._start(database)

    def _set_password(self, database: Database) -> None:
        self._containers().feed(database.container, _sql(database.record), *_SQL)
        self._settle(database, "available", "resetting-master-credentials")

    def _delete(self, database: Database, forget: Callable[[], Any]) -> None:
        self._remove(database)
        with self._moto:
            forget()

    def _snapshot(self, database: Database, snapshot: Any) -> None:
        image, status = _new_image(), "available"
        try:
            # Only what runs can be paused; what does not run is at rest.
            running = self._containers().running(database.container)
            self._containers().commit(database.container, image, pause=running)
        except EnclosureError as error:
            status = "failed"
            self._log(f"hosts: no snapshot of {database.record.db_instance_identifier}: {error}")
        with self._moto:
            snapshot.status = status
            if status == "available":
                self._snapshots[id(snapshot)] = image

    def _remove(self, database: Database) -> None:
        database.expected_end = True
        try:
            self._containers().remove(database.container)
        except EnclosureError as error:
            self._log(f"hosts: database {database.container} was not removed: {error}")
        finally:
            with self._moto:
                database.free_address()
            with self._changing:
                self._databases.remove(database)
            database.gone.set()
            database.work.put(None)

    def _settle(self, database: Database, status: str, *before: str) -> None:
        """Note what it has become, unless it was asked for something else meanwhile."""
        with self._moto:
            if database.record.status in before:
                database.record.status = status


def _place(record: Any) -> tuple[Any, str]:
    """The subnet, and the range of its VPC."""
    ec2 = account.backend("ec2", record.region)
    if getattr(record, "db_subnet_group", None) is not None:
        ids = [each["SubnetIdentifier"] for each in record.db_subnet_group.subnets]
        subnet = ec2.get_subnet(ids[0])
    else:
        subnet = next(iter(ec2.get_all_subnets(filters={"vpc-id": ec2.default_vpc.id})))
    return subnet, str(ec2.get_vpc(subnet.vpc_id).cidr_block)


def password(record: Any) -> str:
    """The master user's."""
    if record.manage_master_user_password:
        found = record.backend.secretsmanager.get_secret_value(record.master_user_secret.secret_arn, None, None)
        return str(json.loads(found["SecretString"])["password"])
    return str(record._master_user_password or "")


# As RDS makes them: what is there is kept, and the password set. Variables of psql quote what they contain.
# None of these statements is ever logged, whatever happens to it.
_MADE = r"""
SET log_min_error_statement = panic;
SET log_min_messages = panic;
SELECT 'CREATE ROLE rds_superuser NOLOGIN'
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser') \gexec
SELECT format('CREATE ROLE %I LOGIN CREATEDB CREATEROLE', :'user')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'user') \gexec
GRANT rds_superuser, pg_monitor, pg_signal_backend TO :"user";
ALTER ROLE :"user" PASSWORD :'password';
SELECT format('CREATE DATABASE %I', :'database')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
ALTER DATABASE :"database" OWNER TO :"user";
"""


def _sql(record: Any) -> str:
    """What makes the master user and the first database."""
    given = {
        "user": str(record.master_username),
        "database": str(record.db_name or "postgres"),
        "password": password(record),
    }
    return "".join(f"\\set {name} {_quoted(value)}\n" for name, value in given.items()) + _MADE


def _quoted(text: str) -> str:
    """An argument of a command of psql."""
    return "'" + text.replace("\\", r"\\").replace("'", "''") + "'"


def _new_image() -> str:
    return f"localhost/embedded-aws-snapshot-{secrets.token_hex(8)}:latest"
