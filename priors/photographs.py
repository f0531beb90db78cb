"""Photographs that the priors are trained on, with their licences. None is from a data set that codecs are tried on.

scikit-image's, scikit-learn's and matplotlib's lie in their wheels; the others in Debian's package
lomiri-wallpapers-16.04:
``apt-get download lomiri-wallpapers-16.04 && dpkg-deb -x lomiri-wallpapers-16.04_*.deb DIR``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rinr_flower.frames import read_image

SCIKIT_IMAGE = {
    "astronaut.png": "public domain (NASA)",
    "brick.png": "CC0",
    "camera.png": "CC0 (L. Varshney)",
    "chelsea.png": "CC0 (S. van der Walt)",
    "clock_motion.png": "public domain (S. van der Walt)",
    "coffee.png": "CC0 (R. Michetti)",
    "grass.png": "CC0",
    "gravel.png": "CC0",
    "hubble_deep_field.jpg": "public domain (NASA)",
    "retina.jpg": "CC0 (M. Haggstrom)",
    "rocket.jpg": "public domain (SpaceX)",
}
SCIKIT_LEARN = {"china.jpg": "CC BY 2.0 (daisukee)", "flower.jpg": "CC BY 2.0 (dany13)"}
MATPLOTLIB = {"grace_hopper.jpg": "public domain (US Navy)"}
DEBIAN = {
    "Picture_0B_by_freespace.jpg": "CC BY 4.0 (Trevor Freespace)",
    "Picture_1A_by_freespace.jpg": "CC BY 4.0 (Trevor Freespace)",
    "Wine_by_Jakkub_Mede.jpg": "CC BY 4.0 (Jakub Mede)",
    "aitzgorri_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "friends_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "life_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "seeding_by_Clements_Engelhardt.jpg": "CC0 (Clemens Engelhardt)",
    "sunset_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
}


def photographs(debian: Path) -> list[NDArray[np.uint8]]:
    """All photographs, RGB uint8, in a fixed order; ``debian`` is the folder that the package was unpacked to."""
    found = [(name, files("skimage").joinpath("data", name).read_bytes()) for name in SCIKIT_IMAGE]
    found += [(name, files("sklearn").joinpath("datasets", "images", name).read_bytes()) for name in SCIKIT_LEARN]
    sample = files("matplotlib").joinpath("mpl-data", "sample_data")
    found += [(name, sample.joinpath(name).read_bytes()) for name in MATPLOTLIB]
    found += [(name, (debian / "usr/share/backgrounds" / name).read_bytes()) for name in DEBIAN]
    return [read_image(data, name=name) for name, data in found]
