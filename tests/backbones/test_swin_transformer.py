"""The Swin Transformer against Hugging Face's, and what a feature pyramid keeps to."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones.feature_pyramid import FeaturePyramid
from keras_mtl.backbones.swin_transformer import SWIN_SIZES, SwinTransformer, swin_transformer

TINY = {"embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8), "drop_path": 0.0}
# Two stages of two blocks: grids of 9 x 13, padded to 12 x 16 and shifted, and of 5 x 7.
SHAPE = (33, 50, 3)
SMALL = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4, "drop_path": 0.0}


def small(image_shape=SHAPE, **arguments):
    return swin_transformer("tiny", image_shape, **{**SMALL, **arguments})


def model_of(backbone):
    """The backbone in a model, its features as a list from fine to coarse."""
    images = keras.Input(backbone.image_shape)
    features = backbone(images)
    return keras.Model(images, [features[stride] for stride in sorted(features)])


def randomize(model):
    """Every weight far from its start, activations still of size one."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        kind = weight.path.split("/")[-1]
        if kind == "kernel":
            value = rng.normal(0, math.sqrt(2 / math.prod(weight.shape[:-1])), weight.shape)
        elif kind == "gamma":
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif kind == "relative_position_bias_table":
            value = rng.normal(0, 1, weight.shape)
        else:
            assert kind in ("bias", "beta"), weight.path
            value = rng.normal(0, 0.3, weight.shape)
        weight.assign(value)


def random_images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def images():
    return random_images(3, *SHAPE)


@pytest.fixture(scope="module")
def model():
    """For tests that leave it as it is."""
    model = model_of(small())
    randomize(model)
    return model


@pytest.fixture(scope="module")
def features(model, images):
    """Of the first two images."""
    return model.predict_on_batch(images[:2])


# === The network ===


def hugging_face(pyramid):
    """The same network with the same weights as a `transformers.SwinBackbone`."""
    torch = pytest.importorskip("torch", reason="the reference is in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the reference is its Swin")
    backbone = pyramid.backbone
    stages = [f"stage{i}" for i in range(1, len(backbone.depths) + 1)]
    config = transformers.SwinConfig(
        image_size=backbone.image_shape[0],
        patch_size=backbone.patch_size,
        embed_dim=backbone.embed_dim,
        depths=list(backbone.depths),
        num_heads=list(backbone.num_heads),
        window_size=backbone.window_size,
        out_features=stages,
    )
    with torch.device("cpu"):
        twin = transformers.SwinBackbone(config).eval()

    array, state = ops.convert_to_numpy, {}

    def norm(name, layer):
        state[f"{name}.weight"] = array(layer.gamma)
        state[f"{name}.bias"] = array(layer.beta)

    def dense(name, layer):
        state[f"{name}.weight"] = array(layer.kernel).T
        if layer.use_bias:
            state[f"{name}.bias"] = array(layer.bias)

    embedding = backbone.patch_embedding
    name = "swin.embeddings.patch_embeddings.projection"
    state[f"{name}.weight"] = array(embedding.proj.kernel).transpose(3, 2, 0, 1)
    state[f"{name}.bias"] = array(embedding.proj.bias)
    norm("swin.embeddings.norm", embedding.norm)
    for i, stage in enumerate(backbone.stages):
        for n, block in enumerate(stage.blocks):
            name = f"swin.encoder.layers.{i}.blocks.{n}"
            norm(f"{name}.layernorm_before", block.norm1)
            norm(f"{name}.layernorm_after", block.norm2)
            kernels, biases = (
                np.split(array(weight), 3, axis=-1)
                for weight in (block.attn.qkv.kernel, block.attn.qkv.bias)
            )
            for one, kernel, bias in zip("qkv", kernels, biases, strict=True):
                state[f"{name}.attention.{one}_proj.weight"] = kernel.T
                state[f"{name}.attention.{one}_proj.bias"] = bias
            dense(f"{name}.attention.o_proj", block.attn.proj)
            table = array(block.attn.relative_position_bias_table)
            state[f"{name}.attention.relative_position_bias.relative_position_bias_table"] = table
            dense(f"{name}.mlp.fc1", block.mlp.fc1)
            dense(f"{name}.mlp.fc2", block.mlp.fc2)
        if stage.downsample is not None:
            name = f"swin.encoder.layers.{i}.downsample"
            norm(f"{name}.norm", stage.downsample.norm)
            dense(f"{name}.reduction", stage.downsample.reduction)
    for stage, layer in zip(stages, [*pyramid.norms, backbone.norm], strict=True):
        norm(f"hidden_states_norms.{stage}", layer)
    norm("swin.layernorm", backbone.norm)
    twin.load_state_dict(  # refuses keys that lack and keys that nobody takes
        {key: torch.tensor(value, device="cpu") for key, value in state.items()}
    )
    return twin


