"""The program of a GPU host, as processes on a host in a folder.

nvidia-smi, systemd's programs and the metadata service are processes that say what a test needs; S3 is moto's.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from gpu_host import idle, launch
from gpu_host.errors import BUSY, NO_GPU, NOT_STORED, REFUSED, HostError
from gpu_host.places import Places, held, take
from gpu_host.settings import Settings, read_settings
from moto.server import ThreadedMotoServer

ROLE = Path(__file__).parents[4] / "roles" / "gpu_host"
PATIENCE = 60
START = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpu_host.cli import main
from gpu_host.places import Places
sys.exit(main(sys.argv[3:], Places(Path(sys.argv[2]))))
"""
CARD = "NVIDIA L4, 590.44.01, {load}, 12, 23034, Enabled\n"


def until(condition: Callable[[], Any], told: Callable[[], str] = str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"it did not happen within {PATIENCE} s: {told()}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Host:
    """A host in a folder: its files, its programs, and the processes of `algo-gpu` on it."""

    def __init__(self, root: Path, endpoint: str, s3: Any) -> None:
        self.root, self.places, self.started = root, Places(root), []
        self.work, self.bin = root / "home", root / "bin"
        for folder in (self.work, self.bin, self.places.idle.parent, self.places.settings.parent, self.places.proc):
            folder.mkdir(parents=True)
        self.settings(region="us-east-1", stop_seconds=20)
        self.program("systemctl", f'echo "$@" >> {root}/systemctl; test "$1" != is-active || echo active')
        self.s3 = s3
        self.bucket = f"bucket-{os.getpid()}-{root.parent.name}".replace("_", "-").lower()[:60].rstrip("-")
        self.s3.create_bucket(Bucket=self.bucket)
        self.env = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "t",
            "AWS_SECRET_ACCESS_KEY": "t",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def settings(self, **given: Any) -> None:
        self.places.settings.write_text(json.dumps(given))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def card(self, driver: str, number: int = 0) -> None:
        """A GPU, and what nvidia-smi does."""
        device = self.places.pci / f"0000:00:1{number}.0"
        device.mkdir(parents=True, exist_ok=True)
        (device / "vendor").write_text("0x10de\n")
        (device / "class").write_text("0x030200\n")
        self.program("nvidia-smi", driver)

    def shows(self, *loads: Any) -> None:
        self.card(f"printf '{''.join(CARD.format(load=load) for load in loads)}'".replace("\n", "\\n"))

    def torch(self, printed: str) -> None:
        """The environment's Python, as far as `verify` sees it: what it prints."""
        self.places.python.parent.mkdir(parents=True, exist_ok=True)
        self.places.python.write_text(f"#!/bin/sh\n{printed}\n")
        self.places.python.chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(ROLE / "files"), str(self.root), *arguments],
            cwd=self.work, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said = process.communicate(timeout=PATIENCE)[0]
        return process.returncode, said

    def train(self, script: str, *options: str) -> subprocess.Popen[str]:
        to = f"--to=s3://{self.bucket}/runs"
        command = ["supervise", "--name=first", to, "--sync-seconds=0.1", *options, "--", "/bin/sh", "-c", script]
        return self.start(*command)

    def runs(self) -> bool:
        return held(self.places.job_lock) and bool(self.told())

    def told(self) -> dict[str, Any]:
        path = self.places.job
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def stored(self) -> dict[str, str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            item["Key"]: self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read().decode()
            for item in listed
        }


@pytest.fixture(scope="module")
def s3(endpoint: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
    )


@pytest.fixture
def host(tmp_path: Path, endpoint: str, s3: Any) -> Iterator[Host]:
    made = Host(tmp_path / "root", endpoint, s3)
    yield made
    for process in made.started:
        # A supervisor's job is in a group of its own, which systemd would end.
        jobs = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        process.kill()
        process.wait()
        for job in jobs.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(job), signal.SIGKILL)
        assert process.stdout
        process.stdout.close()


