"""docs/operators.md has a call of every public function of ops."""

import ast

from documents import ROOT, blocks

OPS = ROOT / "src" / "selfsup_motion" / "ops"
INSIDE = {"autograd", "fused", "gradients", "launch", "layout", "phases", "tiles", "triton_kernels",
          "unfold", "window"}  # fmt: skip
"""Modules of ops.attention behind what the package exports."""
PROTOCOLS = {"MotionCode"}


def public() -> set[str]:
    """The functions and classes that others may use."""
    names: set[str] = {"restricted_attention", "local_correlation"}
    for path in OPS.rglob("*.py"):
        if path.stem in INSIDE or path.stem.startswith("_"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                names.add(node.name)
    return names - PROTOCOLS


def called() -> set[str]:
    """What the page's code calls."""
    code = "\n".join(b.code for b in blocks(ROOT / "docs/operators.md") if b.language == "python")
    calls = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def test_every_public_operator_has_an_example_call():
    assert sorted(public() - called()) == []
