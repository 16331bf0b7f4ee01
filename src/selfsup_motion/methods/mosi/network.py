"""The network of MoSI: clips → which motion, and where the evidence for it is.

`MoSI` trains it. It stands by itself so that whoever only asks it need not import Lightning, which
takes longer than an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selfsup_motion.errors import UserError
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.pseudo_motion import PseudoMotion

Labels = Literal["joint", "x", "y", "separate"]
"""What is asked for: the class, its speed along one axis, or both speeds by a head each."""

MOTION = PseudoMotion()
"""The published motions."""


class MotionHead(nn.Module):
    """Average over time and space, dropout, and a linear layer `out_<name>` per question.

    Args:
        in_channels: of the features.
        answers: of each question, by its name.
        dropout: probability.
    """

    def __init__(self, in_channels: int, answers: Mapping[str, int], dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        for name, count in answers.items():
            self.add_module(f"out_{name}", nn.Linear(in_channels, count))
        self.names = list(answers)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """(N, C, t, h, w) -> scores (N, answers) of each question."""
        pooled = self.dropout(features.mean((2, 3, 4)))
        return {name: self.layer(name)(pooled) for name in self.names}

    def layer(self, name: str) -> nn.Linear:
        """The linear layer of a question."""
        layer: nn.Linear = getattr(self, f"out_{name}")
        return layer


class MoSINetwork(nn.Module):
    """Clips → which motion, without what trains it."""

    def __init__(
        self,
        *,
        encoder: nn.Module,
        motion: PseudoMotion = MOTION,
        labels: Labels = "joint",
        dropout: float = 0.5,
    ) -> None:
        """Assemble the network.

        Args:
            encoder: see `MoSI`.
            motion: see `MoSI`.
            labels: see `MoSI`.
            dropout: see `MoSI`.

        Raises:
            UserError: an encoder that is not one of clips.
        """
        super().__init__()
        check_sees(encoder, "clip", "MoSI")
        if labels not in ("joint", "x", "y", "separate"):
            raise UserError(f"method.labels={labels}: choose joint, x, y or separate.")
        classes = motion.classes
        self.encoder, self.motion = encoder, motion
        self.classes, self.labels = classes, labels
        right = {
            "joint": {"joint": torch.arange(len(classes))},
            "x": {"x": classes.axis_labels("x")},
            "y": {"y": classes.axis_labels("y")},
            "separate": {axis: classes.axis_labels(axis) for axis in ("x", "y")},
        }[labels]
        self._asked = tuple(right)
        for name, answer in right.items():
            self.register_buffer(f"answer_{name}", answer, persistent=False)
        answers = {
            name: len(classes) if name == "joint" else 2 * classes.levels + 1 for name in right
        }
        self.head = MotionHead(declared(encoder, "out_channels"), answers, dropout)
        self.to(memory_format=torch.channels_last_3d)
        for name, level in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, level.flatten() / 255, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.get_buffer("mean").device

    @property
    def questions(self) -> dict[str, Tensor]:
        """What is asked of a clip, and the right answer for each class (K,)."""
        return {name: self.get_buffer(f"answer_{name}") for name in self._asked}

    @property
    def answer_names(self) -> list[str]:
        """What can be predicted: the classes, or the speeds along the one axis asked for."""
        if self.labels in ("joint", "separate"):
            return self.classes.names
        steps = range(-self.classes.levels, self.classes.levels + 1)
        return [f"{self.labels}{step:+d}" if step else f"{self.labels} still" for step in steps]

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """(N, 3, T, H, W) normalised clips -> scores of each question, by its name."""
        with own_precision(self):
            return self.head(self.encoder(clips))  # type: ignore[no-any-return]

    def normalised(self, frames: Tensor) -> Tensor:
        """(N, T, 3, H, W) uint8 frames of real clips -> (N, 3, T, H, W) as `forward` takes them."""
        x = frames.transpose(1, 2).float() / 255
        x = (x - self.get_buffer("mean")[:, None, None, None]) / self.get_buffer("std")[
            :, None, None, None
        ]
        return x.contiguous(memory_format=torch.channels_last_3d)

    def answer_scores(self, scores: Mapping[str, Tensor]) -> Tensor:
        """(N, K) log-probabilities of the `answer_names`; two heads are taken as independent."""
        logs = {name: F.log_softmax(s.float(), 1) for name, s in scores.items()}
        if self.labels == "separate":
            q = self.questions
            return logs["x"][:, q["x"]] + logs["y"][:, q["y"]]
        return logs[self.labels]

    def predict(self, scores: Mapping[str, Tensor]) -> Tensor:
        """(N,) the likeliest answer."""
        return self.answer_scores(scores).argmax(1)

    @property
    def evidence(self) -> Tensor:
        """(K, C): what each channel of the averaged features adds to the score of each answer."""
        if self.labels == "separate":
            x, y = (self.head.layer(axis).weight[self.questions[axis]] for axis in ("x", "y"))
            return x + y
        return self.head.layer(self.labels).weight
