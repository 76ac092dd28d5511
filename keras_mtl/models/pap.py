"""PAP: pattern-affinitive propagation, pixels that look alike to one task tell the others so."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_number, check_switch
from keras_mtl.backbones import FeaturePyramid, feature_pyramid
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers.convolutions import convolution
from keras_mtl.layers.pap.affinity_propagation import AffinityPropagation
from keras_mtl.losses import AffinityLoss
from keras_mtl.models.decoder_level import (
    conv_norm_relu,
    fused_features,
    predictions,
    task_features,
)
from keras_mtl.models.exchange import DECODER_RECIPE
from keras_mtl.models.initial_predictions import predict_finally, predict_initially
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

PRESETS = {
    # TPANet's Table 1. Its cost fits this form, with the matrices written out, among a few others.
    f"pap_hrnet18_{dataset}": {
        "backbone": "hrnet18",
        "image_size": image_size,
        "tasks": tasks,
        "arguments": {"iterations": 9},
        "as_published": {"full_matrices": True},
    }
    for dataset, tasks, image_size in (
        ("nyud", "nyud", (425, 560)),
        ("pascal", "pascal_context", (512, 512)),
    )
}

# Of a public re-implementation by others, 200 epochs of NYUD-v2's 795 images; its schedule is a
# cosine.
INITIAL_RECIPE = {
    **MultiTaskModel.recipe,
    "steps": 200 * 795 // 8,
    "learning_rate": 1e-4,
    "weight_decay": 1e-4,
    "global_clipnorm": None,
    "batch_size": 8,
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class PAP(MultiTaskModel):
    """Pattern-affinitive propagation between the tasks' features, on any backbone.

    Each task learns how alike any two pixels are; the affinities are mixed across tasks and the
    task's features are diffused by them (`keras_mtl.layers.AffinityPropagation`), on a grid coarser
    than the features, in a time and a memory that grow with the number of its points.

    There are two forms. On the decoder level, the default: the tasks' features of
    `keras_mtl.MultiTaskBaseline` are diffused before their last convolution. With initial
    predictions, the paper's: each task is predicted once from features of its own, D wide,
    supervised in training; its affinity features, D/2 wide, are what is diffused and what the final
    prediction is made of.

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes. Its image size is the
            model's.
        tasks: list of `keras_mtl.tasks.Task`, for instance `keras_mtl.tasks.nyud()`. Those whose
            output is no map are predicted from the backbone alone.
        width: int or None. Channels of a task's features; `None` means a quarter of the backbone's,
            and with initial predictions D = 256.
        initial_predictions: bool. Which of the two forms it is.
        grid_stride: int. Pixels of the image, along each side, that a point of the grid stands for;
            it is never finer than the features.
        iterations: int. Steps of the diffusion.
        beta: float, 0 to 1. Share of what was diffused.
        pair_loss: float or None. Weight of a loss of the affinities of all pairs of pixels
            (`keras_mtl.losses.AffinityLoss`), logged as `depth/affinity_loss`. It makes matrices of
            the square of the grid's points, in training only; `None` does without.
        full_matrices: bool. Whether the propagation makes such matrices, too, to the same result.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit, or `pair_loss` is given and a task does not say how
            alike its labels are (`keras_mtl.tasks.Task.target_affinity`).

    Example:

    ```python
    backbone = keras_mtl.backbones.hrnet("18_small", (448, 576, 3))
    model = keras_mtl.PAP(backbone, keras_mtl.tasks.nyud(), pair_loss=0.5)
    model.compile()
    model.fit(dataset)
    ```

    Reference: our reading of Zhang et al., Pattern-Affinitive Propagation across Depth, Surface
        Normal and Semantic Segmentation, CVPR 2019, of which no code is public. Certain is that
        affinities of all pairs of pixels are learned from initial features, mixed across tasks and
        used to diffuse each task's. The norm of a row, the blend at the end and its share, the loss
        of pairs and its weight, the numbers of channels and the coarser grid are not.
    """

    presets = PRESETS
    recipe = DECODER_RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        width: int | None = None,
        initial_predictions: bool = False,
        grid_stride: int = 8,
        iterations: int = 9,
        beta: float = 0.05,
        pair_loss: float | None = None,
        full_matrices: bool = False,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        if width is not None:
            width = check_integer("width", width, 1)
        full_matrices = check_switch("full_matrices", full_matrices)
        initial_predictions = check_switch("initial_predictions", initial_predictions)
        if initial_predictions and width is not None and width % 8:
            raise ValueError(
                f"width is {width}, which initial predictions halve and then split in four; use a "
                f"multiple of 8, such as {width + 8 - width % 8}."
            )
        grid_stride = check_integer("grid_stride", grid_stride, 1)
        if pair_loss is not None:
            pair_loss = check_number("pair_loss", pair_loss)
        statistics = statistics_of(backbone, image_statistics)
        propagate = AffinityPropagation(
            iterations, beta, full_matrices, name="affinity_propagation"
        )

        # === Functional model ===
        pyramid = feature_pyramid(backbone)
        inputs = keras.Input(pyramid.image_shape, name="image")
        features = pyramid(normalized_images(inputs, statistics))
        x = fused_features(features)
        size = x.shape[1:3]
        grid = grid_of(size, pyramid.image_shape, grid_stride)
        auxiliary: dict[str, Mapping[str, Any]] = {}
        if initial_predictions:
            own, auxiliary["initial"] = predict_initially(x, tasks, width or 256)
            affinities = {
                name: _affinity_features(_resized(each, grid, f"{name}_on_grid"), name)
                for name, each in own.items()
            }
            raw = predict_finally(
                tasks, _diffuse(propagate, affinities, affinities, size), features
            )
        else:
            own = task_features(x, tasks, width)
            own = {n: _resized(each, grid, f"{n}_on_grid") for n, each in own.items()}
            affinities = {
                name: conv_norm_relu(each, max(each.shape[-1] // 2, 1), 1, f"{name}_affinity")
                for name, each in own.items()
            }
            mixed = {
                name: conv_norm_relu(each, each.shape[-1], 1, f"{name}_mixed")
                for name, each in _diffuse(propagate, affinities, own, size).items()
            }
            raw = predictions(tasks, mixed, features)
        measured: dict[str, Any] = {}
        if pair_loss is not None:
            auxiliary["affinity"] = affinities
            measured["auxiliary_weights"] = {"affinity": pair_loss}
            measured["auxiliary_losses"] = {"affinity": AffinityLoss}
        super().__init__(inputs, raw, tasks, auxiliary=auxiliary, **measured, **kwargs)
        if initial_predictions:
            self.recipe = INITIAL_RECIPE

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "initial_predictions": bool(initial_predictions),
            "grid_stride": grid_stride,
            "iterations": propagate.iterations,
            "beta": propagate.beta,
            "pair_loss": pair_loss,
            "full_matrices": bool(full_matrices),
            "image_statistics": statistics,
        }


def grid_of(
    size: tuple[int, int], image_shape: tuple[int, int, int], stride: int
) -> tuple[int, int]:
    """Height and width of the grid: the image's over the stride, or the features' if that is finer.

    Args:
        size: `(h, w)` of the features.
        image_shape: `(height, width, 3)`.
        stride: int, pixels of the image.

    Example:

    >>> grid_of((107, 140), (425, 560, 3), 8), grid_of((107, 140), (425, 560, 3), 4)
    ((53, 70), (107, 140))
    """
    height, width = (
        own if own <= math.ceil(side / stride) else max(side // stride, 1)
        for own, side in zip(size, image_shape[:2], strict=True)
    )
    return height, width


def _affinity_features(x, name: str):
    """X = ReLU(W F + b), half as wide."""
    x = convolution(x.shape[-1] // 2, use_bias=True, name=f"{name}_affinity_convolution")(x)
    return keras.layers.ReLU(name=f"{name}_affinity")(x)


def _diffuse(propagate, affinities: Mapping, own: Mapping, size: tuple[int, int]) -> dict[str, Any]:
    """What becomes of each task's features on the grid, at the features' size."""
    names = list(own)
    if not names:  # no task has a map
        return {}
    affinities, start = (
        ops.stack([each[name] for name in names], axis=3) for each in (affinities, own)
    )
    diffused = propagate(affinities, start)
    return {
        name: _resized(diffused[:, :, :, t], size, f"{name}_diffused")
        for t, name in enumerate(names)
    }


def _resized(x, size: tuple[int, int], name: str):
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    return keras.layers.Resizing(*size, interpolation="bilinear", name=name)(x)
