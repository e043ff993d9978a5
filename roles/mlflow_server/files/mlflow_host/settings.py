# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role has written, and the secret beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ETC = Path("/etc/mlflow-server")
SETTINGS = ETC / "settings.json"
SECRET = ETC / "secret.json"
UNIT = "mlflow-server.service"

# Exit statuses, those of sysexits.h.
REFUSED = 78  # wrong settings, secret or schema: a person has to act, another try does not help
WAITING = 75  # the database or AWS does not answer: tried again


class HostError(Exception):
    """A reason for people, and the exit status that goes with it."""

    def __init__(self, reason: str, status: int = REFUSED) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Settings:
    """`settings.json`; it has no secrets."""

    region: str
    secret: str
    artifacts: str
    database_host: str
    database_ca: str
    names: tuple[str, ...]
    ca: str
    port: int
    workers: int

    @classmethod
    def read(cls, path: Path = SETTINGS) -> Settings:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**found, "names": tuple(found["names"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise HostError(f"{path} cannot be read: {error}. Run the role mlflow_server again.") from None

    @property
    def url(self) -> str:
        """Where the host reaches its own server, through TLS."""
        return "https://localhost"


@dataclass(frozen=True)
class Secret:
    """The passwords; made by roles/aws_mlflow_server. Its text never becomes part of a message."""

    username: str
    password: str
    dbname: str
    port: int
    admin_username: str
    admin_password: str
    flask_secret_key: str

    @classmethod
    def parse(cls, text: str, name: str) -> Secret:
        try:
            found = json.loads(text)
            given = {field: found[field] for field in cls.__dataclass_fields__}
            complete = all(given.values()) and len(str(given["admin_password"])) >= 12
            secret = cls(**{**given, "port": int(given["port"])})
        except (ValueError, TypeError, KeyError):
            complete = False
        if not complete:
            raise HostError(
                f"the secret {name} needs {', '.join(cls.__dataclass_fields__)}, and an admin_password of 12 characters"
            )
        return secret

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Secret:
        """From the unit's credentials, or for root from the file."""
        path = (
            Path(environment["CREDENTIALS_DIRECTORY"]) / "secret" if "CREDENTIALS_DIRECTORY" in environment else SECRET
        )
        try:
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise HostError(f"{path} cannot be read: {error.strerror}. As root: algo-mlflow fetch") from None


def database_uri(settings: Settings, secret: Secret) -> str:
    """Without the password, which libpq takes from PGPASSWORD."""
    place = f"{quote(secret.username, safe='')}@{settings.database_host}:{secret.port}/{quote(secret.dbname, safe='')}"
    return f"postgresql+psycopg://{place}?sslmode=verify-full&sslrootcert={settings.database_ca}&connect_timeout=10"


def server_environment(
    settings: Settings, secret: Secret, folder: str, environment: Mapping[str, str]
) -> dict[str, str]:
    """The environment of every process that loads MLflow's server. Secrets are here, and in no file and no argument.

    :param folder: where MLflow's settings of its users are written
    """
    auth = Path(folder) / "auth.ini"
    auth.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = {database_uri(settings, secret)}\nadmin_username = {secret.admin_username}\n",
        encoding="utf-8",
    )
    return {
        **environment,
        "AWS_DEFAULT_REGION": settings.region,
        "PGPASSWORD": secret.password,
        "MLFLOW_AUTH_CONFIG_PATH": str(auth),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secret.flask_secret_key,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
