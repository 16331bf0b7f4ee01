"""What docs/applications.md promises runs."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs" / "applications.md"


def test_the_example_runs_as_it_is_written(cmp_checkpoint):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(code.replace("outputs/train/cmp_animate/<time>", str(cmp_checkpoint)), names)
    assert names["flow"].shape == (2, 270, 480)
    assert names["flows"].shape == names["sparse"].shape == names["mask"].shape == (13, 2, 270, 480)
