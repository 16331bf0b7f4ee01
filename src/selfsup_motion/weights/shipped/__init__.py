"""Small trained models that come with the package, by name: `load_method("cmp")`.

Each is `<name>.safetensors` with its card `<name>.md` beside it. Nothing else depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Shipped:
    """A model that comes with the package.

    Attributes:
        name: what `checkpoint=` and `load_method` take.
        file: its weights.
        card: how it was trained, what it is good for and what it is not (Markdown).
    """

    name: str
    file: Path
    card: Path

    @property
    def about(self) -> str:
        """The first sentence of its card."""
        paragraphs = self.card.read_text(encoding="utf-8").split("\n\n")
        text = next(part for part in paragraphs if not part.startswith("#"))
        return " ".join(text.split()).partition(". ")[0].rstrip(".")


CORRESPONDENCE = "correspondence"
"""The model whose features are compared where labels are followed and no encoder is named."""


@cache
def shipped() -> dict[str, Shipped]:
    """All of them, by name."""
    files = sorted(_FOLDER.glob("*.safetensors"))
    return {f.stem: Shipped(f.stem, f, f.with_suffix(".md")) for f in files}
