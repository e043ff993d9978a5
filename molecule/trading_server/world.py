"""What a trading server asks AWS for, on the embedded AWS of a scenario, and the wheel of the stand-in.

world.py STATE FOLDER
    Publish a model, its keys and the halt parameter, and claim the scenario's host for the model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from host import Host

BUCKET, SECRET, HALT, LOG_GROUP = "molecule-models", "molecule-broker", "/molecule/halt", "/molecule/trading_server"
DRAIN, CODE = "molecule-drain", "molecule-code"
MODEL = "momentum/AAPL/sma-outer_0_inner_0"


class World(Host):
    """The scenario's AWS and its host."""

    def publish(self, content: str, *, told: str | None = None) -> None:
        """Publish a version of the model and tag the host with it, as the fleet does.

        :param told: what the manifest is made of, where that is another content
        """
        s3, prefix = self.client("s3"), f"models/{MODEL}/"
        digest = hashlib.sha256((content if told is None else told).encode()).hexdigest()
        files_named = [{"path": "model.json", "size": len(content), "sha256": digest}]
        manifest = {"format": "algo-modeling/manifest/1", "name": MODEL, "files": files_named}
        files = {"model.json": content, "manifest.json": json.dumps(manifest)}
        for name, text in files.items():
            s3.put_object(Bucket=BUCKET, Key=prefix + name, Body=text.encode())
        from ansible_collections.algo.trading.plugins.module_utils.models import list_models

        (model,) = list_models(s3, BUCKET).models
        self.tag(Model=MODEL, ModelUri=model.uri, ModelVersion=model.version, Symbol="AAPL")

    def tag(self, **tags: str) -> None:
        described = [{"Key": key, "Value": value} for key, value in tags.items()]
        self.client("ec2").create_tags(Resources=[self.id], Tags=described)

    def halt(self, value: str) -> None:
        self.client("ssm").put_parameter(Name=HALT, Value=value, Type="String", Overwrite=True)


def drain_document() -> dict[str, Any]:
    """The document that the evening's shutdown sends, from its role."""
    import yaml

    variables = Path(__file__).parents[2] / "roles" / "aws_trading_server_shutdown" / "vars" / "main.yml"
    document: dict[str, Any] = yaml.safe_load(variables.read_text())["__aws_trading_server_shutdown_drain"]
    document["description"] = "Drain a trading server"
    document["mainSteps"][0]["inputs"]["timeoutSeconds"] = "60"
    return document


def wheel(folder: Path) -> None:
    """The stand-in as the wheel of the trading code."""
    name, info = "algo_modeling-1.0.0-py3-none-any.whl", "algo_modeling-1.0.0.dist-info"
    files = {
        "algo_trader_stand_in.py": Path(__file__).with_name("stand_in.py").read_text(),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: algo-modeling\nVersion: 1.0.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: scenario\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nalgo-trader = algo_trader_stand_in:main\n",
        # It needs nothing.
        "algo_modeling-1.0.0.data/data/share/algo-trader/requirements-python3.11.txt": "",
        "algo_modeling-1.0.0.data/data/share/algo-trader/requirements-python3.12.txt": "",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    (folder / f"{name}.sha256").write_text(hashlib.sha256((folder / name).read_bytes()).hexdigest())


def main() -> None:
    world = World(Path(sys.argv[1]), Path(sys.argv[2]))
    with contextlib.suppress(Exception):  # a second preparation finds them
        world.client("s3").create_bucket(Bucket=BUCKET)
    with contextlib.suppress(Exception):
        keys = json.dumps({"key_id": "test", "secret_key": "test-secret"})
        world.client("secretsmanager").create_secret(Name=SECRET, SecretString=keys)
    with contextlib.suppress(Exception):
        world.client("logs").create_log_group(logGroupName=LOG_GROUP)
    with contextlib.suppress(Exception):
        world.client("ssm").create_document(Name=DRAIN, DocumentType="Command", Content=json.dumps(drain_document()))
    world.halt("false")
    world.publish('{"first": 1}')
    wheel(world.folder)
    with contextlib.suppress(Exception):
        world.client("s3").create_bucket(Bucket=CODE)
    (made,) = world.folder.glob("*.whl")
    world.client("s3").upload_file(str(made), CODE, f"releases/{made.name}")


if __name__ == "__main__":
    main()