def test_a_job_s_checkpoints_are_stored_while_it_runs_and_it_ends_with_its_own_status(host: Host) -> None:
    job = host.train("echo one > $ALGO_GPU_CHECKPOINTS/1.pt; until test -e go; do sleep 0.05; done; exit 7")
    until(lambda: host.stored() == {"runs/1.pt": "one\n"})
    assert host.told()["state"] == "running"
    (host.work / "go").touch()
    assert job.wait(PATIENCE) == 7
    told = host.told()
    assert (told["state"], told["exit_status"], told["unstored"]) == ("ended", 7, [])
    assert not held(host.places.job_lock)


def test_what_is_written_last_is_stored_and_what_is_unfinished_is_not(host: Host) -> None:
    folder = "cd $ALGO_GPU_CHECKPOINTS"
    job = host.train(
        f"{folder}; mkdir best .cache; echo a > best/1.pt; echo b > .cache/x; echo c > 2.pt.tmp; echo d > latest"
    )
    assert job.wait(PATIENCE) == 0
    assert host.stored() == {"runs/best/1.pt": "a\n", "runs/latest": "d\n"}


def test_a_file_that_changes_is_stored_again(host: Host) -> None:
    job = host.train(
        "echo one > checkpoints/last.pt; until test -e go; do sleep 0.05; done; echo two > checkpoints/last.pt"
    )
    until(lambda: host.stored() == {"runs/last.pt": "one\n"})
    (host.work / "go").touch()
    assert job.wait(PATIENCE) == 0
    assert host.stored() == {"runs/last.pt": "two\n"}


def test_one_job_runs_at_a_time_and_one_that_is_killed_leaves_no_lock(host: Host) -> None:
    first = host.train("exec sleep 600")
    until(host.runs)
    code, said = host.run("supervise", "--name=second", "--", "true")
    assert code == 1
    assert "A job runs already: first, since 20" in said
    child = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True).stdout.split()
    try:
        first.kill()
        first.wait()
        assert host.run("supervise", "--name=second", "--", "true")[0] == 0
    finally:
        os.kill(int(child[0]), signal.SIGKILL)


def test_a_job_that_is_told_to_end_writes_its_checkpoint_and_that_is_stored(host: Host) -> None:
    job = host.train("trap 'echo end > checkpoints/end.pt; exit 0' TERM; touch ready; while :; do sleep 0.05; done")
    until((host.work / "ready").exists)
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE) == 0
    assert host.stored() == {"runs/end.pt": "end\n"}


def test_a_job_that_does_not_end_in_its_time_is_killed_and_its_checkpoints_are_stored(host: Host) -> None:
    host.settings(region="us-east-1", stop_seconds=1)
    job = host.train("trap '' TERM; echo x > checkpoints/1.pt; touch ready; while :; do sleep 0.05; done")
    until((host.work / "ready").exists)
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE) == 137
    assert host.stored() == {"runs/1.pt": "x\n"}


def test_a_checkpoint_that_cannot_be_stored_is_named_and_no_success(host: Host) -> None:
    job = host.train("echo x > checkpoints/1.pt", f"--to=s3://{host.bucket}-none/runs")
    said = job.communicate(timeout=PATIENCE)[0]
    assert job.returncode == NOT_STORED
    assert f"NOT stored in s3://{host.bucket}-none/runs: 1.pt." in said
    assert host.told()["unstored"] == ["1.pt"]
    found = json.loads(host.run("status", "--json")[1])
    assert "checkpoints of the job first are not stored: 1.pt" in found["reason"]


def test_the_job_finds_the_environment_with_pytorch_first(host: Host) -> None:
    host.torch("echo ours $VIRTUAL_ENV > said")
    assert host.run("supervise", "--name=a", "--", "python", "train.py")[0] == 0
    assert (host.work / "said").read_text() == f"ours {host.places.versions}/current\n"


