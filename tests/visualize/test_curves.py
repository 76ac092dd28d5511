from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_mtl.visualize import precision_recall, training_curves

pytestmark = pytest.mark.once("torch", "pictures are drawn of NumPy arrays")

CURVE = {
    "thresholds": np.array([0.1, 0.5, 0.9, 0.999]),
    "precision": np.array([40.0, 60.0, 80.0, 0.0]),
    "recall": np.array([90.0, 75.0, 20.0, 0.0]),
    "F": np.array([55.4, 66.7, 32.0, 0.0]),
}


def lines(axis, label):
    return [line for line in axis.lines if line.get_label() == label]


@pytest.mark.parametrize("curve", [CURVE, SimpleNamespace(**CURVE)])
def test_precision_over_recall(curve):
    (axis,) = precision_recall(curve).axes
    (line,) = lines(axis, "odsF 66.7 at 0.50")
    np.testing.assert_array_equal(line.get_xdata(), [90, 75, 20])  # nothing was predicted at 0.999
    np.testing.assert_array_equal(line.get_ydata(), [40, 60, 80])
    (dot,) = [each for each in axis.lines if each.get_marker() == "o"]
    assert (*dot.get_xdata(), *dot.get_ydata()) == (75, 60)


def test_lines_of_equal_f():
    (axis,) = precision_recall(CURVE).axes
    iso = [line for line in axis.lines if line.get_color() == "0.85"]
    assert len(iso) == 9
    for line, f in zip(iso, range(10, 100, 10), strict=True):
        recall, precision = line.get_xdata(), line.get_ydata()
        np.testing.assert_allclose(2 * precision * recall / (precision + recall), f)
        assert precision[0] == pytest.approx(100) and recall[-1] == 100


def test_several_curves_and_their_names():
    other = {**CURVE, "recall": CURVE["recall"] / 2}
    (axis,) = precision_recall([CURVE, other], ["TaskPrompter", "TPANet"]).axes
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names == ["TaskPrompter: odsF 66.7 at 0.50", "TPANet: odsF 66.7 at 0.50"]
    np.testing.assert_array_equal(lines(axis, names[1])[0].get_xdata(), [45, 37.5, 10])


def test_broken_curves():
    with pytest.raises(ValueError, match="1 names for 2 curves"):
        precision_recall([CURVE, CURVE], ["one"])
    with pytest.raises(ValueError, match="without 'F'; expected arrays thresholds"):
        precision_recall({name: CURVE[name] for name in ("thresholds", "precision", "recall")})
    with pytest.raises(ValueError, match=r"shapes \(4,\), \(4,\), \(4,\), \(3,\)"):
        precision_recall({**CURVE, "F": CURVE["F"][1:]})


# === Training ===

HISTORY = {
    "loss": [3.0, 2.0, 1.5],
    "depth_loss": [1.0, 0.8, 0.7],
    "depth_RMSE": [0.9, 0.7, 0.6],
    "semseg_loss": [2.0, 1.2, 0.8],
    "semseg_mIoU": [1.0, 5.0, 9.0],
    "val_loss": [3.2, 2.5, 2.2],
    "val_depth_loss": [1.1, 0.9, 0.9],
    "val_depth_RMSE": [1.0, 0.8, 0.75],
    "val_semseg_loss": [2.1, 1.6, 1.3],
    "val_semseg_mIoU": [0.9, 4.0, 6.0],
}
KEYS = ["loss", "depth_loss", "depth_RMSE", "semseg_loss", "semseg_mIoU"]


def assert_shows(figure, epochs, history, label=""):
    for axis in figure.axes:
        training, validation = lines(axis, f"{label}training") + lines(axis, f"{label}validation")
        key = axis.get_title()
        np.testing.assert_array_equal(training.get_xdata(), epochs)
        np.testing.assert_allclose(training.get_ydata(), history[key])
        np.testing.assert_allclose(validation.get_ydata(), history[f"val_{key}"])
        assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")


def test_a_history():
    figure = training_curves(HISTORY)
    assert [axis.get_title() for axis in figure.axes] == KEYS
    assert_shows(figure, [1, 2, 3], HISTORY)


def test_what_csv_logger_writes(tmp_path):
    inputs = keras.Input((2,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("depth", "edge")}
    model = keras.Model(inputs, outputs)
    metrics = {"depth": [keras.metrics.MeanAbsoluteError(name="mae")]}
    model.compile("sgd", {"depth": "mse", "edge": "mse"}, metrics=metrics)
    x, y = np.ones((4, 2)), {"depth": np.ones((4, 1)), "edge": np.zeros((4, 1))}
    path = tmp_path / "log.csv"
    logger = keras.callbacks.CSVLogger(str(path))
    done = model.fit(x, y, epochs=3, validation_data=(x, y), verbose=0, callbacks=[logger])
    for log in (path, str(path), done.history):
        figure = training_curves(log)
        titles = [axis.get_title() for axis in figure.axes]
        assert titles == ["loss", "depth_loss", "depth_mae", "edge_loss"]
        assert_shows(figure, [1, 2, 3], done.history)


def test_runs_beside_each_other(tmp_path):
    short = {key: [2 * value for value in values[:2]] for key, values in HISTORY.items()}
    figure = training_curves({"one": HISTORY, "two": short})
    assert_shows(figure, [1, 2, 3], HISTORY, "one: ")
    assert_shows(figure, [1, 2], short, "two: ")
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["one: training", "one: validation", "two: training", "two: validation"]


def test_epochs_without_validation(tmp_path):
    history = {"loss": [4.0, 3.0, 2.0, 1.0], "val_loss": [3.5, 1.5], "learning_rate": [1, 1, 1, 1]}
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss,val_loss\n0,4,NA\n1,3,3.5\n2,2,NA\n3,1,1.5\n")
    for log in (history, path):  # fit(validation_freq=2)
        (validation,) = lines(training_curves(log).axes[0], "validation")
        np.testing.assert_array_equal(validation.get_xdata(), [2, 4])
        np.testing.assert_array_equal(validation.get_ydata(), [3.5, 1.5])
    titles = [axis.get_title() for axis in training_curves(history).axes]
    assert titles == ["loss", "learning_rate"]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "There is no file"),
        (b"", "cannot be read as a CSV"),
        (b"\xff\xfe\x00", "cannot be read as a CSV"),
        (b"epoch,loss\n", "holds no epoch"),
        (b"a,b\n1,2\n", "holds the columns a, b"),
        (b"epoch,loss\n0,3.5\n1\n", "Line 3 of .* is '1'; expected 2 numbers"),
        (b"epoch,loss\n0,much\n", "Line 2 of .* is '0,much'"),
    ],
)
def test_broken_logs(tmp_path, content, message):
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        training_curves(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_histories_without_a_loss():
    for history in ({}, {"depth_RMSE": [1.0]}, {"loss": []}):
        with pytest.raises(ValueError, match="expected 'loss'"):
            training_curves(history)
