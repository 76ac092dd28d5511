import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mtl import rooms, tasks
from keras_mtl.rooms import scenes
from keras_mtl.rooms.layout import _furnished, compose
from keras_mtl.rooms.shapes import Draw

pytestmark = pytest.mark.once("torch", "rooms are made of NumPy arrays")

PERSON = 15


NYUD, PASCAL = tasks.nyud(), tasks.pascal_context()


@pytest.fixture(scope="module")
def many():
    return [rooms.render(0, (36, 48), index=i) for i in range(300)]


def boundary_rule(instances):
    """The rule of `boundaries`, pixel by pixel."""
    height, width = instances.shape
    edge = np.zeros((height, width, 1), np.float32)
    for i in range(height):
        for j in range(width):
            for a, b in ((i, j + 1), (i + 1, j), (i + 1, j + 1)):
                if a < height and b < width and instances[a, b] != instances[i, j]:
                    edge[i, j] = 1
    return edge


def rays(scene):
    height, width = scene["instances"].shape
    x = (np.arange(width) - (width - 1) / 2) / scene["focal"]
    y = (np.arange(height) - (height - 1) / 2) / scene["focal"]
    return np.stack([*np.broadcast_arrays(x[None], y[:, None]), np.ones((height, width))], -1)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**80),
    index=st.integers(0, 2**40),
    height=st.integers(1, 61),
    width=st.integers(1, 61),
)
def test_every_scene_is_well_formed(seed, index, height, width):
    scene = rooms.render(seed, (height, width), index)
    assert scene["image"].shape == (height, width, 3) and scene["image"].dtype == np.uint8
    for key, shape in (("depth", 1), ("normals", 3), ("edge", 1)):
        assert scene[key].shape == (height, width, shape) and scene[key].dtype == np.float32
    top = {"nyud_semseg": 39, "pascal_semseg": 20, "sal": 1, "instances": 10**6}
    for key, largest in top.items():
        assert scene[key].shape == (height, width) and scene[key].dtype == np.int32
        assert 0 <= scene[key].min() and scene[key].max() <= largest
    assert np.isfinite(scene["depth"]).all() and scene["depth"].min() > 0.05
    assert scene["depth"].max() < 9  # no room is larger
    normals = scene["normals"].astype(float)
    np.testing.assert_allclose((normals**2).sum(-1), 1, atol=1e-5)
    assert ((normals * rays(scene)).sum(-1) < 0).all()
    assert set(np.unique(scene["edge"])) <= {0, 1}
    np.testing.assert_array_equal(scene["edge"], boundary_rule(scene["instances"]))
    for key in ("nyud_semseg", "pascal_semseg"):  # one instance, one class
        pairs = np.unique(np.stack([scene["instances"], scene[key]], -1).reshape(-1, 2), axis=0)
        assert len(pairs) == len(np.unique(scene["instances"]))


@pytest.mark.parametrize("index", range(4))
def test_normals_are_the_geometry_of_the_depth(index):
    scene = rooms.render(11, (120, 160), index)
    points = scene["depth"].astype(float) * rays(scene)
    # Image x to the right and y down: the cross product of down and right points to the camera.
    right = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    found = np.cross(down, right)
    found /= np.sqrt((found**2).sum(-1, keepdims=True))
    inner = scene["normals"][1:-1, 1:-1].astype(float)
    agree = (found * inner).sum(-1)
    same = np.ones(agree.shape, bool)
    for di in (-1, 0, 1):
        for dj in (-1, 0, 1):
            window = slice(1 + di, 119 + di), slice(1 + dj, 159 + dj)
            same &= scene["instances"][window] == scene["instances"][1:-1, 1:-1]
            same &= ((scene["normals"][window] - inner) ** 2).sum(-1) < 0.05
    plane = same & np.isin(scene["nyud_semseg"][1:-1, 1:-1], (1, 21))  # floor, ceiling
    wall = same & (scene["nyud_semseg"][1:-1, 1:-1] == 0)
    assert plane.sum() > 100 and wall.sum() > 300
    assert agree[plane].min() > 0.9999
    assert np.mean(agree[wall] > 0.9999) > 0.95  # a skirting board steps in depth
    rest = same & ~plane & ~wall
    assert np.mean(agree[rest] > 0.98) > 0.9  # so do drawers and slats