class Metadata:
    """IMDSv2, with what is announced; its tokens can expire."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.token, self.asked = 1, 0
        outer = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self._send(200, str(outer.token))

            def do_GET(self) -> None:
                outer.asked += 1
                if self.headers.get("X-aws-ec2-metadata-token") != str(outer.token):
                    self._send(401, "")
                elif text := outer.answers.get(self.path):
                    self._send(200, text)
                else:
                    self._send(404, "")

            def _send(self, code: int, text: str) -> None:
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def interrupt(self) -> None:
        text = json.dumps({"action": "terminate", "time": "2026-11-26T08:22:00Z"})
        self.answers["/latest/meta-data/spot/instance-action"] = text


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    made = Metadata()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(
    ("options", "script"),
    [
        (["--signal=USR1"], "trap 'echo now > checkpoints/now.pt' USR1; touch ready; while :; do sleep 0.05; done"),
        (
            [],
            "touch ready; until test -e $ALGO_GPU_NOTICE; do sleep 0.05; done; "
            "echo now > checkpoints/now.pt; exec sleep 600",
        ),
    ],
    ids=["by a signal", "by the file"],
)
def test_a_spot_notice_reaches_the_job_and_its_checkpoint_is_stored(
    host: Host, metadata: Metadata, options: list[str], script: str
) -> None:
    watch = host.start("spot", "--seconds=0.05", f"--metadata-url={metadata.address}")
    job = host.train(script, *options)
    until(lambda: (host.work / "ready").exists() and host.runs())
    asked = metadata.asked
    until(lambda: metadata.asked > asked + 2)
    assert not host.places.notice.exists()
    metadata.token += 1  # the first token has expired
    metadata.interrupt()
    until(lambda: host.told().get("notice_stored"), lambda: json.dumps(host.told()))
    assert host.told()["notice"]["kind"] == "interruption"
    assert host.stored() == {"runs/now.pt": "now\n"}
    assert job.poll() is None
    found = json.loads(host.run("status", "--json")[1])
    assert found["notice"]["time"] == "2026-11-26T08:22:00Z"
    watch.kill()
    said = watch.communicate()[0]
    assert (
        said
        == "AWS will terminate this instance (2026-11-26T08:22:00Z): the running job is told to write its checkpoint\n"
    )


def test_a_checkpoint_from_before_the_notice_is_not_taken_for_one_after_it(host: Host, metadata: Metadata) -> None:
    host.start("spot", "--seconds=0.05", f"--metadata-url={metadata.address}")
    host.train("echo old > checkpoints/old.pt; touch -d '1 minute ago' checkpoints/old.pt; exec sleep 600")
    until(lambda: host.stored() == {"runs/old.pt": "old\n"})
    metadata.interrupt()
    assert until(lambda: "notice" in host.told() and host.told())["notice_stored"] is False


def test_a_recommendation_is_told_and_an_interruption_after_it_as_well(host: Host, metadata: Metadata) -> None:
    watch = host.start("spot", "--seconds=0.05", f"--metadata-url={metadata.address}")
    metadata.answers["/latest/meta-data/events/recommendations/rebalance"] = '{"noticeTime": "2026-11-26T08:00:00Z"}'
    until(host.places.notice.exists)
    assert json.loads(host.places.notice.read_text())["kind"] == "rebalance"
    metadata.interrupt()
    until(lambda: json.loads(host.places.notice.read_text())["kind"] == "interruption")
    metadata.answers.clear()
    until(lambda: not host.places.notice.exists())
    watch.kill()
    assert [line.split("(")[0].strip() for line in watch.communicate()[0].splitlines()] == [
        "AWS may soon interrupt this instance",
        "AWS will terminate this instance",
        "the spot notice was taken back",
    ]


def test_a_metadata_service_that_is_away_is_asked_again(host: Host, metadata: Metadata) -> None:
    address = metadata.address
    metadata.server.shutdown()
    metadata.server.server_close()
    watch = host.start("spot", "--seconds=0.05", f"--metadata-url={address}")
    assert watch.stdout
    assert "does not answer, still trying" in watch.stdout.readline()
    assert watch.poll() is None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Idle:
    """The looks of the timer, on a clock of the test's own."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", host.env["PATH"])
        self.host, self.clock = host, Clock()

    def after(self, minutes: float) -> str:
        self.clock.now += minutes * 60
        return idle.as_text(idle.look(self.host.places, read_settings(self.host.places), idle.power_off, self.clock))

    @property
    def off(self) -> bool:
        asked = self.host.root / "systemctl"
        return asked.exists() and "poweroff" in asked.read_text()


@pytest.fixture
def looks(host: Host, monkeypatch: pytest.MonkeyPatch) -> Idle:
    host.settings(idle_minutes=30)
    return Idle(host, monkeypatch)


