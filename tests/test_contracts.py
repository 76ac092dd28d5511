"""What every model and every layer keeps to.

A new architecture is one line in MODELS and runs through everything here; a new layer is one
line in LAYERS.
"""

import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl import layers, rooms
from keras_mtl.backbones import PatchTokens, keras_hub, vision_transformer
from keras_mtl.computation.sublayers import every_layer
from keras_mtl.tasks import nyud, pascal_context
from tests import small

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SIZE = (32, 48)


def tiny_vit(image_size=SIZE, patch_size=16):
    return vision_transformer(
        "tiny",
        (*image_size, 3),
        patch_size,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
    )


def task_prompter(tasks, image_size=SIZE, patch_size=16, windows=(2, 3), **arguments):
    return keras_mtl.TaskPrompter(
        tiny_vit(image_size, patch_size),
        tasks,
        channel_windows=windows,
        prompting_levels=1,
        decode_dim=8,
        **arguments,
    )


def task_prompter_on_swin(tasks, image_size=SIZE, patch_size=4, windows=None, **arguments):
    return keras_mtl.TaskPrompter(
        small.swin(image_size), tasks, channel_dim=4, decode_dim=8, **arguments
    )


def task_prompter_on_dinov3(tasks, image_size=SIZE, patch_size=16, windows=(2, 3), **arguments):
    backbone = small.dinov3(image_size, patch_size)
    return keras_mtl.TaskPrompter(
        backbone, tasks, channel_windows=windows, prompting_levels=2, decode_dim=8, **arguments
    )


def baseline_on_dinov2(tasks, image_size=SIZE, patch_size=16, windows=None, **arguments):
    return keras_mtl.MultiTaskBaseline(small.dinov2(image_size, patch_size), tasks, **arguments)


def on_resnet(
    architecture, tasks, image_size=SIZE, patch_size=4, windows=None, size=None, **arguments
):
    return architecture(small.resnet(image_size, **(size or {})), tasks, **arguments)


def mti_net(tasks, image_size=SIZE, patch_size=4, windows=None, **arguments):
    backbone = keras_mtl.backbones.HRNet(
        (*image_size, 3), width=8, bottlenecks=1, modules=(1, 1, 1), blocks=1
    )
    return keras_mtl.MTINet(backbone, tasks, **arguments)


