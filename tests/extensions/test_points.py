"""A kind of task whose output is no map: where things are, and of which class, up to 20 of them.

All of it stands in this file, as in a user's own project; the package knows nothing of it.
"""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import rooms, tasks
from keras_mtl.tasks import ArraySpec
from tests import small

MOST, CLASSES = 20, ("furniture", "person")
NOTHING, NOT_ANNOTATED = -1, -2  # as the class of a point
SIZE = (48, 64)


def cells_of(y_true, grid, size):
    """Row and column `(B, 20)` of each point on a grid, and which points there are."""
    (height, width), (rows, columns) = size, grid
    points, classes = ops.cast(y_true["points"], "float32"), ops.cast(y_true["classes"], "int32")
    row = ops.clip(ops.cast(points[..., 1] * rows / height, "int32"), 0, rows - 1)
    column = ops.clip(ops.cast(points[..., 0] * columns / width, "int32"), 0, columns - 1)
    return row, column, classes >= 0, classes


def annotated(y_true):
    """Which images are annotated at all, `(B,)`."""
    return ops.all(ops.cast(y_true["classes"], "int32") != NOT_ANNOTATED, axis=-1)


class PointLoss(keras.losses.Loss):
    """Cross-entropy of the heat map, and the distance of offsets where there are points."""

    def __init__(self, size, name="point_loss"):
        super().__init__(name=name, reduction="sum")
        self.size = size

    def call(self, y_true, y_pred):
        y_pred = ops.cast(y_pred, "float32")
        rows, columns = y_pred.shape[1:3]
        row, column, there, classes = cells_of(y_true, (rows, columns), self.size)
        at = ops.one_hot(ops.where(there, row * columns + column, -1), rows * columns)
        kind = ops.one_hot(ops.where(there, classes, -1), len(CLASSES))
        heat = ops.minimum(ops.einsum("bnp,bnc->bpc", at, kind), 1.0)
        logits = ops.reshape(y_pred[..., : len(CLASSES)], (-1, rows * columns, len(CLASSES)))
        entropy = ops.mean(
            10 * heat * ops.softplus(-logits) + (1 - heat) * ops.softplus(logits), axis=(1, 2)
        )
        offsets = ops.reshape(y_pred[..., len(CLASSES) :], (-1, rows * columns, 2))
        found = ops.einsum("bnp,bpk->bnk", at, offsets)
        cell = ops.convert_to_tensor([self.size[1] / columns, self.size[0] / rows], "float32")
        corner = ops.cast(ops.stack([column, row], axis=-1), "float32")
        wanted = ops.cast(y_true["points"], "float32") / cell - corner
        far = ops.where(there[..., None], ops.abs(found - wanted), 0.0)
        some = ops.maximum(ops.sum(ops.cast(there, "float32"), axis=-1), 1.0)
        each = entropy + ops.sum(far, axis=(1, 2)) / some
        known = ops.cast(annotated(y_true), "float32")
        return ops.sum(each * known) / ops.maximum(ops.sum(known), 1.0)


class Found(keras.metrics.Metric):
    """Share of points whose cell has a heat above one half for their class, in percent."""

    def __init__(self, size, name="found"):
        super().__init__(name=name)
        self.size = size
        self.hits = self.add_variable((), "zeros", dtype="float32", name="hits")
        self.all = self.add_variable((), "zeros", dtype="float32", name="all")

    def update_state(self, y_true, y_pred, sample_weight=None):
        rows, columns = y_pred.shape[1:3]
        row, column, there, classes = cells_of(y_true, (rows, columns), self.size)
        at = ops.one_hot(ops.where(there, row * columns + column, -1), rows * columns)
        kind = ops.one_hot(ops.where(there, classes, -1), len(CLASSES))
        heat = ops.reshape(y_pred[..., : len(CLASSES)], (-1, rows * columns, len(CLASSES)))
        score = ops.einsum("bnp,bpc,bnc->bn", at, ops.cast(heat, "float32"), kind)
        self.hits.assign_add(ops.sum(ops.cast(there & (score > 0), "float32")))
        self.all.assign_add(ops.sum(ops.cast(there, "float32")))

    def result(self):
        return 100 * self.hits / ops.maximum(self.all, 1.0)


