"""Drawing: views, renderers and the kernels under them. Codecs build on it; frame stores build on codecs."""

from rinr_flower.rendering.renderer import Renderer, View

__all__ = ["Renderer", "View"]
