"""Studios with small limits, and visitors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from selfsup_motion.web.sessions import Sessions
from selfsup_motion.web.shared import Studio
from selfsup_motion.web.uploads import Limits

HOME = "http://127.0.0.1"


def make_studio(runs: Path, **changes: Any) -> Studio:
    """A studio with small limits."""
    values: dict[str, Any] = {
        "checkpoint": None,
        "runs": runs,
        "trust": (),
        "device": "cpu",
        "limits": Limits(megabytes=2, megapixels=1, seconds=20),
        "sessions": Sessions(idle_seconds=600, most=20, most_bytes=50e6),
    }
    return Studio(**{**values, **changes})


def visitor(app: Any) -> TestClient:
    """Somebody who has opened the page."""
    client = TestClient(app, base_url=HOME, raise_server_exceptions=False)
    assert client.get("/").status_code == 200
    return client


def example(client: TestClient) -> dict[str, Any]:
    """The photo that comes with the package."""
    answer = client.post("/api/photos/example")
    assert answer.status_code == 200, answer.text
    photo: dict[str, Any] = answer.json()
    return photo
