"""The errors a user can cause, each told in one message."""

from typing import Any

from selfsup_motion.text.names import shown


class UserError(Exception):
    """Something outside the program is wrong: a path, a key, a file, a combination of options.

    The message stands alone: it names the file or the key, what was expected and what to do. Entry
    points print it without a traceback and exit with status 2.
    """


class ClipReadError(UserError):
    """One clip cannot be read (damaged file, too few frames). The data path skips and counts it.

    Where the message names the file, it does so as `file_names.shown`.

    Attributes:
        file: which one, as the source calls it; empty if unknown.
        reason: in a word or two, to count by: "damaged", "empty", "too short", ….
    """

    def __init__(self, message: str, *, file: str = "", reason: str = "damaged") -> None:
        super().__init__(message.replace(file, shown(file)) if file else message)
        self.file = file
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        # it travels from the loaders' processes, and keyword arguments would stay behind
        return type(self), self.args, {"file": self.file, "reason": self.reason}


class BadFilesError(UserError):
    """More files of a data set are unreadable than the settings allow."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or not one of ours."""
