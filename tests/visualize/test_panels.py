import numpy as np
import pytest

from keras_mtl import rooms, visualize
from keras_mtl.tasks import DepthEstimation, HumanParts, nyud, pascal_context

pytestmark = pytest.mark.once("torch", "pictures are drawn of NumPy arrays")

SIZE = (24, 32)
TASKS = [*nyud("semseg", "depth", "normals", "edge"), *pascal_context("human_parts", "sal")]


@pytest.fixture(scope="module")
def scenes():
    return rooms.arrays(TASKS, 2, SIZE)


def shown(figure):
    return [axis.images[0].get_array() for axis in figure.axes]


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
    spans = [axis.get_xlabel() for axis in figure.axes if axis.get_xlabel()]
    assert spans == [f"0 to {labels['depth'].max():.3g} metres"]
    np.testing.assert_array_equal(shown(figure)[0], images[0])
    np.testing.assert_array_equal(shown(figure)[1], TASKS[0].picture(labels["semseg"][0]))
    np.testing.assert_array_equal(shown(figure)[-1], TASKS[-1].picture(labels["sal"][1]))


def test_panel_without_any_label(scenes):
    images, labels = scenes
    none = {task.name: np.stack([task.no_label(*SIZE)] * 2) for task in TASKS}
    figure = visualize.panel(images.astype("float32") * 1.5 - 20, labels, TASKS, none)
    assert figure.axes[0].images[0].get_array().dtype == "uint8"
    for task, colour in zip(TASKS, (255, 255, 255, 127, 255, 127), strict=True):
        picture = shown(figure)[1 + 2 * TASKS.index(task)]
        assert (picture == colour).all(), task.name


@pytest.mark.parametrize(
    ("images", "maps", "labels", "said"),
    [
        (2, {"depth": 2}, None, r"nothing for 'edge' in maps \(depth\)"),
        (2, {"depth": 2, "edge": 2}, {"edge": 2}, r"nothing for 'depth' in labels \(edge\)"),
        (2, {"depth": 2, "edge": 1}, None, "maps of 'edge' are for 1 images, and there are 2"),
        (2, None, None, r"nothing for 'depth' in maps \(NoneType\)"),
        (0, {"depth": 0, "edge": 0}, None, "no image to draw"),
    ],
)
def test_what_is_missing_is_said(images, maps, labels, said):
    tasks, image = nyud("depth", "edge"), np.zeros((2, *SIZE, 3))

    def some(counts):
        return counts and {name: np.ones((n, *SIZE, 1)) for name, n in counts.items()}

    with pytest.raises(ValueError, match=f"{said}.*\\.$"):
        visualize.panel(image[:images], some(maps), tasks, some(labels))


def test_depth_has_one_scale_in_the_whole_panel():
    label = np.array([[[[1.0], [4.0]]], [[[2.0], [0.0]]]])
    prediction = np.array([[[[4.0], [1.0]]], [[[9.0], [2.0]]]])
    figure = visualize.panel(
        np.zeros((2, 1, 2, 3)), {"depth": prediction}, [DepthEstimation()], {"depth": label}
    )
    _, first, predicted, _, second, too_far = shown(figure)
    np.testing.assert_array_equal(first, predicted[:, ::-1])
    np.testing.assert_array_equal(second[0, 0], too_far[0, 1])  # 2 m in another image
    np.testing.assert_array_equal(too_far[0, 0], first[0, 1])  # as the farthest label
    assert (second[0, 1] == 255).all()
    assert len(np.unique(np.concatenate([first, second], 1)[0], axis=0)) == 4


def test_legend_names_the_classes_in_the_picture():
    parts, semseg = HumanParts(), nyud("semseg")[0]
    label = np.array([[[0, 1], [255, 255]]])
    image, torso = np.zeros((1, 2, 2, 3)), {"human_parts": np.full((1, 2, 2), 2)}
    figure = visualize.panel(image, torso, [parts], {"human_parts": label}, legend=True)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["background", "head", "torso", "no label"]
    colours = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    np.testing.assert_allclose(colours[:3], parts.palette[:3] / 255)

    both = {"human_parts": label[:, :1], "semseg": np.array([[[39, 5]]])}
    figure = visualize.panel(np.zeros((1, 1, 2, 3)), both, [semseg, parts], legend=True)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["semseg: sofa", "semseg: otherprop"]
    assert names[2:] == ["human_parts: background", "human_parts: head"]
    depth = {"depth": np.ones((1, 2, 2, 1))}
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    nothing = visualize.panel(image, depth, [DepthEstimation()], legend=True)
    assert not nothing.legends


def test_as_array(scenes):
    images, labels = scenes
    figure = visualize.panel(images[:1], labels, TASKS[:1])
    picture = visualize.as_array(figure)
    assert picture.dtype == "uint8" and picture.ndim == 3 and picture.shape[-1] == 3
    width, height = figure.canvas.get_width_height()
    assert picture.shape[:2] == (height, width)
    assert picture.std() > 10