def test_depth_is_metric():
    """The floor and the ceiling are parallel planes, 2.4 to 3 metres apart."""
    seen = 0
    for index in range(40):
        scene = rooms.render(5, (60, 80), index)
        points = (scene["depth"].astype(float) * rays(scene)).reshape(-1, 3)
        classes, normals = scene["nyud_semseg"].ravel(), scene["normals"].reshape(-1, 3)
        floor, ceiling = classes == 1, classes == 21
        if floor.sum() > 20 and ceiling.sum() > 20:
            up = normals[floor][0].astype(float)
            levels = points @ up
            assert np.ptp(levels[floor]) < 1e-4 and np.ptp(levels[ceiling]) < 1e-4
            np.testing.assert_allclose(normals[ceiling][0], -up, atol=1e-5)
            assert 2.39 < levels[ceiling][0] - levels[floor][0] < 3.01
            seen += 1
    assert seen >= 3


def test_people_and_their_parts(many):
    with_people = 0
    for scene in many:
        person = scene["pascal_semseg"] == PERSON
        np.testing.assert_array_equal(person, scene["nyud_semseg"] == 30)
        parts = scene["human_parts"]
        if person.any():
            with_people += 1
            np.testing.assert_array_equal(parts > 0, person)
            assert parts.max() <= 6
            np.testing.assert_array_equal(scene["sal"] == 1, person)
        else:
            assert (parts == 255).all()
            assert len(np.unique(scene["instances"][scene["sal"] == 1])) <= 1
    assert 0.3 < with_people / len(many) < 0.8
    assert np.mean([scene["sal"].any() for scene in many]) > 0.97
    every = np.concatenate([s["human_parts"].ravel() for s in many])
    assert set(range(7)) <= set(np.unique(every))


def test_salient_thing_is_the_largest_free_standing_one(many):
    checked = 0
    for scene in many:
        names = np.array(tasks.NYUD_CLASSES)[scene["nyud_semseg"]]
        free = ~np.isin(names, sorted(scenes.NOT_FREE_STANDING))
        if scene["sal"].any() and not (scene["pascal_semseg"] == PERSON).any():
            chosen = scene["instances"][scene["sal"] == 1][0]
            areas = np.bincount(scene["instances"][free])
            assert areas[chosen] == areas.max() == scene["sal"].sum()
            checked += 1
    assert checked > 50


def test_scenes_vary(many):
    nyud = np.stack([s["nyud_semseg"] for s in many])
    scenes_with = [(nyud == k).any((1, 2)).sum() for k in range(40)]
    assert sum(count >= 6 for count in scenes_with) >= 30
    pascal = np.stack([s["pascal_semseg"] for s in many])
    assert {0, 5, 9, 11, 15, 16, 18, 20} == set(np.unique(pascal))
    largest = [np.bincount(s["instances"].ravel()).max() / s["instances"].size for s in many]
    assert np.mean(np.array(largest) > 0.6) < 0.05  # no wall fills the picture
    assert np.median([len(np.unique(s["instances"])) for s in many]) >= 8
    assert 60 < np.mean([s["image"].mean() for s in many]) < 200


def test_color_does_not_give_the_class_away(many):
    """Floors are likely of wood, but no threshold on a colour channel tells classes apart."""
    pairs = (("wall", "cabinet"), ("door", "dresser"), ("chair", "desk"), ("sofa", "bed"))
    means = {}
    for name in sum(pairs, ()):
        number = tasks.NYUD_CLASSES.index(name)
        masks = [(s, s["nyud_semseg"] == number) for s in many]
        means[name] = np.array([s["image"][m].mean(0) for s, m in masks if m.sum() > 10])
        assert len(means[name]) > 30
    for one, other in pairs:
        for channel in range(3):
            a, b = means[one][:, channel], means[other][:, channel]
            right = [(np.mean(a > t) + np.mean(b <= t)) / 2 for t in range(0, 256, 8)]
            assert max(max(right), 1 - min(right)) < 0.7


def test_things_stay_in_the_room_and_the_camera_out_of_things():
    for index in range(100):
        things, camera, size = compose(Draw(1, index))
        assert all(0 < p < s for p, s in zip(camera.position, size, strict=True))
        for thing in things[6:]:
            for solid in thing.solids:
                offset = np.subtract(camera.position, solid.center)
                local = np.abs(np.array(solid.axes) @ offset) / solid.half
                assert local.max() > 1
                low = np.subtract(solid.center, solid.reach())
                high = np.add(solid.center, solid.reach())
                assert (low > -0.01).all() and (high < np.add(size, 0.01)).all(), thing.name


