"""Mask R-CNN equals torchvision's, given the same weights."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from selfsup_motion.models.mask_rcnn import MaskRCNN
from selfsup_motion.models.resnet import ResNetEncoder

SETTINGS = {
    "channels": 256,
    "anchor_sizes": [32, 64, 128, 256, 512],
    "proposals": 200,
    "val_proposals": 100,
    "proposal_samples": 64,
    "box_samples": 32,
    "box_channels": 1024,
    "mask_channels": 256,
    "mask_layers": 4,
    "min_score": 0.05,
    "max_overlap": 0.5,
    "max_detections": 20,
}


def pair() -> tuple[ResNetEncoder, MaskRCNN, TorchvisionMaskRCNN]:
    """Ours and theirs with the same weights, and as sure of themselves as trained ones."""
    torch.manual_seed(0)
    body = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        norm_layer=torch.nn.BatchNorm2d,
        trainable_layers=5,
    )
    theirs = TorchvisionMaskRCNN(
        body,
        4,
        min_size=96,
        rpn_pre_nms_top_n_train=200,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=32,
        box_detections_per_img=20,
    )
    torch.nn.init.normal_(theirs.roi_heads.box_predictor.cls_score.weight, std=0.1)
    torch.nn.init.normal_(theirs.roi_heads.box_predictor.bbox_pred.weight, std=0.02)
    encoder = ResNetEncoder(18, out_channels=None, output_stride=8)
    encoder.set_output_stride(32)
    encoder.load_state_dict(theirs.backbone.body.state_dict())
    ours = MaskRCNN(stage_channels=encoder.stage_channels, num_classes=3, norm=False, **SETTINGS)
    for name in ("rpn", "roi_heads"):
        getattr(ours, name).load_state_dict(getattr(theirs, name).state_dict())
    ours.pyramid.load_state_dict(theirs.backbone.fpn.state_dict())
    return encoder, ours, theirs


def normalised(image: torch.Tensor) -> torch.Tensor:
    mean, std = (
        torch.tensor(value).view(3, 1, 1)
        for value in (ResNetEncoder.input_mean, ResNetEncoder.input_std)
    )
    return (image * 255 - mean) / std


def test_detections_equal_those_of_torchvision() -> None:
    encoder, ours, theirs = pair()
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        wanted = theirs.eval()(list(image))[0]
        stages = encoder.eval().forward_stages(normalised(image))
        found, losses = ours.eval()(image, [(96, 128)], stages)
    assert losses == {}
    assert len(wanted["boxes"]) > 10
    for name in ("boxes", "scores"):
        torch.testing.assert_close(found[0][name], wanted[name], rtol=1e-3, atol=1e-3)
    assert torch.equal(found[0]["labels"], wanted["labels"])
    assert found[0]["masks"].shape == (len(wanted["boxes"]), 1, 28, 28)


def test_losses_equal_those_of_torchvision() -> None:
    encoder, ours, theirs = pair()
    image = torch.rand(2, 3, 96, 128)
    targets = []
    for corner in (8.0, 30.0):
        masks = torch.zeros(2, 96, 128, dtype=torch.uint8)
        masks[:, 20:60, 40:90] = 1
        boxes = torch.tensor([[corner, corner, 80, 70], [40, 20, 90, 60]])
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks})
    theirs.transform._skip_resize = True  # it would draw a size, from our generator
    torch.manual_seed(1)
    wanted = theirs.train()(list(image), targets)
    torch.manual_seed(1)
    stages = encoder.train().forward_stages(normalised(image))
    _, losses = ours.train()(image, [(96, 128)] * 2, stages, targets)
    assert losses.keys() == wanted.keys()
    assert len(losses) == 5
    for name, value in losses.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [10, 50])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_changing_strides_equals_building_with_them(depth: int, stride: int) -> None:
    torch.manual_seed(0)
    changed = ResNetEncoder(depth, 16, output_stride=8 if stride != 8 else 32, width=8).eval()
    built = ResNetEncoder(depth, 16, output_stride=stride, width=8).eval()
    built.load_state_dict(changed.state_dict())
    changed.set_output_stride(stride)
    x = torch.rand(1, 3, 32, 64)
    assert changed.stride == stride
    torch.testing.assert_close(changed(x), built(x))
    stages = changed.forward_stages(x)
    assert [stage.shape[1] for stage in stages.values()] == changed.stage_channels
    assert list(stages) == ["layer1", "layer2", "layer3", "layer4"]
    with pytest.raises(ValueError, match="must be 8, 16 or 32, got 4"):
        changed.set_output_stride(4)


def test_a_level_without_an_anchor_size_is_refused() -> None:
    with pytest.raises(ValueError, match="anchor_sizes needs five sizes"):
        MaskRCNN(
            stage_channels=[8, 16, 32, 64],
            num_classes=3,
            norm=True,
            **{**SETTINGS, "anchor_sizes": [8, 16]},
        )
