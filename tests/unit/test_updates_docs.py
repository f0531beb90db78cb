"""The examples of docs/updates.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "updates.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["compress", "factorise"])
def test_example_runs_and_ends_near_the_new_state(example: str) -> None:
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(example, str(PAGE), "exec"), names)
    base, received = names["base"], names["received"]
    assert isinstance(base, dict)
    assert isinstance(received, dict)
    assert list(base) == list(received)
    assert any(not torch.equal(base[n], received[n]) for n in base)
