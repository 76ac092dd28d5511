"""Labels as classes, against loops in float64."""

import keras
import numpy as np
import pytest

from keras_mtl.losses import (
    BoundaryClassesLoss,
    DepthBinsLoss,
    NormalsCentroidsLoss,
)
from keras_mtl.losses.normals_centroids import NORMALS_CENTROIDS, PUBLISHED
from keras_mtl.tasks import DepthEstimation, SurfaceNormals, Task, nyud, pascal_context

B, H, W = 2, 3, 5


def bin_of(depth, bins=40, nearest=0.7, farthest=10.0):
    if not 0 < depth < 80:
        return None
    found = np.floor(bins * np.log(depth / nearest) / np.log(farthest / nearest))
    return int(min(max(found, 0), bins - 1))


def nearest_centroid(normal):
    if not np.linalg.norm(normal) >= 0.5:  # nor NaN
        return None
    return int(np.argmin([np.sum((normal - np.array(c)) ** 2) for c in NORMALS_CENTROIDS]))


def boundary(value):
    return int(value) if value in (0, 1) else None


def labels_of(kind):
    rng = np.random.default_rng(0)
    if kind == "depth":
        labels = rng.uniform(0.3, 12, (B, H, W, 1))
        labels[0, 0, :3, 0] = 0, 90, np.nan
    elif kind == "normals":
        labels = rng.normal(size=(B, H, W, 3))
        labels /= np.linalg.norm(labels, axis=-1, keepdims=True)
        labels[0, 0, :2] = 0
        labels[0, 0, 2] = np.nan
    else:
        labels = rng.integers(0, 2, (B, H, W, 1)).astype(float)
        labels[0, 0, :2, 0] = 255
    return labels.astype("float32")


KINDS = {
    "depth": (DepthBinsLoss(), lambda x: bin_of(x[0]), None),
    "normals": (NormalsCentroidsLoss(), nearest_centroid, None),
    "edge": (BoundaryClassesLoss(0.8), lambda x: boundary(x[0]), (0.2, 0.8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_classes_and_losses(kind, gradient):
    loss, class_of, weights = KINDS[kind]
    labels = labels_of(kind)
    logits = 3 * np.random.default_rng(1).normal(size=(B, H, W, loss.num_classes))
    total, count = 0.0, 0
    for place in np.ndindex(B, H, W):
        found = class_of(labels[place].astype("float64"))
        if found is not None:
            count += 1
            x = logits[place]
            one = np.log(np.exp(x - x.max()).sum()) + x.max() - x[found]
            total += one * (weights[found] if weights else 1)
    assert count < B * H * W
    logits = logits.astype("float32")
    assert float(loss(labels, logits)) == pytest.approx(total / count, rel=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(labels, logits)) == float(loss(labels, logits))
    nothing = np.full_like(labels, 255 if kind == "edge" else 0)
    assert float(loss(nothing, logits)) == 0
    assert np.isfinite(gradient(lambda x: loss(labels, x), logits)).all()
    with pytest.raises(ValueError, match="The loss of discretised labels expects"):
        loss(labels, logits[..., :1])


@pytest.mark.once("torch", "what tasks say knows no backend")
def test_every_kind_says_its_classes():
    tasks = {task.name: task for task in [*nyud(), *pascal_context("human_parts", "sal")]}
    found = {name: task.discretization()[0] for name, task in tasks.items()}
    assert found == {
        "semseg": 40, "depth": 40, "normals": 40, "edge": 2, "human_parts": 7, "sal": 2
    }  # fmt: skip
    assert DepthEstimation(valid_range=(1, 5)).discretization()[1].valid_range == (1, 5)
    with pytest.raises(ValueError, match="Task 'mine', of Task, does not say which classes"):
        Task("mine", 3).discretization()


@pytest.mark.once("torch", "data knows no backend")
def test_centroids_look_at_the_camera():
    """Along our axes what is seen points towards the camera, and more of it up than down."""
    x, y, z = np.transpose(NORMALS_CENTROIDS)
    np.testing.assert_array_equal([x, -y, -z], np.transpose(PUBLISHED))
    np.testing.assert_allclose(x**2 + y**2 + z**2, 1, atol=1e-5)
    assert (z < 0.2).all() and z.mean() < -0.5 and y.mean() < 0
    assert SurfaceNormals().discretization()[0] == len(z) == 40
