"""An example as datasets store it."""

import numpy as np


def example(seed, height=21, width=30):
    """An image and the labels of NYUD as they are stored, some pixels without a label."""
    rng = np.random.default_rng(seed)
    none = rng.random((height, width)) < 0.1
    labels = {
        "semseg": np.where(none, 255, rng.integers(0, 40, (height, width))).astype("uint8"),
        "depth": np.where(none, 0, rng.uniform(0.5, 9, (height, width))).astype("float32"),
        "normals": rng.integers(1, 256, (height, width, 3)).astype("uint8") * ~none[..., None],
        "edge": np.where(none, 255, rng.integers(0, 2, (height, width))).astype("uint8")[..., None],
    }
    return rng.integers(0, 256, (height, width, 3)).astype("uint8"), labels
