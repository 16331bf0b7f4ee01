"""Unreadable videos: named once, listed, counted, and too many of them end the run."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Literal

from selfsup_motion.data.loading.reader import Delivery, Fault
from selfsup_motion.errors import BadFilesError
from selfsup_motion.text.names import register_handler, shown

log = logging.getLogger(__name__)

JUDGED_FROM = 100
"""Videos to be seen before their share of bad ones is judged (all of them, if there are fewer)."""


class BadVideos:
    """Keeps the account of one source's unreadable videos in the main process.

    A single bad video never ends a run. More than one do when they are more than `max_fraction` of
    the videos seen so far; until `JUDGED_FROM` are seen, of the first `JUDGED_FROM`.
    """

    def __init__(
        self, num_videos: int, max_fraction: float, name: Literal["train", "val"] = "train"
    ) -> None:
        """Begin with none.

        Args:
            num_videos: of the source.
            max_fraction: of bad videos, in [0, 1].
            name: of the source, for the list.
        """
        self.num_videos = num_videos
        self.max_fraction = max_fraction
        self.name = name
        self.faults: dict[int, Fault] = {}
        """What is wrong with each bad video, by its index."""
        self.table: BadFilesTable | None = None
        """Where they are listed as they are met."""
        self._seen = bytearray(num_videos)
        self._num_seen = 0

    def receive(self, delivery: Delivery) -> None:
        """Take note of the videos that a batch touched.

        Raises:
            BadFilesError: too many bad videos.
            UserError: what kept the worker from making the batch.
        """
        for video, fault in delivery.tried:
            if not self._seen[video]:
                self._seen[video] = 1
                self._num_seen += 1
            if fault is not None and video not in self.faults:
                self.faults[video] = fault
                what = "Left out of validation" if self.name == "val" else "Skipped"
                log.warning("%s: %s", what, fault.message)
                if self.table is not None:
                    self.table.add(self.name, fault)
        if delivery.error is not None:
            raise delivery.error
        judged = max(self._num_seen, min(JUDGED_FROM, self.num_videos))
        bad = len(self.faults)
        if bad > 1 and bad > self.max_fraction * judged:
            raise BadFilesError(self._too_many())

    def _too_many(self) -> str:
        reasons = Counter(fault.reason for fault in self.faults.values()).most_common()
        counts = ", ".join(f"{count} {reason}" for reason, count in reasons)
        some = " ".join([fault.message for fault in self.faults.values()][:3])
        listed = "" if self.table is None else f" All are listed in {self.table.path}."
        return (
            f"{len(self.faults)} of the {self._num_seen} videos seen so far cannot be used "
            f"({counts}), more than the {self.max_fraction:.0%} that data.max_bad_fraction allows: "
            f"{some}{listed} Repair or remove them, or raise data.max_bad_fraction."
        )


class BadFilesTable:
    """A csv file of bad files, appended to as they are met: it survives the end of the run.

    Several ranks, and several sessions of a run, share one file; each bad file is listed once for
    training and once for validation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listed: set[tuple[str, ...]] = set()
        self._looked_at = 0
        """Bytes of the table whose rows are in `_listed`."""

    def add(self, name: str, fault: Fault) -> None:
        """Append a line, unless the file is listed."""
        row = (name, shown(fault.file), fault.reason, fault.message)
        self.path.parent.mkdir(parents=True, exist_ok=True)  # another node may not share the disk
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            # looking and writing belong together: another process may be at the same place
            with contextlib.suppress(OSError):  # some network disks have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._look(handle)
            if _identity(row) not in self._listed:
                header = b"" if self._looked_at else _csv_line(*_HEADER)
                os.write(handle, header + _csv_line(*row))
        finally:
            os.close(handle)  # and with it the lock

    def _look(self, handle: int) -> None:
        """Take note of what has been added since the last look."""
        size = os.fstat(handle).st_size
        if size < self._looked_at:  # another table
            self._listed, self._looked_at = set(), 0
        added = os.pread(handle, size - self._looked_at, self._looked_at)
        whole = added[: added.rfind(b"\n") + 1]
        if len(whole) < len(added):  # a disk that was full has cut the last line
            os.ftruncate(handle, self._looked_at + len(whole))
        text = io.StringIO(whole.decode("utf-8", "replace"), newline="")
        self._listed.update(_identity(tuple(row)) for row in csv.reader(text) if row)
        self._looked_at += len(whole)


_HEADER = ("set", "file", "reason", "message")


def _identity(row: tuple[str, ...]) -> tuple[str, ...]:
    """What is to be listed once: the file, or all of the row if it names none."""
    return row[:2] if len(row) > 1 and row[1] else row


def _csv_line(*values: str) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode("utf-8", register_handler())