def channels_first(images):
    import torch

    return torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")


def expected_features(pyramid, images):
    """What Hugging Face makes of the images, unshifted where a grid is at most one window.

    Its `SwinBackbone` shifts there too, unlike its `SwinModel`, the published classifiers and so
    the pretrained weights; its `SwinModel` fails on grids that are smaller than a window.
    """
    twin = hugging_face(pyramid)
    import torch

    for stride, stage in zip(pyramid.channels, twin.swin.encoder.layers, strict=True):
        if min(images.shape[1:3]) <= stride * pyramid.backbone.window_size:
            for block in stage.blocks:
                block.shift_size = 0
    with torch.no_grad():
        maps = twin(channels_first(images)).feature_maps
    return [x.permute(0, 2, 3, 1).numpy() for x in maps]


def assert_features(found, expected, title):
    errors = []
    for one, wanted in zip(found, expected, strict=True):
        assert one.shape == wanted.shape
        assert 0.7 < wanted.std() < 1.4
        errors.append(np.abs(one - wanted).max())
    named = " ".join(f"{error:.1e}" for error in errors)
    print(f"{keras.backend.backend()}: {title}, max abs differences {named}")
    assert max(errors) < 1e-4


@pytest.fixture(scope="module")
def tiny_backbone():
    """All published but the width: its pretrained sizes would be more to compute."""
    backbone = swin_transformer("tiny", (224, 224, 3), **TINY).backbone
    randomize(backbone)
    return backbone


@pytest.mark.parametrize(
    "size",
    [(224, 224), (448, 576), (512, 512), (225, 307), (64, 96)],
    ids=lambda size: "x".join(map(str, size)),
)
def test_features_are_hugging_faces(tiny_backbone, size):
    images = random_images(2 if max(size) < 400 else 1, *size, 3)
    pyramid = SwinTransformer(tiny_backbone, images.shape[1:])
    model = model_of(pyramid)
    for norm in pyramid.norms:
        randomize(norm)
    found = model.predict_on_batch(images)
    assert_features(found, expected_features(pyramid, images), size)

    if size == (224, 224):
        # The last stage is one window: not shifted, as in the published classifiers.
        classifier = hugging_face(pyramid).swin
        import torch

        with torch.no_grad():
            expected = classifier(channels_first(images)).last_hidden_state.numpy()
        assert_features([found[-1].reshape(2, 49, 96)], [expected], "classifier")


def test_features_of_few_tokens(model, images, features):
    """Two stages; also of an image of one patch and one pixel more."""
    pyramid = model.layers[-1]
    assert_features(features, expected_features(pyramid, images[:2]), SHAPE[:2])
    fewest = SwinTransformer(pyramid.backbone, (5, 1, 3))
    images = images[:, :5, :1]
    found = [ops.convert_to_numpy(x) for x in fewest(images).values()]
    assert_features(found, expected_features(fewest, images), (5, 1))


@pytest.mark.once("torch", "the layers are those of the narrow network above")
def test_swin_tiny_is_hugging_faces():
    images = random_images(1, 257, 390, 3)
    pyramid = swin_transformer("tiny", images.shape[1:])
    model = model_of(pyramid)
    randomize(model)
    expected = expected_features(pyramid, images)
    assert_features(model.predict_on_batch(images), expected, "Swin-T at 257x390")


@pytest.mark.once("torch", "the figures need no second backend, only memory")
@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("tiny", 27_520_698),
        ("small", 48_838_602),
        ("base", 86_745_016),
        ("large", 194_998_164),
    ],
)
def test_parameters_are_the_published_ones(size, parameters):
    backbone = swin_transformer(size, (425, 560, 3))
    backbone.build((None, 425, 560, 3))
    assert sum(math.prod(weight.shape) for weight in backbone.trainable_weights) == parameters
    width = SWIN_SIZES[size]["embed_dim"]
    assert backbone.channels == {4: width, 8: 2 * width, 16: 4 * width, 32: 8 * width}
    assert backbone.backbone.window_size == 7