@keras.saving.register_keras_serializable(package="points")
class PointHead(keras.layers.Layer):
    """Heat maps and offsets from features at one stride."""

    def build(self, shapes):
        (shape,) = shapes.values()
        self.convolution = keras.layers.Conv2D(len(CLASSES) + 2, 1, dtype=self.dtype_policy)
        self.convolution.build(shape)

    def call(self, features):
        return self.convolution(next(iter(features.values())))

    def compute_output_shape(self, shapes):
        (shape,) = shapes.values()
        return (*shape[:3], len(CLASSES) + 2)


class PointEvaluator:
    """F1 of points found within 5 % of the photograph's diagonal, in its own pixels."""

    def __init__(self, task):
        self.task, self.images, self.right, self.found, self.true = task, 0, 0, 0, 0

    def add(self, label, raw, place, example):
        if not self.task.is_labelled(label):
            return
        self.images += 1
        final = self.task.restore(raw, place)
        final = final[final[:, 2] > 0.5]
        there = label["classes"] >= 0
        points, classes = label["points"][there].tolist(), label["classes"][there].tolist()
        left = list(zip(points, classes, strict=True))
        self.true, self.found = self.true + len(left), self.found + len(final)
        for x, y, _, kind in final:
            near = [
                (point, own)
                for point, own in left
                if own == kind and np.hypot(x - point[0], y - point[1]) < 0.05 * np.hypot(*SIZE)
            ]
            if near:
                left.remove(near[0])
                self.right += 1

    def finish(self):
        pass

    def close(self):
        pass

    def protocol(self):
        return "points within 5 % of the diagonal"

    def results(self):
        f = 200 * self.right / max(self.found + self.true, 1)
        return {
            "headline": "F1",
            "unit": "%",
            "higher_is_better": True,
            "images": self.images,
            "scores": {"F1": f if self.images else None},
        }


