"""What a process can tell of the others of its run without importing PyTorch."""

import os

DECISION = "SELFSUP_MOTION_DECISION"
"""Environment variable by which a process that Lightning starts inherits the first one's plan."""

_LOST = ("Connection closed by peer", "Connection reset by peer", "Socket closed", "NCCL")


def is_follower() -> bool:
    """Whether Lightning has started this process beside another one."""
    return DECISION in os.environ and int(os.environ.get("LOCAL_RANK", "0")) > 0


def lost_peer(error: BaseException) -> bool:
    """Whether a collective operation failed because another rank is gone."""
    return isinstance(error, RuntimeError) and any(name in str(error) for name in _LOST)
