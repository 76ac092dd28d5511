"""Generated streets: the same from the same seed, and labels that agree with each other."""

import numpy as np
import pytest

from keras_mtl.boxes3d import matrix_from_quaternion, unproject
from keras_mtl.metrics.detection3d.boxes import CLASSES
from keras_mtl.rooms import streets
from keras_mtl.rooms.streets.scenes import BASELINE
from keras_mtl.tasks import CITYSCAPES_CLASSES, DepthEstimation, SemanticSegmentation, nyud

pytestmark = pytest.mark.once("torch", "needs no backend")

SIZE = (48, 96)


@pytest.fixture(scope="module")
def scenes():
    return [streets.render(3, SIZE, index) for index in range(6)]


def test_a_seed_settles_every_byte(scenes):
    again, other = streets.render(3, SIZE, 1), streets.render(4, SIZE, 1)
    for name in ("image", "label_ids", "depth", "ignore"):
        np.testing.assert_array_equal(again[name], scenes[1][name])
    np.testing.assert_array_equal(again["boxes"].center, scenes[1]["boxes"].center)
    assert (other["image"] != again["image"]).any()


def test_a_vehicle_lies_in_its_box(scenes):
    """Every pixel of a class in a modal box that no other box shares lies within the box."""
    checked = 0
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    for scene in scenes:
        sensor, boxes = scene["sensor"], scene["boxes"]
        pixels = np.stack([columns, rows, scene["depth"][..., 0]], -1)
        points = sensor.to_vehicle(unproject(pixels, sensor.camera))
        class_ids = np.array([streets.CLASS_IDS[name] for name in CLASSES])
        left, top, right, bottom = np.moveaxis(boxes.modal[:, None, None], -1, 0)
        inside = (columns >= left) & (columns <= right) & (rows >= top) & (rows <= bottom)
        for i, label in enumerate(boxes.label):
            mine = inside[i] & (scene["label_ids"] == class_ids[label])
            own = (points[mine] - boxes.center[i]) @ matrix_from_quaternion(boxes.rotation[i])
            share = (np.abs(own) <= boxes.size[i] / 2 + 1e-3).all(1).mean()
            if np.all(boxes.modal[i] == boxes.modal[i].clip(1, [SIZE[1] - 2, SIZE[0] - 2] * 2)):
                assert share > 0.3
                # What reaches the image's edge of the box is the vehicle's own.
                checked += share == 1
            reach = 1.0 + 1e-6  # a pixel is seen at its middle
            assert (boxes.modal[i, :2] >= boxes.amodal[i, :2] - reach).all()
            assert (boxes.modal[i, 2:] <= boxes.amodal[i, 2:] + reach).all()
    assert checked >= 10


def test_sky_has_no_depth_and_disparity_follows_from_depth(scenes):
    for scene in scenes:
        sky = scene["label_ids"] == streets.CLASS_IDS["sky"]
        np.testing.assert_array_equal(scene["depth"][..., 0] == 0, sky)
        product = scene["depth"][~sky] * scene["disparity"][~sky]
        np.testing.assert_allclose(product, BASELINE * scene["sensor"].camera[0, 0], rtol=1e-5)
        assert np.isfinite(scene["depth"]).all() and scene["image"].dtype == np.uint8


def test_there_is_enough_to_learn_from(scenes):
    found = np.concatenate([scene["boxes"].label for scene in scenes])
    assert len(found) >= 20 and len(set(found.tolist())) >= 4
    names = np.array(list(streets.CLASS_IDS.values()))
    for scene in scenes:
        np.testing.assert_array_equal(names[scene["cityscapes_semseg"]], scene["label_ids"])
    seen = set(np.concatenate([np.unique(scene["label_ids"]) for scene in scenes]).tolist())
    assert seen <= set(streets.CLASS_IDS.values()) and len(seen) >= 12
    assert sum(len(scene["ignore"]) for scene in scenes) > 0


def test_as_arrays(scenes):
    tasks = [SemanticSegmentation(channels=19, labels=CITYSCAPES_CLASSES)]
    tasks.append(DepthEstimation(valid_range=(0, 1000)))
    images, labels = streets.arrays(tasks, 2, SIZE, seed=3)
    for i in range(2):
        np.testing.assert_array_equal(images[i], scenes[i]["image"])
        np.testing.assert_array_equal(labels["semseg"][i], scenes[i]["cityscapes_semseg"])
        np.testing.assert_array_equal(labels["depth"][i], scenes[i]["depth"])
    assert list(streets.CLASS_IDS) == CITYSCAPES_CLASSES
    for task in tasks:
        task.check_labels(labels[task.name], *SIZE)
    with pytest.raises(ValueError, match="Task 'semseg' has 40 channels, but rooms have labels"):
        streets.arrays(nyud("semseg"), 1, SIZE)
