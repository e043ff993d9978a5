"""A GPU host by its effects, in this order: each test leaves a host without a job to the next."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from host import Host

PATIENCE = 180
BUCKET = "molecule-checkpoints"
UNIT = "algo-gpu-job.service"
WORKS = "touch ready; while :; do sleep 0.1; done"


def until(condition: Callable[[], Any], told: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE} s: {told()}"
        time.sleep(0.5)
    return found


class GpuHost(Host):
    def command(self, command: str) -> tuple[int, str]:
        """Exit status and output of a command."""
        said = self.run(f"{command} 2>&1; code=$?; echo; echo $code").rstrip().rpartition("\n")
        return int(said[2]), said[0].strip()

    def train(self, name: str, script: str, *options: str) -> str:
        """The command that runs a job as the user algo-gpu, in its home."""
        run = f"algo-gpu run --name {name} {' '.join(options)} -- sh -c '{script}'"
        return f"cd /var/lib/algo-gpu && rm -rf ready checkpoints && {run}"

    def starts(self, name: str, script: str, *options: str) -> None:
        assert self.command(self.train(name, script, "--no-wait", *options))[0] == 0
        until(lambda: self.command("test -e /var/lib/algo-gpu/ready")[0] == 0, self.why)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.command("algo-gpu status --json")[1]))

    def ended(self) -> dict[str, Any]:
        return dict(until(lambda: (now := self.status()["job"]).get("state") == "ended" and now, self.why))

    def why(self) -> str:
        return self.run("algo-gpu status; journalctl --no-pager -n 40 -u 'algo-gpu*'; true")

    def stored(self) -> dict[str, str]:
        s3 = self.client("s3")
        listed = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return {item["Key"]: s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read().decode() for item in listed}


@pytest.fixture(scope="module")
def host() -> GpuHost:
    return GpuHost(Path(os.environ["SCENARIO_AWS_STATE"]), Path(os.environ["SCENARIO_FOLDER"]))


def test_without_a_gpu_it_is_healthy_and_says_so(host: GpuHost) -> None:
    code, said = host.command("algo-gpu status --json")
    found = json.loads(said)
    assert (code, found["healthy"], found["state"]) == (0, True, "free, without a GPU"), said
    code, said = host.command("algo-gpu verify --without-torch")
    assert (code, said.splitlines()[0]) == (3, "no GPU")
    assert host.run("systemctl is-active algo-gpu-persistence").strip() == "active"
    assert not host.run("systemctl list-units --failed --no-legend --plain 'algo-*'").strip()


def test_driver_and_kernel_are_held_and_the_daily_updates_leave_them(host: GpuHost) -> None:
    assert host.run("apt-mark showhold").split() == ["libnvidia-molecule", "linux-image-0-molecule", "nvidia-like"]
    names = ["linux-image-amd64", "linux-aws", "nvidia-driver-590", "libnvidia-gl", "cuda-drivers-590"]
    others = ["linux-libc-dev", "libc6", "cuda-toolkit"]
    program = f"""
