"""odsF, the F-measure of boundaries as it is published, over folders of files.

    python -m keras_mtl.evaluation.boundary --predictions DIR --labels DIR --protocol nyud

A prediction is a PNG of 255 times the probability, truncated, at the size of its label, which is
the edge image of NYUD or the LabelMap of PASCAL-Context. The prediction is made one pixel wide
(non-maximum suppression), and at each of 101 thresholds thinned and matched one to one with the
thinned boundaries of the label, within a distance that grows with the image: 0.011 of its diagonal
in NYUD, 0.0075 in PASCAL. The matching is a maximum one, so that the figure is the same at every
run; the published tool's matching, random in part, reads 0.02 to 0.03 points less.
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
from typing import Any

import numpy as np

from keras_mtl.files import whole, write_text
from keras_mtl.metrics.odsf.image import (
    MAX_DISTANCE,
    THRESHOLDS,
    Counts,
    evaluate_image,
    load_matching,
)
from keras_mtl.metrics.odsf.scores import BoundaryScores

LABEL_FILES = {"nyud": (".png",), "pascal": (".png", ".npy", ".mat")}
_SAVE_EVERY = 5.0  # seconds


class BrokenFile(ValueError):
    """A prediction or a label is missing or wrong; the message begins with its name."""


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
    """Reads a label: the edge PNG of "nyud", the PNG (8 or 16 bits), `.npy` or `.mat` of "pascal".

    A `.mat` is one of PASCAL-Context's own files, MATLAB 5 with a variable LabelMap. A label
    without any labelled pixel is refused: "nyud" 255 everywhere, which no edge image is, "pascal"
    0 everywhere. An edge image of 0 everywhere is a label like any other, of no boundary, and so
    is a LabelMap of one class.

    Args:
        path: the file.
        protocol: "nyud" or "pascal".

    Returns:
        whole numbers, `(H, W)`.

    Raises:
        BrokenFile: if the file is missing, unreadable, of another kind or without any label.

    Example:

    >>> np.save("a.npy", np.array([[1, 2, 459]]))
    >>> read_label("a.npy", "pascal").tolist()
    [[1, 2, 459]]
    """
    path = Path(path)
    read = {".npy": _read_npy, ".mat": _read_label_map}.get(path.suffix, _read_label_png)
    pixels = read(path)
    if protocol == "pascal":
        if not pixels.any():
            raise BrokenFile(
                f"{path} is 0 (no label) in every pixel, expected regions; leave the image out, or "
                "copy its label again."
            )
        return pixels
    if pixels.dtype != bool:
        other = pixels[(pixels != 0) & (pixels != 255)]
        if other.size:
            raise BrokenFile(f"{path} holds the value {other[0]}, expected 0 or 255 (an edge).")
    if pixels.all():
        raise BrokenFile(
            f"{path} is 255 in every pixel, which stands for no label and cannot be edges, "
            "expected an edge image; leave the image out, or copy its label again."
        )
    return pixels


def evaluate_files(prediction: Path, label: Path, protocol: str) -> Counts:
    """`evaluate_image` on files.

    Args:
        prediction: PNG, see `read_prediction`.
        label: PNG, `.npy` or `.mat`, see `read_label`.
        protocol: "nyud" or "pascal".

    Returns:
        The counts.

    Raises:
        BrokenFile: if a file is missing, unreadable or of another kind, the label has no labelled
            pixel, or the sizes differ.

    Example:

    >>> from PIL import Image
    >>> pixels = np.zeros((32, 40), "uint8")
    >>> pixels[16] = 255
    >>> Image.fromarray(pixels).save("a.png")
    >>> evaluate_files("a.png", "a.png", "nyud").matched.shape
    (101,)
    """
    prediction, label = Path(prediction), Path(label)
    pixels, truth = read_prediction(prediction), read_label(label, protocol)
    if pixels.shape != truth.shape:
        raise BrokenFile(
            f"{prediction} is {pixels.shape[0]}x{pixels.shape[1]} pixels (height x width), "
            f"expected {truth.shape[0]}x{truth.shape[1]} as in {label}; crop or resize it."
        )
    return evaluate_image(pixels, truth, protocol)


def _read_label_png(path: Path) -> np.ndarray:
    pixels, mode = _read_png(path, "label")
    if pixels.ndim != 2 or mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise BrokenFile(f"{path} holds {_kind(mode)} pixels, expected one number for each pixel.")
    return pixels


def _read_npy(path: Path) -> np.ndarray:
    try:
        pixels = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise BrokenFile(_missing(path, "label")) from None
    except Exception as error:  # a broken header raises SyntaxError too, a broken size MemoryError
        raise BrokenFile(_unreadable(path, error)) from None
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype.kind not in "ui":
        found = (
            f"type {pixels.dtype} and shape {pixels.shape}"
            if isinstance(pixels, np.ndarray)
            else "several arrays"
        )
        raise BrokenFile(f"{path} holds {found}, expected whole numbers of shape (H, W).")
    return pixels


def _read_label_map(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    try:
        pixels = loadmat(path, variable_names=["LabelMap"]).get("LabelMap")
    except FileNotFoundError:
        raise BrokenFile(_missing(path, "label")) from None
    except Exception as error:  # SciPy's parser raises whatever broken bytes cause
        raise BrokenFile(_unreadable(path, error)) from None
    if pixels is None:
        raise BrokenFile(
            f"{path} has no variable LabelMap, expected one; take PASCAL-Context's own file."
        )
    if pixels.ndim != 2 or pixels.dtype.kind not in "uif":
        raise BrokenFile(
            f"{path} holds a LabelMap of shape {pixels.shape} and type {pixels.dtype}, expected "
            "numbers of shape (H, W); take PASCAL-Context's own file."
        )
    if pixels.dtype.kind != "f":
        return pixels
    with np.errstate(invalid="ignore"):  # NaN and what is too large come out as something else
        whole = pixels.astype("int64")
    other = pixels[whole != pixels]
    if other.size:
        raise BrokenFile(
            f"{path} holds the value {other[0]} in its LabelMap, expected whole numbers; take "
            "PASCAL-Context's own file."
        )
    return whole


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
    """Evaluates `predictions/ID.png` against the label of the same name for each image id.

    A label is `labels/ID.png`, of "pascal" also `ID.npy` or `ID.mat`; of several the first counts.

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

    load_matching()
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
            signature = _signature(prediction, "prediction")
            signature += _signature(label, f"label ({' or '.join(suffixes)})")
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
        with whole(self.path) as fresh, open(fresh, "wb") as file:
            np.savez(
                file,
                run=self.run,
                ids=np.array(list(self.done)),
                signatures=np.array(signatures),
                matched=np.array([c.matched for c in counts]),
                predicted=np.array([c.predicted for c in counts]),
                labelled=np.array([c.labelled for c in counts]),
            )

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _run_key(protocol, predictions, labels) -> str:
    """Differs between runs whose counts must not be mixed; the 2 stands for the procedure."""
    key = [2, protocol, str(predictions.resolve()), str(labels.resolve()), THRESHOLDS.tolist()]
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
        description="Computes odsF, OIS and AP of boundaries (in percent) from folders of files. A "
        "run that was killed goes on where it was when it is started again.",
        epilog="A file is broken, too, if its size differs from the other's, or if its label is "
        "empty: 255 in every pixel (nyud) or 0 (pascal). Exit status: 0 if all images were "
        "evaluated, 1 if a file is missing or broken, 2 if there is nothing to evaluate.",
    )
    parser.add_argument(
        "--predictions",
        metavar="DIR",
        required=True,
        help="DIR/ID.png: 8-bit grey, 255 times the probability, at the size of the label",
    )
    parser.add_argument(
        "--labels",
        metavar="DIR",
        required=True,
        help="nyud: DIR/ID.png, the edge image, 0 or 255; pascal: DIR/ID.png (8 or 16 bits) or "
        "ID.npy, the LabelMap, or ID.mat, PASCAL-Context's own file with it",
    )
    parser.add_argument(
        "--protocol",
        choices=MAX_DISTANCE,
        required=True,
        help="what a label holds, and how far apart boundaries may match",
    )
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
        write_text(given.json, json.dumps(report.as_dict(), indent=2) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
