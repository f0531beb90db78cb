"""Header, base fingerprint, integer buffers and vectors of an update."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.updates import Full, Qsgd, StructuredLowRank, apply_update, updates
from rinr_flower.updates.envelope import Envelope
from rinr_flower.updates.layout import fingerprint, matrix_shape


def test_convolutions_become_matrices_one_row_an_output_channel() -> None:
    assert matrix_shape(torch.nn.Conv2d(6, 8, 3).weight.shape) == (8, 54)
    assert matrix_shape(torch.nn.Conv2d(6, 8, 3, groups=2).weight.shape) == (8, 27)
    assert matrix_shape(torch.nn.Conv2d(8, 8, (1, 5), groups=8).weight.shape) == (8, 5)
    assert matrix_shape(torch.nn.Linear(7, 5).weight.shape) == (5, 7)


def test_fingerprint_depends_on_names_shapes_dtypes_and_every_bit() -> None:
    base = {"a": torch.zeros(2, 3), "b": torch.arange(4)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.arange(4)},
        {"a": torch.zeros(2, 3), "c": torch.arange(4)},
        {"a": torch.zeros(2, 3), "b": torch.arange(4).to(torch.int32)},
        {"a": torch.tensor([[0.0, 0, 0], [0, 0, -0.0]]), "b": torch.arange(4)},
    ]
    assert fingerprint(base) == fingerprint({"b": torch.arange(4), "a": torch.zeros(2, 3)})
    assert len({fingerprint(s) for s in [base, *others]}) == 5


def test_full_is_exact_in_every_dtype_and_memory_layout() -> None:
    torch.manual_seed(0)
    base = {
        "double": torch.randn(4, 5, dtype=torch.float64),
        "half": torch.randn(4, 5).half(),
        "strided": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        "transposed": torch.randn(5, 4).T,
    }
    new = {k: v * 1.37 for k, v in base.items()}
    result = apply_update(base, Full().compress(base, new))
    assert all(torch.equal(result[k], new[k]) for k in new)


def test_integers_beyond_32_bits_of_difference_survive() -> None:
    base = {"n": torch.tensor([0, -(2**63), 5]), "u": torch.tensor([200], dtype=torch.uint8)}
    new = {"n": torch.tensor([2**63 - 1, 2**62, -5]), "u": torch.tensor([3], dtype=torch.uint8)}
    result = apply_update(base, Full().compress(base, new))
    assert all(torch.equal(result[k], new[k]) for k in new)


def test_a_quantised_vector_never_turns_a_small_variance_negative() -> None:
    base = {"running_var": torch.tensor([1.0, 1.0, 50.0]), "bias": torch.zeros(3)}
    new = {"running_var": torch.tensor([1e-4, 1.0, 1.0]), "bias": torch.tensor([1.0, -0.5, 1 / 3])}
    result = apply_update(base, Qsgd(vector_bits=4).compress(base, new))
    assert torch.equal(result["running_var"], new["running_var"])
    step = 0.25 * (4 + 4 % 4) / 4  # the finest step of which seven reach 1.0 is 5/32, exactly on the qp grid
    assert float((result["bias"] - new["bias"]).abs().max()) <= step / 2
    assert not torch.equal(result["bias"], new["bias"])


def test_unchanged_tensors_cost_a_bit_each() -> None:
    base = {f"layer{i}.weight": torch.randn(64, 64) for i in range(80)}
    new = {**base, "layer3.weight": base["layer3.weight"] + 1}
    one = len(Full().compress(base, new))
    assert one <= 64 * 64 * 4 + 60
    assert one - len(Full().compress({"w": base["layer3.weight"]}, {"w": new["layer3.weight"]})) == 80 // 8 - 1 + 0


def test_an_unknown_compressor_and_another_version_are_refused() -> None:
    base = {"w": torch.zeros(2, 2)}
    with pytest.raises(PayloadError, match="unknown compressor 'zip'"):
        apply_update(base, Envelope("zip", fingerprint(base), 0, b"").to_bytes())
    data = bytearray(Full().compress(base, base))
    data[4] = 9
    with pytest.raises(PayloadError, match="version 9"):
        apply_update(base, bytes(data))


def test_a_result_that_is_not_finite_is_refused() -> None:
    """Two halves of float16's range add up to infinity there, though the change itself is finite."""
    base = {"w": torch.full((2, 2), 60_000.0, dtype=torch.float16)}
    content = b"\x80" + _all_rows() + _no_vectors() + np.full(4, 30_000, "<f2").tobytes()
    with pytest.raises(PayloadError, match="NaN or infinity"):
        apply_update(base, Envelope("float16", fingerprint(base), 0, content).to_bytes())


def _all_rows() -> bytes:
    """The row section of an update in which all rows of one weight change."""
    return b"\x00"


def _no_vectors() -> bytes:
    """The vector section of an update without vectors: no flags, an empty list of steps."""
    return b"\x00"


def test_options_are_checked_and_errors_name_them() -> None:
    with pytest.raises(ConfigError, match="vector_bits 20"):
        updates.create("stc", vector_bits=20)
    with pytest.raises(ConfigError, match=r"fraction 0\.0"):
        updates.create("top_k", fraction=0)
    with pytest.raises(ConfigError, match="no option 'ratio'"):
        updates.create("top_k", ratio=0.1)
    with pytest.raises(ConfigError, match="scope"):
        updates.create("stc", scope="layer")
    with pytest.raises(ConfigError, match="seed"):
        StructuredLowRank().compress({}, {}, seed=-1)
    with pytest.raises(DataError, match="complex64"):
        Full().compress({"w": torch.zeros(2, dtype=torch.complex64)}, {"w": torch.zeros(2, dtype=torch.complex64)})