@keras.saving.register_keras_serializable(package="points")
class Points(tasks.Task):
    """Up to 20 points with a class, from heat maps and offsets at one stride."""

    headline, higher_is_better, ignore, output = "F1", True, NOT_ANNOTATED, "levels"
    size = SIZE

    def head(self, name=None, **arguments):
        return PointHead(name=name)

    def check_output(self, spec):
        if len(spec.shape) != 4 or spec.shape[-1] != self.channels:
            raise ValueError(f"The output for {self.name!r} has shape {spec.shape}.")

    def loss(self):
        return PointLoss(self.size)

    def metrics(self):
        return [Found(self.size)]

    def decode(self, raw):
        """`(..., 20, 4)`: x and y in pixels of the model's image, score, class."""
        raw = ops.convert_to_tensor(raw, "float32")
        *batch, rows, columns, _ = raw.shape
        flat = ops.reshape(raw, (-1, rows * columns, self.channels))
        kinds = len(CLASSES)
        heat = ops.reshape(ops.sigmoid(flat[..., :kinds]), (-1, rows * columns * kinds))
        score, index = ops.top_k(heat, MOST)
        cell, kind = index // kinds, index % kinds
        offset = ops.take_along_axis(flat[..., kinds:], cell[..., None], axis=1)
        corner = ops.cast(ops.stack([cell % columns, cell // columns], axis=-1), "float32")
        length = ops.convert_to_tensor(
            [self.size[1] / columns, self.size[0] / rows], dtype="float32"
        )
        xy = (corner + offset) * length
        found = ops.concatenate(
            [xy, score[..., None], ops.cast(kind, "float32")[..., None]], axis=-1
        )
        return found if batch else found[0]

    def restore(self, raw, place):
        found = ops.convert_to_numpy(self.decode(raw))
        return np.concatenate([place.points(found[:, :2]), found[:, 2:]], axis=-1)

    def evaluator(self, **options):
        return PointEvaluator(self)

    # === Labels ===

    def label_spec(self, height, width):
        return {
            "points": ArraySpec((MOST, 2), "float32"),
            "classes": ArraySpec((MOST,), "int32"),
        }

    def no_label(self, height, width):
        return {
            "points": np.zeros((MOST, 2), "float32"),
            "classes": np.full(MOST, NOT_ANNOTATED, "int32"),
        }

    def is_labelled(self, label):
        return bool((label["classes"] != NOT_ANNOTATED).all())

    def wrong_label(self, labels):
        wrong = labels["classes"][~np.isin(labels["classes"], (-2, -1, 0, 1))]
        return (wrong[0], "classes 0 and 1") if wrong.size else None

    def label_of(self, scene):
        points, classes = np.zeros((MOST, 2), "float32"), np.full(MOST, NOTHING, "int32")
        things, areas = np.unique(scene["instances"], return_counts=True)
        walls = np.isin(scene["nyud_semseg"], [0, 1, 21])
        for thing in things[np.argsort(-areas)]:
            inside = (scene["instances"] == thing) & ~walls
            number = int((classes >= 0).sum())
            if inside.sum() < 8 or number == MOST:
                continue
            rows, columns = np.nonzero(inside)
            points[number] = columns.mean() + 0.5, rows.mean() + 0.5
            classes[number] = int(scene["human_parts"][inside].max() in range(1, 7))
        return {"points": points, "classes": classes}

    def erase(self, stored):
        import tensorflow as tf

        return {
            "points": tf.zeros_like(stored["points"]),
            "classes": tf.fill(tf.shape(stored["classes"]), NOT_ANNOTATED),
        }

    def move(self, label, change):
        import tensorflow as tf

        points, classes = change.points(label["points"]), label["classes"]
        x, y = points[..., 0], points[..., 1]
        height, width = change.size
        gone = (classes >= 0) & ((x < 0) | (y < 0) | (x >= width) | (y >= height))
        return {
            "points": tf.where((classes < 0)[..., None] | gone[..., None], 0.0, points),
            "classes": tf.where(gone, NOTHING, classes),
        }

    # === Pictures ===

    def draw(self, final, photograph, scale=None):
        picture = photograph.copy()
        if isinstance(final, dict):
            shown = final["points"][final["classes"] >= 0]
        else:
            shown = final[final[:, 2] > 0.5, :2]
        for x, y in shown.astype(int):
            picture[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = (255, 0, 0)
        return picture

    def legend(self, shown):
        return [(name, (1.0, 0.0, 0.0)) for name in CLASSES]


@pytest.fixture(scope="module")
def points():
    return Points("things", channels=len(CLASSES) + 2, loss_weight=2.0)


@pytest.fixture(scope="module")
def both(points):
    return [*tasks.nyud("depth"), points]


def small_model(both):
    keras.utils.set_random_seed(0)
    backbone = small.vit(SIZE, num_heads=2, hidden_dim=24, mlp_dim=24)
    return keras_mtl.MultiTaskBaseline(backbone, both, head_width=4)


@pytest.fixture(scope="module")
def scenes(both):
    return rooms.arrays(both, 8, SIZE, seed=3)


@pytest.fixture(scope="module")
def trained(both, scenes):
    """A model, what `fit` told of it, and itself: 50 steps on 8 rooms."""
    model = small_model(both)
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(*scenes, batch_size=4, epochs=25, verbose=0, validation_data=scenes)
    return model, history.history


def test_it_learns(trained, both, scenes):
    model, history = trained
    assert history["things_loss"][-1] < 0.6 * history["things_loss"][0]
    assert history["val_things_found"][-1] > 80
    assert set(history) >= {"loss", "depth_loss", "things_loss", "val_things_found"}
    before, after = (
        keras_mtl.evaluate(each, scenes, progress=False).headlines["things"]
        for each in (small_model(both), model)
    )
    assert after > before + 15


def test_what_is_not_annotated_costs_nothing(both, points, scenes, trained):
    """Nor does it count; what holds nothing does."""
    model, _ = trained
    images, labels = scenes
    raw = model.predict(images, verbose=0)["things"]
    none = keras.tree.map_structure(lambda x: np.stack([x] * 8), points.no_label(*SIZE))
    assert float(points.loss()(none, raw)) == 0
    empty = {**none, "classes": np.full_like(none["classes"], NOTHING)}
    assert float(points.loss()(empty, raw)) > 0
    result = keras_mtl.evaluate(model, (images, {**labels, "things": none}), progress=False)
    assert result.headlines["things"] is None and result.tasks["things"]["images"] == 0


def test_wrong_labels_are_refused(trained, scenes):
    model, _ = trained
    images, labels = scenes
    things = labels["things"]
    for wrong, said in (
        ({**things, "classes": things["classes"] + 7}, "hold the value [789]; expected classes 0"),
        ({**things, "points": things["points"][:, :5]}, r"shape \(8, 5, 2\); expected \(batch, 20"),
        ({"points": things["points"]}, "are points; expected a dict of points, classes"),
        (things["points"], "are one array; expected a dict of points, classes"),
    ):
        with pytest.raises(ValueError, match=f"Labels of task 'things' .*{said}"):
            model.fit(images, {**labels, "things": wrong}, verbose=0)


def test_augmented_points_stay_on_their_things(both):
    """Scaled, cropped and mirrored: where a point lands, there is its thing's depth around."""
    tf = pytest.importorskip("tensorflow")
    from keras_mtl.data import load
    from keras_mtl.data.transforms import augment

    batches = load("rooms", "train", tasks=both, image_size=SIZE, training=True, count=3, seed=1)
    _, labels = next(iter(batches))
    assert labels["things"]["points"].shape.as_list() == [4, MOST, 2]

    # A picture that holds each pixel's own place, seen through the same seed.
    height, width = 40, 60
    rng = np.random.default_rng(0)
    label = {
        "points": rng.uniform(0, [width, height], (MOST, 2)).astype("float32"),
        "classes": np.zeros(MOST, "int32"),
    }
    places = np.arange(1, height * width + 1, dtype="float32").reshape(height, width)

    class Where(tasks.DepthEstimation):
        def scaled_label(self, label, factor):
            return label

    seen = 0
    for k in range(20):
        image = tf.zeros((height, width, 3), tf.uint8)
        wanted = [Where("depth", valid_range=(0, 1e6)), both[1]]
        _, found = augment(image, {"depth": places, "things": label}, wanted, SIZE, (7, k))
        depth = found["depth"].numpy()[..., 0]
        there = found["things"]["classes"].numpy() >= 0
        for (x, y), (x0, y0) in zip(
            found["things"]["points"].numpy()[there], label["points"][there], strict=True
        ):
            number = depth[int(y), int(x)]
            if number == 0:
                continue  # on the border of the padding
            row, column = divmod(int(number) - 1, width)
            assert abs(row + 0.5 - y0) <= 1.6 and abs(column + 0.5 - x0) <= 1.6
            seen += 1
    assert seen > 100


def test_some_labels_are_kept(both):
    pytest.importorskip("tensorflow")
    from keras_mtl.data import load

    batches = load(
        "rooms", "train", tasks=both, image_size=SIZE, training=True, count=4, labels_per_image=1
    )
    _, labels = next(iter(batches))
    depth = (labels["depth"].numpy() > 0).any((1, 2, 3))
    things = (labels["things"]["classes"].numpy() != NOT_ANNOTATED).all(-1)
    assert (depth != things).all()


def test_evaluated_and_compared(trained, scenes, tmp_path):
    model, _ = trained
    result = keras_mtl.evaluate(model, scenes, name="mine", progress=False)
    assert result.headlines["things"] > 20
    assert result.protocol["things"] == "points within 5 % of the diagonal"
    assert "things F1 [%] ↑" in result.row()
    result.save(tmp_path / "mine.json")
    assert json.loads((tmp_path / "mine.json").read_text())["tasks"]["things"]["images"] == 8
    table = keras_mtl.evaluation.comparison([result]).markdown()
    assert "things F1 [%] ↑" in table and f"{result.headlines['things']:.2f}" in table


def test_predicted_on_a_photograph_and_drawn(trained, both):
    """Of odd size: points come back in its own pixels."""
    model, _ = trained
    images, labels = rooms.arrays(both, 2, (77, 51), seed=3)
    maps = model.predict_maps(list(images))
    assert maps[0]["things"].shape == (MOST, 4) and maps[0]["depth"].shape == (77, 51, 1)
    raw = model.predict_on_batch(np.zeros((1, *SIZE, 3), "float32"))["things"][0]
    _, place = keras_mtl.models.photographs.fit(images[0], SIZE)
    inside = model.tasks[1].decode(raw)
    expected = (ops.convert_to_numpy(inside)[:, :2] - [place.left, place.top]) * [
        51 / place.width,
        77 / 48,
    ]
    np.testing.assert_allclose(model.tasks[1].restore(raw, place)[:, :2], expected, rtol=1e-5)
    maps = {task.name: [each[task.name] for each in maps] for task in both}
    figure = keras_mtl.visualize.panel(images, maps, both, labels, legend=True)
    assert len(figure.axes) == 2 * 5
    drawn = figure.axes[3].images[0].get_array()  # the label of the first image
    assert drawn.shape == (77, 51, 3) and (drawn == (255, 0, 0)).all(-1).any()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(CLASSES)


def test_saved_loaded_and_exported(trained, scenes, tmp_path):
    model, _ = trained
    expected = model.predict(scenes[0], verbose=0)["things"]
    model.save(tmp_path / "model.keras")
    twin = keras_mtl.load_model(tmp_path / "model.keras")
    assert type(twin.tasks[1]) is Points
    np.testing.assert_allclose(twin.predict(scenes[0], verbose=0)["things"], expected, atol=1e-5)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("a process of its own exports from other backends, and lacks this file's class")
    import tensorflow as tf

    from keras_mtl.export import export_model

    for decoded in (False, True):
        where = tmp_path / f"exported_{decoded}"
        exported = export_model(model, where, decoded=decoded, verbose=False)
        assert exported.differences["things"] < 1e-4
        loaded = tf.saved_model.load(str(where))
        shape = loaded.serve(scenes[0].astype("float32"))["things"].shape
        assert tuple(shape) == ((8, MOST, 4) if decoded else expected.shape)


@pytest.mark.parametrize("architecture", ["TaskPrompter", "TPANet", "CrossStitch", "MTAN"])
def test_every_architecture_takes_it(both, scenes, architecture):
    backbone = small.vit(SIZE, num_heads=2, hidden_dim=24, mlp_dim=24)
    if architecture == "TaskPrompter":
        model = keras_mtl.TaskPrompter(
            backbone, both, channel_windows=(2, 2), prompting_levels=1, decode_dim=8
        )
        grid = (6, 8)
    elif architecture == "CrossStitch":
        model = keras_mtl.CrossStitch(backbone, both, width=4)  # the points see the backbone
        grid = (6, 8)
    elif architecture == "MTAN":
        model = keras_mtl.MTAN(backbone, both, head_width=4)  # they have a mask of their own
        grid = (6, 8)
    else:
        model = keras_mtl.TPANet(backbone, both, dim=8, head_width=4, scales=1)
        grid = (12, 16)
    assert model.output["things"].shape == (None, *grid, len(CLASSES) + 2)
    model.compile("adam")
    images, labels = scenes
    some = keras.tree.map_structure(lambda x: x[:2], labels)
    history = model.fit(images[:2], some, batch_size=2, verbose=0)
    assert np.isfinite(history.history["things_loss"][0])


def test_batches_are_filled_up_for_several_devices(both, scenes):
    images, labels = scenes
    some = keras.tree.map_structure(lambda x: x[:3], labels)
    filled, found = keras_mtl.distribution.fill_up((images[:3], some), both, parts=4)
    assert len(filled) == 4
    np.testing.assert_array_equal(found["things"]["points"][:3], some["things"]["points"])
    assert (found["things"]["classes"][3] == NOT_ANNOTATED).all() and not found["depth"][3].any()
    tf = pytest.importorskip("tensorflow")
    batches = tf.data.Dataset.from_tensor_slices((images[:3], some)).batch(2)
    *_, (_, last) = keras_mtl.distribution.fill_up(batches, both, parts=2)
    np.testing.assert_array_equal(last["things"]["classes"][1], found["things"]["classes"][3])
