"""Bytes of a payload: checked reading and writing, the container, quantisation and entropy coding."""
