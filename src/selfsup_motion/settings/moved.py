"""Where the modules of version 0.1 are now.

Configs and checkpoints name classes by their path (`_target_`), and programs import them: both go
on working, through this one table.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

_PACKAGE = "selfsup_motion"

# below the package; what became a folder of its own name keeps its public names and is not listed
MOVED = {
    "utils.config": "settings.compose",
    "utils.check": "settings.check",
    "utils.build": "settings.build",
    "utils.diagnose": "settings.diagnose",
    "utils.learning_rate": "settings.learning_rate",
    "utils.cli": "terminal.command_line",
    "utils.console": "terminal.console",
    "utils.bar": "terminal.bar",
    "utils.session": "training.session",
    "utils.run": "training.run",
    "utils.lock": "terminal.lock",
    "utils.launch": "training.launch",
    "utils.ranks": "training.processes",
    "utils.report": "training.report",
    "utils.loggers": "training.loggers",
    "utils.signals": "training.signals",
    "utils.checkpointing": "callbacks.checkpointing",
    "utils.collapse": "callbacks.collapse",
    "utils.ema": "callbacks.ema",
    "utils.figures": "callbacks.figures",
    "utils.guards": "callbacks.guards",
    "utils.probe": "callbacks.segmentation_probe",
    "utils.progress": "callbacks.progress",
    "utils.stalls": "callbacks.stalls",
    "utils.meter": "callbacks.meter",
    "utils.seeding": "callbacks.seeding",
    "utils.job": "apps.job",
    "checkpoints": "weights.checkpoints",
    "official": "weights.published",
    "weight_files": "files.tensors",
    "ops.attention_autograd": "ops.attention.autograd",
    "ops.attention_layout": "ops.attention.layout",
    "ops.attention_parts": "ops.attention.parts",
    "ops.attention_unfold": "ops.attention.unfold",
    "ops.distant_attention": "ops.attention.distant",
    "ops.label_maps": "ops.label_cells",
    "models.cmp_layers": "models.motion_decoders.layers",
    "models.propagation": "models.motion_decoders.sparse_image",
    "models.point_attention": "models.motion_decoders.point_attention",
    "data.videos": "data.sources.videos",
    "data.frames": "data.sources.frames",
    "data.images": "data.sources.images",
    "data.shards": "data.sources.shards",
    "data.concat": "data.sources.concat",
    "data.coco": "data.sources.coco",
    "data.coco_file": "data.sources.coco_file",
    "data.label_folders": "data.sources.label_folders",
    "data.label_maps": "data.reading.label_maps",
    "data.label_classes": "data.reading.label_classes",
    "data.video_lists": "data.sources.video_lists",
    "data.frame_lists": "data.sources.frame_lists",
    "data.index": "data.sources.index",
    "data.reader": "data.loading.reader",
    "data.loader": "data.loading.loader",
    "data.rng": "data.loading.rng",
    "data.resume": "data.loading.resume",
    "data.sampling": "data.loading.sampling",
    "data.watch": "data.loading.watch",
    "data.faults": "data.loading.faults",
    "data.thread_local": "data.loading.thread_local",
    "data.pictures": "data.reading.pictures",
    "data.decoding": "data.reading.decoding",
    "data.storage": "data.reading.storage",
    "data.files": "data.reading.listing",
    "data.flow_estimation": "data.flow.estimation",
    "data.flow_store": "data.flow.store",
    "data.device_flow": "data.flow.device",
    "data.color_clusters": "data.preparation.color_clusters",
    "methods.cmp_view": "methods.cmp.view",
    "methods.cmp_propagate": "methods.cmp.propagate",
    "methods.cmp_rigid": "methods.cmp.few_points",
    "methods.cmp_arrows": "methods.cmp.arrows",
    "methods.corrflow_view": "methods.corrflow.view",
    "methods.corrflow_figures": "methods.corrflow.figures",
    "methods.corrflow_following": "methods.parts.following",
    "methods.corrflow.following": "methods.parts.following",
    "methods.color_files": "methods.corrflow.color_files",
    "methods.mosi_view": "methods.mosi.view",
    "methods.channel_dropout": "methods.parts.channel_dropout",
    "methods.schedules": "methods.parts.schedules",
    "methods.param_groups": "methods.parts.param_groups",
    "methods.ranks": "methods.parts.rank_weight",
    "tasks.tracking": "tasks.propagation.tracking",
    "tasks.davis": "tasks.propagation.davis_metrics",
    "tasks.davis2017": "tasks.propagation.davis2017",
    "tasks.davis_files": "tasks.propagation.davis_files",
    "tasks.jhmdb": "tasks.propagation.jhmdb",
    "tasks.jhmdb_files": "tasks.propagation.jhmdb_files",
    "tasks.keypoints": "tasks.propagation.keypoints",
    "tasks.point_files": "tasks.propagation.point_files",
    "tasks.sequences": "tasks.propagation.sequences",
    "tasks.toy_sequences": "tasks.propagation.toy_sequences",
    "tasks.mask_files": "data.reading.masks",
    "tasks.action_clips": "tasks.actions.clips",
    "tasks.action_finetuning": "tasks.actions.finetuning",
    "tasks.action_lists": "tasks.actions.lists",
    "tasks.action_videos": "tasks.actions.videos",
    "tasks.few_shot": "tasks.actions.few_shot",
    "tasks.clip_encoder": "tasks.features.clip_encoder",
    "tasks.frame_encoder": "tasks.features.frame_encoder",
    "tasks.feature_scores": "tasks.features.scores",
    "tasks.encoder_choice": "tasks.features.choice",
    "tasks.segmentation_figures": "tasks.segmentation.figures",
    "tasks.segmentation_probe": "tasks.segmentation.linear_probe",
    "tasks.segmentation_view": "tasks.segmentation.view",
    "tasks.instance_view": "tasks.instances.view",
    "tasks.instance_figures": "tasks.instances.figures",
    "tasks.detections": "tasks.instances.detections",
    "tasks.coco_scores": "tasks.instances.coco_scores",
    "apps.probe": "apps.object_scores",
    "apps.weights": "weights.trained_cmp",
    "data.preparation.atomic": "files.atomic",
}
_DISSOLVED = ("utils",)
"""Packages of which nothing is left."""


def current_target(target: str) -> str:
    """The path that a `_target_` of an earlier version has now; other paths as they are.

    Args:
        target: dotted path of a class or function.
    """
    module, _, rest = target.removeprefix(f"{_PACKAGE}.").partition(".")
    while rest and target.startswith(f"{_PACKAGE}."):
        if module in MOVED:
            return f"{_PACKAGE}.{MOVED[module]}.{rest}"
        name, _, rest = rest.partition(".")
        module = f"{module}.{name}"
    return target


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module of an earlier version from where it is now.

    Stands at the end of `sys.meta_path`, so it is only asked for what nobody else has found.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        name = fullname.removeprefix(f"{_PACKAGE}.")
        if name in MOVED:
            return importlib.machinery.ModuleSpec(fullname, self)
        if name in _DISSOLVED:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        name = spec.name.removeprefix(f"{_PACKAGE}.")
        if name in _DISSOLVED:
            return None  # an empty package
        new = f"{_PACKAGE}.{MOVED[name]}"
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__  # which the import system is about to replace
        return module

    def exec_module(self, module: ModuleType) -> None:
        if (spec := module.__spec__) is not None and spec.loader_state is not None:
            module.__spec__ = spec.loader_state


def keep_old_imports() -> None:
    """Let `import` find modules of earlier versions."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
