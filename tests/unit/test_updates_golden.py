"""Updates of the present format version that must decode to the same bits for ever.

``python tests/unit/test_updates_golden.py`` writes them anew, for a new version of the format only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rinr_flower.updates import apply_update, updates

FILE = Path(__file__).parents[1] / "golden" / "updates.json"
"""Compressor to its options, a payload in hexadecimal, and the start of SHA-256 over the decoded tensors."""
GOLDEN: dict[str, dict[str, Any]] = json.loads(FILE.read_text()) if FILE.exists() else {}
OPTIONS: dict[str, dict[str, Any]] = {
    "factorised": {"rank": 2},
    "structured_low_rank": {"bits": 6},
    "random_mask": {"bits": 6, "fraction": 0.3},
    "stc": {"fraction": 0.1},
    "top_k": {"fraction": 0.1},
}


def base() -> dict[str, torch.Tensor]:
    return {
        "conv.weight": torch.arange(-72, 72).float().reshape(8, 2, 3, 3) / 64,
        "head.weight": torch.arange(30).float().reshape(6, 5) / 32,
        "norm.running_var": torch.arange(1, 9) / 8,
        "norm.count": torch.tensor(5),
        "table.weight": torch.arange(30).float().reshape(6, 5) / 32,
    }


def changed() -> dict[str, torch.Tensor]:
    """A change of low rank, of tied weights in which one row stays, of positive values and of a counter."""
    new = base()
    rows, columns = torch.tensor([1.0, -2, 3, 5, -4, 2, 1, -1]), torch.arange(18) % 7 - 3.0
    new["conv.weight"] += (rows[:, None] * columns / 64).reshape(8, 2, 3, 3)
    for name in ("head.weight", "table.weight"):
        new[name][1:] += torch.arange(25).reshape(5, 5) % 3 / 16 - 1 / 16
    new["norm.running_var"] += torch.arange(8) / 32
    new["norm.count"] += 4
    return new


def digest(state: dict[str, torch.Tensor]) -> str:
    parts = [state[key].reshape(-1).view(torch.uint8).numpy().tobytes() for key in sorted(state)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def test_every_compressor_has_a_golden_update() -> None:
    assert set(GOLDEN) == set(updates.names())


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_update_decodes_to_the_same_bits(name: str) -> None:
    result = apply_update(base(), bytes.fromhex(GOLDEN[name]["payload"]))
    assert digest(result) == GOLDEN[name]["digest"]
    assert int(result["norm.count"]) == 9
    assert torch.equal(result["table.weight"], result["head.weight"])


def main() -> None:
    golden = {}
    for name in updates.names():
        options = OPTIONS.get(name, {}) | ({} if updates.get(name).lossless else {"vector_bits": 8})
        payload = updates.create(name, **options).compress(base(), changed(), seed=2)
        result = digest(apply_update(base(), payload))
        golden[name] = {"options": options, "payload": payload.hex(), "digest": result}
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
