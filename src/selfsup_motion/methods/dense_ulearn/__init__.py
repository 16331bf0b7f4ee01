"""Dense unsupervised learning for video segmentation (Araslanov et al., NeurIPS 2021)."""

from selfsup_motion.methods.dense_ulearn.method import DenseUlearn
from selfsup_motion.methods.dense_ulearn.view import DenseUlearnView

__all__ = ["DenseUlearn", "DenseUlearnView"]
