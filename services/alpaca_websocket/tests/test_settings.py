# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings file: what is accepted, what is refused by name, and that secrets stay out of sight."""

from __future__ import annotations

import os
import subprocess
import sys
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
        (SMALLEST + '[observe]\nhost = "0.0.0.0"\n', "observe.token_file"),
        (SMALLEST + '[observe]\nhost = ""\n', "observe.token_file"),
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


@pytest.mark.parametrize(
    "content",
    [
        b'{"key_id": "topsecret"}',
        b'{"key_id": "", "secret_key": ""}',
        b"topsecret",
        b'{"key_id": "topsecret\xff"}',
        None,
    ],
)
def test_credentials_that_cannot_be_used_are_not_quoted(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "keys.json").write_bytes(content)
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
        (("[store]", '[observe]\nhost = "0.0.0.0"\n[store]'), "observe.token_file is needed to listen on 0.0.0.0"),
        (("[store]", '[observe]\ntoken_file = "/nowhere/token"\n[store]'), "observe.token_file cannot be read"),
        (("[store]", '[observe]\ntoken_file = "/dev/null"\n[store]'), "holds no token of at least 16"),
        (
            ("[store]", '[downstream]\ntls_certificate = "/nowhere/a"\ntls_key = "/dev/null"\n[store]'),
            "downstream.tls_certificate cannot be read",
        ),
        (
            ("[store]", '[downstream]\ntls_certificate = "/dev/null"\ntls_key = "/nowhere/b"\n[store]'),
            "downstream.tls_key cannot be read",
        ),
        (
            ("[store]", '[downstream]\ntls_certificate = "/dev/null"\ntls_key = "/dev/null"\n[store]'),
            "use PEM files that belong together",
        ),
        (("credentials_file", 'ca_file = "/nowhere/ca"\ncredentials_file'), "upstream.ca_file cannot be read"),
        (("credentials_file", 'ca_file = "/dev/null"\ncredentials_file'), "has no certificates"),
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


# More than one feed

STORE = '[store]\ndirectory = "/var/lib/x"\n'
ALPACA = "wss://stream.data.alpaca.markets"


def feed(path: str, *lines: str, keys: str = "keys.json", host: str = ALPACA) -> str:
    return "\n".join(["[[upstream]]", f'url = "{host}{path}"', f'credentials_file = "{keys}"', *lines, ""])


PAPER = feed("/stream", host="wss://paper-api.alpaca.markets")


def test_what_a_feed_is_follows_from_its_address(tmp_path: Path) -> None:
    paths = ("/v2/sip", "/v2/delayed_sip", "/v1beta1/boats", "/v1beta3/crypto/us", "/v1beta1/opra", "/v1beta1/news")
    found = load(tmp_path, STORE + "".join(map(feed, paths)) + PAPER + feed("/v2/test"))
    told = [(up.name, up.path, up.calendar, up.format, up.backfill.feed, up.backfill.source) for up in found.upstreams]
    assert told == [
        ("sip", "/v2/sip", "XNYS", "json", "sip", "rest"),
        ("delayed_sip", "/v2/delayed_sip", "XNYS", "json", "sip", "rest"),
        ("boats", "/v1beta1/boats", "overnight", "json", "boats", "rest"),
        ("crypto", "/v1beta3/crypto/us", "24/7", "json", "", "rest"),
        ("opra", "/v1beta1/opra", "XNYS", "msgpack", "", "rest"),
        ("news", "/v1beta1/news", "24/7", "json", "", "rest"),
        ("trade_updates", "/stream", "24/7", "json", "", "rest"),
        ("test", "/v2/test", "24/7", "json", "", "none"),
    ]
    assert {up.backfill.url for up in found.upstreams if up.name != "trade_updates"} == {"https://data.alpaca.markets"}
    orders = found.upstreams[6]
    assert (orders.backfill.url, orders.subscribe) == ("https://paper-api.alpaca.markets", {"trade_updates": ["*"]})
    assert found.upstreams[5].silence == {}
    stores = [found.store_of(up) for up in found.upstreams]
    assert (stores[0].directory, stores[0].prefix) == ("/var/lib/x/sip", "market-data/sip")
    assert len({store.directory for store in stores}) == len({store.prefix for store in stores}) == 8


def test_a_single_upstream_keeps_its_store_where_it_was(tmp_path: Path) -> None:
    found = load(tmp_path, SMALLEST)
    assert found.store_of(found.upstreams[0]) == found.store