def test_a_host_that_nobody_uses_is_powered_off_after_the_set_time(host: Host, looks: Idle) -> None:
    host.shows(0)
    assert looks.after(0) == "stays on: unused for 0 of 30 minutes"
    assert looks.after(29) == "stays on: unused for 29 of 30 minutes"
    assert not looks.off
    assert looks.after(1) == "nothing has used this host for the set time: powering off"
    assert looks.off
    code, said = host.run("supervise", "--name=late", "--", "true")
    assert code == 1
    assert "The host is being powered off" in said


def test_load_of_any_gpu_keeps_it_on_and_the_time_begins_anew(host: Host, looks: Idle) -> None:
    host.shows(0, 0)
    looks.after(0)
    host.shows(0, 60)
    assert looks.after(29) == "stays on: GPU 1 has a load of 60 %"
    host.shows(4, 0)
    assert looks.after(29) == "stays on: unused for 0 of 30 minutes"
    looks.after(29)
    assert not looks.off


def test_a_job_keeps_it_on_however_little_it_does(host: Host, looks: Idle) -> None:
    host.shows(0)
    looks.after(0)
    host.train("exec sleep 600")
    until(host.runs)
    for _look in range(3):
        assert looks.after(100) == "stays on: the job first runs"
    assert not looks.off
    assert not host.places.powering_off.exists()


@pytest.mark.parametrize(
    ("title", "who"),
    [
        ("sshd: ada@pts/0", "ada (pts/0)"),
        ("sshd-session: ada@notty", "ada (notty)"),
        ("/usr/bin/ssm-session-worker ada-0f1e", "through SSM (ada-0f1e)"),
        ("sshd: ada [priv]", ""),
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", ""),
    ],
)
def test_a_login_keeps_it_on(host: Host, looks: Idle, title: str, who: str) -> None:
    process = host.places.proc / "4711"
    process.mkdir()
    (process / "cmdline").write_bytes(title.replace(" ", "\0").encode())
    looks.after(0)
    said = looks.after(31)
    assert said == (
        f"stays on: somebody is logged in: {who}"
        if who
        else "nothing has used this host for the set time: powering off"
    )
    assert looks.off == (not who)


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "Driver/library version mismatch",
        ),
        (f"printf '{CARD.format(load='[N/A]').strip()}'", "the load of GPU 0 is not known"),
        ("true", "nvidia-smi has told nothing"),
    ],
)
def test_a_load_that_is_not_known_keeps_it_on(host: Host, looks: Idle, driver: str, why: str) -> None:
    host.card(driver)
    looks.after(0)
    assert why in looks.after(60)
    assert not looks.off


def test_a_host_without_a_gpu_is_powered_off_as_well(looks: Idle) -> None:
    looks.after(0)
    looks.after(31)
    assert looks.off


def test_zero_minutes_are_never(host: Host, looks: Idle) -> None:
    host.settings(idle_minutes=0)
    assert looks.after(0) == looks.after(9999) == "stays on: the idle stop is off: gpu_host_idle_minutes is 0"
    assert not looks.off


def test_a_host_that_cannot_be_powered_off_runs_jobs_again(host: Host, looks: Idle) -> None:
    host.program("systemctl", "echo 'Access denied' >&2; exit 1")
    looks.after(0)
    with pytest.raises(HostError, match="could not be powered off: Access denied"):
        looks.after(31)
    assert host.run("supervise", "--name=a", "--", "true")[0] == 0


def test_the_status_shows_the_host(host: Host) -> None:
    host.settings(torch=False)
    host.shows(3)
    code, said = host.run("status", "--json")
    found = json.loads(said)
    assert code == 0
    assert found["healthy"] is True
    assert (found["state"], found["driver"], found["gpus"][0]["memory_total"]) == ("free", "590.44.01", 23034)
    text = host.run("status")[1]
    assert "healthy" in text
    assert "NVIDIA L4, load 3 %, memory 12 of 23034 MiB" in text


def test_the_status_says_what_is_wrong(host: Host) -> None:
    host.card("echo 'No devices were found'; exit 6")
    host.program("systemctl", "echo inactive; exit 3")
    code, said = host.run("status", "--json")
    assert code == 1
    assert json.loads(said)["reason"] == (
        "the driver does not answer: No devices were found; PyTorch is not installed; "
        "algo-gpu-spot.service is inactive; algo-gpu-idle.timer is inactive"
    )


