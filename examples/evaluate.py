"""Evaluates a trained model by the published procedure: every metric, odsF too, at full size.

    python examples/evaluate.py runs/taskprompter_nyud/model.keras --data nyud_v2
    python examples/evaluate.py runs/taskprompter_nyud/model.keras          # generated rooms

prints the papers' table row and all metrics, and writes evaluation.json (with protocol, model
configuration, dataset and versions), evaluation.csv, evaluation.md, and, if the model predicts
boundaries, precision_recall.png. `python -m keras_mtl.evaluation.compare` puts several
evaluation.json side by side, with the published rows of the dataset.
"""

import argparse
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 1 if an example is broken, or something else went wrong.",
    )
    parser.add_argument("model", type=Path, help="a model.keras that a training run wrote")
    text = "prepared dataset: its name below --data-dir, or a folder"
    parser.add_argument("--data", metavar="DATASET", help=text)
    parser.add_argument("--data-dir", metavar="DIR", help="folder of prepared datasets")
    parser.add_argument("--split", default="val", help="such as val[:100] (default val)")
    parser.add_argument("--name", help="of the row in tables (default: the model's folder)")
    text = "names of the images to score boundaries on (default: all); for PASCAL-Context the "
    text += "published figures use SEISM's list of 2,498"
    parser.add_argument("--boundary-ids", metavar="FILE", help=text)
    parser.add_argument("--batch-size", type=int, default=4, help="images at a time (default 4)")
    text = "leave broken examples out and name them"
    parser.add_argument("--skip-broken", action="store_true", help=text)
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: the model's folder")
    group = parser.add_argument_group("rooms")
    group.add_argument("--count", type=int, default=100, help="how many (default 100)")
    size = {"type": int, "nargs": 2, "metavar": ("HEIGHT", "WIDTH")}
    group.add_argument("--image-size", **size, help="in pixels (default: the model's)")
    options = parser.parse_args()
    # Keras, which takes seconds to load, once the arguments are right
    from keras_mtl.evaluation import command

    command.run(options)


if __name__ == "__main__":
    main()
