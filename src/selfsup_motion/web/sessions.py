"""Sessions: what one browser has uploaded and drawn, kept apart from those of others.

A session is a random id in a cookie, a folder and values in memory. It survives that the page is
reloaded, and ends with the server or when it has not been used for a while.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfsup_motion.web.refusals import Refusal

_GONE = "This session has ended; reload the page to begin a new one."
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Stored:
    """A file of a session.

    Attributes:
        id: what the page calls it; random.
        path: below the session's folder; its name has nothing of what the user called the file.
        name: what the user calls it, to be shown.
        kind: "photo", "video", "mask", "result", ….
        media_type: as the browser is told.
        about: further plain values: width, height, frames, ….
    """

    id: str
    path: Path
    name: str
    kind: str
    media_type: str
    about: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What the page may know of it."""
        return {"id": self.id, "name": self.name, "kind": self.kind, **self.about}


class Session:
    """What one browser has here.

    Attributes:
        id: as in the cookie.
        folder: its own; all of its files are in it.
        states: what the page has drawn, plain JSON, by tab.
        memory: whatever a tab keeps of a computation for the next one, by names of its own.
        lock: to be held by a tab while it looks into `memory`.
        last_used: on the clock `time.monotonic`.
    """

    def __init__(self, folder: Path, most_bytes: float) -> None:
        self.id = secrets.token_urlsafe(32)
        self.folder = folder
        self.states: dict[str, Any] = {}
        self.memory: dict[str, Any] = {}
        self.lock = threading.RLock()
        self.last_used = time.monotonic()
        self._files: dict[str, Stored] = {}
        self._most_bytes = most_bytes
        self._busy = 0

    def new_path(self, suffix: str = "") -> Path:
        """A path in the folder that is not in use."""
        return self.folder / f"{secrets.token_hex(16)}{suffix}"

    def add(
        self, path: Path, name: str, kind: str, media_type: str, about: dict[str, Any] | None = None
    ) -> Stored:
        """Let the page have a file of the folder.

        Args:
            path: of `new_path`, complete.
            name: to show; anything.
            kind: see `Stored`.
            media_type: likewise.
            about: likewise.

        Raises:
            Refusal: all files of the session together would be too large; this one is removed.
        """
        try:
            self.check_room()
        except Refusal:
            path.unlink(missing_ok=True)
            raise
        shown = "".join(c for c in name if c.isprintable())[:_LONGEST_NAME] or kind
        stored = Stored(secrets.token_urlsafe(16), path, shown, kind, media_type, about or {})
        with self.lock:
            self._files[stored.id] = stored
        return stored

    def file(self, id: Any, *kinds: str) -> Stored:
        """The file that a page names.

        Args:
            id: of the request; anything.
            kinds: those that will do; none: any.

        Raises:
            Refusal: this session has no such file.
        """
        with self.lock:
            stored = self._files.get(id) if isinstance(id, str) else None
        if stored is None or (kinds and stored.kind not in kinds):
            raise Refusal(f"There is no such {' or '.join(kinds) or 'file'} in this session.", 404)
        return stored

    def remove(self, id: str) -> None:
        """Remove a file; nothing happens if there is none of that id."""
        with self.lock:
            stored = self._files.pop(id, None)
        if stored is not None:
            stored.path.unlink(missing_ok=True)

    def files(self, *kinds: str) -> list[Stored]:
        """All of some kinds, the oldest first; of no kind: all."""
        with self.lock:
            return [f for f in self._files.values() if not kinds or f.kind in kinds]

    def check_room(self) -> None:
        """Make sure that the session's files are within their limit.

        Raises:
            Refusal: they are not.
        """
        used = 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # just removed
                used += path.stat().st_size
        if used > self._most_bytes:
            raise Refusal(
                f"The files of this session take more than {self._most_bytes / 1e9:g} GB: remove "
                "some, or start the studio with a larger max_session_gigabytes.",
                413,
            )

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """In the block, the session is not idle."""
        with self.lock:
            self._busy += 1
        try:
            yield
        finally:
            with self.lock:
                self._busy -= 1
                self.last_used = time.monotonic()

    @property
    def requests(self) -> int:
        """How many of its requests are being worked on."""
        return self._busy

    @property
    def busy(self) -> bool:
        """Whether something is being computed for it."""
        return self._busy > 0

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self._files and not self.states


class Sessions:
    """All of them. Safe to be used by several threads."""

    def __init__(self, idle_seconds: float, most: int, most_bytes: float) -> None:
        """Make the folder that they share, readable to this user alone.

        Args:
            idle_seconds: see `sweep`.
            most: at the same time.
            most_bytes: of all files of one session.
        """
        self.root = Path(tempfile.mkdtemp(prefix="selfsup_motion_studio_"))
        self._idle_seconds, self._most, self._most_bytes = idle_seconds, most, most_bytes
        self._all: dict[str, Session] = {}
        self._lock = threading.Lock()

    def create(self) -> Session:
        """A new one.

        Raises:
            Refusal: there are as many as allowed, and all of them hold something.
        """
        self.sweep()
        with self._lock:
            if len(self._all) >= self._most:
                unused = [s for s in self._all.values() if s.empty and not s.busy]
                if not unused:
                    raise Refusal(
                        f"{self._most} people use this studio already; try again later.", 503
                    )
                self._remove(min(unused, key=lambda session: session.last_used))
            session = Session(Path(tempfile.mkdtemp(dir=self.root)), self._most_bytes)
            self._all[session.id] = session
            return session

    def get(self, id: str | None) -> Session:
        """The one of a cookie.

        Raises:
            Refusal: there is none.
        """
        session = self._all.get(id) if id is not None else None
        if session is None:
            raise Refusal(_GONE, 401)
        session.last_used = time.monotonic()
        return session

    def __len__(self) -> int:
        return len(self._all)

    def sweep(self) -> None:
        """Remove those that have been idle for too long, with their folders."""
        oldest = time.monotonic() - self._idle_seconds
        with self._lock:
            for session in list(self._all.values()):
                if session.last_used < oldest and not session.busy:
                    self._remove(session)

    def close(self) -> None:
        """Remove all of them and the folder."""
        with self._lock:
            self._all.clear()
            shutil.rmtree(self.root, ignore_errors=True)

    def _remove(self, session: Session) -> None:
        self._all.pop(session.id, None)
        shutil.rmtree(session.folder, ignore_errors=True)