import re, apt_pkg
apt_pkg.init()
(each,) = apt_pkg.config.value_list("Unattended-Upgrade::Package-Blacklist")
print([name for name in {names + others} if re.match(each, name)])
"""
    assert host.run(f"/usr/bin/python3 - <<'END'\n{program}\nEND").strip() == str(names)


def test_a_job_runs_as_its_user_its_checkpoints_are_in_the_bucket_and_its_status_is_the_command_s(
    host: GpuHost,
) -> None:
    script = "id -un > $ALGO_GPU_CHECKPOINTS/1.pt; echo printed; exit 7"
    assert host.command(host.train("first", script))[0] == 7
    assert host.stored() == {"checkpoints/first/1.pt": "algo-gpu\n"}
    job = host.status()["job"]
    assert (job["running"], job["exit_status"], job["unstored"]) == (False, 7, [])
    assert "printed" in host.run(f"journalctl --no-pager -o cat -u {UNIT}")


def test_one_job_runs_at_a_time_and_it_can_be_told_to_end(host: GpuHost) -> None:
    host.starts("second", f'trap "echo end > checkpoints/end.pt; exit 0" TERM; {WORKS}')
    assert host.status()["state"] == "training, without a GPU"
    code, said = host.command("algo-gpu run --name third -- true")
    assert (code, "A job runs already: second" in said) == (1, True)
    assert host.command(f"systemctl stop {UNIT}")[0] == 0
    assert host.ended()["exit_status"] == 0
    assert host.stored()["checkpoints/second/end.pt"] == "end\n"


def test_a_supervisor_that_is_killed_leaves_no_job_and_no_lock(host: GpuHost) -> None:
    host.starts("killed", WORKS)
    host.run(f"kill -9 $(systemctl show -P MainPID {UNIT})")
    until(lambda: host.command("pgrep -u algo-gpu")[0] == 1, host.why)
    assert host.command(host.train("again", "true"))[0] == 0


def test_a_bucket_that_cannot_be_written_is_no_success_and_is_named(host: GpuHost) -> None:
    script = "echo x > checkpoints/1.pt"
    assert host.command(host.train("lost", script, "--to s3://molecule-nobody/x"))[0] == 74
    found = host.status()
    assert found["healthy"] is False
    assert "checkpoints of the job lost are not stored: 1.pt" in found["reason"]
    assert host.command(host.train("found", "true"))[0] == 0
    assert host.status()["healthy"] is True


def test_a_spot_notice_reaches_the_job_and_its_checkpoint_is_stored(host: GpuHost) -> None:
    program = (Path(__file__).parent / "imds.py").read_text()
    host.run(f"cat > /root/imds.py <<'END'\n{program}\nEND")
    host.run("systemd-run --quiet --unit=imds /usr/bin/python3 -B /root/imds.py")
    drop_in = "/run/systemd/system/algo-gpu-spot.service.d"
    command = "/usr/local/bin/algo-gpu spot --seconds=0.5 --metadata-url=http://127.0.0.1:8169"
    host.run(f"mkdir -p {drop_in}; printf '[Service]\nExecStart=\nExecStart={command}\n' > {drop_in}/x.conf")
    host.run("systemctl daemon-reload; systemctl restart algo-gpu-spot")
    host.starts("spot", f'trap "echo saved > checkpoints/now.pt" USR1; {WORKS}', "--signal USR1")
    host.run("touch /run/interrupt")
    until(lambda: host.status()["job"].get("notice_stored"), host.why)
    assert host.stored()["checkpoints/spot/now.pt"] == "saved\n"
    host.run(f"rm -r /run/interrupt {drop_in}; systemctl stop {UNIT} imds; systemctl daemon-reload")
    host.run("systemctl restart algo-gpu-spot")
    until(lambda: host.status()["notice"] == {}, host.why)


def test_the_watch_for_the_notice_writes_nowhere_else(host: GpuHost) -> None:
    inside = "nsenter --all --target $(systemctl show -P MainPID algo-gpu-spot)"
    for path in ("/etc/x", "/opt/algo-gpu/x", "/var/lib/x"):
        code, said = host.command(f"{inside} touch {path}")
        assert (code, "Read-only file system" in said) == (1, True), (path, said)


def test_a_login_and_a_job_keep_the_host_on_and_without_them_it_powers_itself_off(host: GpuHost) -> None:
    long_ago = "echo '{\"since\": 1.0}' > /run/algo-gpu/idle.json"
    host.run("systemctl stop algo-gpu-idle.timer")
    host.run('sed -i \'s/"idle_minutes": 60/"idle_minutes": 1/\' /etc/algo-gpu/settings.json')
    host.starts("keeps", WORKS)
    # As the process of a session is titled; ansible's own, from before, have ended when only this one is named.
    host.run("systemd-run --quiet --unit=login bash -c \"exec -a 'sshd: ada@pts/0' sleep 900\"")
    said = until(lambda: "admin@" not in (now := host.command(f"{long_ago}; algo-gpu idle")[1]) and now, host.why)
    assert "the job keeps runs" in said
    assert "ada (pts/0)" in said
    host.run(f"systemctl stop {UNIT}; systemctl stop login")
    until(lambda: host.command("algo-gpu idle")[1].startswith("stays on: unused for 0"), host.why)
    host.run(f"{long_ago}; systemctl start --no-block algo-gpu-idle.service")
    ec2 = host.client("ec2")

    def state() -> str:
        found = ec2.describe_instances(InstanceIds=[host.id])["Reservations"][0]["Instances"][0]
        return str(found["State"]["Name"])

    until(lambda: state() == "stopped", state)
    ec2.start_instances(InstanceIds=[host.id])
    until(lambda: state() == "running" and _healthy(host), state)
    assert host.command(host.train("after", "true"))[0] == 0


def _healthy(host: GpuHost) -> bool:
    try:
        return bool(host.status()["healthy"])
    except (AssertionError, OSError, ValueError):
        return False  # it boots
