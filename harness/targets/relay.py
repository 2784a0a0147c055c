"""A command whose standard input and output are a TCP connection, for programs that reach a host through a command."""

from __future__ import annotations

import sys

RELAY = """\
import os,socket,sys,threading
s=socket.create_connection((sys.argv[1],int(sys.argv[2])))
def up():
    while d:=os.read(0,65536): s.sendall(d)
    s.shutdown(1)
threading.Thread(target=up,daemon=True).start()
while d:=s.recv(65536): os.write(1,d)
"""


def command(host: str, port: int) -> list[str]:
    """Return the command; its standard input going away ends what it sends, the host's end ends it."""
    return [sys.executable, "-c", RELAY, host, str(port)]