def test_a_silence_of_zero_is_not_judged_and_the_others_stay(tmp_path: Path) -> None:
    found = load(tmp_path, SMALLEST + "silence = { trades = 0, quotes = 5 }\n")
    assert found.upstreams[0].silence == {"quotes": 5, "bars": 150, "dailyBars": 300}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # Row for row: a history of another feed than the address, and what the address does not have.
        (feed("/v2/sip", 'backfill = { feed = "iex" }'), 'backfill.feed is "iex".*v2/sip.*"sip"'),
        (feed("/v1beta3/crypto/us", 'backfill = { feed = "iex" }'), "crypto/us has no such feeds"),
        (feed("/v1beta1/opra", 'backfill = { channels = ["quotes"] }'), "no past of quotes"),
        (feed("/v1beta1/opra", 'format = "json"'), "msgpack only"),
        (feed("/v1beta1/opra", 'subscribe = { quotes = ["*"] }'), r"no \* for quotes"),
        (feed("/v1beta1/news", 'subscribe = { trades = ["*"] }'), "no channel of news: trades"),
        (feed("/v1beta1/news", "silence = { bars = 5 }"), "no channel of news: bars"),
        (feed("/v3/iex"), "names no stream of Alpaca's: .*v3/iex"),
        (feed("/stream", host="wss://orders.internal"), "backfill.url is needed"),
        (feed("/v2/iex", 'name = "../x"'), "upstream.name"),
        (feed("/v2/iex", 'path = "v2/iex"'), "upstream.path"),
        (feed("/v2/iex", 'subscribe = { corrections = ["*"] }'), "corrections come with trades"),
        (feed("/v2/iex", 'backfill = { source = "replay" }'), "Alpaca's, which does not replay"),
        (
            feed(
                "/v2/sip", 'backfill = { url = "https://data.alpaca.markets" }', host=ALPACA.replace("data", "data.x")
            ),
            "the history of .*v2/sip is at https://data.x.alpaca.markets",
        ),
        (
            PAPER + 'backfill = { url = "https://api.alpaca.markets" }\n',
            "the history of .*stream is at https://paper-api.alpaca.markets",
        ),
        (feed("/v2/iex", host="ws://host:99999"), "upstream.url is no address: .*Port out of range"),
        (feed("/v2/iex", host="ws://[::1"), "upstream.url is no address: .*Invalid IPv6"),
        (feed("/v2/iex") + "[downstream]\nport = 8766\n", "downstream and observe cannot both listen"),
        # Two of them
        (feed("/v2/iex") + feed("/v2/iex/"), "iex .*and iex .*single connection.*another account's keys"),
        (
            feed("/v2/iex")
            + feed("/v2/iex", 'name = "b"', 'path = "/b"', host=ALPACA.upper().replace("WSS", "wss") + ":443"),
            "iex .*and b .*single connection",
        ),
        (feed("/v2/iex") + feed("//v2/iex", 'name = "b"', 'path = "/b"'), "iex .*and b .*single connection"),
        (feed("/v2/iex", 'subscribe = { trades = ["A", ""] }'), "an empty symbol for trades"),
        (feed("/v2/iex", host="wss://"), "upstream.url has no host"),
        (feed("/v2/iex", host="wss://level-1.internal"), 'backfill.url is needed.*backfill.source = "replay"'),
        (feed("/v2/iex") + feed("/v2/iex", keys="other.json"), "one name"),
        (feed("/v2/iex") + feed("/v2/iex", 'name = "b"', keys="other.json"), "one path"),
        ("upstream = []\n" + STORE, "no upstream"),
    ],
)
def test_feeds_that_contradict_an_address_or_each_other_are_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(tmp_path, text + ("" if "[store]" in text else STORE))


def test_two_accounts_may_have_the_same_stream_under_two_paths(tmp_path: Path) -> None:
    live = feed("/stream", 'name = "live"', 'path = "/live"', keys="live.json", host="wss://api.alpaca.markets")
    found = load(tmp_path, STORE + PAPER + live)
    assert [up.path for up in found.upstreams] == ["/stream", "/live"]


@pytest.mark.parametrize("command", ["check", "run"])
def test_one_account_behind_two_files_is_refused(tmp_path: Path, command: str) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"key_id": "one-key", "secret_key": "a-secret"}')
    path = tmp_path / "settings.toml"
    second = feed("/v2/iex", 'name = "b"', 'path = "/b"', keys="b.json")
    path.write_text(STORE + feed("/v2/iex", keys="a.json") + second)
    env = {**os.environ, "PYTHONPATH": str(EXAMPLE.parent / "src")}
    asked = [sys.executable, "-m", "alpaca_websocket", command, str(path)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, env=env)
    said = done.stderr
    assert done.returncode == 2, said
    assert "single connection" in said
    assert "a.json" in said
    assert "b.json" in said
    assert "one-key" not in said
