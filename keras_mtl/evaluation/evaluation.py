"""A model on a dataset, by the published procedure: every metric at the images' own size.

result = keras_mtl.evaluate(model, keras_mtl.data.examples("nyud_v2", "val", tasks=model.tasks))
print(result)
result.save("evaluation.json")
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import keras
import numpy as np

from keras_mtl.arguments import check_integer
from keras_mtl.evaluation.result import Evaluation
from keras_mtl.models import MultiTaskModel
from keras_mtl.models.photographs import check_outputs, fit
from keras_mtl.tasks import Task
from keras_mtl.tasks.labels import each_array
from keras_mtl.training.arrays import as_numpy, check_image_values
from keras_mtl.training.read_once import read_once

_PACKAGES = ("keras-hub", "numpy", "jax", "tensorflow", "torch")


def evaluate(
    model,
    dataset: Iterable,
    *,
    name: str | None = None,
    dataset_name: str | None = None,
    split: str | None = None,
    boundary_ids: Iterable[str] | None = None,
    thresholds: np.ndarray | None = None,
    batch_size: int = 4,
    threads: int | None = None,
    skip_broken: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Scores a model on a dataset as the papers do.

    An image that fits the model's image size is padded around, a larger one scaled down to fit;
    the raw maps are cut out and, where it was scaled, scaled back; every metric is counted at the
    image's own size, over the pixels of the whole dataset. Boundaries are scored by odsF, with
    the regions of `label_map` where an example has them (PASCAL-Context's protocol) and with
    the edge image itself elsewhere (NYUD's). Memory does not grow with the number of images.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        dataset: what `keras_mtl.data.examples` gives (dicts of one image and its labels, each at
            its own size); or batches `(images, labels)`, such as `keras_mtl.data.load` gives:
            padding, where there is any, is what the edge label leaves unlabelled; or one such
            pair.
        name: what the result is called in tables; default: the model's class.
        dataset_name, split: what the dataset is called in them.
        boundary_ids: names (`id`) of the images to score boundaries on; default: all. The
            published figures on PASCAL-Context cover 2,498 of its 5,105 test images.
        thresholds: of odsF; `None`: the published 101. `keras_mtl.evaluation.FAST_THRESHOLDS` are
            fewer; the score is then called `odsF_fast`.
        batch_size: int. Images run through the network at a time.
        threads: int. Boundaries of how many images are matched side by side; default: one for
            each CPU core.
        skip_broken: whether to leave examples out whose labels do not fit their image, and name
            them in the result's `faults`, instead of stopping at the first.
        progress: whether to show a progress bar.

    Returns:
        The result.

    Raises:
        ValueError: if an example is broken, unless `skip_broken`, or there is no example, or no
            end of them.
        ImportError: if boundaries are to be scored and the extra `evaluation` is not installed.

    Example:

    >>> tasks = keras_mtl.tasks.nyud("depth", "edge")
    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (32, 48, 3), num_layers=1)
    >>> model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=4)
    >>> images, labels = keras_mtl.rooms.arrays(tasks, count=2, image_size=(32, 48))
    >>> result = keras_mtl.evaluate(model, [(images, labels)], progress=False)
    >>> sorted(result.headlines), result.dataset["images"]
    (['depth', 'edge'], 2)
    """
    if not isinstance(model, MultiTaskModel):
        raise ValueError(
            f"model is a {type(model).__name__}; expected a model of keras_mtl, such as "
            "TaskPrompter, or keras_mtl.load_model(path)."
        )
    batch_size = check_integer("batch_size", batch_size, 1)
    threads = None if threads is None else check_integer("threads", threads, 1)
    elements = read_once(dataset, "keras_mtl.data.load without training=True")
    tasks = model.tasks
    options = {"thresholds": thresholds, "threads": threads, "boundary_ids": boundary_ids}
    evaluators: dict[str, Any] = {}
    images, larger, faults = 0, 0, []
    try:
        for task in tasks:
            evaluators[task.name] = task.evaluator(**options)
        for chunk in _chunks(_shown_progress(_examples(elements), dataset, progress), batch_size):
            sound = []
            for example in chunk:
                fault = _fault(example, tasks)
                if fault is None:
                    sound.append(example)
                elif skip_broken:
                    faults.append(fault)
                else:
                    raise ValueError(fault)
            for example, raw, place in _predictions(model, sound, batch_size):
                images, larger = images + 1, larger + place.scaled
                for task, evaluator in evaluators.items():
                    evaluator.add(example[task], raw[task], place, example)
        for evaluator in evaluators.values():
            evaluator.finish()
    finally:
        for evaluator in evaluators.values():
            evaluator.close()
    if not images:
        raise ValueError("There was no example to evaluate; pass a dataset with one at least.")

    described = {task: evaluator.results() for task, evaluator in evaluators.items()}
    curves = [each["curve"] for each in described.values() if "curve" in each]
    return Evaluation(
        name=name or type(model).__name__,
        dataset={"name": dataset_name, "split": split, "images": images},
        model={
            "class": type(model).__name__,
            "parameters": model.count_params(),
            "config": json.loads(json.dumps(model.get_config())),
        },
        protocol=_protocol(model, evaluators, larger),
        tasks=described,
        boundary_curve=curves[0] if curves else None,
        versions=_versions(),
        faults=faults,
    )


