"""What the tab Follow asks for."""

from __future__ import annotations

from selfsup_motion.web.calls import Declared

ROUTES: list[Declared] = []
