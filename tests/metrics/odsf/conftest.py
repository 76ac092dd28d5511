"""What the tests of boundaries share: the reference's maps, and made-up images."""

import numpy as np
import pytest


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
