"""Weights of classes that are counted in the data, and what training makes of them."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl.training import median_frequency_weights
from tests import small

SIZE, CLASSES = (8, 16), 4


@pytest.fixture(scope="module")
def task():
    return keras_mtl.tasks.SemanticSegmentation(channels=CLASSES)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 3, 255], (3, *SIZE), p=[0.7, 0.1, 0.1, 0.1]).astype("int32")
    labels[0][labels[0] == 3] = 0  # where a class occurs counts, too
    return rng.uniform(0, 255, (3, *SIZE, 3)).astype("float32"), {"semseg": labels}


def reference(labels):
    """Eigen and Fergus, ICCV 2015, Sec. 4.3, class by class."""
    frequencies = {}
    for c in range(CLASSES):
        images = [label for label in labels if (label == c).any()]
        if images:
            own = sum((label == c).sum() for label in images)
            frequencies[c] = own / sum((label != 255).sum() for label in images)
    median = np.median(list(frequencies.values()))
    return [median / frequencies[c] if c in frequencies else 1.0 for c in range(CLASSES)]


def test_the_median_frequency_of_every_form_of_data(task, data):
    images, labels = data
    expected = reference(labels["semseg"])
    assert expected[2] == 1 and expected[3] > 3 * expected[0]
    batches = [
        (images[:2], {"semseg": labels["semseg"][:2]}),
        (images[2:], {"semseg": labels["semseg"][2:]}),
    ]
    examples = [{"image": images[i], "semseg": labels["semseg"][i]} for i in range(3)]
    for dataset in (data, batches, examples, (keras.ops.convert_to_tensor(images), labels)):
        assert median_frequency_weights(dataset, task) == pytest.approx(expected)


def test_training_with_them(task, data):
    """The loss of a model is the mean of the pixels' losses, each times the weight of its class."""
    images, labels = data
    weights = median_frequency_weights(data, task)
    weighted = keras_mtl.tasks.SemanticSegmentation(channels=CLASSES, class_weights=weights)
    model = keras_mtl.MultiTaskBaseline(small.vit(SIZE), [weighted], head_width=4)
    model.compile("sgd")
    found = model.evaluate(images, labels, verbose=0, return_dict=True)["loss"]
    logits = keras.ops.convert_to_numpy(model.predict(images, verbose=0)["semseg"]).astype(
        "float64"
    )
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    label = labels["semseg"]
    costs = [-weights[c] * logits[*i, c] for i, c in np.ndenumerate(label) if c != 255]
    assert found == pytest.approx(np.mean(costs), rel=1e-4)
    with pytest.raises(ValueError, match=r"class_weights=keras_mtl.training.median_frequency_weig"):
        model.fit(images, labels, class_weight={0: 1.0, 1: 2.0})


class Endless(keras.utils.PyDataset):
    num_batches = None


def test_what_has_no_weights(task, data):
    images, labels = data
    with pytest.raises(ValueError, match="Task 'depth' has no class ids"):
        median_frequency_weights(data, keras_mtl.tasks.DepthEstimation())
    nothing = {"semseg": np.full_like(labels["semseg"], 255)}
    with pytest.raises(ValueError, match="no label of task 'semseg'"):
        median_frequency_weights((images, nothing), task)
    with pytest.raises(ValueError, match="The dataset never ends; pass keras_mtl.data.examples"):
        median_frequency_weights(Endless(), task)
    with pytest.raises(ValueError, match="There are no labels for semseg among depth"):
        median_frequency_weights((images, {"depth": images[..., :1]}), task)
    with pytest.raises(ValueError, match="hold the value 77; expected class ids 0 to 3"):
        median_frequency_weights((images, {"semseg": np.full_like(labels["semseg"], 77)}), task)
    few = ([1.0] * 3, [1.0, -1.0, 1.0, 1.0], [1.0, np.nan, 1.0, 1.0], [0] * 4, {0: 1.0}, "median")
    for wrong in few:
        with pytest.raises(ValueError, match="expected 4 numbers of 0 or more, one for each"):
            keras_mtl.tasks.SemanticSegmentation(channels=CLASSES, class_weights=wrong)
    loss = keras_mtl.losses.SegmentationLoss(class_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="has 2 class_weights for 4 classes"):
        loss(labels["semseg"], np.zeros((3, *SIZE, CLASSES), "float32"))
