"""CorrFlow: Self-supervised Learning for Video Correspondence Flow (Lai & Xie, BMVC 2019).

Every pixel of a frame gets its colour by copying from where the frame before looks alike. To find
the place, the encoder must learn what stays the same as things move.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.files.inputs import ExistingFile
from selfsup_motion.methods.corrflow.color_files import read_centroids
from selfsup_motion.methods.corrflow.figures import clip_panel
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.channel_dropout import ChannelDropout
from selfsup_motion.methods.parts.following import BASELINES, FollowedObjects
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.methods.parts.validation import is_partial
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.attention import restricted_attention
from selfsup_motion.ops.color import KINETICS_CENTROIDS, LabQuantizer, rgb_to_lab
from selfsup_motion.ops.color_jitter import color_jitter
from selfsup_motion.ops.label_cells import (
    blur_cells,
    cells_at_labels,
    cells_to_pixels,
    labels_to_cells,
)

_SAMPLING_STREAM, _DROPOUT_STREAM = 0, 1
_EPSILON = 1e-8
_DROPOUT = ChannelDropout()


class CorrFlow(Method):
    """Clips without labels → an encoder whose features match across frames.

    Batches come from `CorrFlowView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        radius: int | None = 6,
        centroids: ExistingFile | Sequence[Sequence[float]] | None = None,
        blend_ids: bool = False,
        dropout: ChannelDropout = _DROPOUT,
        truth_probability: tuple[float, float] = (0.9, 0.6),
        cycle_weight: float = 0.1,
        seed: int = 0,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: (B, 3, H, W) → (B, C, H / stride, W / stride); what transfers. See
                `models.encoder.Encoder`.
            radius: of the window that is copied from, in cells (published: 6); None: everywhere.
            centroids: colours (a, b) of Lab that are the classes: a list, a file made by
                `python -m selfsup_motion.fit_colors`, or None for the 16 published ones.
            blend_ids: reduce the true classes to cells by averaging their numbers, as the published
                code does, instead of their shares.
            dropout: of colour channels.
            truth_probability: at the beginning and at the end of the run, how often the colours
                that a later frame copies are the true ones and not those copied before.
            cycle_weight: weight of the loss of going forth and back; 0 saves its cost.
            seed: of the draws that are made once per batch.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range, a file that cannot be used.
        """
        super().__init__()
        if radius is not None and radius < 1:
            raise UserError(f"method.radius must be null or at least 1, got {radius}.")
        if cycle_weight < 0:
            raise UserError(f"method.cycle_weight must be at least 0, got {cycle_weight}.")
        if len(truth_probability) != 2 or not all(0 <= p <= 1 for p in truth_probability):
            raise UserError(
                f"method.truth_probability must be two numbers in [0, 1], got {truth_probability}."
            )
        check_sees(encoder, "image", "CorrFlow")
        stride = declared(encoder, "stride")
        if not isinstance(stride, int) or stride % 2:
            raise UserError(
                f"CorrFlow needs an image encoder with an even stride (encoder=corrflow_resnet18), "
                f"{type(encoder).__name__} has {stride}."
            )
        self.encoder, self.radius, self.stride = encoder, radius, stride
        if isinstance(centroids, str):
            centroids = read_centroids(centroids)
        self.colors = LabQuantizer(centroids or KINETICS_CENTROIDS)
        self.blend_ids, self.dropout = blend_ids, dropout
        self.truth_probability, self.cycle_weight = truth_probability, cycle_weight
        self.seed = seed
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels / 255, persistent=False)

        self.objects = FollowedObjects(self.stride, radius)
        self.accuracy = Means("network", "same_place")
        self.val_loss = MeanMetric()
        self._same_place: float | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] → features (B, C, H / stride, W / stride)."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        with own_precision(self):
            features: Tensor = self.encoder(x.contiguous(memory_format=torch.channels_last))
        return features

    def encode(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [0, 1] → (B, T, C, h, w), each frame once.

        Frame by frame, because batch normalisation is over one moment (as published).

        Raises:
            UserError: frames that are no whole number of cells.
        """
        size = frames.shape[-2:]
        if size[0] % self.stride or size[1] % self.stride:
            raise UserError(
                f"view.crop_size={list(size)}: expected multiples of {self.stride}, the stride of "
                f"{type(self.encoder).__name__}."
            )
        return torch.stack([self(frames[:, t]) for t in range(frames.shape[1])], 1)

    def classify(self, frames: Tensor) -> Tensor:
        """(B, T, 3, H, W) uint8 → (B, T, H, W) colour classes."""
        with torch.no_grad():
            classes: Tensor = self.colors(rgb_to_lab(frames.float() / 255))
        return classes

    def objective(
        self, features: Tensor, classes: Tensor, use_truth: Sequence[bool]
    ) -> tuple[Tensor, Tensor]:
        """The two losses of a clip.

        Maps that are copied between the same two frames are copied together: 2 (T - 1) attentions,
        where the pairs of the paper's sums count (T - 1) (T + 1).

        Args:
            features: (B, T, C, h, w).
            classes: (B, T, H, W) int64.
            use_truth: for the frames 2 … T - 1, whether they copy the true colours of the frame
                before them; else those that were copied there (scheduled sampling).

        Returns:
            Short-term loss, Σ over frames 1 … T - 1 (section 3.2); and long-term loss (section
            3.3), Σ over those frames of going there from frame 0 on copied colours, and back.
        """
        length = features.shape[1]
        truth = self._cells(classes)

        def copy(source: int, target: int, maps: list[Tensor]) -> list[Tensor]:
            copied = restricted_attention(
                features[:, target], features[:, source], torch.cat(maps, 1), self.radius
            )
            return list(copied.chunk(len(maps), 1))

        short = features.new_zeros(())
        reference = rolled = truth[:, 0]
        forth: list[Tensor] = []
        for t in range(1, length):
            maps = [reference]
            if self.cycle_weight and rolled is not reference:
                maps.append(rolled)
            copied = copy(t - 1, t, maps)
            short = short + self._cross_entropy(copied[0], classes[:, t])
            rolled = blur_cells(copied[-1], self.stride)
            forth.append(rolled)
            if t < length - 1:
                own = rolled if len(maps) == 1 else blur_cells(copied[0], self.stride)
                reference = truth[:, t] if use_truth[t - 1] else own
        long = features.new_zeros(())
        if self.cycle_weight:
            back: list[Tensor] = []
            for t in range(length - 1, 0, -1):
                copied = copy(t, t - 1, [*back, forth[t - 1]])
                back = [blur_cells(cells, self.stride) for cells in copied] if t > 1 else copied
            long = torch.stack([self._cross_entropy(p, classes[:, 0]) for p in back]).sum()
        return short, long

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Copy colours from frame to frame, and forth and back."""
        frames = batch["frames"]
        features = self.encode(self._augmented(batch))
        use_truth = self._draw_truth(frames.shape[1] - 2)
        short, long = self.objective(features, self.classify(frames), use_truth)
        loss = short + self.cycle_weight * long
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        self.log_dict({"train/short": short, "train/long": long}, sync_dist=True)
        return loss

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.objects.restart()
        self._same_place = None

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure how well each frame's colours are found in the frame before, and its objects."""
        frames = batch["frames"]
        images, classes = frames.float() / 255, self.classify(frames)
        features = self.encode(images)
        later = classes[:, 1:].flatten(0, 1)
        predicted = self._reconstruct(features, classes).flatten(0, 1)
        self.val_loss.update(self._cross_entropy(predicted, later), len(later))
        hits = cells_to_pixels(predicted, self.stride).argmax(1) == later
        self.accuracy["network"].update(hits.float())
        if self._same_place is None:
            still = classes[:, :-1] == classes[:, 1:]
            self.accuracy["same_place"].update(still.float())
        if "masks" in batch:
            self.objects.update(images, features, batch["masks"])

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks. What does not learn is computed once."""
        if self._same_place is None:
            self._same_place = float(self.accuracy["same_place"].compute())
        self.log("val/loss", self.val_loss.compute())
        self.log("val/accuracy", self.accuracy["network"].compute(), prog_bar=True)
        self.log("val/accuracy_same_place", self._same_place)
        self.objects.log(self)
        self.val_loss.reset()
        self.accuracy.reset()
        if is_partial(self.trainer):
            self._same_place = None

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to four clips: two frames, colours copied between them, followed masks."""
        batch = {name: values[:4] for name, values in batch.items()}
        frames = batch["frames"]
        features = self.encode(frames.float() / 255)
        copied = self._reconstruct(features, self.classify(frames))[:, -1]
        colors = self.colors.decode(cells_to_pixels(copied, self.stride))
        masks, followed = batch.get("masks"), None
        if masks is not None:
            followed = self.objects.follow(features, masks[:, 0])
        return {"clips": clip_panel(frames, colors, masks, followed)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate accuracy and, on labelled clips, J beside those of the baselines."""

        def row(title: str, accuracy: str, similarity: str) -> list[str]:
            cells = [metrics.get(name) for name in (accuracy, similarity)]
            return [title, *("" if cell is None else f"{cell:.3f}" for cell in cells)]

        rows = [row(title, "", f"val/j_{name}") for name, title in BASELINES.items()]
        rows[0] = row(BASELINES["identity"], "val/accuracy_same_place", "val/j_identity")
        if "val/j" not in metrics:
            rows = rows[:1]
        columns = ["copied from the frame before", "colour classes", "objects (J)"]
        if "untrained/accuracy" in metrics:
            rows.append(row("untrained network", "untrained/accuracy", "untrained/j"))
        return columns, [*rows, row("CorrFlow network", "val/accuracy", "val/j")]

    def _augmented(self, batch: dict[str, Any]) -> Tensor:
        """Frames as the encoder sees them in training; the colours to be found are the true."""
        frames, jitter = batch["frames"], batch["jitter"]
        images: Tensor = frames.float() / 255
        changed = (jitter[..., :3] != 1).any(-1) | (jitter[..., 3] != 0)
        if frames.device.type != "cpu":  # which of them change, the host would have to wait for
            jittered = color_jitter(frames, jitter)
            images = torch.where(changed[..., None, None, None], jittered, images)
        elif changed.any():
            images[changed] = color_jitter(frames[changed], jitter[changed])
        rng = np.random.default_rng([self.seed, self.global_step, _DROPOUT_STREAM])
        gains = self.dropout.gains(batch["dropout_seed"], frames.shape[1], rng)
        return images * gains[..., None, None]

    def _draw_truth(self, count: int) -> list[bool]:
        """Scheduled sampling: the probability moves linearly over the run."""
        first, last = self.truth_probability
        progress = self.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        rng = np.random.default_rng([self.seed, self.global_step, _SAMPLING_STREAM])
        draws = rng.random(max(0, count))
        return [bool(draw < first + (last - first) * min(1.0, progress)) for draw in draws]

    def _cells(self, classes: Tensor) -> Tensor:
        """(B, T, H, W) → (B, T, K, h, w)."""
        cells = labels_to_cells(
            classes.flatten(0, 1), len(self.colors), self.stride, blend_ids=self.blend_ids
        )
        return torch.unflatten(cells, 0, classes.shape[:2])

    def _reconstruct(self, features: Tensor, classes: Tensor) -> Tensor:
        """Frames 1 … T - 1, each copied from the true colours before: (B, T - 1, K, h, w)."""
        copied = restricted_attention(
            features[:, 1:].flatten(0, 1),
            features[:, :-1].flatten(0, 1),
            self._cells(classes[:, :-1]).flatten(0, 1),
            self.radius,
        )
        return torch.unflatten(copied, 0, (len(features), -1))

    def _cross_entropy(self, cells: Tensor, classes: Tensor) -> Tensor:
        """Mean over the pixels of -log p(true class), p enlarged from (B, K, h, w)."""
        return -(cells_at_labels(cells, classes, self.stride) + _EPSILON).log().mean()
