"""`evaluate` is the published procedure: sizes, sums, boundaries, and what it says about them."""

import csv
import json
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import rooms
from keras_mtl.evaluation import Evaluation
from keras_mtl.images import IMAGE_MEAN
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.tasks import nyud, pascal_context

pytest.importorskip("numba", reason="the extra `evaluation` is not installed")

from keras_mtl.metrics.odsf.image import FAST_THRESHOLDS, THRESHOLDS, evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores

SIZE = (40, 52)


class OneLayer(MultiTaskModel):
    """A network whose maps depend on the image, borders included."""

    def __init__(self, tasks):
        inputs = keras.Input((*SIZE, 3))
        scaled = keras.layers.Rescaling(1 / 50, offset=-2.5)(inputs)
        raw = {task.name: keras.layers.Conv2D(task.channels, 5, padding="same") for task in tasks}
        super().__init__(inputs, {name: layer(scaled) for name, layer in raw.items()}, tasks)
        self._config = {}


@pytest.fixture(scope="module")
def models():
    keras.utils.set_random_seed(1)
    return {"nyud": OneLayer(nyud()), "pascal": OneLayer(pascal_context())}


def scenes(tasks, size, count=3, seed=2):
    images, labels = rooms.arrays(tasks, count, size, seed=seed)
    return [
        {"image": images[i], "id": f"{i:04}", **{name: x[i] for name, x in labels.items()}}
        for i in range(count)
    ]


def padded_maps(model, image):
    """The raw maps of an image that fits: padded, predicted, cropped, by hand."""
    above, left = (SIZE[0] - image.shape[0]) // 2, (SIZE[1] - image.shape[1]) // 2
    canvas = np.zeros((*SIZE, 3), "float32") + np.float32(IMAGE_MEAN)
    window = np.s_[above : above + image.shape[0], left : left + image.shape[1]]
    canvas[window] = image
    return {name: raw[0][window] for name, raw in model.predict_on_batch(canvas[None]).items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype("float64")))


def reference(model, examples):
    """Every headline in plain NumPy, over all pixels of all images at once."""
    maps = [padded_maps(model, example["image"]) for example in examples]

    def all_of(name):
        pixels = [raw[name].reshape(-1, raw[name].shape[-1]) for raw in maps]
        labels = [each[name].reshape(len(p), -1) for each, p in zip(examples, pixels, strict=True)]
        return np.concatenate(pixels).astype("float64"), np.concatenate(labels).astype("float64")

    found = {}
    for task in model.tasks:
        raw, label = all_of(task.name)
        if task.name in ("semseg", "human_parts"):
            label, guess = label[:, 0], raw.argmax(-1)
            valid, iou = label != 255, []
            for k in range(task.channels):
                hit = (label == k) & (guess == k) & valid
                union = ((label == k) | (guess == k)) & valid
                iou.append(hit.sum() / max(union.sum(), 1))
            found[task.name] = 100 * np.mean(iou)
        elif task.name == "depth":
            valid = (label > 0) & (label < 80)
            error = (label - np.maximum(raw, 0))[valid]
            found[task.name] = np.sqrt((error**2).mean())
        elif task.name == "normals":
            valid = (label != 0).any(-1)
            p, g = (
                x[valid] / np.linalg.norm(x[valid], axis=-1, keepdims=True) for x in (raw, label)
            )
            angle = 2 * np.arctan2(np.linalg.norm(p - g, axis=-1), np.linalg.norm(p + g, axis=-1))
            found[task.name] = np.degrees(angle).mean()
        elif task.name == "sal":
            salient, truth, best = sigmoid(raw[:, 1] - raw[:, 0]), label[:, 0], 0
            for threshold in np.arange(1, 20) / 20:
                chosen = (salient >= threshold) & (truth != 255)
                hit = (chosen & (truth == 1)).sum()
                precision, recall = hit / max(chosen.sum(), 1), hit / max((truth == 1).sum(), 1)
                if hit:
                    best = max(best, 1.3 * precision * recall / (0.3 * precision + recall))
            found[task.name] = 100 * best
        else:
            scores = BoundaryScores()
            for example, each in zip(examples, maps, strict=True):
                prediction = (255 * sigmoid(each["edge"][..., 0])).astype("uint8")
                regions = example.get("label_map")
                truth = (example["edge"][..., 0] * 255).astype("uint8")
                scores.add(
                    evaluate_image(prediction, truth)
                    if regions is None
                    else evaluate_image(prediction, regions, "pascal")
                )
            found[task.name] = scores.odsF
    return found


