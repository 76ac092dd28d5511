"""Presets and folders of pretrained weights, at their own and at other image sizes."""

import json
import math
import shutil

import keras
import numpy as np
import pytest
from keras import ops

import keras_mtl
from keras_mtl.backbones import SwinTransformer, feature_pyramid, from_preset
from keras_mtl.backbones.vision_transformer import resize_bicubic

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

SHAPE = (40, 64, 3)
ODD = (33, 50, 3)
SQUARE = (56, 56, 3)


def random_images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def values(layer):
    return [ops.convert_to_numpy(weight) + 0.0 for weight in layer.weights]


def output(backbone, images):
    """What it makes of images, of a dict of outputs the first."""
    inputs = {name: images for name in backbone.input} if type(backbone.input) is dict else images
    return ops.convert_to_numpy(backbone(inputs, training=False))


def assert_close(found, expected, title):
    assert found.shape == expected.shape and 0.1 < expected.std() < 10
    error = np.abs(found - expected).max()
    print(f"{keras.backend.backend()}: {title}, max abs difference {error:.1e}")
    assert error < 1e-4


# === Folders that keras-hub writes ===


def build(kind):
    import keras_hub

    models = keras_hub.models
    vit = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "patch_size": 8}
    dino = {**vit, "intermediate_dim": 12, "num_register_tokens": 2}
    if kind == "vit":
        return models.ViTBackbone(image_shape=(32, 32, 3), mlp_dim=12, **vit)
    if kind == "swin":
        arguments = {"embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
        return models.SwinTransformerBackbone(image_shape=(32, 32, 3), **arguments)
    if kind == "swin of four stages":
        arguments = {"embed_dim": 8, "depths": (1,) * 4, "num_heads": (1,) * 4, "window_size": 2}
        return models.SwinTransformerBackbone(image_shape=(64, 64, 3), **arguments)
    if kind == "dinov2":
        shapes = {"image_shape": (32, 32, 3), "position_embedding_shape": (32, 32)}
        return models.DINOV2Backbone(**shapes, **dino)
    if kind == "dinov3":
        return models.DINOV3Backbone(image_shape=(32, 32, 3), **dino)
    if kind == "efficientnet":
        return models.EfficientNetBackbone(
            stackwise_width_coefficients=[1.0],
            stackwise_depth_coefficients=[1.0],
            stackwise_kernel_sizes=[3],
            stackwise_num_repeats=[1],
            stackwise_input_filters=[8],
            stackwise_output_filters=[8],
            stackwise_expansion_ratios=[1],
            stackwise_squeeze_and_excite_ratios=[0.25],
            stackwise_strides=[2],
            stackwise_block_types=["v1"],
        )
    return models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """`presets(kind)`: a folder with random weights, and these."""
    made = {}

    def make(kind):
        if kind not in made:
            backbone = build(kind)
            rng = np.random.default_rng(0)
            for weight in backbone.weights:
                spread = min(0.2, math.prod(weight.shape[:-1]) ** -0.5)
                draw = rng.normal(0, spread, weight.shape)
                if len(weight.shape) == 1:  # also variances
                    draw = rng.uniform(0.5, 1.5, weight.shape)
                weight.assign(draw)
            if kind == "dinov2":
                embeddings = backbone.embeddings
                table = embeddings.interpolated_position_embeddings
                table.assign(embeddings.position_embeddings)
            folder = tmp_path_factory.mktemp("preset") / kind
            backbone.save_to_preset(str(folder))
            made[kind] = folder, backbone
        return made[kind]

    return make


@pytest.fixture
def preset(presets, tmp_path):
    """`preset(kind)`: a copy of the folder, to be spoilt."""

    def copy(kind):
        return shutil.copytree(presets(kind)[0], tmp_path / kind)

    return copy


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("vit", SHAPE),
        ("swin", ODD),
        ("dinov2", SQUARE),
        ("dinov3", SHAPE),
        ("resnet", (64, 96, 3)),
        ("efficientnet", (64, 96, 3)),
    ],
)
def test_keras_hubs_folders(presets, kind, shape):
    folder, backbone = presets(kind)
    native = from_preset(str(folder))
    if kind == "swin":
        assert isinstance(native, SwinTransformer) and native.image_shape == (32, 32, 3)
        native = native.backbone
    assert type(native) is type(backbone) and native is not backbone
    for found, expected in zip(native.weights, backbone.weights, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (found, expected)))
    images = random_images(1, 32, 32, 3)
    assert_close(output(native, images), output(backbone, images), f"native {kind}")

    resized = from_preset(folder, image_shape=shape)
    pyramid = feature_pyramid(resized, shape if kind == "efficientnet" else None)
    assert pyramid.image_shape == shape
    features = pyramid(random_images(1, *shape), training=False)
    for stride, x in features.items():
        assert tuple(x.shape[1:3]) == tuple(-(-length // stride) for length in shape[:2])
        assert np.isfinite(ops.convert_to_numpy(x)).all()
    weights = resized.backbone.weights if kind == "swin" else resized.weights
    for found, expected in zip(weights, backbone.weights, strict=True):
        found, expected = (ops.convert_to_numpy(weight) for weight in (found, expected))
        if found.shape != expected.shape:
            assert kind in ("vit", "dinov2")
            table = expected.reshape(-1, 8)
            size = [length // 8 for length in shape[:2]]
            grid = resize_bicubic(table[1:].reshape(4, 4, 8), size).reshape(-1, 8)
            expected = np.concatenate([table[:1], grid]).reshape(found.shape)
        np.testing.assert_array_equal(found, expected)


def test_resized_dinov2_is_the_same_from_a_file(presets, tmp_path):
    """keras-hub would resize its table anew, and otherwise on each backend."""
    backbone = from_preset(presets("dinov2")[0], image_shape=SQUARE)
    backbone.save_to_preset(str(tmp_path / "saved"))
    again = from_preset(tmp_path / "saved")
    for found, expected in zip(values(again), values(backbone), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_class_token_can_be_dropped(presets):
    folder, backbone = presets("vit")
    without = from_preset(folder, use_class_token=False)
    images = random_images(1, 32, 32, 3)
    assert len(without.weights) == len(backbone.weights) - 1
    assert output(without, images).shape == (1, 16, 8)
    table, whole = (
        ops.convert_to_numpy(
            model.get_layer("vit_patching_and_embedding").position_embedding.embeddings
        )
        for model in (without, backbone)
    )
    np.testing.assert_array_equal(table, whole[1:])


def test_windows_of_another_size(presets, caplog):
    folder, backbone = presets("swin")
    with caplog.at_level("INFO", logger="keras_mtl"):
        pyramid = from_preset(folder, image_shape=ODD, window_size=6, drop_path=0.0)
    assert "windows of 4 to windows of 6" in caplog.text
    assert pyramid.backbone.window_size == 6 and pyramid.backbone.drop_path == 0.0
    for found, expected in zip(pyramid.backbone.weights, backbone.weights, strict=True):
        found, expected = (ops.convert_to_numpy(weight) for weight in (found, expected))
        if found.shape != expected.shape:
            grid = resize_bicubic(expected.reshape(7, 7, -1), (11, 11))
            expected = grid.reshape(121, -1)
        np.testing.assert_array_equal(found, expected)
    assert all(
        np.isfinite(x).all()
        for x in map(ops.convert_to_numpy, pyramid(random_images(1, *ODD)).values())
    )


def test_what_is_resized_is_logged(presets, caplog):
    with caplog.at_level("INFO", logger="keras_mtl"):
        from_preset(presets("vit")[0], image_shape=(32, 32, 3))
    assert not caplog.text
    with caplog.at_level("INFO", logger="keras_mtl"):
        from_preset(presets("vit")[0], image_shape=SHAPE)
    assert "from 4x4 to 5x8 patches" in caplog.text


def test_names_are_downloaded(presets, monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")
    asked = []

    def download(handle):
        asked.append(handle)
        return str(presets("vit")[0])

    monkeypatch.setattr(kagglehub, "model_download", download)
    backbone = from_preset("vit_large_patch16_384_imagenet", image_shape=SHAPE)
    assert backbone.image_shape == SHAPE
    assert asked[0].startswith("keras/vit/keras/vit_large_patch16_384_imagenet")


# === Models ===


def test_task_prompter_on_a_preset(presets):
    folder, backbone = presets("vit")
    model = keras_mtl.TaskPrompter(
        from_preset(folder, image_shape=(32, 48, 3)),
        [keras_mtl.tasks.DepthEstimation()],
        channel_windows=(1, 1),
        prompting_levels=1,
        decode_dim=4,
    )
    maps = model.predict_on_batch(random_images(1, 32, 48, 3))
    assert maps["depth"].shape == (1, 32, 48, 1) and np.isfinite(maps["depth"]).all()
    kernel = backbone.get_layer("vit_encoder").encoder_layers[1].mlp.dense_1.kernel
    kernel = ops.convert_to_numpy(kernel)
    assert any(
        np.array_equal(ops.convert_to_numpy(weight), kernel) for weight in model.trainable_weights
    )


def test_tpanet_on_a_preset(presets):
    folder, backbone = presets("swin of four stages")
    model = keras_mtl.TPANet(
        from_preset(folder, image_shape=(32, 48, 3)),
        [keras_mtl.tasks.DepthEstimation()],
        dim=8,
        groups=1,
        head_width=8,
        scales=2,
    )
    maps = model.predict_on_batch(random_images(1, 32, 48, 3))
    assert maps["depth"].shape == (1, 32, 48, 1) and np.isfinite(maps["depth"]).all()
    kernel = ops.convert_to_numpy(backbone.stages[3].blocks[0].mlp.fc1.kernel)
    assert any(
        np.array_equal(ops.convert_to_numpy(weight), kernel) for weight in model.trainable_weights
    )


# === Folders that Hugging Face writes ===

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VIT |= {"image_size": 32, "patch_size": 8}
DINO = {**VIT, "layerscale_value": 0.5}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SWIN |= {"image_size": 32, "patch_size": 4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """`folders(kind)`: a folder of Hugging Face's, and the network in it."""
    torch = pytest.importorskip("torch", reason="the references are in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the references are its networks")
    classes = {
        "ViT": ("ViTConfig", "ViTModel", VIT),
        "ViT classifier": ("ViTConfig", "ViTForImageClassification", VIT),
        "Swin": ("SwinConfig", "SwinModel", SWIN),
        "Swin classifier": ("SwinConfig", "SwinForImageClassification", SWIN),
        "DINOv2": ("Dinov2Config", "Dinov2Model", DINO),
        "DINOv2 with registers": (
            "Dinov2WithRegistersConfig",
            "Dinov2WithRegistersModel",
            DINO,
        ),
        "DINOv3": ("DINOv3ViTConfig", "DINOv3ViTModel", {**DINO, "num_register_tokens": 2}),
    }
    made = {}

    def make(kind):
        if kind not in made:
            config, network, arguments = classes[kind]
            with torch.device("cpu"):
                torch.manual_seed(0)
                config = getattr(transformers, config)(**arguments)
                model = getattr(transformers, network)(config).eval()
                with torch.no_grad():
                    for weight in model.parameters():
                        spread = 0.1 if weight.ndim > 1 else 0.3
                        weight += spread * torch.randn_like(weight)
            folder = tmp_path_factory.mktemp("hugging_face") / "saved"
            model.save_pretrained(folder)
            made[kind] = folder, model
        return made[kind]

    return make


@pytest.fixture
def folder(folders, tmp_path):
    """`folder(kind)`: a copy, to be spoilt."""

    def copy(kind):
        return shutil.copytree(folders(kind)[0], tmp_path / kind)

    return copy


def tokens(model, images, **options):
    """The last hidden state."""
    import torch

    trunk = getattr(model, "vit", model)
    pixels = torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")
    with torch.no_grad():
        return trunk(pixels, **options).last_hidden_state.numpy()


@pytest.mark.parametrize("kind", ["ViT", "ViT classifier"])
def test_hugging_faces_vit(folders, kind):
    folder, model = folders(kind)
    for shape in (None, SHAPE):
        backbone = from_preset(folder, image_shape=shape)
        assert backbone.layer_norm_epsilon == 1e-12
        images = random_images(2, *backbone.image_shape)
        expected = tokens(model, images, interpolate_pos_encoding=True)
        assert_close(output(backbone, images), expected, f"{kind} {backbone.image_shape}")


@pytest.mark.parametrize("kind", ["Swin", "Swin classifier"])
def test_hugging_faces_swin(folders, kind):
    import torch
    import transformers

    folder, model = folders(kind)
    config = {**SWIN, "out_features": ["stage1", "stage2"]}
    with torch.device("cpu"):
        twin = transformers.SwinBackbone(transformers.SwinConfig(**config)).eval()
    trunk = getattr(model, "swin", model)
    twin.swin.load_state_dict(trunk.state_dict(), strict=False)  # it has a pooler without weights
    twin.hidden_states_norms["stage2"].load_state_dict(trunk.layernorm.state_dict())
    for shape in (ODD, None):
        pyramid = from_preset(folder, image_shape=shape)
        images = random_images(1, *pyramid.image_shape)
        for stride, stage in zip((4, 8), twin.swin.encoder.layers, strict=True):
            for n, block in enumerate(stage.blocks):
                # Unshifted where a grid is at most one window: see test_swin_transformer.py.
                one_window = min(images.shape[1:3]) <= 4 * stride
                block.shift_size = 0 if one_window else 2 * (n % 2)
        with torch.no_grad():
            maps = twin(torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")).feature_maps
        found = pyramid(images, training=False).values()
        for one, expected in zip(found, maps, strict=True):
            expected = expected.permute(0, 2, 3, 1).numpy()
            title = f"{kind} {pyramid.image_shape}"
            assert_close(ops.convert_to_numpy(one), expected, title)


@pytest.mark.parametrize("kind", ["DINOv2", "DINOv2 with registers", "DINOv3"])
def test_hugging_faces_dinos(folders, kind):
    folder, model = folders(kind)
    for shape in (None, SHAPE if kind == "DINOv3" else SQUARE):
        backbone = from_preset(folder, image_shape=shape)
        images = random_images(1, *backbone.image_shape)
        title = f"{kind} {backbone.image_shape}"
        assert_close(output(backbone, images), tokens(model, images), title)


def test_pytorchs_files_and_several_files(folder, folders):
    from safetensors.numpy import load_file, save_file

    torch = pytest.importorskip("torch")
    expected = values(from_preset(folders("ViT")[0]))
    changed = folder("ViT")
    arrays = load_file(changed / "model.safetensors")
    (changed / "model.safetensors").unlink()
    names = list(arrays)
    for n, part in enumerate((names[:10], names[10:])):
        save_file({name: arrays[name] for name in part}, changed / f"part{n}.safetensors")
    weight_map = {name: f"part{int(n >= 10)}.safetensors" for n, name in enumerate(names)}
    index = changed / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    found = values(from_preset(changed))
    index.write_text("{")
    refused("index.json is broken or only part of a file", changed)
    index.unlink()
    state = {name: torch.tensor(array, device="cpu") for name, array in arrays.items()}
    torch.save(state, changed / "pytorch_model.bin")
    for one in (found, values(from_preset(changed))):
        for value, wanted in zip(one, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


# === Refusals ===


def refused(match, *arguments, **options):
    with pytest.raises(ValueError, match=match) as error:
        from_preset(*arguments, **options)
    assert "\n" not in str(error.value)


def change(folder, **entries):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    inner = config["config"] if "registered_name" in config else config
    inner.update(entries)
    path.write_text(json.dumps(config))


def test_unknown_names(tmp_path):
    refused("'vit_large_patch16' is neither .* near are vit_large_patch16_", "vit_large_patch16")
    refused("neither a folder nor one of keras-hub's presets", str(tmp_path / "nothing"))
    refused("'bert_base_en' is neither .* image backbones", "bert_base_en")
    refused("unknown beginning; expected kaggle:// or hf://", "ftp://somewhere/vit")


def test_no_network(monkeypatch):
    kagglehub = pytest.importorskip("kagglehub")

    def fail(handle):
        raise ConnectionError("no route to api.kaggle.com\nand much more")

    monkeypatch.setattr(kagglehub, "model_download", fail)
    for name in ("swin_tiny_patch4_window7_224", "dinov2_base", "resnet_50_imagenet"):
        refused(f"{name} could not be downloaded .no route to api.kaggle.com.; check", name)


def test_folders_that_are_none(tmp_path):
    refused("has no config.json; name a folder", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vi')
    refused("config.json is broken or only part of a file", tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    refused("neither keras-hub's nor Hugging Face's", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused("a model of type 'bert'; expected one of vit, swin, dinov2", tmp_path)
    config = {"registered_name": "keras_hub>BertBackbone", "class_name": "BertBackbone"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "config": {}}))
    refused("holds a BertBackbone; expected an image backbone", tmp_path)
    config = {"registered_name": "keras_hub>ViTBackbone", "class_name": "ViTBackbone"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "config": {}}))
    refused("config.json does not describe a ViTBackbone", tmp_path)


@pytest.mark.parametrize("kind", ["vit", "swin", "dinov2", "resnet"])
def test_spoilt_weights_of_keras_hub(preset, kind):
    import h5py

    folder = preset(kind)
    weights = folder / "model.weights.h5"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    refused("model.weights.h5 is broken or only part of a file", folder)
    weights.unlink()
    refused("has no weights: there is no model.weights.h5", folder)

    weights.write_bytes(whole)
    with h5py.File(weights, "r+") as file:
        names = []
        file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
        del file[names[0]]
    refused("lacks, or has in another size, .* of the .*Backbone that its config.json", folder)


def test_what_keras_hubs_file_lacks_is_listed(preset):
    import h5py

    folder = preset("vit")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        del file["layers/vi_t_encoder/layer_norm"]
    refused("another size, vit_encoder/ln/gamma, vit_encoder/ln/beta of the ViTBackbone", folder)


def test_what_keras_hubs_file_has_left_over(preset):
    """Keras itself reads on over it."""
    import h5py

    folder = preset("vit")
    change(folder, num_layers=1)
    refused("holds 38 arrays, and the ViTBackbone .* takes 22", folder)
    folder = preset("swin")
    with h5py.File(folder / "model.weights.h5", "r+") as file:
        file.copy("layers/layer_normalization", "layers/extra")
    refused("holds 63 arrays, and the SwinTransformerBackbone .* takes 61", folder)


def test_weights_of_another_size(preset):
    folder = preset("vit")
    change(folder, hidden_dim=16)
    refused(r"another size, .*patch_embedding/kernel, .* and \d+ more of the ViTBackbone", folder)


def test_weights_in_several_files(presets, tmp_path):
    _, backbone = presets("vit")
    backbone.save_to_preset(str(tmp_path / "parts"), max_shard_size=1e-5)  # 10 kB
    assert len(list((tmp_path / "parts").glob("*.h5"))) > 1
    for found, expected in zip(
        values(from_preset(tmp_path / "parts")), values(backbone), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    next((tmp_path / "parts").glob("*1.weights.h5")).unlink()
    refused("model.weights.json is broken or only part of a file", tmp_path / "parts")


def test_spoilt_weights_of_hugging_face(folder):
    pytest.importorskip("safetensors")
    from safetensors.numpy import load_file, save_file

    changed = folder("ViT")
    weights = changed / "model.safetensors"
    arrays, whole = load_file(weights), weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refused("model.safetensors is broken or only part of a file", changed)
    save_file({k: v for k, v in arrays.items() if "layer.1.output" not in k}, weights)
    refused(r"it lacks encoder.layer.1.output.dense.weight, encoder.layer.1.output", changed)
    save_file({**arrays, "encoder.extra": np.ones(3, "float32")}, weights)
    refused("it has encoder.extra that nobody takes", changed)
    weights.write_bytes(whole)
    change(changed, hidden_size=64)
    refused(r"does not hold the weights of this ViTBackbone .*\(32, 3, 8, 8\)", changed)
    change(changed, hidden_size=32, hidden_act="relu")
    refused("hidden_act='relu'; the backbone in keras_hub computes 'gelu' only", changed)
    weights.unlink()
    refused("has no weights: there is neither model.safetensors nor", changed)
    change(changed, num_channels=1)
    refused("images of 1 channels; expected 3", changed)


def test_weights_of_another_architecture(folder):
    changed = folder("Swin")
    shutil.copy(folder("ViT") / "model.safetensors", changed / "model.safetensors")
    refused("not hold the weights of this SwinTransformerBackbone .*it lacks", changed)


def test_image_shapes_that_do_not_do(presets):
    for shape in ((32, 32), (None, None, 3), (32, 32, 4)):
        refused(r"image_shape is \(.*expected a known height", presets("vit")[0], image_shape=shape)
    for kind in ("vit", "dinov3"):
        refused("height 36 is not a multiple", presets(kind)[0], image_shape=(36, 32, 3))
    refused("takes square images only", presets("dinov2")[0], image_shape=(32, 40, 3))
    refused("height 36 is not a multiple", presets("dinov2")[0], image_shape=(36, 36, 3))


def test_unknown_arguments(presets, folders):
    refused("ViTBackbone takes no depth; see", presets("vit")[0], depth=3)
    refused("ViTBackbone takes no depth; see", folders("ViT")[0], depth=3)


def test_no_class_token_to_keep(presets, tmp_path):
    from_preset(presets("vit")[0], use_class_token=False).save_to_preset(str(tmp_path / "without"))
    refused("has no class token", tmp_path / "without", use_class_token=True)