def test_without_systemd_status_and_run_say_so(host: Host) -> None:
    host.settings(torch=False, user="nobody")
    host.program("systemctl", 'echo "System has not been booted with systemd as init system (PID 1)." >&2; exit 1')
    not_booted = host.run("status", "--json")
    (host.bin / "systemctl").unlink()
    host.env["PATH"] = str(host.bin)
    for code, said in (not_booted, host.run("status", "--json")):
        assert code == 1
        assert json.loads(said)["reason"] == (
            "systemd does not run on this host, so algo-gpu-spot.service and algo-gpu-idle.timer do not run"
        )
    code, said = host.run("run", "--no-store", "--", "train")
    assert (code, said.splitlines()[-1]) == (
        REFUSED,
        "algo-gpu: The job was not started: systemd does not run on this host.",
    )


def test_a_host_without_a_gpu_is_healthy_unless_one_is_required(host: Host) -> None:
    host.settings(torch=False)
    assert json.loads(host.run("status", "--json")[1])["state"] == "free, without a GPU"
    host.settings(torch=False, require_gpu=True)
    code, said = host.run("status")
    assert code == 1
    assert "NOT healthy: the host has no GPU, and gpu_host_require_gpu is true" in said


CPU = {"device": "cpu", "error": 3e-7, "correct": True, "seconds": 0.2}
GPU = {**CPU, "device": "cuda:0", "name": "NVIDIA L4", "memory_free_mib": 22000, "memory_total_mib": 23034}


def computed(*devices: dict[str, Any]) -> str:
    return f"echo '{json.dumps({'torch': '2.15.0', 'cuda': '13.2', 'devices': [CPU, *devices]})}'"


def test_without_a_gpu_the_cpu_computes_and_the_status_says_so(host: Host) -> None:
    host.torch(computed())
    code, said = host.run("verify")
    assert code == NO_GPU
    assert said.splitlines()[0] == "no GPU"
    assert "cpu: correct, error 3.0e-07" in said
    assert host.run("verify", "--without-torch")[0] == NO_GPU


@pytest.mark.parametrize(
    ("driver", "torch", "code", "reason"),
    [
        ("ok", computed(GPU), 0, ""),
        ("ok", computed({**GPU, "correct": False, "error": 0.5}), 1, "cuda:0 computes wrong: error 5.0e-01"),
        (
            "ok",
            computed({**GPU, "correct": False, "reason": "no kernel image"}),
            1,
            "cuda:0 computes wrong: no kernel image",
        ),
        ("ok", computed(), 1, "PyTorch 2.15.0 (CUDA 13.2) uses 0 of 1 GPUs: its CUDA may need a newer driver"),
        (
            "ok",
            "echo 'ImportError: libcudart.so.13' >&2; exit 1",
            1,
            "PyTorch does not work: ImportError: libcudart.so.13",
        ),
        ("exit 9", computed(GPU), 1, "the driver does not answer: it ended with 9"),
    ],
)
def test_a_gpu_is_verified_by_what_it_computes(host: Host, driver: str, torch: str, code: int, reason: str) -> None:
    host.shows(0) if driver == "ok" else host.card(driver)
    host.torch(torch)
    done, said = host.run("verify", "--json")
    assert (done, json.loads(said)["reason"]) == (code, reason)


def test_nothing_is_verified_while_a_job_runs(host: Host) -> None:
    host.train("exec sleep 600")
    until(host.runs)
    assert host.run("verify")[0] == BUSY


def test_persistence_mode_is_set_where_there_is_a_gpu(host: Host) -> None:
    assert host.run("persist") == (0, "the host has no GPU\n")
    host.card(f'echo "$@" > {host.root}/asked')
    assert host.run("persist")[0] == 0
    assert (host.root / "asked").read_text() == "--persistence-mode=1\n"


def order(**given: Any) -> launch.Order:
    default: dict[str, Any] = dict.fromkeys(("name", "checkpoints", "to", "user", "environment_file", "tell"), "")
    return launch.Order(**{**default, "command": ("python", "train.py"), "store": True, "wait": True, **given})


