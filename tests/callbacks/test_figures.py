"""Which validation clips are drawn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from selfsup_motion.callbacks.figures import Figures


class Method:
    """Takes down what it is asked to draw."""

    def __init__(self) -> None:
        self.batches: list[Any] = []

    def figures(self, batch: Any) -> dict[str, np.ndarray]:
        self.batches.append(batch)
        return {"x": np.zeros((4, 4, 3), np.uint8)}


def drawn(folder, batches: list[Any]) -> Any:
    method = Method()
    trainer = SimpleNamespace(
        is_global_zero=True, sanity_checking=False, should_stop=False, global_step=1, max_steps=2,
        default_root_dir=folder, loggers=[],
    )  # fmt: skip
    made = Figures()
    for number, batch in enumerate(batches):
        made.on_validation_batch_start(trainer, method, batch, number)
    made.on_validation_end(trainer, method)
    return method.batches[0]


def clips(numbers: range, videos: int) -> dict[str, Any]:
    """Clips, three of each video."""
    keys = [f"video {n // 3 % videos}" for n in numbers]
    return {"x": torch.tensor([[float(n)] for n in numbers]), "key": keys, "y": list(numbers)}


@pytest.mark.parametrize("size", [1, 4, 30])
def test_every_row_shows_another_video(tmp_path, size):
    batches = [clips(range(i, min(i + size, 30)), 10) for i in range(0, 30, size)]
    batch = drawn(tmp_path, batches)
    assert batch["key"] == [f"video {n}" for n in range(8)]
    assert batch["x"].tolist() == [[3.0 * n] for n in range(8)]
    assert batch["y"] == [3 * n for n in range(8)]


def test_few_videos_are_shown_several_times(tmp_path):
    batch = drawn(tmp_path, [clips(range(i, i + 5), 2) for i in range(0, 30, 5)])
    assert batch["key"][:2] == ["video 0", "video 1"]
    assert batch["y"] == [0, 3, 1, 2, 4, 5, 6, 7]


def test_what_cannot_be_taken_apart_is_drawn_as_the_first_batch(tmp_path):
    no_names = [{"x": torch.zeros(4, 2)}, {"x": torch.ones(4, 2)}]
    assert drawn(tmp_path, no_names) is no_names[0]
    other_entries = [{"key": ["a", "b"], "item": torch.zeros(5)}, {"key": ["c"], "item": [1]}]
    assert drawn(tmp_path, other_entries) is other_entries[0]
    sizes = [{"key": [str(n)], "x": torch.zeros(1, 3 + n)} for n in range(2)]
    assert drawn(tmp_path, sizes) is sizes[0]
