"""Self-supervised learning from motion in video."""

__version__ = "0.1.0"
