"""What can be told about the inputs of an application before PyTorch is imported.

What is not needed for one command is not imported for it either.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from selfsup_motion.errors import UserError

if TYPE_CHECKING:
    from selfsup_motion.data.reading.decoding import VideoFile


def check_animation(cfg: DictConfig) -> None:
    """Read the photo's header, the arrows and the pins of `animate`.

    Raises:
        UserError: one of them cannot be used.
    """
    from selfsup_motion.apps.arrows import arrow_sets, check_inside, parse_rows

    job = _plain(cfg.job)
    size = _photo_size(job["image"])
    if job["arrows"] == "suggest":
        check_inside(parse_rows(job["pins"], "pins", 2, "x, y"), "pins", size, "pin")
    else:
        arrow_sets(job["arrows"], job["pins"], size)


def check_annotation(cfg: DictConfig) -> None:
    """Read the photo's header and the points of `annotate`.

    Raises:
        UserError: one of them cannot be used.
    """
    from selfsup_motion.apps.clicks import clicks_of
    from selfsup_motion.apps.corrections import check_objects, painted_objects, read_corrections

    job = _plain(cfg.job)
    size, path = _photo_size(job["image"]), job["corrections"]
    painted = None if path is None else read_corrections(path, size)
    given = job["positive"], job["negative"], job["objects"]
    check_objects(painted, len(clicks_of(*given, size, painted_objects(painted))))


def check_activation(cfg: DictConfig) -> None:
    """Open the video of `activation`.

    Raises:
        UserError: it cannot be used.
    """
    open_input(cfg.job.video).close()


def open_input(video: str) -> VideoFile:
    """Open the file that `video=` names.

    Raises:
        UserError: it is no video, or one of a single frame.
    """
    from selfsup_motion.data.reading.decoding import VideoFile

    file = VideoFile(Path(video), video)
    if len(file.table.pts) < 2:
        file.close()
        raise UserError(f"video={video}: has a single frame, which cannot move; give a video.")
    return file


def _photo_size(image: str) -> tuple[int, int]:
    from selfsup_motion.data.reading.pictures import image_size, read_bytes

    return image_size(read_bytes(Path(image), image), image, upright=True)


def _plain(node: DictConfig) -> dict[str, Any]:
    plain: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return plain
