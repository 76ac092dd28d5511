"""A kind of boundaries for which -1 means "no label", in losses, metrics, pictures and data."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import tasks
from keras_mtl.tasks import BoundaryDetection
from tests import small

SIZE = (32, 48)
HUMAN = tasks.HumanParts


@keras.saving.register_keras_serializable(package="own_ignore")
class Occlusion(BoundaryDetection):
    ignore = -1


@pytest.fixture(scope="module")
def task():
    return Occlusion("occlusion")


@pytest.fixture(scope="module")
def labels(task):
    """Two images, the second without a label."""
    first = np.zeros((*SIZE, 1), "float32")
    first[:, 20] = 1
    return np.stack([first, task.no_label(*SIZE)])


@pytest.fixture(scope="module")
def raw():
    return np.random.default_rng(0).normal(size=(2, *SIZE, 1)).astype("float32")


def test_an_unlabelled_image_costs_exactly_nothing(task, labels, raw, gradient):
    loss = task.loss()
    assert float(loss(labels[1:], raw[1:])) == 0
    assert not gradient(lambda x: loss(labels[1:], x), raw[1:]).any()
    assert float(loss(labels, raw)) == pytest.approx(float(loss(labels[:1], raw[:1])), rel=1e-6)
    assert float(loss(labels[:1], raw[:1])) > 0


def test_and_counts_nowhere(task, labels, raw):
    def score(images):
        (metric,) = task.metrics()
        metric.update_state(labels[images], raw[images])
        return float(metric.result())

    alone = score(slice(0, 1))
    assert alone > 0 and score(slice(0, 2)) == pytest.approx(alone, rel=1e-6)
    assert score(slice(1, 2)) == 0
    assert not task.is_labelled(labels[1]) and task.is_labelled(labels[0])


def test_checks_and_pictures_know_it(task, labels):
    task.check_labels(labels, *SIZE)
    with pytest.raises(ValueError, match="hold the value 255.0; expected 0 or 1, or -1 where"):
        task.check_labels(np.full((1, *SIZE, 1), 255.0), *SIZE)
    assert (task.picture(labels[1]) == 127).all()


def test_augmentation_pads_with_it(task):
    tf = pytest.importorskip("tensorflow")
    from keras_mtl.data.transforms import augment, centred, keep_some

    image, label = np.zeros((16, 24, 3), "uint8"), np.ones((16, 24), "uint8")
    for _, found in (
        augment(image, {"occlusion": label}, [task], SIZE, (0, 1)),
        centred(image, {"occlusion": label}, [task], SIZE),
    ):
        assert set(np.unique(found["occlusion"])) == {-1, 1}
    two = [task, BoundaryDetection("edge")]
    kept = keep_some({"occlusion": label, "edge": label}, two, 1, tf.constant([0, 3], tf.int64))
    assert sorted(np.unique(x).tolist() for x in kept.values()) in ([[1], [255]], [[-1], [1]])


def test_two_kinds_of_boundaries_are_scored_beside_each_other(task, labels):
    """Each by its own odsF; the image without a label counts for neither."""
    both = [task, BoundaryDetection("edge")]
    backbone = small.vit(SIZE, 16)
    model = keras_mtl.MultiTaskBaseline(backbone, both, head_width=4)
    images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE, 3)).astype("float32")
    edges = np.where(labels == -1, 255, labels)
    found = keras_mtl.evaluate(
        model, (images, {"occlusion": labels, "edge": edges}), progress=False
    )
    assert [found.tasks[t.name]["images"] for t in both] == [1, 1]
    assert all(found.tasks[t.name]["headline"] == "odsF" for t in both)
    assert all("curve" in found.tasks[t.name] for t in both)
    assert "occlusion odsF [%] ↑" in str(found) and "edge odsF [%] ↑" in str(found)
    model.compile("adam")
    history = model.fit(images[1:], {"occlusion": labels[1:], "edge": edges[1:]}, verbose=0)
    assert history.history["loss"] == [0.0]


@pytest.mark.parametrize(
    "kind",
    [
        tasks.BoundaryDetection,
        tasks.DepthEstimation,
        tasks.HumanParts,
        tasks.SaliencyDetection,
        tasks.SurfaceNormals,
    ],
)
def test_every_kind_may_have_its_own(kind):
    """What says nothing is checked, drawn, augmented and scored as such."""
    tf = pytest.importorskip("tensorflow")
    from keras_mtl.data.transforms import augment

    own = type(f"Own{kind.__name__}", (kind,), {"ignore": -1, "settles_crops": kind is HUMAN})
    task, usual = own("mine"), kind("mine")
    none = task.no_label(*SIZE)
    task.check_labels(none[None], *SIZE)
    assert not task.is_labelled(none)
    raw = np.random.default_rng(0).normal(size=(1, *SIZE, task.channels)).astype("float32")
    assert float(task.loss()(none[None], raw)) == 0
    for metric in task.evaluation_metrics():
        metric.update_state(none[None], raw)
        assert float(metric.result()) == 0, metric.name
    assert (task.picture(none) == usual.picture(usual.no_label(*SIZE))).all()

    stored = np.ones((16, 24, *task.label_shape(1, 1)[2:]), "float32")
    if kind is tasks.SurfaceNormals:
        stored[:] = (0.6, 0, -0.8)
    stored[:4] = -1
    image = tf.zeros((16, 24, 3), tf.uint8)
    for seed in range(4):
        _, found = augment(image, {"mine": stored}, [task], SIZE, (seed, 1))
        label = found["mine"].numpy()
        task.check_labels(label[None], *SIZE)
        assert task.is_labelled(label) and not task.labelled_pixels(label).all()


def test_normals_in_8_bit():
    tf = pytest.importorskip("tensorflow")
    own = type("OwnNormals", (tasks.SurfaceNormals,), {"ignore": -1})("normals")
    stored = np.zeros((2, 3, 3), "uint8")
    stored[1] = (128, 128, 255)
    label = own.unpack(tf.constant(stored)).numpy()
    assert (label[0] == -1).all() and np.allclose(label[1], (0, 0, 1), atol=0.01)
