"""The embedded AWS of this clone.

start    make sure that it runs (a second start changes nothing)
stop     stop it
status   say whether it runs, and where
permissions   what was refused and what no call needed; --operator on tries docs/permissions.md
packages install what hosts need: as root of Debian or Ubuntu, after saying so
hosts    list the instances that are hosts (start --hosts on)
shell    a root shell in one of them
ssh      log in to one of them, or run a command there:  ssh i-0123 -- uptime
inside   run a command on this machine, but in the hosts' network:  inside -- curl http://10.10.0.4:8765
env      print the environment that points AWS tools at it:  eval "$(python tools/embedded_aws env)"
serve    run the server
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # run by the folder's path: its parent is where the package is found
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from embedded_aws import manager
from embedded_aws.hosts import requirements
from embedded_aws.hosts.way_in import WayIn
from embedded_aws.manager import EmbeddedAwsError, Server, State, say


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="embedded_aws", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    own = {"stop": _stop, "status": _status, "env": _env, "packages": _packages}
    asking: dict[str, Callable[[State, argparse.Namespace], int]] = {
        "start": _start,
        "clock": _clock,
        "permissions": _permissions,
    }
    asking |= {"hosts": _hosts, "shell": _shell, "ssh": _ssh, "inside": _inside}
    for name in (*own, *asking, "serve"):
        command = commands.add_parser(name)
        command.add_argument(
            "--state", type=Path, default=manager.ROOT / ".local" / "aws", help="default: .local/aws of this clone"
        )
        if name == "clock":
            command.add_argument("--next", action="store_true", help="move to the next event and deliver it")
            command.add_argument("--at", help="set this time (ISO 8601); events in between are skipped")
            command.add_argument("--rate", type=float, help="seconds of this clock for each real one; 0 stops it")
        if name == "permissions":
            command.add_argument(
                "--operator",
                choices=("on", "off"),
                help="on: calls with the credentials of `env` may do what docs/permissions.md says, and no more",
            )
        if name in ("shell", "ssh"):
            command.add_argument("instance", help="id of a running instance")
        if name == "ssh":
            command.add_argument("words", nargs="*", metavar="command", help="default: a login shell")
        if name == "inside":
            command.add_argument("words", nargs="+", metavar="command", help="it ends with the embedded AWS")
        if name == "start":
            command.add_argument(
                "--hosts",
                choices=("auto", "on", "off"),
                default="off",
                help="instances are Linux hosts in containers (docs/embedded-aws.md); auto: where they can run",
            )
        if name == "serve":
            command.add_argument("--with-hosts", action="store_true", help="instances are hosts")
            command.add_argument("--port", type=int, default=0, help="0 picks a free one")
            life = command.add_mutually_exclusive_group()
            life.add_argument("--with-parent", action="store_true", help="exit when standard input closes")
            life.add_argument("--keep", action="store_true", help="run as the server of the state directory")
    args = parser.parse_args(argv)
    if args.command == "serve":
        from embedded_aws import server

        return server.serve(
            args.state.absolute(), args.port, with_parent=args.with_parent, keep=args.keep, with_hosts=args.with_hosts
        )
    state = State(args.state.absolute())
    try:
        return asking[args.command](state, args) if args.command in asking else own[args.command](state)
    except EmbeddedAwsError as problem:
        say(f"embedded AWS: {problem}")
        return 1


def _start(state: State, args: argparse.Namespace) -> int:
    began = time.monotonic()
    hosts = args.hosts != "off"
    if hosts and (why := requirements.missing()):
        if args.hosts == "on":
            raise EmbeddedAwsError(f"hosts cannot run here: {why}")
        say(f"embedded AWS: without hosts: {why}")
        hosts = False
    server, started = manager.start(state, with_hosts=hosts)
    if args.hosts == "on" and not server.hosts:
        raise EmbeddedAwsError(f"already runs at {server.endpoint} without hosts. Stop it first: make down")
    if started and server.hosts and (narrow := requirements.narrow()):
        say(f"embedded AWS: {narrow}")
    if started:
        took = time.monotonic() - began
        print(
            f"embedded AWS: started at {server.endpoint} in {took:.1f} s, with an empty account (kept in memory only)"
        )
    else:
        print(f"embedded AWS: already running at {server.endpoint}")
    return 0


def _stop(state: State) -> int:
    print("embedded AWS: stopped" if manager.stop(state) else "embedded AWS: was not running")
    return 0


def _packages(_state: State) -> int:
    requirements.install(say)
    return 0


def _running(state: State) -> Server | None:
    server: Any = state.read() if state.held() else None
    return server if server and manager.answers(server) else None


def _status(state: State) -> int:
    server = _running(state)
    if server:
        print(f"embedded AWS: running at {server.endpoint}, process {server.pid}, log {state.log}")
        return 0
    print("embedded AWS: not running")
    return 3


def _env(state: State) -> int:
    server = _running(state)
    if not server:
        raise EmbeddedAwsError("not running. Start it: python tools/embedded_aws start")
    for name, value in manager.environment(server).items():
        print(f"export {name}={value}")
    print("unset AWS_PROFILE AWS_SESSION_TOKEN AWS_CA_BUNDLE")
    return 0


def _ask(state: State, method: str, name: str, given: dict[str, Any] | None = None) -> Any:
    server = _running(state)
    if not server:
        raise EmbeddedAwsError("not running. Start it: python tools/embedded_aws start")
    return manager.control(server.endpoint, name, method, given)


def _clock(state: State, args: argparse.Namespace) -> int:
    given = {name: value for name, value in (("at", args.at), ("rate", args.rate)) if value is not None}
    shown = _ask(state, "PUT", "clock", given) if given else None
    if args.next:
        shown = _ask(state, "POST", "clock")
    shown = shown or _ask(state, "GET", "clock")
    pace = "" if shown["rate"] == 1 else f", {shown['rate']:g} seconds for each real one"
    print(f"embedded AWS: it is {shown['now']}{pace}")
    for due in shown["retries"]:
        print(f"  {due}  a failed delivery or invocation is retried")
    for event in shown["next"]:
        print(f"  {event['at']}  {event['group']}/{event['name']}")
    return 0


def _permissions(state: State, args: argparse.Namespace) -> int:
    if args.operator:
        _ask(state, "PUT", "permissions", {"operator": ""})  # else the operator could not make the role
        server = _running(state)
        if args.operator == "on" and server:
            from embedded_aws import operator_role

            _ask(state, "PUT", "permissions", {"operator": operator_role.make(server.endpoint)})
        print(f"embedded AWS: the operator's permissions are {args.operator}")
        return 0
    report = _ask(state, "GET", "permissions")
    for item in report["refused"]:
        print(f"refused   {item['role']}: {item['action']} on {item['resource']}")
    for item in report["unneeded"]:
        print(f"unneeded  {item['role']}: statement {item['statement']} of {item['policy']}")
    for role in report["roles_without_calls"]:
        print(f"silent    {role}")
    return 0


def _hosts(state: State, _args: argparse.Namespace) -> int:
    for host in _ask(state, "GET", "hosts"):
        print(f"{host['instance']}  {host['address']:<15}  {host['state']:<13}  {host['status']:<12}  {host['what']}")
    return 0


def _shell(state: State, args: argparse.Namespace) -> int:
    for host in _ask(state, "GET", "hosts"):
        if host["instance"] == args.instance:
            return subprocess.call(host["shell"])
    raise EmbeddedAwsError(f"{args.instance} is no host. List them: python tools/embedded_aws hosts")


def _inside(state: State, args: argparse.Namespace) -> int:
    return subprocess.call([*_ask(state, "GET", "inside"), *args.words])


def _ssh(state: State, args: argparse.Namespace) -> int:
    _ask(state, "GET", "hosts")  # waits until they can run, or says why they cannot
    return subprocess.call(["ssh", "-F", str(WayIn(state.directory).config), args.instance, *args.words])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever reads has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
