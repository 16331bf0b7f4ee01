"""Sources of clips, what chooses clips of them, and the data module that trains on them.

source = datasets.VideoFolder("/path/to/videos", split="train")
clip = source.read(0, [0, 1])    # Clip.frames uint8 (2, 3, H, W), Clip.flow, Clip.labels
"""

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.loading.sampling import AllClips, RandomClips, SeparateClips, UniformClips
from selfsup_motion.data.loading.several_clips import SeveralClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.sources.coco import CocoInstances
from selfsup_motion.data.sources.concat import ConcatSource
from selfsup_motion.data.sources.frames import FrameFolder
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.sources.label_folders import LabelFolder
from selfsup_motion.data.sources.shards import ClipShards
from selfsup_motion.data.sources.videos import VideoFolder
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.data.toy.instances import ToyInstances
from selfsup_motion.data.toy.scene import Difficulty

__all__ = [
    "AllClips",
    "Clip",
    "ClipDataModule",
    "ClipShards",
    "CocoInstances",
    "ConcatSource",
    "Difficulty",
    "FrameFolder",
    "ImageFolder",
    "LabelFolder",
    "RandomClips",
    "SeparateClips",
    "SeveralClips",
    "ToyInstances",
    "ToyWorld",
    "UniformClips",
    "VideoFolder",
]
