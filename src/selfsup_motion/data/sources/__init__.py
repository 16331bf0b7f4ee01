"""Where clips come from, one kind a file."""
