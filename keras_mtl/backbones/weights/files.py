"""Files of weights as other projects write them, read without running code that is in them."""

import json
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from keras_mtl import declared

KINDS = ".pth, .pth.tar, .pt or .bin (PyTorch), .safetensors or .npz"

# Where training scripts put the state dict, beside epoch, optimizer and scheduler.
_HOLDERS = ("model", "state_dict", "model_state_dict", "model_state", "module", "net", "network")

# What a file that is no weights begins with, and what to tell about it.
_OTHER_FILES = (
    (b"\x89HDF", "is an HDF5 file: load it with load_weights of the model that saved it"),
    (b"\x93NUMPY", "is a single array without a name: save named arrays with numpy.savez"),
    (b"\x1f\x8b", "is compressed: unpack it with gunzip or tar first"),
    (
        b"version https://git-lfs",
        "is a pointer to a file in Git LFS: fetch the file itself with git lfs pull",
    ),
)


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """Named arrays of a PyTorch, safetensors or NumPy file.

    The kind is told by the content, not by the name's ending. A state dict inside a training
    checkpoint (under `model`, `state_dict` and the like) is taken out, and a prefix `module.`
    that all names share is dropped. Code inside a pickle is never run: such a file is refused.

    Args:
        path: str or path of the file.

    Returns:
        Dict from name to array, in the file's order. Floating numbers are float32, whatever the
        file's precision. Arrays of a PyTorch file are read from it when they are used: keep the
        file until then.

    Raises:
        ValueError: if the file is missing, broken, no weights, or holds more than arrays.
        ImportError: if the library that reads this kind of file is not installed.

    Example:

    >>> np.savez("weights.npz", **{"module.proj.bias": np.zeros(3)})
    >>> read_weights("weights.npz")
    {'proj.bias': array([0., 0., 0.], dtype=float32)}
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path} is a folder; expected a file: {KINDS}."
            if path.is_dir()
            else f"There is no file {path}."
        )
    try:
        arrays = _reader(path)(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not arrays:
        raise ValueError(f"{path} holds no arrays; expected weights by name.")
    if all(name.startswith("module.") for name in arrays):  # trained on several devices
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    return arrays


def _reader(path: Path) -> Callable[[Path], dict[str, np.ndarray]]:
    """The function that reads this kind of file."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ValueError(f"{path} is empty; download or copy it again.")
    for beginning, advice in _OTHER_FILES:
        if head.startswith(beginning):
            raise ValueError(f"{path} {advice}.")
    if head.startswith(b"PK"):
        return _zip_reader(path)
    if head.startswith(b"\x80"):
        return _read_torch
    if len(head) > 8 and head[8:9] == b"{":  # the length of a JSON text, and the text
        return _read_safetensors
    if head.lstrip().startswith(b"<"):
        raise ValueError(
            f"{path} is a web page, not weights: the download was answered by a page; open the "
            "address in a browser to see what it asks for."
        )
    raise ValueError(f"{path} is not a file of weights; expected one of {KINDS}.")


# === One function for each kind of file ===


def _zip_reader(path):
    try:
        with zipfile.ZipFile(path) as archive:
            declared.check_zip(archive, path)
            names = archive.namelist()
            # Flipped bits in the numbers would go unnoticed by everybody else.
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise _broken(path) from error
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: {damaged} in it does not match its checksum; download or copy it "
            "again."
        )
    if any(name.endswith("constants.pkl") for name in names):
        raise ValueError(
            f"{path} is a TorchScript program, which was not run; expected a state dict, as "
            "torch.save(model.state_dict(), path) writes it."
        )
    if any(name.endswith("data.pkl") for name in names):
        return _read_torch
    if "model.weights.h5" in names:
        raise ValueError(f"{path} is a Keras model already: use keras_mtl.load_model.")
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz
    raise ValueError(f"{path} is a zip file without weights; expected one of {KINDS}.")


def _read_npz(path):
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    array = declared.read_npy(stream, path, member.file_size)
                arrays[member.filename.removesuffix(".npy")] = _standard(array)
    except declared.Refused:
        raise
    except Exception as error:  # a broken header raises SyntaxError too
        raise _broken(path) from error
    return arrays


def _read_safetensors(path):
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ImportError(
            f"Reading {path} needs the library safetensors: pip install safetensors."
        ) from None
    try:
        with safe_open(path, "np") as file:
            return {name: _standard(file.get_tensor(name)) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError) as error:
        raise _broken(path) from error


def _read_torch(path):
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"Reading {path} needs PyTorch: pip install torch (its build for the CPU is enough)."
        ) from None
    zipped = zipfile.is_zipfile(path)  # the newer of PyTorch's two formats
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyhow
            # Only the newer format can be left on the disk.
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            more = f"holds more than arrays (it asks for {wanted[1]})"
        elif not zipped and not _begins_as_torch(path):
            more = "is a pickle of Python's, not PyTorch's weights,"
        else:
            raise _broken(path) from error
        raise ValueError(
            f"{path} {more} and was not run; expected a state dict, as "
            "torch.save(model.state_dict(), path) writes it."
        ) from error
    state = _state_dict(loaded, torch.Tensor)
    if state is None:
        found = f"a {type(loaded).__name__}"
        if isinstance(loaded, Mapping):
            found += f" of {first_names(map(str, loaded))}" if loaded else " without entries"
        raise ValueError(
            f"{path} holds {found}, not a state dict; expected tensors by name, by themselves or "
            f"under one of {', '.join(_HOLDERS)}."
        )
    return {name: _standard(_array_of(tensor, path, name)) for name, tensor in state.items()}


def _begins_as_torch(path) -> bool:
    """Whether a file begins with the number that PyTorch's older format begins with."""
    with path.open("rb") as file:
        return b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." in file.read(64)


def _state_dict(loaded, tensor_type) -> dict | None:
    """The tensors by name in what a checkpoint holds."""
    if not isinstance(loaded, Mapping):
        return None
    for holder in _HOLDERS:
        if isinstance(loaded.get(holder), Mapping):
            return _state_dict(loaded[holder], tensor_type)
    return {
        name: value
        for name, value in loaded.items()
        if isinstance(name, str) and isinstance(value, tensor_type)
    } or None


def _array_of(tensor, path, name):
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:  # NumPy has no such numbers
        tensor = tensor.float()
    try:
        return tensor.numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: {name} is a {tensor.layout} tensor of {tensor.dtype}, which has no array; "
            "save it dense and not quantized."
        ) from error


def _standard(array: np.ndarray) -> np.ndarray:
    """The array, floating numbers in float32."""
    floating = array.dtype.kind == "f" or "float" in array.dtype.name  # bfloat16 is no NumPy kind
    return array.astype("float32", copy=False) if floating else array


def _broken(path) -> ValueError:
    return ValueError(f"{path} is broken or only part of a file; download or copy it again.")


def first_names(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