# === The given backbone ===


def test_on_the_grid_the_last_map_is_the_backbones():
    pyramid = small((32, 32, 3))
    model = model_of(pyramid)
    randomize(model)
    images = random_images(2, 32, 32, 3)
    found = model.predict_on_batch(images)[-1]
    assert pyramid.backbone.image_shape == (32, 32, 3) and found.shape == (2, 4, 4, 16)
    expected = pyramid.backbone.predict_on_batch(images)
    np.testing.assert_allclose(found.reshape(2, 16, 16), expected, atol=1e-5)


def test_the_backbones_weights_are_the_layers(model):
    backbone = model.layers[-1].backbone
    kept = backbone.get_weights()
    pyramid = SwinTransformer(backbone, (24, 40, 3))
    pyramid.build((None, 24, 40, 3))
    assert pyramid.backbone is backbone and pyramid.image_shape == (24, 40, 3)
    own = {id(weight) for weight in pyramid.weights}
    assert {id(weight) for weight in backbone.weights} < own
    assert len(pyramid.weights) == len(backbone.weights) + 2  # the norm of the first stage
    for weight, value in zip(backbone.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(weight, value)
    assert SwinTransformer(backbone).image_shape == backbone.image_shape == (32, 32, 3)


# === Sizes ===


@pytest.mark.parametrize("size", [(33, 50), (64, 96), (5, 1), (425, 560)])
def test_output_sizes(model, size):
    pyramid = SwinTransformer(model.layers[-1].backbone, (*size, 3))
    symbolic = pyramid(keras.KerasTensor((None, *size, 3)))
    assert list(symbolic) == list(pyramid.channels) == [4, 8]
    for stride, symbol in symbolic.items():
        expected = [math.ceil(length / stride) for length in size]
        assert symbol.shape == (None, *expected, 2 * stride)  # width 8: twice as many channels


def test_sizes_at_the_crop_of_nyud(tiny_backbone):
    pyramid = SwinTransformer(tiny_backbone, (425, 560, 3))
    spec = pyramid.compute_output_spec(keras.KerasTensor((2, 425, 560, 3)))
    shapes = [tuple(symbol.shape) for symbol in spec.values()]
    assert shapes == [(2, 107, 140, 12), (2, 54, 70, 24), (2, 27, 35, 48), (2, 14, 18, 96)]


# === As a layer ===


def test_a_training_step_reaches_every_weight(images):
    model = model_of(small())
    before = [ops.convert_to_numpy(weight) + 0.0 for weight in model.weights]
    loss = keras.losses.MeanSquaredError()
    # Tracing the step for TensorFlow takes longer than the step.
    eager = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.SGD(1.0), loss=[loss] * 2, run_eagerly=eager)
    rng = np.random.default_rng(2)
    targets = [rng.normal(size=(3, *x.shape[1:])).astype("float32") for x in model.outputs]
    model.train_on_batch(images, targets)
    assert len(model.trainable_weights) == len(model.weights) == 4 + 4 * 13 + 3 + 2 * 2
    for weight, old in zip(model.weights, before, strict=True):
        change = ops.convert_to_numpy(weight) - old
        assert np.isfinite(change).all() and np.abs(change).max() > 1e-6, weight.path


def test_batch_neighbours_do_not_matter(model, images, features):
    others = model.predict_on_batch(images[[0, 2]])
    for found, other in zip(features, others, strict=True):
        np.testing.assert_allclose(other[0], found[0], rtol=0, atol=1e-6 * found.max())
        assert np.abs(other[1] - found[1]).max() > 0.01


def test_stochastic_depth_in_training_only():
    pyramid = small(depths=(2,), num_heads=(1,), drop_path=0.5)  # rates 0 and 0.5
    assert pyramid.channels == {4: 8}
    randomize(pyramid)
    images = np.repeat(random_images(1, *SHAPE), 32, axis=0)
    found = ops.convert_to_numpy(pyramid(images, training=False)[4])
    np.testing.assert_allclose(found, np.repeat(found[:1], 32, axis=0), atol=1e-5)
    # One image 32 times: each time with or without the attention and with or without the MLP.
    trained = ops.convert_to_numpy(pyramid(images, training=True)[4])
    kinds = np.unique(trained[:, 0, 0].round(2), axis=0)
    assert 2 <= len(kinds) <= 4
    kept = np.abs(trained - found).max(axis=(1, 2, 3)) < 1e-3
    assert not kept.any()  # what is kept is doubled


