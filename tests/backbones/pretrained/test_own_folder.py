"""Folders of HRNet and the like: weights whole, at any image size."""

import json

import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import from_preset, hrnet
from keras_mtl.backbones.pretrained.own_folder import write_pyramid

SIZES = {"width": 2, "bottlenecks": 1, "modules": (1, 1, 1), "blocks": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    network = hrnet("18_small", (32, 48, 3), **SIZES)
    network.build((None, 32, 48, 3))
    rng = np.random.default_rng(0)
    for weight in network.weights:  # the statistics of batch normalization too
        weight.assign(rng.uniform(0.5, 1, weight.shape))
    path = tmp_path_factory.mktemp("own") / "hrnet"
    write_pyramid(network, path)
    return network, path


def test_weights_and_another_image_size(folder):
    network, path = folder
    same, other = from_preset(path), from_preset(path, (40, 64, 3))
    for ours, theirs, third in zip(network.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs))
        np.testing.assert_array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(third))
    assert (same.image_shape, other.image_shape) == ((32, 48, 3), (40, 64, 3))
    images = np.random.default_rng(1).normal(size=(1, 32, 48, 3)).astype("float32")
    for stride, expected in network(images).items():
        found = same(images)[stride]
        np.testing.assert_allclose(
            ops.convert_to_numpy(found), ops.convert_to_numpy(expected), rtol=1e-6
        )


@pytest.mark.once("torch", "files know no backend")
def test_broken_folders(folder, tmp_path):
    _, path = folder
    with pytest.raises(ValueError, match="arrays, which are not those of the HRNet .*same folder"):
        from_preset(path, width=3)
    with pytest.raises(
        ValueError, match="HRNet cannot be built as config.json in .*say: width is -1"
    ):
        from_preset(path, width=-1)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((path / "config.json").read_text())
    with pytest.raises(ValueError, match="has no weights: there is no model.weights.h5"):
        from_preset(broken)
    (broken / "model.weights.h5").write_bytes((path / "model.weights.h5").read_bytes()[:3000])
    with pytest.raises(ValueError, match="broken or only part of a file"):
        from_preset(broken)
    config = json.loads((path / "config.json").read_text())
    other = {**config, "registered_name": "keras_mtl>TaskPrompter"}
    (broken / "config.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match="broken holds a TaskPrompter; expected a backbone"):
        from_preset(broken)
