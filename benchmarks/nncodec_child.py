"""Code changes of a model with NNCodec, in an environment of its own: it needs numpy below 2.

``python benchmarks/nncodec_child.py IN.npz OUT.npz QP [NONWEIGHT_QP]``, run by the interpreter that NNCODEC_PYTHON
names (``pip install nncodec``); :mod:`update_methods` calls it. OUT holds the decoded arrays and ``bitstream``, the
coded bytes.
"""

import contextlib
import io
import sys
import tempfile

import nncodec.nn
import numpy as np


def main() -> None:
    source, target, qp, *nonweight = sys.argv[1:]
    with np.load(source) as file:
        arrays = {name: file[name] for name in file.files}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        options = {"qp": int(qp), "results": folder, "verbose": False}
        if nonweight:
            options["nonweight_qp"] = int(nonweight[0])
        stream = nncodec.nn.encode(arrays, options, incremental=True)
        decoded = nncodec.nn.decode(stream, options)
    np.savez(target, bitstream=np.frombuffer(bytes(stream), np.uint8), **{n: np.asarray(decoded[n]) for n in arrays})


if __name__ == "__main__":
    main()
