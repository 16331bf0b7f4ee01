"""Answers that come bit by bit: cancelled when nobody listens, with errors told at their end."""

import errno
import json
import threading
import time

import anyio
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from studios import HOME, make_studio

from selfsup_motion.errors import UserError
from selfsup_motion.web.calls import answer, routes, stream

ENDED = threading.Event()


def counting(call):
    try:
        for number in range(100_000):
            time.sleep(0.001)
            yield {"number": number}
    finally:
        ENDED.set()


def refused(call):
    raise UserError("Not this one.")
    yield {}


def refused_later(call):
    yield {"number": 0}
    raise UserError("No more.")


def broken(call):
    yield {"number": 0}
    raise ZeroDivisionError


def broken_answer(call):
    raise ZeroDivisionError


def full_disk(call):
    yield {"number": 0}
    raise OSError(errno.ENOSPC, "No space left on device", "/tmp/of/the/studio")


def vanished(call):
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", "/tmp/of/the/studio")


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    studio = make_studio(tmp_path_factory.mktemp("runs"))
    session = studio.sessions.create()
    declared = [
        stream("/counting", counting),
        stream("/refused", refused),
        stream("/refused_later", refused_later),
        stream("/broken", broken),
        answer("POST", "/broken_answer", broken_answer),
        stream("/full_disk", full_disk),
        answer("POST", "/vanished", vanished),
    ]
    app = Starlette(routes=routes(studio, declared))
    yield app, session, {studio.cookie: session.id}
    studio.sessions.close()


@pytest.fixture
def asking(application):
    app, _, cookies = application
    return TestClient(app, base_url=HOME, cookies=cookies, raise_server_exceptions=False)


def test_stream_that_nobody_listens_to_ends(application):
    app, session, cookies = application
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items()).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/counting",
        "query_string": b"",
        "headers": [(b"cookie", cookie), (b"host", b"127.0.0.1")],
    }
    seen = []

    async def listen_a_little():
        gone = anyio.Event()
        asked = False

        async def receive():
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.body" and message["body"]:
                seen.append(json.loads(message["body"])["number"])
                if len(seen) == 5:
                    gone.set()

        await app(scope, receive, send)

    ENDED.clear()
    anyio.run(listen_a_little)
    assert ENDED.wait(10)
    assert seen[:5] == [0, 1, 2, 3, 4]
    assert len(seen) < 1000
    assert not session.busy


def test_error_before_the_first_event_is_a_status(asking):
    told = asking.post("/refused")
    assert told.status_code == 422
    assert told.json() == {"error": "Not this one."}


def test_later_error_is_the_last_line(asking):
    told = asking.post("/refused_later")
    assert [json.loads(line) for line in told.text.splitlines()] == [
        {"number": 0},
        {"error": "No more."},
    ]


def test_disk_that_is_full_and_files_that_are_gone_are_told_without_their_paths(asking):
    last = json.loads(asking.post("/full_disk").text.splitlines()[-1])
    assert last["error"].startswith("The disk of the studio is full")
    told = asking.post("/vanished")
    assert told.status_code == 507
    assert told.json()["error"].endswith("one of its files: no such file or directory.")


def test_mistakes_of_ours_are_told_in_the_terminal_and_not_on_the_page(asking, caplog):
    last = json.loads(asking.post("/broken").text.splitlines()[-1])
    assert "went wrong" in last["error"]
    told = asking.post("/broken_answer")
    assert told.status_code == 500
    assert "ZeroDivisionError" not in told.text
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2
    assert all("ZeroDivisionError" in error for error in errors)
