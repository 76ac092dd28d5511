"""Predictions of photographs as files: a panel, the maps themselves, and where prompts look.

They need no labels, so they are pictures and not an evaluation; videos are in
`keras_mtl.visualize.video`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_mtl.files import whole
from keras_mtl.pictures import PictureError, endings, read_photograph
from keras_mtl.visualize.affinity import affinity
from keras_mtl.visualize.panels import panel, write_figure

_PICTURES = ("-panel.png", "-affinity.png")  # what is written beside photographs is none


def photographs(folder: str | Path) -> list[Path]:
    """The image files of a folder, without the pictures that `save_prediction` writes.

    Args:
        folder: where they are.

    Raises:
        ValueError: if there is none.
    """
    known = endings()
    paths = [
        path
        for path in sorted(Path(folder).iterdir())
        if path.suffix.lower() in known and not path.name.endswith(_PICTURES)
    ]
    if not paths:
        raise ValueError(f"There is no image file in {folder}.")
    return paths


def save_prediction(
    model,
    photograph: np.ndarray,
    stem: str | Path,
    prompts: bool = False,
    lens: Sequence[float] | None = None,
) -> dict[str, np.ndarray]:
    """Predicts a photograph and writes STEM-panel.png and STEM-maps.npz.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        photograph: array `(H, W, 3)`, RGB in 0..255, of any size.
        stem: what the files' names begin with, with their folder, which is made.
        prompts: whether to write STEM-affinity.png, too: where a TaskPrompter's prompts look.
        lens: for boxes in space, the focal lengths across and down and the principal point (u, v)
            of the photograph's camera, pixels; `None`: a guess.

    Returns:
        Decoded maps at the photograph's size, by task name.

    Raises:
        ValueError: if prompts are asked for of a model that has none.
        OSError: if a file cannot be written.
    """
    camera = None
    if lens is not None:
        fx, fy, u0, v0 = lens
        camera = np.array([[fx, 0, u0], [0, fy, v0], [0, 0, 1]], "float64")
    maps = model.predict_maps(photograph, cameras=camera)
    rows = {name: [each] for name, each in maps.items()}
    figure = panel(photograph[None], rows, model.tasks, legend=True)
    write_figure(figure, f"{stem}-panel.png", dpi=200)
    with whole(f"{stem}-maps.npz") as fresh:
        np.savez_compressed(fresh, **_named_arrays(maps))
    if prompts:
        write_figure(affinity(model, photograph), f"{stem}-affinity.png", dpi=200)
    return maps


def save_predictions(
    model,
    paths: Sequence[Path],
    output: str | Path,
    prompts: bool = False,
    report: Callable[[str], None] = print,
    lens: Sequence[float] | None = None,
) -> int:
    """Predicts image files one by one; one that cannot be read does not keep it from the others.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        paths: of `photographs`.
        output: folder for the files of `save_prediction`; `a.jpg` and `a.png` keep their endings
            in the names, to be told apart.
        prompts: as there.
        report: called at the end with a sentence for each file that cannot be read.
        lens: of all photographs, as there.

    Returns:
        How many could be read.
    """
    from tqdm import tqdm

    stems, faults = [path.stem for path in paths], []
    for path in tqdm(paths, unit="photograph", disable=None):
        try:
            photograph = read_photograph(path)
        except PictureError as error:
            faults.append(str(error))
            continue
        name = path.stem if stems.count(path.stem) == 1 else path.name
        save_prediction(model, photograph, Path(output) / name, prompts, lens)
    for fault in faults:
        report(fault)
    return len(paths) - len(faults)


def _named_arrays(maps: dict) -> dict[str, Any]:
    """Each map, and each of several arrays of one task as "TASK/NAME"."""
    found = {}
    for task, each in maps.items():
        several = each.items() if isinstance(each, dict) else [("", each)]
        found |= {f"{task}/{name}" if name else task: values for name, values in several}
    return found
