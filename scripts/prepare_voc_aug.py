"""VOC 2012's augmented training set, out of SBD (Hariharan et al., ICCV 2011).

    python scripts/prepare_voc_aug.py VOCdevkit/VOC2012 benchmark_RELEASE/dataset

writes SegmentationClassAug/*.png and ImageSets/Segmentation/train_aug.txt below the first folder:
VOC's own label maps where there are any, SBD's for the other images, none of VOC's val. Then

    python -m selfsup_motion.evaluate task=voc2012_seg data.root=VOCdevkit/VOC2012 \\
      data.train.labels=SegmentationClassAug \\
      data.train.listing=ImageSets/Segmentation/train_aug.txt checkpoint=...
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from selfsup_motion.data.reading.lists import read_lines
from selfsup_motion.data.reading.masks import write_mask


def main(voc: Path, sbd: Path) -> None:
    """Convert; what is there already is written anew."""
    lists = voc / "ImageSets" / "Segmentation"
    train, val = (
        [line.text for line in read_lines(lists / f"{name}.txt")] for name in ("train", "val")
    )
    names = sorted({*train, *(path.stem for path in (sbd / "cls").glob("*.mat"))} - {*val})
    output = voc / "SegmentationClassAug"
    output.mkdir(exist_ok=True)
    for name in names:
        if name in train:
            shutil.copyfile(voc / "SegmentationClass" / f"{name}.png", output / f"{name}.png")
        else:
            content = loadmat(sbd / "cls" / f"{name}.mat", struct_as_record=False, squeeze_me=True)
            write_mask(output / f"{name}.png", np.asarray(content["GTcls"].Segmentation, np.uint8))
    (lists / "train_aug.txt").write_text("\n".join(names) + "\n")
    print(f"{len(names)} images in {lists / 'train_aug.txt'} (10582 of the full sets)")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
