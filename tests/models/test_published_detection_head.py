"""The published head for boxes in space by the names of its weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones.weights.assign import assign
from keras_mtl.layers import FCOS3DHead
from keras_mtl.models.published_detection_head import placed, published_entries

pytestmark = pytest.mark.once("torch", "what is read from files are NumPy arrays")

GOLDEN = Path(__file__).parents[1] / "golden" / "golden_fcos3d.npz"


@pytest.fixture(scope="module")
def values():
    with np.load(GOLDEN) as found:
        return {name: found[name] for name in found if name.startswith(("head/", "config/"))}


def test_every_weight_finds_its_place(values):
    config = json.loads(str(values["head/config/json"]))
    classes = json.loads(str(values["config/json"]))["num_classes"]
    head = FCOS3DHead(classes, config["feat"], config["cls_branch"], config["gn_groups"])
    maps = [np.moveaxis(values[f"head/input/level{k}"], 1, -1) for k in range(4)]
    features = {8: maps[0], 16: maps[1], 32: maps[2:]}
    head.build({8: maps[0].shape, 16: maps[1].shape, 32: [x.shape for x in maps[2:]]})
    prefix = "head/state/"
    state = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    elsewhere = {f"model.detector.{name}": value for name, value in state.items()}
    entries = list(published_entries(head, "heads.3ddet."))
    assign(entries, placed(elsewhere, "heads.3ddet."), "", variables=head.weights)
    assert sum(len(entry.all_names) for entry in entries) == len(state)

    found = ops.convert_to_numpy(head(features))
    start = 0
    for level in range(5):
        expected = np.moveaxis(values[f"head/out_cls/level{level}"], 1, -1)
        expected = expected.reshape(len(expected), -1, classes)
        ours = found[:, start : start + expected.shape[1], :classes]
        assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()
        start += expected.shape[1]
    assert start == found.shape[1]
