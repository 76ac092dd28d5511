"""Published checkpoints, in files that the tests write: the golden outputs, or a refusal."""

import keras
import numpy as np
import pytest

import keras_mtl
from keras_mtl import presets
from keras_mtl.backbones import vision_transformer
from keras_mtl.models import convert, published_checkpoints
from keras_mtl.tasks import pascal_context

TASKS = ("semseg", "sal", "normals")

once = pytest.mark.once("torch", "what is read from files are NumPy arrays")


@pytest.fixture(scope="module", autouse=True)
def tiny_preset(drawn_by_numpy):
    """The golden network as a preset among the others."""
    size = {"num_layers": 4, "num_heads": 3, "hidden_dim": 48, "mlp_dim": 192}
    preset = {
        "model": "TaskPrompter",
        "backbone": "vit_golden",
        "backbone_arguments": {"use_class_token": True},
        "image_size": (64, 96),
        "tasks": "pascal_context",
        "arguments": {
            "variant": "released",
            "decode_dim": 20,
            "final_dim": 24,
            "channel_windows": (2, 2),
            "stochastic_depth": 0.0,
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(published_checkpoints.VIT_SIZES, "golden", size)
        patch.setitem(presets.BACKBONES, "vit_golden", ("vision_transformer", "golden"))
        patch.setitem(presets.PRESETS, "taskprompter_vit_golden_pascal", preset)
        yield


@pytest.fixture(scope="module")
def values(golden):
    return golden("golden_taskprompter_tiny")


@pytest.fixture(scope="module")
def state(values):
    return {k.removeprefix("state/"): v for k, v in values.items() if k.startswith("state/")}


@pytest.fixture(scope="module")
def model():
    return keras_mtl.TaskPrompter.from_preset(
        "taskprompter_vit_golden_pascal", pascal_context(*TASKS)
    )


def loaded(path):
    return keras_mtl.TaskPrompter.from_published(path, "pascal_vit_golden", pascal_context(*TASKS))


def write(path, state, prefix="module.", legacy=False):
    """A checkpoint as the published training writes it; .npz and .safetensors hold names only."""
    named = {prefix + name: np.asarray(array) for name, array in state.items()}
    if path.suffix == ".npz":
        np.savez(path, **named)
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.numpy").save_file(named, path)
    else:
        torch = pytest.importorskip("torch")
        contents = {
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.0, "params": [0]}]},
            "scheduler": {"max_iterations": 40000, "base_lrs": [2e-5], "last_epoch": 40000},
            "model": {name: torch.tensor(array) for name, array in named.items()},
            "epoch": 100,
            "iter_count": 39999,
        }
        torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    return path


def assert_golden(model, values):
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    found = model.predict_on_batch((values["input"].transpose(0, 2, 3, 1) * std + mean) * 255)
    assert found.keys() == set(TASKS)
    for task in TASKS:
        expected = values[f"out/{task}"]
        difference = np.moveaxis(keras.ops.convert_to_numpy(found[task]), -1, 1) - expected
        assert np.abs(difference).max() < 1e-4 * np.abs(expected).max()


# === What is converted ===


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("checkpoint.pth.tar", {}),
        pytest.param("checkpoint.pth.tar", {"legacy": True}, marks=once),
        pytest.param("checkpoint.pth", {"prefix": ""}, marks=once),
        pytest.param("checkpoint.npz", {}, marks=once),
        pytest.param("checkpoint.safetensors", {"prefix": ""}, marks=once),
    ],
)
def test_golden_outputs(tmp_path, state, values, name, how):
    assert_golden(loaded(write(tmp_path / name, state, **how)), values)


@once
def test_tasks_in_another_order(tmp_path, state, values):
    path = write(tmp_path / "checkpoint.npz", state)
    tasks = pascal_context(*TASKS)[::-1]
    model = keras_mtl.TaskPrompter.from_published(path, "pascal_vit_golden", tasks)
    assert [task.name for task in model.tasks] == list(TASKS[::-1])
    assert_golden(model, values)


