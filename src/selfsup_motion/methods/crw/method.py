"""CRW: Space-Time Correspondence as a Contrastive Random Walk (Jabri, Owens & Efros, NeurIPS 2020).

A clip is a graph: its nodes are patches of frames, its edges lead to the patches of the next frame.
A walker that goes to similar patches, some frames forth and the same frames back, should end where
it began. For that, the encoder must give patches of the same thing similar features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from selfsup_motion.errors import UserError
from selfsup_motion.methods.crw.figures import clip_panel
from selfsup_motion.methods.crw.patches import cut_patches
from selfsup_motion.methods.crw.walk import (
    Edges,
    Walk,
    drop_edges,
    palindromes,
    transitions,
    walk_accuracies,
    walk_losses,
)
from selfsup_motion.methods.method import Method
from selfsup_motion.methods.parts.following import FollowedObjects
from selfsup_motion.methods.parts.means import Means
from selfsup_motion.methods.parts.schedules import cosine, every_step
from selfsup_motion.models.encoder import check_sees, declared, input_statistics
from selfsup_motion.models.precision import own_precision
from selfsup_motion.ops.color_jitter import color_jitter

_HIDDEN = 512
"""Channels of a hidden layer of the head."""
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class CRW(Method):
    """Clips without labels → an encoder whose features match across frames.

    Batches come from `CRWView`, which also decides what the nodes are.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        patch: int = 64,
        dim: int = 128,
        head_depth: int = 0,
        temperature: float = 0.05,
        edge_dropout: float = 0.1,
        edge_dropout_shared: bool = True,
        edge_dropout_in_validation: bool = False,
        feature_dropout: float = 0.0,
        flip: bool = False,
        statistics: Literal["encoder", "cifar"] = "encoder",
        radius: int | None = 6,
        follow_temperature: float = 0.005,
        optimizer: Callable[..., Optimizer] = torch.optim.Adam,
        schedule: Callable[..., LRScheduler] = cosine,
    ) -> None:
        """Assemble the method.

        Args:
            encoder: (B, 3, H, W) → (B, C, H / stride, W / stride); what transfers. Nodes are made
                of its `forward_deep` if it has layers above its output, see `UndilatedResNet`.
            patch: side in pixels that patches are resized to; that of the view.
            dim: channels of a node.
            head_depth: hidden layers between encoder and node, of 512 channels.
            temperature: of the steps of a walk.
            edge_dropout: share of the edges that walks must do without, drawn for each step.
            edge_dropout_shared: what is dropped forward is dropped backward, too, as in the
                published code; else both ways are drawn independently.
            edge_dropout_in_validation: drop them there as well, as the published code.
            feature_dropout: share of the encoder's values that are dropped.
            flip: take the steps of a walk in the order of the published option `flip`, for
                comparison with networks that were trained so.
            statistics: images are normalised in training with what the "encoder" declares, as in
                every use of it; or with those of "cifar", as in the published training.
            radius: of the window in which validation follows objects, in cells; None: everywhere.
            follow_temperature: of the cosines there. It is lower than that of the walks, since all
                cells of the window count, and not only the best ones as in `propagator=crw`.
            optimizer: makes an optimiser of parameters.
            schedule: makes a per-step schedule of (optimizer, total_steps=…).

        Raises:
            UserError: a value out of range.
        """
        super().__init__()
        check_sees(encoder, "image", "CRW")
        for name, rate in (("edge_dropout", edge_dropout), ("feature_dropout", feature_dropout)):
            if not 0 <= rate < 1:
                raise UserError(f"method.{name}={rate}: expected at least 0 and less than 1.")
        for name, value in (("", temperature), ("follow_", follow_temperature)):
            if value <= 0:
                raise UserError(f"method.{name}temperature={value}: expected more than 0.")
        if patch < 8 or dim < 1 or head_depth < 0:
            raise UserError(
                f"method.patch={patch}, method.dim={dim}, method.head_depth={head_depth}: expected "
                "at least 8, 1 and 0."
            )
        if radius is not None and radius < 1:
            raise UserError(f"method.radius={radius}: expected null or at least 1.")
        if statistics not in ("encoder", "cifar"):
            raise UserError(f"method.statistics={statistics}: choose encoder or cifar.")
        self.encoder, self.patch, self.temperature, self.flip = encoder, patch, temperature, flip
        self.edge_dropout, self.edge_dropout_shared = edge_dropout, edge_dropout_shared
        self.edge_dropout_in_validation = edge_dropout_in_validation
        self.make_optimizer, self.make_schedule = optimizer, schedule
        # encoders of other classes have no layers above what is compared
        deep = getattr(encoder, "deep_channels", None)
        self.deep = deep is not None
        widths = [deep or declared(encoder, "out_channels"), *[_HIDDEN] * head_depth, dim]
        self.feature_dropout = nn.Dropout(feature_dropout)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.ReLU(), nn.Linear(fan_in, fan_out)]
        self.head = nn.Sequential(*layers[1:])
        self.to(memory_format=torch.channels_last)
        for name, levels in zip(("mean", "std"), input_statistics(encoder), strict=True):
            self.register_buffer(name, levels / 255, persistent=False)
        cifar = torch.tensor([_CIFAR_MEAN, _CIFAR_STD]).view(2, 3, 1, 1)
        own = torch.stack([self.get_buffer("mean"), self.get_buffer("std")])
        used = cifar if statistics == "cifar" else own
        self.register_buffer("training_statistics", used, persistent=False)

        self.objects = FollowedObjects(declared(encoder, "stride"), radius, follow_temperature)
        self.val_loss = MeanMetric()
        self.accuracy = Means()  # one for each length of walks

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) float in [0, 1] → features (B, C, H / stride, W / stride)."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        with own_precision(self):
            features: Tensor = self.encoder(x.contiguous(memory_format=torch.channels_last))
        return features

    def nodes(self, batch: dict[str, Tensor]) -> Tensor:
        """The nodes of a batch of `CRWView`: (B, D, T, N), of length 1.

        All patches of all frames are cut at once and encoded at once.
        """
        frames = batch["frames"]
        images = frames.float() / 255
        if "frame_color" in batch:
            images = color_jitter(images, batch["frame_color"])
        if "windows" not in batch:
            return self.embed(self._normalised(images))
        patches = cut_patches(
            images.flatten(0, 1),
            batch["windows"].flatten(0, 1),
            self.patch,
            batch["mirrored"].flatten(0, 1),
        )
        patches = torch.unflatten(patches, 0, frames.shape[:2])
        if "patch_color" in batch:
            patches = color_jitter(patches, batch["patch_color"])
        return self.embed(self._normalised(patches))

    def embed(self, images: Tensor) -> Tensor:
        """Nodes of normalised images.

        Args:
            images: patches (B, T, N, 3, h, w), each of which is a node; or frames (B, T, 3, H, W),
                whose cells are nodes, row by row.

        Returns:
            (B, D, T, N) float32, of length 1.
        """
        single = images.ndim == 6
        flat = images.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        with own_precision(self):
            maps = self.encoder.forward_deep(flat) if self.deep else self.encoder(flat)  # type: ignore[operator]
            maps = self.feature_dropout(maps).flatten(2)
            vectors = self.head(maps.mean(-1) if single else maps.transpose(1, 2))
        vectors = F.normalize(vectors.float(), dim=-1)
        batch, length = images.shape[:2]
        return vectors.reshape(batch, length, -1, vectors.shape[-1]).permute(0, 3, 1, 2)

    def walk(self, nodes: Tensor, dropped: Edges | None = None) -> list[Walk]:
        """T - 2 walks forth and back, see `walk.palindromes`.

        Raises:
            UserError: fewer than three frames.
        """
        if nodes.shape[2] < 3:
            raise UserError(
                f"CRW walks through at least 3 frames, got {nodes.shape[2]}: set data.length=4."
            )
        with torch.autocast(nodes.device.type, enabled=False):  # products of many small numbers
            forward, backward = transitions(nodes, self.temperature, dropped)
            if self.flip:
                return palindromes(backward, forward)
            return palindromes(forward, backward)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Walk forth and back (section 2.2), with some edges missing (section 2.3)."""
        nodes = self.nodes(batch)
        walks = self.walk(nodes, self._dropped(nodes))
        losses = walk_losses(walks)
        loss = losses.mean()
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        parts = {f"train/loss_k{k}": own for k, own in enumerate(losses, start=1)}
        # as large a product as those of the loss, so only where somebody sees it
        if (self.global_step + 1) % getattr(self.trainer, "log_every_n_steps", 50) == 0:
            accuracies = enumerate(walk_accuracies(walks), start=1)
            parts |= {f"train/accuracy_k{k}": accuracy for k, accuracy in accuracies}
        self.log_dict(parts, sync_dist=True)
        return loss

    def setup(self, stage: str) -> None:
        """Forget the baselines: another call of the trainer may bring other data."""
        self.objects.restart()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Walk through whole clips, and follow their objects."""
        frames = batch["frames"]
        nodes = self.nodes(batch)
        dropped = self._dropped(nodes) if self.edge_dropout_in_validation else None
        walks = self.walk(nodes, dropped)
        self.val_loss.update(walk_losses(walks).mean(), len(frames))
        for k, value in enumerate(walk_accuracies(walks).tolist(), start=1):
            self._accuracy_of(k).update(value, len(frames))
        if "masks" in batch:
            images = frames.float() / 255
            self.objects.update(images, self._compared(images), batch["masks"])

    def on_validation_epoch_end(self) -> None:
        """Reduce over clips and ranks."""
        self.log("val/loss", self.val_loss.compute())
        # a rank without a clip does not know how long the walks are
        lengths = torch.tensor(len(self.accuracy), device=self.device)
        for k in range(int(self.trainer.strategy.reduce(lengths, reduce_op="max"))):
            self._accuracy_of(k + 1)
        accuracies = {name: self.accuracy[name].compute() for name in self.accuracy}
        for name, value in accuracies.items():
            self.log(f"val/accuracy_{name}", value)
        self.log("val/accuracy", torch.stack(list(accuracies.values())).mean(), prog_bar=True)
        self.objects.log(self)
        self.val_loss.reset()
        self.accuracy.reset()

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        return every_step(optimizer, self.make_schedule, self.trainer)

    @torch.no_grad()
    def figures(self, batch: dict[str, Any]) -> dict[str, NDArray[np.uint8]]:
        """Draw up to four clips: where walks return, and followed masks."""
        batch = {name: values[:4] for name, values in batch.items()}
        frames = batch["frames"]
        returned = self.walk(self.nodes(batch))[-1].returned()
        side = round(returned.shape[1] ** 0.5)
        returned = torch.unflatten(returned, 1, (side, side))
        masks, followed = batch.get("masks"), None
        if masks is not None:
            followed = self.objects.follow(self._compared(frames.float() / 255), masks[:, 0])
        return {"clips": clip_panel(frames, returned, masks, followed)}

    def report(self, metrics: Mapping[str, float]) -> tuple[list[str], list[list[str]]]:
        """Tabulate walks that return and, on labelled clips, J beside those of the baselines."""
        similarity = dict(FollowedObjects.table(metrics, "CRW network"))
        names = {"untrained network": "untrained/accuracy", "CRW network": "val/accuracy"}
        rows = [[title, "", value] for title, value in similarity.items() if title not in names]
        for title, name in names.items():
            if name in metrics:
                rows.append([title, f"{metrics[name]:.3f}", similarity.get(title, "")])
        return ["", "walks that return", "objects (J)"], rows

    def _normalised(self, images: Tensor) -> Tensor:
        if self.training:
            mean, std = self.get_buffer("training_statistics")
        else:
            mean, std = self.get_buffer("mean"), self.get_buffer("std")
        normalised: Tensor = (images - mean) / std
        return normalised

    def _compared(self, images: Tensor) -> Tensor:
        """(B, T, 3, H, W) in [0, 1] → features (B, T, C, h, w) of length 1."""
        features = F.normalize(self(images.flatten(0, 1)).float(), dim=1)
        return torch.unflatten(features, 0, images.shape[:2])

    def _dropped(self, nodes: Tensor) -> Edges | None:
        if not self.edge_dropout:
            return None
        batch, _, length, count = nodes.shape
        shape = 2 * (length - 1), batch, count, count
        uniform = torch.rand(shape, device=nodes.device)
        return drop_edges(uniform, self.edge_dropout, shared=self.edge_dropout_shared)

    def _accuracy_of(self, k: int) -> MeanMetric:
        """The mean of the walks of k + 1 steps and back; clips of a validation are equally long."""
        name = f"k{k}"
        if name not in self.accuracy:
            self.accuracy[name] = MeanMetric().to(self.device)
        return self.accuracy[name]