@pytest.mark.parametrize("kind", ["nyud", "pascal"])
def test_scores_are_those_of_the_definitions(models, kind):
    model = models[kind]
    # Of several sizes, none of them the model's.
    examples = scenes(model.tasks, (37, 52), 2) + scenes(model.tasks, (40, 45), 3, seed=4)
    if kind == "pascal":
        for example in examples:
            blocks = np.arange(example["image"].shape[1]) // 9
            example["label_map"] = np.broadcast_to(blocks, example["image"].shape[:2])
        assert any((example["human_parts"] != 255).any() for example in examples)
    result = keras_mtl.evaluate(model, examples, batch_size=2, progress=False)
    expected = reference(model, examples)
    assert result.headlines.keys() == expected.keys()
    for name, value in expected.items():
        # A pixel whose probability lies on a threshold may fall on either side of it.
        assert result.headlines[name] == pytest.approx(value, rel=2e-3 if name == "edge" else 1e-4)
    protocol = "pascal protocol (within 0.0075" if kind == "pascal" else "nyud protocol (within"
    assert result.protocol["edge"].startswith(protocol)
    assert result.dataset["images"] == 5


@pytest.mark.once("tensorflow", "the data comes from TensorFlow Datasets on every backend")
def test_a_prepared_pascal_context(models, tmp_path):
    """Its boundaries are scored against the label map that the archive had."""
    from keras_mtl.data.archives.prepare import prepare
    from keras_mtl.data.archives.rooms import write_pascal_context

    # With people in two of the images that are scored.
    write_pascal_context(tmp_path / "PASCALContext", train=1, val=3, image_size=(33, 50), seed=2)
    builder = Path(__file__).parents[2] / "datasets" / "pascal_context"
    folder = prepare(builder, tmp_path, tmp_path / "prepared")
    model = models["pascal"]
    examples = keras_mtl.data.examples(folder, "val", tasks=model.tasks)
    result = keras_mtl.evaluate(model, examples, progress=False)
    arrays = [{key: value.numpy() for key, value in each.items()} for each in examples]
    expected = reference(model, arrays)
    for name, value in expected.items():
        assert result.headlines[name] == pytest.approx(value, rel=2e-3 if name == "edge" else 1e-4)
    assert "pascal protocol (within 0.0075 of the diagonal) on 3 images" in result.protocol["edge"]
    some = [each["id"].decode() for each in arrays[1:]]
    assert all(name.startswith("2008_") for name in some)
    of_two = keras_mtl.evaluate(model, examples, boundary_ids=some, progress=False)
    assert "on 2 images" in of_two.protocol["edge"]


def test_all_metrics_are_reported(models):
    scores = {}
    for model in models.values():
        examples = scenes(model.tasks, SIZE, 2)
        tasks = keras_mtl.evaluate(model, examples, progress=False).tasks
        scores |= {name: list(task["scores"]) for name, task in tasks.items()}
        for task in tasks.values():
            assert next(iter(task["scores"])) == task["headline"]
            assert all(np.isfinite(value) for value in task["scores"].values())
    assert scores == {
        "semseg": ["mIoU", "mIoU_of_occurring"],
        "human_parts": ["mIoU", "mIoU_of_occurring"],
        "sal": ["maxF", "maxF_taskprompter"],
        "depth": ["RMSE", "abs_rel", "sq_rel", "log_RMSE", "delta_1", "delta_2", "delta_3"],
        "normals": ["mErr", "median_err", "within_11.25", "within_22.5", "within_30"],
        "edge": ["odsF", "OIS", "AP", "F_within_2px"],
    }