@once
def test_names_of_configurations():
    for name in published_checkpoints.configurations():
        assert published_checkpoints.preset_of(name) == name
    short = published_checkpoints.preset_of("pascal_vit_base")
    assert short == "taskprompter_vit_base_pascal"
    for unknown in ("nyud_vit_huge", "tpanet_hrnet18_nyud", ""):
        with pytest.raises(ValueError, match="Unknown configuration .*taskprompter_vit_large_nyud"):
            keras_mtl.TaskPrompter.from_published("checkpoint.pth.tar", unknown)


# === What is refused ===


def renamed(state, old, new):
    return {name.replace(old, new): array for name, array in state.items()}


def without(state, part):
    return {name: array for name, array in state.items() if part not in name}


def fewer_channels(state):
    return {name: array[..., :24] if array.ndim == 2 else array for name, array in state.items()}


WRONG = {
    "plain ViT": (
        lambda s: renamed(without(s, "task_prompts"), "backbone.", ""),
        "only a Vision Transformer's weights",
    ),
    "no network of ours": (lambda s: {"conv1.weight": np.ones(3)}, "no published TaskPrompter"),
    "depth": (lambda s: without(s, "blocks.3."), "3 blocks 48 wide, but .* 4 blocks 48 wide"),
    "width": (fewer_channels, "4 blocks 24 wide"),
    "task count": (
        lambda s: {**without(s, ".sal."), "backbone.task_prompts": np.ones((2, 48))},
        "predicts semseg, normals with 2 prompts, but .* predicts semseg, sal, normals",
    ),
    "task names": (lambda s: renamed(s, ".sal.", ".depth."), "semseg, depth, normals with 3"),
    "prompts": (
        lambda s: {**s, "backbone.task_prompts": np.ones((6, 48))},
        "semseg, sal, normals with 6 prompts",
    ),
    "image size": (
        lambda s: {
            **s,
            **{n: a[:20] for n, a in s.items() if n.endswith(("token_trans.weight", "trans.bias"))},
        },
        "images of 20 patches, but an image of 64x96 has 24",
    ),
    "no reweighting": (
        lambda s: without(s, "ctr_attn_conv"),
        r"lacks backbone\.ctr_attn_conv\.0\.semseg\.0\.weight, .* and 45 more",
    ),
    "missing": (lambda s: without(s, "backbone.norm.bias"), r"lacks backbone\.norm\.bias\."),
    "left over": (
        lambda s: {**s, "head.weight": np.ones(3)},
        r"has head\.weight that nobody takes",
    ),
    "classes": (
        lambda s: {**s, "heads.semseg.linear_pred.weight": np.ones((40, 24, 1, 1))},
        r"linear_pred\.weight \(40, 24, 1, 1\) gives \(1, 1, 24, 40\) where the model has",
    ),
    "mlp": (
        lambda s: {**s, "backbone.blocks.1.mlp.fc1.weight": np.ones((48, 192))},
        r"fc1\.weight \(48, 192\) gives \(192, 48\) where the model has \(48, 192\)",
    ),
    "attention": (
        lambda s: {**s, "backbone.blocks.1.attn.qkv.weight": np.ones((100, 48))},
        r"weights: backbone\.blocks\.1\.attn\.qkv\.weight \(100, 48\) does not fit [^;]*$",
    ),
}


