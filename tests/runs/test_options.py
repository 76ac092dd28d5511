"""What the training scripts are told: what they refuse, and defaults of recipes and presets."""

import dataclasses
import sys

import pytest

import keras_mtl
from keras_mtl.models.registry import presets_of
from keras_mtl.runs.chosen_tasks import tasks_named
from keras_mtl.runs.options import build, parse
from keras_mtl.runs.recipes import FROM_TRUNK, ON_ROOMS, RECIPES, STREETS_FROM_TRUNK, recipe_of
from keras_mtl.tasks import cityscapes_3d, nyud

pytestmark = pytest.mark.once("torch", "arguments are the same on every backend")

PRESET = "tpanet_swin_tiny_nyud"


def options_of(*given):
    return parse(nyud(), "nyud", "", given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("--steps 0", "--steps: '0' is no whole number of 1 or more"),
        ("--epochs 0", "--epochs: '0'"),
        ("--batch-size 2.5", "--batch-size: '2.5'"),
        ("--scenes -1", "--scenes: '-1'"),
        ("--image-size 0 48", "--image-size: '0'"),
        ("--seed -1", "--seed: '-1' is no whole number from 0 to 4294967295"),
        ("--seed 4294967296", "--seed: '4294967296' is no whole number from 0 to"),
        ("--learning-rate nan", "--learning-rate: 'nan' is no number from 0 on"),
        ("--learning-rate -1", "--learning-rate: '-1' is no number"),
        ("--loss-weight depth=-1", "'depth=-1' is not TASK=WEIGHT, such as depth=5"),
        ("--tasks dept", "task of your own (did you mean 'depth'?)."),
        (f"--preset {PRESET} --dim=8", "--dim would change nothing about"),
        (f"--preset {PRESET} --stochastic-depth 0", "--stochastic-depth would change nothing"),
        ("--data x --patch-size=16", "--patch-size would change nothing about --preset"),
        (f"--preset {PRESET} --decode 8", "unrecognized arguments: --decode 8"),
        (f"--preset {PRESET} --backbone hrnet18", "not allowed with argument --preset"),
        ("--lora 0", "--lora: '0' is no whole number of 1 or more"),
        ("--lora 8 --freeze-backbone", "--freeze-backbone: not allowed with argument --lora"),
        (f"--preset {PRESET} --model baseline", "pass --model tpanet or leave it out"),
    ],
)
def test_arguments_that_are_refused(capsys, given, problem):
    with pytest.raises(SystemExit):
        options_of(*given.split())
    assert problem in capsys.readouterr().err.strip().splitlines()[-1]


def test_what_a_preset_settles():
    options = options_of("--preset", PRESET, "--tasks", "depth", "edge")
    assert (options.model, options.backbone, options.dim) == ("tpanet", None, None)
    assert options.image_size == (425, 560)
    assert options.output == f"runs/{PRESET}_depth_edge"
    options = options_of("--data", "x", "--model", "tpanet")
    assert (options.preset, options.output) == (PRESET, "runs/tpanet_nyud")
    options = options_of("--model", "tpanet", "--dim", "8")
    assert (options.dim, options.groups, options.preset) == (8, 1, None)


def test_weights_that_come_with_the_package(monkeypatch, capsys):
    """They are what a run on rooms starts from, unless something else is named."""
    with_trunk = dataclasses.replace(RECIPES["taskprompter"], trunk="vit_nano_rooms")
    monkeypatch.setitem(RECIPES, "taskprompter", with_trunk)
    options = options_of()
    assert (options.pretrained, options.backbone) == ("vit_nano_rooms", None)
    assert (options.image_size, options.steps) == (FROM_TRUNK["image_size"], FROM_TRUNK["steps"])
    options = options_of("--steps", "7", "--image-size", "64", "96")
    assert (options.pretrained, options.steps) == ("vit_nano_rooms", 7)
    for given in ("--from-scratch", "--backbone vit_pico", "--model tpanet", "--data x"):
        assert options_of(*given.split()).pretrained is None
    on_streets = parse(cityscapes_3d(), "cityscapes_3d", "", [], generated="streets")
    assert on_streets.pretrained == "vit_nano_rooms"
    assert on_streets.image_size == STREETS_FROM_TRUNK["image_size"]
    assert on_streets.loss_weights == {"semseg": 4.0, "depth": 0.2}
    options = options_of("--from-scratch")
    assert (options.backbone, options.image_size) == ("vit_pico", ON_ROOMS["image_size"])
    assert options_of("--pretrained", "x").pretrained == "x"
    with pytest.raises(SystemExit):
        options_of("--pretrained", "x", "--from-scratch")
    assert "--from-scratch: not allowed with argument --pretrained" in capsys.readouterr().err


