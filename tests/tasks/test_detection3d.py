"""Boxes in space as a task: labels that move, a network that learns, predictions and pictures."""

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

import keras_mtl
from keras_mtl import boxes3d, tasks
from keras_mtl.boxes3d.exif import FOCAL_LENGTH_ON_FILM
from keras_mtl.boxes3d.labels import (
    NOT_ANNOTATED,
    NOTHING,
    in_vehicle_frame,
    label_arrays,
)
from keras_mtl.boxes3d.points import parts_of_raw, points_of
from keras_mtl.data.geometry import Change
from keras_mtl.models.photographs import Place
from keras_mtl.visualize.predictions import known_camera, save_prediction, save_predictions
from keras_mtl.visualize.video import panels
from tests import small

SIZE = (48, 96)
MOST = (4, 2)
POSE = np.array([[1, 0, 0, -1.5], [0, 1, 0, -0.2], [0, 0, 1, -1.2]])
SENSOR = boxes3d.Sensor([[100.0, 0, 50], [0, 100, 20], [0, 0, 1]], POSE)


@pytest.fixture(scope="module")
def task():
    return tasks.Detection3D(
        labels=["car", "bus"], most=MOST, width=8, class_branch=(8,), groups=2, loss_weight=2.0
    )


def make_label(task, seed, count=2):
    """Of cars and buses between 8 and 20 m ahead, each seen whole."""
    rng = np.random.default_rng(seed)
    centers = np.stack(
        [rng.uniform(10, 22, count), rng.uniform(-2, 2, count), rng.uniform(0.5, 1, count)], -1
    )
    yaw = rng.uniform(-3, 3, count)
    rotations = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], -1)
    classes = rng.integers(0, 2, count)
    sizes = np.where(classes[:, None] == 0, [4.0, 1.8, 1.5], [9.0, 2.5, 3.0])
    turned = SENSOR.rotation_to_sensor(boxes3d.matrix_from_quaternion(rotations))
    corners = boxes3d.box_corners(SENSOR.to_sensor(centers), sizes, turned)
    flat = boxes3d.amodal_boxes(corners, SENSOR.camera, SIZE)
    told = classes, centers, sizes, rotations, flat
    return label_arrays(SENSOR, *told, ignored=[[0, 0, 5, 5]], most=task.most)


def batch(*labels):
    return {name: np.stack([each[name] for each in labels]) for name in labels[0]}


# === Labels ===


@pytest.mark.once("torch", "labels are NumPy")
def test_labels_hold_what_they_were_made_of(task):
    label = make_label(task, 0)
    spec = task.label_spec(*SIZE)
    assert {name: (x.shape, str(x.dtype)) for name, x in label.items()} == dict(spec)
    there = label["classes"] >= 0
    centers, rotations = in_vehicle_frame(SENSOR, label["places"][there], label["rotations"][there])
    again = label_arrays(
        SENSOR,
        label["classes"][there],
        centers,
        label["sizes"][there],
        rotations,
        label["boxes"][there],
        label["ignored"],
        task.most,
    )
    for name, values in label.items():
        np.testing.assert_allclose(again[name], values, atol=1e-4, err_msg=name)
    assert task.is_labelled(label) and not task.is_labelled(task.no_label(*SIZE))
    many = label_arrays(
        SENSOR, [0] * 5, [[10.0 + k, 0, 1] for k in (4, 1, 3, 0, 2)], [[4.0, 2, 1]] * 5,
        [[1.0, 0, 0, 0]] * 5, [[0, 0, 9, 9]] * 5, [], task.most,
    )  # fmt: skip
    np.testing.assert_allclose(many["places"][:, 2], [9.5, 11.5, 8.5, 10.5])  # the nearest four


