import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import evaluation, rooms, visualize
from keras_mtl.tasks import DepthEstimation, nyud

tf = pytest.importorskip("tensorflow")

SIZE = (32, 48)


@keras.saving.register_keras_serializable(package="tests")
class Brightness(keras_mtl.MultiTaskModel):
    def __init__(self, **kwargs):
        image = keras.Input((*SIZE, 3))
        depth = keras.layers.Conv2D(1, 1)(keras.layers.Rescaling(1 / 255)(image))
        super().__init__(image, {"depth": depth}, [DepthEstimation()], **kwargs)


def pictures(logs):
    """What TensorBoard shows: `(step, tag)` to `(height, width, 3)` uint8."""
    found = {}
    for file in logs.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                width, height, png = value.tensor.string_val
                picture = tf.io.decode_png(png).numpy()
                assert picture.shape == (int(height), int(width), 3)
                found[event.step, value.tag] = picture
    return found


def test_prediction_panels(tmp_path):
    images, labels = rooms.arrays([DepthEstimation()], 2, SIZE)
    model = Brightness()
    model.compile()
    logs = tmp_path / "logs"
    panels = keras_mtl.callbacks.PredictionPanels(logs, images, labels)
    model.fit(images, labels, epochs=2, verbose=0, callbacks=[panels])
    found = pictures(logs)
    assert sorted(found) == [(1, "predictions"), (2, "predictions")]
    assert min(np.std(picture) for picture in found.values()) > 10


@pytest.mark.once("torch", "the maps are tested on every backend in visualize/test_affinity.py")
def test_prediction_panels_show_where_the_prompts_look(tmp_path):
    tasks = [DepthEstimation()]
    images, labels = rooms.arrays(tasks, 2, SIZE)
    backbone = keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), num_layers=2)
    model = keras_mtl.TaskPrompter(backbone, tasks, channel_windows=(1, 1), prompting_levels=1)
    model.compile(keras.optimizers.SGD(0.01))
    logs = [tmp_path / "with", tmp_path / "without"]
    panels = [
        keras_mtl.callbacks.PredictionPanels(folder, images, labels, affinity=wanted)
        for folder, wanted in zip(logs, (True, False), strict=True)
    ]
    model.fit(images, labels, epochs=1, verbose=0, callbacks=panels)
    assert sorted(pictures(logs[0])) == [(1, "affinity"), (1, "predictions")]
    assert sorted(pictures(logs[1])) == [(1, "predictions")]
    # What it shows is the network as just trained.
    after = visualize.as_array(visualize.affinity(model, images[0]))
    np.testing.assert_array_equal(pictures(logs[0])[1, "affinity"], after)


def test_full_evaluation(tmp_path):
    pytest.importorskip("numba", reason="the extra `evaluation` is not installed")
    tasks = nyud("depth", "edge")
    images, labels = rooms.arrays(tasks, 4, SIZE)
    backbone = keras_mtl.backbones.vision_transformer("nano", (*SIZE, 3), num_layers=1)
    model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
    model.compile(keras.optimizers.SGD(0.001))
    held_out = [(images[2:], {name: label[2:] for name, label in labels.items()})]
    every_other = keras_mtl.callbacks.FullEvaluation(held_out, every=2)
    history = model.fit(images, labels, epochs=2, verbose=0, callbacks=[every_other]).history
    after = keras_mtl.evaluate(
        model, held_out, thresholds=evaluation.FAST_THRESHOLDS, progress=False
    )
    expected = {
        f"full_{name}_{metric}": value
        for name, task in after.tasks.items()
        for metric, value in task["scores"].items()
    }
    found = {key: values for key, values in history.items() if key.startswith("full_")}
    assert found.keys() == expected.keys() and "full_edge_odsF_fast" in found
    for key, value in expected.items():
        (last,) = found[key]  # of the second epoch, with the weights it ended with
        assert last == pytest.approx(value, rel=1e-6)

    with pytest.raises(ValueError, match="every is 0, expected an integer >= 1"):
        keras_mtl.callbacks.FullEvaluation(held_out, every=0)


@pytest.mark.once("torch", "what a callback is given does not depend on the backend")
def test_what_is_no_picture_and_no_dataset(tmp_path):
    """Said when a callback is made, or before the first epoch, not after it."""
    images, labels = np.zeros((1, *SIZE, 3)), {"depth": np.ones((1, *SIZE, 1))}
    panels = keras_mtl.callbacks.PredictionPanels
    full = keras_mtl.callbacks.FullEvaluation
    for make, sentence in (
        (lambda: panels(None, images, labels), "log_dir is None; expected a path"),
        (lambda: panels(tmp_path, None, labels), "images are a NoneType; expected an array"),
        (lambda: panels(tmp_path, images[0], labels), r"images are of shape \(32, 48, 3\);"),
        (lambda: panels(tmp_path, images[:0], labels), "images are of shape .* one at least"),
        (lambda: panels(tmp_path, images, None), "labels are a NoneType; expected a dict"),
        (lambda: full(None), "The dataset is a NoneType; expected"),
        (lambda: full(iter([(images, labels)])), "which can be read once"),
        (lambda: full([(images, labels)], batch_size=0), "batch_size is 0, expected"),
        (lambda: full([(images, labels)], thresholds="a"), "thresholds is 'a'; expected prob"),
        (
            lambda: full([(images, labels)], thresholds=[np.nan, 1]),
            "thresholds is .*; expected prob",
        ),
        (lambda: keras_mtl.training.StopOnDivergence(np.nan), "limit is nan, expected"),
    ):
        with pytest.raises(ValueError, match=f"^[^\n]*{sentence}[^\n]*$"):
            make()
    model = Brightness()
    model.compile()
    (tmp_path / "file").touch()
    for callback, error, sentence in (
        (panels(tmp_path, images, {}), ValueError, "There is nothing for 'depth' in labels"),
        (panels(tmp_path / "file", images, labels), keras_mtl.files.NotWritten, "file"),
    ):
        with pytest.raises(error, match=sentence):
            model.fit(images, labels, verbose=0, callbacks=[callback])
