"""Mask R-CNN with a feature pyramid (He et al., ICCV 2017; Lin et al., CVPR 2017).

The parts are torchvision's. What torchvision's own model does besides, resizing, normalising and
padding of images, is left to whoever knows the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN as Assembly  # type: ignore[import-untyped]
from torchvision.models.detection.anchor_utils import AnchorGenerator  # type: ignore[import-untyped]
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead  # type: ignore[import-untyped]
from torchvision.models.detection.image_list import ImageList  # type: ignore[import-untyped]
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor  # type: ignore[import-untyped]
from torchvision.ops import FeaturePyramidNetwork  # type: ignore[import-untyped]
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool  # type: ignore[import-untyped]

Size = tuple[int, int]
"""(height, width) in pixels."""

_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_BOX_CELLS = 7


class MaskRCNN(nn.Module):
    """Everything of Mask R-CNN behind the encoder: pyramid, proposals, boxes, masks."""

    def __init__(
        self,
        *,
        stage_channels: Sequence[int],
        num_classes: int,
        channels: int,
        norm: bool,
        anchor_sizes: Sequence[int],
        proposals: int,
        val_proposals: int,
        proposal_samples: int,
        box_samples: int,
        box_channels: int,
        mask_channels: int,
        mask_layers: int,
        min_score: float,
        max_overlap: float,
        max_detections: int,
    ) -> None:
        """Assemble it, with random weights.

        Args:
            stage_channels: of the encoder's stages at strides 4, 8, 16, 32.
            num_classes: of objects, without background.
            channels: of all levels of the pyramid.
            norm: batch normalisation behind the pyramid's convolutions, which puts an encoder's
                features on one scale, however it was trained.
            anchor_sizes: pixels, one for each of the five levels.
            proposals: kept of each level before and of each image after suppression, in training.
            val_proposals: the same in evaluation.
            proposal_samples: anchors of an image that the proposals' loss looks at.
            box_samples: proposals of an image that the boxes' loss looks at.
            box_channels: of the boxes' two hidden layers.
            mask_channels: of the masks' convolutions.
            mask_layers: number of them.
            min_score: of a detection, in [0, 1].
            max_overlap: intersection over union above which the weaker of two detections of a
                class is dropped.
            max_detections: of an image.
        """
        super().__init__()
        if len(anchor_sizes) != 5:
            raise ValueError(
                f"detector.anchor_sizes needs five sizes, one for each level, got "
                f"{list(anchor_sizes)}"
            )
        self.pyramid = FeaturePyramidNetwork(
            list(stage_channels),
            channels,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=nn.BatchNorm2d if norm else None,
        )
        self.pyramid.out_channels = channels  # what Assembly wants to know of it
        parts = Assembly(
            self.pyramid,
            rpn_anchor_generator=AnchorGenerator(
                tuple((size,) for size in anchor_sizes), (_ASPECT_RATIOS,) * len(anchor_sizes)
            ),
            rpn_pre_nms_top_n_train=proposals,
            rpn_post_nms_top_n_train=proposals,
            rpn_pre_nms_top_n_test=val_proposals,
            rpn_post_nms_top_n_test=val_proposals,
            rpn_batch_size_per_image=proposal_samples,
            box_head=TwoMLPHead(channels * _BOX_CELLS**2, box_channels),
            box_predictor=FastRCNNPredictor(box_channels, num_classes + 1),
            box_batch_size_per_image=box_samples,
            box_score_thresh=min_score,
            box_nms_thresh=max_overlap,
            box_detections_per_img=max_detections,
            mask_head=MaskRCNNHeads(channels, (mask_channels,) * mask_layers, dilation=1),
            mask_predictor=MaskRCNNPredictor(mask_channels, mask_channels, num_classes + 1),
        )
        self.rpn, self.roi_heads = parts.rpn, parts.roi_heads

    def forward(
        self,
        image: Tensor,
        sizes: Sequence[Size],
        stages: Mapping[str, Tensor],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detect objects, or learn to.

        Args:
            image: (B, 3, H, W), of which nothing but the size matters.
            sizes: of the images within it; the rest is padding at the right and at the bottom.
            stages: the encoder's, (B, C, H / stride, W / stride) at strides 4, 8, 16, 32.
            targets: in training, of each image: `boxes` (N, 4) float32 x1, y1, x2, y2; `labels`
                (N,) int64 from 1; `masks` (N, H, W) uint8.

        Returns:
            Detections in evaluation, losses in training; the other one is empty. Detections of each
            image, the best first: `boxes` (N, 4); `scores` (N,); `labels` (N,) int64 from 1;
            `masks` (N, 1, 28, 28) probabilities within the boxes.
        """
        levels = self.pyramid({str(n): stage for n, stage in enumerate(stages.values())})
        # boxes are computed in the features' type, and bfloat16 knows every fourth pixel of 1000
        with torch.autocast(image.device.type, enabled=False):
            features = {name: level.float() for name, level in levels.items()}
            images = ImageList(image, list(sizes))
            proposals, proposal_losses = self.rpn(images, features, targets)
            detections, losses = self.roi_heads(features, proposals, images.image_sizes, targets)
        return detections, {**losses, **proposal_losses}
