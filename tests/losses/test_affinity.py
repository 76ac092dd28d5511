"""The loss of pairs of pixels against loops in float64."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import tasks
from keras_mtl.losses import AffinityLoss

H, W, SIZE = 6, 8, (3, 2)
KINDS = {
    "semseg": tasks.SemanticSegmentation(channels=3),
    "sal": tasks.SaliencyDetection(),
    "edge": tasks.BoundaryDetection(),
    "depth": tasks.DepthEstimation(),
    "normals": tasks.SurfaceNormals(),
}


def alike(name, one, other):
    """What two labels of a kind have in common."""
    if name == "depth":
        return 1 - abs(one[0] - other[0]) / max(one[0], other[0])
    if name == "normals":
        return max(0.0, float(np.dot(one, other)))
    return float(np.array_equal(one, other))


def normalized(matrix):
    return matrix / (matrix.sum(-1, keepdims=True) + 1e-6)


def reference(name, labels, features, known, weights=None):
    """The mean over all pairs of labelled pixels of the batch, times their pixels' weights."""
    total, count = 0.0, 0
    weights = np.ones((2, H, W)) if weights is None else weights
    points = [(r * H // SIZE[0], c * W // SIZE[1]) for r in range(SIZE[0]) for c in range(SIZE[1])]
    for image in range(2):
        x = features[image].reshape(len(points), -1).astype("float64")
        own = [labels[image][p].ravel().astype("float64") for p in points]
        seen = np.array([known[image][p] for p in points])
        weight = np.array([weights[image][p] for p in points])
        target = np.zeros((len(points), len(points)))
        for i, j in np.argwhere(seen[:, None] & seen):
            target[i, j] = alike(name, own[i], own[j])
        error = np.abs(normalized(x @ x.T) - normalized(target)) * weight[:, None] * weight
        total += error[seen][:, seen].sum()
        count += seen.sum() ** 2
    return total / count


def random_labels(name, task, rng):
    shape = (2, *task.label_shape(H, W))
    if name == "depth":
        labels = rng.uniform(0.5, 9, shape)
    elif name == "normals":
        labels = rng.normal(size=shape)
        labels /= np.linalg.norm(labels, axis=-1, keepdims=True)
    else:
        labels = rng.integers(0, 2 if name != "semseg" else 3, shape)
    known = rng.random((2, H, W)) < 0.7
    labels[~known] = task.ignore
    return labels.astype(task.label_dtype), known


@pytest.mark.parametrize("name", list(KINDS))
def test_value_and_gradient(name, gradient):
    task, rng = KINDS[name], np.random.default_rng(0)
    labels, known = random_labels(name, task, rng)
    features = np.maximum(rng.normal(size=(2, *SIZE, 4)), 0).astype("float32")
    features[0, 0, 0] = 0  # like no other
    loss = AffinityLoss(task)
    found = float(ops.convert_to_numpy(loss(labels, features)))
    assert found == pytest.approx(reference(name, labels, features, known), rel=1e-5)
    assert np.isfinite(gradient(lambda x: loss(labels, x), features)).all()

    weights = rng.uniform(0, 2, (2, H, W)).astype("float32")
    found = float(ops.convert_to_numpy(loss(labels, features, weights)))
    expected = reference(name, labels, features, known, weights.astype("float64"))
    assert found == pytest.approx(expected, rel=1e-5)
    of_images = np.array([0.5, 2.0], "float32")
    found = float(ops.convert_to_numpy(loss(labels, features, of_images)))
    root = np.sqrt(of_images.astype("float64"))[:, None, None] * np.ones((2, H, W))
    assert found == pytest.approx(reference(name, labels, features, known, root), rel=1e-5)


def test_without_labels(gradient):
    task = KINDS["depth"]
    labels = np.stack([task.no_label(H, W)] * 2)
    features = np.ones((2, *SIZE, 4), "float32")
    assert float(ops.convert_to_numpy(AffinityLoss(task)(labels, features))) == 0
    assert not gradient(lambda x: AffinityLoss(task)(labels, x), features).any()


@pytest.mark.once("torch", "a refusal knows no backend")
def test_a_kind_that_does_not_say():
    class Albedo(keras_mtl.tasks.Task):
        headline, higher_is_better, ignore = "MAE", False, -1
        label_dtype, label_channels = "float32", 1

    with pytest.raises(ValueError, match="^Task 'albedo', of Albedo, does not say how alike"):
        AffinityLoss(Albedo("albedo", channels=1))
    assert isinstance(AffinityLoss(KINDS["depth"]), keras.losses.Loss)