def test_padded_batches_give_the_same(models):
    """What `load` pads is found by the edge label, and changes no score."""
    model = models["nyud"]
    examples = scenes(model.tasks, (36, 48), 3)
    framed = [model.fit_to_input(example["image"], enlarge=False) for example in examples]
    labels = {}
    for task in model.tasks:
        labels[task.name] = np.stack([task.no_label(*SIZE)] * 3)
        for k, (_, (top, left, height, width)) in enumerate(framed):
            window = np.s_[top : top + height, left : left + width]
            labels[task.name][k][window] = examples[k][task.name]
    images = np.stack([image for image, _ in framed])
    batches = [(images[:2], {name: x[:2] for name, x in labels.items()})]
    batches.append((images[2:], {name: x[2:] for name, x in labels.items()}))
    one_by_one = keras_mtl.evaluate(model, examples, progress=False)
    together = keras_mtl.evaluate(model, batches, progress=False)
    for name, value in one_by_one.headlines.items():
        assert together.headlines[name] == pytest.approx(value, rel=1e-6), name


def test_larger_images_are_scaled_down_and_back(models):
    model = models["nyud"]
    examples = scenes(model.tasks, (50, 130), 2)
    result = keras_mtl.evaluate(model, examples, progress=False)
    assert "2 larger ones scaled down" in result.protocol["images"]
    squares = count = 0
    for example in examples:
        depth = model.predict_maps(example["image"])["depth"].astype("float64")
        squares += ((depth - example["depth"]) ** 2).sum()
        count += depth.size
    assert result.headlines["depth"] == pytest.approx(np.sqrt(squares / count), rel=1e-4)


def test_fewer_thresholds_have_a_name_of_their_own(models):
    model = models["nyud"]
    examples = scenes(model.tasks, SIZE, 2)
    fast = keras_mtl.evaluate(model, examples, thresholds=FAST_THRESHOLDS, progress=False)
    full = keras_mtl.evaluate(model, examples, progress=False)
    assert fast.tasks["edge"]["headline"] == "odsF_fast"
    assert 0 < fast.headlines["edge"] <= full.headlines["edge"]
    assert "fewer than the published 101" in fast.protocol["edge"]
    assert len(full.boundary_curve["F"]) == len(THRESHOLDS)
    assert max(full.boundary_curve["F"]) == pytest.approx(full.headlines["edge"], abs=1e-5)


def test_boundaries_on_some_images_only(models):
    model = models["nyud"]
    examples = scenes(model.tasks, SIZE, 3)
    some = keras_mtl.evaluate(model, examples, boundary_ids=["0002"], progress=False)
    alone = keras_mtl.evaluate(model, examples[2:], progress=False)
    assert some.headlines["edge"] == alone.headlines["edge"]
    assert some.headlines["depth"] != alone.headlines["depth"]
    assert "on 1 images" in some.protocol["edge"] and "boundary_ids" not in some.protocol["edge"]
    with_others = ["0002", "0007", "0003.jpg"]
    found = keras_mtl.evaluate(model, examples, boundary_ids=with_others, progress=False)
    assert "; 2 of boundary_ids, such as 0003.jpg, are no image's" in found.protocol["edge"]


def test_one_pair_of_arrays(models):
    model = models["nyud"]
    pair = rooms.arrays(model.tasks, 2, SIZE)
    found = keras_mtl.evaluate(model, pair, progress=False)
    assert found.headlines == keras_mtl.evaluate(model, [pair], progress=False).headlines
    assert found.dataset["images"] == 2


def test_a_dataset_without_end(models):
    tf = pytest.importorskip("tensorflow")
    endless = tf.data.Dataset.from_tensors(rooms.arrays(models["nyud"].tasks, 2, SIZE)).repeat()
    with pytest.raises(ValueError, match="never ends; pass keras_mtl.data.examples"):
        keras_mtl.evaluate(models["nyud"], endless, progress=False)