@once
@pytest.mark.parametrize("wrong", WRONG)
def test_another_network(tmp_path, state, wrong):
    change, sentence = WRONG[wrong]
    path = write(tmp_path / "checkpoint.npz", change(state))
    with pytest.raises(ValueError, match=sentence) as caught:
        loaded(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@once
def test_another_configuration(tmp_path, state):
    """Refused before a network of 500 million parameters is built."""
    path = write(tmp_path / "checkpoint.npz", state)
    for configuration in ("nyud_vit_large", "taskprompter_vit_base_pascal"):
        with pytest.raises(ValueError, match=r"checkpoint\.npz holds a TaskPrompter of 4 blocks"):
            keras_mtl.TaskPrompter.from_published(path, configuration)
    with pytest.raises(ValueError, match="pascal predicts semseg, human_parts, sal, normals, edge"):
        keras_mtl.TaskPrompter.from_published(path, "pascal_vit_golden")
    with pytest.raises(ValueError, match="24 patches, but an image of 64x64 has 16"):
        keras_mtl.TaskPrompter.from_published(
            path, "pascal_vit_golden", pascal_context(*TASKS), image_size=(64, 64)
        )


class Malicious:
    """Unpickling an instance writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


def malicious_file(folder, state):
    torch = pytest.importorskip("torch")
    contents = {"model": {n: torch.tensor(a) for n, a in state.items()}}
    contents["epoch"] = Malicious(folder / "marker")
    torch.save(contents, folder / "checkpoint.pth.tar")
    return folder / "checkpoint.pth.tar"


def broken_file(folder, state):
    path = write(folder / "checkpoint.npz", state)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


BROKEN = {
    "code in it": (malicious_file, "was not run"),
    "part of a file": (broken_file, "broken or only part of a file"),
    "missing": (lambda folder, state: folder / "checkpoint.pth", "There is no file"),
}


@once
@pytest.mark.parametrize("broken", BROKEN)
def test_broken_files(tmp_path, state, broken):
    make, sentence = BROKEN[broken]
    path = make(tmp_path, state)
    with pytest.raises(ValueError, match=sentence):
        loaded(path)
    assert not (tmp_path / "marker").exists()


# === The command ===


def command(path, output, *more):
    configuration = ["--configuration", "pascal_vit_golden", "--tasks", *TASKS]
    convert.main([str(path), *configuration, "--output", str(output), *more])


@pytest.fixture(scope="module")
def converted(tmp_path_factory, state):
    """A .keras file that the command wrote."""
    folder = tmp_path_factory.mktemp("converted")
    command(write(folder / "checkpoint.npz", state), folder / "model.keras")
    return folder / "model.keras"


def test_command(converted, values):
    assert_golden(keras_mtl.load_model(converted), values)


@once
def test_command_tells_what_it_did(tmp_path, state, capsys):
    output = tmp_path / "model.keras"
    output.write_bytes(b"old")
    path = write(tmp_path / "checkpoint.npz", state)
    with pytest.raises(SystemExit, match="exists; pass force=True"):
        command(path, output)
    assert output.read_bytes() == b"old"
    command(path, output, "--force")
    told = capsys.readouterr().out
    assert "semseg, sal, normals at 64x96" in told and "MB to" in told
    kept = [name for name in state if "num_batches" not in name]
    assert f"tensors     {len(kept):10}\n" in told
    trained = [a for n, a in state.items() if "running" not in n and "num_batches" not in n]
    assert f"{sum(array.size for array in trained) / 1e6:.2f} M" in told
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.npz", "model.keras"]


@once
def test_command_lists_the_configurations(capsys):
    convert.main(["--list"])
    listed = capsys.readouterr().out
    assert "taskprompter_vit_large_nyud    448x576  semseg, depth, normals, edge\n" in listed


@once
@pytest.mark.parametrize("broken", BROKEN)
def test_command_writes_nothing_of_a_broken_file(tmp_path, state, broken):
    make, sentence = BROKEN[broken]
    path = make(tmp_path, state)
    files = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match=sentence) as caught:
        command(path, tmp_path / "model.keras")
    assert caught.value.code  # a text: printed, and exit status 1
    assert sorted(tmp_path.iterdir()) == files


@once
def test_command_refuses(tmp_path, state, capsys, monkeypatch):
    path = write(tmp_path / "checkpoint.npz", state)
    for output, sentence in [
        (tmp_path / "model.h5", "ends in .keras"),
        (tmp_path / "missing" / "model.keras", "There is no folder"),
    ]:
        with pytest.raises(SystemExit, match=sentence):
            command(path, output)
    with pytest.raises(SystemExit, match="has no task 'depth'; it has semseg, human_parts"):
        command(path, tmp_path / "model.keras", "--tasks", "depth")
    with pytest.raises(SystemExit):
        convert.main([str(path), "--configuration", "nyud_vit_large"])
    assert "--output is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="but taskprompter_vit_large_nyud has 24 blocks 1024 wide"):
        convert.main(
            [
                str(path),
                *("--configuration", "nyud_vit_large"),
                *("--output", str(tmp_path / "model.keras")),
            ]
        )

    def full(*arguments, **how):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    with pytest.raises(SystemExit, match="cannot be written .No space left on device"):
        command(path, tmp_path / "model.keras")
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]


# === Training on ===


def one_step(model, optimizer):
    """Trains one step; how far each variable moved, by id."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 64, 96, 3)).astype("float32")
    normals = rng.normal(size=(2, 64, 96, 3))
    labels = {
        "semseg": rng.integers(0, 21, (2, 64, 96), "int32"),
        "sal": rng.integers(0, 2, (2, 64, 96), "int32"),
        "normals": (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype("float32"),
    }
    before = [keras.ops.convert_to_numpy(weight).copy() for weight in model.weights]
    model.compile(optimizer, metrics=None)
    model.fit(images, labels, epochs=1, verbose=0)
    after = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    return {
        id(weight): np.abs(new - old).max()
        for weight, new, old in zip(model.weights, after, before, strict=True)
    }


def of_the_backbone(model):
    return [weight for layer in model.backbone_layers for weight in layer.weights]


def of_the_rest(model):
    """Weights that training moves: nothing reads the prompts after the last block."""
    backbone = {id(weight) for weight in of_the_backbone(model)}
    unread = model.get_layer("prompted_block_4").channel.to_channels.weights
    fixed = backbone | {id(weight) for weight in unread}
    return [w for w in model.weights if id(w) not in fixed and "image_normal" not in w.path]


def test_the_backbone_is_the_plain_vit(model):
    plain = vision_transformer("golden", (64, 96, 3), use_class_token=True)
    class_token = 1
    assert len(of_the_backbone(model)) == len(plain.weights) - class_token
    assert not any("channel" in w.path or "prompts" in w.path for w in of_the_backbone(model))


@pytest.mark.once("torch", "a contract of every model on every backend")
def test_fine_tuning_with_a_frozen_backbone(converted):
    model = keras_mtl.load_model(converted)
    for layer in model.backbone_layers:
        layer.trainable = False
    moved = one_step(model, keras.optimizers.Adam(1e-3))
    assert all(moved[id(weight)] == 0 for weight in of_the_backbone(model))
    assert all(moved[id(weight)] > 0 for weight in of_the_rest(model))


@pytest.mark.once("jax", "recipes are tested on every backend in test_recipe_optimizer.py")
def test_fine_tuning_with_a_slower_backbone(converted):
    model = keras_mtl.load_model(converted)
    slow, fast = keras.optimizers.Adam(1e-5), keras.optimizers.Adam(1e-3)
    backbone = {weight.path: slow for weight in of_the_backbone(model)}
    assert len(backbone) == len(of_the_backbone(model))
    rates = keras.optimizers.OptimizerMap(fast, backbone)
    moved = one_step(model, keras.optimizers.MultiOptimizer(rates))
    # Adam's first step is the learning rate wherever there is a gradient.
    assert all(0 < moved[id(weight)] < 1.1e-5 for weight in of_the_backbone(model))
    trained = [weight for weight in of_the_rest(model) if weight.trainable]
    assert all(0 < moved[id(weight)] < 1.1e-3 for weight in trained)
    assert np.median([moved[id(weight)] for weight in trained]) > 0.9e-3
