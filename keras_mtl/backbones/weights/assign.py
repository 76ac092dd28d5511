"""Arrays of a file to the variables of a model: all of them, or none."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_mtl.backbones.weights.files import first_names
from keras_mtl.declared import fits_float32


@dataclass(frozen=True)
class Entry:
    """Which variable of a model gets which array of a file.

    Args:
        variable: `keras.Variable`.
        names: str, or a tuple of them where several arrays make one variable.
        convert: function from the named arrays, in that order, to the variable's value. It is
            called once all names are known to be there; views are enough, it need not copy.

    Example:

    >>> dense = keras.layers.Dense(2)
    >>> dense.build((None, 3))
    >>> entry = Entry(dense.kernel, "fc.weight", np.transpose)
    >>> entry.value({"fc.weight": np.zeros((2, 3))}).shape
    (3, 2)
    """

    variable: keras.Variable
    names: str | tuple[str, ...]
    convert: Callable[..., np.ndarray] = np.asarray

    @property
    def all_names(self) -> tuple[str, ...]:
        """The names as a tuple."""
        return (self.names,) if isinstance(self.names, str) else tuple(self.names)

    def value(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The variable's value, out of a file's arrays."""
        return self.convert(*(arrays[name] for name in self.all_names))


def assign(
    entries: Iterable[Entry],
    arrays: Mapping[str, np.ndarray],
    what: str,
    ignore: Sequence[str] = (),
    variables: Iterable[keras.Variable] = (),
) -> None:
    """Gives a file's arrays to variables: all of them, or on any doubt none.

    Args:
        entries: an `Entry` for every variable that comes from the file.
        arrays: dict by name, as `read_weights` returns it.
        what: str. What the file was expected to be, for the messages: they begin
            `"{what}"`, for instance `"vit.pth does not hold the weights of vit_base: "`.
        ignore: regular expressions; a name that one of them matches as a whole may be left over.
        variables: those that must not keep their initial values: an entry is needed for each.

    Raises:
        ValueError: if an array is missing, left over, or of another shape, no finite numbers, or a
            variable has no entry. No variable has changed then.

    Example:

    >>> dense = keras.layers.Dense(2)
    >>> dense.build((None, 3))
    >>> entries = [Entry(dense.kernel, "weight", np.transpose), Entry(dense.bias, "bias")]
    >>> assign(entries, {"weight": np.ones((2, 3)), "bias": np.ones(2)}, "No such layer: ")
    >>> keras.ops.convert_to_numpy(dense(np.ones((1, 3)))).tolist()
    [[4.0, 4.0]]
    """
    entries = list(entries)
    used = {name for entry in entries for name in entry.all_names}
    ignored = re.compile("|".join(f"(?:{pattern})" for pattern in ignore) or r"(?!)")
    missing = [name for entry in entries for name in entry.all_names if name not in arrays]
    left_over = [name for name in arrays if name not in used and not ignored.fullmatch(name)]
    covered = {id(entry.variable) for entry in entries}
    without = [variable.path for variable in variables if id(variable) not in covered]
    faults = []
    if missing:
        faults.append(f"it lacks {first_names(dict.fromkeys(missing))}")
    if left_over:
        faults.append(f"it has {first_names(left_over)} that nobody takes")
    if without:
        faults.append(f"nothing is known for {first_names(without)}")
    values = []
    lacking = set(missing)
    for entry in entries:
        if lacking.intersection(entry.all_names):
            continue
        shape = tuple(entry.variable.shape)
        given = ", ".join(f"{name} {arrays[name].shape}" for name in entry.all_names)
        try:
            values.append(entry.value(arrays))
        except ValueError:  # an array that cannot be brought into the variable's layout
            faults.append(f"{given} does not fit the model's {shape}")
            continue
        if values[-1].shape != shape:
            faults.append(f"{given} gives {values[-1].shape} where the model has {shape}")
        elif not fits_float32(values[-1]):
            faults.append(f"{given} holds other than finite real numbers that fit float32")
    if faults:
        faults = list(dict.fromkeys(faults))  # one array may be wrong for several variables
        wrong = faults[:3] + ([f"and {len(faults) - 3} more"] if len(faults) > 3 else [])
        raise ValueError(f"{what}{'; '.join(wrong)}.")
    for entry, value in zip(entries, values, strict=True):
        # A copy, one at a time: JAX may keep the very array, and with it the pages of a file.
        entry.variable.assign(np.array(value, dtype="float32"))
