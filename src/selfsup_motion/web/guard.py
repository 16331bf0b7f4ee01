"""What every request passes: which host it is for, which page it comes from, what browsers may do.

A page of another site that is open in the same browser can send requests to this machine too, and a
name of its own can be made to point here. So the name that the browser has asked for must be one of
this server's, and what changes or computes something must come from a page of this server.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_LOOPBACK_NAMES = ("localhost",)
_READS = ("GET", "HEAD")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host in _LOOPBACK_NAMES:
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Middleware of ASGI."""

    def __init__(self, app: ASGIApp, local: bool) -> None:
        """Guard an application.

        Args:
            app: behind it.
            local: it is served on a loopback address, so only names of that are its own.
        """
        self._app, self._local = app, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer 403 or 421."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(Headers(scope=scope), scope["method"])
        if refused is None:
            await self._app(scope, receive, with_headers)
            return
        message, status = refused
        await JSONResponse({"error": message}, status)(scope, receive, with_headers)

    def _refused(self, headers: Headers, method: str) -> tuple[str, int] | None:
        hosts = headers.getlist("host")
        host = hosts[0] if len(hosts) == 1 else ""
        name = _hostname(host)
        if name is None or (self._local and not is_loopback(name)):
            return "This studio is not served under that name: open it as 127.0.0.1.", 421
        origin = headers.get("origin")
        foreign = origin is not None and _place(origin) != host.lower()
        site = headers.get("sec-fetch-site", "none")
        visits = method in _READS and headers.get("sec-fetch-mode") == "navigate"
        if (foreign and method not in _READS) or (
            site not in ("none", "same-origin") and not visits
        ):
            return "Requests from pages of other sites are refused.", 403
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
