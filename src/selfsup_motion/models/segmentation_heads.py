"""From features to a score per class in every cell."""

from __future__ import annotations

from torch import Tensor, nn


class LinearHead(nn.Module):
    """A 1x1 convolution: all that a linear probe learns.

    Args:
        in_channels: of the features.
        num_classes: K.
        normalise: bring each channel to zero mean and unit variance first, by batch normalisation
            without parameters of its own. At test time that is still a linear map; it makes one
            learning rate fit features of any scale.
        dropout: probability, of the features.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, normalise: bool, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, affine=False) if normalise else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(in_channels, num_classes, kernel_size=1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, K, h, w)."""
        scores: Tensor = self.score(self.dropout(self.norm(features)))
        return scores


class FCNHead(nn.Module):
    """3x3 convolution, batch normalisation, ReLU, dropout and a 1x1 convolution: the head that
    dilated ResNets are fine-tuned with (after Long et al., CVPR 2015).

    Args:
        in_channels: of the features.
        num_classes: K.
        hidden: channels of the 3x3 convolution.
        dropout: probability.
    """

    def __init__(self, in_channels: int, num_classes: int, *, hidden: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden, kernel_size=3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.score = LinearHead(hidden, num_classes, normalise=False, dropout=dropout)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, K, h, w)."""
        scores: Tensor = self.score(self.relu(self.norm(self.conv(features))))
        return scores
