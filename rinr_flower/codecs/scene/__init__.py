"""The codec ``scene``: one closed-form representation of a clip, in the frames of reference of camera and objects."""

from rinr_flower.codecs.scene.codec import Scene

__all__ = ["Scene"]
