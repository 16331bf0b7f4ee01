"""The task DAVIS-2016, semi-supervised: follow the one object of each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from selfsup_motion.data.reading.masks import read_ids
from selfsup_motion.files.atomic import new_file
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.tasks.features.frame_encoder import Precision
from selfsup_motion.tasks.propagation.choice import Auto, FittingPropagator
from selfsup_motion.tasks.propagation.davis2016_files import OneObject
from selfsup_motion.tasks.propagation.davis2017 import Davis2017
from selfsup_motion.tasks.propagation.followers import Baseline
from selfsup_motion.tasks.propagation.propagator import LabelPropagator
from selfsup_motion.tasks.propagation.sequences import LabelledVideos
from selfsup_motion.text.progress import OnProgress


class Davis2016(Davis2017):
    """The protocol of `Davis2017` with one object, so that the mean is one over sequences.

    As there, the first and the last frame do not count. Temporal stability, which DAVIS has dropped
    in 2017, is not measured.

    Args:
        source: videos with masks; all their objects count as one.
        sequences: this and all that follow as of `Davis2017`.
        propagator: see above.
        baselines: see above.
        seed: see above.
        layer: see above.
        precision: see above.
        attributes: see above.
        short_side: see above.
    """

    def __init__(
        self,
        *,
        source: LabelledVideos,
        sequences: Sequence[str] | None,
        propagator: LabelPropagator | FittingPropagator,
        baselines: Sequence[Baseline],
        seed: int,
        layer: str | None,
        precision: Precision,
        attributes: ExistingFile | None,
        short_side: int | Auto | None = "auto",
    ) -> None:
        super().__init__(
            source=OneObject(source), sequences=sequences, propagator=propagator,
            baselines=baselines, seed=seed, layer=layer, precision=precision,
            attributes=attributes, official_ids=False, short_side=short_side,
        )  # fmt: skip

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """As `Davis2017.run`; `segmentations/<sequence>/00000.png` has each result in the form of
        2016 as well, grey images of 0 and 255.
        """
        metrics = super().run(encoder, folder, device=device, reuse=reuse, progress=progress)
        for name in self.tracked(folder):
            for file in sorted((folder / "results" / name).glob("*.png")):
                with new_file(folder / "segmentations" / name / file.name) as draft:
                    shown = np.where(read_ids(file) > 0, 255, 0).astype(np.uint8)
                    Image.fromarray(shown, "L").save(draft, format="PNG")
        return metrics
