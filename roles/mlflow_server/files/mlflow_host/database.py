# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The database: whether its schema is this version's, its upgrade, and the administrator's password.

MLflow upgrades by itself where a table is missing, and the tables of its users at every start. So the schema is looked
at before MLflow is started, and nothing but this program starts it.
"""

from __future__ import annotations

from typing import Any

from .settings import REFUSED, WAITING, HostError, Secret, Settings, database_uri

# What MLflow versions before 3.16 shipped. Nobody may log in with it.
_SHIPPED = ("admin", "password1234")
NEW, CURRENT, BEHIND, AHEAD = "new", "current", "behind", "ahead"
_REMEDY = {
    BEHIND: "run the role with mlflow_server_upgrade_database=true, which takes a snapshot first",
    AHEAD: "install the version of MLflow that has upgraded it, or a newer one",
}


def schema(settings: Settings, secret: Secret) -> dict[str, Any]:
    """How the schema is, as a whole and for the tables of experiments and of users."""
    with _engine(settings, secret).connect() as connection:
        found = {name: _part(connection, config, table) for name, config, table in _parts()}
    states = {each["state"] for each in found.values()}
    # A database where experiments are current and no user was ever made is one whose first start was interrupted.
    state = next((state for state in (AHEAD, BEHIND) if state in states), CURRENT if CURRENT in states else NEW)
    return {"state": state, **found}


def require_current(settings: Settings, secret: Secret) -> str:
    """The state, where it is one to start with.

    :raises HostError: with the remedy
    """
    found = schema(settings, secret)
    if found["state"] not in _REMEDY:
        return str(found["state"])
    parts = "; ".join(
        f"{name} at {each['found']}, this version of MLflow needs {each['needed']}"
        for name, each in found.items()
        if name != "state" and each["state"] == found["state"]
    )
    raise HostError(f"the database's schema is {found['state']} ({parts}): {_REMEDY[found['state']]}", REFUSED)


def upgrade(settings: Settings, secret: Secret) -> dict[str, Any]:
    """Bring the schema to this version's. A snapshot is the caller's duty."""
    from mlflow.server.auth.db import utils as auth
    from mlflow.store.db import utils as tracking

    engine = _engine(settings, secret)
    before = schema(settings, secret)
    if before["state"] == AHEAD:
        require_current(settings, secret)
    if before["experiments"]["state"] == BEHIND:
        tracking._upgrade_db(engine)
    if before["users"]["state"] == BEHIND:
        auth.migrate(engine, "head")
    return schema(settings, secret)


def prepare(settings: Settings, secret: Secret) -> dict[str, Any]:
    """Before anything can reach the server: a schema of this version, and the secret's administrator."""
    done = {"schema": require_current(settings, secret), "administrator": "as before"}
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.db import utils as tracking

    engine = _engine(settings, secret)
    if not tracking._all_tables_exist(engine):
        tracking._safe_initialize_tables(engine)
    store = SqlAlchemyStore()
    store.init_db(database_uri(settings, secret))
    name, password = secret.admin_username, secret.admin_password
    if not store.has_user(name):
        store.create_user(name, password, is_admin=True)
        done["administrator"] = f"created {name}"
    elif not store.authenticate_user(name, password) or not store.get_user(name).is_admin:
        store.update_user(name, password=password, is_admin=True)
        done["administrator"] = f"set the password of {name} to the secret's"
    if store.authenticate_user(*_SHIPPED):
        store.update_user(_SHIPPED[0], password=password)
        done["shipped_password"] = f"taken from {_SHIPPED[0]}"
    return done


def _engine(settings: Settings, secret: Secret) -> Any:
    import sqlalchemy

    engine = sqlalchemy.create_engine(database_uri(settings, secret), poolclass=sqlalchemy.pool.NullPool)
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        said = " ".join(str(error.orig).split())
        wrong = any(word in said for word in ("authentication failed", "certificate", "does not exist"))
        raise HostError(
            f"no connection to the database {secret.dbname} at {settings.database_host}:{secret.port}: {said}",
            REFUSED if wrong else WAITING,
        ) from None
    return engine


def _parts() -> list[tuple[str, Any, str]]:
    from mlflow.server.auth.db import utils as auth
    from mlflow.store.db import utils as tracking

    return [
        ("experiments", tracking._get_alembic_config(""), "alembic_version"),
        ("users", auth._get_alembic_config(""), "alembic_version_auth"),
    ]


def _part(connection: Any, config: Any, table: str) -> dict[str, str]:
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import inspect

    script = ScriptDirectory.from_config(config)
    needed = str(script.get_current_head())
    found = str(MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision() or "")
    known = {revision.revision for revision in script.walk_revisions()}
    # MLflow before 3.6 kept users without a version.
    unversioned = table == "alembic_version_auth" and "users" in inspect(connection).get_table_names()
    if not found:
        state = BEHIND if unversioned else NEW
    else:
        state = CURRENT if found == needed else BEHIND if found in known else AHEAD
    return {"state": state, "found": found or "none", "needed": needed}
