"""A studio for the tests of its server, and one with a browser in front of it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="needs the extra studio")
pytest.importorskip("uvicorn", reason="needs the extra studio")

import uvicorn
from starlette.testclient import TestClient
from studios import HOME, make_studio, visitor

from selfsup_motion.web.app import make_app
from selfsup_motion.web.shared import Studio
from selfsup_motion.web.uploads import Limits

PATIENCE = 60_000
"""Milliseconds: on a busy machine everything takes several times as long."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return make_studio(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def app(studio: Studio) -> Iterator[Any]:
    """The application, running."""
    made = make_app(studio)
    with TestClient(made, base_url=HOME):
        yield made
    assert not studio.sessions.root.exists()


@pytest.fixture(scope="module")
def client(app: Any) -> TestClient:
    """One visitor for all tests of a file."""
    return visitor(app)


@pytest.fixture(scope="module")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of `served`; a file may have its own."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def served_photos() -> Path | None:
    """The folder of photos of `served`; a file may have its own."""
    return None


@pytest.fixture(scope="module")
def served(served_runs: Path, served_photos: Path | None) -> Iterator[str]:
    """The address of a studio that a browser can open."""
    studio = make_studio(served_runs, limits=Limits(20, 4, 60), photos=served_photos)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(make_app(studio), log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
    if path is None:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(served: str, chromium: Any) -> Iterator[Callable[..., Any]]:
    """`open_page("follow")`: the page of a new visitor at a tab; fails if anything of it failed."""
    contexts, failures = [], []

    def heard(kind: str, text: str) -> None:
        # a refusal of the server is an error to the browser, whatever the page makes of it
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            failures.append(text)

    def opened(tab: str = "move", **options: Any) -> Any:
        context = chromium.new_context(
            viewport={"width": 1280, "height": 800}, accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda said: heard(said.type, said.text))
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((served, "blob:", "data:"))
                else failures.append(asked.url)
            ),
        )
        page.goto(f"{served}#{tab}")
        page.wait_for_selector("#model:not([disabled])")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not failures
