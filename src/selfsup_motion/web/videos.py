"""Videos that people upload: looked at before they are kept."""

from __future__ import annotations

from pathlib import Path

from selfsup_motion.data.reading.decoding import VideoFile
from selfsup_motion.data.reading.timed_video import FrameTable
from selfsup_motion.web.refusals import Refusal
from selfsup_motion.web.sessions import Session, Stored
from selfsup_motion.web.uploads import Limits, video_suffix

_TYPES = {".mp4": "video/mp4", ".mkv": "video/x-matroska", ".mov": "video/quicktime"}
_USUAL_FPS = 25.0


def add_video(
    session: Session, draft: Path, name: str, limits: Limits, kind: str = "video"
) -> Stored:
    """Let a session have a video.

    Args:
        session: its owner.
        draft: the file; it becomes the session's, or is removed.
        name: to show.
        limits: of its frames and its length.
        kind: see `Stored`.

    Returns:
        A video with `width`, `height`, `frames`, `fps` and `seconds`.

    Raises:
        UserError: it is no video, a damaged one, too large or too long.
    """
    try:
        suffix = video_suffix(draft)
        file = VideoFile(draft, "The video")
        table = file.table
        try:
            _check(table, limits)
            height, width = file.read([0], None)[0].shape[:2]
        finally:
            file.close()
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    about = {
        "width": width,
        "height": height,
        "frames": len(table.pts),
        "fps": table.fps or _USUAL_FPS,
        "seconds": round(float(table.seconds[-1]), 2),
    }
    return session.add(draft, name, kind, _TYPES.get(suffix, "application/octet-stream"), about)


def _check(table: FrameTable, limits: Limits) -> None:
    count = len(table.pts)
    if count < 2:
        raise Refusal("The video has a single frame, which cannot move.")
    if table.width * table.height > limits.megapixels * 1e6:
        raise Refusal(
            f"Its frames of {table.width}x{table.height} pixels have more than "
            f"{limits.megapixels:g} megapixels, the most that this studio takes: make the video "
            "smaller, or start the studio with a larger max_megapixels.",
            413,
        )
    seconds = count / table.fps if table.counted and table.fps else float(table.seconds[-1])
    if seconds > limits.seconds:
        raise Refusal(
            f"The video is {seconds:.0f} seconds long, longer than {limits.seconds:g}, the most "
            "that this studio takes: cut it, or start the studio with a larger max_seconds.",
            413,
        )
