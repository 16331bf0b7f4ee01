"""The server of `python -m selfsup_motion.studio`."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFolder
from selfsup_motion.settings.trust import Trust, packages
from selfsup_motion.terminal.console import console
from selfsup_motion.terminal.output_folder import ending_on_sigterm
from selfsup_motion.web.app import make_app
from selfsup_motion.web.guard import is_loopback
from selfsup_motion.web.sessions import Sessions
from selfsup_motion.web.shared import Studio
from selfsup_motion.web.uploads import Limits

_BACKLOG = 128
_GRACE = 3
"""Seconds that running answers have when the server ends."""
_LEAST_PASSWORD = 8


class Server:
    """Serves the page."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        password: str | None,
        checkpoint: str | None,
        runs: str,
        photos: ExistingFolder | None,
        show: list[str],
        trust: Trust,
        device: str,
        max_megabytes: float,
        max_megapixels: float,
        max_seconds: float,
        max_session_gigabytes: float,
        idle_minutes: float,
        max_sessions: int,
    ) -> None:
        """Describe it; nothing is opened before `run`.

        Args:
            host: address of this machine to listen on.
            port: 0: any that is free.
            password: that the page asks for; needed where others than this machine reach it.
            checkpoint: one more model: a run folder or a file.
            runs: folder below which runs are found.
            photos: folder whose photos all who reach the page may see; None: there is none.
            show: one or two of these runs, by their paths below `runs`: the address that is told
                opens the tab Inspect with them.
            trust: packages of the user's own that checkpoints may use.
            device: "cpu", "cuda", ….
            max_megabytes: of a file that is uploaded.
            max_megapixels: of a photo or a frame.
            max_seconds: of a video.
            max_session_gigabytes: of all files of one person.
            idle_minutes: after which a session is removed.
            max_sessions: at the same time.

        Raises:
            UserError: an argument is out of range, or another host without a password.
        """
        for name, value in {
            "max_megabytes": max_megabytes,
            "max_megapixels": max_megapixels,
            "max_seconds": max_seconds,
            "max_session_gigabytes": max_session_gigabytes,
            "idle_minutes": idle_minutes,
            "max_sessions": max_sessions,
        }.items():
            if not value > 0:
                raise UserError(f"{name}={value:g}: expected more than zero.")
        if not 0 <= port <= 65535:
            raise UserError(f"port={port}: expected 0 to 65535.")
        if not is_loopback(host) and password is None:
            raise UserError(
                f"host={host}: others than this machine could use the studio then; set password= "
                "too, or leave host out."
            )
        if password is not None and len(password) < _LEAST_PASSWORD:
            raise UserError(f"password: expected at least {_LEAST_PASSWORD} characters.")
        if len(show) > 2:
            raise UserError(f"show=[{','.join(show)}]: expected one run, or two side by side.")
        for name in show:
            if not (Path(runs) / name).is_dir():
                raise UserError(f"show={name}: there is no such run below runs={runs}.")
        self.host, self.port, self.password, self.show = host, port, password, show
        self.checkpoint, self.runs, self.device = checkpoint, Path(runs), device
        self.photos = None if photos is None else Path(photos)
        self.trust = packages(trust)
        self.limits = Limits(max_megabytes, max_megapixels, max_seconds)
        self._sessions = idle_minutes * 60, max_sessions, max_session_gigabytes * 1e9

    def run(self) -> None:
        """Serve until Ctrl-C or SIGTERM.

        Raises:
            UserError: the address cannot be used.
        """
        with self.listen() as listening, ending_on_sigterm():
            port = listening.getsockname()[1]
            studio = self.studio(port)
            app = make_app(studio, local=is_loopback(self.host))
            config = uvicorn.Config(
                app,
                log_level=logging.WARNING,
                server_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
            host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
            address = f"http://{host}:{port}{self._place()}"
            console.print(f"The studio is at {address}  (Ctrl-C ends it)", markup=False)
            try:
                uvicorn.Server(config).run(sockets=[listening])
            except KeyboardInterrupt:
                console.print("Stopped.", markup=False)
            finally:
                studio.sessions.close()

    def _place(self) -> str:
        """What follows the address, so that the page opens with the runs of `show`."""
        runs = urlencode([("run", name) for name in self.show])
        return f"/?{runs}#inspect" if runs else ""

    def studio(self, port: int) -> Studio:
        """What is served, on a port."""
        return Studio(
            checkpoint=self.checkpoint,
            runs=self.runs,
            trust=self.trust,
            device=self.device,
            limits=self.limits,
            sessions=Sessions(*self._sessions),
            password=self.password,
            photos=self.photos,
            cookie=f"selfsup_motion_studio_{port}",
        )

    def listen(self) -> socket.socket:
        """Open the address.

        Raises:
            UserError: it cannot be used.
        """
        try:
            family, _, _, _, address = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise UserError(f"host={self.host}: no address of this machine ({error}).") from error
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise UserError(
                f"host={self.host} port={self.port}: cannot be used ({error.strerror}); choose "
                "another port, or port=0 for any that is free."
            ) from error
        return listening
