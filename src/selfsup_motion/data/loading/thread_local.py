"""What an object keeps for each thread of each process: open files, buffers, the last file read."""

from __future__ import annotations

import os
import threading
from typing import Any


class ThreadLocal:
    """Gives its subclasses `self._local`, whose attributes belong to one thread of one process.

    They are neither pickled nor copied with the object, and a forked process begins with none.
    """

    @property
    def _local(self) -> threading.local:
        held: tuple[int, threading.local] | None = self.__dict__.get("_held")
        if held is None or held[0] != os.getpid():
            held = self.__dict__["_held"] = os.getpid(), threading.local()
        return held[1]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_held"}