def invpt(tasks, image_size=SIZE, patch_size=16, windows=None, **arguments):
    backbone = tiny_vit(image_size, max(patch_size // 4, 1))
    return keras_mtl.InvPT(backbone, tasks, width=12, prediction_width=4, **arguments)


def astmt(tasks, image_size=SIZE, patch_size=4, windows=None, **arguments):
    backbone = keras_mtl.backbones.SEResNet((*image_size, 3), (1, 1, 1, 1), (4, 4, 6, 6), stem=4)
    model = keras_mtl.ASTMT(backbone, tasks, width=8, **arguments)
    for layer in every_layer(model):  # its kernels begin so small that float16 has no such maps
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(ops.full(layer.moving_variance.shape, 1e-3))
    return model


def encoder_block(*arguments, **how):
    block = tiny_vit().get_layer("vit_encoder").encoder_layers[0]
    return layers.PromptedEncoderBlock(block, (2, 3), *arguments, **how)


def swin_block(**how):
    return layers.PromptedSwinBlock(small.swin_block(1), (2, 3), channel_dim=4, **how)


def swin_merging():
    return keras_hub.swin_stages(small.swin(SIZE).backbone)[1].merging


def attention():
    return keras.layers.MultiHeadAttention(num_heads=2, key_dim=8)


# Between them the models predict every kind of task. Convolutional backbones take images of any
# size; `patch_size` and `windows` are TaskPrompter's.
MODELS = {
    "TaskPrompter": (task_prompter, nyud()),
    "TaskPrompter released": (
        functools.partial(task_prompter, variant="released"),
        pascal_context("human_parts", "sal", "edge"),
    ),
    "TaskPrompter on Swin": (task_prompter_on_swin, nyud("semseg", "normals")),
    "TaskPrompter on Swin released": (
        functools.partial(task_prompter_on_swin, variant="released"),
        nyud(),
    ),
    "TaskPrompter on DINOv3": (task_prompter_on_dinov3, nyud("semseg", "depth")),
    "TPANet": (
        functools.partial(
            on_resnet, keras_mtl.TPANet, size={"stages": 4}, dim=8, groups=2, head_width=8
        ),
        nyud(),
    ),
    "MultiTaskBaseline on DINOv2": (baseline_on_dinov2, pascal_context("semseg", "edge")),
    "MultiTaskBaseline": (
        functools.partial(on_resnet, keras_mtl.MultiTaskBaseline, head_width=8),
        pascal_context("semseg", "sal", "normals"),
    ),
    "CrossStitch": (
        functools.partial(on_resnet, keras_mtl.CrossStitch, level="encoder", width=8),
        pascal_context("semseg", "sal"),
    ),
    "NDDRCNN": (functools.partial(on_resnet, keras_mtl.NDDRCNN, width=8), nyud("depth", "edge")),
    "PAP": (
        functools.partial(
            on_resnet,
            keras_mtl.PAP,
            width=16,
            initial_predictions=True,
            iterations=2,
            pair_loss=0.5,
        ),
        nyud("depth", "normals"),
    ),
    "PSD": (
        functools.partial(on_resnet, keras_mtl.PSD, width=8, window=3),
        pascal_context("semseg", "sal"),
    ),
    "MTAN": (
        functools.partial(on_resnet, keras_mtl.MTAN, size={"blocks": 2}, head_width=8),
        nyud("depth", "edge"),
    ),
    "ATRC": (
        functools.partial(
            on_resnet,
            keras_mtl.ATRC,
            # It begins without context, which gets no gradient in the first step.
            genotype=[["s-label", "none"], ["none", "local"]],
        ),
        pascal_context("human_parts", "normals"),
    ),
    "ATRCSearch": (
        functools.partial(
            on_resnet,
            keras_mtl.ATRCSearch,
            size={"blocks": 2},
            steps=4,
            entropy_weight=(0, 0),  # which has a loss without any label
        ),
        pascal_context("sal"),
    ),
    "PADNet": (
        functools.partial(on_resnet, keras_mtl.PADNet, width=8),
        nyud("semseg", "edge"),
    ),
    "MTFormer": (
        functools.partial(
            on_resnet,
            keras_mtl.MTFormer,
            width=32,
            window=3,
            num_heads=2,
            memory_size=5,
            negatives=2,
            embedding_width=32,  # of fewer rectified units all may be 0, and nothing learns
        ),
        nyud("semseg", "depth", "normals"),
    ),
    "ASTMT": (astmt, nyud("semseg", "edge")),
    "MTINet": (mti_net, pascal_context("human_parts", "normals")),
    "InvPT": (invpt, pascal_context("sal", "edge")),
    "MQTransformer": (
        functools.partial(
            on_resnet, keras_mtl.MQTransformer, width=8, num_queries=3, num_heads=2, head_width=8
        ),
        nyud("semseg", "normals"),
    ),
}
# What foundation features do is tested on every backend by the trunks and layers themselves.
ON_ONE_BACKEND = {name: pytest.mark.once("torch", "as ViT's") for name in MODELS if "DINO" in name}
# What a model says that cannot take odd images.
NOT_ODD = {"InvPT": "Images are 49x35, .* multiples of 4 pixels .* build it for 48x36"}

PROMPTS, PATCHES = (3, 16), (6, 16)  # T = 3 tasks, N = 2 x 3 patches, C = 16
SPATIAL, CHANNEL = (2, 3, 6), (6, 3, 16)  # affinities
FEATURES = (3, 2, 3, 8)

# A function that makes the layer, and the shapes of its inputs without the batch axis; a list of
# shapes is one input, a list of tensors.
LAYERS = {
    "TaskPrompts": (lambda: layers.TaskPrompts(3), [PATCHES]),
    "TaskPrompts truncated": (lambda: layers.TaskPrompts(3, truncated=True), [PATCHES]),
    "PatchTokens": (lambda: PatchTokens.of(tiny_vit()), [(*SIZE, 3)]),
    "SpatialTaskPromptLearning": (
        lambda: layers.SpatialTaskPromptLearning(attention()),
        [PROMPTS, PATCHES],
    ),
    "ChannelTaskPromptLearning": (
        lambda: layers.ChannelTaskPromptLearning((2, 3), (2, 3)),
        [PROMPTS, PATCHES],
    ),
    "ChannelTaskPromptLearning last": (
        lambda: layers.ChannelTaskPromptLearning((2, 3), (1, 3), update_prompts=False),
        [PROMPTS, PATCHES],
    ),
    "ChannelTaskPromptLearning released": (
        lambda: layers.ChannelTaskPromptLearning((2, 3), (2, 3), variant="released"),
        [PROMPTS, PATCHES],
    ),
    "PromptedEncoderBlock": (
        lambda: encoder_block((2, 3), stochastic_depth=0.1),
        [PROMPTS, PATCHES],
    ),
    "PromptedEncoderBlock last": (
        lambda: encoder_block((2, 3), update_prompts=False),
        [PROMPTS, PATCHES],
    ),
    "PromptedEncoderBlock released": (
        lambda: encoder_block((2, 3), variant="released"),
        [PROMPTS, PATCHES],
    ),
    "PromptedEncoderBlock spatial": (encoder_block, [PROMPTS, PATCHES]),
    "PromptedEncoderBlock channel": (
        lambda: encoder_block((2, 3), spatial_prompts=False),
        [PROMPTS, PATCHES],
    ),
    "SpatialChannelPromptDecoding": (
        lambda: layers.SpatialChannelPromptDecoding(3, (2, 3), (2, 3), decode_dim=8),
        [PATCHES, SPATIAL, CHANNEL],
    ),
    "SpatialChannelPromptDecoding released": (
        lambda: layers.SpatialChannelPromptDecoding(
            3, (2, 3), (2, 3), variant="released", decode_dim=8, final_dim=12
        ),
        [PATCHES, SPATIAL, CHANNEL],
    ),
    "SpatialChannelPromptDecoding spatial": (
        lambda: layers.SpatialChannelPromptDecoding(3, (2, 3)),
        [PATCHES, SPATIAL, None],
    ),
    "SpatialChannelPromptDecoding channel": (
        lambda: layers.SpatialChannelPromptDecoding(3, (2, 3), (2, 3), spatial_prompts=False),
        [PATCHES, None, CHANNEL],
    ),
    "CrossTaskReweighting": (lambda: layers.CrossTaskReweighting(3), [FEATURES, (2, 3, 3)]),
    "CrossTaskReweighting released": (
        lambda: layers.CrossTaskReweighting(3, variant="released"),
        [FEATURES, (2, 3, 3)],
    ),
    "WindowTaskPromptLearning": (
        lambda: layers.WindowTaskPromptLearning(small.swin_block(1).attn, (2, 3)),
        [(3, 8), (6, 8)],
    ),
    "WindowTaskPromptLearning shifted": (
        lambda: layers.WindowTaskPromptLearning(small.swin_block(1).attn, (3, 4), True),
        [(3, 8), (12, 8)],
    ),
    "ReducedChannelTaskPromptLearning": (
        lambda: layers.ReducedChannelTaskPromptLearning(16, (2, 2)),
        [PROMPTS, PATCHES],
    ),
    "PromptedSwinBlock": (lambda: swin_block(stochastic_depth=0.1), [(3, 8), (6, 8)]),
    "PromptedSwinBlock released": (
        lambda: swin_block(variant="released", channel_windows=(2, 1)),
        [(3, 8), (6, 8)],
    ),
    "PromptMerging": (lambda: layers.PromptMerging(swin_merging(), (2, 3)), [(3, 8), (6, 8)]),
    "PromptMerging affinities": (
        lambda: layers.PromptMerging(swin_merging(), (2, 3)),
        [(3, 8), (6, 8), (2, 3, 6), (1, 3, 8)],
    ),
    "LevelPromptDecoding": (
        lambda: layers.LevelPromptDecoding((2, 3), (2, 3), 8, 12, upsampling=2),
        [PATCHES, (2, 6), (6, 16)],
    ),
    "AffinityPropagation": (
        lambda: layers.AffinityPropagation(iterations=2),
        [(4, 6, 3, 5), (4, 6, 3, 8)],
    ),
    "AffinityPropagation full": (
        lambda: layers.AffinityPropagation(iterations=2, full_matrices=True),
        [(4, 6, 3, 5), (4, 6, 3, 8)],
    ),
    "PatternStructureDiffusion": (
        lambda: layers.PatternStructureDiffusion(3, 2),
        [(4, 6, 3, 5)],
    ),
    "DeformableConvolution": (lambda: layers.DeformableConvolution(3), [(5, 6, 4)]),
    "LevelPyramid": (lambda: layers.LevelPyramid(8), [[(6, 12, 4), (3, 6, 5)]]),
    "AdaptedConvolution": (
        lambda: layers.AdaptedConvolution(8, 3, dilation=2, num_tasks=2),
        [(4, 5, 6)],
    ),
    "SqueezeExcitation": (lambda: layers.SqueezeExcitation(2), [(4, 5, 6)]),
    "GradientDiscriminator": (lambda: layers.GradientDiscriminator(3), [(4, 5, 6)]),
    "SwinBlock": (lambda: layers.SwinBlock(2, window=3, shifted=True), [(4, 5, 8)]),
    "CrossTaskBlock": (
        lambda: layers.CrossTaskBlock(2, window=3, shifted=True),
        [[(4, 5, 8)] * 3],
    ),
    "AlignedUpsampling": (layers.AlignedUpsampling, [(4, 5, 8)]),
    "ContrastiveMemory": (lambda: layers.ContrastiveMemory(6, 4, seed=0), [[(8,)] * 2]),
    "PredictionHead": (lambda: layers.PredictionHead(5), [(4, 6, 8)]),
    "PredictionHead upsampling": (
        lambda: layers.PredictionHead(5, width=4, upsampling=4, activation="relu"),
        [(4, 6, 8)],
    ),
    "TransposedUpsampling": (layers.TransposedUpsampling, [(4, 6, 8)]),
    "BasicBlock": (lambda: layers.BasicBlock(8), [(4, 6, 8)]),
    "Bottleneck": (lambda: layers.Bottleneck(4), [(4, 6, 8)]),
    "TaskPriorExtractor": (lambda: layers.TaskPriorExtractor(3, 8, groups=2), [(4, 6, 12)]),
    "MLP": (lambda: layers.MLP(5, dropout=0.1), [(6, 8)]),
    "AdaptiveTaskMixing": (lambda: layers.AdaptiveTaskMixing(), [(4, 6, 3, 8)]),
    "CrossAttention": (lambda: layers.CrossAttention(), [(4, 6, 8), (4, 6, 8)]),
    "CrossAttention pooled": (
        lambda: layers.CrossAttention(num_heads=1, key_value_pooling=2),
        [(5, 6, 8), (5, 6, 8)],
    ),
    "ClassRegions": (layers.ClassRegions, [(4, 6, 5)]),
    "ClassRegions padding": (
        lambda: layers.ClassRegions(padding=255),
        [(4, 6, 5), (16, 24, 3)],
    ),
    "ContextPooling global": (
        lambda: layers.ContextPooling("global"),
        [(4, 6, 8), (4, 6, 8)],
    ),
    "ContextPooling local": (
        lambda: layers.ContextPooling("local", window=3),
        [(4, 6, 8), (4, 6, 8)],
    ),
    "ContextPooling label": (
        lambda: layers.ContextPooling("t-label"),
        [(4, 6, 8), (4, 6, 8), (24, 5)],
    ),
    "AttentionMask": (lambda: layers.AttentionMask(8), [(4, 6, 12)]),
    "SharedRefinement": (lambda: layers.SharedRefinement(8, pooling=2), [[(5, 6, 4)] * 2]),
    "CrossStitchUnit": (layers.CrossStitchUnit, [[(4, 6, 8)] * 3]),
    "NDDR": (lambda: layers.NDDR(0.8, 0.05), [[(4, 6, 8)] * 2]),
    "MultiModalDistillation": (
        lambda: layers.MultiModalDistillation(receivers=[2, 0]),
        [[(4, 6, 8)] * 3],
    ),
    "MultiModalDistillation target": (
        lambda: layers.MultiModalDistillation(gate="target"),
        [[(4, 6, 8)] * 2],
    ),
    "FeaturePropagation": (layers.FeaturePropagation, [[(4, 6, 16)] * 2]),
    "FeaturePropagation adjacent": (
        lambda: layers.FeaturePropagation("adjacent"),
        [[(4, 6, 16)] * 3],
    ),
    "MessagePassingAttention": (
        lambda: layers.MessagePassingAttention(),
        [[(4, 6, 8)] * 3],
    ),
    "MessagePassingAttention passed": (
        lambda: layers.MessagePassingAttention(pooling=4),
        [[(8, 4, 8)] * 2, (2, 4, 4)],
    ),
    "MultiQueryTransformer": (
        lambda: layers.MultiQueryTransformer(3, num_heads=2),
        [[(4, 6, 8)] * 2],
    ),
    "MultiQueryTransformer published": (
        lambda: layers.MultiQueryTransformer(
            3, 2, "batch", dropout=0, stochastic_depth=0, unused_weights=True
        ),
        [[(4, 6, 8)] * 2],
    ),
    "QueryAttention": (layers.QueryAttention, [(3, 8), (24, 8), (24, 8)]),
    "PositionAttention": (layers.PositionAttention, [(24, 8)]),
    "PositionAttention batch": (lambda: layers.PositionAttention(2, "batch"), [(24, 8)]),
    "UnusedWeights": (lambda: layers.UnusedWeights(), [[(4, 6, 8)] * 2, (3, 5, 6)]),
    "ResidualMLP": (
        lambda: layers.ResidualMLP(dropout=0.1, stochastic_depth=0.1),
        [(4, 6, 8)],
    ),
}


# Layers of as many operations as a model, among them four softmaxes one behind the other, which
# pass on several times the error that they are given.
DEEP = {"MultiQueryTransformer"}


def arrays_of(outputs):
    """The outputs as a flat list of float32 arrays."""
    return [ops.convert_to_numpy(ops.cast(x, "float32")) for x in keras.tree.flatten(outputs)]


def compute(layer, inputs):
    """What the layer, which is built, gives: JAX would compile every operation by itself.

    Compiled as a whole JAX has no product of float16 on a CPU.
    """
    if keras.backend.backend() == "jax" and layer.compute_dtype != "float16":
        import jax

        return jax.jit(layer)(*inputs)
    return layer(*inputs)


def maps_of(model, images):
    """What the model gives; under JAX compiled as a whole, but in half precision, as rounded there
    between operations as elsewhere."""
    if keras.backend.backend() == "jax" and model.compute_dtype == "float32":
        return model.predict_on_batch(images)
    return model(images, training=False)


def assert_same(found, expected, atol=1e-6):
    for a, b in zip(arrays_of(found), arrays_of(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol * max(1, np.abs(b).max()))


# Distance from 1 to the next larger number; rounding is off by half of it at most.
EPSILON = {"bfloat16": 2**-7, "float16": 2**-10}


@pytest.fixture(params=list(EPSILON))
def half(request):
    """Layers and models made in a test compute in this dtype."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{request.param}")
    yield request.param
    keras.config.set_dtype_policy(before)


def assert_within_precision(found, expected, dtype, roundings):
    """`roundings` in a row, each off by half an epsilon, add up like a random walk."""
    found, expected = (
        np.concatenate([x.ravel() for x in arrays_of(each)]) for each in (found, expected)
    )
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert 0 < error < np.sqrt(roundings) * EPSILON[dtype] / 2


# === Layers ===


def test_every_layer_is_listed():
    made = {type(make()).__name__ for make, _ in LAYERS.values()}
    # FCOS3DHead takes a dict by stride and gives float32: tests/layers/fcos3d.
    assert made == {*layers.__all__, "PatchTokens"} - {"FCOS3DHead"}


@pytest.fixture(params=list(LAYERS))
def make_and_shapes(request):
    keras.utils.set_random_seed(0)  # the weights that are compared in half precision
    return LAYERS[request.param]


def random_inputs(shapes):
    rng = np.random.default_rng(0)
    return made(shapes, lambda shape: rng.normal(size=(2, *shape)).astype("float32"))


def symbols(shapes, batch=None):
    return made(shapes, lambda shape: keras.KerasTensor((batch, *shape), "float32"))


def made(shapes, make):
    return [
        made(shape, make) if isinstance(shape, list) else None if shape is None else make(shape)
        for shape in shapes
    ]


def assert_symbols_tell_the_truth(layer, shapes):
    symbolics = {batch: layer(*symbols(shapes, batch)) for batch in (2, None)}
    real = compute(layer, random_inputs(shapes))
    for batch, symbolic in symbolics.items():
        assert keras.tree.map_structure(lambda x: None, symbolic) == keras.tree.map_structure(
            lambda x: None, real
        )
        pairs = zip(keras.tree.flatten(symbolic), keras.tree.flatten(real), strict=True)
        for symbol, value in pairs:
            assert tuple(symbol.shape) == (batch, *value.shape[1:])
            assert symbol.dtype == keras.backend.standardize_dtype(value.dtype)
            assert symbol.dtype == layer.compute_dtype
    return real


def test_layer_from_its_config(make_and_shapes):
    make, shapes = make_and_shapes
    layer, inputs = make(), random_inputs(shapes)
    expected = layer(*inputs)
    serialized = keras.saving.serialize_keras_object(layer)
    twins = [
        type(layer).from_config(layer.get_config()),
        keras.saving.deserialize_keras_object(json.loads(json.dumps(serialized))),
    ]
    for twin in twins:
        assert type(twin) is type(layer) and twin.name == layer.name
        twin(*inputs)  # builds it
        assert [w.shape for w in twin.weights] == [w.shape for w in layer.weights]
        twin.set_weights(layer.get_weights())
        assert_same(twin(*inputs), expected)
        again = keras.saving.serialize_keras_object(twin)
        assert json.dumps(again["config"]) == json.dumps(serialized["config"])


def test_layer_shapes_and_dtypes(make_and_shapes):
    make, shapes = make_and_shapes
    real = assert_symbols_tell_the_truth(make(), shapes)
    assert all(np.isfinite(x).all() for x in arrays_of(real))


def test_layer_in_half_precision(make_and_shapes, half):
    make, shapes = make_and_shapes
    layer = make()
    real = assert_symbols_tell_the_truth(layer, shapes)
    assert layer.compute_dtype == half
    assert all(w.dtype == "float32" for w in layer.trainable_weights)
    keras.config.set_dtype_policy("float32")
    whole, inputs = make(), random_inputs(shapes)
    whole(*inputs)  # builds it
    whole.set_weights(layer.get_weights())
    # Weights, inputs, and what at most 32 operations give to the next one.
    roundings = 1024 if type(layer).__name__ in DEEP else 32
    assert_within_precision(real, whole(*inputs), half, roundings)


def test_layer_saved_inside_a_model(make_and_shapes, tmp_path):
    make, shapes = make_and_shapes
    symbolic = made(shapes, keras.Input)
    model = keras.Model([x for x in symbolic if x is not None], make()(*symbolic))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    inputs = [x for x in random_inputs(shapes) if x is not None]
    assert_same(loaded(inputs), model(inputs))


# === Models ===


def test_every_model_is_listed():
    known = {
        name
        for name in keras_mtl.models.__all__
        if isinstance(getattr(keras_mtl.models, name), type) and name != "MultiTaskModel"
    }
    assert {type(build(tasks)).__name__ for build, tasks in MODELS.values()} == known


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=ON_ONE_BACKEND.get(name, ())) for name in MODELS],
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def tasks(kind):
    return MODELS[kind][1]


@pytest.fixture(scope="module")
def build(kind):
    """`build(**arguments)`: a new model of this kind."""
    function, tasks = MODELS[kind]
    return functools.partial(function, tasks)


@pytest.fixture(scope="module")
def model(build):
    """For tests that leave it as it is."""
    keras.utils.set_random_seed(0)  # its weights are compared in half precision
    return build()


@pytest.fixture(scope="module")
def scenes(tasks):
    return rooms.arrays(tasks, 2, SIZE, seed=2)  # with people in both


@pytest.fixture(scope="module")
def expected(model, scenes):
    return model(scenes[0], training=False)


def test_model_outputs(model, tasks, expected):
    assert set(model.output) == set(expected) == {task.name for task in tasks}
    for task in tasks:
        value, symbol = expected[task.name], model.output[task.name]
        assert tuple(value.shape) == (2, *SIZE, task.channels)
        assert tuple(symbol.shape) == (None, *SIZE, task.channels)
        assert symbol.dtype == keras.backend.standardize_dtype(value.dtype) == "float32"
    assert all(np.isfinite(x).all() for x in arrays_of(expected))
    assert model.image_size == SIZE


@pytest.mark.once("torch", "a graph is cut alike on every backend")
def test_branches_compute_what_the_model_does(model, tasks, scenes, expected):
    """What tasks share, then each task's branch: where gradients are balanced."""
    if len(tasks) == 1:
        pytest.skip("one task shares nothing with another")
    branches = model.branches
    features = keras.tree.flatten(branches.shared(scenes[0], training=False))
    assert list(branches.own) == [task.name for task in model.supervised_tasks]
    for task in tasks:
        places, branch = branches.own[task.name]
        taken = [features[place] for place in places]
        found = branch(taken if len(taken) > 1 else taken[0], training=False)
        assert_same(found[task.name], expected[task.name])


ONCE = pytest.mark.once("torch", "sizes are worked out alike on every backend")


@pytest.mark.parametrize(
    ("image_size", "patch_size"),
    [
        pytest.param((16, 16), 16, id="one patch", marks=ONCE),
        pytest.param((16, 80), 16, id="one row", marks=ONCE),
        pytest.param((49, 35), 7, id="odd"),
    ],
)
def test_model_at_other_sizes(kind, build, tasks, image_size, patch_size):
    if kind in NOT_ODD and image_size[0] % 2:
        with pytest.raises(ValueError, match=NOT_ODD[kind]):
            build(image_size=image_size, patch_size=patch_size, windows=(1, 1))
        return
    model = build(image_size=image_size, patch_size=patch_size, windows=(1, 1))
    outputs = maps_of(model, np.full((1, *image_size, 3), 100.0))
    for task in tasks:
        assert outputs[task.name].shape == (1, *image_size, task.channels)
        assert np.isfinite(ops.convert_to_numpy(outputs[task.name])).all()


def test_model_in_half_precision(model, build, tasks, scenes, expected, half):
    twin = build()
    assert twin.compute_dtype == half
    assert twin.get_layer("image_normalization").compute_dtype == "float32"
    assert {w.dtype for w in twin.weights if "seed" not in w.path} == {"float32"}
    twin.set_weights(model.get_weights())
    found = maps_of(twin, scenes[0])
    for task in tasks:
        assert keras.backend.standardize_dtype(found[task.name].dtype) == "float32"
        assert found[task.name].shape == expected[task.name].shape
        assert {metric.dtype for metric in task.metrics()} == {task.loss().dtype} == {"float32"}
    # Between the image and a map lie fewer operations. All maps together: where one is a small
    # difference of large numbers, it alone is off by more.
    assert_within_precision(found, expected, half, roundings=256)


def test_a_saved_model_keeps_its_precision(build, scenes, half, tmp_path):
    twin = build()
    twin.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    assert keras.config.dtype_policy().name == "float32"
    policies = [[x.dtype_policy.name for x in m._flatten_layers()] for m in (loaded, twin)]
    assert policies[0] == policies[1] and f"mixed_{half}" in policies[0]
    assert_same(maps_of(loaded, scenes[0]), maps_of(twin, scenes[0]))


def test_model_takes_bytes_and_floats(model, scenes, expected):
    images, _ = scenes
    assert images.dtype == "uint8"
    assert_same(model(images.astype("float32"), training=False), expected)


def test_model_from_its_config(model, scenes, expected):
    serialized = keras.saving.serialize_keras_object(model)
    twins = [
        type(model).from_config(model.get_config()),
        keras.saving.deserialize_keras_object(json.loads(json.dumps(serialized))),
    ]
    for twin in twins:
        assert type(twin) is type(model) and twin.name == model.name
        assert [repr(task) for task in twin.tasks] == [repr(task) for task in model.tasks]
        assert [w.shape for w in twin.weights] == [w.shape for w in model.weights]
        twin.set_weights(model.get_weights())
        assert_same(twin(scenes[0], training=False), expected)
        again = keras.saving.serialize_keras_object(twin)
        assert json.dumps(again["config"]) == json.dumps(serialized["config"])


def test_a_trained_model_as_a_folder(model, scenes, expected, tmp_path):
    folder = tmp_path / "shared" / "mine"
    model.save_to_preset(folder)
    assert sorted(p.name for p in folder.parent.rglob("*") if p.is_file()) == [
        "config.json",
        "metadata.json",
        "model.weights.h5",
    ]
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["class"] == type(model).__name__
    assert metadata["tasks"] == [task.name for task in model.tasks]
    assert metadata["parameters"] == model.count_params()
    loaded = type(model).from_preset(folder)
    assert type(loaded) is type(keras_mtl.MultiTaskModel.from_preset(str(folder))) is type(model)
    assert_same(loaded(scenes[0], training=False), expected)


@pytest.mark.parametrize("load", [keras.saving.load_model, keras_mtl.load_model])
def test_model_comes_back_from_its_file(model, scenes, expected, tmp_path, load):
    model.save(tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert_same(loaded(scenes[0], training=False), expected)


# === Training ===


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """A model loaded from a file has the same step as the saved one: JAX need not compile it."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("jax")))
    yield
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(scope="module")
def trainee(build):
    """Trained step after step by the tests below; one compiled step serves them all.

    TensorFlow traces for longer than these steps take, and keeps every graph of a step for good
    (`findings/keras_tensorflow_keeps_graphs_of_steps.sh`): gigabytes, with so many architectures.
    """
    model = build()
    model.compile(run_eagerly=keras.backend.backend() == "tensorflow")
    return model


@pytest.mark.once("tensorflow", "elsewhere the other tests run the steps as users run them")
def test_loss_and_gradients_in_a_graph(trainee, scenes):
    """What `fit` compiles, for batches of any size, but for the optimizer, which makes it stay."""
    import tensorflow as tf

    images, labels = (
        keras.tree.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), part)
        for part in scenes
    )

    @tf.function(input_signature=[images, labels], autograph=False)
    def differentiate(images, labels):
        with tf.GradientTape() as tape:
            outputs = trainee(images, training=True)
            loss = trainee.compute_loss(images, labels, outputs)
        variables = [v.value for v in trainee.trainable_variables]
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(each) for each in gradients]  # one may be sparse

    loss, gradients = differentiate(*scenes)
    assert 0 < loss < np.inf
    # Of a table that is looked up in they are slices.
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


def test_a_frozen_backbone_stays_as_it_is(build, scenes):
    """Its batch normalizations too; the rest learns."""
    model = build()
    frozen = {id(variable) for variable in model.backbone_variables}
    model.freeze_backbone()
    assert len(model.trainable_weights) <= len(model.weights) - len(frozen) < len(model.weights)
    # Tracing the step for TensorFlow takes longer than the step.
    eager = keras.backend.backend() == "tensorflow"
    # A rate at which no step of a kernel behind several perceptrons is rounded away.
    model.compile(keras.optimizers.SGD(0.1), metrics=None, run_eagerly=eager)
    before = [np.array(ops.convert_to_numpy(variable)) for variable in model.weights]
    model.train_on_batch(*scenes)
    heads, own = 0, tuple(f"{task.name}_" for task in model.tasks)
    for variable, values in zip(model.weights, before, strict=True):
        moved = not np.array_equal(ops.convert_to_numpy(variable), values)
        if id(variable) in frozen:
            assert not moved, variable.path
        elif variable.path.startswith(own) and variable.path.endswith("kernel"):
            assert moved, variable.path
            heads += 1
    assert heads >= len(model.tasks)
    model.freeze_backbone(False)
    assert {id(variable) for variable in model.trainable_weights} & frozen


def assert_finite(model, logs):
    for key, values in logs.items():
        assert np.isfinite(values).all(), key
    for weight in model.weights:
        assert np.isfinite(ops.convert_to_numpy(ops.cast(weight, "float32"))).all(), weight.path


def expected_keys(tasks, auxiliary=()):
    keys = {"loss", *(f"{name}_loss" for name in auxiliary)}
    for task in tasks:
        keys |= {f"{task.name}_loss"}
        keys |= {f"{task.name}_{metric.name}" for metric in task.metrics()}
    return keys


def test_fit_on_arrays(trainee, tasks, scenes):
    before = trainee.get_weights()
    logs = trainee.fit(*scenes, batch_size=2, verbose=0).history
    assert set(logs) == expected_keys(tasks, trainee.auxiliary)
    assert_finite(trainee, logs)
    moved = [not np.array_equal(a, b) for a, b in zip(before, trainee.get_weights(), strict=True)]
    assert np.mean(moved) > 0.9
    assert trainee.optimizer.iterations == trainee.updates_a_step


def test_fit_on_a_dataset_with_more_labels(trainee, tasks, scenes):
    tf = pytest.importorskip("tensorflow")
    images, labels = scenes
    extra = {**labels, "instances": np.zeros((2, *SIZE), "int32")}
    dataset = tf.data.Dataset.from_tensor_slices((images, extra)).batch(2)
    logs = trainee.fit(dataset, validation_data=dataset, verbose=0).history
    wanted = expected_keys(tasks, trainee.auxiliary)
    assert set(logs) == wanted | {f"val_{key}" for key in expected_keys(tasks)}
    assert_finite(trainee, logs)


def test_evaluate(trainee, tasks, scenes):
    scores = trainee.evaluate(*scenes, batch_size=2, verbose=0, return_dict=True)
    assert set(scores) == expected_keys(tasks)
    total = sum(task.loss_weight * scores[f"{task.name}_loss"] for task in tasks)
    assert scores["loss"] == pytest.approx(total, rel=1e-5)


def test_missing_labels(trainee, tasks, scenes):
    images, labels = scenes
    none = {task.name: np.stack([task.no_label(*SIZE)] * 2) for task in tasks}
    for task in tasks:
        logs = trainee.fit(
            images, {**labels, task.name: none[task.name]}, batch_size=2, verbose=0
        ).history
        assert_finite(trainee, logs)
        assert logs.pop(f"{task.name}_loss") == [0.0]
        assert logs["loss"][0] > 0 or len(tasks) == 1
        assert all(logs[f"{other.name}_loss"][0] > 0 for other in tasks if other is not task)
    logs = trainee.fit(images, none, batch_size=2, verbose=0).history
    assert_finite(trainee, logs)
    assert all(values == [0.0] for values in logs.values()), logs


def test_partly_labelled_batch(trainee, tasks, scenes):
    # Labelled is the right half of the first image only.
    images, labels = scenes
    partial = {}
    for task in tasks:
        partial[task.name] = np.stack([task.no_label(*SIZE)] * 2)
        partial[task.name][0, :, 24:] = labels[task.name][0, :, 24:]
    scores = trainee.evaluate(images, partial, batch_size=2, verbose=0, return_dict=True)
    outputs = trainee(images, training=False)
    for task in tasks:
        right = task.loss()(labels[task.name][:1, :, 24:], outputs[task.name][:1, :, 24:])
        right = float(ops.convert_to_numpy(right))
        assert scores[f"{task.name}_loss"] == pytest.approx(right, rel=1e-4), task


def test_training_goes_on_from_a_checkpoint(trainee, scenes, tmp_path):
    file = tmp_path / "model.keras"
    how = {"batch_size": 2, "shuffle": False, "verbose": 0}
    checkpoint = keras.callbacks.ModelCheckpoint(file)
    trainee.fit(*scenes, callbacks=[checkpoint], **how)
    resumed = keras_mtl.load_model(file, compile=True)
    variables = zip(resumed.optimizer.variables, trainee.optimizer.variables, strict=True)
    for a, b in variables:
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
    for a, b in zip(resumed.non_trainable_variables, trainee.non_trainable_variables, strict=True):
        if a.path.endswith("seed_generator_state"):
            # Keras does not save it, and stochastic depth draws from it.
            a.assign(ops.convert_to_numpy(b))
    expected, found = (model.fit(*scenes, epochs=2, **how).history for model in (trainee, resumed))
    assert set(found) == set(expected)
    for key, values in expected.items():
        if key.endswith("loss"):
            assert found[key] == pytest.approx(values, rel=1e-4), key
