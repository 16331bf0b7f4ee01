"""Names that programs outside of the package import, some by the paths of version 0.1."""

import importlib
import inspect

import pytest


@pytest.mark.filterwarnings("ignore:selfsup_motion:DeprecationWarning")
@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("apps.probe", "probe", "weights image positive negative"),
        ("apps.probe", "refine_grabcut", "score image"),
        ("apps.weights", "load_weights", "checkpoint device key"),
        ("apps.weights", "Weights", "method"),
        ("ops.flow", "read_flow_and_valid", "path"),
        ("ops.interpolate", "edge_aware_interpolation", "image points vectors point_mask"),
        ("ops.interpolate", "nearest_interpolation", "points vectors point_mask size"),
        ("data.flow_estimation", "DISFlow", "preset"),
        ("utils.config", "compose", "overrides"),
        ("utils.build", "build", "node"),
        ("checkpoints", "read_checkpoint", "path"),
        ("data.module", "ClipDataModule", ""),
        ("data.images", "ImageFolder", ""),
        ("data.sampling", "UniformClips", ""),
        ("data.faults", "BadFilesTable", "path"),
        ("data.reader", "Fault", "file reason message"),
        ("train", "train", "cfg"),
    ],
)
def test_names_that_others_import_stay(module: str, name: str, arguments: str) -> None:
    found = getattr(importlib.import_module(f"selfsup_motion.{module}"), name)
    positional = [
        p.name
        for p in inspect.signature(found).parameters.values()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    wanted = arguments.split()
    assert positional[: len(wanted)] == wanted
