"""The task flow hints: the motion of all pixels, given the true motion of a few."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from selfsup_motion.data.reading.pictures import save_picture
from selfsup_motion.errors import UserError
from selfsup_motion.methods.cmp.network import CMPNetwork
from selfsup_motion.ops.draw import draw_arrows, panel
from selfsup_motion.ops.flow_pictures import flow_picture
from selfsup_motion.tasks.arrows.answers import AskedNetwork
from selfsup_motion.tasks.arrows.baselines import Interpolation, interpolate
from selfsup_motion.tasks.arrows.flow_pairs import FlowPairs, TrueFlow
from selfsup_motion.tasks.arrows.pictures import fitted, ranked
from selfsup_motion.tasks.arrows.questions import Points
from selfsup_motion.tasks.arrows.records import (
    Records,
    Rows,
    columns,
    mean_and_error,
    write_tables,
)
from selfsup_motion.tasks.propagation.sequences import chosen
from selfsup_motion.tasks.task import Needs, Task
from selfsup_motion.text.progress import OnProgress
from selfsup_motion.text.wording import counted
from selfsup_motion.weights.trained_cmp import Weights, weights_of

log = logging.getLogger(__name__)

COUNTS = (1, 8, 32)
"""Numbers of points."""
DRAWS = 3
"""Sets of points drawn from each flow."""
_LEAST = 1e-6
"""Pixels: smaller errors count as this where errors are divided."""
_SHOWN = 8
"""Points in the pictures."""
_TITLES = {"": "CMP", "nearest": "nearest", "edge_aware": "edge-aware"}


class FlowHints(Task):
    """Points at random with their true motion; the end-point error of what is made of them.

    Args:
        source: images with true flow.
        sequences: names of the pairs to work on; None: all.
        baselines: what is scored beside the network: "nearest" and "edge_aware" interpolation. The
            second is always computed, errors are compared with its.
        short_side: at which the network sees the image, in pixels; None: as it was trained.

    Attributes:
        beside: metrics of the baselines, after `run`.
        standard_errors: of all metrics, by baseline; "" is the network.
    """

    needs: ClassVar[Needs] = {"labels": "flow_pairs", "encoder": "cmp"}
    unit: ClassVar[str] = "pairs"
    lower_is_better: ClassVar[bool] = True

    def __init__(
        self,
        *,
        source: FlowPairs,
        sequences: Sequence[str] | None,
        baselines: Sequence[Interpolation],
        short_side: int | None,
    ) -> None:
        if short_side is not None and short_side < 1:
            raise UserError(f"task.short_side={short_side}: expected at least 1 pixel.")
        self.source, self.names = source, chosen(source, sequences)
        self.baselines = tuple(dict.fromkeys(baselines))
        self.short_side = short_side
        self.beside = {}
        self.standard_errors: dict[str, dict[str, float]] = {}

    def run(
        self,
        encoder: nn.Module,
        folder: Path,
        *,
        device: str = "cpu",
        reuse: bool = False,
        progress: OnProgress | None = None,
    ) -> dict[str, float]:
        """Do all of it.

        Args:
            encoder: a whole CMP, of `load_method` or `load_network`.
            folder: gets `errors.jsonl`, `per_pair.csv`, the same table in `baselines/<name>`, and
                `flow.png`, the best, the median and the worst answer to 8 points.
            device: to compute on.
            reuse: take over the pairs that the folder has.
            progress: called as the work goes on, see `OnProgress`.

        Returns:
            `epe_1`, `epe_8`, `epe_32`: mean end-point error in pixels, given so many points;
            `ratio_1`, …: geometric mean over the pairs of the error divided by that of edge-aware
            interpolation. Without them if no pair could be scored.

        Raises:
            UserError: a file is missing or damaged.
        """
        assert isinstance(encoder, CMPNetwork)
        network = weights_of(encoder.to(device))
        if self.short_side is not None:
            network = network.at(self.short_side)
        records = Records(folder / "errors.jsonl", reuse=reuse)
        pairs: dict[str, Rows] = {}
        for done, name in enumerate(self.names, start=1):
            known = records.get(name)
            if known is None:
                known = self._measure(network, name)
                records.add(name, known)
            pairs |= known
            if progress:
                progress(done, len(self.names), name)
        if len(pairs) < len(self.names):
            left = [name for name in self.names if name not in pairs]
            shown = ", ".join(left[:5]) + (", …" if len(left) > 5 else "")
            log.warning(
                "Left out, the flow of fewer than %d pixels is known: %s.", max(COUNTS), shown
            )
        log.info("Measured %s, %d draws of points each.", counted(len(pairs), "pair"), DRAWS)
        everyone = write_tables(
            folder, {name: {name: rows} for name, rows in pairs.items()}, "pair"
        )
        means: dict[str, dict[str, float]] = {}
        for who in everyone:
            if who and who not in self.baselines:
                continue
            told = _summary(columns(pairs.values(), who), columns(pairs.values(), "edge_aware"))
            means[who] = {metric: mean for metric, (mean, _) in told.items()}
            self.standard_errors[who] = {metric: error for metric, (_, error) in told.items()}
        self.beside = {who: values for who, values in means.items() if who}
        if pairs:
            self._draw(network, pairs, folder)
        return means.get("", {})

    def summary(self) -> dict[str, Any]:
        """The standard errors."""
        errors = {
            who: {metric: e for metric, e in told.items() if math.isfinite(e)}
            for who, told in self.standard_errors.items()
        }
        return {"standard_errors": errors}

    def _measure(self, network: Weights, name: str) -> dict[str, Rows]:
        """Errors of everyone for one pair, by number of points; nothing if too little is known."""
        pair = self.source.open(name)
        drawn = _draws(name, pair.valid)
        if drawn is None:
            return {}
        looking = AskedNetwork(network, pair.image)
        rows: Rows = {}
        for who in dict.fromkeys(("", *self.baselines, "edge_aware")):
            for count in COUNTS:
                errors = [
                    _error(self._flow(who, looking, pair, *_hints(pair, places[:count])), pair)
                    for places in drawn
                ]
                rows.setdefault(who, {})[f"epe_{count}"] = float(np.mean(errors))
        return {name: rows}

    def _flow(
        self, who: str, looking: AskedNetwork, pair: TrueFlow, points: Points, vectors: Points
    ) -> NDArray[np.float32]:
        if who == "":
            return looking.flow(points, vectors)
        kind: Interpolation = "nearest" if who == "nearest" else "edge_aware"
        return interpolate(kind, pair.image, points, vectors)

    def _draw(self, network: Weights, pairs: dict[str, Rows], folder: Path) -> None:
        """The best, the median and the worst pair, by the error relative to edge-aware."""
        metric = f"epe_{_SHOWN}"
        gains = {n: -_log_ratio(r[""][metric], r["edge_aware"][metric]) for n, r in pairs.items()}
        people = ["", *self.baselines]
        pictures, captions = [], []
        for rank, name in ranked(gains).items():
            pair = self.source.open(name)
            drawn = _draws(name, pair.valid)
            assert drawn is not None
            points, vectors = _hints(pair, drawn[0][:_SHOWN])
            looking = AskedNetwork(network, pair.image)
            flows = [self._flow(who, looking, pair, points, vectors) for who in people]
            image = np.ascontiguousarray(pair.image.transpose(1, 2, 0))
            longest = max(1.0, float(np.hypot(*pair.flow)[pair.valid].max()))
            asked, scale, corner = fitted(image)
            places = np.asarray((points + 0.5) * scale - 0.5 + np.array(corner), np.float32)
            tiles = [draw_arrows(asked, places, np.asarray(vectors * scale, np.float32))]
            tiles.append(fitted(flow_picture(pair.flow, pair.valid, scale=longest))[0])
            tiles += [fitted(flow_picture(flow, scale=longest))[0] for flow in flows]
            pictures.append(tiles)
            errors = [f"{_error(flow, pair):.2f} px" for flow in flows]
            captions.append([f"{rank}: {name}", "", *errors])
        titles = [f"{_SHOWN} points", "true flow", *(_TITLES[who] for who in people)]
        save_picture(folder / "flow.png", panel(pictures, titles, captions))


def _draws(name: str, valid: NDArray[np.bool_]) -> list[NDArray[np.int64]] | None:
    """Sets of 32 pixels where the flow is known; None if there are fewer."""
    known = np.flatnonzero(valid)
    if len(known) < max(COUNTS):
        return None
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return [rng.choice(known, max(COUNTS), replace=False) for _ in range(DRAWS)]


def _hints(pair: TrueFlow, pixels: NDArray[np.int64]) -> tuple[Points, Points]:
    """Points (K, 2) x, y and their true motion (K, 2)."""
    y, x = np.divmod(pixels, pair.flow.shape[2])
    return np.stack([x, y], 1).astype(np.float32), np.ascontiguousarray(pair.flow[:, y, x].T)


def _error(flow: NDArray[np.float32], pair: TrueFlow) -> float:
    """Mean end-point error where the flow is known, in pixels."""
    return float(np.hypot(*(flow - pair.flow))[pair.valid].mean())


def _log_ratio(error: float, base: float) -> float:
    return math.log(max(error, _LEAST) / max(base, _LEAST))


def _summary(
    own: dict[str, list[float]], base: dict[str, list[float]]
) -> dict[str, tuple[float, float]]:
    """Mean and standard error of each metric, then of the ratios to edge-aware interpolation."""
    told = {metric: mean_and_error(values) for metric, values in own.items()}
    for metric, values in own.items():
        logs = [_log_ratio(one, other) for one, other in zip(values, base[metric], strict=True)]
        mean, error = mean_and_error(logs)
        # by the delta method
        told[metric.replace("epe", "ratio")] = math.exp(mean), math.exp(mean) * error
    return told
