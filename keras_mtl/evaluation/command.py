"""What the command that evaluates a trained model does, `examples/evaluate.py`."""

import argparse
import sys
from pathlib import Path

from keras_mtl.commands.command_line import refusals, script
from keras_mtl.data import examples
from keras_mtl.evaluation.evaluation import evaluate
from keras_mtl.files import make_folder
from keras_mtl.models import load_model
from keras_mtl.visualize import precision_recall
from keras_mtl.visualize.panels import write_figure


def run(options: argparse.Namespace) -> None:
    """Evaluates, prints, and writes what it has found.

    Args:
        options: of the script: `model`, `output`, `data`, `data_dir`, `split`, `name`,
            `boundary_ids`, `batch_size`, `skip_broken`, `count` and `image_size`.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
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
