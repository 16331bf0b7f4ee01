"""What encoders say about themselves, ours and other people's."""

from __future__ import annotations

from typing import Any

import hydra
import pytest
import torch
from torch import nn

from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp import CMP
from selfsup_motion.methods.corrflow import CorrFlow
from selfsup_motion.models.encoder import (
    Encoder,
    check_sees,
    declared,
    input_statistics,
    sees_clips,
)
from selfsup_motion.settings.compose import compose
from selfsup_motion.settings.groups import options
from selfsup_motion.tasks.features.clip_encoder import ClipFeatures
from selfsup_motion.tasks.features.frame_encoder import FrameEncoder

OURS = [name for name in options("encoder") if not name.startswith("_")]
NAMED = {"timm": "test_vit", "torchvision": "shufflenet_v2_x0_5", "transformers": "vit"}
SMALL = "{hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 32}"
ALL = ("sees", "input_mean", "input_std", "stride", "out_channels")


class Mine(nn.Module):
    """Somebody's own encoder, derived from nothing of ours."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, stride=4)
        vars(self).update(attributes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


COMPLETE = {
    "sees": "image", "input_mean": [127.5] * 3, "input_std": (50.0, 60.0, 70.0), "stride": 4,
    "out_channels": 8,
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_every_encoder_says_what_it_sees_and_gives(name: str) -> None:
    more = [f"encoder.name={NAMED[name]}"] if name in NAMED else []
    more += [f"encoder.config={SMALL}"] * (name == "transformers")
    node = compose([f"encoder={name}", *more], config_name="evaluate").encoder
    encoder = hydra.utils.instantiate(node, _convert_="all").eval()
    assert isinstance(encoder, Encoder)
    assert all(declared(encoder, attribute) is not None for attribute in ALL)
    side = 64 if sees_clips(encoder) else 2 * encoder.stride
    shape = (1, 3, 8, side, side) if sees_clips(encoder) else (1, 3, side, side)
    with torch.inference_mode():
        made = encoder(torch.zeros(shape))
    assert made.shape[1] == encoder.out_channels
    assert made.shape[-1] == -(-side // encoder.stride)
    mean, std = input_statistics(encoder)
    assert mean.shape == std.shape == (3, 1, 1)
    assert (std > 0).all()


def test_an_encoder_of_ones_own_is_used_as_it_says() -> None:
    mine = Mine(**COMPLETE)
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    made = FrameEncoder(mine)(frames)
    std = torch.tensor(COMPLETE["input_std"]).view(3, 1, 1)
    torch.testing.assert_close(made, mine((frames - 127.5) / std).detach())
    assert ClipFeatures(mine)(frames[:, None]).shape == (2, 8)
    check_sees(mine, "image", "A test")


@pytest.mark.parametrize("lacking", ["sees", "input_mean", "input_std"])
def test_what_an_encoder_does_not_say_is_named(lacking: str) -> None:
    mine = Mine(**{name: value for name, value in COMPLETE.items() if name != lacking})
    for user in (FrameEncoder, ClipFeatures):
        with pytest.raises(UserError) as error:
            user(mine)
        assert f"encoder: Mine has no {lacking}, which is needed here: set" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "lacking", "settings"),
    [
        (CMP, "feature_channels", {"propagation": None, "motion_code": None, "epe_weight": 0.0,
         "published_init": False, "use_guidance": True}),
        (CorrFlow, "stride", {"radius": 6, "centroids": None, "blend_ids": False, "dropout": None,
         "truth_probability": (0.9, 0.6), "cycle_weight": 0.1, "seed": 0}),
    ],
)  # fmt: skip
def test_methods_name_what_they_miss(method: Any, lacking: str, settings: dict[str, Any]) -> None:
    mine = Mine(**{name: value for name, value in COMPLETE.items() if name != "stride"})
    with pytest.raises(UserError, match=f"^encoder: Mine has no {lacking}, which is needed here"):
        method(encoder=mine, optimizer=None, schedule=None, **settings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sees": "video"}, "encoder: Mine has sees='video', which must be \"image\" or \"clip\"."),
        ({"input_std": [1.0]}, "encoder: Mine has an input_std of 1 numbers: set it to three"),
        ({"sees": "clip"}, "A test needs an encoder of images (encoder=resnet18, alexnet, …, or a "
         "run of CorrFlow or CMP); Mine is an encoder of clips."),
    ],
)  # fmt: skip
def test_what_an_encoder_says_is_checked(changes: dict[str, Any], expected: str) -> None:
    mine = Mine(**{**COMPLETE, **changes})

    def look() -> None:
        check_sees(mine, "image", "A test")
        input_statistics(mine)

    with pytest.raises(UserError) as error:
        look()
    assert str(error.value).startswith(expected)
