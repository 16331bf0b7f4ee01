"""From a request to a function of a tab and back.

A tab lists what it answers:

    ROUTES = [answer("POST", "/flow", flow), stream("/film", film)]

Its functions run in a worker thread, so they may take their time:

    def flow(call: Call) -> dict[str, Any]: ...            # one answer
    def film(call: Call) -> Iterator[dict[str, Any]]: ...  # one line of JSON for each event

A stream that nobody listens to any more ends at its next `yield`: its generator is closed, so what
it holds in `try: … finally: …` is given back. Its steps may run in different threads, one after
the other; hold no lock and no `torch.no_grad()` over a `yield`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from selfsup_motion.errors import UserError
from selfsup_motion.web.fields import parsed
from selfsup_motion.web.refusals import Refusal, status_of
from selfsup_motion.web.sessions import Session, Stored
from selfsup_motion.web.shared import Studio
from selfsup_motion.web.uploads import receive, too_large

log = logging.getLogger(__name__)

Events = Iterator[dict[str, Any]]
Answer = dict[str, Any] | Response
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

_MOST_JSON = 8 * 1024 * 1024
"""Bytes of a request that is no file."""
_AT_ONCE = 12
"""Requests of one session that are worked on at the same time."""
_OURS = (
    "Something went wrong in the studio itself; the terminal that it runs in says what. Your work "
    "is still here."
)


@dataclass(frozen=True)
class Call:
    """A request.

    Attributes:
        studio: what all share: `models`, `limits`.
        session: of who asks.
        body: the JSON object that was sent; see `web.fields` for how to read it.
        query: of the URL.
        draft: of an upload: its file, which the function must take or remove.
        name: of an upload: what the user calls the file.
    """

    studio: Studio
    session: Session
    body: dict[str, Any]
    query: dict[str, str]
    draft: Path | None = None
    name: str = ""


@dataclass(frozen=True)
class Declared:
    """What a tab answers, see `answer`, `stream` and `upload`."""

    method: str
    path: str
    function: Callable[[Call], Any]
    kind: str


def answer(method: str, path: str, function: Callable[[Call], Answer]) -> Declared:
    """A function that gives a JSON object, or a response of Starlette (see `file_response`)."""
    return Declared(method, path, function, "answer")


def stream(path: str, function: Callable[[Call], Events]) -> Declared:
    """A generator of JSON objects, sent as they come; for what takes long. Answers POST.

    An error before its first event is answered with a status, a later one is a last line
    `{"error": …}`.
    """
    return Declared("POST", path, function, "stream")


def upload(path: str, function: Callable[[Call], Answer]) -> Declared:
    """A function that is given a file (`call.draft`, `call.name`). Answers POST, whose body is the
    file itself and whose header X-Name is its name, percent-encoded."""
    return Declared("POST", path, function, "upload")


def routes(studio: Studio, declared: list[Declared]) -> list[Route]:
    """What Starlette is to do."""
    made: dict[str, Callable[[Studio, Callable[[Call], Any], Request], Any]] = {
        "answer": _answering,
        "stream": _streaming,
        "upload": _receiving,
    }
    found = []
    for one in declared:
        endpoint = _guarded(partial(made[one.kind], studio, one.function))
        found.append(Route(one.path, endpoint, methods=[one.method]))
    return found


def file_response(stored: Stored, *, download: str | None = None) -> Response:
    """A file of a session, in parts if the browser asks so (which videos need).

    Args:
        stored: of `Session.file`.
        download: a name under which the browser is to save it; None: it is shown.
    """
    response = FileResponse(
        stored.path,
        media_type=stored.media_type,
        filename=download,
        content_disposition_type="inline" if download is None else "attachment",
    )
    # what a file is never changes under its id
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response


def error_response(message: str, status: int) -> Response:
    """A sentence for the page."""
    return JSONResponse({"error": message}, status)


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Errors become a status and a sentence; the server lives on."""

    async def guarded(request: Request) -> Response:
        try:
            return await endpoint(request)
        except UserError as error:
            return error_response(str(error), status_of(error))
        except ClientDisconnect:
            return error_response("The browser has gone.", 400)
        except OSError as error:
            log.warning("%s", traceback.format_exc())
            return error_response(_told(error), 507)
        except Exception:
            log.error("%s", traceback.format_exc())
            return error_response(_OURS, 500)

    return guarded


