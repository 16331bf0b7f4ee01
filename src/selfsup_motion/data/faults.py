"""Unreadable videos: named once, counted, and too many of them end the run."""

from __future__ import annotations

import logging

from selfsup_motion.data.reader import Batch, Delivery
from selfsup_motion.errors import UserError

log = logging.getLogger(__name__)

JUDGED_FROM = 100
"""Videos to be seen before their share of bad ones is judged (all of them, if there are fewer)."""


class BadVideos:
    """Keeps the account of one source's unreadable videos in the main process.

    A single bad video never ends a run. More than one do when they are more than `max_share` of
    the videos seen so far; until `JUDGED_FROM` are seen, of the first `JUDGED_FROM`.
    """

    def __init__(self, num_videos: int, max_share: float) -> None:
        self.num_videos = num_videos
        self.max_share = max_share
        self.reasons: dict[int, str] = {}
        """Why each bad video could not be read, by its index."""
        self._seen = bytearray(num_videos)
        self._num_seen = 0

    def receive(self, delivery: Delivery) -> Batch:
        """Take note of the videos a batch touched and return the batch.

        Raises:
            UserError: too many bad videos, or what kept the worker from making the batch.
        """
        for video, reason in delivery.tried:
            if not self._seen[video]:
                self._seen[video] = 1
                self._num_seen += 1
            if reason is not None and video not in self.reasons:
                self.reasons[video] = reason
                log.warning("Skipped: %s", reason)
        if delivery.batch is None:
            assert delivery.error is not None
            raise delivery.error
        judged = max(self._num_seen, min(JUDGED_FROM, self.num_videos))
        bad = len(self.reasons)
        if bad > 1 and bad > self.max_share * judged:
            some = " ".join(list(self.reasons.values())[:3])
            raise UserError(
                f"{bad} of the {self._num_seen} videos seen so far cannot be used, more than the "
                f"{self.max_share:.0%} that max_bad_share allows: {some} Repair or remove them, or "
                "raise max_bad_share."
            )
        return delivery.batch
