"""What the trained networks are good for on one's own pictures."""
