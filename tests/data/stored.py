"""An example as datasets store it, and the script that stores a folder of them."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "prepare_folder.py"


def run_script(*arguments):
    """The script that prepares a folder, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [SCRIPT.name, *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")


def colours_of_normals(rng, *shape):
    """Unit vectors all around, as 8-bit colours."""
    vectors = rng.normal(size=(*shape, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.round((vectors + 1) * 127.5).astype("uint8")


def example(seed, height=21, width=30):
    """An image and the labels of NYUD as they are stored, some pixels without a label."""
    rng = np.random.default_rng(seed)
    none = rng.random((height, width)) < 0.1
    labels = {
        "semseg": np.where(none, 255, rng.integers(0, 40, (height, width))).astype("uint8"),
        "depth": np.where(none, 0, rng.uniform(0.5, 9, (height, width))).astype("float32"),
        "normals": colours_of_normals(rng, height, width) * ~none[..., None],
        "edge": np.where(none, 255, rng.integers(0, 2, (height, width))).astype("uint8")[..., None],
    }
    return rng.integers(0, 256, (height, width, 3)).astype("uint8"), labels
