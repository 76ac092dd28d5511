"""Every kind of task: its losses, metrics, decoding, label checks and pictures agree."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl import tasks

H, W = 12, 16

KINDS = {
    "semseg": lambda: tasks.SemanticSegmentation(channels=5, labels=["a", "b", "c", "d", "e"]),
    "semseg unnamed": lambda: tasks.SemanticSegmentation("floors", channels=3, loss_weight=0.5),
    "human_parts": tasks.HumanParts,
    "other parts": lambda: tasks.HumanParts(
        channels=20, mirrored_pairs=[(14, 15), (17, 16)], class_weights=[2.0] * 20
    ),
    "depth": tasks.DepthEstimation,
    "disparity": tasks.DisparityEstimation,
    "normals": tasks.SurfaceNormals,
    "edge": tasks.BoundaryDetection,
    "sal": lambda: tasks.SaliencyDetection(loss_weight=3.0),
}


@pytest.fixture(params=list(KINDS))
def task(request):
    return KINDS[request.param]()


def some_labels(task, seed=0):
    """Labels of two images, a part of them without label."""
    rng = np.random.default_rng(seed)
    shape = (2, *task.label_shape(H, W))
    if isinstance(task, tasks.DepthEstimation):
        labels = rng.uniform(0.5, 9, shape)
    elif isinstance(task, tasks.SurfaceNormals):
        labels = rng.normal(size=shape)
        labels /= np.linalg.norm(labels, axis=-1, keepdims=True)
    elif isinstance(task, tasks.SemanticSegmentation):
        labels = rng.integers(0, task.channels, shape)
    elif isinstance(task, tasks.BoundaryDetection):
        labels = np.zeros(shape)
        labels[:, :, W // 2] = 1
    else:
        labels = rng.integers(0, 2, shape)
    labels[0, :2] = task.ignore
    return labels.astype(task.label_dtype)


def random_raw(task):
    return np.random.default_rng(1).normal(size=(2, H, W, task.channels)).astype("float32")


def test_every_kind_is_listed():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    public = {c for c in below(tasks.Task) if getattr(tasks, c.__name__, None) is c}
    # Boxes in space are no map: tests/tasks/test_detection3d.py.
    maps = public - {tasks.Task, tasks.Detection3D}
    assert maps == {type(make()) for make in KINDS.values()}


def test_serialization(task):
    serialized = keras.saving.serialize_keras_object(task)
    twin = keras.saving.deserialize_keras_object(json.loads(json.dumps(serialized)))
    assert type(twin) is type(task)
    assert twin.get_config() == task.get_config() == type(task)(**task.get_config()).get_config()
    assert (twin.name, twin.channels, twin.loss_weight) == (
        task.name,
        task.channels,
        task.loss_weight,
    )
    assert repr(twin) == repr(task)


def test_metrics(task):
    first = task.metrics()[0]
    assert first.higher_is_better is task.higher_is_better
    assert task.unit in ("%", "m", "px", "degrees")
    names = [metric.name for metric in task.metrics()]
    assert len(set(names)) == len(names)
    assert task.metrics()[0] is not first  # new ones for every model
    evaluated = [metric.name for metric in task.evaluation_metrics()]
    assert evaluated[: len(names)] == names and len(set(evaluated)) == len(evaluated)
    if isinstance(task, tasks.BoundaryDetection):
        assert task.headline == "odsF" and "odsF" not in evaluated  # no sum over pixels
    else:
        assert task.headline == names[0]


def test_loss_takes_the_labels(task):
    labels, raw = some_labels(task), random_raw(task)
    value = float(task.loss()(labels, raw))
    assert np.isfinite(value) and value > 0
    # Pixels without label do not count, whatever is predicted there.
    unseen = raw.copy()
    unseen[0, :2] = 7 * unseen[0, :2] - 3
    assert float(task.loss()(labels, unseen)) == pytest.approx(value, rel=1e-6)
    none = np.stack([task.no_label(H, W)] * 2)
    assert float(task.loss()(none, raw)) == 0


def test_better_output_scores_better(task):
    labels = some_labels(task)
    perfect = np.zeros((2, H, W, task.channels), "float32")
    if isinstance(task, (tasks.DepthEstimation, tasks.SurfaceNormals)):
        perfect = labels.copy()
    elif task.channels == 1:
        perfect[labels == 1], perfect[labels != 1] = 9.0, -9.0
    else:
        for i in range(task.channels):
            perfect[labels == i, i] = 9.0
    scores = []
    for raw in (random_raw(task), perfect):
        metric = task.metrics()[0]
        metric.update_state(labels, raw)
        scores.append(float(metric.result()))
    worse, better = scores if task.higher_is_better else scores[::-1]
    assert worse < better
    assert scores[1] == pytest.approx(100 if task.higher_is_better else 0, abs=1e-3)
    assert float(task.loss()(labels, perfect)) < float(task.loss()(labels, random_raw(task)))


def test_decode(task):
    raw = random_raw(task)
    final = ops.convert_to_numpy(task.decode(raw))
    assert final.shape == (2, *task.label_shape(H, W))
    np.testing.assert_array_equal(
        final, ops.convert_to_numpy(task.decode(ops.convert_to_tensor(raw)))
    )
    np.testing.assert_allclose(  # one map without batch axis
        final[0], ops.convert_to_numpy(task.decode(raw[0])), rtol=1e-6
    )
    assert np.isfinite(ops.convert_to_numpy(task.decode(0 * raw))).all()
    assert np.isfinite(ops.convert_to_numpy(task.decode(1e4 * raw))).all()
    if isinstance(task, tasks.SemanticSegmentation):
        assert final.dtype == "int32"
        np.testing.assert_array_equal(final, raw.argmax(-1))
        return
    assert final.dtype == "float32"
    if isinstance(task, tasks.DepthEstimation):
        np.testing.assert_array_equal(final, np.maximum(raw, 0))
    elif isinstance(task, tasks.SurfaceNormals):
        np.testing.assert_allclose(np.linalg.norm(final, axis=-1), 1, rtol=1e-5)
    else:
        logit = raw[..., 1] - raw[..., 0] if task.channels == 2 else raw
        np.testing.assert_allclose(final, 1 / (1 + np.exp(-logit)), rtol=1e-5)


def test_constant_is_the_best_single_guess(task):
    labels = some_labels(task)
    labels[:, 3:] = labels[0, 3, 0]  # most of it is one value
    guesses = list(task.constants(labels).values())
    for guess in guesses:
        assert guess.shape in ((task.channels,), (H, W, task.channels)) and np.isfinite(guess).all()
        assert guess.dtype == "float32"

    def score(raw):
        metric = task.metrics()[0]
        metric.update_state(labels, np.broadcast_to(raw, (2, H, W, task.channels)).copy())
        value = float(metric.result())
        return value if task.higher_is_better else -value

    guess = max(guesses, key=score)
    if isinstance(task, tasks.SemanticSegmentation):
        others = np.eye(task.channels)
    elif isinstance(task, tasks.DepthEstimation):
        others = np.concatenate([np.array([[0.5], [2.0], [9.0]]), guess + [[-0.01], [0.01]]])
    elif isinstance(task, tasks.SurfaceNormals):
        rng = np.random.default_rng(2)
        around = guess + 0.1 * rng.normal(size=(8, 3))
        others = np.concatenate([np.eye(3), -np.eye(3), around, labels[:1, 5, 5]])
    else:  # probabilities around all thresholds
        others = np.linspace(-9, 9, 13)[:, None] * ([[1]] if task.channels == 1 else [[-1, 1]])
    best = max(score(other.astype("float32")) for other in others)
    assert score(guess) >= best - 1e-3
    assert best == pytest.approx(score(guess), rel=0.2)  # the search comes close


def test_a_constant_without_any_label(task):
    for guess in task.constants(np.stack([task.no_label(H, W)])).values():
        assert guess.shape[-1] == task.channels and np.isfinite(guess).all()


def test_no_label(task):
    none = task.no_label(H, W)
    assert none.shape == task.label_shape(H, W) and none.dtype == task.label_dtype
    task.check_labels(np.stack([none, none]), H, W)
    for metric in task.metrics():
        metric.update_state(none[None], random_raw(task)[:1])
        assert float(metric.result()) == 0


def test_pictures(task):
    raw = random_raw(task)
    maps = [
        some_labels(task)[0],
        task.no_label(H, W),
        ops.convert_to_numpy(task.decode(raw))[0],
        ops.convert_to_numpy(task.decode(100 * raw))[0],
    ]
    for final in maps:
        picture = task.picture(final)
        assert picture.shape == (H, W, 3) and picture.dtype == "uint8"
    none = task.picture(task.no_label(H, W))
    assert (none == none[0, 0]).all() and (none[0, 0] >= 127).all()
    assert len(np.unique(task.picture(maps[2]).reshape(-1, 3), axis=0)) > 1


def test_colours_tell_classes_apart():
    for task in (*tasks.nyud("semseg"), *tasks.pascal_context("semseg", "human_parts")):
        assert task.palette.shape == (task.channels, 3)
        assert len(np.unique(task.palette, axis=0)) == task.channels
        np.testing.assert_array_equal(task.picture(np.arange(3)), task.palette[:3])


# === Label checks ===


def assert_one_sentence(error, *parts):
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 250, text
    assert all(part in text for part in parts), text


def test_check_labels_accepts(task):
    labels = some_labels(task)
    task.check_labels(labels, H, W)
    task.check_labels(labels.astype("float64"), H, W)
    task.check_label_shape((None, *task.label_shape(H, W)), H, W)
    task.check_label_shape((4, None, None, *task.label_shape(H, W)[2:]), H, W)
    if task.label_dtype == "int32":
        task.check_labels(labels.astype("uint8"), H, W)


def test_check_labels_refuses_a_shape(task):
    shape = (2, *task.label_shape(H, W))
    another = (*shape[:3], 2) if len(shape) == 4 else (*shape, 1)
    for wrong in (shape[1:], (2, W, H, *shape[3:]), another, (2, H), ()):
        with pytest.raises(ValueError) as error:
            task.check_labels(np.zeros(wrong, task.label_dtype), H, W)
        assert_one_sentence(error, repr(task.name), str(tuple(wrong)), f"(batch, {H}, {W}")


WRONG = {
    "semseg": [-1, 5, 254, 256, 1.5, np.nan],
    "semseg unnamed": [3],
    "human_parts": [7, -1],
    "depth": [-0.1, np.nan, np.inf],
    "normals": [0.5, 2.0, np.nan, np.inf],
    "edge": [2, 0.5, -1, 254, np.nan],
    "sal": [2, 0.5, -1, np.nan],
}


@pytest.mark.parametrize(
    ("kind", "value"), [(kind, value) for kind, values in WRONG.items() for value in values]
)
def test_check_labels_refuses_a_value(kind, value):
    task = KINDS[kind]()
    dtype = task.label_dtype if value == np.floor(value) and np.isfinite(value) else "float32"
    labels = some_labels(task).astype(dtype)
    labels[1, 4, 5] = value
    with pytest.raises(ValueError) as error:
        task.check_labels(labels, H, W)
    shown = f"{value:.1f}"[:3] if isinstance(value, float) else str(value)
    assert_one_sentence(error, repr(task.name), shown, f"or {task.ignore} where")


def test_units_that_are_another():
    depth = np.full((1, 4, 6, 1), 2500.0, "float32")
    with pytest.raises(ValueError, match="hold the value 2500.0; expected metres, not millimetres"):
        tasks.DepthEstimation().check_labels(depth, 4, 6)
    with pytest.warns(UserWarning, match="some lie beyond the task's valid_range and count as no"):
        tasks.DepthEstimation().check_labels(np.where(np.arange(6)[:, None] < 4, 3.0, depth), 4, 6)


def test_one_valid_range_of_depth():
    """What lies beyond counts nowhere: loss, metrics, the best guess, pictures, augmentation."""
    task = tasks.DepthEstimation()
    label = np.array([[[[2.0], [655.35]]]], "float32")
    raw = np.array([[[[1.5], [3.0]]]], "float32")
    assert float(task.loss()(label, raw)) == 0.5 == float(task.metrics()[0](label, raw))
    without = np.array([[[[2.0], [0.0]]]], "float32")
    for one, other in zip(task.evaluation_metrics(), task.evaluation_metrics(), strict=True):
        assert float(one(label, raw)) == float(other(without, raw)), one.name
    assert task.constants(label) == {"2.00 m": 2} and task.scale_of([label[0]]) == 2
    assert (task.picture(label[0])[0, 1] == 255).all() and not task.is_labelled(label[0, :, 1:])
    far = tasks.DepthEstimation.from_config({**task.get_config(), "valid_range": (1, 1000)})
    assert float(far.loss()(label, raw)) == pytest.approx((0.5 + 652.35) / 2)
    assert far.constants(label) == {"328.67 m": pytest.approx(328.675)}
    assert far.is_labelled(label[0, :, 1:])
    pytest.importorskip("tensorflow")
    assert task.unpack(label[0]).numpy().ravel().tolist() == [2, 0]
    np.testing.assert_array_equal(far.unpack(label[0]).numpy(), label[0])


def test_what_a_new_kind_lacks():
    class Nothing(tasks.Task):
        ignore = 0

    kind = Nothing("nothing", 1)
    kind.check_labels(np.zeros((1, 4, 6)), 4, 6)
    with pytest.raises(ValueError, match="'nothing' hold the value nan; expected numbers, or 0 wh"):
        kind.check_labels(np.full((1, 4, 6), np.nan), 4, 6)
    calls = (kind.loss, kind.metrics, lambda: kind.decode(None), lambda: kind.picture(None))
    for call in (*calls, lambda: kind.constants(None)):
        with pytest.raises(NotImplementedError, match=r"Nothing must define \w+\("):
            call()


def test_names_and_channels_that_cannot_be():
    for name in ("image", "a.b", "my depth", ""):
        with pytest.raises(ValueError, match="A task is named"):
            tasks.check_tasks([tasks.DepthEstimation(name)])
    with pytest.raises(ValueError, match="has 256 classes; expected 1 to 255"):
        tasks.SemanticSegmentation(channels=256)
    for kind in (
        tasks.DepthEstimation,
        tasks.SurfaceNormals,
        tasks.BoundaryDetection,
        tasks.SaliencyDetection,
    ):
        with pytest.raises(ValueError, match="has 5 channels; expected [123]"):
            kind(channels=5)


@pytest.mark.parametrize("pairs", [[("a", "b")], [(0, 1, 2)], [(0, 1), (2,)], [(0, 0)], "ab", 3])
def test_mirrored_pairs_that_are_none(pairs):
    with pytest.raises(ValueError, match="mirrored_pairs of task 'semseg' are .*; expected pairs"):
        tasks.SemanticSegmentation(channels=4, mirrored_pairs=pairs)


@pytest.mark.parametrize("given", ["80", 80, (80, 0), (0, "far"), (0, np.nan), (0, 1, 2)])
def test_ranges_of_depth_that_are_none(given):
    with pytest.raises(ValueError, match="valid_range of task 'depth' is .*; expected .nearest, f"):
        tasks.DepthEstimation(valid_range=given)


def test_the_weight_of_boundary_pixels():
    task = tasks.BoundaryDetection(positive_weight=0.8)
    assert type(task).from_config(task.get_config()).loss().positive_weight == 0.8
    with pytest.raises(ValueError, match="positive_weight is 1.0, .* strictly between 0 and 1"):
        tasks.BoundaryDetection(positive_weight=1)


def test_class_names_must_match_the_classes():
    with pytest.raises(ValueError) as error:
        tasks.SemanticSegmentation(channels=3, labels=["wall", "floor"])
    assert_one_sentence(error, "'semseg'", "3", "2")


# === The papers' lists ===


def test_nyud():
    found = tasks.nyud()
    assert [t.name for t in found] == ["semseg", "depth", "normals", "edge"]
    assert [t.channels for t in found] == [40, 1, 3, 1]
    assert [t.loss_weight for t in found] == [1, 1, 10, 50]
    assert len(set(found[0].labels)) == 40


def test_pascal_context():
    found = tasks.pascal_context()
    assert [t.name for t in found] == ["semseg", "human_parts", "sal", "normals", "edge"]
    assert [t.channels for t in found] == [21, 7, 2, 3, 1]
    assert [t.loss_weight for t in found] == [1, 2, 5, 10, 50]
    assert len(set(found[0].labels)) == 21 and len(set(found[1].labels)) == 7


@pytest.mark.parametrize("dataset", [tasks.nyud, tasks.pascal_context])
def test_some_of_the_tasks(dataset):
    assert [t.name for t in dataset("edge", "semseg")] == ["edge", "semseg"]
    assert [t.name for t in dataset("normals")] == ["normals"]
    with pytest.raises(ValueError) as error:
        dataset("edge", "heat")
    assert_one_sentence(error, "'heat'", *(t.name for t in dataset()))
