# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file: what is accepted, what is refused by name, and that secrets stay out of sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from alpaca_websocket import settings
from alpaca_websocket.__main__ import main
from alpaca_websocket.settings import SettingsError

EXAMPLE = Path(__file__).parents[1] / "settings.example.toml"
SMALLEST = '[store]\ndirectory = "/var/lib/x"\n[upstream]\ncredentials_file = "keys.json"\n'


def load(tmp_path: Path, text: str) -> settings.Settings:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return settings.load(path)


def test_the_smallest_file_has_sane_defaults(tmp_path: Path) -> None:
    found = load(tmp_path, SMALLEST)
    assert found.downstream.host == "127.0.0.1"
    assert found.upstreams[0].half_open_seconds > 90
    assert found.upstreams[0].silence == {"trades": 60, "quotes": 60, "bars": 150, "dailyBars": 300}


def test_the_example_is_valid_and_names_only_what_exists() -> None:
    assert settings.load(EXAMPLE).upstreams[0].subscribe


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "store"),
        ("nonsense", "nonsense|invalid|Invalid|TOML|toml|Expected"),
        (SMALLEST + "nonsense = 1\n", "nonsense"),
        (SMALLEST + "calendar = 5\n", "calendar"),
        (SMALLEST + "connect_timeout = 0\n", "connect_timeout"),
        (SMALLEST + 'url = "http://x"\n', "upstream.url"),
        (SMALLEST + "backoff_seconds = 90\n", "backoff_seconds"),
        (SMALLEST + 'credentials_secret = "arn:x"\n', "credentials_secret"),
        (SMALLEST + 'subscribe = { stocks = ["A"] }\n', "stocks"),
        (SMALLEST + '[downstream]\nhost = "0.0.0.0"\n', "tokens_file"),
        (SMALLEST + '[downstream]\ntls_key = "x"\n', "tls_certificate"),
        (SMALLEST + "[downstream]\nport = 70000\n", "port"),
        ('[store]\ndirectory = "/x"\n', "credentials_file"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(tmp_path, text)


def test_credentials_come_from_systemd_s_directory(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"key_id": "a-key", "secret_key": "a-secret"}')
    found = settings.credentials(load(tmp_path, SMALLEST).upstreams[0], {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (found.key_id, found.secret_key) == ("a-key", "a-secret")
    assert "secret" not in repr(found)


def test_without_systemd_credentials_lie_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"key_id": "a-key", "secret_key": "a-secret"}')
    assert settings.credentials(load(tmp_path, SMALLEST).upstreams[0], {}).key_id == "a-key"


@pytest.mark.parametrize("content", ['{"key_id": "topsecret"}', '{"key_id": "", "secret_key": ""}', "topsecret", None])
def test_credentials_that_cannot_be_used_are_not_quoted(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "keys.json").write_text(content)
    with pytest.raises(SettingsError) as caught:
        settings.credentials(load(tmp_path, SMALLEST).upstreams[0], {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "topsecret" not in str(caught.value)


def test_check_says_that_all_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"key_id": "a-key", "secret_key": "a-secret"}')
    path = tmp_path / "settings.toml"
    path.write_text(SMALLEST.replace("keys.json", str(keys)))
    assert main(["check", str(path)]) == 0
    assert "in order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("keys.json", "/nowhere/keys.json"), "credentials"),
        (("/var/lib/x", "relative"), "not absolute"),
        (('credentials_file', 'calendar = "NOWHERE"\ncredentials_file'), "NOWHERE"),
    ],
)  # fmt: skip
def test_check_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], named: str
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"key_id": "a-key", "secret_key": "a-secret"}')
    path = tmp_path / "settings.toml"
    path.write_text(SMALLEST.replace(*change).replace('"keys.json"', f'"{keys}"'))
    assert main(["check", str(path)]) == 2
    assert named in capsys.readouterr().err
