"""A training run: its folder, its processes, its report."""