def _protocol(model, evaluators: Mapping[str, Any], larger: int) -> dict[str, str]:
    height, width = model.image_size
    said = {
        "images": f"padded around to {height}x{width}, predictions cropped to the image's own size"
        + (f"; {larger} larger ones scaled down, their predictions back" if larger else ""),
        "sums": "over the labelled pixels of the whole dataset",
    }
    for name, evaluator in evaluators.items():
        sentence = evaluator.protocol()
        if sentence is not None:
            said[name] = sentence
    return said


def _versions() -> dict[str, str]:
    # Keras by its own word: a nightly is a package of another name.
    found = {"keras_mtl": version("keras-mtl"), "keras": keras.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return {**found, "backend": keras.backend.backend()}


# === Examples ===


def _shown_progress(examples: Iterator[dict], dataset, progress: bool) -> Iterable[dict]:
    if not progress:
        return examples
    from tqdm import tqdm

    total = None
    if isinstance(getattr(dataset, "element_spec", None), Mapping):  # examples one by one
        cardinality = int(dataset.cardinality())
        total = cardinality if cardinality >= 0 else None
    return tqdm(examples, "evaluating", total, unit="image")


def _examples(elements: Iterable) -> Iterator[dict]:
    """One dict of NumPy arrays for each image, with an `id`."""
    number = 0
    for element in elements:
        if isinstance(element, Mapping):
            one = {key: each_array(as_numpy, value) for key, value in element.items()}
            given = one.get("id")
            one["id"] = str(number) if given is None else _text(given)
            yield one
            number += 1
            continue
        images, labels = element
        labels = {name: each_array(_as_array, label) for name, label in labels.items()}
        for i, image in enumerate(_as_array(images)):
            own = {
                name: each_array(lambda values, i=i: values[i], label)
                for name, label in labels.items()
            }
            yield {"image": image, "id": str(number), **own}
            number += 1


def _as_array(values) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return as_numpy(values)
    return np.asarray(keras.ops.convert_to_numpy(values))


def _text(value) -> str:
    value = np.asarray(value).item()
    return value.decode() if isinstance(value, bytes) else str(value)


def _chunks(items: Iterable, size: int) -> Iterator[list]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _fault(example: dict, tasks: Sequence[Task]) -> str | None:
    """What is wrong with an example, or None."""
    what, shape = f"Image {example['id']}", example["image"].shape
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        return f"{what} has shape {shape}, expected (height, width, 3)."
    try:
        check_image_values(example["image"], said=["where it is predicted"])
    except ValueError as error:
        return f"{what}: {error}"
    for task in tasks:
        if task.name not in example:
            return (
                f"{what} has no label for {task.name!r}; where a task is not annotated, give its "
                "task.no_label(height, width)."
            )
        try:
            label = each_array(lambda values: values[None], example[task.name])
            task.check_labels(label, *shape[:2])
        except ValueError as error:
            return f"{what}: {error}"
    regions = example.get("label_map")
    if regions is not None and regions.shape != shape[:2]:
        return f"{what} has a label_map of shape {regions.shape}, expected {shape[:2]}."
    return None


# === Predictions ===


def _predictions(model, examples: list[dict], batch_size: int) -> Iterator[tuple]:
    """Each example with its raw outputs, and the `Place` of the image in the model's."""
    if not examples:
        return
    fitted = [fit(example["image"], model.image_size, enlarge=False) for example in examples]
    images = [image for image, _ in fitted]
    images += images[-1:] * (batch_size - len(images))  # batches of one size are compiled once
    batch = model.predict_on_batch(np.stack(images))
    for i, (example, (_, place)) in enumerate(zip(examples, fitted, strict=True)):
        raw = keras.tree.map_structure(lambda values, i=i: values[i], batch)
        check_outputs(raw, f"image {example['id']}")
        yield example, raw, place
