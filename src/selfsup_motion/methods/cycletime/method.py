"""CycleTime: Learning Correspondence from the Cycle-consistency of Time (Wang et al., CVPR 2019).

A patch is tracked backward in time and forward again; it should end where it began. For that, the
tracker has to be good, and so have the features that it compares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from selfsup_motion.errors import UserError
from selfsup_motion.methods.cycletime.geometry import (
    PUBLISHED_TRANSLATION,
    cut_patch,
    grid_distance,
    surprise,
    transformation,
)
from selfsup_motion.methods.cycletime.tracker import Cycles, Localiser, Tracker
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.following import FollowedObjects
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.precision import own_precision


class CycleTime(Method):
    """Clips without labels → an encoder whose features match across frames.

    Batches come from `CycleTimeView`.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        size: int = 240,
        temperature: float = 512**-0.5,
        translation: float = PUBLISHED_TRANSLATION,
        align_corners: bool = True,
        long_weight: float = 0.02,
        skip_weight: float = 0.1,
        inlier_weight: float = 1.0,
        still_weight: float = 0.0,
        localiser_widths: tuple[int, int] = (128, 64),
        localiser_warmup_steps: int = 0,
        radius: int | None = 6,
        follow_temperature: float = 0.005,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: (B, 3, H, W) → (B, C, H / stride, W / stride); what transfers.
            size: side of the frames in pixels, that of the view; the localiser is made for it.
            temperature: of the affinities; published: 1 / √C.
            translation: factor of the translation when features are cropped (published: 227 / 210,
                while patches are cut from images with 1).
            align_corners: crop as PyTorch did when the method was published; false: as the released
                code does in a current PyTorch.
            long_weight: weight of the cycles through several frames.
            skip_weight: weight of the cycles through a single frame.
            inlier_weight: weight of the affinities where the patch is found.
            still_weight: how much it counts that the patch is also found in the frame that it was
                cut from, where the place of each cell is known: the cross-entropy of the
                affinities, and the distance with the weight of skip cycles. Not published; without
                it, features do not get better in runs of minutes.
            localiser_widths: channels of the localiser's two convolutions.
            localiser_warmup_steps: for so many steps only the localiser learns; helps where the
                losses do not fall.
            radius: of the window in which validation follows objects, in cells; None: everywhere.
            follow_temperature: of the cosines there.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range, or a size and an encoder that do not go together.
        """
        super().__init__()
        check_sees(encoder, "image", "CycleTime")
        stride = declared(encoder, "stride")
        if not isinstance(stride, int) or size < 3 or size % (3 * stride):
            raise UserError(
                f"view.size={size}: expected a multiple of {3 * stride}, three times the stride of "
                f"{type(encoder).__name__}, so that frames and patches are whole cells."
            )
        for name, value in (("", temperature), ("follow_", follow_temperature)):
            if value <= 0:
                raise UserError(f"method.{name}temperature={value}: expected more than 0.")
        weights = {"long": long_weight, "skip": skip_weight, "inlier": inlier_weight}
        weights["still"] = still_weight
        for name, value in weights.items():
            if value < 0:
                raise UserError(f"method.{name}_weight={value}: expected at least 0.")
        if radius is not None and radius < 1:
            raise UserError(f"method.radius={radius}: expected null or at least 1.")
        if len(localiser_widths) != 2 or min(localiser_widths) < 1:
            raise UserError(
                f"method.localiser_widths={list(localiser_widths)}: expected two numbers from 1 on."
            )
        if localiser_warmup_steps < 0:
            raise UserError(
                f"method.localiser_warmup_steps={localiser_warmup_steps}: expected at least 0."
            )
        self.encoder, self.size, self.weights = encoder, size, weights
        self.localiser_warmup_steps = localiser_warmup_steps
        cells, patch = (size // stride) ** 2, size // 3 // stride
        localiser = Localiser(cells, patch, (localiser_widths[0], localiser_widths[1]))
        self.tracker = Tracker(localiser, temperature, translation, align_corners)
        self.make_optimizer, self.make_schedule = optimizer, schedule
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels / 255, persistent=False)

        self.objects = FollowedObjects(stride, radius, follow_temperature)
        measured = [name for name in weights if name != "still" or still_weight]
        self.means = Means("loss", *measured, "off", "off_middle")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] → features (B, C, H / stride, W / stride)."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        with own_precision(self):
            features: Tensor = self.encoder(x.contiguous(memory_format=torch.channels_last))
        return features

    def cycles(self, batch: dict[str, Tensor]) -> Cycles:
        """Go the cycles of a batch of `CycleTimeView` (section 3.1)."""
        target = batch["target"].float() / 255
        patch = cut_patch(target, batch["theta"], self.size // 3, align_corners=False)
        frames = torch.cat([batch["clip"].float() / 255, target[:, None]], 1)
        maps = self(frames.flatten(0, 1))
        pieces = self(patch)
        if self.training and self.global_step < self.localiser_warmup_steps:
            # gradients of zero, and not none at all, which distributed training refuses
            maps, pieces = (x.detach() + 0 * x for x in (maps, pieces))
        maps, pieces = torch.unflatten(maps, 0, frames.shape[:2]).float(), pieces.float()
        cycles: Cycles = self.tracker(pieces, maps[:, :-1], maps[:, -1])
        if not self.weights["still"]:
            return cycles
        still = self.tracker.locate(F.normalize(pieces, dim=1), maps[:, -1])
        return cycles._replace(still=still)

    def losses(self, cycles: Cycles, theta: Tensor) -> dict[str, Tensor]:
        """The three losses (section 3.3) of cycles that began at `theta`, (B, 2, 3), and that of no
        motion, if that was looked for.
        """
        long = torch.stack([grid_distance(found, theta) for found in cycles.long])
        single = theta[:, None].expand_as(cycles.skip).flatten(0, 1)
        skip = grid_distance(cycles.skip.flatten(0, 1), single)
        losses = {"long": long.mean(), "skip": skip.mean(), "inlier": -cycles.inliers.mean()}
        if cycles.still is not None:
            found, affinities = cycles.still
            cells = self.size // self.objects.stride
            distance = grid_distance(found, theta).mean()
            entropy = surprise(theta, affinities, (cells, cells)).mean()
            losses["still"] = self.weights["skip"] * distance + entropy
        return losses

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Track patches back through time and forth again."""
        losses = self.losses(self.cycles(batch), batch["theta"])
        loss = self._total(losses)
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        self.log_dict({f"train/{name}": own for name, own in losses.items()}, sync_dist=True)
        return loss

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.objects.restart()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure how far off cycles end, and follow objects through whole clips."""
        theta = batch["theta"]
        cycles = self.cycles(batch)
        losses = self.losses(cycles, theta)
        middle = transformation(torch.zeros_like(theta[:, 0]))
        values = losses | {
            "loss": self._total(losses),
            # in sides of a patch
            "off": 1.5 * torch.cat([grid_distance(x, theta) for x in cycles.long]).sqrt().mean(),
            "off_middle": 1.5 * grid_distance(middle, theta).sqrt().mean(),
        }
        for name, value in values.items():
            self.means[name].update(value, len(theta))
        if "masks" in batch:
            images = batch["frames"].float() / 255
            features = F.normalize(self(images.flatten(0, 1)).float(), dim=1)
            features = torch.unflatten(features, 0, images.shape[:2])
            self.objects.update(images, features, batch["masks"])

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks."""
        for name in self.means:
            self.log(f"val/{name}", self.means[name].compute(), prog_bar=name == "loss")
        self.means.reset()
        self.objects.log(self)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return every_step(optimizer, self.make_schedule, self.trainer)

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate how far off cycles end and, on labelled clips, J beside the baselines'."""
        similarity = dict(FollowedObjects.table(metrics, "CycleTime network"))
        names = {
            "patch guessed in the middle": "val/off_middle",
            "untrained network": "untrained/off",
            "CycleTime network": "val/off",
        }
        rows = [[title, "", value] for title, value in similarity.items() if title not in names]
        for title, name in names.items():
            if name in metrics:
                rows.append([title, f"{metrics[name]:.3f}", similarity.get(title, "")])
        return ["", "patch is off by (sides)", "objects (J)"], rows

    def _total(self, losses: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
