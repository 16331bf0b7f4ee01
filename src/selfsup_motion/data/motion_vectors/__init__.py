"""What a compressed video says about motion: reading it, storing it, maps of it."""
