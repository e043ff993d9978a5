"""Puts the parts of the hosts together for one server."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from . import image, moto_databases, moto_instances
from .containers import Containers
from .databases import Databases
from .enclosure import ENDPOINT, ENDPOINT_PORT, METADATA, NAME_SERVER, Enclosure, EnclosureError
from .firewall import Firewall
from .instances import Instances
from .metadata import Metadata
from .names import Names
from .way_in import WayIn

Wsgi = Callable[..., Any]
# Of a caller's command. On a busy machine a program that loads a large library takes minutes.
_COMMAND_SECONDS = 300


class Hosts:
    """The hosts of one server.

    :param directory: what they write; deleted with them
    :param endpoint: answers AWS's API
    :param moto: held while moto's tables are looked at
    """

    def __init__(
        self, directory: Path, endpoint: Wsgi, moto: AbstractContextManager[Any], log: Callable[[str], None]
    ) -> None:
        self._endpoint, self._moto, self._log, self._url = endpoint, moto, log, ""
        self._enclosure = Enclosure(directory)
        self.instances = Instances(self._prepare, moto, log)
        self.databases = Databases(self.instances.containers, self.instances.at, moto, log)
        self._way_in = WayIn(directory.parent)
        self._authority = directory.parent / "rds-ca.pem"  # what clients of the databases trust
        self.metadata = Metadata(self.instances, moto, self._way_in)

    def start(self, url: str) -> None:
        """Get ready in the background; instances wait for it in `pending`.

        :param url: where this machine reaches the server
        """
        self._url = url
        moto_instances.patch(self.instances)
        moto_databases.patch(self.databases)
        self._authority.write_text(self.databases.authority.bundle())
        threading.Thread(target=self.instances.prepare, daemon=True, name="hosts").start()
        threading.Thread(target=self._watch_databases, daemon=True, name="ends of databases").start()

    def _watch_databases(self) -> None:
        with contextlib.suppress(EnclosureError):  # hosts cannot run
            self.databases.watch()

    def forget(self) -> None:
        """Remove all hosts: the account was reset."""
        self.databases.forget()
        self.instances.forget()

    def control(self, method: str, given: dict[str, Any]) -> Any:
        """GET lists the hosts; POST runs ``command`` as root in ``instance`` and answers what it printed;
        PUT kills ``instance``, as a panic of its kernel would.

        :raises ValueError: if there is no such host, or the command fails
        """
        try:
            if method == "POST":
                command = [str(word) for word in given["command"]]
                host = str(given["instance"])
                return {"output": self.instances.containers().execute(host, *command, timeout=_COMMAND_SECONDS)}
            if method == "PUT":
                self.instances.containers().kill(str(given["instance"]))
            return self.instances.report()
        except KeyError as error:
            raise ValueError(f"{error} is missing.") from error
        except EnclosureError as error:
            raise ValueError(str(error)) from error

    def inside(self) -> list[str]:
        """What a command line begins with to run in the hosts' namespaces: it ends with them.

        :raises ValueError: if hosts cannot run
        """
        try:
            self.instances.containers()
        except EnclosureError as error:
            raise ValueError(str(error)) from error
        return self._enclosure.command()

    def network(self) -> tuple[list[str], str]:
        """How a function runs in the hosts' network, and the endpoint there; empty as long as hosts cannot run."""
        try:
            self.instances.containers()
        except EnclosureError:
            return [], ""
        return ["nsenter", f"--net={self._enclosure.network}", "--"], f"http://{ENDPOINT}:{ENDPOINT_PORT}"

    def _prepare(self) -> Containers:
        base = image.ensure(self._log)
        self._way_in.make(self._url)
        self._enclosure.open()
        self._serve(METADATA, 80, self.metadata)
        self._serve(ENDPOINT, ENDPOINT_PORT, self._endpoint)
        resolver = self._enclosure.listen(NAME_SERVER, 53, socket.SOCK_DGRAM)
        outside = functools.partial(self._enclosure.listen, "0.0.0.0", 0, socket.SOCK_DGRAM)  # noqa: S104 - in there
        names = Names(self.instances, self.databases, self._moto, outside)
        threading.Thread(target=names.serve, args=(resolver,), daemon=True, name="names").start()
        firewall = Firewall(self._enclosure, self.instances, self.databases, self._moto, self._log)
        firewall.apply()
        self.instances.before_boot = self.databases.before_start = firewall.apply
        threading.Thread(target=firewall.watch, daemon=True, name="security groups").start()
        return Containers(self._enclosure, base)

    def _serve(self, address: str, port: int, application: Wsgi) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Handler(WSGIRequestHandler):
            disable_nagle_algorithm = True

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                pass

        listening = self._enclosure.listen(address, port)
        listening.listen(128)
        server = make_server(address, port, application, threaded=True, request_handler=Handler, fd=listening.fileno())
        listening.detach()
        threading.Thread(target=server.serve_forever, daemon=True, name=f"{address}:{port}").start()
