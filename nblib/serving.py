"""Start a web server of this machine and wait for its end: a free port, a fresh token, loopback only.

The token reaches the server by its environment: what stands on a command line, every user of the machine can read.
"""

import contextlib
import errno
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

HOST = "127.0.0.1"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would not reach this machine


@dataclass(frozen=True)
class Server:
    """How to start a server, and where it will be.

    Attributes
    ----------
    name : str
        As it is told.
    line : list of str
        The command line; the token is in JUPYTER_TOKEN, for servers of the Jupyter family.
    port : int
    path : str
        Of the page to open, such as "/lab".
    environment : mapping of str to str
        Variables beside those of this process.
    token : str
        Fresh, unless given.
    """

    name: str
    line: list[str]
    port: int
    path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    token: str = field(default_factory=lambda: secrets.token_hex(24), repr=False)

    @property
    def url(self) -> str:
        """The address to open, token included."""
        return f"http://{HOST}:{self.port}{quote(self.path)}?token={self.token}"

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment; programs of this Python are found first."""
        path = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
        return {**os.environ, "PATH": path, "JUPYTER_TOKEN": self.token, **self.environment}


def free_port(wanted: int | None = None) -> int:
    """Return `wanted`, or any port of the loopback address, after trying that nothing listens on it.

    Raises
    ------
    ValueError
        If `wanted` is taken, or not allowed to this user.
    """
    with socket.socket() as probe:
        if os.name == "posix":  # else a port stays closed for a minute after its server has ended
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            why = {errno.EADDRINUSE: "is taken", errno.EACCES: "is not allowed to you"}.get(error.errno, str(error))
            raise ValueError(f"--port {wanted} {why}; choose another, or leave it out for a free one") from error
        return probe.getsockname()[1]


def serve(server: Server, *, browser: bool = False) -> int:
    """Run a server until it ends (Ctrl-C), and say where it is as soon as it answers; return its exit status.

    Raises
    ------
    RuntimeError
        If it lets anybody in without the token; it is ended then.
    """
    print(f"{server.name} is starting …", flush=True)
    process = subprocess.Popen(server.line, env=server.variables)
    with _ends_follow(process), _private_page(server.url) as page:
        if _answers(server.port, process):
            if _is_open(server.port):  # the token of the environment is only Jupyter's default
                process.terminate()
                process.wait()
                raise RuntimeError(
                    f"{server.name} answers without its token, so it was ended; a jupyter configuration of yours sets "
                    "IdentityProvider.token or allows everybody: `jupyter --paths` shows where it may lie"
                )
            said = f"{server.name} is ready (Ctrl-C ends it):\n{server.url}\n"
            print(said, end="", flush=True)  # in one piece: the server's own words go to the same terminal
            if browser:
                webbrowser.open(page.as_uri())
        status = process.wait()
    return status if status >= 0 else 128 - status  # ended by a signal: as shells count it


def _answers(port: int, process: subprocess.Popen) -> bool:
    """Wait until the server answers; False if it ended instead."""
    while process.poll() is None:
        try:
            with DIRECT.open(f"http://{HOST}:{port}/login", timeout=2):
                return True
        except urllib.error.HTTPError:  # an answer as well
            return True
        except OSError:
            time.sleep(0.1)
    return False


def _is_open(port: int) -> bool:
    """Whether the server shows its kernels to anybody."""
    try:
        with DIRECT.open(f"http://{HOST}:{port}/api/kernels", timeout=30) as answer:
            return answer.url.endswith("/api/kernels")  # else it led to a page to log in
    except OSError:  # refused
        return False


@contextlib.contextmanager
def _ends_follow(process: subprocess.Popen) -> Iterator[None]:
    """Leave Ctrl-C to the server, which gets it too and may ask before it stops; let it end when this process must."""
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),  # not SIG_IGN, which a browser would inherit
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        if process.poll() is None:
            process.terminate()


@contextlib.contextmanager
def _private_page(url: str) -> Iterator[Path]:
    """Yield a page that leads to `url`, in a folder of this user's; a browser's command line would show the token."""
    with tempfile.TemporaryDirectory(prefix="nblib-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}">', encoding="utf-8")
        yield page
