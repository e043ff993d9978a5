"""On the host: the schema of the MLflow before, with an experiment in it, in the database `older`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels.initial_models import Base

host = json.loads(Path("/etc/mlflow-server/settings.json").read_text())["database_host"]
engine = sqlalchemy.create_engine(
    f"postgresql+psycopg://mlflow:not-a-secret-of-the-database@{host}/older?sslmode=require"
)
config = utils._get_alembic_config("")
script = ScriptDirectory.from_config(config)
head = script.get_revision(script.get_current_head())
Base.metadata.create_all(engine)
with engine.begin() as connection:
    config.attributes["connection"] = connection
    command.upgrade(config, head.down_revision)
with engine.begin() as connection:
    connection.execute(
        sqlalchemy.text(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage)"
            " VALUES ('kept', 'mlflow-artifacts:/1', 'active')"
        )
    )
sys.stdout.write(f"{head.down_revision} {head.revision}\n")
