"""The application that the server runs: the page, sessions, files, and what the tabs add."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, Router
from starlette.types import Receive, Scope, Send

from selfsup_motion.errors import UserError
from selfsup_motion.web.calls import (
    Answer,
    Call,
    answer,
    error_response,
    file_response,
    routes,
    upload,
)
from selfsup_motion.web.guard import Guard
from selfsup_motion.web.refusals import Refusal, status_of
from selfsup_motion.web.sessions import Sessions
from selfsup_motion.web.shared import TABS, Studio
from selfsup_motion.web.uploads import add_photo

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SWEEP_SECONDS = 60.0
_MOST_FORM = 4096
_WAIT_AFTER_WRONG = 1.0
"""Seconds, so that nobody tries all passwords."""


class _Pages:
    """The page, the login, files: what is not JSON."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._wrong = asyncio.Lock()

    async def page(self, request: Request) -> Response:
        """The page; who comes for the first time gets a session."""
        try:
            self._studio.session_of(request)
        except Refusal:
            if self._studio.password is not None:
                return RedirectResponse("/login", 303)
            return self._begun(_static("index.html", request))
        return _static("index.html", request)

    async def login_page(self, request: Request) -> Response:
        """Asks for the password."""
        return _static("login.html", request)

    async def login(self, request: Request) -> Response:
        """Begin a session if the password is right."""
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > _MOST_FORM:
                return error_response("That is no password.", 413)
        given = parse_qs(data.decode("utf-8", "replace")).get("password", [""])[0]
        async with self._wrong:  # one try at a time, whoever tries
            if self._studio.password is None or not secrets.compare_digest(
                given.encode(), self._studio.password.encode()
            ):
                await asyncio.sleep(_WAIT_AFTER_WRONG)
                return RedirectResponse("/login#wrong", 303)
        return self._begun(RedirectResponse("/", 303))

    def _begun(self, response: Response) -> Response:
        try:
            session = self._studio.sessions.create()
        except Refusal as error:
            return error_response(str(error), status_of(error))
        response.set_cookie(
            self._studio.cookie, session.id, httponly=True, samesite="strict", path="/"
        )
        return response

    async def file(self, request: Request) -> Response:
        """A file of the session, by its id; nothing of the URL becomes a path."""
        try:
            stored = self._studio.session_of(request).file(request.path_params["id"])
        except UserError as error:
            return error_response(str(error), status_of(error))
        download = stored.name if "download" in request.query_params else None
        return file_response(stored, download=download)


def make_app(studio: Studio, *, local: bool = True) -> Starlette:
    """The application.

    Args:
        studio: that it is of; its sessions are closed with the application.
        local: see `Guard`.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        studio.load()
        sweeping = asyncio.create_task(_sweep(studio.sessions))
        try:
            yield
        finally:
            sweeping.cancel()
            studio.workers.shutdown(wait=False, cancel_futures=True)
            studio.sessions.close()

    pages = _Pages(studio)
    shared = [
        answer("GET", "/api/session", _session),
        answer("DELETE", "/api/session", _clear),
        answer("PUT", "/api/states", _keep_state),
        answer("GET", "/api/models", _models),
        upload("/api/photos", _photo),
        answer("POST", "/api/photos/example", _example),
        answer("DELETE", "/api/files", _remove_file),
    ]
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/login", pages.login_page, methods=["GET"]),
            Route("/login", pages.login, methods=["POST"]),
            Route("/static/{name}", _static_file),
            Route("/api/files/{id}", pages.file, methods=["GET"]),
            *routes(studio, shared),
            *(Mount(f"/api/{tab}", _Tab(studio, tab)) for tab in TABS),
        ],
        middleware=[Middleware(Guard, local=local)],
        exception_handlers={404: _not_found, 405: _not_found},
        lifespan=lifespan,
    )


class _Tab:
    """What a tab answers, once it is loaded."""

    def __init__(self, studio: Studio, tab: str) -> None:
        self._studio, self._tab = studio, tab
        self._router: Router | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._router is None:
            await asyncio.wrap_future(self._studio.load())
            declared = import_module(f"selfsup_motion.web.{self._tab}").ROUTES
            self._router = Router(routes(self._studio, declared))
        await self._router(scope, receive, send)


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        sessions.sweep()


def _session(call: Call) -> Answer:
    session = call.session
    return {
        "states": session.states,
        "files": [file.as_json() for file in session.files() if file.kind != "view"],
        "limits": call.studio.limits.as_json(),
    }


def _clear(call: Call) -> Answer:
    session = call.session
    for file in session.files():
        session.remove(file.id)
    session.states.clear()
    with session.lock:
        session.memory.clear()
    return {}


def _keep_state(call: Call) -> Answer:
    from selfsup_motion.web.fields import choice

    call.session.states[choice(call.body, "tab", TABS)] = call.body.get("state")
    return {}


def _models(call: Call) -> Answer:
    call.studio.load().result()
    return {"models": [model.as_json() for model in call.studio.models.offered()]}


def _photo(call: Call) -> Answer:
    assert call.draft is not None
    return add_photo(call.session, call.draft, call.name, call.studio.limits).as_json()


def _example(call: Call) -> Answer:
    from selfsup_motion.apps.example import PHOTO

    draft = call.session.new_path()
    draft.write_bytes(PHOTO.read_bytes())
    return add_photo(call.session, draft, PHOTO.name, call.studio.limits).as_json()


def _remove_file(call: Call) -> Answer:
    stored = call.session.file(call.body.get("id"))
    if "view" in stored.about:
        call.session.remove(stored.about["view"])
    call.session.remove(stored.id)
    return {}


_FILES: dict[str, tuple[bytes, str]] = {
    file.name: (file.read_bytes(), _MEDIA_TYPES[file.suffix])
    for file in sorted(_STATIC.iterdir())
    if file.suffix in _MEDIA_TYPES
}
"""All that is served besides files of sessions."""
_TAG = f'"{hashlib.sha256(b"".join(data for data, _ in _FILES.values())).hexdigest()[:20]}"'


def _static(name: str, request: Request) -> Response:
    data, media_type = _FILES[name]
    # asked for every time, sent when it has changed
    headers = {"ETag": _TAG, "Cache-Control": "no-cache"}
    if name != "index.html" and request.headers.get("if-none-match") == _TAG:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


async def _static_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _FILES:
        return error_response("There is no such file.", 404)
    return _static(name, request)


async def _not_found(request: Request, error: Exception) -> Response:
    status: Any = getattr(error, "status_code", 404)
    return JSONResponse({"error": "There is nothing at this address."}, status)
