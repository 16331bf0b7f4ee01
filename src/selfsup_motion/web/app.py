"""The application that the server runs: the page, sessions, files, and what the tabs add."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
from selfsup_motion.web.sessions import Session, Sessions
from selfsup_motion.web.uploads import Limits, add_photo

if TYPE_CHECKING:
    from selfsup_motion.web.models import Models

log = logging.getLogger(__name__)

TABS = ("move", "annotate", "follow", "inspect")
"""Each is a module of this package with `ROUTES`, and a file `static/<tab>.js`."""

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_WORKERS = 4
_SWEEP_SECONDS = 60.0
_MOST_FORM = 4096
_WAIT_AFTER_WRONG = 1.0
"""Seconds, so that nobody tries all passwords."""


class Studio:
    """What all requests share.

    Attributes:
        sessions: all of them.
        limits: of what is uploaded.
        workers: threads that compute.
    """

    def __init__(
        self,
        *,
        checkpoint: str | None,
        runs: Path,
        trust: tuple[str, ...],
        device: str,
        limits: Limits,
        sessions: Sessions,
        password: str | None = None,
        cookie: str = "selfsup_motion_studio",
    ) -> None:
        """Nothing that takes long happens before `load`.

        Args:
            checkpoint: see `Models`.
            runs: likewise.
            trust: likewise.
            device: likewise.
            limits: of what is uploaded.
            sessions: of this server; closed with the application.
            password: that the page asks for; None: it does not.
            cookie: its name. Those of servers on other ports of the same machine are sent here too.
        """
        self.sessions, self.limits, self.password, self.cookie = sessions, limits, password, cookie
        self.workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="studio")
        self._models_of = checkpoint, runs, trust, device
        self._models: Models | None = None
        self._loading: Future[dict[str, Router]] | None = None
        self._wrong = asyncio.Lock()

    @property
    def models(self) -> Models:
        """Those that can be chosen; in functions of tabs."""
        assert self._models is not None, "load() comes before the first call of a tab"
        return self._models

    def load(self) -> Future[dict[str, Router]]:
        """Import PyTorch and the tabs, in a thread, once; gives a router for each tab."""
        if self._loading is None:
            self._loading = self.workers.submit(self._load)
        return self._loading

    def session_of(self, request: Request) -> Session:
        """The session of a request.

        Raises:
            Refusal: it has none, or one that is not there any more.
        """
        return self.sessions.get(request.cookies.get(self.cookie))

    def _load(self) -> dict[str, Router]:
        models = import_module("selfsup_motion.web.models")
        self._models = models.Models(*self._models_of)
        return {
            tab: Router(routes(self, import_module(f"selfsup_motion.web.{tab}").ROUTES))
            for tab in TABS
        }

    # --- pages ---------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """The page; who comes for the first time gets a session."""
        try:
            self.session_of(request)
        except Refusal:
            if self.password is not None:
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
            if self.password is None or not secrets.compare_digest(
                given.encode(), self.password.encode()
            ):
                await asyncio.sleep(_WAIT_AFTER_WRONG)
                return RedirectResponse("/login#wrong", 303)
        return self._begun(RedirectResponse("/", 303))

    def _begun(self, response: Response) -> Response:
        try:
            session = self.sessions.create()
        except Refusal as error:
            return error_response(str(error), status_of(error))
        response.set_cookie(self.cookie, session.id, httponly=True, samesite="strict", path="/")
        return response

    async def file(self, request: Request) -> Response:
        """A file of the session, by its id; nothing of the URL becomes a path."""
        try:
            stored = self.session_of(request).file(request.path_params["id"])
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
            Route("/", studio.page),
            Route("/login", studio.login_page, methods=["GET"]),
            Route("/login", studio.login, methods=["POST"]),
            Route("/static/{name}", _static_file),
            Route("/api/files/{id}", studio.file, methods=["GET"]),
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loaded = await asyncio.wrap_future(self._studio.load())
        await loaded[self._tab](scope, receive, send)


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
