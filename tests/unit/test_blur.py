"""Random blur of training frames, against scipy's Gaussian filter."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from rinr_flower.decoding.blur import SIGMA_PX, blur_some


def test_some_pictures_are_blurred_as_scipy_does_and_the_others_stay() -> None:
    pictures = torch.rand(12, 3, 30, 41, generator=torch.Generator().manual_seed(0))
    before = pictures.clone()
    found = blur_some(pictures, 0.5, np.random.default_rng(3))
    generator = np.random.default_rng(3)
    drawn, sigmas = generator.uniform(size=12) < 0.5, generator.uniform(*SIGMA_PX, size=12)
    assert 3 <= drawn.sum() <= 9
    for picture, after, chosen, sigma in zip(pictures.numpy(), found.numpy(), drawn, sigmas, strict=True):
        wanted = gaussian_filter(picture, (0, sigma, sigma), mode="nearest", radius=4) if chosen else picture
        np.testing.assert_allclose(after, wanted, atol=1e-6)
    assert torch.equal(pictures, before)


def test_a_share_of_nothing_and_of_all() -> None:
    pictures = torch.rand(6, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(blur_some(pictures, 0.0, np.random.default_rng(0)), pictures)
    changed = blur_some(pictures, 1.0, np.random.default_rng(0)) != pictures
    assert bool(changed.flatten(1).any(dim=1).all())
