"""Sizes and counts: any library's integers are taken, and what is none is refused in a sentence."""

import json

import numpy as np
import pytest

import keras_mtl
from keras_mtl import arguments
from keras_mtl.tasks import nyud
from tests import small

pytestmark = pytest.mark.once("torch", "no backend is asked")

SIZE = (16, 24)


def baseline(**how):
    return keras_mtl.MultiTaskBaseline(small.vit(SIZE), nyud("depth"), **how)


def prompter(**how):
    how = {"prompting_levels": 1, "channel_windows": (1, 1), **how}
    return keras_mtl.TaskPrompter(small.vit(SIZE), nyud("depth"), **how)


def tpanet(**how):
    return keras_mtl.TPANet(small.vit(SIZE), nyud("depth"), **how)


def hrnet(**how):
    return keras_mtl.backbones.HRNet((*SIZE, 3), **how)


def swin(**how):
    return keras_mtl.backbones.swin_transformer("tiny", (*SIZE, 3), **how)


COUNTS = {  # what takes positive integers, and nothing else
    small.vit: ("patch_size", "num_layers", "num_heads", "hidden_dim", "mlp_dim"),
    hrnet: ("width", "bottlenecks", "blocks"),
    swin: ("embed_dim", "window_size", "patch_size"),
    baseline: ("head_width", "upsampling"),
    prompter: ("prompting_levels", "decode_dim", "final_dim"),
    tpanet: ("dim", "groups", "head_width", "num_heads", "key_value_pooling", "scales"),
    keras_mtl.tasks.SemanticSegmentation: ("channels",),
}
SHAPES = {hrnet: ("modules",), swin: ("depths", "num_heads"), prompter: ("channel_windows",)}
RATES = {tpanet: ("dropout", "stochastic_depth"), prompter: ("stochastic_depth",)}


@pytest.mark.parametrize("make", list(COUNTS), ids=lambda make: make.__name__)
def test_counts(make):
    given = (SIZE,) if make is small.vit else ()
    for name in COUNTS[make]:
        for value in (4.0, 0, -1, "4", None, True, [4], np.float32(4), np.nan):
            if value is None and name in ("head_width", "decode_dim", "final_dim"):
                continue  # the default
            with pytest.raises(ValueError, match=rf"^{name} is [^\n]*, expected an integer .*\.$"):
                make(*given, **{name: value})


def test_tuples_and_rates():
    for make, names in SHAPES.items():
        for name, value in ((n, v) for n in names for v in (3, "ab", (1.0, 2), (0, 1, 1, 1), ())):
            with pytest.raises(ValueError, match=rf"^{name} is [^\n]*positive integers.*\.$"):
                make(**{name: value})
    for make, names in RATES.items():
        for name, value in ((n, v) for n in names for v in (-0.1, 1.0, "a", None, np.nan)):
            with pytest.raises(ValueError, match=rf"^{name} is [^\n]* from 0 to below 1\.$"):
                make(**{name: value})
    for value in (-1, "a", None, np.inf, np.nan):
        with pytest.raises(ValueError, match=r"^loss_weight is [^\n]*\.$"):
            keras_mtl.tasks.DepthEstimation(loss_weight=value)


@pytest.mark.parametrize(
    "shape", [(16.0, 24, 3), (16, 24), (0, 24, 3), (16, 24, 4), "abc", None, 3]
)
def test_image_shapes(shape):
    for make in (
        lambda: keras_mtl.backbones.vision_transformer("nano", shape),
        lambda: keras_mtl.backbones.hrnet("18_small", shape),
        lambda: keras_mtl.backbones.swin_transformer("tiny", shape),
    ):
        with pytest.raises(ValueError, match=r"^image_shape is [^\n]*\.$"):
            make()
    with pytest.raises(ValueError, match="multiple of num_heads"):
        small.vit(SIZE, num_heads=3)


