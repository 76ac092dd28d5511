"""What the tests of boundaries share: the reference's maps, and made-up images."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def odsf_golden(golden):
    return golden("golden_odsf")


@pytest.fixture(scope="session")
def unpack(odsf_golden):
    """`unpack(case, name)`: a binary map of the reference."""

    def of(case, name):
        height, width = odsf_golden[f"{case}/shape"]
        bits = np.unpackbits(odsf_golden[f"{case}/{name}"])[: height * width]
        return bits.reshape(height, width).astype(bool)

    return of


@pytest.fixture(scope="session")
def scene():
    """`scene(seed)`: a noisy prediction and the edge image it is of."""

    def draw(seed, shape=(90, 120)):
        rng = np.random.default_rng(seed)
        label = np.zeros(shape, "uint8")
        label[rng.integers(8, 80)] = 255
        label[:, rng.integers(8, 110)] = 255
        prediction = 0.6 * np.roll(label, rng.integers(-1, 2), 0) + rng.integers(0, 100, shape)
        return prediction.astype("uint8"), label

    return draw


@pytest.fixture
def folders(tmp_path, monkeypatch, scene):
    """Predictions and labels of three images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for k in range(3):
        for folder, pixels in zip(("predictions", "labels"), scene(k), strict=True):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{k}.png")
    return tmp_path


@pytest.fixture(scope="session")
def expected(scene):
    """`expected(seeds)`: the scores of these images."""
    from keras_mtl.metrics.odsf.image import evaluate_image
    from keras_mtl.metrics.odsf.scores import BoundaryScores

    def of(seeds):
        scores = BoundaryScores()
        for seed in seeds:
            scores.add(evaluate_image(*scene(seed)))
        return scores

    return of


@pytest.fixture
def command():
    """`command(root, ...)`: what it returns for the folders in `root`."""
    from keras_mtl.metrics.odsf.folder import main

    def run(root, *more, protocol="nyud"):
        return main(
            [
                *("--predictions", str(root / "predictions"), "--labels", str(root / "labels")),
                *("--protocol", protocol, *map(str, more)),
            ]
        )

    return run
