import numpy as np
import pytest

from keras_mtl import visualize
from keras_mtl.data import rooms
from keras_mtl.tasks import nyud, pascal_context

SIZE = (24, 32)
TASKS = [*nyud("semseg", "depth", "normals", "edge"), *pascal_context("human_parts", "sal")]


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 2, SIZE)


def test_panel_with_labels(scenes, tmp_path):
    images, labels = scenes
    figure = visualize.panel(images, labels, TASKS, labels)
    assert len(figure.axes) == 2 * (1 + 2 * len(TASKS))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles[:3] == ["image", "semseg: label", "semseg: prediction"]
    assert len(titles) == 1 + 2 * len(TASKS)
    figure.savefig(tmp_path / "panel.png")
    assert (tmp_path / "panel.png").stat().st_size > 10_000


def test_panel_of_predictions_alone(scenes):
    images, labels = scenes
    maps = {name: list(label) for name, label in labels.items()}  # as predict_maps gives them
    figure = visualize.panel(list(images), maps, TASKS)
    assert len(figure.axes) == 2 * (1 + len(TASKS))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["image", *(task.name for task in TASKS)]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    np.testing.assert_array_equal(shown[0], images[0])
    np.testing.assert_array_equal(shown[1], TASKS[0].picture(labels["semseg"][0]))
    np.testing.assert_array_equal(shown[-1], TASKS[-1].picture(labels["sal"][1]))


def test_panel_without_any_label(scenes):
    images, labels = scenes
    none = {task.name: np.stack([task.no_label(*SIZE)] * 2) for task in TASKS}
    figure = visualize.panel(images.astype("float32") * 1.5 - 20, labels, TASKS, none)
    assert figure.axes[0].images[0].get_array().dtype == "uint8"


def test_as_array(scenes):
    images, labels = scenes
    figure = visualize.panel(images[:1], labels, TASKS[:1])
    picture = visualize.as_array(figure)
    assert picture.dtype == "uint8" and picture.ndim == 3 and picture.shape[-1] == 3
    width, height = figure.canvas.get_width_height()
    assert picture.shape[:2] == (height, width)
    assert picture.std() > 10
