"""Folders of this package's own backbones, such as HRNet, which are layers and no models."""

import inspect
import json
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl import declared
from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.computation.declared_network import check_network
from keras_mtl.files import whole_folder

_WEIGHTS = "model.weights.h5"


def write_pyramid(pyramid: FeaturePyramid, folder: str | Path) -> None:
    """Writes a pyramid of this package, weights included, as `from_preset` reads it.

    Args:
        pyramid: built.
        folder: path of a folder that does not exist yet.

    Example:

    >>> hrnet = keras_mtl.backbones.hrnet("18_small", (32, 48, 3), width=2, modules=(1, 1, 1))
    >>> features = hrnet(keras.ops.ones((1, 32, 48, 3)))
    >>> write_pyramid(hrnet, "my_hrnet")
    >>> keras_mtl.backbones.from_preset("my_hrnet", (48, 64, 3)).channels
    {4: 2, 8: 4, 16: 8, 32: 16}
    """
    import h5py

    with whole_folder(folder) as fresh:
        fresh.mkdir()
        config = keras.saving.serialize_keras_object(pyramid)
        (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        with h5py.File(fresh / _WEIGHTS, "w") as file:
            for number, weight in enumerate(pyramid.weights):
                file.create_dataset(f"vars/{number}", data=ops.convert_to_numpy(weight))


def from_own_folder(folder: Path, config: dict, image_shape, overrides: dict):
    """The pyramid in a folder, and the image shape that is asked for.

    Args:
        folder: what `write_pyramid` wrote.
        config: dict, its config.json.
        image_shape: `(height, width, 3)` in pixels, or `None` for the folder's.
        overrides: dict of arguments that are wanted otherwise.

    Raises:
        ValueError: if the folder does not hold such a pyramid's weights, all of them.
    """
    import h5py

    path, name = folder / _WEIGHTS, config["registered_name"]
    cls = keras.saving.get_registered_object(name)
    if not (inspect.isclass(cls) and issubclass(cls, FeaturePyramid)):
        raise ValueError(
            f"{folder} holds a {name.partition('>')[2]}; expected a backbone, such as an HRNet (a "
            "whole model is loaded by keras_mtl.MultiTaskModel.from_preset)."
        )
    if not path.is_file():
        raise ValueError(f"{folder} has no weights: there is no {_WEIGHTS}; copy it again.")

    def build():
        changed = {"image_shape": image_shape} if image_shape else {}
        pyramid = cls.from_config({**config["config"], **changed, **overrides})
        pyramid.build((None, *pyramid.image_shape))
        return pyramid

    check_network(folder, config, build, path.stat().st_size)
    try:
        pyramid = build()
    except Exception as error:
        reason = str(error).split("Exception encountered: ")[-1]  # in front of which Keras has more
        raise ValueError(
            f"{cls.__name__} cannot be built as config.json in {folder} and the given arguments "
            f"say: {reason.strip().splitlines()[0]}"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            declared.check_hdf5(file, path, path.stat().st_size)
            stored = [np.asarray(file[f"vars/{number}"]) for number in range(len(file["vars"]))]
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} is broken or only part of a file; copy it again.") from error
    shapes = [tuple(weight.shape) for weight in pyramid.weights]
    if [array.shape for array in stored] != shapes:
        raise ValueError(
            f"{path} holds {len(stored)} arrays, which are not those of the "
            f"{type(pyramid).__name__} that its config.json describes; take both files from the "
            "same folder, and leave out arguments that change its sizes."
        )
    for weight, array in zip(pyramid.weights, stored, strict=True):
        weight.assign(array)
    return pyramid, pyramid.image_shape
