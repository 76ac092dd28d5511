"""What `keras_hub.py` says of keras-hub's backbones; where a version differs, a test here fails.

Nothing here compares names with names: each part is held against what the backbone computes.
"""

import ast
import re
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import keras_hub as inside
from keras_mtl.backbones import kinds

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

KINDS = ["vit", "swin", "dinov2", "dinov3", "mit", "resnet"]
TRANSFORMERS = ["vit", "vit with class token", "dinov2", "dinov3"]


@pytest.fixture(scope="module")
def made(small):
    """`made(kind)`: the backbone, built once."""
    kept = {}

    def make(kind):
        if kind not in kept:
            options = {"use_class_token": True} if kind == "vit with class token" else {}
            if kind == "dinov2":
                options = {"position_embedding_shape": (56, 56, 3), "num_register_tokens": 2}
            backbone = getattr(small, kind.split()[0])(**options)
            kept[kind] = backbone.backbone if kind == "swin" else backbone
        return kept[kind]

    return make


def array(x):
    return ops.convert_to_numpy(x)


def random(*shape):
    return ops.convert_to_tensor(np.random.default_rng(0).normal(size=shape).astype("float32"))


def images_for(backbone, count=2):
    images = random(count, *backbone.image_shape)
    return {name: images for name in backbone.input} if type(backbone.input) is dict else images


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(made, kind):
    expected = "pyramid" if kind == "resnet" else kind
    assert kinds.kind_of(made(kind)) == expected
    assert isinstance(made(kind), kinds.class_of(expected))
    assert issubclass(kinds.class_of(expected), kinds.image_backbones())
    assert inside.has_vit_layers(made(kind)) == (kind == "vit")


def test_what_is_no_backbone():
    images = keras.Input((32, 32, 3))
    for other in ("resnet", None, keras.Model(images, keras.layers.Flatten()(images))):
        assert kinds.kind_of(other) is None
        assert inside.levels_of(other) == {}


@pytest.mark.parametrize("kind", ["vit", "vit with class token"])
def test_a_vit_is_its_embedding_its_blocks_and_its_norm(made, kind):
    backbone = made(kind)
    images = images_for(backbone)
    x = images
    for layer in inside.embedding_layers(backbone):
        x = layer(x)
    for block in inside.blocks_of(backbone):
        x = block(x)
    found = array(inside.final_norm(backbone)(x))
    np.testing.assert_allclose(found, array(backbone(images, training=False)), atol=1e-5)
    assert len(inside.blocks_of(backbone)) == backbone.num_layers

    # The embedding: projected patches and positions, the class token first.
    patches = array(inside.patch_projection(backbone)(images)).reshape(2, -1, 16)
    tokens = inside.prefix_tokens(backbone)
    assert list(tokens) == (["cls_token"] if "token" in kind else [])
    for token in tokens.values():
        patches = np.concatenate([np.broadcast_to(array(token), (2, 1, 16)), patches], axis=1)
    table = array(inside.position_embedding(backbone).embeddings)
    embedded = array(inside.embedding_layers(backbone)[0](images))
    np.testing.assert_allclose(patches + table, embedded, atol=1e-5)
    ((variable, size),) = inside.position_tables(backbone)
    assert variable is inside.position_embedding(backbone).embeddings and size == (64, 96)


@pytest.mark.parametrize("kind", ["dinov2", "dinov3"])
def test_what_a_dino_has_before_its_blocks(made, kind):
    """A change of each variable changes what the backbone answers, and where it should."""
    backbone = made(kind)
    images = images_for(backbone)
    before = array(backbone(images, training=False))
    tokens = inside.prefix_tokens(backbone)
    assert set(tokens) == {"cls_token", "register_tokens"} | (
        {"mask_token"} if backbone.use_mask_token else set()
    )
    variables = [tokens["cls_token"], tokens["register_tokens"]]
    variables.append(inside.patch_projection(backbone).kernel)
    variables += [inside.position_tables(backbone)[0][0]] if kind == "dinov2" else []
    variables.append(inside.final_norm(backbone).beta)
    for variable in variables:
        value = array(variable) + 0.0
        variable.assign(value + 0.5 + array(random(*value.shape)))
        assert np.abs(array(backbone(images, training=False)) - before).max() > 1e-3, variable.path
        variable.assign(value)
    np.testing.assert_array_equal(array(backbone(images, training=False)), before)


def blocks(backbone):
    if kinds.kind_of(backbone) == "swin":
        return [block for stage in inside.swin_stages(backbone) for block in stage.blocks]
    return inside.blocks_of(backbone)


