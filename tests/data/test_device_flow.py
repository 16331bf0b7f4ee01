"""RAFT between the loader and the step, and what the data module makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from recording import CountingSource, NoisyView
from torchvision.models.optical_flow import raft_small

from selfsup_motion.data.clip import Clip
from selfsup_motion.data.flow.device import RaftFlow, consistent
from selfsup_motion.data.flow.estimation import consistent as consistent_array
from selfsup_motion.data.loading.sampling import RandomClips, UniformClips
from selfsup_motion.data.module import ClipDataModule
from selfsup_motion.data.source import Source
from selfsup_motion.data.sources.images import ImageFolder
from selfsup_motion.data.toy import ToyWorld
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.view import CMPView


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an untrained network: its flow means nothing, but is the same at every call."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("raft") / "raft_small.pth"
    torch.save(raft_small().state_dict(), path)
    return path


def make_view(train: bool = True) -> CMPView:
    return CMPView(
        crop_size=128,
        short_side=None,
        grid_ratio=1 / 400,
        nms_size=15,
        max_points=40,
        train=train,
        flip=train,
        few_points=0.5 * train,
    )


class Frames(Source):
    """The toy world without its flow."""

    no_flow = "there is none"

    def __init__(self) -> None:
        self.world = ToyWorld(num_videos=6, size=128, num_frames=4)

    def __len__(self) -> int:
        return len(self.world)

    def info(self, index: int) -> Any:
        return self.world.info(index)

    def read(self, index: int, frame_indices: Any) -> Clip:
        clip = self.world.read(index, frame_indices)
        return Clip(frames=clip.frames, key=clip.key)


def make_module(source: Any, **options: Any) -> ClipDataModule:
    return ClipDataModule(
        source=source,
        val_source=source,
        sampler=RandomClips(2),
        val_sampler=UniformClips(2),
        **{"view": make_view(), "val_view": make_view(train=False), "batch_size": 2, **options},
    )


class Method(pl.LightningModule):
    """Keeps the batches it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.batches: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return {**batch, "augmented": True}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.batches["train"].append(batch)
        return self.weight * 1

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.batches["val"].append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(source: Any, **options: Any) -> Method:
    method = Method()
    trainer = pl.Trainer(
        max_steps=2,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        val_check_interval=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, make_module(source, **options))
    return method


def test_flow_reaches_the_method_as_from_any_source(weights: Path) -> None:
    raft = fit(Frames(), flow="raft_small", flow_weights=str(weights), flow_check=False)
    exact = fit(ToyWorld(num_videos=6, size=128, num_frames=4))
    for split in ("train", "val"):
        ours, theirs = raft.batches[split][0], exact.batches[split][0]
        theirs.pop("rigid", None)  # made of the toy world's masks, which these frames lack
        assert ours.keys() == theirs.keys()  # with what the method's own hook adds
        for name, value in theirs.items():
            if isinstance(value, torch.Tensor):
                assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape)
        assert ours["key"] == theirs["key"]
        # crops and mirroring draw the same numbers
        torch.testing.assert_close(ours["image"], theirs["image"])
        x, y = ours["points"][0, :3].long().T
        torch.testing.assert_close(ours["vectors"][0, :3], ours["flow"][0][:, y, x].T)


def test_flow_is_the_same_for_any_number_of_workers(weights: Path) -> None:
    options = {"flow": "raft_small", "flow_weights": str(weights), "flow_check": False}
    one, two = (fit(Frames(), num_workers=n, **options).batches["train"] for n in (0, 1))
    for ours, theirs in zip(one, two, strict=True):
        torch.testing.assert_close(ours["flow"], theirs["flow"])
        torch.testing.assert_close(ours["points"], theirs["points"])


def test_flow_has_the_size_of_the_images_and_the_batch_changes_nothing(weights: Path) -> None:
    raft = RaftFlow("raft_small", weights, updates=2)
    images = torch.randint(0, 255, (2, 2, 3, 100, 141), dtype=torch.uint8)
    flow, valid = raft(images[0], images[1])
    assert flow.shape == (2, 2, 100, 141)
    assert (valid.shape, valid.dtype) == ((2, 100, 141), torch.bool)
    alone, _ = raft(images[0][1:], images[1][1:])
    torch.testing.assert_close(alone[0], flow[1], atol=1e-3, rtol=1e-3)


def test_consistency_is_that_of_the_workers() -> None:
    rng = np.random.default_rng(0)
    forward, backward = rng.normal(0, 1, (2, 20, 30, 2)).astype(np.float32)
    tensors = [torch.from_numpy(f.transpose(2, 0, 1))[None] for f in (forward, backward)]
    ours = consistent(*tensors)[0].numpy()
    expected = consistent_array(forward, backward)
    assert 0.1 < expected.mean() < 0.9
    assert (ours != expected).mean() < 0.01  # OpenCV interpolates to 1/32 pixel


def test_missing_and_wrong_weights_are_told(tmp_path: Path, weights: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"download https://.*raft_large.*\.pth to it"):
        RaftFlow("raft_large")
    with pytest.raises(UserError, match="does not hold the weights of raft_large"):
        RaftFlow("raft_large", weights)
    (tmp_path / "text.pth").write_text("nothing")
    with pytest.raises(
        UserError, match=r"flow_weights: .*text\.pth: refused, the file is not a complete"
    ):
        RaftFlow("raft_small", tmp_path / "text.pth")


def test_weights_are_found_in_the_cache(tmp_path: Path, weights: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/raft_small_C_T_V2-01064c6d.pth").write_bytes(weights.read_bytes())
    assert RaftFlow("raft_small").check


def test_views_that_cannot_wait_for_flow_are_refused() -> None:
    class Impatient(NoisyView):
        needs_flow = "FlowMethod"

    with pytest.raises(UserError, match=r"which Impatient does not support: set data\.flow=dis"):
        make_module(Frames(), view=Impatient(), flow="raft_small")


def test_sources_without_flow_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_text("")
    (tmp_path / "broken2.jpg").write_text("")
    with pytest.raises(UserError) as caught:
        make_module(ImageFolder(tmp_path))
    assert str(caught.value) == (
        "CMP learns from flow, but still images do not move: choose videos (data=videos) or frame "
        "pairs with flow (data=yfcc)."
    )
    make_module(ImageFolder(tmp_path), view=NoisyView(), val_view=NoisyView())  # needs none


def test_frames_that_a_view_does_not_look_at_are_not_asked_for() -> None:
    class Frugal(CountingSource):
        def first_frame_only(self) -> CountingSource:
            return CountingSource(3)

    def num_clips(view: Any) -> int:
        return len(make_module(Frugal(5), view=view, val_view=view)._train_reader)

    assert num_clips(NoisyView()) == 5
    assert num_clips(make_view()) == 3
