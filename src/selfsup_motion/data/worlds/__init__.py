"""Generated stills with the statistics of photos, and their exact motion."""

from selfsup_motion.data.worlds.source import Worlds

__all__ = ["Worlds"]
