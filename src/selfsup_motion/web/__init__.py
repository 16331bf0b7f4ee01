"""The studio: a server for one page, and what each of its tabs asks of it."""
