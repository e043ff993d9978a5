"""ssh's ProxyCommand into the hosts' network namespace: connect.py ENDPOINT INSTANCE PORT

Makes the connection and passes it to ssh (ProxyUseFdpass), so no process copies bytes. Needs root, as hosts do.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import urllib.request

_CLONE_NEWNET = 0x40000000
_SECONDS = 60  # many hosts that boot at once, and as many connections; ssh has its own limit


def main() -> None:
    endpoint, instance, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{endpoint}/_algo/hosts", timeout=_SECONDS) as answer:
        hosts = {host["instance"]: host for host in json.load(answer)}
    if instance not in hosts:
        sys.exit(f"embedded AWS: {instance} is no host. List them: python tools/embedded_aws hosts")
    host = hosts[instance]
    libc = ctypes.CDLL(None, use_errno=True)
    with open(host["network"], "rb") as namespace:
        if libc.setns(namespace.fileno(), _CLONE_NEWNET):
            sys.exit(f"embedded AWS: the hosts' network cannot be entered: {os.strerror(ctypes.get_errno())}")
    connection = socket.create_connection((host["address"], port), timeout=_SECONDS)
    connection.setblocking(True)
    with socket.socket(fileno=os.dup(sys.stdout.fileno())) as ssh:
        socket.send_fds(ssh, [b"\0"], [connection.fileno()])


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"embedded AWS: {' '.join(sys.argv[2:3])}: {error}")
