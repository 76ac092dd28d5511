"""odsF, the F-measure of boundaries as it is published, over folders of files.

    python -m keras_mtl.evaluation.boundary --predictions DIR --labels DIR --protocol nyud

A prediction is a PNG of 255 times the probability, truncated, at the size of its label, which is
the edge image of NYUD, the LabelMap of PASCAL-Context or the groundTruth of BSDS500. The prediction
is made one pixel wide (non-maximum suppression), and at each of 101 thresholds thinned and matched
one to one with the thinned boundaries of the label, within a distance that grows with the image:
0.011 of its diagonal in NYUD, 0.0075 in PASCAL and BSDS. Of several annotators (BSDS) each is
matched: a predicted pixel is right if any has a pair for it, and the pixels of all are to be found.
The matching is a maximum one, so that the figure is the same at every run; the published tool's
matching, random in part, reads 0.02 to 0.03 points less on NYUD and PASCAL.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_mtl.files import cache_folder, make_folder, write_text
from keras_mtl.metrics.odsf.files import (
    LABEL_FILES,
    BrokenFile,
    evaluate_files,
    read_label,
    read_prediction,
    signature,
    unreadable,
)
from keras_mtl.metrics.odsf.image import MAX_DISTANCE, load_matching
from keras_mtl.metrics.odsf.kept import Kept, run_key
from keras_mtl.metrics.odsf.processes import evaluated
from keras_mtl.metrics.odsf.scores import BoundaryScores

__all__ = [
    "BrokenFile",
    "Report",
    "evaluate_files",
    "evaluate_folder",
    "read_label",
    "read_prediction",
]


@dataclass
class Report:
    """What `evaluate_folder` found.

    Args:
        protocol: "nyud", "pascal" or "bsds".
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
    Of "bsds" it is `labels/ID.mat`.

    Args:
        predictions: folder, see `read_prediction`.
        labels: folder, see `read_label`.
        protocol: "nyud", "pascal" or "bsds".
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
    kept = Kept(partial, protocol, predictions, labels)
    scores, faults, work = BoundaryScores(), {}, []
    for image_id in ids:
        prediction = predictions / f"{image_id}.png"
        candidates = [labels / f"{image_id}{suffix}" for suffix in suffixes]
        label = next((path for path in candidates if path.is_file()), candidates[0])
        try:
            now = signature(prediction, "prediction")
            now += signature(label, f"label ({' or '.join(suffixes)})")
        except BrokenFile as error:
            # Said before hours of work, not after.
            if not skip_broken:
                raise
            faults[image_id] = str(error)
            continue
        counts = kept.get(image_id, now)
        if counts is None:
            work.append((image_id, now, (prediction, label, protocol)))
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
            for image_id, then, counts in evaluated(work, processes):
                bar.update()
                if isinstance(counts, str):
                    if not skip_broken:
                        raise BrokenFile(counts)
                    faults[image_id] = counts
                    continue
                scores.add(counts)
                kept.put(image_id, then, counts)
    except BaseException:
        kept.save()
        raise
    kept.remove()
    return Report(protocol, scores, [faults[image_id] for image_id in ids if image_id in faults])


# === The command ===


def _partial_file(json_file, protocol, predictions, labels) -> Path:
    if json_file:
        return Path(f"{json_file}.partial.npz")
    return cache_folder() / f"odsF-{run_key(protocol, Path(predictions), Path(labels))}.npz"


def _read_ids(path: str) -> list[str]:
    try:
        ids = Path(path).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(unreadable(Path(path), error)) from None
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
        "ID.npy, the LabelMap, or ID.mat, PASCAL-Context's own file with it; bsds: DIR/ID.mat, "
        "BSDS500's own file, with every annotator's boundaries",
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
            make_folder(Path(given.json).absolute().parent)
            if Path(given.json).is_dir():
                raise ValueError(f"{given.json} is a folder; name a file for --json.")
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