def command(settings: Settings, asked: launch.Order, **caller: str) -> list[str]:
    return launch.unit_command(settings, asked, caller, "20261126T080000Z", Path("/srv"))


def test_a_job_is_a_unit_of_the_one_who_called_sudo_with_a_folder_in_the_bucket() -> None:
    settings = Settings(checkpoints="s3://models/checkpoints/", user="nobody")
    given = command(settings, order(), SUDO_USER="root")
    assert "--property=User=root" in given
    assert given[given.index("/usr/local/bin/algo-gpu") :] == [
        "/usr/local/bin/algo-gpu", "supervise", "--name=20261126T080000Z", "--checkpoints=/srv/checkpoints",
        "--to=s3://models/checkpoints/20261126T080000Z", "--", "python", "train.py",
    ]  # fmt: skip
    assert "--property=User=nobody" in command(settings, order())
    assert "--to=s3://models/checkpoints/lstm-1" in command(settings, order(name="lstm-1"))
    assert not [each for each in command(settings, order(store=False)) if each.startswith("--to")]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "It is not known where checkpoints are stored"),
        ({"user": "no-such-user"}, "There is no user no-such-user"),
        ({"name": "../x", "store": False}, "is no name of a job"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(HostError, match=reason) as refused:
        command(Settings(user="nobody"), order(**given))
    assert refused.value.exit_status == REFUSED


def test_run_ends_with_the_job_s_status_and_passes_on_its_end(host: Host) -> None:
    host.settings(user="nobody")
    host.program(
        "systemd-run", f"echo x > {host.root}/up; until test -e {host.root}/systemctl; do sleep 0.05; done; exit 7"
    )
    job = host.start("run", "--no-store", "--", "train")
    until((host.root / "up").exists)
    assert job.poll() is None
    job.send_signal(signal.SIGTERM)
    assert job.wait(PATIENCE) == 7
    assert (host.root / "systemctl").read_text().startswith("stop --no-block algo-gpu-job.service\n")


def test_run_names_the_job_that_runs(host: Host) -> None:
    host.settings(user="nobody")
    host.train("exec sleep 600")
    until(host.runs)
    code, said = host.run("run", "--no-store", "--", "train")
    assert code == 1
    assert "A job runs already: first" in said
    assert host.run("run", "--no-store")[0] == REFUSED


def test_whoever_looks_at_the_lock_does_not_keep_a_job_from_taking_it(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.job_lock.parent.mkdir(parents=True)
    places.job_lock.touch()
    ends = threading.Event()

    def look() -> None:
        while not ends.is_set():
            held(places.job_lock)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _try in range(50):
            handle = take(places.job_lock)
            assert handle is not None
            os.close(handle)
    finally:
        ends.set()
        looking.join()


def test_a_pipe_in_the_place_of_the_job_s_file_keeps_nobody_waiting(host: Host) -> None:
    host.settings(torch=False)
    host.places.job.parent.mkdir(parents=True)
    os.mkfifo(host.places.job)
    assert json.loads(host.run("status", "--json")[1])["job"] == {}


def test_the_program_s_defaults_are_the_role_s() -> None:
    defaults = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    written = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__gpu_host_settings"]
    own = {name: getattr(Settings(), name) for name in Settings.__dataclass_fields__}
    assert written.keys() == own.keys()
    del own["checkpoints"]  # the environment's bucket, which the program alone cannot know
    assert {name: defaults[f"gpu_host_{name}"] for name in own} == own


@pytest.mark.parametrize(
    "text", ["[]", "no json", '{"idle_minutes": "60"}', '{"idle_minutes": true}', '{"idle_minuts": 60}']
)
def test_settings_that_are_wrong_are_refused_with_the_remedy(host: Host, text: str) -> None:
    host.places.settings.write_text(text)
    code, said = host.run("status", "--json")
    assert code == REFUSED
    assert "Run the role gpu_host again" in json.loads(said)["reason"]


def test_a_host_of_an_image_knows_its_region_from_cloud_init(host: Host) -> None:
    host.places.settings.unlink()
    host.places.environment.parent.mkdir(parents=True)
    host.places.environment.write_text('{"region": "eu-west-1"}')
    assert read_settings(host.places) == Settings(region="eu-west-1")
