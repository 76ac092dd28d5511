import json

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import cost
from keras_mtl.backbones import FeaturePyramid
from keras_mtl.models.registry import PRESETS
from keras_mtl.tasks import nyud


def conv_dense_attention():
    image = keras.Input((8, 12, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv")(image)  # (4, 6, 8)
    tokens = keras.layers.Reshape((24, 8))(x)
    attended = keras.layers.MultiHeadAttention(num_heads=2, key_dim=5, name="mha")(tokens, tokens)
    classes = keras.layers.Dense(7, name="dense")(keras.layers.Add()([tokens, attended]))
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    scores = keras.layers.Dense(9, name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, [classes, scores])


def test_counted_by_hand():
    conv = 4 * 6 * 8 * (3 * 3 * 3)
    projections = 4 * 24 * 8 * (2 * 5)  # query, key, value, output
    scores = 2 * 24 * 24 * 5
    weighted = 2 * 24 * 24 * 5
    dense = 24 * 8 * 7 + 8 * 9
    model = conv_dense_attention()
    total = conv + projections + scores + weighted + dense
    resized = 4 * (8 * 12 * 8)
    assert cost.macs(model) == cost.Macs(total, scores + weighted, resized, resized)

    conv = 3 * 3 * 3 * 8 + 8
    attention = 3 * (8 * 10 + 10) + 10 * 8 + 8
    dense = 8 * 7 + 7 + 8 * 9 + 9
    assert cost.parameters(model) == conv + attention + dense


def test_as_much_in_mixed_precision():
    expected, policy = cost.macs(conv_dense_attention()), keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = cost.macs(conv_dense_attention())
    finally:
        keras.config.set_dtype_policy(policy)
    assert found[:2] == expected[:2]


def test_normalization_and_resizing_counted_by_hand():
    image = keras.Input((8, 12, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(5, 1, strides=2)(image))
    x = keras.layers.UpSampling2D(2)(x)  # nearest, no operation
    x = keras.layers.Resizing(7, 9, interpolation="bilinear")(x)
    head = keras_mtl.layers.PredictionHead(4, width=6, upsampling=2)
    expected = 2 * 4 * 6 * 5 + 4 * 7 * 9 * 5 + 4 * 14 * 18 * 5 + 2 * 14 * 18 * 6
    found = cost.macs(keras.Model(image, head(x)))
    assert found.elementwise == expected
    assert found.resizing == 4 * 7 * 9 * 5 + 4 * 14 * 18 * 5


@pytest.mark.parametrize(
    ("variant", "parameters", "macs", "attention"),
    [("paper", 51_191, 582_064, 20_736), ("released", 42_477, 533_120, 19_584)],
)
def test_same_on_every_backend(variant, parameters, macs, attention):
    backbone = keras_mtl.backbones.vision_transformer(
        "tiny", (32, 48, 3), num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    model = keras_mtl.TaskPrompter(
        backbone, nyud(), variant=variant, channel_windows=(2, 3), decode_dim=8
    )
    assert cost.parameters(model) == parameters
    assert cost.macs(model)[:2] == (macs, attention)


def test_normalizations_and_resizing():
    """As tools count them that look at each layer: 2 and 4 for each number given."""
    image = keras.Input((8, 12, 3))
    block = keras_mtl.layers.BasicBlock(5)  # with a projection: three normalizations
    x = keras.layers.Resizing(7, 9)(block(image))
    x = keras.layers.Resizing(14, 18, interpolation="nearest")(x)
    scaled = keras.layers.LayerNormalization()(keras.layers.Rescaling(2.0)(x))
    found = cost.macs(keras.Model(image, scaled))
    assert found.elementwise == 2 * 3 * (8 * 12 * 5) + 4 * (7 * 9 * 5)


def test_attention_in_chunks_counts_as_written(monkeypatch):
    """Chunks, loops and padded heads do not show: 4 * S^2 * D for each of TPANet's tasks."""
    monkeypatch.setattr("keras_mtl.layers.attention.CHUNK", 8)
    attend = keras_mtl.layers.CrossAttention(num_heads=2)
    image = keras.Input((5, 7, 3))
    features = keras.layers.Conv2D(12, 1)(image)
    model = keras.Model(image, attend(features, features))
    length, dim = 5 * 7, 12
    projections = (2 + 1 + 1 + 2) * length * dim**2  # twice the queries and the outputs
    products = 4 * length**2 * dim
    conv = length * 3 * dim
    assert cost.macs(model) == cost.Macs(conv + projections + products, products)
    assert model.predict(np.ones((1, 5, 7, 3)), verbose=0).shape == (1, 5, 7, 12)  # and it runs


def test_a_layer_that_looks_at_values():
    """`ops.split` has PyTorch read the places where to cut."""
    image = keras.Input((5, 7, 3))
    parts = keras.layers.Lambda(lambda x: keras.ops.split(x, [1], axis=-1)[1])(image)
    model = keras.Model(image, keras.layers.Conv2D(4, 1)(parts))
    assert cost.macs(model) == cost.Macs(5 * 7 * 2 * 4, 0)


# What the baseline on HRNet-18 has and costs, normalization and interpolation counted, too.
BASELINE = 4_515_824, 17.65e9


class HRNetsMaps(FeaturePyramid):
    """Maps of HRNet-18's sizes, for nothing."""

    channels = {4: 18, 8: 36, 16: 72, 32: 144}

    def build(self, images_shape):
        pass

    def call(self, images, training=False):
        found = self.compute_output_spec(images)
        return {stride: keras.ops.zeros(each.shape) for stride, each in found.items()}


@pytest.mark.once("torch", "the count is the same on every backend")
@pytest.mark.parametrize(
    ("preset", "parameters", "macs", "as_published"),
    [
        ("cross_stitch_hrnet18_nyud", 4.517, 17.65, None),
        ("nddr_cnn_hrnet18_nyud", 4.588, 18.73, None),
        ("pad_net_hrnet18_nyud", 5.019, 25.18, None),
        ("mti_net_hrnet18_nyud", 17.961, 22.65, None),
        ("pap_hrnet18_nyud", 4.543, 20.3, 52.98),
        ("psd_hrnet18_nyud", 4.714, 21.13, None),
        ("atrc_hrnet18_nyud", 5.061, 25.15, None),
    ],
)
def test_beyond_the_baseline(preset, parameters, macs, as_published):
    """Parameters in millions, multiply-accumulates in billions."""

    def counted(name, **arguments):
        backbone = HRNetsMaps((425, 560, 3))
        model = keras_mtl.MultiTaskModel.from_preset(name, backbone=backbone, **arguments)
        in_training = PRESETS[name].get("counted_in_training", False)
        return np.array([cost.parameters(model, in_training), cost.macs(model).total])

    beyond = BASELINE - counted("multitask_baseline_hrnet18_nyud")
    found = beyond + counted(preset)
    assert round(found[0] / 1e6, 3) == parameters
    assert found[1] / 1e9 == pytest.approx(macs, rel=5e-3)
    if as_published is not None:
        found = beyond + counted(preset, **PRESETS[preset]["as_published"])
        assert found[1] / 1e9 == pytest.approx(as_published, rel=5e-3)


class SwinsMaps(HRNetsMaps):
    """Maps of Swin-T's sizes, for nothing."""

    channels = {4: 96, 8: 192, 16: 384, 32: 768}


@pytest.mark.once("torch", "the count is the same on every backend")
def test_published_figures_of_mq_transformer():
    """Of the released code, beyond what the baseline on Swin-T has and costs."""

    def counted(name, **arguments):
        backbone = SwinsMaps((425, 560, 3))
        model = keras_mtl.MultiTaskModel.from_preset(name, backbone=backbone, **arguments)
        macs = cost.macs(model)
        return np.array([cost.parameters(model), macs.total + macs.elementwise])

    name = "mq_transformer_swin_tiny_nyud"
    found = np.array([32_502_855, 97.405e9]) - counted("multitask_baseline_swin_tiny_nyud")
    found += counted(name, **PRESETS[name]["as_published"])
    assert round(found[0] / 1e6, 2) == 33.18
    assert found[1] / 1e9 == pytest.approx(140.0, rel=5e-3)


@pytest.mark.once("torch", "the count is the same on every backend")
def test_published_figures_of_invpt():
    """Built on one of ViT-Large's 24 blocks; the others are all alike."""
    dim, tokens = 1024, 32 * 32
    with keras.device("meta"):  # weights without values
        backbone = keras_mtl.backbones.vision_transformer("large", (512, 512, 3), num_layers=1)
        model = keras_mtl.InvPT.from_preset("invpt_vit_large_pascal", backbone=backbone)
        counted = cost.macs(model)
    block = 12 * dim**2 + 13 * dim
    assert round((cost.parameters(model) + 23 * block) / 1e6, 2) == 422.93
    block = tokens * 12 * dim**2 + 2 * tokens**2 * dim
    found = counted.total + counted.elementwise + 23 * block
    assert found / 1e9 == pytest.approx(672.4, rel=5e-3)


@pytest.mark.once("torch", "the count is the same on every backend")
def test_what_only_training_has():
    """Initial predictions: a 1x1 convolution at each of four scales for each of four tasks."""
    backbone = HRNetsMaps((425, 560, 3))
    model = keras_mtl.MTINet(backbone, nyud())
    more = cost.parameters(model, in_training=True) - cost.parameters(model)
    channels = 40 + 1 + 3 + 1
    assert more == sum((18 * 2**scale + 1) * channels for scale in range(4))


@pytest.mark.once("torch", "the count is the same on every backend")
def test_mtformer_beyond_its_backbone():
    """The published 64.030 M, less Swin-S' 48,837,258 and the norms of its first three stages."""

    class Maps(HRNetsMaps):
        channels = {4: 96, 8: 192, 16: 384, 32: 768}

    name = "mtformer_swin_small_nyud"
    model = keras_mtl.MultiTaskModel.from_preset(name, backbone=Maps((480, 640, 3)))
    found = cost.parameters(model) + PRESETS[name]["never_called"]
    assert found == 64_030_491 - 48_837_258 - 2 * (96 + 192 + 384)


# === The command line ===


@pytest.fixture
def tiny_preset(monkeypatch):
    preset = {
        "model": "TaskPrompter",
        "backbone": "vit_tiny",
        "image_size": (32, 48),
        "tasks": "nyud",
        "arguments": {"channel_windows": (1, 1), "decode_dim": 8, "prompting_levels": 1},
    }
    monkeypatch.setitem(PRESETS, "tiny_nyud", preset)
    # The tiny ViT has 12 blocks; two are enough here.
    sizes = keras_mtl.backbones.VIT_SIZES
    monkeypatch.setitem(sizes, "tiny", {**sizes["tiny"], "num_layers": 2})
    return "tiny_nyud"


def test_json_line(tiny_preset, capsys):
    cost.main([tiny_preset, "--json", "--tasks", "2"])
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    model = keras_mtl.MultiTaskModel.from_preset(tiny_preset, tasks=nyud("semseg", "depth"))
    assert found == {
        "preset": "tiny_nyud",
        "tasks": ["semseg", "depth"],
        "image_size": [32, 48],
        "parameters": cost.parameters(model),
        "macs": cost.macs(model).total,
        "attention_macs": cost.macs(model).attention,
        "macs_with_resizing": cost.macs(model).total + cost.macs(model).resizing,
        "macs_with_elementwise": cost.macs(model).total + cost.macs(model).elementwise,
    }


def test_another_form_of_the_paper(tiny_preset, monkeypatch, capsys):
    preset = {**PRESETS[tiny_preset], "model": "PAP", "as_published": {"full_matrices": True}}
    preset["arguments"] = {"width": 4, "iterations": 2}
    monkeypatch.setitem(PRESETS, tiny_preset, preset)
    cost.main([tiny_preset, "--json", "--tasks", "1"])
    found = json.loads(capsys.readouterr().out)
    points, width = 2 * 3, 4  # h and n times M h, by factors and by matrices; X is half as wide
    low = points * width // 2 * (1 + 2 * 2 * width)  # X (X^T 1), then two products of each step
    full = points**2 * (width // 2 + 2 * width)  # X X^T, M h
    assert found["macs_as_published"] - found["macs_with_elementwise"] == full - low
    cost.main([tiny_preset, "--tasks", "1"])
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "published"


def test_printed_lines(tiny_preset, capsys):
    cost.main([tiny_preset])
    heading, parameters, macs, attention, resizing, fvcore = capsys.readouterr().out.splitlines()
    assert heading == "tiny_nyud: semseg, depth, normals, edge at 32x48"
    assert parameters.split()[0] == "parameters" and parameters.endswith(" M")
    assert macs.split()[0] == "MACs" and " G " in macs
    assert attention.split()[0] == "attention" and " G " in attention
    assert resizing.startswith("with resizing ") and " G " in f"{resizing} "
    assert fvcore.startswith("as fvcore ") and " G " in fvcore


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["taskprompter_vit_giant"], ["'taskprompter_vit_giant'", *PRESETS]),
        (["taskprompter_vit_large_nyud", "--tasks", "5"], ["--tasks is 5", "1 to 4"]),
        (["taskprompter_vit_large_pascal", "--tasks", "0"], ["--tasks is 0", "1 to 5"]),
    ],
    ids=["preset", "many", "none"],
)
def test_wrong_arguments(arguments, parts, capsys):
    with pytest.raises(SystemExit) as stop:
        cost.main(arguments)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    message = err.splitlines()[-1]  # after argparse's usage
    assert message.endswith(".") and all(part in message for part in parts), message


# === The published figures ===

# preset, tasks, parameters in millions, multiply-accumulates in billions
PUBLISHED = [
    ("taskprompter_vit_large_pascal", 1, 363.85, 388.7),
    ("taskprompter_vit_large_pascal", 2, 373.16, 415.7),
    ("taskprompter_vit_large_pascal", 3, 382.48, 442.6),
    ("taskprompter_vit_large_pascal", 4, 391.79, 469.6),
    ("taskprompter_vit_large_pascal", 5, 401.10, 496.6),
    ("taskprompter_vit_base_pascal", 5, 418.33, 1153.4),
    ("taskprompter_vit_large_nyud", 4, 513.51, 839.7),
    ("taskprompter_swin_base_cityscapes3d", 3, 303.67, 2184.2),
    ("multitask_baseline_swin_base_cityscapes3d", 3, 133.22, 732.1),
]
BUILT = {("taskprompter_vit_large_pascal", 2), ("taskprompter_vit_large_nyud", 4)}


@pytest.mark.once("torch", "the count is the same on every backend")
@pytest.mark.parametrize(("preset", "tasks", "parameters", "macs"), PUBLISHED)
def test_published_figures(preset, tasks, parameters, macs, capsys):
    if (preset, tasks) not in BUILT:
        pytest.skip(
            "hundreds of layers take seconds to build: two networks are; "
            f"`python -m keras_mtl.cost {preset} --tasks {tasks}` prints this one"
        )
    with keras.device("meta"):  # weights without values
        cost.main([preset, "--tasks", str(tasks), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert round(found["parameters"] / 1e6, 2) == parameters
    assert found["macs"] / 1e9 == pytest.approx(macs, abs=0.1)


@pytest.mark.once("torch", "the count is the same on every backend")
def test_a_deformable_convolution_counts_as_a_convolution():
    image = keras.Input((8, 12, 3))
    model = keras.Model(image, keras_mtl.layers.DeformableConvolution(5)(image))
    assert cost.macs(model) == cost.Macs(8 * 12 * 9 * 3 * (27 + 5), 0)  # and that of its offsets


# Preset, parameters in millions as published, multiply-accumulates in billions of the published
# baselines without the products of attention, which the paper's tool does not see.
TPANET = [
    ("multitask_baseline_hrnet18_nyud", 4.52, 17.5),
    ("multitask_baseline_swin_tiny_nyud", 32.50, 96.5),
    ("multitask_baseline_swin_small_nyud", 53.82, 116.8),
    ("tpanet_hrnet18_nyud", 5.07, None),
    ("tpanet_swin_tiny_nyud", 32.02, None),
    ("tpanet_swin_small_nyud", 53.34, None),
]


@pytest.mark.once("torch", "the count is the same on every backend")
@pytest.mark.parametrize(("preset", "parameters", "macs"), TPANET)
def test_published_figures_of_tpanet(preset, parameters, macs, capsys):
    cost.main([preset, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert round(found["parameters"] / 1e6, 2) == parameters
    if macs is None:
        # 4 tasks, two calls of two products over all positions of a 425x560 image.
        dim = PRESETS[preset]["arguments"]["dim"]
        attention = 4 * 2 * 2 * (107 * 140) ** 2 * dim
        assert found["attention_macs"] == pytest.approx(attention, rel=2e-3)  # and Swin's windows
    else:
        assert (found["macs"] - found["attention_macs"]) / 1e9 == pytest.approx(macs, rel=5e-3)


@pytest.mark.once("torch", "the count is the same on every backend")
@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [("hrnet18", 16.10), ("swin_tiny", 115.1), ("swin_small", 200.3)],
)
def test_published_single_task_baselines(backbone, parameters):
    models = [
        keras_mtl.MultiTaskModel.from_preset(f"multitask_baseline_{backbone}_nyud", tasks=[task])
        for task in nyud()
    ]
    total = sum(cost.parameters(model) for model in models) / 1e6
    assert total == pytest.approx(parameters, abs=0.05 if parameters > 100 else 0.005)
