"""The command that trains the networks that come with the package, and stores them there.

    python -m keras_mtl.runs.shipped taskprompter_nano_rooms

It is a run on generated rooms like those of the training scripts, with all kinds of labels that
rooms have; killed, it goes on where it was when it is started again. Its best checkpoint and the
trunk of that become folders of weights in 16 bits, each with a model card (`keras_mtl.shipped`).
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

import keras_mtl
from keras_mtl import rooms, shipped
from keras_mtl.backbones.feature_pyramid import FeaturePyramid, deserialize_backbone
from keras_mtl.backbones.pretrained.own_folder import write_pyramid
from keras_mtl.commands.command_line import refusals
from keras_mtl.files import make_folder, whole_folder
from keras_mtl.runs import report, run
from keras_mtl.runs.options import parse
from keras_mtl.tasks import Task

LARGEST = 15_000_000  # bytes of a folder


@dataclass(frozen=True)
class Shipped:
    """How a network is trained that comes with the package.

    Args:
        trunk: name of its backbone's weights.
        arguments: of the training scripts.
    """

    trunk: str
    arguments: str


# All six tasks at once; classes count for more than the published weights let them, for a network
# that starts from nothing.
NETWORKS = {
    "taskprompter_nano_rooms": Shipped(
        trunk="vit_nano_rooms",
        arguments="--model taskprompter --backbone vit_nano --patch-size 8 --image-size 96 128 "
        "--scenes 6000 --steps 6000 --epochs 30 --batch-size 8 --loss-weight semseg=4",
    ),
    "tpanet_hrnet18_rooms": Shipped(
        trunk="hrnet18_rooms",
        arguments="--model tpanet --backbone hrnet18 --image-size 96 128 --dim 48 --head-width 48 "
        "--key-value-pooling 4 --scenes 6000 --steps 8000 --epochs 100 --batch-size 8 "
        "--loss-weight semseg=4",
    ),
}

CARD = """# {name}

{what}, trained from random weights on generated rooms (`keras_mtl.rooms`) and on nothing else.

- **Trained on** {scenes} rooms of {height}x{width} pixels (seed 0), {images} images in {steps} of \
{planned} planned steps of {batch_size}, for {tasks}; keras_mtl {version}.
- **Again:** `python -m keras_mtl.runs.shipped {network}{others}`
- **Stored** in 16 bits, {megabytes:.1f} MB; loaded, the weights are float32.
- **Knows** generated rooms only: nothing outdoors, no light or lens that the rooms do not have. \
On photographs it does worse than the scores below say. It is to begin training with, to try the \
package and to test it, not for decisions about the world.
- **Licence:** Apache-2.0, as the package.

Scores{whose} on {held_out} rooms it was not trained on (seed 1), in training's metrics, beside \
those of the best guess that does not look at the image:

{table}
"""


def nyud_and_people() -> list[Task]:
    """All tasks that rooms have labels for: NYUD-v2's, then human parts and saliency."""
    return keras_mtl.tasks.nyud() + keras_mtl.tasks.pascal_context("human_parts", "sal")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; its arguments are `sys.argv[1:]` unless given.

    Args:
        arguments: list of str.

    Raises:
        SystemExit: with one sentence, if something does not fit.
    """
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.runs.shipped",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="All other options are those of examples/train_nyud.py.",
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=NETWORKS, help="one of %(choices)s")
    text = "folder for the folders of weights (default: where the package has them)"
    parser.add_argument("--into", type=Path, default=shipped.HERE, metavar="DIR", help=text)
    text = "folder of the run (default runs/NAME)"
    parser.add_argument("--output", metavar="DIR", help=text)
    text = "train no further: store the best checkpoint of a run that has not ended"
    parser.add_argument("--store", action="store_true", help=text)
    known, others = parser.parse_known_args(arguments)
    network = NETWORKS[known.name]
    tasks = nyud_and_people()
    given = [*network.arguments.split(), "--output", known.output or f"runs/{known.name}", *others]
    options = parse(tasks, "rooms", "", given)
    out = Path(options.output)
    if not (known.store or (out / "results.json").exists()):
        run.main(tasks, "rooms", __doc__, given)
    with refusals(ValueError, OSError):
        model = keras_mtl.load_model(out / "model.keras")
        facts = {"network": known.name, **_facts(options, others, out)}
        store(model, known.into, known.name, network.trunk, facts)


def store(model, into: Path, name: str, trunk: str, facts: dict) -> None:
    """Writes a trained network and its trunk as folders of weights in 16 bits with their cards.

    Args:
        model: `keras_mtl.MultiTaskModel` on a `keras_hub.models.ViTBackbone` or an `HRNet`.
        into: folder for the two folders, which are replaced.
        name, trunk: of these.
        facts: what the cards say of the training; see `CARD`.

    Raises:
        ValueError: if a folder takes more than 15 MB.
    """
    make_folder(into)
    with whole_folder(into / name, replace=True) as fresh:
        model.save_to_preset(fresh)
        shipped.store_in_half(fresh / "model.weights.h5")
        stored = keras_mtl.MultiTaskModel.from_preset(fresh)
        _write_example(stored, fresh)
        facts["table"] = _scores(stored, facts)
        what = f"A whole `{type(model).__name__}` of {model.count_params() / 1e6:.1f} M parameters"
        what += f" on the trunk `{trunk}`"
        _write_card(fresh, facts, name=name, what=what, whose="")
    backbone = trunk_of(stored)
    with whole_folder(into / trunk, replace=True) as fresh:
        if isinstance(backbone, FeaturePyramid):
            write_pyramid(backbone, fresh)
        else:
            backbone.save_to_preset(str(fresh))
        shipped.store_in_half(fresh / "model.weights.h5")
        what = f"A `{type(backbone).__name__}` of {backbone.count_params() / 1e6:.1f} M parameters"
        _write_card(fresh, facts, name=trunk, what=what, whose=f" of `{name}`, which it is of,")
    print(f"Wrote {into / name} and {into / trunk}")


def trunk_of(model):
    """A new backbone with the weights of a model's.

    Args:
        model: `keras_mtl.MultiTaskModel` on a `keras_hub.models.ViTBackbone` or an `HRNet`.
    """
    backbone = deserialize_backbone(model.get_config()["backbone"])
    if not backbone.built:
        backbone.build((None, *backbone.image_shape))
    for ours, trained in zip(backbone.weights, model.backbone_variables, strict=True):
        ours.assign(keras.ops.convert_to_numpy(trained))
    return backbone


def _write_example(model, folder: Path) -> None:
    """A room and what the network answers for it, at every eighth pixel: to check copies by."""
    image = rooms.render(2, model.image_size)["image"]
    raw = model.predict(image[None], verbose=0)
    np.savez(folder / "example.npz", image=image, **{n: x[0, ::8, ::8] for n, x in raw.items()})


def _scores(model, facts: dict) -> str:
    """A table of the scores on held-out rooms."""
    size, tasks = model.image_size, model.tasks
    validation = rooms.dataset(tasks, facts["held_out"], size, seed=1, keep=True)
    seen = rooms.dataset(tasks, min(facts["scenes"], 200), size, seed=0, keep=True)
    model.compile()
    scores = model.evaluate(validation, return_dict=True, verbose=0)
    return report.table(tasks, scores, report.best_guesses(tasks, seen, validation))


def _facts(options: argparse.Namespace, others: Sequence[str], out: Path) -> dict:
    """What a card says of the run in a folder."""
    with open(out / "log.csv") as log:
        losses = [float(row["val_loss"]) for row in csv.DictReader(log)]
    epochs = min(options.epochs, options.steps)
    steps = -(-options.steps // epochs)
    done = (losses.index(min(losses)) + 1) * steps
    height, width = options.image_size
    return {
        "scenes": options.scenes,
        "held_out": options.held_out,
        "height": height,
        "width": width,
        "steps": done,
        "planned": epochs * steps,
        "images": done * options.batch_size,
        "batch_size": options.batch_size,
        "tasks": ", ".join(task.name for task in nyud_and_people()),
        "others": "".join(f" {each}" for each in others),
        "version": keras_mtl.__version__,
    }


def _write_card(folder: Path, facts: dict, **more: str) -> None:
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > LARGEST:
        raise ValueError(
            f"{more['name']} takes {size / 1e6:.1f} MB, expected {LARGEST / 1e6:.0f} at most; "
            "train a smaller network."
        )
    card = CARD.format(**{**facts, **more, "megabytes": size / 1e6})
    (folder / "README.md").write_text(card)


if __name__ == "__main__":
    main()
