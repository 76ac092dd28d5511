"""InvPT: a decoder in which all positions of all tasks attend to each other, stage by stage larger.

Ye and Xu, ECCV 2022.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_mtl.arguments import check_integer, check_switch
from keras_mtl.backbones import FeaturePyramid, PatchMap, feature_pyramid
from keras_mtl.backbones.stages import patch_maps
from keras_mtl.images import ImageStatistics, normalized_images, statistics_of
from keras_mtl.layers import MLP, MessagePassingAttention, UnusedWeights
from keras_mtl.layers.convolutions import batch_normalization, convolution
from keras_mtl.models.decoder_level import conv_norm_relu, predictions
from keras_mtl.models.multi_task_model import MultiTaskModel
from keras_mtl.models.registry import register_architecture
from keras_mtl.tasks import Task, check_tasks

STRIDES = (8, 16, 32)

PRESETS = {
    # TaskPrompter's Table 4 has 423 M and 669 G on PASCAL-Context.
    f"invpt_vit_large_{dataset}": {
        "backbone": "vit_large",
        "image_size": image_size,
        "tasks": tasks,
        "arguments": {"unused_weights": True},
    }
    for dataset, tasks, image_size in (
        ("nyud", "nyud", (448, 576)),
        ("pascal", "pascal_context", (512, 512)),
    )
}

# Of the released code: two images in each of three processes.
RECIPE = {
    **MultiTaskModel.recipe,
    "learning_rate": 2e-5,
    "weight_decay": 1e-6,
    "global_clipnorm": None,
    "batch_size": 6,
    "steps": 40_000,
}


@register_architecture
@keras.saving.register_keras_serializable(package="keras_mtl")
class InvPT(MultiTaskModel):
    """Inverted pyramid multi-task transformer, on a plain Vision Transformer or a pyramid.

    1. From coarse features x of stride 32, a task's own, F_t, by two 3x3 convolutions with batch
       normalization and ReLU, and its initial prediction P_t, a 1x1 convolution of them, which is
       supervised in training; a 1x1 convolution of [F_t; P_t] goes into the first stage.
    2. Three stages, at strides 32, 16 and 8. The second and the third begin with what the one
       before left, twice as large and half as many channels, plus features of the backbone. In
       each, all tasks' positions attend to each other
       (`keras_mtl.layers.MessagePassingAttention`), which hands its scores to the next one.
    3. The stages' features, at stride 4, are added up; a 3x3 convolution with batch normalization
       and ReLU and a 1x1 convolution predict each task.

    On a plain Vision Transformer, whose tokens have one stride, x is the last map at half its size,
    and the stages take up the maps after a half and after a quarter of its blocks (those of a
    DINOv2 or DINOv3, or of one with a class token, after the last one). On a pyramid, of which
    nothing is published, x is the map of stride 32, and the stages take up those of 16 and 8. The
    stages begin at twice the size of their attention, so the sides of an image must be multiples
    of 64 pixels (of a Vision Transformer four patches).

    Args:
        backbone: whatever `keras_mtl.backbones.feature_pyramid` takes that is a plain Vision
            Transformer or gives strides 8, 16 and 32. Its image size is the model's.
        tasks: list of the tasks to predict, for instance `keras_mtl.tasks.nyud()`.
        width: int. Channels E of F_t.
        prediction_width: int. Channels that the first stage has besides, for the prediction; E + K
            must be a multiple of 4 `num_heads`.
        num_heads: int. Heads of every stage.
        unused_weights: bool. Whether to have what the released network has and does not use, too
            (`keras_mtl.layers.UnusedWeights`), 7 M weights of the published figures: outputs are
            the same, a step takes longer.
        image_statistics: mean and standard deviation of red, green and blue, on the 0..255 scale,
            by which images are normalised; `None` means what the backbone's folder said
            (`keras_mtl.backbones.from_preset`), or else ImageNet's.
        **kwargs: `name` and the like, for `keras.Model`.

    Raises:
        ValueError: if an argument does not fit, or the size of the images.

    Example:

    ```python
    backbone = keras_mtl.backbones.vision_transformer("base", (448, 576, 3))
    model = keras_mtl.InvPT(backbone, keras_mtl.tasks.nyud())
    model.compile()
    model.fit(dataset)
    ```

    Reference: Ye and Xu, InvPT: Inverted Pyramid Multi-task Transformer for Dense Scene
    Understanding, ECCV 2022, in the form of the released code.
    """

    presets = PRESETS
    recipe = RECIPE

    def __init__(
        self,
        backbone: keras.Model | FeaturePyramid,
        tasks: Sequence[Task],
        width: int = 512,
        prediction_width: int = 64,
        num_heads: int = 2,
        unused_weights: bool = False,
        image_statistics: ImageStatistics | None = None,
        **kwargs,
    ):
        tasks = check_tasks(tasks)
        width = check_integer("width", width, 1)
        prediction_width = check_integer("prediction_width", prediction_width, 0)
        num_heads = check_integer("num_heads", num_heads, 1)
        dim = width + prediction_width
        if dim % (4 * num_heads):
            raise ValueError(
                f"width + prediction_width is {dim}, which the stages halve twice and split into "
                f"{num_heads} heads; use a sum that is a multiple of {4 * num_heads}."
            )
        unused_weights = check_switch("unused_weights", unused_weights)
        statistics = statistics_of(backbone, image_statistics)
        pyramid = feature_pyramid(backbone)
        if not isinstance(pyramid, PatchMap):
            pyramid = feature_pyramid(pyramid, strides=STRIDES)
        maps = [task for task in tasks if task.output == "map"]

        # === Functional model ===
        inputs = keras.Input(pyramid.image_shape, name="image")
        x, skips, features = _backbone_maps(pyramid, normalized_images(inputs, statistics))
        _check_sizes(pyramid, x, skips)
        own, initial = _predict_initially(x, maps, width)
        mixed = [
            convolution(dim, use_bias=True, name=f"{name}_mixed")(
                keras.layers.concatenate([each, initial[name]], name=f"{name}_with_prediction")
            )
            for name, each in own.items()
        ]
        if unused_weights and maps:
            mixed = UnusedWeights(num_heads, name="unused_weights")(mixed, skips[0])
        refined = dict(zip(own, _decode(mixed, skips, num_heads) if maps else [], strict=True))
        own = {name: _refine(each, dim, name) for name, each in refined.items()}
        super().__init__(
            inputs,
            predictions(tasks, own, features),
            tasks,
            auxiliary={"initial": initial} if maps else None,
            **kwargs,
        )

        # === Config ===
        self._config = {
            "backbone": keras.saving.serialize_keras_object(pyramid),
            "tasks": [keras.saving.serialize_keras_object(task) for task in tasks],
            "width": width,
            "prediction_width": prediction_width,
            "num_heads": num_heads,
            "unused_weights": bool(unused_weights),
            "image_statistics": statistics,
        }


def _backbone_maps(pyramid: FeaturePyramid, images) -> tuple[Any, list, dict]:
    """What the stages begin with, what each of them may take up, and the backbone's by stride."""
    if not isinstance(pyramid, PatchMap):
        features = pyramid(images)
        finer, fine, x = (features[stride] for stride in STRIDES)
        return x, [fine, fine, finer], features
    *earlier, last = patch_maps(pyramid, images)
    earlier = [*earlier, last, last, last][:3]
    half = tuple(max(length // 2, 1) for length in last.shape[1:3])
    return _resized(last, half, "half_size"), earlier[::-1], {min(pyramid.channels): last}


def _check_sizes(pyramid: FeaturePyramid, x, skips: Sequence) -> None:
    """Stages double in size, from one whose attention is at half its size."""
    h, w = x.shape[1:3]
    sizes = [tuple(skip.shape[1:3]) for skip in skips]
    twice, fourfold = (2 * h, 2 * w), (4 * h, 4 * w)
    if h % 2 or w % 2 or sizes[1] != twice or sizes[2] not in (twice, fourfold):
        height, width, _ = pyramid.image_shape
        unit = 4 * min(pyramid.channels) if sizes[1] == sizes[2] else 2 * STRIDES[-1]
        nearest = [max(round(side / unit), 1) * unit for side in (height, width)]
        raise ValueError(
            f"Images are {height}x{width}, but InvPT's stages double in size, for which sides must "
            f"be multiples of {unit} pixels on this backbone; build it for "
            f"{nearest[0]}x{nearest[1]}, the nearest that are."
        )


def _predict_initially(x, tasks: Sequence[Task], width: int) -> tuple[dict, dict]:
    """Features of each task's own, and its prediction from them."""
    own = {}
    for task in tasks:
        hidden = conv_norm_relu(x, x.shape[-1], 3, f"{task.name}_initial_1")
        own[task.name] = conv_norm_relu(hidden, width, 3, f"{task.name}_initial_2")
    return own, predictions(tasks, own, {}, "initial_")


# === The stages ===


def _decode(x: list, skips: list, num_heads: int) -> list:
    """Each task's features at eight times the first stage's size, the sum over the stages.

    Args:
        x: list of T tensors `(B, h, w, M)`.
        skips: maps of the backbone for the three stages; the first one's is not taken up.
        num_heads: int.
    """
    _, h, w, dim = x[0].shape
    finest, passed, stages = (8 * h, 8 * w), None, []
    for n, skip in enumerate(skips):
        stage = f"stage_{n}"
        if n > 0:
            channels, size = dim // 2**n, (h * 2**n, w * 2**n)
            enlarged = [_enlarge(each, channels, f"{stage}_{t}") for t, each in enumerate(x)]
            taken_up = _take_up(skip, channels, size, f"{stage}_skip")
            x = [keras.layers.add([each, taken_up]) for each in enlarged]
        x, passed = _attend(x, passed, num_heads, 2 ** (n + 1), stage)
        together = _normalization(f"{stage}_norm_of_all")(ops.concatenate(x, axis=-1))
        normed = ops.split(together, len(x), axis=-1)
        if n > 0:
            normed = [
                convolution(dim, use_bias=True, name=f"{stage}_{t}_widened")(each)
                for t, each in enumerate(normed)
            ]
        stages.append(
            [_resized(each, finest, f"{stage}_{t}_finest") for t, each in enumerate(normed)]
        )
    return [keras.layers.add(list(own)) for own in zip(*stages, strict=True)]


def _enlarge(x, channels: int, name: str):
    """Twice as large, in so many channels."""
    _, h, w, _ = x.shape
    x = _resized(x, (2 * h, 2 * w), f"{name}_enlarged")
    for k in (1, 2):
        x = convolution(channels, 3, dilation_rate=2, name=f"{name}_convolution_{k}")(x)
        x = keras.layers.ReLU(name=f"{name}_relu_{k}")(
            batch_normalization(name=f"{name}_norm_{k}")(x)
        )
    return x


def _take_up(skip, channels: int, size: tuple[int, int], name: str):
    """The backbone's features for a stage of a size, which may be twice theirs."""
    if tuple(skip.shape[1:3]) == tuple(size):
        return convolution(channels, 3, use_bias=True, name=name)(skip)
    uniform = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform")
    twice = keras.layers.Conv2DTranspose(
        channels, 3, strides=2, kernel_initializer=uniform, name=name
    )(skip)
    # 2 n + 1 rows, of which the first is the border that the released code leaves out.
    return keras.layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_cropped")(twice)


def _attend(x: list, passed, num_heads: int, pooling: int, stage: str) -> tuple[list, Any]:
    """One block of a stage on the maps of all tasks, and the scores that it hands on."""
    _, h, w, dim = x[0].shape
    begin = keras.initializers.TruncatedNormal(stddev=0.02)
    norm, mlp = _normalization(f"{stage}_norm"), MLP(4 * dim, 0.0, begin, name=f"{stage}_mlp")
    attention = MessagePassingAttention(num_heads, pooling, name=f"{stage}_attention")
    normed = [norm(each) for each in x]
    found = attention(normed) if passed is None else attention(normed, passed)
    attended = [
        keras.layers.add([each, _resized(update, (h, w), f"{stage}_{t}_attended")])
        for t, (each, update) in enumerate(zip(x, found["features"], strict=True))
    ]
    left = [
        keras.layers.Add(name=f"{stage}_{t}")([each, mlp(each)]) for t, each in enumerate(attended)
    ]
    return left, found["scores"]


def _refine(x, dim: int, name: str):
    """A task's features as its prediction takes them."""
    x = convolution(
        dim,
        3,
        use_bias=True,
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        name=f"{name}_convolution",
    )(x)
    return keras.layers.ReLU(name=f"{name}_features")(batch_normalization(name=f"{name}_norm")(x))


def _normalization(name: str) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=1e-5, name=name)


def _resized(x, size: tuple[int, int], name: str):
    return keras.layers.Resizing(*size, interpolation="bilinear", name=name)(x)