async def _answering(
    studio: Studio, function: Callable[[Call], Answer], request: Request
) -> Response:
    session = _session(studio, request)
    call = Call(studio, session, await _body(request), dict(request.query_params))
    with session.in_use():
        return _response(await _in_thread(studio.workers, function, call))


async def _receiving(
    studio: Studio, function: Callable[[Call], Answer], request: Request
) -> Response:
    session = _session(studio, request)
    megabytes = studio.limits.megabytes
    if _announced(request) > megabytes * 1e6:
        raise Refusal(too_large(megabytes), 413)
    draft, name = session.new_path(), unquote(request.headers.get("x-name", ""), errors="replace")
    with session.in_use():
        session.check_room()
        await receive(request.stream(), draft, megabytes)
        call = Call(studio, session, {}, dict(request.query_params), draft, name or "file")
        try:
            return _response(await _in_thread(studio.workers, function, call))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


async def _streaming(
    studio: Studio, function: Callable[[Call], Events], request: Request
) -> Response:
    session = _session(studio, request)
    call = Call(studio, session, await _body(request), dict(request.query_params))
    steps = _Steps(studio.workers, function(call))
    with session.in_use():
        first = await steps.next()
    return StreamingResponse(_lines(session, steps, first), media_type="application/x-ndjson")


async def _lines(
    session: Session, steps: _Steps, event: dict[str, Any] | None
) -> AsyncIterator[bytes]:
    with session.in_use():
        try:
            while event is not None:
                yield json.dumps(event).encode() + b"\n"
                event = await steps.next()
        except UserError as error:
            yield json.dumps({"error": str(error)}).encode() + b"\n"
        except OSError as error:
            log.warning("%s", traceback.format_exc())
            yield json.dumps({"error": _told(error)}).encode() + b"\n"
        except Exception:
            log.error("%s", traceback.format_exc())
            yield json.dumps({"error": _OURS}).encode() + b"\n"
        finally:
            steps.close()


def _told(error: OSError) -> str:
    """What to say of a file of the studio's own that cannot be written or read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "The disk of the studio is full: nothing more can be written until there is room."
    reason = (error.strerror or "something went wrong").lower()
    return f"The studio cannot write or read one of its files: {reason}."


class _Steps:
    """A generator whose steps run in worker threads."""

    def __init__(self, workers: ThreadPoolExecutor, events: Events) -> None:
        self._workers, self._events = workers, events
        self._running: Future[dict[str, Any] | None] | None = None

    async def next(self) -> dict[str, Any] | None:
        """The next event; None at the end."""
        self._running = self._workers.submit(next, self._events, None)
        return await asyncio.wrap_future(self._running)

    def close(self) -> None:
        """Close the generator, as soon as it is at a `yield`."""
        end = getattr(self._events, "close", lambda: None)
        if self._running is None:
            end()
        else:  # called at once if it is done
            self._running.add_done_callback(lambda _: end())


async def _in_thread(
    workers: ThreadPoolExecutor, function: Callable[[Call], Answer], call: Call
) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(workers, function, call)


def _response(made: Answer) -> Response:
    return made if isinstance(made, Response) else JSONResponse(made)


def _session(studio: Studio, request: Request) -> Session:
    session = studio.session_of(request)
    if session.requests >= _AT_ONCE:
        raise Refusal("The studio is still at work for you; wait for it, or cancel.", 429)
    return session


def _announced(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 16 else 0


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    message = f"The request is larger than {_MOST_JSON >> 20} MB."
    if _announced(request) > _MOST_JSON:
        raise Refusal(message, 413)
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _MOST_JSON:
            raise Refusal(message, 413)
    return parsed(bytes(data))