def test_furniture_does_not_overlap():
    for index in range(30):
        taken = _furnished(Draw(1, index)).taken
        for k, (low, high) in enumerate(taken):
            for other_low, other_high in taken[:k]:
                assert (
                    np.greater_equal(low, other_high).any() or np.less_equal(high, other_low).any()
                )


def test_the_scene_does_not_depend_on_the_image_size():
    small, large = rooms.render(2, (30, 40)), rooms.render(2, (90, 120))
    # The middle of every third pixel of the large picture is a pixel of the small one.
    np.testing.assert_array_equal(small["instances"], large["instances"][1::3, 1::3])
    np.testing.assert_allclose(small["depth"], large["depth"][1::3, 1::3], rtol=1e-5)


@pytest.mark.parametrize(
    "seed, expected",
    [
        (0, "525152325df711d1d0594d0910a348bb56982608e4fb68834f83db8cd3023b90"),
        (1, "276046aac778ebb28d7b4002c27ae84a6e8c6f589b1de4f8b30696070315ad79"),
    ],
)
def test_the_same_seed_gives_these_bytes_on_every_machine(seed, expected):
    """Twenty scenes of what the scripts train on (0) and of what they validate on (1)."""
    digest = hashlib.sha256()
    for index in range(20):
        # Large pictures are shaded a little differently.
        scene = rooms.render(seed, (48, 64) if index else (151, 202), index)
        for key in sorted(scene):
            digest.update(np.asarray(scene[key]).tobytes())
    assert digest.hexdigest() == expected


@pytest.mark.parametrize("tasks", [NYUD, PASCAL], ids=["nyud", "pascal"])
def test_arrays_stack_scenes_independently_of_count(tasks):
    images, labels = rooms.arrays(tasks, count=4, image_size=(24, 32), seed=3)
    assert set(labels) == {t.name for t in tasks}
    fewer_images, fewer_labels = rooms.arrays(tasks, count=2, image_size=(24, 32), seed=3)
    np.testing.assert_array_equal(images[:2], fewer_images)
    for name, stack in labels.items():
        assert len(stack) == 4
        np.testing.assert_array_equal(stack[:2], fewer_labels[name])
    scene = rooms.render(3, (24, 32), index=3)
    semseg = "nyud_semseg" if tasks is NYUD else "pascal_semseg"
    np.testing.assert_array_equal(images[3], scene["image"])
    np.testing.assert_array_equal(labels["semseg"][3], scene[semseg])
    np.testing.assert_array_equal(labels["normals"][3], scene["normals"])


def test_seeds_share_no_scene():
    seeds = (0, 1, 2, 2**32, 2**32 + 1, 2**64)
    pictures = {rooms.render(s, (12, 16), i)["depth"].tobytes() for s in seeds for i in range(4)}
    assert len(pictures) == 4 * len(seeds)


def test_dataset_gives_the_arrays():
    images, labels = rooms.arrays(PASCAL, count=5, image_size=(24, 32), seed=9)
    given = dict(count=5, image_size=(24, 32), seed=9, batch_size=2)
    batches = list(rooms.dataset(PASCAL, **given).as_numpy_iterator())
    assert [len(image) for image, _ in batches] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([image for image, _ in batches]), images)
    for name, stack in labels.items():
        read = np.concatenate([label[name] for _, label in batches])
        assert read.dtype == stack.dtype
        np.testing.assert_array_equal(read, stack)

    def shuffled():
        data = rooms.dataset(PASCAL, **given, shuffle=True).as_numpy_iterator()
        return np.concatenate([image for image, _ in data])

    once, again = shuffled(), shuffled()
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, images)
    assert sorted(i.tobytes() for i in once) == sorted(i.tobytes() for i in images)
    endless = rooms.dataset(PASCAL, **given, repeat=True)
    assert len(list(endless.take(7))) == 7


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: rooms.render(0, (0, 32)), r"image_size is \(0, 32\)"),
        (lambda: rooms.render(0, 64), "image_size is 64"),
        (lambda: rooms.render(0, (32.0, 32)), "two positive integers"),
        (lambda: rooms.render(-1, (8, 8)), "seed is -1"),
        (lambda: rooms.arrays(NYUD, count=0), "count is 0"),
        (lambda: rooms.arrays([tasks.Task("flow", 2)], 1, (8, 8)), "named 'flow'"),
        (lambda: rooms.arrays([tasks.SemanticSegmentation(channels=19)], 1, (8, 8)), "19 channels"),
        (lambda: rooms.dataset(NYUD, count=1, batch_size=0), "batch_size is 0"),
    ],
)
def test_a_wrong_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
