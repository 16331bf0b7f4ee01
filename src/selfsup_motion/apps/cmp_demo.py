"""The call by which video generators ask their private copies of CMP's demo network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from selfsup_motion.errors import CheckpointError, UserError
from selfsup_motion.methods.cmp.propagate import EncodedImages
from selfsup_motion.models.motion_decoders.sparse_image import SparsePropagation
from selfsup_motion.ops.flow import FlowBins
from selfsup_motion.ops.tracks import sparse_to_points
from selfsup_motion.weights.run_folders import checkpoint_in
from selfsup_motion.weights.trained_cmp import Weights, load_weights

Normalisation = Literal["symmetric", "encoder"]

_CHUNK = {"cpu": 1}
"""Maps that pass through the decoder at once; on a CPU, more of them only leave its caches."""
_OTHER_CHUNK = 16
_BEYOND = 0.5
"""How far a picture may leave 0 … 1, as resizing makes it."""


class CMPDemo(nn.Module):
    """A trained CMP behind the call of the private copies in MOFA-Video, DisPose and others.

        cmp = CMPDemo(".../resnet50_vip+mpii_liteflow/config.yaml", 42000).to("cuda")
        flow = cmp.run(image, sparse, mask)

    With the authors' weights the flow equals theirs. Beside that, images may have any size, an
    image that comes several times in a row (in a batch, or in calls one after the other) is encoded
    once, the network is on the device and in the precision that it was moved to, and methods that
    were trained here work as well. It stays in evaluation mode, and its weights are frozen.

    Args:
        config_or_name: the `config.yaml` of an experiment of the authors' code, a run folder, a
            checkpoint (ours or theirs), or whatever else `checkpoint=` of the applications takes.
        iteration: with a `config.yaml`: loads `checkpoints/ckpt_iter_<iteration>.pth.tar` beside
            it. None: `config_or_name` says it all.
        normalisation: what the network sees of an image in 0 … 1. "symmetric": 2 · image − 1, as in
            those projects; "encoder": with the encoder's mean and standard deviation, as in
            training. None: the first for the authors' weights, the second for ours.

    Attributes:
        method: the network.
        normalisation: see above.
        short_side: pixels; images are resized to it for a network that takes points. One that
            takes guidance as an image sees them as they are.

    Raises:
        UserError: files that are not there, or hold something else.
    """

    def __init__(
        self,
        config_or_name: str | Path,
        iteration: int | None = None,
        *,
        normalisation: Normalisation | None = None,
    ) -> None:
        super().__init__()
        if normalisation not in (None, "symmetric", "encoder"):
            raise ValueError(f'normalisation is "symmetric" or "encoder", got {normalisation!r}')
        with _float32():  # whatever a program has made its default
            weights = _load(Path(config_or_name), iteration)
        published = weights.used.step is None
        self.method, self.short_side = weights.method, weights.short_side
        self.normalisation = normalisation or ("symmetric" if published else "encoder")
        if self.normalisation == "symmetric":
            for name in ("mean", "std"):
                self.method.get_buffer(name).fill_(127.5)
        self._memory: _Memory | None = None
        self.requires_grad_(False)
        self.eval()

    def run(self, image: Tensor, sparse: Tensor, mask: Tensor) -> Tensor:
        """Spread sparse motion over images.

        Gradients reach the inputs that ask for them.

        Args:
            image: (B, 3, H, W) float in 0 … 1, RGB; or (1, 3, H, W), for all of the maps.
            sparse: (B, 2, H, W), the motion of some pixels (x, y) in pixels, elsewhere 0.
            mask: (B, 2, H, W), 1 where it is given, elsewhere 0. For networks that take points,
                a larger number says how many motions were added up in a pixel.

        Returns:
            (B, 2, H, W) flow in pixels, with the type and on the device of the image.

        Raises:
            ValueError: shapes that do not fit, or an image that is not in 0 … 1.
        """
        _check(image, sparse, mask)
        inputs = [image, sparse, mask, *self.method.parameters()]
        learned = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
        device = self.method.get_buffer("mean").device
        pictures, sparse, mask = (t.to(device, torch.float32) for t in (image, sparse, mask))
        flows = []
        with torch.set_grad_enabled(learned):
            for rows in _alike(pictures, len(sparse)):
                first = pictures[rows.start : rows.start + 1]
                seen = self._look(first) if learned else self._remembered(first)
                step = _CHUNK.get(device.type, _OTHER_CHUNK)
                for start in range(rows.start, rows.stop, step):
                    part = slice(start, min(start + step, rows.stop))
                    flows.append(self._answer(seen, sparse[part], mask[part]))
        return torch.cat(flows).to(image.device, image.dtype)

    def forward(self, image: Tensor, sparse: Tensor, mask: Tensor) -> Tensor:
        """The same as `run`."""
        return self.run(image, sparse, mask)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, whatever it is a part of."""
        return super().train(False)

    def _look(self, image: Tensor) -> Mapping[str, Tensor] | EncodedImages:
        """What the network sees of an image (1, 3, H, W)."""
        propagation = self.method.propagation
        if not isinstance(propagation, SparsePropagation):
            return self.method.encode(
                image[0].clamp(0, 1),
                short_side=self.short_side,
                differentiable=torch.is_grad_enabled(),
            )
        right, below = _padding(propagation, image)
        image = F.pad(image, (0, right, 0, below), mode="replicate")
        return self.method.prepare(self.method.features(image * 255))

    def _remembered(self, image: Tensor) -> Mapping[str, Tensor] | EncodedImages:
        """As `_look`, which is done once if the same image comes in one call after the other."""
        state = _state(self.method, image)
        memory = self._memory
        if memory is None or memory.state != state or not torch.equal(memory.image, image):
            self._memory = memory = _Memory(image.clone(), state, self._look(image))
        return memory.seen

    def _answer(
        self, seen: Mapping[str, Tensor] | EncodedImages, sparse: Tensor, mask: Tensor
    ) -> Tensor:
        """(N, 2, H, W) flow from N maps for one image."""
        if isinstance(seen, EncodedImages):
            points, vectors, used = sparse_to_points(sparse / mask.clamp(min=1), mask)
            return seen.propagate(points, vectors, used)
        propagation = self.method.propagation
        assert isinstance(propagation, SparsePropagation)
        height, width = sparse.shape[-2:]
        right, below = _padding(propagation, sparse)
        guidance = F.pad(torch.cat([sparse, mask], 1), (0, right, 0, below))
        features = {k: v.expand(len(sparse), *v.shape[1:]) for k, v in seen.items()}
        scores = self.method.spread_image(features, guidance.to(seen["output"].dtype))
        flow = self.method.decode(scores[0], (height + below, width + right))
        return flow[..., :height, :width]

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._memory = None  # it has the old device and precision
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True)
class _Memory:
    """The last image that was looked at without gradients, and with which weights."""

    image: Tensor
    state: tuple[Any, ...]
    seen: Mapping[str, Tensor] | EncodedImages


