"""Frozen encoders: which one, and what it gives."""
