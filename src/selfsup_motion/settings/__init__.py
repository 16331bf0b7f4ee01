"""What a config means: composed, checked and built."""
