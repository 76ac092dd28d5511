"""Plain Transformers walked block by block, against `transformers` at several image sizes."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import from_preset, keras_hub
from keras_mtl.backbones.trunk import tokens_of, trunk_of
from keras_mtl.layers import PromptedEncoderBlock
from tests import small

DINOS = ["DINOv2", "DINOv2, gated", "DINOv2 with registers", "DINOv3", "DINOv3, gated"]
# Of the weights' own size, and of 5 x 7 patches: one axis shrinks for it, the other grows.
SHAPES = [None, (24, 56, 3), (40, 56, 3)]


def hidden_states(model, images):
    """The tokens after every block, and the normalised last ones, of PyTorch's network."""
    import torch

    pixels = torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")
    with torch.no_grad():
        found = model(pixels, output_hidden_states=True)
    return [each.numpy() for each in (*found.hidden_states[1:], found.last_hidden_state)]


def walk(backbone, images, num_prompts, **how):
    """The same by TaskPrompter's blocks, with prompts that patches do not see, or with none."""
    trunk, found = trunk_of(backbone), []
    patches = tokens_of(backbone, "tokens")(images)
    prompts = ops.ones((len(images), num_prompts, patches.shape[-1]))
    how |= {"prefix_tokens": trunk.prefix_tokens, "rotary_theta": trunk.rotary_theta}
    for block in trunk.blocks:
        out = PromptedEncoderBlock(block, trunk.grid, **how)(prompts, patches)
        prompts, patches = out["prompts"], out["patches"]
        found.append(patches)
    return [ops.convert_to_numpy(each) for each in (*found, trunk.norm(patches))], out


@pytest.mark.parametrize("kind", DINOS)
def test_every_block_is_that_of_transformers(folders, kind):
    folder, model = folders(kind)
    for shape in SHAPES:
        backbone = from_preset(folder, image_shape=shape)
        rng = np.random.default_rng(1)
        images = rng.normal(size=(1, *backbone.image_shape)).astype("float32")
        expected = hidden_states(model, images)
        no_prompts, _ = walk(backbone, images, 0)
        unseen, _ = walk(
            backbone, images, 2, spatial_prompts=False, channel_windows=(1, 1), variant="released"
        )
        for found in (no_prompts, unseen):
            for one, wanted in zip(found, expected, strict=True):
                assert 0.1 < wanted.std() < 10
                np.testing.assert_allclose(one, wanted, atol=1e-4)


@pytest.mark.parametrize("kind", ["dinov2", "dinov3"])
def test_affinities_are_of_prompts_and_patches(kind):
    """Of the queries and keys that attention multiplies: only patches are turned by positions."""
    backbone = getattr(small, kind)((16, 24), num_layers=1)
    rng = np.random.default_rng(2)
    for weight in backbone.weights:
        weight.assign(rng.normal(0.1, 0.5, weight.shape))
    images = rng.normal(size=(1, 16, 24, 3)).astype("float32")
    trunk = trunk_of(backbone)
    _, out = walk(backbone, images, 2)
    parts = keras_hub.parts_of(trunk.blocks[0])
    tokens = ops.convert_to_numpy(tokens_of(backbone, "tokens")(images))
    tokens = np.concatenate([np.ones((1, 2, 8), "float32"), tokens], axis=1)
    tokens = ops.convert_to_numpy(parts.norm1(tokens))[0]
    project = keras_hub.projections_of(parts.attention)

    def heads(layer):
        kernel, *bias = (ops.convert_to_numpy(each) for each in layer.weights)
        return (tokens @ kernel.reshape(8, 8) + sum(b.reshape(-1) for b in bias)).reshape(-1, 2, 4)

    query, key = (heads(each) for each in (project.query, project.key))
    if kind == "dinov3":  # a patch at (y, x) in -1..1 turns numbers 0 and 2 by 2 pi y, 1 and 3 by x
        places = [(y, x) for y in (-1 / 2, 1 / 2) for x in (-2 / 3, 0, 2 / 3)]
        for n, place in enumerate(places, start=2 + trunk.prefix_tokens):
            for i, angle in enumerate(2 * np.pi * np.array(place)):
                a, b = key[n, :, i].copy(), key[n, :, i + 2].copy()
                key[n, :, i] = a * np.cos(angle) - b * np.sin(angle)
                key[n, :, i + 2] = b * np.cos(angle) + a * np.sin(angle)
    expected = np.einsum("thd,nhd->htn", query[:2], np.delete(key, [2, 3, 4], axis=0))
    found = ops.convert_to_numpy(out["spatial_affinity"])[0]
    assert found.shape == expected.shape == (2, 2, 2 + 6)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.once("torch", "sizes, messages and configurations know no backend")
def test_sizes_and_refusals():
    dinov2, dinov3 = keras_mtl.backbones.dinov2, keras_mtl.backbones.dinov3
    with pytest.raises(ValueError, match="Unknown size 'huge' of a DINO; choose one of .*'base'"):
        dinov2("huge", (28, 28, 3))
    with pytest.raises(ValueError, match="width 30 is not a multiple of the patch size 14"):
        dinov2("small", (28, 30, 3))
    with pytest.raises(ValueError, match="Image height 17 is not a multiple of the patch size 16"):
        dinov3("small", (17, 32, 3))
    with pytest.raises(ValueError, match="is a ResNetBackbone; expected a plain Transformer: .*"):
        trunk_of(small.resnet((32, 32)))
    with pytest.raises(ValueError, match="head of 6 numbers has no rotary positions, .* in fours"):
        keras_mtl.backbones.rotary_positions.rotary_table((2, 3), 6, 100.0)
    for kind in ("dinov2", "dinov3"):
        backbone = getattr(small, kind)((16, 24))
        tokens = tokens_of(backbone, "tokens")
        twin = type(tokens).from_config(tokens.get_config())
        images = np.ones((2, 16, 24, 3), "float32")
        assert tuple(twin(images).shape) == (2, 9, 8)
        assert tuple(tokens(keras.Input((16, 24, 3))).shape) == (None, 9, 8)


@pytest.mark.once("torch", "keras-hub forgets positions on every backend alike")
def test_a_task_prompter_saves_the_positions_that_a_dinov2_learned(tmp_path):
    """Also where they grew on the whole; and it shows what its prompts attend to."""
    tasks = keras_mtl.tasks.nyud("semseg", "depth")
    model = keras_mtl.TaskPrompter(
        small.dinov2((16, 24)), tasks, channel_windows=(1, 1), prompting_levels=2, decode_dim=4
    )
    (table,) = [w for w in model.trainable_weights if "interpolated_position" in w.path]
    table.assign(table + 1)
    image = np.full((1, 16, 24, 3), 100, "uint8")
    expected = model.predict_on_batch(image)
    model.save(tmp_path / "model.keras")
    loaded = keras_mtl.load_model(tmp_path / "model.keras")
    for name, found in loaded.predict_on_batch(image).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-5)
    figure = keras_mtl.visualize.affinity(loaded, image[0], heads=1)
    assert {"semseg", "depth"} < {axis.get_title() for axis in figure.axes}
    assert {id(w) for w in model.backbone_variables} > {id(table)}
