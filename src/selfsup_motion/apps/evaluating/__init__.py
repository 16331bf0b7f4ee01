"""What evaluate does beside scoring: the folder of its results, and its closing table."""
