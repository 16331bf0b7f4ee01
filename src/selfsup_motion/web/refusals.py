"""What the server refuses, with the status that tells the browser so."""

from __future__ import annotations

from selfsup_motion.errors import UserError


class Refusal(UserError):
    """A request that cannot be answered; the page shows the message.

    Attributes:
        status: of HTTP, 4xx, or 503 when it may be answered later.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def status_of(error: UserError) -> int:
    """The status that tells a user's error; one of the library is about what was sent."""
    return error.status if isinstance(error, Refusal) else 422