def test_built_before_any_call():
    pyramid = small()
    pyramid.build((None, *SHAPE))
    before = [weight.path for weight in pyramid.weights]
    model_of(pyramid)
    assert [weight.path for weight in pyramid.weights] == before


def test_config_round_trips():
    pyramid = SwinTransformer(small(qkv_bias=False).backbone, SHAPE, name="pyramid")
    serialized = json.dumps(keras.saving.serialize_keras_object(pyramid))
    for twin in (
        SwinTransformer.from_config(pyramid.get_config()),
        keras.saving.deserialize_keras_object(json.loads(serialized)),
    ):
        assert type(twin) is SwinTransformer and isinstance(twin, FeaturePyramid)
        assert json.dumps(keras.saving.serialize_keras_object(twin)) == serialized
        assert twin.image_shape == SHAPE and twin.name == "pyramid"
        assert tuple(twin.backbone.image_shape) == (32, 32, 3) and not twin.backbone.qkv_bias


def test_saved_inside_a_model(model, images, features, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is SwinTransformer
    for found, expected in zip(loaded.predict_on_batch(images[:2]), features, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * expected.max())


def test_in_bfloat16(model, images, features):
    half = model_of(small(dtype="mixed_bfloat16"))
    half.set_weights(model.get_weights())
    assert {symbol.dtype for symbol in half.outputs} == {"bfloat16"}
    assert {weight.dtype for weight in half.trainable_weights} == {"float32"}
    backbone = half.layers[-1].backbone
    inner = [*backbone.layers[1:], *half.layers[-1].norms, backbone.stages[0].blocks[1].attn]
    assert {layer.compute_dtype for layer in inner} == {"bfloat16"}
    for found, expected in zip(half.predict_on_batch(images[:2]), features, strict=True):
        assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
        # bfloat16 keeps 8 bits: near, and not the same.
        error = np.abs(np.asarray(found, "float32") - expected).mean() / expected.std()
        assert 0 < error < 0.1


# === Wrong arguments ===


def test_unknown_size():
    with pytest.raises(
        ValueError, match="'huge'; choose one of .*'tiny', 'small', 'base', 'large'"
    ) as error:
        swin_transformer("huge", SHAPE)
    assert "\n" not in str(error.value)


def test_another_backbone():
    for backbone, found in [(keras.Sequential(), "a Sequential"), ("tiny", "a str")]:
        with pytest.raises(ValueError, match=f"{found} .*SwinTransformerBackbone") as error:
            SwinTransformer(backbone)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "shape", [(None, None, 3), (None, 50, 3), (33, 0, 3), (33, 50), (33, 50, 4)]
)
def test_image_shapes_that_do_not_do(model, shape):
    with pytest.raises(ValueError, match=r"found the image shape \(.*3 channels; give") as error:
        SwinTransformer(model.layers[-1].backbone, shape)
    assert str(shape) in str(error.value) and "\n" not in str(error.value)


def test_channels_first():
    backbone = small().backbone
    backbone.data_format = "channels_first"
    with pytest.raises(ValueError, match="'channels_first' .* channels last; build it") as error:
        SwinTransformer(backbone)
    assert "\n" not in str(error.value)


def test_images_of_another_size_than_built_for(model):
    pyramid = model.layers[-1]
    for images in (np.ones((1, 33, 51, 3), "float32"), keras.KerasTensor((None, 33, 51, 3))):
        with pytest.raises(ValueError, match=r"expected shape=\(None, 33, 50, 3\)"):
            pyramid(images)


# === Rematerialisation ===


def test_remat_changes_no_feature_and_no_gradient(images, gradient):
    plain, again = (small(remat=remat, drop_path=0.0) for remat in (False, True))
    assert again.get_config()["remat"] and not plain.get_config()["remat"]
    randomize(plain)
    again.set_weights(plain.get_weights())

    def total(x, pyramid):
        return sum(ops.sum(ops.sin(x)) for x in pyramid(x, training=True).values())

    found, expected = (gradient(lambda x, p=p: total(x, p), images[:1]) for p in (again, plain))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_remat_and_dropout():
    with pytest.raises(ValueError, match="remat=True and a backbone with dropout"):
        small(remat=True, dropout_rate=0.1)
