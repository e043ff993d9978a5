"""The agent of a host: registers with SSM as the host's role, runs the commands that it is sent, and reports.

Only Python's standard library, as it runs on the host's own Python. Its calls are those of Amazon's agent by name;
nothing checks signatures here, so they carry the access key only.
"""

# ruff: noqa: S310 - it calls the embedded AWS only
from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from typing import Any

_METADATA = "http://169.254.169.254/latest"
_MESSAGES = "EC2WindowsMessageDeliveryService"
_LONGEST_OUTPUT = 24_000
_SECONDS_BETWEEN_PINGS = 10.0


def metadata(path: str) -> str:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
    ask = urllib.request.Request(f"{_METADATA}/api/token", method="PUT", headers=headers)
    with urllib.request.urlopen(ask, timeout=5) as answer:
        token = answer.read().decode()
    ask = urllib.request.Request(f"{_METADATA}/{path}", headers={"X-aws-ec2-metadata-token": token})
    with urllib.request.urlopen(ask, timeout=5) as answer:
        return str(answer.read().decode())


class Agent:
    """Talks to SSM for one host."""

    def __init__(self) -> None:
        self.endpoint, self.region = os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_REGION"]
        self.instance = metadata("meta-data/instance-id")
        self.running: dict[str, Run] = {}

    def call(self, service: str, target: str, **given: Any) -> Any:
        """Call an operation with the role's credentials, as they are now."""
        role = metadata("meta-data/iam/security-credentials/").split()[0]
        key = json.loads(metadata(f"meta-data/iam/security-credentials/{role}"))["AccessKeyId"]
        day = time.strftime("%Y%m%d", time.gmtime())
        scope = f"AWS4-HMAC-SHA256 Credential={key}/{day}/{self.region}/{service}/aws4_request"
        headers = {"X-Amz-Target": target, "Authorization": scope, "Content-Type": "application/x-amz-json-1.1"}
        body = json.dumps({"InstanceId": self.instance, **given}).encode()
        request = urllib.request.Request(self.endpoint, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def work(self) -> None:
        """Ping, wait for messages, act on them; for ever, or until a call fails."""
        pinged = 0.0
        while True:
            if time.monotonic() - pinged > _SECONDS_BETWEEN_PINGS:
                version = {"AgentVersion": "3.0.0.0", "AgentStatus": "Active", "PlatformType": "Linux"}
                self.call("ssm", "AmazonSSM.UpdateInstanceInformation", **version)
                pinged = time.monotonic()
            for message in self.call("ec2messages", f"{_MESSAGES}.GetMessages")["Messages"]:
                command = message["CommandId"]
                self.call("ec2messages", f"{_MESSAGES}.AcknowledgeMessage", CommandId=command)
                if message["Kind"] == "cancel":
                    if command in self.running:
                        self.running[command].cancel()
                elif command not in self.running:
                    self.running[command] = Run(self, command, message["Steps"])
                    threading.Thread(target=self.running[command].work, daemon=True).start()

    def reply(self, command: str, final: bool, steps: list[dict[str, Any]]) -> None:
        """Report; a server that does not answer is asked again for as long as it takes."""
        while True:
            try:
                self.call(
                    "ec2messages",
                    f"{_MESSAGES}.SendReply",
                    CommandId=command,
                    Final=final,
                    Steps=steps,
                )
                return
            except (OSError, ValueError, KeyError, IndexError):
                time.sleep(1)


class Run:
    """One command on this host."""

    def __init__(self, agent: Agent, command: str, steps: list[dict[str, Any]]) -> None:
        self.agent, self.command, self.steps = agent, command, steps
        self.cancelled = False
        self.process: subprocess.Popen[bytes] | None = None

    def cancel(self) -> None:
        self.cancelled = True
        self.end()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def work(self) -> None:
        done: list[dict[str, Any]] = []
        for number, step in enumerate(self.steps):
            if self.cancelled:
                break
            done.append(self.one(step))
            failed = done[-1]["ResponseCode"] != 0
            last = number == len(self.steps) - 1 or (failed and step["ExitOnFailure"]) or self.cancelled
            if last:
                break
            self.agent.reply(self.command, False, done)
        self.agent.reply(self.command, True, done)

    def one(self, step: dict[str, Any]) -> dict[str, Any]:
        began = time.time()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status, code = self.script(step, out, err)
            return {
                "Name": step["Name"],
                "Status": status,
                "ResponseCode": code,
                "Output": _read(out),
                "Error": _read(err),
                "Start": began,
                "End": time.time(),
            }

    def script(self, step: dict[str, Any], out: Any, err: Any) -> tuple[str, int]:
        """Run a step's script; returns its status and exit status."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh", dir="/run") as file:
            file.write(step["Script"])
            file.flush()
            try:
                self.process = subprocess.Popen(
                    ["/bin/sh", file.name],
                    cwd=step["Directory"] or "/",
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
                if self.cancelled:
                    self.end()
                code = self.process.wait(step["Timeout"])
            except subprocess.TimeoutExpired:
                self.end()
                return "TimedOut", -1
            except OSError as error:
                err.write(f"{error}\n".encode())
                return "Failed", 1
        if self.cancelled:
            return "Cancelled", -1
        return ("Failed" if code else "Success"), code


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read(_LONGEST_OUTPUT).decode(errors="replace"))


def main() -> None:
    while True:
        try:
            Agent().work()
        except (OSError, ValueError, KeyError, IndexError) as error:  # no role, no permission, or nobody there
            print(f"SSM cannot be reached: {error}", flush=True)
            time.sleep(3)


if __name__ == "__main__":
    main()