@pytest.mark.once("torch", "labels are NumPy")
def test_what_is_wrong_is_one_sentence(task):
    label = batch(make_label(task, 0), make_label(task, 1))
    task.check_labels(label, *SIZE)

    def with_first(name, value):
        values = label[name].copy()
        values[0, 0] = value
        return {**label, name: values}

    for wrong, said in (
        (with_first("classes", 7), "hold the class 7; expected 0 to 1, -1 for no object, or -2"),
        (with_first("classes", NOT_ANNOTATED), "hold the class -2 beside others in one image"),
        (with_first("places", [1, 1, -3.0]), "among places; .*behind the camera"),
        (with_first("places", np.nan), r"hold \[nan, nan, nan\] among places"),
        (with_first("sizes", [4.0, 0.0, 1.0]), r"hold \[4.0, 0.0, 1.0\] among sizes; expected a"),
        (with_first("rotations", 0.0), "among rotations; expected a quaternion"),
        (with_first("boxes", [9, 9, 3, 3]), "among boxes; expected left, top"),
        (with_first("camera", 0.0), "hold the camera .*focal lengths above 0"),
        ({**label, "sizes": label["sizes"][:, :1]}, r"shape \(2, 1, 3\); expected \(batch, 4, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"^Labels of task 'detection3d' .*{said}") as error:
            task.check_labels(wrong, *SIZE)
        assert "\n" not in str(error.value)
    one = {"classes": [0], "centers": [[10.0, 0, 1]], "sizes": [[4.0, 2, 1]]}
    one |= {"rotations": [[1.0, 0, 0, 0]], "boxes": [[0, 0, 9, 9]], "ignored": [], "most": MOST}
    for name, value, said in (
        ("centers", [[-10.0, 0, 1]], "is behind the camera"),
        ("sizes", [[4.0, 0, 1]], "expected length, width and height above 0"),
        ("sizes", [[np.nan, 1, 1]], "expected length, width and height above 0"),
        ("rotations", [[0.0, 0, 0, 0]], "expected a quaternion"),
    ):
        with pytest.raises(ValueError, match=said):
            label_arrays(SENSOR, **{**one, name: value})
    for arguments, said in (
        ({"labels": "car"}, "expected the names of classes"),
        ({"labels": ["car", "car"]}, "expected the names of classes"),
        ({"angles": "yaw"}, "expected one of 'roll_pitch_yaw', 'published'"),
        ({"width": 30}, "does not divide 30 channels"),
        ({"most": 3}, "expected 2 positive integers"),
    ):
        with pytest.raises(ValueError, match=said):
            tasks.Detection3D(**arguments)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.once("tensorflow", "labels move as NumPy arrays and TensorFlow tensors")
def test_moved_boxes_still_lie_on_their_image(task, mirrored):
    """Corners of the moved box in the moved camera: the old ones moved as points of the image."""
    import tensorflow as tf

    label = make_label(task, 3)
    numbers = (np.array(x) for x in (SIZE, (72, 144), (10, 30), (48, 96)))
    change = Change(*numbers, (60, 100), factor=1.5, mirrored=mirrored)
    moved = task.move(label, change)
    there = np.nonzero(moved["classes"] >= 0)[0]
    assert len(there)
    for k in there:
        corners, after = (
            boxes3d.project(
                boxes3d.box_corners(
                    boxes3d.unproject(each["places"][k], each["camera"]),
                    each["sizes"][k],
                    boxes3d.matrix_from_quaternion(each["rotations"][k]),
                ),
                each["camera"],
            )[:, :2]
            for each in (label, moved)
        )
        expected = change.points(corners)
        if mirrored:  # the box's own left is its right
            expected = expected[[1, 0, 3, 2, 5, 4, 7, 6]]
        np.testing.assert_allclose(after, expected, atol=1e-2)
        low, high = change.points(label["boxes"][k, :2]), change.points(label["boxes"][k, 2:])
        flat = np.clip([np.minimum(low, high), np.maximum(low, high)], 0, [100, 60]).ravel()
        np.testing.assert_allclose(moved["boxes"][k], flat, atol=1e-3)
    # The vehicle mirrored, too: centres in its frame change their side.
    before, after = (
        in_vehicle_frame(
            boxes3d.Sensor(x["camera"], x["pose"]), x["places"][:1], x["rotations"][:1]
        )
        for x in (label, moved)
    )
    side = np.array([1, -1 if mirrored else 1, 1])
    np.testing.assert_allclose(after[0], before[0] * side, atol=1e-3)
    turn = np.array([1, -1, 1, -1] if mirrored else [1, 1, 1, 1])
    same = np.abs(np.sum(after[1] * before[1] * turn))
    np.testing.assert_allclose(same, 1.0, atol=1e-5)

    def as_tensors(*numbers):
        return (tf.constant(x, tf.int32) for x in numbers)

    again = Change(
        *as_tensors(SIZE, (72, 144), (10, 30), (48, 96)), (60, 100), 1.5, tf.constant(mirrored)
    )
    found = task.move({name: tf.constant(x) for name, x in label.items()}, again)
    for name, values in moved.items():
        np.testing.assert_allclose(found[name].numpy(), values, atol=1e-3, err_msg=name)
    none = task.erase({name: tf.constant(x) for name, x in label.items()})
    assert not task.is_labelled({name: x.numpy() for name, x in none.items()})
    assert not task.is_labelled(task.move(task.no_label(*SIZE), change))
    # Cropped away, but for what reaches into the corner.
    far = Change(*(np.array(x) for x in (SIZE, SIZE, (0, 0), (4, 4))), (4, 4))
    away = {**label, "boxes": np.array([[9, 9, 20, 20], [3.5, 0, 9, 9], [0, 0, 2, 2], [0] * 4])}
    away["boxes"], away["classes"] = away["boxes"].astype("float32"), np.array([0, 1, 1, -1])
    assert task.move(away, far)["classes"].tolist() == [NOTHING, NOTHING, 1, NOTHING]


# === Training ===


def small_model(task):
    keras.utils.set_random_seed(0)
    backbone = small.vit(SIZE, num_heads=2, hidden_dim=16, mlp_dim=16)
    return keras_mtl.MultiTaskBaseline(backbone, [task], head_width=4)


@pytest.fixture(scope="module")
def scenes(task):
    """Pictures in which boxes are painted in their class's colour."""
    labels = [make_label(task, seed) for seed in range(4)]
    images = np.stack([task.draw(each, np.zeros((*SIZE, 3), "uint8")) for each in labels])
    return images.astype("float32"), {task.name: batch(*labels)}


@pytest.fixture(scope="module")
def trained(task, scenes):
    model = small_model(task)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(*scenes, batch_size=2, epochs=12, verbose=0)
    return model, history.history


def test_it_learns(trained):
    _, history = trained
    losses, errors = history["loss"], history["detection3d_box_depth_error"]
    assert losses[-1] < 0.6 * losses[0] and errors[-1] < 0.5 * errors[0]


def test_what_is_not_annotated_has_no_part(task, scenes, trained):
    raw = trained[0].predict(scenes[0], verbose=0)[task.name]
    label = scenes[1][task.name]
    both = float(task.loss()(label, raw))
    none = batch(*[task.no_label(*SIZE)] * 4)
    assert float(task.loss()(none, raw)) == 0 < both
    half = {name: np.concatenate([x[:2], none[name][2:]]) for name, x in label.items()}
    alone = {name: x[:2] for name, x in label.items()}
    assert float(task.loss()(half, raw)) == pytest.approx(
        float(task.loss()(alone, raw[:2])), rel=1e-5
    )
    weights = ops.convert_to_tensor([2.0, 2.0, 2.0, 2.0])
    assert float(task.loss()(label, raw, weights)) == pytest.approx(2 * both, rel=1e-5)


def test_predicted_restored_and_drawn(task, scenes, trained):
    model, _ = trained
    photograph = scenes[0][0].astype("uint8")
    final = model.predict_maps(photograph, cameras=SENSOR.camera)[task.name]
    raw = model.predict_on_batch(scenes[0][:1])[task.name][0]
    found = boxes3d.choose_boxes(ops.convert_to_numpy(raw), SENSOR.camera, SIZE)
    assert len(found.classes)
    for name in ("classes", "scores", "places", "centers", "sizes"):
        np.testing.assert_allclose(final[name], getattr(found, name), rtol=1e-4, atol=1e-4)
    # Twice as large, and padded: the same boxes in space, everything else in its own pixels.
    place = Place((96, 192), SIZE, 0, 0, 48, 96, camera=np.diag([2.0, 2, 1]) @ SENSOR.camera)
    twice = task.restore(raw, place)
    np.testing.assert_allclose(twice["centers"], final["centers"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(twice["places"][:, :2], 2 * final["places"][:, :2], rtol=1e-4)
    np.testing.assert_allclose(twice["boxes"], 2 * final["boxes"], rtol=1e-4, atol=1e-3)
    guessed = model.predict_maps(photograph)[task.name]
    np.testing.assert_allclose(guessed["camera"], task.camera_for(SIZE), rtol=1e-6)
    for wrong, said in (([SENSOR.camera] * 2, "2 cameras for 1"), (np.zeros((3, 3)), "focal")):
        with pytest.raises(ValueError, match=said):
            model.predict_maps([photograph], cameras=wrong)
    decoded = ops.convert_to_numpy(task.decode(raw))
    assert decoded.shape == (*raw.shape[:1], 13 + 2)
    best = np.argmax(decoded[:, 13:].max(-1))
    top = np.argmax(found.scores)
    np.testing.assert_allclose(decoded[best, :3], found.places[top], rtol=1e-4)
    np.testing.assert_allclose(decoded[best, 6:9], found.angles[top], rtol=1e-4, atol=1e-5)
    maps = {task.name: [final]}
    labels = {task.name: {name: x[:1] for name, x in scenes[1][task.name].items()}}
    figure = keras_mtl.visualize.panel([photograph], maps, [task], labels, legend=True)
    assert len(figure.axes) == 3 and figure.legends


def test_saved_as_pictures_and_arrays(task, scenes, trained, tmp_path):
    photograph = scenes[0][0].astype("uint8")
    camera, _ = known_camera(trained[0], None, lens=(100.0, 100.0, 50.0, 20.0))
    final = save_prediction(trained[0], photograph, tmp_path / "a", camera=camera)
    with np.load(tmp_path / "a-maps.npz") as arrays:
        assert set(arrays) == {f"{task.name}/{name}" for name in final[task.name]}
        np.testing.assert_array_equal(arrays[f"{task.name}/camera"], SENSOR.camera)
        np.testing.assert_array_equal(arrays[f"{task.name}/boxes"], final[task.name]["boxes"])
    assert (tmp_path / "a-panel.png").stat().st_size > 1000


def test_cameras_of_files(task, scenes, trained, tmp_path):
    """EXIF says the camera, at every door alike; where it says nothing a camera is guessed."""
    picture, exif = Image.fromarray(scenes[0][0].astype("uint8")), Image.Exif()
    exif.get_ifd(0x8769)[FOCAL_LENGTH_ON_FILM] = 30
    picture.save(tmp_path / "known.jpg", exif=exif)
    picture.save(tmp_path / "unknown.jpg")
    focal = 30 / np.hypot(36, 24) * np.hypot(*SIZE)
    expected = [[focal, 0, 48], [0, focal, 24], [0, 0, 1]]
    for given in (tmp_path / "known.jpg", Image.open(tmp_path / "known.jpg")):
        found = trained[0].predict_maps(given)[task.name]
        np.testing.assert_allclose(found["camera"], expected, rtol=1e-6)
    found = trained[0].predict_maps(tmp_path / "known.jpg", cameras=SENSOR.camera)[task.name]
    np.testing.assert_array_equal(found["camera"], SENSOR.camera)
    paths, said = [tmp_path / "known.jpg", tmp_path / "unknown.jpg"], []
    assert save_predictions(trained[0], paths, tmp_path / "out", report=said.append) == 2
    assert said == ["Of 1 of the photographs the camera is a guess, 49 degrees from left to right."]
    with np.load(tmp_path / "out" / "known-maps.npz") as known:
        np.testing.assert_allclose(known[f"{task.name}/camera"], expected, rtol=1e-6)
    with np.load(tmp_path / "out" / "unknown-maps.npz") as unknown:
        np.testing.assert_allclose(unknown[f"{task.name}/camera"], task.camera_for(SIZE), rtol=1e-6)


def test_scored(task, scenes, trained):
    """By `evaluate`; a perfect prediction scores all, and what is not annotated is not counted."""
    images, labels = scenes
    result = keras_mtl.evaluate(trained[0], scenes, progress=False).tasks[task.name]
    assert result["images"] == 4 and set(result["scores"]) >= {"mDS", "mAP", "mcenter"}
    evaluator = task.evaluator()
    place = Place(SIZE, SIZE, 0, 0, *SIZE)
    for k in range(4):
        label = {name: x[k] for name, x in labels[task.name].items()}
        assert evaluator.add(label, perfect(task, label), place, {})
    assert not evaluator.add(task.no_label(*SIZE), None, place, {})
    result = evaluator.results()
    assert result["scores"]["mAP"] == pytest.approx(100)
    # Of a class all of whose boxes are equally far the published score is 0.
    for each in result["classes"].values():
        assert each["DS"] == pytest.approx(100 if len(each["pairs"]) > 1 else 0, abs=0.01)
    assert result["scores"]["mDS"] > 49
    with pytest.raises(ValueError, match="the class 'tram', which mDS does not know"):
        tasks.Detection3D(labels=["tram"], width=8, class_branch=(8,), groups=2).evaluator()


def doors(images, labels):
    """The same four scenes in twos."""
    import tensorflow as tf

    class Twos(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, k):
            return keras.tree.map_structure(lambda x: x[2 * k : 2 * k + 2], (images, labels))

    yield "batches", [Twos()[0], Twos()[1]]
    yield "PyDataset", Twos()
    yield "tf.data", tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)


def test_scored_alike_at_every_door(task, scenes, trained):
    model = trained[0]
    expected = keras_mtl.evaluate(model, scenes, progress=False).tasks[task.name]["scores"]
    logs = model.evaluate(*scenes, batch_size=2, return_dict=True, verbose=0)
    for door, data in doors(*scenes):
        found = keras_mtl.evaluate(model, data, progress=False).tasks[task.name]["scores"]
        assert found == pytest.approx(expected, abs=1e-3), door
        if door != "batches":
            found = model.evaluate(data, return_dict=True, verbose=0)
            assert found == pytest.approx(logs, rel=1e-4), door


def test_drawn_on_videos_and_in_tensorboard(task, scenes, trained, tmp_path):
    model, (images, labels) = trained[0], scenes
    frames = images[:2].astype("uint8")
    for k, (time, picture) in enumerate(panels(model, enumerate(frames), batch_size=2)):
        boxes = task.draw(model.predict_maps(frames[k])[task.name], frames[k])
        assert time == k and picture.shape == (SIZE[0], 3 * SIZE[1], 3)
        shown = picture[20:, SIZE[1] : 2 * SIZE[1]]  # below its name
        np.testing.assert_array_equal(shown, boxes[20:])
        assert (boxes != frames[k]).any()
    some = keras.tree.map_structure(lambda x: x[:2], labels)
    board = keras_mtl.callbacks.PredictionPanels(tmp_path, images[:2], some)
    board.set_model(model)
    board.on_train_begin()
    board.on_epoch_end(0)
    board.on_train_end()
    assert sum(path.stat().st_size for path in tmp_path.rglob("*tfevents*")) > 5000


def perfect(task, label):
    """A raw output that says what a label does, at the points of one level."""
    raw = np.zeros((24, task.channels), "float32")
    raw[:, -5:] = points_of([(4, 6)], [12.0])
    raw[:, :2] = -10.0
    parts = parts_of_raw(raw)  # views
    angles = boxes3d.angles_of(boxes3d.matrix_from_quaternion(label["rotations"][:2]))
    for k in range(2):
        raw[k, label["classes"][k]] = 10.0
        parts.centerness[k] = 10.0
        parts.offset[k] = (parts.point[k] - label["places"][k, :2]) / 12
        parts.depth[k], parts.size[k] = label["places"][k, 2], label["sizes"][k]
        left_top, right_bottom = label["boxes"][k, :2], label["boxes"][k, 2:]
        parts.box[k, :2] = (parts.point[k] - left_top) / 12
        parts.box[k, 2:] = (right_bottom - parts.point[k]) / 12
        halves = np.floor(np.mod(angles[k], 2 * np.pi) / np.pi).astype(int)
        parts.angles[k], parts.direction[k, 2 * np.arange(3) + halves] = angles[k], 5.0
    return raw


def test_saved_loaded_and_in_mixed_precision(task, scenes, trained, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    twin = keras_mtl.load_model(tmp_path / "model.keras")
    assert twin.tasks[0].get_config() == task.get_config()
    expected = model.predict(scenes[0], verbose=0)[task.name]
    np.testing.assert_allclose(twin.predict(scenes[0], verbose=0)[task.name], expected, atol=1e-4)
    published = tasks.Detection3D(angles="published", width=8, class_branch=(8,), groups=2)
    assert tasks.Detection3D.from_config(published.get_config()).angles == "published"
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = small_model(task)
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(model.get_weights())
    found = mixed.predict(scenes[0], verbose=0)[task.name]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., -5:], expected[..., -5:])  # where points lie
    loss = float(task.loss()(scenes[1][task.name], found))
    wanted = float(task.loss()(scenes[1][task.name], expected))
    assert loss == pytest.approx(wanted, rel=0.3)


def test_outputs_of_others_are_refused(task):
    with pytest.raises(ValueError, match=r"is of shape \(None, 4, 6, 3\); expected \(batch, point"):
        task.check_output(keras.KerasTensor((None, 4, 6, 3)))
    with pytest.raises(ValueError, match="is a dict; expected"):
        task.check_output({})
