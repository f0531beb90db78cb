"""Code changes of a model with NNCodec, in an environment of its own: it needs numpy below 2.

``python benchmarks/lib/nncodec_child.py IN.npz OUT.npz QP...``, run by the interpreter that NNCODEC_PYTHON names
(``pip install nncodec`` there); :mod:`update_rivals` calls it. For the QP at position I, OUT holds ``I/bytes``, the
length of the bitstream, and ``I/NAME``, the decoded arrays.
"""

import contextlib
import io
import sys
import tempfile

import nncodec.nn
import numpy as np


def main() -> None:
    source, target, *qps = sys.argv[1:]
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    found = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        for position, qp in enumerate(qps):
            options = {"qp": int(qp), "results": folder, "verbose": False}
            stream = nncodec.nn.encode(arrays, options, incremental=True)
            decoded = nncodec.nn.decode(stream, options)
            found[f"{position}/bytes"] = np.array(len(bytes(stream)))
            found |= {f"{position}/{name}": np.asarray(decoded[name]) for name in arrays}
    np.savez(target, **found)


if __name__ == "__main__":
    main()