@pytest.mark.parametrize("kind", ["vit", "dinov2", "dinov3", "swin"])
def test_a_block_is_its_parts(made, kind):
    """All its weights are theirs, but for the scales of a DINO's branches."""
    for block in blocks(made(kind)):
        parts = inside.parts_of(block)
        layers = [parts.norm1, parts.attention, parts.norm2, parts.mlp]
        own = [id(weight) for layer in layers for weight in layer.weights]
        if kind.startswith("dino"):
            own += map(id, inside.layer_scales(block))
        weights = [id(weight) for weight in block.weights if "seed" not in weight.path]
        assert sorted(own) == sorted(weights)
        dense = [id(w) for layer in inside.dense_layers(parts.mlp).values() for w in layer.weights]
        assert dense == [id(weight) for weight in parts.mlp.weights]


def test_a_vits_block_computes_with_its_parts(made):
    (block, *_), x = inside.blocks_of(made("vit")), random(2, 5, 16)
    parts = inside.parts_of(block)
    y = parts.norm1(x)
    found = x + parts.attention(y, y)
    found = found + parts.mlp(parts.norm2(found))
    np.testing.assert_allclose(array(found), array(block(x)), atol=1e-5)
    fc1, fc2 = inside.dense_layers(parts.mlp).values()
    np.testing.assert_allclose(array(fc2(fc1(x))), array(parts.mlp(x)), atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_an_attention_computes_with_its_projections(made, kind):
    attention, x = inside.parts_of(inside.blocks_of(made(kind))[0]).attention, random(2, 5, 16)
    project = inside.projections_of(attention)
    query, key, value = (one(x) for one in project[:3])
    found = project.output(ops.dot_product_attention(query, key, value))
    np.testing.assert_allclose(array(found), array(attention(x, x)), atol=1e-5)


def test_a_dinov3s_projections_are_its_attentions_weights(made):
    attention = inside.parts_of(inside.blocks_of(made("dinov3"))[0]).attention
    own = [id(weight) for layer in inside.projections_of(attention) for weight in layer.weights]
    assert sorted(own) == sorted(id(weight) for weight in attention.weights)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("dinov2", {"use_swiglu_ffn": True}), ["weights_in", "weights_out"]),
        (("dinov3", {"use_gated_mlp": True}), ["gate_proj", "up_proj", "down_proj"]),
        (("dinov3", {}), ["up_proj", "down_proj"]),
    ],
)
def test_gated_perceptrons(small, options, names):
    kind, arguments = options
    mlp = inside.parts_of(inside.blocks_of(getattr(small, kind)(**arguments))[0]).mlp
    assert list(inside.dense_layers(mlp)) == names
    own = [id(w) for layer in inside.dense_layers(mlp).values() for w in layer.weights]
    assert sorted(own) == sorted(id(weight) for weight in mlp.weights)


def test_a_vits_block_from_its_configuration(made):
    block = inside.blocks_of(made("vit"))[0]
    twin = keras.saving.deserialize_keras_object(inside.serialize_block(block))
    if not twin.built:
        twin.build((None, 5, 16))
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in block.weights]


def test_a_swins_attention_within_windows(made):
    swin = made("swin")
    block = inside.swin_stages(swin)[0].blocks[0]
    attention = inside.parts_of(block).attention
    window = inside.window_length(attention)
    assert window == swin.window_size == 4
    fused, output = inside.fused_projections(attention)
    table = inside.relative_positions(attention)
    x, mask = random(6, 16, 8), array(random(3, 16, 16))
    query, key, value = np.split(array(fused(x)), 3, axis=-1)
    scores = np.einsum("bnc,bmc->bnm", query / np.sqrt(8), key)
    rows, columns = np.divmod(np.arange(16), window)
    step = rows[:, None] - rows + window - 1, columns[:, None] - columns + window - 1
    scores += array(table)[step[0] * (2 * window - 1) + step[1], 0]
    for added in (None, mask):
        total = scores if added is None else scores + np.tile(added, (2, 1, 1))
        weights = np.exp(total - total.max(-1, keepdims=True))
        expected = array(output(weights / weights.sum(-1, keepdims=True) @ value))
        given = None if added is None else ops.convert_to_tensor(added)
        with inside.attention_mask_accepted():
            found = array(inside.attend(attention, x, given))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(inside.relative_position_tables(swin)) == 4


def test_a_swin_is_its_parts(made):
    swin = made("swin")
    embedding, dropout = inside.embedding_layers(swin)
    layers = [inside.patch_projection(swin), inside.patch_norm(swin), inside.final_norm(swin)]
    assert {id(w) for w in embedding.weights} == {id(w) for x in layers[:2] for w in x.weights}
    assert isinstance(dropout, keras.layers.Dropout)
    for stage in inside.swin_stages(swin):
        layers += [*stage.blocks, *([stage.merging] if stage.merging else [])]
    own = [id(weight) for layer in layers for weight in layer.weights]
    assert sorted(own) == sorted(id(weight) for weight in swin.weights)
    with_depth = keras_mtl.backbones.swin_transformer(
        "tiny", (32, 32, 3), embed_dim=8, depths=(2,), num_heads=(1,), drop_path=0.5
    )
    rates = [
        inside.stochastic_depth(block)
        for block in inside.swin_stages(with_depth.backbone)[0].blocks
    ]
    x = np.ones((64, 3, 3), "float32")
    kept = [np.unique(array(layer(x, training=True))).tolist() for layer in rates]
    assert kept == [[1.0], [0.0, 2.0]]


