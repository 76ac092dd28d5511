"""Predictions of photographs as files: a panel, the maps themselves, and where prompts look.

They need no labels, so they are pictures and not an evaluation; videos are in
`keras_mtl.visualize.video`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_mtl.boxes3d.exif import camera_of_photograph
from keras_mtl.files import whole
from keras_mtl.pictures import PictureError, endings, read_photograph
from keras_mtl.visualize.affinity import affinity
from keras_mtl.visualize.panels import panel, write_figure

GUESS = "a guess, 49 degrees from left to right"
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


def known_camera(
    model, source: Any, lens: Sequence[float] | None = None
) -> tuple[np.ndarray | None, str]:
    """The camera of a photograph for boxes in space, and how it is known.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        source: path or Pillow image.
        lens: the focal lengths across and down and the principal point (u, v), pixels; `None`:
            what EXIF data say.

    Returns:
        Array `(3, 3)`, or `None` where it is to be guessed; and words to go on with, which are
        none where no task of the model asks for a camera.
    """
    if not any(task.takes_camera for task in model.tasks):
        return None, ""
    if lens is not None:
        fx, fy, u0, v0 = lens
        return np.array([[fx, 0, u0], [0, fy, v0], [0, 0, 1]], "float64"), "; camera as given"
    found = camera_of_photograph(source)
    if found is None:
        return None, f"; camera {GUESS}"
    focal = found.camera[0, 0]
    return found.camera, f"; camera from EXIF: {found.words}, {focal:.0f} pixels"


def save_prediction(
    model,
    photograph: np.ndarray,
    stem: str | Path,
    prompts: bool = False,
    camera: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Predicts a photograph and writes STEM-panel.png and STEM-maps.npz.

    Args:
        model: `keras_mtl.MultiTaskModel`.
        photograph: array `(H, W, 3)`, RGB in 0..255, of any size.
        stem: what the files' names begin with, with their folder, which is made.
        prompts: whether to write STEM-affinity.png, too: where a TaskPrompter's prompts look.
        camera: for boxes in space, `(3, 3)`, of `known_camera`; `None`: a guess.

    Returns:
        Decoded maps at the photograph's size, by task name.

    Raises:
        ValueError: if prompts are asked for of a model that has none.
        OSError: if a file cannot be written.
    """
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
        lens: of all photographs, see `known_camera`.

    Returns:
        How many could be read.
    """
    from tqdm import tqdm

    stems, faults, guessed = [path.stem for path in paths], [], 0
    for path in tqdm(paths, unit="photograph", disable=None):
        try:
            photograph = read_photograph(path)
        except PictureError as error:
            faults.append(str(error))
            continue
        name = path.stem if stems.count(path.stem) == 1 else path.name
        camera, known = known_camera(model, path, lens)
        guessed += known.endswith(GUESS)
        save_prediction(model, photograph, Path(output) / name, prompts, camera)
    if guessed:
        report(f"Of {guessed} of the photographs the camera is {GUESS}.")
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
