"""Small models that attend, built once."""

import functools

import keras
import pytest

import keras_mtl
from keras_mtl.tasks import nyud


@pytest.fixture(scope="session")
def task_prompter():
    """`task_prompter(**arguments)` on images of 48x64: patches of 8, so a grid of 6x8."""

    @functools.cache
    def build(**arguments):
        keras.utils.set_random_seed(0)
        backbone = keras_mtl.backbones.vision_transformer(
            "pico", (48, 64, 3), patch_size=8, num_layers=2
        )
        settings = {"channel_windows": (2, 2), "prompting_levels": 2, "decode_dim": 8, **arguments}
        return keras_mtl.TaskPrompter(backbone, nyud("semseg", "depth", "edge"), **settings)

    return build


@pytest.fixture(scope="session")
def prompter(task_prompter):
    return task_prompter()


@pytest.fixture(scope="session")
def tpanet():
    """`tpanet(**arguments)` on images of 40x56: a grid of 10x14."""

    @functools.cache
    def build(**arguments):
        keras.utils.set_random_seed(0)
        backbone = keras_mtl.backbones.vision_transformer(
            "pico", (40, 56, 3), patch_size=8, num_layers=1
        )
        settings = {"dim": 8, "head_width": 4, "scales": 1, **arguments}
        return keras_mtl.TPANet(backbone, nyud("semseg", "depth"), **settings)

    return build
