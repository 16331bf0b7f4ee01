"""What goes with exported weights: recipe, data, metrics, licence; `config.json` and the card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfsup_motion import __version__
from selfsup_motion.errors import CheckpointError
from selfsup_motion.weights.contents import read_checkpoint
from selfsup_motion.weights.portable import CONFIG_PARTS
from selfsup_motion.weights.shipped import shipped

_MOST_METRICS = 40
_NO_LICENCE = (
    "Not stated. It depends on the data that the weights were trained with; `licence=` of the "
    "export writes it here."
)


def facts_of(checkpoint: Path | None, licence: str | None) -> dict[str, Any]:
    """What is known of a checkpoint, plain values without names of folders.

    Args:
        checkpoint: the file; None: there are no weights.
        licence: of the weights, as the user states it.

    Returns:
        `recipe`, `data`, `metrics`, `untrained`, `licence`; empty or None where nothing is known.
    """
    facts: dict[str, Any] = {
        "version": __version__,
        "recipe": {},
        "data": {},
        "metrics": {},
        "untrained": {},
        "licence": licence,
    }
    if checkpoint is None:
        return facts
    try:
        content = read_checkpoint(checkpoint)
    except CheckpointError:  # weights of other authors
        return facts
    ours = content["selfsup_motion"]
    config = ours["config"]
    trainer, module = config.get("trainer") or {}, (config.get("data") or {}).get("module") or {}
    facts["recipe"] = {
        "experiment": ours.get("experiment") or config.get("experiment"),
        "method": (config.get("method") or {}).get("_target_"),
        "step": int(content["global_step"]),
        "seed": config.get("seed"),
        "precision": trainer.get("precision"),
        "trained_with": ours.get("version"),
        "config": {name: config[name] for name in CONFIG_PARTS if name in config},
    }
    source = module.get("source") or {}
    facts["data"] = {
        "source": source.get("_target_"),
        "batch_size": (config.get("data") or {}).get("batch_size"),
    }
    summary = _summary(checkpoint.parent.parent)
    for name in ("metrics", "untrained"):
        if isinstance(summary.get(name), dict):
            facts[name] = summary[name]
    return facts


def write_facts(
    folder: Path,
    facts: Mapping[str, Any],
    *,
    title: str,
    library: str,
    about: Mapping[str, str],
    usage: str,
    notes: list[str],
    config: Mapping[str, Any],
) -> None:
    """Write `config.json` and `README.md`.

    Args:
        folder: of the export.
        facts: of `facts_of`.
        title: what was exported, "encoder (ResNetEncoder) of CMP".
        library: that reads it.
        about: inputs and outputs by name.
        usage: Python that loads it, as it runs in that folder.
        notes: sentences about what differs or is left out.
        config: what else `config.json` has, first.
    """
    everything = {**config, "selfsup_motion": dict(facts)}
    text = json.dumps(everything, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    card = _card(facts, title, library, about, usage, notes)
    (folder / "README.md").write_text(card, encoding="utf-8")


def card_of_shipped(checkpoint: Path) -> str | None:
    """The card of a model that comes with the package; None of other files."""
    found = next((m for m in shipped().values() if m.file == checkpoint), None)
    return None if found is None else found.card.read_text(encoding="utf-8")


def _card(
    facts: Mapping[str, Any],
    title: str,
    library: str,
    about: Mapping[str, str],
    usage: str,
    notes: list[str],
) -> str:
    recipe, data = facts["recipe"], facts["data"]
    lines = ["---", f"library_name: {library}"]
    if facts["licence"]:
        lines.append(f"license: {str(facts['licence']).lower()}")
    lines += [
        "tags:",
        "- self-supervised-learning",
        "- selfsup_motion",
        "---",
        "",
        f"# {title}",
        "",
    ]
    if recipe:
        experiment = recipe["experiment"]
        made = f"experiment `{experiment}`, " if experiment else ""
        lines += [
            f"Trained with selfsup_motion {recipe['trained_with']}: {made}step {recipe['step']}. "
            "Its whole recipe is in `config.json`.",
            "",
        ]
    lines += ["## Use", "", "```python", usage.strip(), "```", ""]
    lines += [f"- `{name}`: {text}" for name, text in about.items()]
    lines += [""] if about else []
    if notes:
        lines += [*(f"- {note}" for note in notes), ""]
    if data and data["source"]:
        batch = f", {data['batch_size']} samples a step" if data["batch_size"] else ""
        lines += ["## Data", "", f"`{data['source']}`{batch}.", ""]
    if facts["metrics"]:
        lines += ["## Measured", "", "| metric | at the end | before training |", "|---|---|---|"]
        for name, value in list(facts["metrics"].items())[:_MOST_METRICS]:
            before = facts["untrained"].get(name)
            lines.append(f"| {name} | {value:.4g} | {'' if before is None else f'{before:.4g}'} |")
        lines.append("")
    if own := facts.get("card"):
        lines += ["## Its own card", "", str(own).partition("\n")[2].strip(), ""]
    return "\n".join([*lines, "## Licence", "", str(facts["licence"] or _NO_LICENCE), ""])


def _summary(run: Path) -> dict[str, Any]:
    """`summary.json` of a run folder; empty if there is none."""
    try:
        loaded = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}
