"""JupyterLab as `nblib lab` starts it, and how any server is started: who may come in, and how it ends."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from nblib import lab, paths, serving
from nblib.serving import HOST, Server, free_port

STUB = """
import http.server, os, signal, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(403) if sys.argv[2] != "open" else (self.send_response(200), self.end_headers())
    def log_message(self, *_):
        pass
print("token in the environment:", len(os.environ["JUPYTER_TOKEN"]), flush=True)
print("python first:", os.environ["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable), flush=True)
if sys.argv[2] == "fails":
    sys.exit(7)
def asked(*_):
    print("asked to stop", flush=True)
    sys.exit(3)
signal.signal(signal.SIGINT, asked)
signal.signal(signal.SIGTERM, asked)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""
PATIENCE = 250  # seconds, for a machine that does much else
START = "import sys; from nblib.serving import Server, serve; a = sys.argv; "
START += "sys.exit(serve(Server('The stub', [sys.executable, a[1], a[2], a[3]], int(a[2]), '/a b')))"


def option(server: Server, name: str) -> str:
    (found,) = [part.split("=", 1)[1] for part in server.line if part.startswith(f"--{name}=")]
    return found


def status(address: str) -> int:
    """Return how a server answers, itself, without following where it leads."""
    try:
        with serving.DIRECT.open(address, timeout=PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


# What is opened.


def test_the_series_by_default_and_a_notebook_by_number():
    assert lab.server().path == "/lab/tree/notebooks"
    for what in ("03", "03_approxnet", "approxnet", paths.notebooks_dir() / "03_approxnet.ipynb"):
        server = lab.server(what)
        assert server.path == "/lab/tree/notebooks/03_approxnet.ipynb"
        assert option(server, "LabApp.default_url") == server.path
        assert option(server, "ServerApp.root_dir") == str(paths.REPOSITORY)


def test_a_folder_elsewhere_is_shown_and_no_more(tmp_path):
    folder = tmp_path / "the students' edition"
    folder.mkdir()
    (folder / "00 tour.ipynb").touch()
    server = lab.server(folder)
    assert (server.path, option(server, "ServerApp.root_dir")) == ("/lab", str(folder))
    server = lab.server(folder / "00 tour.ipynb")
    assert (server.path, option(server, "ServerApp.root_dir")) == ("/lab/tree/00 tour.ipynb", str(folder))
    assert "/lab/tree/00%20tour.ipynb?token=" in server.url


@pytest.mark.parametrize("what", ["77", "/nowhere.ipynb", "approx"])
def test_an_unknown_notebook_is_refused_with_the_known_ones(what):
    with pytest.raises(ValueError, match=f"'{what}': no such notebook; choose from 00_tour"):
        lab.server(what)


def test_a_file_that_is_no_notebook_is_refused():
    with pytest.raises(ValueError, match=r"README\.md is no notebook"):
        lab.server(paths.REPOSITORY / "README.md")


def test_without_jupyterlab_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=re.escape("pip install -e '.[dev]'")):
        lab.server()


def test_options():
    server = lab.server(port=None, browser=False)
    assert "--no-browser" in server.line
    assert "--no-browser" not in lab.server().line
    assert option(server, "ServerApp.ip") == HOST == "127.0.0.1"
    assert option(server, "ServerApp.port") == str(server.port)
    assert ("--allow-root" in server.line) == (os.getuid() == 0)


def test_every_token_is_new_and_no_list_of_processes_shows_it():
    one, two = lab.server(), lab.server()
    assert len(one.token) == 48
    assert one.token != two.token
    assert not any(one.token in part for part in one.line)
    assert one.token not in repr(one)
    assert one.variables["JUPYTER_TOKEN"] == one.token
    assert one.url.endswith(f"?token={one.token}")


# Ports.


def test_a_port_that_is_taken_is_refused_before_anything_starts():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"--port {port} is taken; choose another, or leave it out"):
            lab.server(port=port)
        assert free_port() != port
    assert free_port(port) == port


# How any server runs and ends.


@pytest.fixture
def start():
    """Start a command in a process group of its own, which ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(line, environment, **streams):
            streams = {"stdout": subprocess.PIPE, "text": True, **streams}
            process = subprocess.Popen(line, env={**os.environ, **environment}, start_new_session=True, **streams)
            stack.callback(process.communicate)
            stack.callback(end, process)
            return process

        yield start


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def stub(tmp_path, start):
    """Start `serve` on a server of our own."""
    (tmp_path / "stub.py").write_text(STUB)
    environment = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}  # as in many a school

    def start_stub(manner="serves", **more):
        line = [sys.executable, "-c", START, tmp_path / "stub.py", str(free_port()), manner]
        return start(line, environment | more.pop("environment", {}), **{"stderr": subprocess.STDOUT, **more})

    return start_stub


def until_ready(process) -> str:
    """Return what is said until the address is, which ends the message."""
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("http"):
            return said
    raise AssertionError(said)


@pytest.mark.parametrize(("sign", "everyone"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_it_says_when_it_is_ready_and_ends_with_its_server(stub, sign, everyone):
    """Ctrl-C reaches both processes; a service manager ends one, and that ends the other."""
    process = stub()
    said = until_ready(process)
    assert said.startswith("The stub is starting …\n")
    assert "token in the environment: 48" in said
    assert "python first: True" in said
    assert re.search(r"The stub is ready \(Ctrl-C ends it\):\nhttp://127\.0\.0\.1:\d+/a%20b\?token=\w{48}\n$", said)
    (os.killpg if everyone else os.kill)(process.pid, sign)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert rest == "asked to stop\n"
    assert process.returncode == 3
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_the_address_reaches_the_terminal_in_one_piece(stub):
    """Else a line of the server's log may end the address, where Python keeps nothing back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # keeps writes apart
    with ours, theirs:
        stub(stdout=theirs, stderr=subprocess.DEVNULL, environment={"PYTHONUNBUFFERED": "1"})
        ours.settimeout(PATIENCE)
        while b"http" not in (said := ours.recv(10_000)):
            pass
    assert re.fullmatch(rb"The stub is ready \(Ctrl-C ends it\):\nhttp\S+\n", said)


def test_a_server_that_lets_anybody_in_is_ended(stub):
    """As with ``c.IdentityProvider.token = ""`` in the user's configuration, which outdoes the environment."""
    process = stub("open")
    said, _ = process.communicate(timeout=PATIENCE)
    assert "answers without its token" in said
    assert "is ready" not in said
    assert process.returncode == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_a_server_that_does_not_start_is_not_waited_for(stub):
    said, _ = stub("fails").communicate(timeout=PATIENCE)
    assert "ready" not in said


def test_the_page_for_the_browser_is_this_users_alone(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serving._private_page("http://127.0.0.1:1/?token=abc") as page:
        assert "url=http://127.0.0.1:1/?token=abc" in page.read_text()
        assert page.parent.stat().st_mode & 0o077 == 0
    assert not page.exists()


# The real one.


@pytest.mark.slow
def test_jupyterlab_lets_nobody_in_without_the_token(start, tmp_path):
    """Two at a time, as another course may run already."""
    home = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    line = [sys.executable, "-c", "from nblib.cli import main; main()", "lab", "03", "--no-browser"]
    with open(tmp_path / "log", "w") as log:
        processes = [start(line, home, stderr=log) for _ in range(2)]
    urls = [until_ready(process).splitlines()[-1] for process in processes]
    assert len({url.split("/")[2] for url in urls}) == 2
    for url in urls:
        server, token = url.split("/lab/")[0], url.split("token=")[1]
        assert status(f"{server}/api/kernels") == 403
        assert status(f"{server}/api/kernels?token={'0' * 48}") == 403
        assert status(f"{server}/api/contents/README.md") == 403
        assert status(f"{server}/api/kernels?token={token}") == 200
        assert status(url) == 200
        assert listens_on_loopback_only(int(server.split(":")[-1]))
    for process in processes:
        process.terminate()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, (tmp_path / "log").read_text()


def listens_on_loopback_only(port: int) -> bool:
    """Return whether all that listens on a port does so on 127.0.0.1; asked of the kernel."""
    table = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    hosts = [row[1].split(":")[0] for row in table if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    return hosts == ["0100007F"]