def test_tasks_of_another_dataset_and_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "import keras_mtl\n"
        "far = keras_mtl.tasks.DepthEstimation('far')\n"
        "def near():\n    return keras_mtl.tasks.DepthEstimation('near')\n"
        "number = 3\n"
        "def far_and_near(far):\n    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = ["depth", "sal", "mine:far", "mine:near"]
    options = options_of("--tasks", *names)
    assert options.output == "runs/taskprompter_nyud_depth_sal_far_near"
    found = tasks_named(names, nyud())
    assert [task.name for task in found] == ["depth", "sal", "far", "near"]
    assert found[0].loss_weight == nyud("depth")[0].loss_weight
    for name, said in (
        ("mine:number", "expected a list of keras_mtl.tasks.Task"),
        ("mine:other", "is not found"),
        ("mine:far_and_near", "missing 1 required positional argument: 'far'"),
        ("nobody:has", "is not found"),
        ("mine:far mine:far", "name of its own"),
    ):
        with pytest.raises(SystemExit):
            options_of("--tasks", *name.split())
        assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_preset_with_a_pretrained_backbone(monkeypatch):
    def load(name, shape):
        return keras_mtl.backbones.vision_transformer("nano", shape, num_layers=4)

    monkeypatch.setattr(keras_mtl.backbones, "from_preset", load)
    given = "--preset multitask_baseline_vit_base_pascal --pretrained x --image-size 32 48"
    model = build(options_of(*given.split()), nyud("depth"))
    assert model.image_size == (32, 48) and set(model.output) == {"depth"}


def test_where_tasks_exchange_features():
    """A backbone for each task is trained by a recipe of its own."""
    options = options_of("--model", "cross_stitch", "--level", "encoder", "--width", "4")
    assert (options.level, options.width, options.learning_rate) == ("encoder", 4, 1e-3)
    given = ("--model", "cross_stitch", "--data", "x", "--backbone", "hrnet18")
    assert options_of(*given).learning_rate == 1e-2
    options = options_of(*given, "--level", "encoder")
    assert (options.steps, options.learning_rate) == (50 * 795 // 8, 1e-3)


def test_images_that_fit_the_architecture():
    options = options_of("--model", "invpt", "--width", "8")
    assert build(options, nyud("depth")).image_size == (64, 96) == options.image_size


# === Recipes ===


def test_every_preset_has_a_recipe_and_every_recipe_its_presets():
    ours = {recipe.model for recipe in RECIPES.values()}  # other tests register others
    presets = [name for model in ours for name in presets_of(model)]
    assert {recipe_of(name) for name in presets} == set(RECIPES.values())
    assert {
        name: [r.preset(each) for each in ("nyud", "pascal_context", "other")]
        for name, r in RECIPES.items()
    } == {
        "taskprompter": ["taskprompter_vit_large_nyud", "taskprompter_vit_large_pascal", None],
        "tpanet": ["tpanet_swin_tiny_nyud", "tpanet_swin_tiny_pascal", None],
        "baseline": [
            "multitask_baseline_swin_tiny_nyud",
            "multitask_baseline_swin_tiny_pascal",
            None,
        ],
        "pad_net": ["pad_net_hrnet18_nyud", "pad_net_hrnet18_pascal", None],
        "mti_net": ["mti_net_hrnet18_nyud", "mti_net_hrnet18_pascal", None],
        "invpt": ["invpt_vit_large_nyud", "invpt_vit_large_pascal", None],
        "mq_transformer": [
            "mq_transformer_swin_tiny_nyud",
            "mq_transformer_swin_tiny_pascal",
            None,
        ],
        "pap": ["pap_hrnet18_nyud", "pap_hrnet18_pascal", None],
        "atrc": ["atrc_hrnet18_nyud", "atrc_hrnet18_pascal", None],
        "atrc_search": ["atrc_search_hrnet18_nyud", "atrc_search_hrnet18_pascal", None],
        "psd": ["psd_hrnet18_nyud", "psd_hrnet18_pascal", None],
        "cross_stitch": ["cross_stitch_hrnet18_nyud", "cross_stitch_hrnet18_pascal", None],
        "nddr_cnn": ["nddr_cnn_hrnet18_nyud", "nddr_cnn_hrnet18_pascal", None],
        "astmt": ["astmt_resnet50_nyud", "astmt_resnet50_pascal", None],
        "mtformer": ["mtformer_swin_small_nyud", "mtformer_swin_small_pascal", None],
        "mtan": ["mtan_hrnet18_nyud", "mtan_hrnet18_pascal", None],
    }


def test_a_dataset_of_no_paper(capsys):
    with pytest.raises(SystemExit):
        parse(nyud(), "mine", "", ["--data", "x"])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No preset of --model taskprompter is for 'mine'; name a --preset." in said
    options = parse(nyud(), "mine", "", ["--data", "x", "--preset", PRESET])
    assert (options.preset, options.image_size, options.batch_size) == (PRESET, (425, 560), 8)
