"""Scenes kept on disk, some in a file, to be read instead of rendered the next time."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from keras_mtl import files
from keras_mtl.rooms.scenes import render

RENDERER = 3  # goes up when scenes get other bytes: those of another renderer are not read

# What a scene holds: numbers at each pixel (None: none but one for all), and how they are stored.
_STORED = {
    "image": ((3,), np.uint8, np.uint8),
    "depth": ((1,), np.float32, np.float32),
    "normals": ((3,), np.float32, np.float32),
    "instances": ((), np.int32, np.uint16),
    "nyud_semseg": ((), np.int32, np.uint8),
    "pascal_semseg": ((), np.int32, np.uint8),
    "human_parts": ((), np.int32, np.uint8),
    "sal": ((), np.int32, np.uint8),
    "edge": ((1,), np.float32, np.uint8),
    "focal": (None, np.float64, np.float64),
}
_DAMAGED = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


def folder_of(seed: int, image_size: tuple[int, int]) -> Path:
    """Where scenes of a seed and a size are kept.

    Args:
        seed, image_size: see `scenes.render`.
    """
    height, width = image_size
    return files.cache_folder() / "rooms" / f"{RENDERER}-{seed}-{height}x{width}"


def path_of(folder: Path, numbers: range) -> Path:
    """The file of some scenes of consecutive numbers."""
    return folder / f"{numbers[0]}-{numbers[-1]}.npz"


def write(path: Path, seed: int, image_size: tuple[int, int], numbers: range) -> list[dict]:
    """Renders scenes and writes them into a file, whole or not at all.

    Args:
        path: of `path_of`, in a folder that is there.
        seed, image_size: see `scenes.render`.
        numbers: which scenes.

    Returns:
        The scenes.

    Raises:
        keras_mtl.files.NotWritten: if the system refuses.
    """
    scenes = [render(seed, image_size, index) for index in numbers]
    stacks: dict = {
        key: np.stack([scene[key] for scene in scenes]).astype(stored)
        for key, (_, _, stored) in _STORED.items()
    }
    with files.whole(path) as fresh:
        np.savez(fresh, **stacks)
    return scenes


def read(path: Path, image_size: tuple[int, int], numbers: range) -> list[dict] | None:
    """The scenes of a file, or None if it is not there, not whole or not as it was written.

    Args:
        path: of `path_of`.
        image_size: of the scenes.
        numbers: which they are.
    """
    scenes: list[dict] = [{} for _ in numbers]
    try:
        with np.load(path) as file:
            for key, (channels, kind, stored) in _STORED.items():
                stack = file[key]
                each = () if channels is None else (*image_size, *channels)
                if stack.shape != (len(numbers), *each) or stack.dtype != stored:
                    return None
                for scene, value in zip(scenes, stack.astype(kind), strict=True):
                    scene[key] = value if each else float(value)
    except _DAMAGED:
        return None
    return scenes
