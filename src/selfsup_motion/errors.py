"""The errors a user can cause, each told in one message."""


class UserError(Exception):
    """Something outside the program is wrong: a path, a key, a file, a combination of options.

    The message stands alone: it names the file or the key, what was expected and what to do. Entry
    points print it without a traceback and exit with status 2.
    """


class ClipReadError(UserError):
    """One clip cannot be read (damaged file, too few frames). The data path skips and counts it."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or not one of ours."""
