"""mDS, the score of boxes in space on Cityscapes-3D, over folders of files.

    python -m keras_mtl.evaluation.detection3d --predictions DIR --labels DIR

Both folders hold JSON files in the benchmark's format, however deep. Annotations are called
IMAGE_gtBbox3d.json, predictions IMAGE_ and anything, such as IMAGE_predictions.json. An image
without a file of predictions counts as one in which nothing was found. The scores are those of the
benchmark's own program, cityscapesscripts 2.3.0.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keras_mtl import tables
from keras_mtl.files import make_folder, write_text
from keras_mtl.metrics.detection3d.boxes import no_boxes
from keras_mtl.metrics.detection3d.files import BrokenFile, read_predictions, read_truth
from keras_mtl.metrics.detection3d.scores import SCORES, DetectionScores, Protocol

TRUTH = "_gtBbox3d.json"
_HEAD = ("DS", "AP", "center", "size", "yaw", "pitch, roll")


@dataclass
class Report:
    """What `evaluate_boxes` found.

    Args:
        scores: over all annotated images.
        without: names of images that have no file of predictions.
        unknown: names of images that have predictions and no annotation.
    """

    scores: DetectionScores
    without: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report in plain types, for JSON; scores in percent."""
        return {
            "protocol": str(self.scores.protocol),
            **self.scores.as_dict(),
            "without_predictions": self.without,
            "without_annotation": self.unknown,
        }

    def __str__(self) -> str:
        scores, rows = self.scores, [["class", *_HEAD, "boxes"]]
        for name, found in scores.classes().items():
            values = [f"{getattr(found, score):.2f}" for score in SCORES]
            rows.append([name, *(values if found.truths else ["-"] * 6), str(found.truths)])
        means = [f"{scores.mean(score):.2f}" for score in SCORES]
        boxes = sum(found.truths for found in scores.classes().values())
        rows.append(["mean", *means, str(boxes)])
        lines = [
            f"{scores.images} images, {scores.protocol}",
            f"mDS {scores.mDS:.2f}",
            "",
            tables.markdown(rows, numbers=True),
        ]
        for names, what in (
            (self.without, "images have no file of predictions and count as empty"),
            (self.unknown, "images have predictions and no annotation, and are left out"),
        ):
            if names:
                lines += ["", f"{len(names)} {what}: {', '.join(names[:3])}."]
        return "\n".join(lines)


def evaluate_boxes(
    predictions: str | Path,
    labels: str | Path,
    protocol: Protocol | None = None,
    progress: bool = True,
) -> Report:
    """Scores the files of predictions in a folder against the annotations in another.

    Args:
        predictions: folder of files as `write_boxes` writes them. One that is called
            `results.json` is none.
        labels: folder of the benchmark's annotations.
        protocol: how boxes are matched and scored, as published unless given.
        progress: whether to show a progress bar.

    Returns:
        The report.

    Raises:
        BrokenFile: if a file is wrong, or an image has two.
        ValueError: if there is nothing to evaluate: no such folder, no annotation.

    Example:

    >>> from keras_mtl.metrics.detection3d.files import write_boxes
    >>> sensor = keras_mtl.boxes3d.Sensor([[2262.5, 0, 1097], [0, 2265.3, 513], [0, 0, 1]])
    >>> write_boxes("labels/aachen_0_1_gtBbox3d.json", no_boxes(), sensor)
    >>> write_boxes("predictions/aachen_0_1_predictions.json", no_boxes())
    >>> evaluate_boxes("predictions", "labels", progress=False).scores.images
    1
    """
    from tqdm import tqdm

    predictions, labels = Path(predictions), Path(labels)
    for folder in (predictions, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder; check the path.")
    truths = _by_image(labels, f"*{TRUTH}")
    if not truths:
        raise ValueError(f"{labels} holds no annotation, expected IMAGE{TRUTH}.")
    found = _by_image(predictions, "*.json")
    report = Report(
        DetectionScores(protocol or Protocol()),
        [name for name in truths if name not in found],
        [name for name in found if name not in truths],
    )
    for name, path in tqdm(truths.items(), desc="mDS", unit="image", disable=not progress):
        truth = read_truth(_contents(path), str(path))
        boxes = no_boxes()
        if name in found:
            path = found[name]
            boxes = read_predictions(_contents(path), str(path), truth.sensor, truth.image_size)
        report.scores.add(truth.boxes, boxes, truth.ignore)
    return report


def _by_image(folder: Path, pattern: str) -> dict[str, Path]:
    """The files of a folder by the names of their images, what stands before the last "_"."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob(pattern)):
        name = path.name.rpartition("_")[0]
        if path.name == "results.json":
            continue
        if name in files:
            raise BrokenFile(f"{path} is of the same image as {files[name]}; keep one of the two.")
        files[name] = path
    return files


def _contents(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenFile(
            f"{path} cannot be read ({error.strerror}); check its permissions and the disk."
        ) from error


# === The command ===


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.evaluation.detection3d",
        description="Computes mDS and its parts (in percent) from folders of files in the format "
        "of Cityscapes-3D.",
        epilog="Exit status: 0 if all images were scored, 1 if a file is broken, 2 if there is "
        "nothing to evaluate.",
    )
    parser.add_argument(
        "--predictions",
        metavar="DIR",
        required=True,
        help="files of predictions, IMAGE_predictions.json, in DIR or deeper",
    )
    parser.add_argument(
        "--labels",
        metavar="DIR",
        required=True,
        help=f"the benchmark's annotations, IMAGE{TRUTH}, in DIR or deeper, such as gtBbox3d/val",
    )
    parser.add_argument(
        "--amodal",
        action="store_true",
        help="compare boxes in the image as if nothing hid them, as the benchmark's server does "
        "(default: their visible parts, as the published figures)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the scores and the curves there")
    given = parser.parse_args(arguments)
    try:
        if given.json:  # found out now, not after the work
            make_folder(Path(given.json).absolute().parent)
            if Path(given.json).is_dir():
                raise ValueError(f"{given.json} is a folder; name a file for --json.")
        protocol = Protocol(amodal=given.amodal)
        report = evaluate_boxes(given.predictions, given.labels, protocol)
    except BrokenFile as error:
        print(error, file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(report)
    if given.json:
        write_text(given.json, json.dumps(report.as_dict(), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
