"""What ATRC's networks have in common: features, predicted classes, and what becomes of context."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.backbones import FeaturePyramid, PatchMap
from keras_mtl.backbones.stages import patch_maps
from keras_mtl.layers.atrc.class_regions import ClassRegions
from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.models.decoder_level import conv_norm_relu, fused_features
from keras_mtl.tasks import Task


def shared_features(pyramid: FeaturePyramid, images) -> tuple[Any, dict[int, Any]]:
    """The map that tasks share, and the backbone's by stride.

    Of a plain Vision Transformer: its tokens after each quarter of its blocks, by 1x1 convolutions
    to 5/16 of their channels each (320 of 1024), at stride 4 and concatenated.

    Args:
        pyramid: the backbone.
        images: tensor `(B, H, W, 3)`, normalised.

    Returns:
        Tensor `(B, h, w, C)`, and a dict `{stride: tensor}`.
    """
    if not isinstance(pyramid, PatchMap):
        features = pyramid(images)
        return fused_features(features), features
    maps = patch_maps(pyramid, images)
    size = [math.ceil(length / 4) for length in pyramid.image_shape[:2]]
    resized = [
        keras.layers.Resizing(*size, interpolation="bilinear", name=f"stride_4_{n}")(
            convolution(max(5 * x.shape[-1] // 16, 1), use_bias=True, name=f"projection_{n}")(x)
        )
        for n, x in enumerate(maps, start=1)
    ]
    x = keras.layers.Concatenate(name="concatenated_features")(resized)
    return x, dict(zip(pyramid.channels, maps[-1:], strict=True))


def class_regions(
    x, images, tasks: Sequence[Task], image_size: tuple[int, int], padding: float | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where each task's classes are, by an auxiliary prediction that x gets no gradient from.

    Args:
        x: tensor `(B, h, w, C)`, the features that tasks share.
        images: tensor `(B, H, W, 3)`, normalised.
        tasks: list of those whose classes are predicted.
        image_size: `(height, width)` of the logits for the loss.
        padding: see `keras_mtl.layers.ClassRegions`.

    Returns:
        Two dicts by task name: shares of pixels `(B, h w, K)`, and logits `(B, H, W, K)`.
    """
    regions, logits = {}, {}
    for task in tasks:
        classes, _ = task.discretization()
        own = conv_norm_relu(ops.stop_gradient(x), x.shape[-1], 1, f"{task.name}_classes")
        small = keras.initializers.RandomNormal(stddev=0.01)
        predict = keras.layers.Dense(
            classes, kernel_initializer=small, name=f"{task.name}_classes_prediction"
        )
        predicted = predict(own)
        find = ClassRegions(padding, name=f"{task.name}_regions")
        regions[task.name] = find(predicted) if padding is None else find(predicted, images)
        logits[task.name] = keras.layers.Resizing(
            *image_size, interpolation="bilinear", dtype="float32", name=f"{task.name}_classes_map"
        )(predicted)
    return regions, logits


def loss_of_classes(task: Task) -> keras.losses.Loss:
    """That of a map of the logits of a task's classes."""
    return task.discretization()[1]


def refined(own: Mapping[str, Any], contexts: Mapping[str, Sequence], dropout: float) -> dict:
    """Each task's features, with what context there is.

    The contexts together are reduced to the features' width by a 1x1 convolution and batch
    normalization that begins as 0, so that a network begins without context; then both by a 1x1
    convolution, batch normalization, ReLU and a dropout of whole channels.

    Args:
        own: dict by task name of tensors `(B, h, w, D)`.
        contexts: dict by task name of lists of tensors `(B, h, w, d)`, maybe empty.
        dropout: float. Share of the channels that are left out in training.

    Returns:
        Dict by task name of tensors `(B, h, w, D)`.
    """
    found = {}
    for name, x in own.items():
        width = x.shape[-1]
        if contexts[name]:
            pooled = contexts[name]
            pooled = keras.layers.Concatenate()(pooled) if len(pooled) > 1 else pooled[0]
            pooled = convolution(
                width, kernel_initializer="glorot_uniform", name=f"context_{name}_convolution"
            )(pooled)
            pooled = batch_normalization(gamma_initializer="zeros", name=f"context_{name}_norm")(
                pooled
            )
            x = keras.layers.Concatenate(name=f"{name}_with_context")([x, pooled])
        x = conv_norm_relu(x, width, 1, f"{name}_refined")
        found[name] = (
            keras.layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(x) if dropout else x
        )
    return found
