"""What all requests of a studio share."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request

from selfsup_motion.web.sessions import Session, Sessions
from selfsup_motion.web.uploads import Limits

if TYPE_CHECKING:
    from selfsup_motion.web.models import Models

TABS = ("move", "annotate", "follow", "inspect")
"""Each is a module of this package with `ROUTES`, and a file `static/<tab>.js`."""

_WORKERS = 4


class Studio:
    """What all requests share.

    Attributes:
        sessions: all of them.
        limits: of what is uploaded.
        photos: a folder whose photos everybody may see; None: there is none.
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
        photos: Path | None = None,
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
            photos: see above.
            cookie: its name. Those of servers on other ports of the same machine are sent here too.
        """
        self.sessions, self.limits, self.password, self.cookie = sessions, limits, password, cookie
        self.photos = photos
        self.workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="studio")
        self._models_of = checkpoint, runs, trust, device
        self._models: Models | None = None
        self._loading: Future[None] | None = None

    @property
    def models(self) -> Models:
        """Those that can be chosen; in functions of tabs."""
        assert self._models is not None, "load() comes before the first call of a tab"
        return self._models

    def load(self) -> Future[None]:
        """Import PyTorch and the tabs, in a thread, once."""
        if self._loading is None:
            self._loading = self.workers.submit(self._load)
        return self._loading

    def session_of(self, request: Request) -> Session:
        """The session of a request.

        Raises:
            Refusal: it has none, or one that is not there any more.
        """
        return self.sessions.get(request.cookies.get(self.cookie))

    def _load(self) -> None:
        models = import_module("selfsup_motion.web.models")
        self._models = models.Models(*self._models_of)
        for tab in TABS:
            import_module(f"selfsup_motion.web.{tab}")