def test_integers_of_numpy(tmp_path):
    """And what is made of them can be written to a file."""
    one, four, eight = np.int64(1), np.int32(4), np.uint8(8)
    backbone = keras_mtl.backbones.vision_transformer(
        "nano", np.array([16, 24, 3]), eight, num_layers=one, num_heads=one, hidden_dim=eight,
        mlp_dim=eight,
    )  # fmt: skip
    tasks = [keras_mtl.tasks.SemanticSegmentation(channels=four, loss_weight=np.float32(2))]
    model = keras_mtl.MultiTaskBaseline(backbone, tasks, head_width=four, upsampling=one)
    model.save(tmp_path / "numbers.keras")
    again = keras_mtl.load_model(tmp_path / "numbers.keras")
    assert again.tasks[0].channels == 4 and again.image_size == SIZE
    json.dumps(hrnet(width=four, modules=np.array([1, 1, 1])).get_config())
    assert arguments.checked_size(np.array(SIZE)) == SIZE


def test_such_as():
    """A number that can be one is named."""
    for value, such in ((40.0, 40), (-1, 1), (2.5, 1), (np.float32(3), 3)):
        with pytest.raises(ValueError, match=rf", such as count={such}\.$"):
            arguments.check_integer("count", value, 1)


def on_hrnet(architecture):
    def build(tasks=None, **how):
        backbone = keras_mtl.backbones.hrnet("18_small", (32, 64, 3))
        return architecture(backbone, tasks or nyud("depth", "edge"), **how)

    return build


PAIR = "expected 2 numbers, such as"
SWITCH = "expected True or False"
OTHERS = [
    *((tpanet, name, "no", SWITCH) for name in ("task_prior", "task_mixing", "cross_attention")),
    *((prompter, name, 3, SWITCH) for name in ("channel_prompts", "remat")),
    (prompter, "cross_task_reweighting", "no", SWITCH),
    (prompter, "image_scale", "1", "expected a number from 0 on"),
    (on_hrnet(keras_mtl.PADNet), "light", "no", SWITCH),
    (on_hrnet(keras_mtl.PADNet), "auxiliary_tasks", 3, "expected a list of keras_mtl.tasks.Task"),
    (on_hrnet(keras_mtl.MTINet), "auxiliary_tasks", ["edge"], "expected a list of keras_mtl"),
    (on_hrnet(keras_mtl.PAP), "full_matrices", 1, SWITCH),
    (on_hrnet(keras_mtl.PAP), "initial_predictions", None, SWITCH),
    (on_hrnet(keras_mtl.InvPT), "unused_weights", 0, SWITCH),
    (on_hrnet(keras_mtl.MQTransformer), "unused_weights", "", SWITCH),
    *((on_hrnet(keras_mtl.ATRC), "padding", value, "1 numbers") for value in ("x", np.nan)),
    (on_hrnet(keras_mtl.ATRCSearch), "temperature", 1.0, PAIR),
    (on_hrnet(keras_mtl.ATRCSearch), "entropy_weight", [1.0], PAIR),
    *((on_hrnet(keras_mtl.MTFormer), "num_heads", value, "an integer") for value in (0, "4")),
    (on_hrnet(keras_mtl.MTFormer), "cross_scale", "1", "expected a number from 0 on"),
]


@pytest.mark.parametrize("make, name, value, part", OTHERS)
def test_other_arguments(make, name, value, part):
    with pytest.raises(ValueError, match=rf"^{name} is [^\n]*{part}[^\n]*\.$"):
        make(**{name: value})


def test_a_slip_of_the_pen():
    """Keras would take it for something that it knows, and drop it."""
    for make, name, meant in ((baseline, "head_widht", "head_width"), (tpanet, "dimm", "dim")):
        with pytest.raises(ValueError, match=rf"has no argument '{name}' \(did you mean '{meant}'"):
            make(**{name: 4})
    assert baseline(head_width=4, name="mine", trainable=False).name == "mine"
    with pytest.raises(ValueError, match="all_pixels has 3; the tasks are depth"):
        backbone = keras_mtl.backbones.se_resnet("26", (32, 64, 3))
        keras_mtl.ASTMT(backbone, nyud("depth"), all_pixels=3)


@pytest.mark.parametrize(
    "path, part", [("a\0b.keras", "a zero byte"), ("ä" * 150 + ".keras", "a name of 306 bytes")]
)
def test_names_that_no_file_may_have(path, part):
    model = baseline(head_width=4)
    for call in (model.save, model.load_weights, keras_mtl.load_model, model.save_to_preset):
        with pytest.raises(ValueError, match=rf"^file\w* has {part}|^folder has {part}"):
            call(path)
