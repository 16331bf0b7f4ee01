"""Many trainings and evaluations as one table."""
