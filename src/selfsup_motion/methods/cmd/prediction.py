"""From the features of a clip to those of the motion after it: a small transformer, and heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selfsup_motion.errors import UserError


class Projection(nn.Sequential):
    """A hidden layer and an output, both normalised over the batch; on rows, which is what 1×1
    convolutions do to maps.

    Args:
        in_channels: of the rows.
        hidden: channels between.
        out_channels: of the output.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__(
            nn.Linear(in_channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out_channels, bias=False),
            nn.BatchNorm1d(out_channels),
        )


class MotionPredictor(nn.Module):
    """Tokens of a clip → one token for each place of the motion after it (section 3.3).

    An encoder, and a decoder with learned queries. Positions are learned and added to queries and
    keys of each attention, not to values.
    """

    def __init__(
        self,
        in_channels: int,
        tokens: int,
        places: int,
        *,
        channels: int,
        heads: int,
        encoder_layers: int,
        decoder_layers: int,
        dropout: float,
    ) -> None:
        """Make the network.

        Args:
            in_channels: of the clip's tokens.
            tokens: of a clip.
            places: to predict.
            channels: inside, and of the output.
            heads: of each attention; divides `channels`.
            encoder_layers: among the clip's tokens.
            decoder_layers: from the places to the clip.
            dropout: probability.

        Raises:
            UserError: a value out of range.
        """
        super().__init__()
        if heads < 1 or channels % heads:
            raise UserError(
                f"method.predictor_heads={heads} must divide method.predictor_channels={channels}."
            )
        if encoder_layers < 0 or decoder_layers < 1:
            raise UserError(
                "method.encoder_layers must be at least 0 and method.decoder_layers at least 1, "
                f"got {encoder_layers} and {decoder_layers}."
            )
        self.embed = nn.Linear(in_channels, channels)
        self.positions = nn.Parameter(torch.empty(tokens, channels))
        self.queries = nn.Parameter(torch.empty(places, channels))
        for parameter in (self.positions, self.queries):
            nn.init.normal_(parameter)
        self.encoder = nn.ModuleList(
            _Layer(channels, heads, dropout, crosses=False) for _ in range(encoder_layers)
        )
        self.decoder = nn.ModuleList(
            _Layer(channels, heads, dropout, crosses=True) for _ in range(decoder_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, tokens, in_channels) → (B, places, channels)."""
        memory = self.embed(tokens)
        for layer in self.encoder:
            memory = layer(memory, self.positions)
        found = self.queries.new_zeros(len(tokens), *self.queries.shape)
        for layer in self.decoder:
            found = layer(found, self.queries, memory, self.positions)
        return found


class _Layer(nn.Module):
    """Attention among themselves, to a memory if `crosses`, and two linear layers, each added and
    then normalised."""

    def __init__(self, channels: int, heads: int, dropout: float, *, crosses: bool) -> None:
        super().__init__()
        kinds = ("self", "cross") if crosses else ("self",)
        self.attention = nn.ModuleDict(
            {k: nn.MultiheadAttention(channels, heads, dropout, batch_first=True) for k in kinds}
        )
        self.norms = nn.ModuleDict({kind: nn.LayerNorm(channels) for kind in (*kinds, "out")})
        self.layers = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(channels, channels),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        memory: Tensor | None = None,
        memory_positions: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C), with positions (N, C), and a memory (B, M, C), with positions (M, C)."""
        placed = x + positions
        x = self._added("self", x, self._attend("self", placed, placed, x))
        if memory is not None and memory_positions is not None:
            places = memory + memory_positions
            x = self._added("cross", x, self._attend("cross", x + positions, places, memory))
        return self._added("out", x, self.layers(x))

    def _attend(self, kind: str, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        found: Tensor = self.attention[kind](queries, keys, values, need_weights=False)[0]
        return found

    def _added(self, kind: str, x: Tensor, change: Tensor) -> Tensor:
        normed: Tensor = self.norms[kind](x + self.dropout(change))
        return normed
