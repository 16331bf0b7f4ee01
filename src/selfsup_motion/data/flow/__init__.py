"""Optical flow: estimated, stored."""
