"""ρMoCo, ρBYOL, ρSimCLR and ρSwAV (Feichtenhofer et al., A Large-Scale Study on Unsupervised
Spatiotemporal Representation Learning, CVPR 2021)."""

from selfsup_motion.methods.rho.byol import RhoBYOL
from selfsup_motion.methods.rho.moco import RhoMoCo
from selfsup_motion.methods.rho.simclr import RhoSimCLR
from selfsup_motion.methods.rho.swav import RhoSwAV
from selfsup_motion.methods.rho.view import RhoView

__all__ = ["RhoBYOL", "RhoMoCo", "RhoSimCLR", "RhoSwAV", "RhoView"]