def _state(method: nn.Module, image: Tensor) -> tuple[Any, ...]:
    """Changes when weights are written to or the precision is another one."""
    tensors = [*method.parameters(), *method.buffers()]
    versions = [0 if t.is_inference() else t._version for t in tensors]
    kind = image.device.type
    mixed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return *versions, mixed


def _alike(pictures: Tensor, maps: int) -> Iterator[slice]:
    """Rows in which one and the same picture comes again and again."""
    if len(pictures) == 1 or pictures.stride(0) == 0:
        yield slice(0, maps)
        return
    again = (pictures[1:] == pictures[:-1]).flatten(1).all(1).tolist()
    start = 0
    for row, same in enumerate([*again, False], 1):
        if not same:
            yield slice(start, row)
            start = row


def _padding(propagation: SparsePropagation, image: Tensor) -> tuple[int, int]:
    """Pixels to add on the right and below, so that strides and pooling come out even."""
    stride, decoder = propagation.flow_encoder.stride, propagation.flow_decoder
    least = max(decoder.scales) * stride
    # pooling of these scales leaves out what does not fill a cell, so any multiple will do
    height, width = (max(least, -(-side // stride) * stride) for side in image.shape[-2:])
    return width - image.shape[-1], height - image.shape[-2]


def _check(image: Tensor, sparse: Tensor, mask: Tensor) -> None:
    size = tuple(image.shape[-2:])
    if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be (B, 3, H, W), got {tuple(image.shape)}")
    given = tuple(sparse.shape), tuple(mask.shape)
    if sparse.ndim != 4 or given[0] != given[1] or given[0][1:] != (2, *size):
        raise ValueError(
            f"sparse and mask must be (B, 2, {size[0]}, {size[1]}) as the image, got {given[0]} "
            f"and {given[1]}"
        )
    if len(image) not in (1, len(sparse)) or not len(sparse):
        raise ValueError(
            f"image must have as many items as sparse, or one for all: got {len(image)} and "
            f"{len(sparse)}"
        )
    if not image.is_floating_point():
        raise ValueError(f"image must be float in 0 … 1, got {image.dtype}")
    low, high = (float(value) for value in image.detach().aminmax())
    if not (low >= -_BEYOND and high <= 1 + _BEYOND):
        raise ValueError(f"image must be in 0 … 1, got {low:g} … {high:g}")


def _load(path: Path, iteration: int | None) -> Weights:
    if path.suffix not in (".yaml", ".yml"):
        if iteration is not None:
            raise UserError(
                f"iteration={iteration} chooses one of the checkpoints beside a config.yaml: name "
                f"that file, or leave iteration out if {path} is a checkpoint itself."
            )
        return load_weights(str(path))
    folder = path.parent
    if iteration is None:
        if checkpoint_in(folder) is not None:
            return load_weights(str(folder))
        raise UserError(f"{path}: give the iteration of one of {_iterations(folder)}.")
    bins = _published_bins(path)
    file = folder / "checkpoints" / f"ckpt_iter_{iteration}.pth.tar"
    if not file.is_file():
        raise CheckpointError(f"{file}: there is no such file, but {_iterations(folder)}.")
    weights = load_weights(str(file))
    if weights.method.motion_code.channels != bins.channels:
        raise CheckpointError(
            f"{file}: it scores {weights.method.motion_code.channels // 2} bins, {path} says "
            f"{bins.num_bins}."
        )
    weights.method.motion_code = bins
    return weights


def _iterations(folder: Path) -> str:
    files = sorted((folder / "checkpoints").glob("ckpt_iter_*.pth.tar"))
    names = ", ".join(file.name for file in files) or "no ckpt_iter_<iteration>.pth.tar"
    return f"{names} in {folder / 'checkpoints'}"


def _published_bins(path: Path) -> FlowBins:
    """What a config of the authors' code says of the scores."""
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
        module = config["model"]["module"]
        return FlowBins(int(module["nbins"]), float(module["fmax"]))
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such config.") from error
    except Exception as error:  # of YAML, or of values that are something else
        raise UserError(
            f"{path}: not a config of the authors' code with model.module.nbins and fmax: {error}"
        ) from error


@contextlib.contextmanager
def _float32() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)
