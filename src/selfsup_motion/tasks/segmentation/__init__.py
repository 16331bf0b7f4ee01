"""Semantic segmentation and parsing."""
