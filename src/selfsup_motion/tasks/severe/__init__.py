"""SEVERE-mini: how far features carry, and whether they see the scene or the motion."""