def test_partly_labelled(models):
    model = models["nyud"]
    examples = scenes(model.tasks, SIZE, 3)
    for example in examples:
        example["depth"] = model.tasks[1].no_label(*SIZE)
    examples[0]["edge"] = model.tasks[3].no_label(*SIZE)
    result = keras_mtl.evaluate(model, examples, progress=False)
    assert result.headlines["depth"] is None and result.tasks["depth"]["images"] == 0
    assert result.tasks["edge"]["images"] == 2 and result.headlines["edge"] > 0
    assert "–" in result.row() and "null" in json.dumps(result.tasks["depth"]["scores"])


def test_memory_does_not_grow_with_the_images(models):
    """Of a long stream only the last few images are alive at any time."""
    model, seen, most = models["nyud"], [], 0
    (example,) = scenes(model.tasks, SIZE, 1)

    def stream():
        nonlocal most
        for number in range(60):
            copies = {name: np.array(value) for name, value in example.items() if name != "id"}
            seen.append(weakref.ref(copies["image"]))
            most = max(most, sum(reference() is not None for reference in seen))
            yield {**copies, "id": str(number)}

    result = keras_mtl.evaluate(model, stream(), threads=2, batch_size=2, progress=False)
    assert result.dataset["images"] == 60
    assert most <= 12


# === The result ===


