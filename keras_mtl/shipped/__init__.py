"""Trained weights that come with the package, a folder each, and how they are stored.

`keras_mtl.backbones.from_preset` and `MultiTaskModel.from_preset` read them by their names as they
read any folder; each holds a README.md that says what it was trained on and how well it does.
`python -m keras_mtl.runs.shipped` trains them.
"""

from pathlib import Path

import numpy as np

from keras_mtl.arguments import check_path
from keras_mtl.files import whole

HERE = Path(__file__).parent
LARGEST_HALF = float(np.finfo(np.float16).max)


def names() -> list[str]:
    """The names of all trained weights that come with the package."""
    return sorted(path.parent.name for path in HERE.glob("*/config.json"))


def folder_of(name_or_folder: str | Path) -> Path:
    """Where trained weights lie.

    Args:
        name_or_folder: one of `names()`, or the path of a folder, which is taken first.

    Returns:
        The folder of that name in the package, or the path as it was given.

    Example:

    >>> str(folder_of("my_model"))
    'my_model'
    """
    path = check_path("The name or folder", name_or_folder)
    return HERE / path if str(path) in names() and not path.is_dir() else path


def store_in_half(path: str | Path) -> None:
    """Rewrites a file of weights with its float32 numbers in 16 bits; Keras reads both.

    An array with a number that is too large for 16 bits (65,504), as variances can be, stays as it
    is.

    Args:
        path: a `.weights.h5` file.

    Example:

    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    >>> model.save_weights("small.weights.h5")
    >>> store_in_half("small.weights.h5")
    >>> model.load_weights("small.weights.h5")
    >>> model.weights[0].dtype
    'float32'
    """
    import h5py

    def copy(name, item):
        if not isinstance(item, h5py.Dataset):
            made = half.require_group(name)
        else:
            numbers = item[()]
            if numbers.dtype == np.float32 and np.abs(numbers).max(initial=0) <= LARGEST_HALF:
                numbers = numbers.astype(np.float16)
            made = half.create_dataset(name, data=numbers)
        made.attrs.update(item.attrs)

    with whole(path) as fresh, h5py.File(path, "r") as single, h5py.File(fresh, "w") as half:
        half.attrs.update(single.attrs)
        single.visititems(copy)
