"""Things cut out of real clips, by what moved in them; `prepare=cutouts` makes them.

A cut-out is a PNG picture with a mask beside it and the motion of what is in the mask:
`<name>.png` (H, W, 3), `<name>_mask.png` (0 the rest, 1, 2, … the things) and, in `cutouts.json`,
for each name a list of affine motions (2, 3), one per thing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from selfsup_motion.data.reading.lists import parsed_json
from selfsup_motion.data.reading.pictures import decode_image, read_bytes
from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import FOLDER, check_exists

LIST = "cutouts.json"


@dataclass(frozen=True)
class Scene:
    """A frame and what moved in it.

    Attributes:
        picture: (H, W, 3) uint8.
        mask: (H, W) uint8: 0 what rests, k the k-th thing.
        motions: (K, 2, 3): where x, y of the things go, in pixels.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    motions: NDArray[np.float64]


class Cutouts:
    """The cut-outs in a folder.

    Its folders are drawn from in proportion to the fourth root of the number of their cut-outs, so
    that many clips of one kind do not outvote the others.

    Args:
        root: that `prepare=cutouts` wrote.

    Raises:
        UserError: there are none.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        check_exists("data.cutouts", str(root), FOLDER, "folder")
        try:
            content = parsed_json((self.root / LIST).read_bytes(), LIST)
        except (OSError, UserError) as error:
            raise UserError(
                f"data.cutouts={root}: {LIST} cannot be read; make the folder with python -m "
                "selfsup_motion.prepare prepare=cutouts."
            ) from error
        self.motions = {name: np.array(m, np.float64) for name, m in content.items() if m}
        self.names = sorted(self.motions)
        if not self.names:
            raise UserError(f"data.cutouts={root}: {LIST} lists no cut-outs.")
        folders = [name.split("/")[0] for name in self.names]
        sizes = Counter(folders)
        share = np.array([sizes[folder] ** -0.75 for folder in folders])
        self._until = np.cumsum(share / share.sum())
        self._scene = lru_cache(maxsize=1024)(self._read)

    def __getstate__(self) -> dict[str, Path]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.names)

    def scene(self, rng: np.random.Generator) -> Scene:
        """A frame with everything that moved in it."""
        number = int(np.searchsorted(self._until, rng.random()))
        return self._scene(self.names[min(number, len(self) - 1)])

    def thing(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One thing: its frame (H, W, 3) in [0, 255], and its mask (H, W) in [0, 1]."""
        scene = self.scene(rng)
        number = rng.integers(len(scene.motions)) + 1
        return scene.picture.astype(np.float32), (scene.mask == number).astype(np.float32)

    def _read(self, name: str) -> Scene:
        picture, mask = (
            decode_image(read_bytes(self.root / file, file), file)
            for file in (f"{name}.png", f"{name}_mask.png")
        )
        return Scene(picture, np.ascontiguousarray(mask[..., 0]), self.motions[name])
