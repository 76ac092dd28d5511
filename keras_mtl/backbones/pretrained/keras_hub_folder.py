"""Backbones from folders in keras-hub's format, their tables of positions resized."""

import inspect
import math
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl import declared
from keras_mtl.backbones.dino import dinov2_class
from keras_mtl.backbones.feature_pyramid import like_keras_hubs
from keras_mtl.backbones.keras_hub import position_tables, prefix_tokens, relative_position_tables
from keras_mtl.backbones.kinds import image_backbones, kind_of, kind_of_class
from keras_mtl.backbones.pretrained.construction import at_size, build, size_argument
from keras_mtl.backbones.pretrained.index import listed_files
from keras_mtl.backbones.swin_transformer import relative_position_table
from keras_mtl.backbones.trunk import trunk_of
from keras_mtl.backbones.vision_transformer import dinov2_positions, grid_of, position_table
from keras_mtl.computation.overwritten_weights import drawn_for_a_file


def from_keras_hub(folder, config, image_shape, overrides):
    """The backbone in a folder, and the image shape that is asked for.

    Args:
        folder: what `save_to_preset` wrote.
        config: dict, its config.json.
        image_shape: `(height, width, 3)` in pixels, or `None` for the folder's.
        overrides: dict of arguments that are wanted otherwise.

    Raises:
        ValueError: if the folder does not hold an image backbone's weights, all of them.
    """
    import keras_hub

    name = str(config.get("class_name"))
    ours = {cls.__name__: cls for cls in like_keras_hubs()}
    cls = ours.get(name) or getattr(keras_hub.models, name, None)
    if not (inspect.isclass(cls) and issubclass(cls, image_backbones())):
        first, second, _ = (one.__name__ for one in image_backbones())
        raise ValueError(
            f"{folder} holds a {config.get('class_name')}; expected an image backbone: a {first}, "
            f"a {second} or one with pyramid_outputs."
        )
    try:
        stored = keras.saving.deserialize_keras_object(config["config"])  # also tuples, from JSON
        size = size_argument(stored)
        stored[size] = tuple(stored[size])
    except Exception as error:
        raise ValueError(
            f"{folder / 'config.json'} does not describe a {cls.__name__}; copy it again."
        ) from error
    kind = kind_of_class(cls)
    image_shape = image_shape or {**stored, **overrides}[size]
    wanted = at_size(kind, {**stored, **overrides}, image_shape)
    # As `wanted`, but with tables of the sizes in the file.
    native = dict(wanted)
    if kind == "vit":
        native |= {key: stored[key] for key in ("image_shape", "use_class_token")}
    elif kind == "swin":
        native = at_size(kind, {**native, "window_size": stored["window_size"]}, image_shape)
    wanted_cls = cls
    if kind == "dinov2":
        trained = tuple(stored["position_embedding_shape"][:2])
        native |= {"image_shape": (*trained, 3), "position_embedding_shape": trained}
        cls, wanted_cls = dinov2_class(native["image_shape"]), dinov2_class(image_shape)

    weights = folder / "model.weights.h5"
    # Several files instead of this one hold a large network.
    with drawn_for_a_file(weights.stat().st_size if weights.is_file() else math.inf):
        backbone = build(cls, native, overrides, folder)
    _load_stored(backbone, folder, cls)
    if any(native[key] != wanted[key] for key in wanted):
        backbone = _carried(backbone, build(wanted_cls, wanted, overrides, folder), folder)
    return backbone, image_shape


def _load_stored(backbone, folder, cls):
    """Weights from a folder that `save_to_preset` wrote, each of them accounted for."""
    path = folder / "model.weights.h5"
    if not path.is_file():
        path = folder / "model.weights.json"  # several files
    if not path.is_file():
        raise ValueError(
            f"{folder} has no weights: there is no model.weights.h5; a randomly initialised "
            "backbone is built by its class."
        )
    # Whichever way Keras reads: what is not a number afterwards has not been read.
    for weight in backbone.weights:
        weight.assign(ops.full(weight.shape, float("nan"), dtype=weight.dtype))
    cause = None
    try:
        stored = _count_stored(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing is said below, whole
            backbone.load_weights(path)
    except declared.Refused:
        raise
    except OSError as error:
        raise ValueError(f"{path} is broken or only part of a file; copy it again.") from error
    except Exception as error:
        cause = error
    unread = [
        weight.path
        for weight in backbone.weights
        if np.isnan(ops.convert_to_numpy(ops.ravel(weight)[:1])).any()
    ]
    what = f"the {cls.__name__} that its config.json describes"
    advice = "take both files from the same preset"
    if unread or cause is not None:
        more = f" and {len(unread) - 3} more" if len(unread) > 3 else ""
        named = ", ".join(unread[:3]) or "some weights"
        raise ValueError(
            f"{path} lacks, or has in another size, {named}{more} of {what}; {advice}."
        ) from cause
    if stored != len(backbone.weights):
        raise ValueError(
            f"{path} holds {stored} arrays, and {what} takes {len(backbone.weights)}; {advice}."
        )


def _count_stored(path: Path) -> int:
    """How many arrays one file or several hold, states of random generators not counted."""
    import h5py

    paths = [path]
    if path.suffix == ".json":
        paths = listed_files(path)
    found = []

    def note(name, item):
        if isinstance(item, h5py.Dataset) and "/vars/" in name and "seed_generator" not in name:
            found.append(name)

    for one in paths:
        with h5py.File(one, "r") as file:
            declared.check_hdf5(file, one, one.stat().st_size)
            file.visititems(note)
    return len(found)


def _carried(native, backbone, folder):
    """`backbone` with the weights of `native`, their tables resized."""
    old = native.weights
    if not getattr(backbone, "use_class_token", True):
        tokens = {id(variable) for variable in prefix_tokens(native).values()}
        old = [weight for weight in old if id(weight) not in tokens]
    if len(old) != len(backbone.weights):
        raise ValueError(f"{folder} has no class token; leave use_class_token=True out.")
    resize = _resizing(native, backbone)
    for source, target in zip(old, backbone.weights, strict=True):
        value = ops.convert_to_numpy(source)
        target.assign(resize[id(target)](value) if id(target) in resize else value)
    return backbone


def _resizing(native, backbone):
    """For the id of every table of `backbone`, a function from `native`'s."""
    kind = kind_of(backbone)
    if kind == "vit":
        ((table, _),) = position_tables(backbone)
        old, new, token = grid_of(native), grid_of(backbone), backbone.use_class_token
        return {id(table): lambda value: position_table(value, new, token, old)}
    if kind == "dinov2":
        old, new = trunk_of(native).grid, trunk_of(backbone).grid
        tables = [table for table, _ in position_tables(backbone)]
        return dict.fromkeys(
            map(id, tables), lambda value: dinov2_positions(backbone, value, new, old)[None]
        )
    tables = relative_position_tables(backbone) if kind == "swin" else []
    return dict.fromkeys(
        map(id, tables), lambda value: relative_position_table(value, backbone.window_size)
    )
