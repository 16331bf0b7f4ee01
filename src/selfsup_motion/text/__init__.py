"""Text for people: names of files, numbers of things."""
