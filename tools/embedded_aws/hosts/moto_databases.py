"""Makes moto's RDS act on databases: its methods are replaced for the life of the process, all of them here.

moto's own instances are `available` at once and for ever. Other engines, clusters and replicas stay as they are.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any

from .databases import NO_DATA, Databases

_RESTORED = threading.local()  # the snapshot that an instance is being made of


def patch(databases: Databases) -> None:
    """Connect moto to the databases; once, before the server answers."""
    from moto.rds.models import DBInstance, MasterUserSecret, RDSBackend

    _creates(RDSBackend, DBInstance, databases)
    _changes(RDSBackend, databases)
    _snapshots(RDSBackend, databases)
    _shown(DBInstance)

    def secret_string(self: Any) -> str:
        """moto gives all the same."""
        return json.dumps({"username": self.resource.master_username, "password": secrets.token_urlsafe(24)})

    MasterUserSecret._generate_secret_string = secret_string  # type: ignore[method-assign]


def _creates(backend: Any, plain: type, databases: Databases) -> None:
    create, restore = backend.create_db_instance, backend.restore_db_instance_from_db_snapshot

    def create_db_instance(self: Any, db_kwargs: dict[str, Any]) -> Any:
        record = create(self, db_kwargs)
        if record.engine == "postgres" and type(record) is plain:
            databases.create(record, getattr(_RESTORED, "snapshot", None))
        return record

    def restore_db_instance_from_db_snapshot(self: Any, from_snapshot_id: str, overrides: dict[str, Any]) -> Any:
        name = from_snapshot_id.split(":snapshot:")[-1]
        _RESTORED.snapshot = self.describe_db_snapshots(None, name)[0]
        try:
            return restore(self, from_snapshot_id, overrides)
        finally:
            _RESTORED.snapshot = None

    def restore_db_instance_to_point_in_time(self: Any, *_given: Any, **_options: Any) -> Any:
        from moto.rds.exceptions import RDSClientError

        raise RDSClientError("PointInTimeRestoreNotEnabled", NO_DATA)

    backend.create_db_instance = create_db_instance
    backend.restore_db_instance_from_db_snapshot = restore_db_instance_from_db_snapshot
    backend.restore_db_instance_to_point_in_time = restore_db_instance_to_point_in_time


def _changes(backend: Any, databases: Databases) -> None:
    start, stop, reboot = backend.start_db_instance, backend.stop_db_instance, backend.reboot_db_instance
    modify, delete = backend.modify_db_instance, backend.delete_db_instance

    def start_db_instance(self: Any, db_instance_identifier: str) -> Any:
        record = start(self, db_instance_identifier)
        if database := databases.of(record):
            databases.start(database)
        return record

    def stop_db_instance(self: Any, db_instance_identifier: str, db_snapshot_identifier: str | None = None) -> Any:
        record = stop(self, db_instance_identifier, db_snapshot_identifier)
        if database := databases.of(record):
            databases.stop(database)
        return record

    def reboot_db_instance(self: Any, db_instance_identifier: str) -> Any:
        database = _available(self, databases, db_instance_identifier)
        record = reboot(self, db_instance_identifier)
        if database:
            databases.reboot(database)
        return record

    def modify_db_instance(self: Any, db_instance_identifier: str, db_kwargs: dict[str, Any]) -> Any:
        database = _available(self, databases, db_instance_identifier)
        record = modify(self, db_instance_identifier, db_kwargs)
        given = ("master_user_password", "manage_master_user_password", "rotate_master_user_password")
        if database and any(db_kwargs.get(each) for each in given):
            databases.set_password(database)
        return record

    def delete_db_instance(
        self: Any,
        db_instance_identifier: str,
        final_db_snapshot_identifier: str | None = None,
        skip_final_snapshot: bool | None = False,
        delete_automated_backups: bool | None = True,
    ) -> Any:
        record = self.databases.get(db_instance_identifier)
        database = databases.of(record)
        if database is None or record.deletion_protection:
            return delete(
                self,
                db_instance_identifier,
                final_db_snapshot_identifier,
                skip_final_snapshot,
                delete_automated_backups,
            )
        if record.status == "deleting":
            _refuse(record)
        if final_db_snapshot_identifier and not skip_final_snapshot:
            self.create_db_snapshot(db_instance_identifier, final_db_snapshot_identifier)
        databases.delete(
            database, lambda: delete(self, record.db_instance_identifier, None, True, delete_automated_backups)
        )
        return record

    backend.start_db_instance, backend.stop_db_instance = start_db_instance, stop_db_instance
    backend.reboot_db_instance, backend.modify_db_instance = reboot_db_instance, modify_db_instance
    backend.delete_db_instance = delete_db_instance


def _available(backend: Any, databases: Databases, name: str) -> Any:
    """The database of an instance that has one, which must be available."""
    record = backend.databases.get(name)
    database = databases.of(record)
    if database is not None and record.status != "available":
        _refuse(record)
    return database


def _refuse(record: Any) -> None:
    from moto.rds.exceptions import RDSClientError

    name, status = record.db_instance_identifier, record.status
    raise RDSClientError(
        "InvalidDBInstanceState", f"Database instance {name} is not in available state: it is {status}."
    )


def _snapshots(backend: Any, databases: Databases) -> None:
    create, copy, delete = backend.create_db_snapshot, backend.copy_db_snapshot, backend.delete_db_snapshot

    def create_db_snapshot(self: Any, db_instance_identifier: str, *given: Any, **options: Any) -> Any:
        database = databases.of(self.databases.get(db_instance_identifier))
        if database and database.record.status not in ("available", "stopped"):
            _refuse(database.record)
        snapshot = create(self, db_instance_identifier, *given, **options)
        if database and snapshot.snapshot_type == "manual":
            databases.snapshot(database, snapshot)
        return snapshot

    def copy_db_snapshot(self: Any, source_db_snapshot_identifier: str, *given: Any, **options: Any) -> Any:
        made = copy(self, source_db_snapshot_identifier, *given, **options)
        databases.copy_snapshot(self.get_db_snapshot(source_db_snapshot_identifier), made)
        return made

    def delete_db_snapshot(self: Any, db_snapshot_identifier: str) -> Any:
        snapshot = delete(self, db_snapshot_identifier)
        databases.drop_snapshot(snapshot)
        return snapshot

    backend.create_db_snapshot, backend.copy_db_snapshot = create_db_snapshot, copy_db_snapshot
    backend.delete_db_snapshot = delete_db_snapshot


def _shown(plain: Any) -> None:
    endpoint = plain.endpoint.fget

    def known(self: Any) -> Any:
        """RDS tells an endpoint when there is one."""
        return None if self.status == "creating" else endpoint(self)

    plain.endpoint = property(known)
