"""CMD: context and motion decoupled, from compressed videos (Huang et al., CVPR 2021).

A clip must name two things that a compressed video gives away for nothing. Its context: the key
frame beside it, among those of other videos. And its motion: from the clip's features a transformer
predicts the features of the motion vectors that follow, place by place, to be told from those of
other places, of other moments of the video, and of other videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import CatMetric

from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmd.figures import clip_pictures
from selfsup_motion.methods.cmd.objective import matching_loss, own_loss, own_similarities
from selfsup_motion.methods.cmd.prediction import MotionPredictor, Projection
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.param_groups import decayed
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.motion_encoder import MotionEncoder
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.color_jitter import color_jitter


class CMD(Method):
    """Clips, key frames and motion vectors → an encoder of clips.

    Batches come from `CMDView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        context_encoder: nn.Module,
        motion_encoder: MotionEncoder,
        length: int = 16,
        size: int = 112,
        motion_size: int = 112,
        predictor_channels: int = 512,
        predictor_heads: int = 8,
        encoder_layers: int = 2,
        decoder_layers: int = 4,
        dropout: float = 0.1,
        hidden: int = 2048,
        dim: int = 512,
        temperature: float = 0.1,
        motion_weight: float = 1.0,
        context_weight: float = 1.0,
        optimizer: Callable[..., Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: of clips, see `models.encoder.Encoder`; what transfers. If it has
                `forward_joined`, that is what the tasks see.
            context_encoder: of images, for key frames.
            motion_encoder: of maps of motion.
            length: frames of a clip.
            size: side of the crops in pixels, that of the view.
            motion_size: side of the maps of motion in cells, that of the view.
            predictor_channels: of the transformer.
            predictor_heads: of its attentions.
            encoder_layers: of the transformer, among the places of the clip.
            decoder_layers: of the transformer, from the places of the motion to those of the clip.
            dropout: in the transformer.
            hidden: channels inside the four projections.
            dim: channels of what is compared.
            temperature: of the similarities.
            motion_weight: of the loss on motion; 0 leaves the task out.
            context_weight: of the loss on key frames; 0 leaves the task out.
            optimizer: makes an optimiser of parameter groups; its weight decay spares normalisation
                and biases.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: encoders of the wrong kind, or a value out of range.
        """
        super().__init__()
        check_sees(encoder, "clip", "CMD")
        check_sees(context_encoder, "image", "CMD's key frames (method.context_encoder)")
        if not temperature > 0:
            raise UserError(f"method.temperature must be positive, got {temperature}.")
        if min(motion_weight, context_weight) < 0 or motion_weight + context_weight == 0:
            raise UserError(
                "method.motion_weight and method.context_weight must be at least 0, and one of "
                f"them more, got {motion_weight} and {context_weight}."
            )
        self.encoder, self.context_encoder = encoder, context_encoder
        self.motion_encoder = motion_encoder
        self.tokens = _token_shape(encoder, length, size)
        self.places = -(-motion_size // motion_encoder.stride)
        self.length, self.size, self.motion_size = length, size, motion_size
        self.temperature = temperature
        self.motion_weight, self.context_weight = motion_weight, context_weight
        self.make_optimizer, self.make_schedule = optimizer, schedule
        channels = int(declared(encoder, "out_channels"))
        time, side = self.tokens
        self.predictor = MotionPredictor(
            channels,
            time * side**2,
            self.places**2,
            channels=predictor_channels,
            heads=predictor_heads,
            encoder_layers=encoder_layers,
            decoder_layers=decoder_layers,
            dropout=dropout,
        )
        self.heads = nn.ModuleDict(
            {
                "predicted": Projection(predictor_channels, hidden, dim),
                "motion": Projection(motion_encoder.out_channels, hidden, dim),
                "clip": Projection(channels, hidden, dim),
                "context": Projection(int(declared(context_encoder, "out_channels")), hidden, dim),
            }
        )
        for kind, network in (("clip", encoder), ("context", context_encoder)):
            for name, levels in zip(("mean", "std"), input_statistics(network), strict=True):
                self.register_buffer(f"{kind}_{name}", levels / 255, persistent=False)
        self.means = Means("loss", "motion_accuracy", "moment_accuracy")
        self.embedded = nn.ModuleDict({name: CatMetric() for name in ("clip", "context")})

    def forward(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [0, 1] → the encoder's (B, C, t, h, w), as the tasks see it."""
        x = (clips - self.get_buffer("clip_mean")) / self.get_buffer("clip_std")
        with own_precision(self):
            maps: Tensor = getattr(self.encoder, "forward_joined", self.encoder)(x.transpose(1, 2))
        return maps

    def features(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Unit vectors of everything that is compared.

        Returns:
            `predicted` (B, G², D), of the places of the motion after each clip; `motion`
            (B, 1 + K, G², D), of that motion and of those from elsewhere; `clip` and `context`
            (B, D).

        Raises:
            UserError: crops of another size than the method was made for.
        """
        clips, contexts, motion = batch["clip"], batch["context"], batch["motion"]
        self._check(clips, motion)
        color = batch["color"]
        maps = self(color_jitter(clips, color[:, :1]))
        contexts = color_jitter(contexts, color[:, 1])
        seen = (contexts - self.get_buffer("context_mean")) / self.get_buffer("context_std")
        with own_precision(self):
            tokens = maps.flatten(2).transpose(1, 2)
            images = self.context_encoder(seen)
            moved = self.motion_encoder(motion.flatten(0, 1).transpose(1, 2).to(maps.dtype))
            rows = {
                "predicted": self.predictor(tokens),
                "motion": torch.unflatten(moved.flatten(2).transpose(1, 2), 0, motion.shape[:2]),
                "clip": tokens.mean(1),
                "context": images.mean((2, 3)),
            }
            return {name: self._project(name, x) for name, x in rows.items()}

    def losses(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both losses, among all clips of the batch (section 3)."""
        keys = features["motion"]
        return {
            "motion": matching_loss(
                features["predicted"].flatten(0, 1),
                keys[:, 0].flatten(0, 1),
                keys[:, 1:].flatten(0, 2) if keys.shape[1] > 1 else None,
                self.temperature,
            ),
            "context": matching_loss(features["clip"], features["context"], None, self.temperature),
        }

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Find the motion after each clip, and its key frame."""
        losses = self.losses(self.features(batch))
        loss = self.motion_weight * losses["motion"] + self.context_weight * losses["context"]
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count how often the right motion is found among those of the clip's own video."""
        features = self.features(batch)
        predicted, keys = features["predicted"], features["motion"]
        first, others = keys[:, 0], keys[:, 1:].flatten(1, 2)
        losses = own_loss(predicted, first, others, self.temperature)
        similar = own_similarities(predicted, first, others)
        right = torch.arange(similar.shape[1], device=similar.device)
        moments = torch.einsum("bpd,bkpd->bk", predicted.float(), keys.float())
        values = {
            "loss": losses.flatten(),
            "motion_accuracy": (similar.argmax(2) == right).float().flatten(),
            "moment_accuracy": (moments.argmax(1) == 0).float(),
        }
        for name, value in values.items():
            self.means[name].update(value)
        for name in ("clip", "context"):
            self.embedded[name].update(features[name].float())  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks; key frames are looked for among those of all clips."""
        for name in self.means:
            shown = name == "motion_accuracy"
            self.log(f"val/{name}", self.means[name].compute(), prog_bar=shown)
        self.means.reset()
        clip, context = (self.embedded[name].compute() for name in ("clip", "context"))  # type: ignore[operator]
        nearest = (clip @ context.T).argmax(1)
        found = nearest == torch.arange(len(clip), device=clip.device)
        self.log("val/context_accuracy", found.float().mean())
        self.log("val/context_chance", torch.tensor(1 / len(clip)))
        for metric in self.embedded.values():
            metric.reset()  # type: ignore[operator]

    def configure_optimizers(self) -> Any:
        return every_step(self.make_optimizer(decayed(self)), self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to six clips: frames, the key frame, the motion after the clip, and where the
        predicted motion is like it."""
        few = {name: value[:6] for name, value in batch.items() if isinstance(value, Tensor)}
        features = self.features(few)
        alike = (features["predicted"] * features["motion"][:, 0]).sum(2).float()
        side = self.places
        return {"clips": clip_pictures(few, torch.unflatten(alike, 1, (side, side)))}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate both tasks beside chance and the untrained network."""
        if "val/motion_accuracy" not in metrics:
            return super().report(metrics)
        rows = []
        for name, what in (
            ("motion_accuracy", "place and moment of the motion after a clip"),
            ("moment_accuracy", "  its moment alone"),
            ("context_accuracy", "key frame of the clip"),
        ):
            cells = [metrics.get(f"untrained/{name}"), metrics[f"val/{name}"]]
            rows.append([what, *("" if cell is None else f"{cell:.1%}" for cell in cells)])
        return ["found", "untrained", "CMD network"], rows

    def _project(self, name: str, rows: Tensor) -> Tensor:
        projected: Tensor = self.heads[name](rows.reshape(-1, rows.shape[-1]))
        return F.normalize(projected.float(), dim=1).view(*rows.shape[:-1], -1)

    def _check(self, clips: Tensor, motion: Tensor) -> None:
        for name, found, wanted in (
            ("length", clips.shape[1], self.length),
            ("size", clips.shape[3], self.size),
            ("motion_size", motion.shape[4], self.motion_size),
        ):
            if found != wanted:
                raise UserError(
                    f"CMD was made for {name}={wanted} (method.{name}), but its batches have "
                    f"{found}: give the method, the view and the data the same."
                )


def _token_shape(encoder: nn.Module, length: int, size: int) -> tuple[int, int]:
    """(time, side) of what the tasks see of a clip."""
    joined = hasattr(encoder, "forward_joined")
    time = int(getattr(encoder, "joined_time_stride" if joined else "time_stride", 1))
    space = int(declared(encoder, "joined_stride" if joined else "stride"))
    return -(-length // time), -(-size // space)
