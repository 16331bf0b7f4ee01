"""CRW: space-time correspondence as a contrastive random walk (Jabri et al., NeurIPS 2020)."""

from selfsup_motion.methods.crw.method import CRW
from selfsup_motion.methods.crw.view import CRWView

__all__ = ["CRW", "CRWView"]