def test_saving(models, tmp_path):
    model = models["nyud"]
    result = keras_mtl.evaluate(
        model,
        scenes(model.tasks, SIZE, 2),
        name="mine",
        dataset_name="rooms",
        split="val",
        progress=False,
    )
    for ending in ("json", "csv", "md"):
        result.save(tmp_path / f"evaluation.{ending}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "evaluation.md",
    ]
    assert Evaluation.load(tmp_path / "evaluation.json") == result
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["model"]["class"] == "OneLayer"
    assert content["model"]["parameters"] == model.count_params()
    assert content["dataset"] == {"name": "rooms", "split": "val", "images": 2}
    assert content["versions"]["backend"] == keras.backend.backend()
    assert content["versions"]["keras"] == keras.__version__
    classes = content["tasks"]["semseg"]["classes"]
    assert np.mean(list(classes.values())) == pytest.approx(result.headlines["semseg"], rel=1e-5)
    with open(tmp_path / "evaluation.csv") as file:
        rows = {(row["task"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(rows["depth", "RMSE"]["value"]) == result.headlines["depth"]
    markdown = (tmp_path / "evaluation.md").read_text()
    assert f"{result.headlines['depth']:.4f}" in markdown and "| mine" in markdown

    with pytest.raises(ValueError, match=r"ends in '.txt', expected .json, .csv or .md"):
        result.save(tmp_path / "evaluation.txt")
    for text, problem in (("{", "is no JSON"), ("[]", "does not say"), ("{}", "does not say")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=f"other.json .*{problem}"):
            Evaluation.load(tmp_path / "other.json")


# === Refusals ===


def without_depth(example):
    del example["depth"]


def smaller_label(example):
    example["semseg"] = example["semseg"][:-1]


def wrong_class(example):
    example["semseg"] = np.full(SIZE, 77)


def smaller_label_map(example):
    example["label_map"] = np.ones((3, 3), int)


def grey_image(example):
    example["image"] = example["image"][..., 0]


def broken_image(example):
    example["image"] = np.where(example["image"] > 99, np.nan, example["image"])


@pytest.mark.parametrize(
    "spoil, problem",
    [
        (without_depth, "Image 0001 has no label for 'depth'"),
        (smaller_label, r"Image 0001: Labels of task 'semseg' have shape \(1, 39, 52\)"),
        (wrong_class, "Image 0001: .* hold the value 77"),
        (smaller_label_map, r"Image 0001 has a label_map of shape \(3, 3\)"),
        (grey_image, r"Image 0001 has shape \(40, 52\), expected"),
        (broken_image, "Image 0001: Images hold NaN or infinite values"),
    ],
)
def test_broken_examples(models, spoil, problem):
    model = models["nyud"]
    examples = scenes(model.tasks, SIZE, 3)
    spoil(examples[1])
    with pytest.raises(ValueError, match=problem):
        keras_mtl.evaluate(model, examples, progress=False)
    result = keras_mtl.evaluate(model, examples, skip_broken=True, progress=False)
    (fault,) = result.faults
    assert fault.startswith("Image 0001") and fault in str(result)
    sound = keras_mtl.evaluate(model, examples[::2], progress=False)
    assert result.headlines == sound.headlines


def test_nothing_to_evaluate(models):
    with pytest.raises(ValueError, match="There was no example to evaluate"):
        keras_mtl.evaluate(models["nyud"], [], progress=False)


@pytest.mark.once("torch", "what is no dataset knows no backend")
def test_no_dataset_to_evaluate(models):
    model = models["nyud"]
    images, labels = rooms.arrays(model.tasks, 2, SIZE)
    few = {name: label[:1] for name, label in labels.items()}
    cases = [
        ((images, labels, np.ones(2)), {}, "has a sample_weight"),
        ([(images, labels, np.ones(2))], {}, "has a sample_weight"),
        ((images, few), {}, "give a label for each image"),
        ((images[:1], labels), {}, "give a label for each image"),
        (images, {}, r"is a ndarray; expected \(images, labels\)"),
        ([images, labels], {}, r"is a ndarray; expected \(images, labels\)"),
        ((images, list(labels.values())), {}, "is a ndarray; expected"),
        ([labels], {}, "An example holds semseg, .*; expected an 'image' among them"),
        ("nyud_v2", {}, "The dataset is a str; expected what keras_mtl.data.examples"),
        (None, {}, "The dataset is a NoneType"),
        ((images, labels), {"batch_size": 0}, "batch_size is 0, expected an integer >= 1"),
        ((images, labels), {"threads": -1}, "threads is -1, expected an integer >= 1"),
        ((images, {"depth": np.ma.masked_less(labels["depth"], 2)}), {}, "would get lost"),
        ((images, labels), {"thresholds": 10}, "thresholds is 10; expected probabilities"),
        ((images, labels), {"thresholds": [2.0]}, r"thresholds is \[2.0\]; expected probabil"),
    ]
    for dataset, options, problem in cases:
        with pytest.raises(ValueError, match=problem):
            keras_mtl.evaluate(model, dataset, progress=False, **options)
    with pytest.raises(ValueError, match="model is a str; expected a model of keras_mtl"):
        keras_mtl.evaluate("model.keras", (images, labels), progress=False)


def test_diverged_weights():
    tasks = nyud("depth")
    model = OneLayer(tasks)
    for variable in model.weights:
        variable.assign(np.full(variable.shape, np.nan))
    with pytest.raises(ValueError, match="'depth' is not finite on image 0000"):
        keras_mtl.evaluate(model, scenes(tasks, SIZE, 1), progress=False)


@pytest.mark.once("torch", "which tasks are scored knows no backend")
def test_two_tasks_of_every_kind():
    """Both are scored and printed, alike where their maps are alike."""
    kinds = {task.name: task for task in (*nyud(), *pascal_context("human_parts", "sal"))}
    twice = [(f"{name}_{i}", name) for name in kinds for i in (1, 2)]
    tasks = [
        kinds[name].from_config({**kinds[name].get_config(), "name": own}) for own, name in twice
    ]
    model = OneLayer(tasks)
    weights = model.get_weights()  # kernel and bias of each
    model.set_weights([weights[i - i % 4 + i % 2] for i in range(len(weights))])
    images, labels = rooms.arrays(list(kinds.values()), 2, SIZE)
    labels = {own: labels[name] for own, name in twice}
    result = keras_mtl.evaluate(model, (images, labels), progress=False)
    assert list(result.headlines) == [own for own, _ in twice]
    for name in kinds:
        assert result.tasks[f"{name}_1"]["scores"] == result.tasks[f"{name}_2"]["scores"]
        assert all(f"| {name}_{i} " in str(result) for i in (1, 2))
