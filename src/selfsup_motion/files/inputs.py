"""Types of arguments that name a file or folder that must be there.

The check of the config knows them and refuses what is missing before anything is imported that
takes seconds.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

from selfsup_motion.errors import UserError

FILE = "existing file"
FOLDER = "existing folder"
FILE_OR_FOLDER = "existing file or folder"

ExistingFile = Annotated[str, "existing file"]
ExistingFolder = Annotated[str, "existing folder"]
ExistingPath = Annotated[str, "existing file or folder"]


def check_exists(key: str, value: str, kind: str, what: str | None = None) -> None:
    """Make sure that a path exists.

    Args:
        key: that names it, for the message.
        value: the path.
        kind: FILE, FOLDER or FILE_OR_FOLDER.
        what: to call it, if "file" or "folder" says too little.

    Raises:
        UserError: it does not, or it is of the other kind. A name that is nearly the same is told.
    """
    path = Path(value)
    what = what or kind.removeprefix("existing ")
    try:
        if not path.exists():
            raise UserError(f"{key}={value}: there is no such {what}{_nearly(path)}")
        if kind == FILE and path.is_dir():
            raise UserError(f"{key}={value}: expected a file, this is a folder.")
        if kind == FOLDER and not path.is_dir():
            raise UserError(f"{key}={value}: expected a folder, this is a file.")
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise UserError(f"{key}={value}: {error.strerror}.") from error


def _nearly(path: Path) -> str:
    try:
        names = {file.name.casefold(): file for file in path.parent.iterdir()}
    except OSError:
        return "."
    close = difflib.get_close_matches(path.name.casefold(), names, n=1, cutoff=0.8)
    return f", did you mean {names[close[0]]}?" if close else "."
