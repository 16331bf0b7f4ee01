"""torchvision's video networks as encoders."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from selfsup_motion.models.encoder import ClipEncoder

VideoNetwork = Literal["r3d_18", "mc3_18", "r2plus1d_18", "s3d"]


class TorchvisionVideoEncoder(ClipEncoder):
    """A video network of torchvision without its pooling and classifier.

    State-dict keys are torchvision's, so that its weights load.

    Args:
        name: of torchvision's builder.

    Attributes:
        name: see above.
        out_channels: channels of the output.
        stride: input pixels per output pixel.
        time_stride: input frames per output frame.

    Raises:
        ValueError: another name.
    """

    # Kinetics, as torchvision's own weights expect
    input_mean = (110.201, 100.640, 95.997)
    input_std = (58.148, 56.470, 55.332)

    def __init__(self, name: VideoNetwork) -> None:
        super().__init__()
        # torchvision takes seconds to import, which other encoders need not pay for
        from torchvision.models import video  # type: ignore[import-untyped]

        builders = {
            "r3d_18": video.r3d_18,
            "mc3_18": video.mc3_18,
            "r2plus1d_18": video.r2plus1d_18,
            "s3d": video.s3d,
        }
        if name not in builders:
            raise ValueError(f"encoder.name={name}: choose one of {', '.join(builders)}")
        self.name = name
        network = builders[name](weights=None)
        self.parts = (
            ["features"] if name == "s3d" else ["stem", *(f"layer{i}" for i in range(1, 5))]
        )
        for part in self.parts:
            self.add_module(part, network.get_submodule(part))
        self.out_channels = 1024 if name == "s3d" else 512
        self.stride = 32 if name == "s3d" else 16
        self.time_stride = 1 if name == "mc3_18" else 8

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, T, H, W) normalised clips -> (B, out_channels, t, h, w)."""
        for part in self.parts:
            x = self.get_submodule(part)(x)
        return x
