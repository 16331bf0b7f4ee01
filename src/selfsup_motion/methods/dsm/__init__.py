"""DSM: decoupling scene and motion (Wang et al., AAAI 2021)."""

from selfsup_motion.methods.dsm.method import DSM
from selfsup_motion.methods.dsm.view import DSMView

__all__ = ["DSM", "DSMView"]
