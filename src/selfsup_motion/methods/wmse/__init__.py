"""W-MSE: whitening for self-supervised representation learning (Ermolov et al., ICML 2021)."""

from selfsup_motion.methods.wmse.method import WMSE
from selfsup_motion.methods.wmse.view import WMSEView

__all__ = ["WMSE", "WMSEView"]
