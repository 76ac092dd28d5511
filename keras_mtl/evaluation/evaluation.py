"""A model on a dataset, by the published procedure: every metric at the images' own size.

result = keras_mtl.evaluate(model, keras_mtl.data.examples("nyud_v2", "val", tasks=model.tasks))
print(result)
result.save("evaluation.json")
"""

import csv
import io
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_mtl.evaluation.results import FORMAT, read_evaluation
from keras_mtl.files import write_text
from keras_mtl.metrics.odsf.image import MAX_DISTANCE, THRESHOLDS, evaluate_image
from keras_mtl.metrics.odsf.scores import BoundaryScores
from keras_mtl.tables import markdown
from keras_mtl.tasks import BoundaryDetection, SemanticSegmentation, Task
from keras_mtl.training.inputs import never_ends

_PACKAGES = ("keras", "keras-hub", "numpy", "jax", "tensorflow", "torch")


# === The result ===


@dataclass
class Evaluation:
    """The scores of a model on a dataset, and all that is needed to know what they are of.

    Args:
        name: what the rows of tables are called.
        dataset: `{"name", "split", "images"}`; the first two as `evaluate` was told.
        model: `{"class", "parameters", "config"}`.
        protocol: how the scores came about, in sentences by topic.
        tasks: by task name `{"headline", "unit", "higher_is_better", "images", "scores"}`: how
            many images had a label, and each metric's value, `None` if none had. Segmentation
            has `"classes"` too, the IoU of each in percent.
        boundary_curve: `{"thresholds", "precision", "recall", "F"}`, or `None`.
        versions: of the packages, and the backend.
        faults: sentences, each on one example that was left out.

    Example:

    >>> scores = {"headline": "RMSE", "unit": "m", "higher_is_better": False, "images": 2}
    >>> tasks = {"depth": {**scores, "scores": {"RMSE": 0.51234}}}
    >>> result = keras_mtl.evaluation.Evaluation("mine", {"images": 2}, {}, {}, tasks)
    >>> result.headlines
    {'depth': 0.51234}
    >>> print(result.row())
    | model | depth RMSE [m] ↓ |
    | ----- | ---------------- |
    | mine  | 0.5123           |
    """

    name: str
    dataset: dict[str, Any]
    model: dict[str, Any]
    protocol: dict[str, str]
    tasks: dict[str, dict[str, Any]]
    boundary_curve: dict[str, list[float]] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def headlines(self) -> dict[str, float | None]:
        """The metric that papers report of each task."""
        return {name: task["scores"][task["headline"]] for name, task in self.tasks.items()}

    def row(self) -> str:
        """The papers' table row, as Markdown."""
        header, cells = ["model"], [self.name]
        for name, task in self.tasks.items():
            arrow = "↑" if task["higher_is_better"] else "↓"
            header.append(f"{name} {task['headline']} [{task['unit']}] {arrow}")
            cells.append(_shown(self.headlines[name], task["unit"]))
        return markdown([header, cells])

    def details(self) -> str:
        """All metrics, and how many images had a label, as Markdown."""
        rows = [["task", "metric", "value", "images"]]
        for name, task in self.tasks.items():
            for metric, value in task["scores"].items():
                unit = task["unit"] if metric == task["headline"] else ""
                rows.append([name, metric, _shown(value, unit), str(task["images"])])
        return markdown(rows)

    def __str__(self) -> str:
        where = " ".join(str(self.dataset[k]) for k in ("name", "split") if self.dataset.get(k))
        lines = [
            f"{self.name} on {where or 'a dataset'}, {self.dataset['images']} images",
            "",
            self.row(),
            "",
            self.details(),
            "",
            *(f"- {topic}: {sentence}" for topic, sentence in self.protocol.items()),
        ]
        if self.faults:
            lines += ["", f"Left out ({len(self.faults)}):"]
            lines += [f"- {fault}" for fault in self.faults]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Writes `.json` (all of it), `.csv` (a line for each metric) or `.md` (tables).

        Args:
            path: file; one already there stays whole until the new one is.

        Raises:
            ValueError: if the file ends otherwise.
            OSError: if it cannot be written.
        """
        path = Path(path)
        if path.suffix == ".json":
            text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"
        elif path.suffix == ".csv":
            text = self._csv()
        elif path.suffix == ".md":
            text = f"{self}\n"
        else:
            raise ValueError(f"{path} ends in {path.suffix!r}, expected .json, .csv or .md.")
        write_text(path, text)

    def _csv(self) -> str:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["name", "dataset", "split", "task", "images", "metric", "value"])
        dataset = self.dataset.get("name"), self.dataset.get("split")
        for name, task in self.tasks.items():
            for metric, value in task["scores"].items():
                writer.writerow([self.name, *dataset, name, task["images"], metric, value])
        return out.getvalue()

    @classmethod
    def load(cls, path: str | Path) -> "Evaluation":
        """Reads what `save` wrote as `.json`.

        Raises:
            ValueError: if the file is missing, broken or not one.
        """
        content = read_evaluation(path)
        content.pop("format")
        try:
            return cls(**content)
        except TypeError as error:
            raise ValueError(f"{path} is no whole evaluation ({error}).") from None


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if unit in ("%", "degrees") else f"{value:.4f}"


# === The procedure ===


def evaluate(
    model,
    dataset: Iterable,
    *,
    name: str | None = None,
    dataset_name: str | None = None,
    split: str | None = None,
    boundary_ids: Iterable[str] | None = None,
    thresholds: np.ndarray = THRESHOLDS,
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
        thresholds: of odsF. `keras_mtl.evaluation.FAST_THRESHOLDS` are fewer; the score is then
            called `odsF_fast`.
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
    if isinstance(dataset, tuple) and len(dataset) == 2 and isinstance(dataset[1], Mapping):
        dataset = [dataset]
    elif never_ends(dataset):
        raise ValueError(
            "The dataset never ends; pass keras_mtl.data.examples, or keras_mtl.data.load without "
            "training=True."
        )
    tasks = model.tasks
    metrics = {task.name: task.evaluation_metrics() for task in tasks}
    labelled = {task.name: 0 for task in tasks}
    boundary = next((task for task in tasks if isinstance(task, BoundaryDetection)), None)
    wanted = None if boundary_ids is None else set(boundary_ids)
    fast = not np.array_equal(thresholds, THRESHOLDS)
    matches = _Matches(thresholds, threads or os.cpu_count()) if boundary else None
    images, larger, faults, ids = 0, 0, [], set()
    try:
        for chunk in _chunks(_shown_progress(_examples(dataset), dataset, progress), batch_size):
            sound = []
            for example in chunk:
                fault = _fault(example, tasks)
                if fault is None:
                    sound.append(example)
                elif skip_broken:
                    faults.append(fault)
                else:
                    raise ValueError(fault)
            for example, labels, raw, inside in _predictions(model, sound, batch_size):
                images, larger = images + 1, larger + (inside is None)
                ids.add(example["id"])
                for task in tasks:
                    label = example[task.name]
                    if not (label != task.ignore).any():
                        continue
                    labelled[task.name] += 1
                    for metric in metrics[task.name]:
                        metric.update_state(labels[task.name][None], raw[task.name][None])
                    if task is boundary and (wanted is None or example["id"] in wanted):
                        probability = keras.ops.convert_to_numpy(task.decode(raw[task.name]))
                        probability = probability[inside or np.s_[:]][..., 0]
                        matches.add(probability, label[..., 0], example.get("label_map"))
        if matches:
            matches.finish()
    finally:
        if matches:
            matches.close()
    if not images:
        raise ValueError("There was no example to evaluate; pass a dataset with one at least.")

    described = {}
    for task in tasks:
        headline, scores = task.headline, {}
        for metric in metrics[task.name]:
            scores[metric.name] = float(metric.result()) if labelled[task.name] else None
        if task is boundary:
            headline = "odsF_fast" if fast else "odsF"
            scores = {**matches.scores_by_name(headline), **scores}
        described[task.name] = {
            "headline": headline,
            "unit": task.unit,
            "higher_is_better": task.higher_is_better,
            "images": labelled[task.name],
            "scores": scores,
        }
        if isinstance(task, SemanticSegmentation) and labelled[task.name]:
            iou = keras.ops.convert_to_numpy(metrics[task.name][0].class_iou())
            described[task.name]["classes"] = dict(zip(task.labels, iou.tolist(), strict=True))
    return Evaluation(
        name=name or type(model).__name__,
        dataset={"name": dataset_name, "split": split, "images": images},
        model={
            "class": type(model).__name__,
            "parameters": model.count_params(),
            "config": json.loads(json.dumps(model.get_config())),
        },
        protocol=_protocol(model, tasks, larger, matches, (wanted or set()) - ids),
        tasks=described,
        boundary_curve=matches.curve() if matches else None,
        versions=_versions(),
        faults=faults,
    )


def _protocol(model, tasks, larger, matches, unseen) -> dict[str, str]:
    height, width = model.image_size
    said = {
        "images": f"padded around to {height}x{width}, predictions cropped to the image's own size"
        + (f"; {larger} larger ones scaled down, their predictions back" if larger else ""),
        "sums": "over the labelled pixels of the whole dataset",
    }
    for task in tasks:
        if isinstance(task, SemanticSegmentation):
            said[task.name] = f"mean over all {task.channels} classes, absent ones 0"
    if matches:
        said["edge"] = matches.described()
        if unseen:
            said["edge"] += (
                f"; {len(unseen)} of boundary_ids, such as {min(unseen)}, are no image's"
            )
    return said


def _versions() -> dict[str, str]:
    found = {"keras_mtl": version("keras-mtl")}
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


def _examples(dataset) -> Iterator[dict]:
    """One dict of NumPy arrays for each image, with an `id`."""
    number = 0
    for element in dataset:
        if isinstance(element, Mapping):
            one = {key: np.asarray(value) for key, value in element.items()}
            given = one.get("id")
            one["id"] = str(number) if given is None else _text(given)
            yield one
            number += 1
            continue
        images, labels = element
        labels = {name: np.asarray(keras.ops.convert_to_numpy(x)) for name, x in labels.items()}
        for i, image in enumerate(keras.ops.convert_to_numpy(images)):
            own = {name: label[i] for name, label in labels.items()}
            yield {"image": image, "id": str(number), **own}
            number += 1


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


def _fault(example: dict, tasks: list[Task]) -> str | None:
    """What is wrong with an example, or None."""
    what, shape = f"Image {example['id']}", example["image"].shape
    if len(shape) != 3 or shape[-1] != 3 or 0 in shape:
        return f"{what} has shape {shape}, expected (height, width, 3)."
    for task in tasks:
        if task.name not in example:
            return (
                f"{what} has no label for {task.name!r}; where a task is not annotated, give its "
                "task.no_label(height, width)."
            )
        try:
            task.check_labels(example[task.name][None], *shape[:2])
        except ValueError as error:
            return f"{what}: {error}"
    regions = example.get("label_map")
    if regions is not None and regions.shape != shape[:2]:
        return f"{what} has a label_map of shape {regions.shape}, expected {shape[:2]}."
    return None


# === Predictions ===


def _predictions(model, examples: list[dict], batch_size: int) -> Iterator[tuple]:
    """Each example with labels and raw maps of one size, and where in them the image is.

    An image that is only padded keeps its padding, and its labels get some that says nothing:
    all maps are then of one size, for which the backend compiles the metrics once. For an image
    that was scaled, the place is None: labels and maps are of its own size.
    """
    if not examples:
        return
    fitted = [model.fit_to_input(example["image"], enlarge=False) for example in examples]
    images = [image for image, _ in fitted]
    images += images[-1:] * (batch_size - len(images))  # batches of one size are compiled once
    batch = model.predict_on_batch(np.stack(images))
    for i, (example, (_, place)) in enumerate(zip(examples, fitted, strict=True)):
        raw = {task.name: batch[task.name][i] for task in model.tasks}
        for name, each in raw.items():
            if not np.isfinite(each).all():
                raise ValueError(
                    f"The model's output for task {name!r} is not finite on image "
                    f"{example['id']}; use weights from before its training diverged."
                )
        size = example["image"].shape[:2]
        top, left, height, width = place
        inside = np.s_[top : top + height, left : left + width]
        if (height, width) == size:
            labels = {}
            for task in model.tasks:
                labels[task.name] = task.no_label(*model.image_size)
                labels[task.name][inside] = example[task.name]
            yield example, labels, raw, inside
            continue
        restored = {}
        for name, each in raw.items():
            resized = keras.ops.image.resize(each[inside], size, interpolation="bilinear")
            restored[name] = keras.ops.convert_to_numpy(resized)
        yield example, example, restored, None


# === Boundaries ===


class _Matches:
    """odsF over a dataset: images are matched in threads, a few at a time."""

    def __init__(self, thresholds, threads: int):
        # Compiled here, not in several threads; and what is not installed is missed here.
        evaluate_image(np.zeros((8, 8), "uint8"), np.zeros((8, 8), "uint8"))
        self.scores = BoundaryScores(thresholds)
        self.protocols: dict[str, int] = {}
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._running = deque()

    def add(self, probability, label, label_map) -> None:
        """Starts on one image.

        Args:
            probability: float `(H, W)`.
            label: `(H, W)`, 0 or 1, or 255 where there is no label.
            label_map: regions `(H, W)`, or None.
        """
        if label_map is None:
            # The reference knows no pixels without label: what surrounds the image is cut off.
            rows, columns = (np.flatnonzero((label != 255).any(axis)) for axis in (1, 0))
            inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            protocol, truth = "nyud", np.where(label[inside] == 1, 255, 0).astype("uint8")
            probability = probability[inside]
        else:
            protocol, truth = "pascal", label_map
        self.protocols[protocol] = self.protocols.get(protocol, 0) + 1
        prediction = (255 * probability).astype("uint8")
        work = evaluate_image, prediction, truth, protocol, self.scores.thresholds
        self._running.append(self._pool.submit(*work))
        while len(self._running) > 2 * self.threads:
            self.scores.add(self._running.popleft().result())

    def finish(self) -> None:
        while self._running:
            self.scores.add(self._running.popleft().result())

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def scores_by_name(self, headline: str) -> dict[str, float | None]:
        scores, some = self.scores, self.scores.images > 0
        values = {headline: scores.odsF, "OIS": scores.OIS, "AP": scores.AP}
        return {name: value if some else None for name, value in values.items()}

    def curve(self) -> dict[str, list[float]] | None:
        if not self.scores.images:
            return None
        curve = self.scores.curve._asdict()
        return {name: np.asarray(x, "float64").round(6).tolist() for name, x in curve.items()}

    def described(self) -> str:
        parts = [
            f"{name} protocol (within {MAX_DISTANCE[name]:g} of the diagonal) on {count} images"
            for name, count in self.protocols.items()
        ]
        count = len(self.scores.thresholds)
        fast = "" if count == len(THRESHOLDS) else ", fewer than the published 101"
        return " and ".join(parts or ["no image"]) + f", {count} thresholds{fast}"
