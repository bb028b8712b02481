"""The page of the explorers: each answers in a real browser, and nobody comes in without the token."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("playwright")
pytest.importorskip("voila")
from playwright.sync_api import expect

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
UPGRADE["Sec-WebSocket-Key"] = "AAAAAAAAAAAAAAAAAAAAAA=="


@pytest.fixture
def address(tmp_path):
    """Start `nblib app` as a user would; yield its address, and see that it ends as asked."""
    line = [sys.executable, "-c", "from nblib.cli import main; main()", "app", "--no-browser"]
    folders = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")}
    with open(tmp_path / "log", "wb") as log:
        pipes = {"stdout": subprocess.PIPE, "stderr": log, "text": True, "start_new_session": True}
        process = subprocess.Popen(line, env={**os.environ, **folders, "OMP_NUM_THREADS": "1"}, **pipes)
    try:
        found = next((said.strip() for said in process.stdout if said.startswith("http")), None)
        assert found, (tmp_path / "log").read_text()
        yield found
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        process.communicate(timeout=250)
        assert process.returncode == 0
        assert len(family) >= 1
        assert psutil.wait_procs(family, timeout=250)[1] == []  # no kernel stays behind
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return status and Location of an answer; redirections are not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location") or ""
    finally:
        connection.close()


def listening(port: int) -> list[str]:
    """Return the addresses on which a port is listened to; asked of the kernel."""
    table = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [row[1].split(":")[0] for row in table if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]


@pytest.mark.slow
def test_each_explorer_answers_and_nobody_comes_in_without_the_token(address, browser_page):
    page, server = browser_page.page, address.split("/?")[0]
    port, token = int(server.split(":")[-1]), address.split("token=")[1]
    browser_page.belongs_to(server)
    page.set_default_timeout(240_000)
    assert listening(port) == ["0100007F"]  # 127.0.0.1
    for path in ("/", "/?token=", f"/?token={'0' * 48}", "/explorers.ipynb"):
        status, leads_to = ask(port, path)
        assert status == 302
        assert leads_to.startswith("/login?next=")

    page.goto(f"{server}/")
    assert "/login" in page.url
    assert page.get_by_role("tab").count() == 0

    page.goto(address, wait_until="domcontentloaded")
    expect(page).to_have_title("Explorers")
    _paint(page)
    _look(page)
    _search(page)
    _mix(page)
    _train(page)
    expect(page.get_by_text("could not start")).to_have_count(0)
    assert browser_page.errors == []
    assert browser_page.foreign == []
    kernel = json.loads(page.locator("#jupyter-config-data").text_content())["kernelId"]
    _kernels_are_closed(kernel, port, token)

    page.goto("about:blank")  # a page that is left takes its kernel along
    deadline = time.monotonic() + 60
    while (status := ask(port, f"/api/kernels/{kernel}?token={token}")[0]) == 200 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 404


def _kernels_are_closed(kernel: str, port: int, token: str) -> None:
    """Even who knows the kernel's name can neither talk to it nor stop it without the token."""
    path = f"/api/kernels/{kernel}"
    assert ask(port, path)[0] == 403
    assert ask(port, path, "DELETE")[0] == 403
    assert ask(port, f"{path}/channels", **UPGRADE)[0] == 403
    assert ask(port, f"{path}/channels?token={'0' * 48}", **UPGRADE)[0] == 403
    assert ask(port, f"/voila/api/shutdown/{kernel}", "POST", **{"Cookie": "_xsrf=aa", "X-XSRFToken": "aa"})[0] == 403
    assert ask(port, f"{path}?token={token}")[0] == 200
    assert ask(port, f"/api/kernels?token={token}", "POST")[0] in (403, 404, 405)  # no further kernel, even with it
    assert ask(port, "/voila/files/explorers.ipynb")[0] == 403


def _root(page, tab: str, name: str):
    page.get_by_role("tab", name=tab, exact=True).click()
    root = page.locator(f".nblib-{name}")
    root.and_(page.locator("[data-ready='1']")).wait_for()
    return root


def _paint(page) -> None:
    root = _root(page, "Paint", "painter")
    expect(root.locator(".line")).to_contain_text("picture 1 of 12 · hole of")
    before = root.locator(".line").text_content()
    root.get_by_role("button", name="Random hole", exact=True).click()
    expect(root.locator(".line")).not_to_have_text(before)
    for name in ("telea", "refiner"):
        expect(root.locator(".tile", has_text=name)).to_have_attribute("data-status", "done")


def _look(page) -> None:
    root = _root(page, "Look", "explorer")
    root.get_by_role("application").click(position={"x": 200, "y": 100})
    expect(root.locator(".view").first).not_to_contain_text("row 46, column 13")
    expect(root.locator(".view").first).to_contain_text("query 1: row ")


def _search(page) -> None:
    root = _root(page, "Search", "player")
    expect(root).to_have_attribute("data-step", "120")
    root.get_by_role("application").focus()
    page.keyboard.press("Home")
    expect(root).to_have_attribute("data-step", "0")


def _mix(page) -> None:
    root = _root(page, "Mix", "mixer")
    expect(root.locator(".line")).to_contain_text("Smiling yes")
    root.get_by_role("button", name="Smiling: no", exact=True).click()
    expect(root.locator(".line")).to_contain_text("Smiling no")


def _train(page) -> None:
    root = _root(page, "Train", "monitor")
    root.get_by_role("button", name="Stop", exact=True).click()
    expect(root).to_contain_text("stopped")
    expect(root.get_by_role("button", name="Resume", exact=True)).to_be_enabled()
