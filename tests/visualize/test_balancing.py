import numpy as np
import pytest

from keras_mtl.visualize import balancing_curves, training_curves

pytestmark = pytest.mark.once("torch", "pictures are drawn of NumPy arrays")

LOG = {
    "loss": [3.0, 2.0, 1.0],
    "depth_loss": [1.0, 0.8, 0.7],
    "edge_loss": [1.0, 0.9, 0.8],
    "depth_weight": [0.5, 0.3, 0.2],
    "edge_weight": [0.5, 0.7, 0.8],
    "depth_cosine_edge": [0.1, -0.2, -0.3],
}


def drawn(axis):
    return {line.get_label(): line.get_ydata() for line in axis.lines if line.get_marker() == "."}


def test_weights_and_cosines():
    weights, cosines = map(drawn, balancing_curves(LOG).axes)
    assert weights.keys() == {"depth", "edge"} and cosines.keys() == {"depth, edge"}
    np.testing.assert_array_equal(weights["edge"], LOG["edge_weight"])
    np.testing.assert_array_equal(cosines["depth, edge"], LOG["depth_cosine_edge"])
    assert all("weight" not in axis.get_title() for axis in training_curves(LOG).axes)


def test_of_losses_there_are_weights_alone(tmp_path):
    log = {name: values for name, values in LOG.items() if "cosine" not in name}
    rows = [",".join(map(str, row)) for row in zip(*log.values(), strict=True)]
    lines = [f"{epoch},{row}" for epoch, row in enumerate(rows)]
    (tmp_path / "log.csv").write_text("\n".join([f"epoch,{','.join(log)}", *lines]))
    (axis,) = balancing_curves(tmp_path / "log.csv").axes
    assert axis.get_title() == "weight" and drawn(axis).keys() == {"depth", "edge"}


def test_a_log_without_a_rule():
    with pytest.raises(ValueError, match="no weights of tasks, such as depth_weight; expected"):
        balancing_curves({"loss": [1.0], "depth_loss": [1.0]})
