"""The command that evaluates a trained model, `examples/evaluate.py`.

It prints the papers' table row and all metrics, and writes evaluation.json (with protocol, model
configuration, dataset and versions), evaluation.csv, evaluation.md, and, if the model predicts
boundaries, precision_recall.png.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from keras_mtl.commands.command_line import refusals, script
from keras_mtl.data import examples
from keras_mtl.evaluation.evaluation import evaluate
from keras_mtl.files import make_folder
from keras_mtl.models import load_model
from keras_mtl.visualize import precision_recall
from keras_mtl.visualize.panels import write_figure


def main(description: str = __doc__, arguments: Sequence[str] | None = None) -> None:
    """The command line.

    Args:
        description: for `--help`.
        arguments: list of str. By default those of the running script.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    options = _arguments(description, arguments)
    ids = None
    if options.boundary_ids:
        try:
            ids = Path(options.boundary_ids).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            sys.exit(f"{script()}: {options.boundary_ids} cannot be read ({error}).")
    out = options.output or options.model.parent
    with refusals(ValueError, OSError):
        model = load_model(options.model)
        dataset = examples(
            options.data or "rooms",
            options.split,
            tasks=model.tasks,
            data_dir=options.data_dir,
            image_size=tuple(options.image_size or model.image_size),
            count=options.count,
        )
        make_folder(out)  # found out now, not after the work
        result = evaluate(
            model,
            dataset,
            name=options.name or options.model.resolve().parent.name,
            dataset_name=options.data or "rooms",
            split=options.split,
            boundary_ids=ids,
            batch_size=options.batch_size,
            skip_broken=options.skip_broken,
        )
    print(f"\n{result}")
    written = [out / f"evaluation.{ending}" for ending in ("json", "csv", "md")]
    with refusals(OSError):
        for path in written:
            result.save(path)
        if result.boundary_curve:
            figure = precision_recall([result.boundary_curve], [result.name])
            written.append(out / "precision_recall.png")
            write_figure(figure, written[-1])
    print(f"\nWrote {', '.join(map(str, written))}")
    if result.faults:
        sys.exit(1)


def _arguments(description, arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 1 if an example is broken, or something else went wrong.",
    )
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    parser.add_argument(
        "--data", metavar="DATASET", help="prepared dataset: its name below --data-dir, or a folder"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder of prepared datasets")
    parser.add_argument("--split", default="val", help="such as val[:100] (default val)")
    parser.add_argument("--name", help="of the row in tables (default: the model's folder)")
    parser.add_argument(
        "--boundary-ids",
        metavar="FILE",
        help="names of the images to score boundaries on (default: all); for PASCAL-Context the "
        "published figures use SEISM's list of 2,498",
    )
    parser.add_argument("--batch-size", type=int, default=4, help="images at a time (default 4)")
    parser.add_argument(
        "--skip-broken", action="store_true", help="leave broken examples out and name them"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: the model's folder")
    group = parser.add_argument_group("rooms")
    group.add_argument("--count", type=int, default=100, help="how many (default 100)")
    group.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (default: the model's)",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
