"""The architectures by name, and the configurations of the papers that they bring: presets.

An architecture registers itself, in this package or outside; a base class names none of them.
"""

import difflib
from collections.abc import Mapping, Sequence

from keras_mtl import backbones, shipped
from keras_mtl import tasks as task_lists
from keras_mtl.tasks import Task

# Name: a function of `keras_mtl.backbones`, and its size.
BACKBONES = {
    "vit_pico": ("vision_transformer", "pico"),
    "vit_nano": ("vision_transformer", "nano"),
    "vit_tiny": ("vision_transformer", "tiny"),
    "vit_small": ("vision_transformer", "small"),
    "vit_base": ("vision_transformer", "base"),
    "vit_large": ("vision_transformer", "large"),
    "dinov2_small": ("dinov2", "small"),
    "dinov2_base": ("dinov2", "base"),
    "dinov2_large": ("dinov2", "large"),
    "dinov3_small": ("dinov3", "small"),
    "dinov3_base": ("dinov3", "base"),
    "dinov3_large": ("dinov3", "large"),
    "swin_tiny": ("swin_transformer", "tiny"),
    "swin_small": ("swin_transformer", "small"),
    "swin_base": ("swin_transformer", "base"),
    "swin_large": ("swin_transformer", "large"),
    "hrnet18": ("hrnet", "18_small"),
    "hrnet48": ("hrnet", "48"),
    "se_resnet26": ("se_resnet", "26"),
    "se_resnet50": ("se_resnet", "50"),
    "se_resnet101": ("se_resnet", "101"),
}

# What has registered: classes by name, and every preset with its architecture's name as "model".
ARCHITECTURES: dict[str, type] = {}
PRESETS: dict[str, dict] = {}


def register_architecture(architecture: type) -> type:
    """Makes an architecture and its presets known to `from_preset`; a decorator of its class.

    Args:
        architecture: subclass of `keras_mtl.MultiTaskModel`. Its class attribute `presets` is a
            dict by name of dicts of plain data:

            - `backbone`: a key of `keras_mtl.presets.BACKBONES`, or a function of an image shape;
            - `backbone_arguments`: dict, may be left out;
            - `image_size`: `(height, width)` in pixels;
            - `tasks`: name of a function of `keras_mtl.tasks`, a tuple of such a name and of tasks
              of its, or a function that lists tasks;
            - `published_tasks`: a function that lists tasks, may be left out: those that published
              checkpoints have learned, where they are others;
            - `arguments`: dict, those of the architecture besides backbone and tasks;
            - `as_published`: dict, may be left out: arguments under which it computes as its paper
              counts it, where that is another cost;
            - `never_called`: int, may be left out: parameters that its paper counts, of layers that
              its code makes and never calls;
            - `counted_in_training`: bool, may be left out: whether its paper's parameters include
              those of outputs that exist in training only.

    Returns:
        The class.

    Raises:
        ValueError: if another architecture has the name, or one of the presets'.

    Example:

    ```python
    @keras_mtl.models.register_architecture
    @keras.saving.register_keras_serializable(package="my_project")
    class Narrow(keras_mtl.MultiTaskBaseline):
        presets = {
            "narrow_nyud": {
                "backbone": "hrnet18",
                "image_size": (448, 576),
                "tasks": "nyud",
                "arguments": {"head_width": 4},
            }
        }


    model = keras_mtl.MultiTaskModel.from_preset("narrow_nyud")
    ```
    """
    name = architecture.__name__
    known = ARCHITECTURES.get(name, architecture)
    if _address(known) != _address(architecture):  # a notebook's cell may run twice
        raise ValueError(
            f"There is an architecture {name} already, of {known.__module__}; give yours another "
            "name."
        )
    own = vars(architecture).get("presets", {})
    for preset in own:
        if PRESETS.get(preset, {"model": name})["model"] != name:
            raise ValueError(
                f"There is a preset {preset!r} already, of {PRESETS[preset]['model']}; give that "
                f"of {name} another name."
            )
    ARCHITECTURES[name] = architecture
    PRESETS.update({preset: {"model": name, **content} for preset, content in own.items()})
    return architecture


def presets_of(architecture: type) -> list[str]:
    """The names of the presets of an architecture, and of those derived from it.

    Args:
        architecture: `MultiTaskModel` or a class derived from it.

    Example:

    >>> presets_of(keras_mtl.TPANet)[0]
    'tpanet_hrnet18_nyud'
    """
    return [
        name
        for name, preset in PRESETS.items()
        if issubclass(ARCHITECTURES[preset["model"]], architecture)
    ]


def preset_tasks(name: str) -> list[Task]:
    """The tasks of a preset's dataset.

    Args:
        name: a key of `PRESETS`.

    Example:

    >>> [task.name for task in preset_tasks("tpanet_hrnet18_nyud")]
    ['semseg', 'depth', 'normals', 'edge']
    """
    tasks = PRESETS[name]["tasks"]
    if callable(tasks):
        return tasks()
    dataset, *names = (tasks,) if isinstance(tasks, str) else tasks
    return getattr(task_lists, dataset)(*names)


def build_preset(
    architecture: type,
    name: str,
    tasks: Sequence[Task] | None = None,
    image_size: tuple[int, int] | None = None,
    backbone=None,
    **arguments,
):
    """A preset's model, randomly initialised; see `MultiTaskModel.from_preset`.

    Args:
        architecture: what the preset must be one of.
        name: a key of `PRESETS`.
        tasks: instead of the preset's.
        image_size: instead of the preset's.
        backbone: instead of the preset's.
        **arguments: instead of the preset's.

    Raises:
        ValueError: if it has no such preset, or both a backbone and an image size are given.
    """
    names = presets_of(architecture)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, 3, cutoff=0)
        known = (
            f"the nearest of keras_mtl.presets.PRESETS are {', '.join(near)}"
            if names
            else "it has none"
        )
        if trained := shipped.names():
            known += f" (trained ones that come with the package: {', '.join(trained)})"
        raise ValueError(
            f"Unknown preset {str(name)!r} of {architecture.__name__}, and no folder; {known}."
        )
    preset: Mapping = PRESETS[name]
    if backbone is None:
        build = preset["backbone"]
        image_shape = (*(image_size or preset["image_size"]), 3)
        how = preset.get("backbone_arguments", {})
        if callable(build):
            backbone = build(image_shape, **how)
        else:
            function, size = BACKBONES[build]
            backbone = getattr(backbones, function)(size, image_shape, **how)
    elif image_size is not None:
        raise ValueError("Both image_size and backbone are given; a backbone settles the size.")
    tasks = preset_tasks(name) if tasks is None else tasks
    return ARCHITECTURES[preset["model"]](backbone, tasks, **{**preset["arguments"], **arguments})


def _address(architecture: type) -> tuple[str, str]:
    return architecture.__module__, architecture.__qualname__
