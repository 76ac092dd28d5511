"""odsF, the F-measure of boundaries as it is published, over folders of PNG files.

    python -m keras_mtl.evaluation.boundary --predictions DIR --labels DIR --protocol nyud

A prediction is 255 times the probability, truncated, at the size of its label. It is made one pixel
wide (non-maximum suppression), and at each of 101 thresholds thinned and matched one to one with
the thinned boundaries of the label, within a distance that grows with the image: 0.011 of its
diagonal in NYUD, 0.0075 in PASCAL. The matching is a maximum one, so that the figure is the same
at every run; the published tool's matching, random in part, reads 0.02 to 0.03 points less.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

THRESHOLDS = np.concatenate([[0.001], np.arange(1, 100) / 100, [0.999]]).astype("float32")
MAX_DISTANCE = {"nyud": 0.011, "pascal": 0.0075}  # as a share of the image's diagonal
LABEL_FILES = {"nyud": (".png",), "pascal": (".png", ".npy")}
_SMOOTHING = 4  # radius of the triangle filter, in pixels
_BORDER = 5  # pixels along the border that fade out
_SAVE_EVERY = 5.0  # seconds


class BrokenFile(ValueError):
    """A prediction or a label is missing or wrong; the message begins with its name."""


# === One image ===


class Counts(NamedTuple):
    """What one image adds to the curve.

    Args:
        matched: int64 `(T,)`, pairs of predicted and labelled pixels at each threshold.
        predicted: int64 `(T,)`, predicted pixels after thinning.
        labelled: int, labelled pixels after thinning.
    """

    matched: np.ndarray
    predicted: np.ndarray
    labelled: int


def evaluate_image(
    prediction: np.ndarray,
    label: np.ndarray,
    protocol: str = "nyud",
    thresholds: np.ndarray = THRESHOLDS,
) -> Counts:
    """Matches one prediction with its label at every threshold.

    Args:
        prediction: `(H, W)`, uint8 (255 times the probability, truncated), or a float probability
            in 0..1, which is brought to that.
        label: `(H, W)`. "nyud": the edge image, 0 or 255 (or bool). "pascal": whole numbers, one
            for each kind of region (the LabelMap of PASCAL-Context).
        protocol: "nyud" or "pascal".
        thresholds: ascending, each 0 or more. Predicted is what is strictly above.

    Returns:
        The counts.

    Raises:
        ValueError: if the protocol is unknown, the shapes differ, or values are out of range.
        ImportError: if Numba or SciPy is not installed.

    Example:

    >>> label = np.zeros((32, 40), "uint8")
    >>> label[16] = 255
    >>> counts = evaluate_image(label, label, thresholds=[0.25, 0.75])
    >>> counts.matched.shape, counts.labelled > 0
    ((2,), True)
    """
    matching = _matching()
    thresholds = np.asarray(thresholds, "float32")
    if thresholds.ndim != 1 or not thresholds.size or (np.diff(thresholds) < 0).any():
        raise ValueError("The thresholds must be one or more numbers in ascending order.")
    if not thresholds[0] >= 0:
        raise ValueError(f"The thresholds begin with {thresholds[0]}, expected 0 or more.")
    prediction, label = _as_uint8(prediction), np.asarray(label)
    if prediction.shape != label.shape:
        raise ValueError(
            f"The prediction is of shape {prediction.shape} and the label of shape {label.shape}, "
            "expected one shape (H, W) of both; crop or resize the prediction."
        )
    boundaries = label_boundaries(label, protocol)
    radius = MAX_DISTANCE[protocol] * float(np.hypot(*label.shape))
    counts = matching.count_matches(suppress(prediction), boundaries, thresholds, radius)
    return Counts(counts[:, 0], counts[:, 1], int(boundaries.sum()))


def suppress(prediction: np.ndarray) -> np.ndarray:
    """Non-maximum suppression: keeps what is strongest across the direction of a boundary.

    The direction is that of the strongest curvature of the smoothed map; a pixel goes if the
    unsmoothed map is over 1% higher one pixel further along it, on either side. Five pixels along
    the border fade out.

    Args:
        prediction: uint8 `(H, W)`.

    Returns:
        float32 `(H, W)` in 0..1.

    Example:

    >>> prediction = np.zeros((32, 40), "uint8")
    >>> prediction[:, 19:22] = [100, 200, 100]
    >>> np.flatnonzero(suppress(prediction)[16]).tolist()
    [20]
    """
    from scipy.ndimage import correlate1d

    strength = prediction.astype("float32") / np.float32(255)
    height, width = strength.shape
    if min(height, width) < 2:  # no direction: curvature needs two pixels
        return strength * _fading(height)[:, None] * _fading(width)
    ramp = np.arange(1, _SMOOTHING + 1)
    triangle = np.concatenate([ramp, [_SMOOTHING + 1], ramp[::-1]]) / (_SMOOTHING + 1) ** 2
    smooth = correlate1d(correlate1d(strength, triangle, 0, mode="reflect"), triangle, 1)
    down, right = np.gradient(smooth)
    right_right = np.gradient(right, axis=1)
    down_down, down_right = np.gradient(down)
    angle = np.mod(
        np.arctan(down_down * np.sign(-down_right) / (right_right + np.float32(1e-5))),
        np.float32(np.pi),
    )
    # Where nothing is predicted nothing can go: most of a usual map.
    y, x = np.nonzero(strength)
    values, angle = strength[y, x], angle[y, x]
    step_y, step_x = np.sin(angle), np.cos(angle)
    beaten = np.zeros(len(values), bool)
    for side in (1, -1):
        neighbour = _sample(strength, y + side * step_y, x + side * step_x)
        beaten |= np.float32(1.01) * values < neighbour
    kept = strength.copy()
    kept[y[beaten], x[beaten]] = 0
    return kept * _fading(height)[:, None] * _fading(width)


def label_boundaries(label: np.ndarray, protocol: str) -> np.ndarray:
    """The labelled boundaries that predictions are matched with, one pixel wide.

    A pixel is boundary if its region differs from that of its right, lower or lower right
    neighbour; the result is thinned. The regions of "nyud" are the edge image's own two values
    (so that each drawn line has two boundaries before thinning), those of "pascal" the 4-connected
    components of the label map.

    Args:
        label: `(H, W)`, as for `evaluate_image`.
        protocol: "nyud" or "pascal".

    Returns:
        bool `(H, W)`.

    Raises:
        ValueError: if the protocol is unknown or values are out of range.

    Example:

    >>> label_boundaries(np.array([[1, 1, 2, 2]] * 3), "pascal").astype(int).tolist()
    [[0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    """
    matching = _matching()
    label = np.asarray(label)
    if protocol not in MAX_DISTANCE:
        raise ValueError(f"Unknown protocol {protocol!r}; use {' or '.join(MAX_DISTANCE)}.")
    if label.ndim != 2 or label.dtype.kind not in "bui":
        raise ValueError(
            f"The label is of shape {label.shape} and type {label.dtype}, expected whole numbers "
            "of shape (H, W)."
        )
    if protocol == "pascal":
        from skimage.measure import label as components

        regions = components(label.astype("int64"), connectivity=1, background=-1)
    elif label.dtype.kind == "b":
        regions = label
    else:
        other = label[(label != 0) & (label != 255)]
        if other.size:
            raise ValueError(f"The label holds the value {other[0]}, expected 0 or 255.")
        regions = label
    differs = np.zeros(regions.shape, bool)
    differs[:, :-1] |= regions[:, :-1] != regions[:, 1:]
    differs[:-1] |= regions[:-1] != regions[1:]
    differs[:-1, :-1] |= regions[:-1, :-1] != regions[1:, 1:]
    return matching.thin(differs)


def _as_uint8(prediction) -> np.ndarray:
    prediction = np.asarray(prediction)
    if prediction.ndim != 2 or not prediction.size:
        raise ValueError(f"The prediction is of shape {prediction.shape}, expected (H, W).")
    if prediction.dtype == np.uint8:
        return prediction
    if prediction.dtype.kind != "f":
        raise ValueError(f"The prediction is of type {prediction.dtype}, expected uint8 or float.")
    if not (prediction.min() >= 0 and prediction.max() <= 1):  # so written, NaN is caught too
        raise ValueError(
            f"The prediction ranges from {prediction.min()} to {prediction.max()}, expected "
            "probabilities in 0..1; apply a sigmoid to logits."
        )
    return (255 * prediction).astype("uint8")


def _fading(size: int) -> np.ndarray:
    """Weights along one axis: 0, 1/5 .. 4/5 from either border, 1 between."""
    weights = np.ones(size, "float32")
    for k in range(min(_BORDER, size)):
        weights[k] *= np.float32(k / _BORDER)
        weights[-1 - k] *= np.float32(k / _BORDER)
    return weights


def _sample(image, y, x) -> np.ndarray:
    """Bilinear samples, as the reference keeps them inside the image."""
    height, width = image.shape
    y, x = np.clip(y, 0, height - 1.001), np.clip(x, 0, width - 1.001)
    top, left = y.astype(int), x.astype(int)
    lower, right = (y - top).astype("float32"), (x - left).astype("float32")
    return (
        (1 - lower) * (1 - right) * image[top, left]
        + lower * (1 - right) * image[top + 1, left]
        + (1 - lower) * right * image[top, left + 1]
        + lower * right * image[top + 1, left + 1]
    )


def _matching():
    try:
        from keras_mtl.evaluation import matching
    except ImportError as error:
        raise ImportError(
            f'odsF needs Numba, SciPy and scikit-image; pip install "keras-mtl[evaluation]" '
            f"({error})."
        ) from error
    return matching


# === A dataset ===


class Curve(NamedTuple):
    """Precision, recall and F in percent, each `(T,)`, at each threshold."""

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    F: np.ndarray


class BoundaryScores:
    """odsF, OIS and AP over a dataset, in percent, higher is better.

    It keeps sums only, the same few numbers after one image and after thousands: for each threshold
    the pairs and the predicted pixels, the labelled pixels, and for OIS the pairs and predicted
    pixels of each image at its own best threshold.

    Args:
        thresholds: those that the images were evaluated at.

    Attributes:
        images: how many were added.

    Example:

    >>> scores = BoundaryScores(thresholds=[0.2, 0.5])
    >>> scores.add(Counts(np.array([6, 4]), np.array([10, 5]), labelled=10))
    >>> scores.add(Counts(np.array([2, 3]), np.array([10, 5]), labelled=10))
    >>> round(scores.odsF, 4), scores.best_threshold, round(scores.OIS, 4)
    (46.6667, 0.5, 51.4286)
    """

    def __init__(self, thresholds: np.ndarray = THRESHOLDS):
        self.thresholds = np.asarray(thresholds, "float32")
        self.images = 0
        self._matched = np.zeros(len(self.thresholds), "int64")
        self._predicted = np.zeros(len(self.thresholds), "int64")
        self._labelled = 0
        self._best_matched = self._best_predicted = 0

    def add(self, counts: Counts) -> None:
        """Adds one image.

        Args:
            counts: what `evaluate_image` returned.

        Raises:
            ValueError: if the counts are not for these thresholds.
        """
        matched, predicted = np.asarray(counts.matched), np.asarray(counts.predicted)
        if not matched.shape == predicted.shape == self.thresholds.shape:
            raise ValueError(
                f"The counts are for {len(matched)} thresholds, expected {len(self.thresholds)}."
            )
        self._matched += matched
        self._predicted += predicted
        self._labelled += int(counts.labelled)
        # Of several best thresholds the first, as in the reference: where nothing matches at all
        # (an image without a boundary), all that is predicted counts as wrong.
        best = np.argmax(_f(matched, predicted, counts.labelled))
        self._best_matched += int(matched[best])
        self._best_predicted += int(predicted[best])
        self.images += 1

    @property
    def curve(self) -> Curve:
        """Precision, recall and F at each threshold."""
        return Curve(
            self.thresholds,
            100 * self._matched / np.maximum(self._predicted, 1),
            100 * self._matched / max(self._labelled, 1),
            100 * _f(self._matched, self._predicted, self._labelled),
        )

    @property
    def odsF(self) -> float:
        """The best F that one threshold for all images reaches."""
        return float(self.curve.F.max())

    @property
    def best_threshold(self) -> float:
        """The (first) threshold of odsF."""
        return round(float(self.thresholds[self.curve.F.argmax()]), 6)

    @property
    def OIS(self) -> float:
        """F of the sums over images, each at its own best threshold."""
        return 100 * float(_f(self._best_matched, self._best_predicted, self._labelled))

    @property
    def AP(self) -> float:
        """Mean precision at the recalls 0, 0.01 .. 1, between measured ones on straight lines.

        It counts 0 at recalls that no threshold reaches, below the least one too, as in the
        reference. Of several precisions at one recall the best counts.
        """
        recall, precision = self.curve.recall / 100, self.curve.precision
        order = np.lexsort((-precision, recall))
        recall, first = np.unique(recall[order], return_index=True)
        wanted = np.arange(101) / 100
        return float(
            np.interp(wanted, recall, precision[order][first], left=0, right=0).sum() / 100
        )


def _f(matched, predicted, labelled):
    # 2PR / (P + R), with the sums put in; 0 where there is nothing.
    return 2 * matched / np.maximum(predicted + labelled, 1)


# === Files ===


def read_prediction(path: Path) -> np.ndarray:
    """Reads a prediction, an 8-bit grey PNG.

    Args:
        path: the file.

    Returns:
        uint8 `(H, W)`.

    Raises:
        BrokenFile: if the file is missing, unreadable or of another kind.

    Example:

    >>> from PIL import Image
    >>> Image.fromarray(np.full((2, 3), 7, "uint8")).save("a.png")
    >>> read_prediction("a.png").tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    pixels, mode = _read_png(Path(path), "prediction")
    if mode != "L":
        raise BrokenFile(
            f"{path} holds {_kind(mode)} pixels, expected an 8-bit grey PNG of 255 times the "
            "probability; write it again as such."
        )
    return pixels


def read_label(path: Path, protocol: str) -> np.ndarray:
    """Reads a label: the edge PNG of "nyud", the PNG (8 or 16 bits) or `.npy` of "pascal".

    Args:
        path: the file.
        protocol: "nyud" or "pascal".

    Returns:
        whole numbers, `(H, W)`.

    Raises:
        BrokenFile: if the file is missing, unreadable or of another kind.

    Example:

    >>> np.save("a.npy", np.array([[1, 2, 459]]))
    >>> read_label("a.npy", "pascal").tolist()
    [[1, 2, 459]]
    """
    path = Path(path)
    if path.suffix == ".npy":
        try:
            pixels = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise BrokenFile(_missing(path, "label")) from None
        except (OSError, ValueError, EOFError) as error:
            raise BrokenFile(_unreadable(path, error)) from None
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype.kind not in "ui":
            found = (
                f"type {pixels.dtype} and shape {pixels.shape}"
                if isinstance(pixels, np.ndarray)
                else "several arrays"
            )
            raise BrokenFile(f"{path} holds {found}, expected whole numbers of shape (H, W).")
        return pixels
    pixels, mode = _read_png(path, "label")
    if pixels.ndim != 2 or mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise BrokenFile(f"{path} holds {_kind(mode)} pixels, expected one number for each pixel.")
    if protocol == "nyud" and pixels.dtype != bool:
        other = pixels[(pixels != 0) & (pixels != 255)]
        if other.size:
            raise BrokenFile(f"{path} holds the value {other[0]}, expected 0 or 255 (an edge).")
    return pixels


def evaluate_files(prediction: Path, label: Path, protocol: str) -> Counts:
    """`evaluate_image` on files.

    Args:
        prediction: PNG, see `read_prediction`.
        label: PNG or `.npy`, see `read_label`.
        protocol: "nyud" or "pascal".

    Returns:
        The counts.

    Raises:
        BrokenFile: if a file is missing, unreadable or of another kind, or the sizes differ.
    """
    pixels, truth = read_prediction(prediction), read_label(label, protocol)
    if pixels.shape != truth.shape:
        raise BrokenFile(
            f"{prediction} is {pixels.shape[0]}x{pixels.shape[1]} pixels (height x width), "
            f"expected {truth.shape[0]}x{truth.shape[1]} as in {label}; crop or resize it."
        )
    return evaluate_image(pixels, truth, protocol)


def _read_png(path: Path, what: str) -> tuple[np.ndarray, str]:
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            return np.array(image), image.mode
    except FileNotFoundError:
        raise BrokenFile(_missing(path, what)) from None
    except Exception as error:  # Pillow raises many kinds on damaged files, SyntaxError too
        raise BrokenFile(_unreadable(path, error)) from None


def _kind(mode: str) -> str:
    return "16-bit" if mode.startswith("I") else {"1": "1-bit"}.get(mode, mode)


def _missing(path: Path, what: str) -> str:
    return f"{path} is missing, expected the {what} of image {path.stem}."


def _unreadable(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"{path} is not readable ({reason}); copy or write it again."


# === Folders ===


@dataclass
class Report:
    """What `evaluate_folder` found.

    Args:
        protocol: "nyud" or "pascal".
        scores: over the images that could be evaluated.
        faults: sentences, each on one image that could not.
    """

    protocol: str
    scores: BoundaryScores
    faults: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report in plain types, for JSON; scores in percent."""
        scores = self.scores
        return {
            "protocol": self.protocol,
            "max_distance": MAX_DISTANCE[self.protocol],
            "images": scores.images,
            "odsF": scores.odsF,
            "threshold": scores.best_threshold,
            "OIS": scores.OIS,
            "AP": scores.AP,
            "curve": {
                name: np.asarray(values, "float64").round(6).tolist()
                for name, values in scores.curve._asdict().items()
            },
            "faults": self.faults,
        }

    def __str__(self) -> str:
        scores = self.scores
        lines = [
            f"protocol {self.protocol}, {scores.images} images",
            f"odsF {scores.odsF:8.3f}  (at threshold {scores.best_threshold:g})",
            f"OIS  {scores.OIS:8.3f}",
            f"AP   {scores.AP:8.3f}",
        ]
        if self.faults:
            lines += [
                "",
                f"Left out ({len(self.faults)})",
                *(f"- {fault}" for fault in self.faults),
            ]
        return "\n".join(lines)


def evaluate_folder(
    predictions: Path,
    labels: Path,
    protocol: str,
    ids: Iterable[str] | None = None,
    processes: int = 1,
    partial: Path | None = None,
    skip_broken: bool = False,
    progress: bool = True,
) -> Report:
    """Evaluates `predictions/ID.png` against `labels/ID.png` (or `.npy`) for each image id.

    Args:
        predictions: folder, see `read_prediction`.
        labels: folder, see `read_label`.
        protocol: "nyud" or "pascal".
        ids: the images; all of the labels' folder unless given.
        processes: how many work side by side.
        partial: a file to keep the counts of finished images in, so that a run that was killed goes
            on from there. Images whose files have changed since are done again. It is removed
            when the run is through.
        skip_broken: whether to leave images with faults out, instead of stopping at the first.
        progress: whether to show a progress bar.

    Returns:
        The report.

    Raises:
        BrokenFile: if a file is missing or wrong, unless `skip_broken`.
        ValueError: if there is nothing to evaluate: no such folder, no label, no image ids.
        ImportError: if a library of the extra `evaluation` is not installed.

    Example:

    >>> from PIL import Image
    >>> pixels = np.zeros((32, 40), "uint8")
    >>> pixels[16] = 255
    >>> for folder in ("predictions", "labels"):
    ...     Path(folder).mkdir()
    ...     Image.fromarray(pixels).save(f"{folder}/0001.png")
    >>> report = evaluate_folder("predictions", "labels", "nyud", progress=False)
    >>> report.scores.images, report.faults
    (1, [])
    """
    from tqdm import tqdm

    _matching()
    if protocol not in MAX_DISTANCE:
        raise ValueError(f"Unknown protocol {protocol!r}; use {' or '.join(MAX_DISTANCE)}.")
    predictions, labels = Path(predictions), Path(labels)
    for folder in (predictions, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; check the path.")
    suffixes = LABEL_FILES[protocol]
    if ids is None:
        ids = sorted({path.stem for path in labels.iterdir() if path.suffix in suffixes})
        if not ids:
            raise ValueError(f"{labels} holds no label, expected ID{' or ID'.join(suffixes)}.")
    ids = list(dict.fromkeys(ids))
    if not ids:
        raise ValueError("There are no image ids, expected one or more.")
    kept = _Kept(partial, protocol, predictions, labels)
    scores, faults, work = BoundaryScores(), {}, []
    for image_id in ids:
        prediction = predictions / f"{image_id}.png"
        candidates = [labels / f"{image_id}{suffix}" for suffix in suffixes]
        label = next((path for path in candidates if path.is_file()), candidates[0])
        try:
            signature = _signature(prediction, "prediction") + _signature(label, "label")
        except BrokenFile as error:
            # Said before hours of work, not after.
            if not skip_broken:
                raise
            faults[image_id] = str(error)
            continue
        counts = kept.get(image_id, signature)
        if counts is None:
            work.append((image_id, signature, (prediction, label, protocol)))
        else:
            scores.add(counts)
    bar = tqdm(
        total=len(ids) - len(faults),
        initial=scores.images,
        desc=f"odsF ({protocol})",
        unit="image",
        disable=not progress,
    )
    try:
        with bar:
            for image_id, signature, counts in _evaluated(work, processes):
                bar.update()
                if isinstance(counts, str):
                    if not skip_broken:
                        raise BrokenFile(counts)
                    faults[image_id] = counts
                    continue
                scores.add(counts)
                kept.put(image_id, signature, counts)
    except BaseException:
        kept.save()
        raise
    kept.remove()
    return Report(protocol, scores, [faults[image_id] for image_id in ids if image_id in faults])


def _signature(path: Path, what: str) -> list[int]:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        raise BrokenFile(_missing(path, what)) from None
    return [status.st_size, status.st_mtime_ns]


def _try_files(prediction: Path, label: Path, protocol: str) -> Counts | str:
    """The counts, or what is wrong."""
    try:
        return evaluate_files(prediction, label, protocol)
    except BrokenFile as error:
        return str(error)
    except (ValueError, MemoryError) as error:
        return f"{prediction} cannot be evaluated: {' '.join(str(error).split())}"


def _end_with_parent() -> None:
    """Lets a worker end when the run is killed; it would wait for work for ever."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _evaluated(work: list, processes: int) -> Iterator[tuple]:
    """Image id, signature and outcome, in the order in which they get ready."""
    processes = min(processes, len(work))
    if processes <= 1:
        for image_id, signature, files in work:
            yield image_id, signature, _try_files(*files)
        return
    # Not forked: Keras' backend has threads, and a forked process may wait for them for ever.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent)
    try:
        waiting, todo = {}, iter(work)
        while True:
            while len(waiting) < 4 * processes and (item := next(todo, None)):
                waiting[pool.submit(_try_files, *item[2])] = item
            if not waiting:
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                image_id, signature, _ = waiting.pop(future)
                yield image_id, signature, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Kept:
    """Counts of the images that are done, in a file that is whole at any moment."""

    def __init__(self, path, protocol, predictions, labels):
        self.path = None if path is None else Path(path)
        self.run = _run_key(protocol, predictions, labels)
        self.done = {}  # (signature, counts) by image id
        self.saved = monotonic()
        if self.path is not None and self.path.is_file():
            self._load()

    def _load(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if str(file["run"]) != self.run:
                    return
                rows = zip(
                    file["ids"].tolist(),
                    file["signatures"].tolist(),
                    file["matched"],
                    file["predicted"],
                    file["labelled"].tolist(),
                    strict=True,
                )
                self.done = {i: (s, Counts(m, p, n)) for i, s, m, p, n in rows}
        except Exception:  # damaged, or something else: begin anew
            self.done = {}

    def get(self, image_id: str, signature: list[int]) -> Counts | None:
        then, counts = self.done.get(image_id, (None, None))
        return counts if then == signature else None

    def put(self, image_id: str, signature: list[int], counts: Counts) -> None:
        if self.path is None:
            return
        self.done[image_id] = signature, counts
        if monotonic() - self.saved > _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        self.saved = monotonic()
        if self.path is None or not self.done:
            return
        signatures, counts = zip(*self.done.values(), strict=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                np.savez(
                    file,
                    run=self.run,
                    ids=np.array(list(self.done)),
                    signatures=np.array(signatures),
                    matched=np.array([c.matched for c in counts]),
                    predicted=np.array([c.predicted for c in counts]),
                    labelled=np.array([c.labelled for c in counts]),
                )
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _run_key(protocol, predictions, labels) -> str:
    """Differs between runs whose counts must not be mixed; the 1 stands for the procedure."""
    key = [1, protocol, str(predictions.resolve()), str(labels.resolve()), THRESHOLDS.tolist()]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]


def _partial_file(json_file, protocol, predictions, labels) -> Path:
    if json_file:
        return Path(f"{json_file}.partial.npz")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "keras_mtl" / f"odsF-{_run_key(protocol, Path(predictions), Path(labels))}.npz"


def _read_ids(path: str) -> list[str]:
    try:
        ids = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(_unreadable(Path(path), error)) from None
    if not ids:
        raise ValueError(f"{path} lists no image, expected one image id a line.")
    return ids


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.evaluation.boundary",
        description="Computes odsF, OIS and AP of boundaries (in percent) from folders of PNG "
        "files: predictions DIR/ID.png, 8-bit grey, 255 times the probability, at the size of the "
        "label; labels DIR/ID.png, for PASCAL the LabelMap as PNG (8 or 16 bits) or .npy. A run "
        "that was killed goes on where it was when it is started again.",
        epilog="Exit status: 0 if all images were evaluated, 1 if a file is missing or broken, 2 "
        "if there is nothing to evaluate.",
    )
    parser.add_argument("--predictions", metavar="DIR", required=True)
    parser.add_argument("--labels", metavar="DIR", required=True)
    parser.add_argument("--protocol", choices=MAX_DISTANCE, required=True)
    parser.add_argument(
        "--ids", metavar="FILE", help="image ids, one a line (default: all in the labels' folder)"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--json", metavar="FILE", help="write the scores and the curve there")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave images out whose files are broken"
    )
    given = parser.parse_args(arguments)
    if given.processes < 1:
        parser.error(f"--processes is {given.processes}, expected 1 or more.")
    folders = (given.predictions, given.labels)
    try:
        if given.json:  # found out now, not after the work
            Path(given.json).absolute().parent.mkdir(parents=True, exist_ok=True)
        report = evaluate_folder(
            *folders,
            given.protocol,
            ids=_read_ids(given.ids) if given.ids else None,
            processes=given.processes,
            partial=_partial_file(given.json, given.protocol, *folders),
            skip_broken=given.skip_broken,
        )
    except BrokenFile as error:
        print(f"{error} (--skip-broken leaves such images out.)", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(report)
    if given.json:
        temporary = Path(f"{given.json}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(report.as_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, given.json)
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
