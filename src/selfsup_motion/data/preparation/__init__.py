"""The jobs of `python -m selfsup_motion.prepare`; each is one file, `work` runs them."""