def test_patches_of_an_odd_grid_are_merged(made):
    merging = inside.swin_stages(made("swin"))[0].merging
    norm, reduction = inside.merging_layers(merging)
    x = array(random(1, 3, 5, 8))
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    four = [padded[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
    expected = array(reduction(norm(np.concatenate(four, axis=-1)))).reshape(1, 6, 16)
    found = inside.merge_patches(merging, ops.convert_to_tensor(x.reshape(1, 15, 8)), (3, 5))
    np.testing.assert_allclose(array(found), expected, atol=1e-5)


def test_keras_still_takes_scores_for_a_mask(small):
    """Without the filter it warns; once it does not, the filter can go."""
    with pytest.warns(UserWarning, match="Layer 'attn' .* was passed an input with a mask"):
        keras_hub.models.SwinTransformerBackbone(
            image_shape=(32, 32, 3), embed_dim=8, depths=(2,), num_heads=(1,), window_size=4
        )


def test_keras_hub_still_writes_a_blocks_key_dim(made):
    """And does not take it back; once it does, `serialize_block` can go."""
    config = inside.blocks_of(made("vit"))[0].get_config()
    assert "key_dim" in config
    with pytest.raises(ValueError, match="key_dim"):
        type(inside.blocks_of(made("vit"))[0])(**config)


def test_keras_hub_still_forgets_positions_that_grew(made):
    """Once it does not, `keep_positions` can go."""
    backbone = made("dinov2")
    (used, _), (written, _) = inside.position_tables(backbone)
    before = array(used) + 0.0
    (layer,) = [layer for layer in backbone.layers if id(used) in map(id, layer.weights)]
    store = {}
    try:
        used.assign(before + 1)
        layer.save_own_variables(store)
        assert np.abs(array(written) - array(used)).max() > 0.5
        inside.keep_positions(backbone.layers)
        np.testing.assert_array_equal(array(written), array(used))
    finally:
        used.assign(before)
        written.assign(before)


def test_keras_hubs_mit_is_still_wrong_where_it_is_not_square(small):
    """Once it is right, `takes_squares_only` can go."""
    assert kinds.takes_squares_only(small.mit()) and not kinds.takes_squares_only(small.resnet())
    try:
        backbone = small.mit((64, 96, 3))
        level = keras.Model(backbone.inputs, inside.levels_of(backbone)[1])
        size = tuple(level(random(1, 64, 96, 3)).shape[1:3])
    except Exception:  # each backend says it otherwise, and TensorFlow may not say it
        size = None
    assert size != (16, 24)


def test_levels_and_the_last_blocks_of_a_resnet(small):
    backbone = small.resnet((64, 96, 3), stages=3, blocks=2)
    levels = inside.levels_of(backbone)
    assert list(levels) == [2, 3, 4]
    assert [tuple(x.shape[1:3]) for x in levels.values()] == [(16, 24), (8, 12), (4, 6)]
    for n, level in enumerate(levels.values()):
        entering = inside.last_block_input(backbone, n)
        assert entering.shape == level.shape
        last = keras.Model(entering, level)
        convolutions = [x for x in last.layers if isinstance(x, keras.layers.Conv2D)]
        assert len(convolutions) == 2  # of a basic block, whose shortcut has none
    single = small.resnet((64, 96, 3), stages=2, blocks=1)
    assert inside.last_block_input(single, 1) is inside.levels_of(single)[2]
    assert tuple(inside.last_block_input(single, 0).shape[1:]) == (16, 24, 64)
    assert inside.last_block_input(small.mit(), 0) is None


# === The one place ===

# Names inside keras-hub's backbones that mean nothing else.
NAMES = re.compile(
    r"vit_encoder|vit_patching_and_embedding|encoder_layers|win_h|pos_drop|layer_norm_[12]"
    r"|interpolated_position_embeddings|relative_position_bias_table|lambda1|layer_scale[12]"
    r"|mha|downsample|attn|position_embeddings|DINOV2Embedding"
)


def test_nobody_else_walks_keras_hub():
    """Attributes of these names, and arguments of `get_layer`, are in `keras_hub.py` only."""
    package = Path(keras_mtl.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "attr", None) if isinstance(node, ast.Attribute) else None
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "get_layer":
                name = getattr(node.args[0], "value", None)
            if isinstance(name, str) and NAMES.fullmatch(name):
                found.append(path.relative_to(package).as_posix())
    assert set(found) == {"backbones/keras_hub.py"}
