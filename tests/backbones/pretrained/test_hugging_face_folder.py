"""Folders that Hugging Face writes, against its own networks."""

import json
import shutil

import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import from_preset

pytestmark = [
    pytest.mark.usefixtures("drawn_by_numpy"),
    pytest.mark.once("torch", "what is read from files are NumPy arrays"),
]

SHAPE = (40, 64, 3)
ODD = (33, 50, 3)
SQUARE = (56, 56, 3)
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SWIN |= {"image_size": 32, "patch_size": 4}


@pytest.mark.parametrize("kind", ["ViT", "ViT classifier"])
def test_hugging_faces_vit(shared, folders, kind):
    folder, model = folders(kind)
    for shape in (None, SHAPE):
        backbone = from_preset(folder, image_shape=shape)
        assert backbone.layer_norm_epsilon == 1e-12
        images = shared.random_images(2, *backbone.image_shape)
        expected = shared.tokens(model, images, interpolate_pos_encoding=True)
        shared.assert_close(
            shared.output(backbone, images), expected, f"{kind} {backbone.image_shape}"
        )


@pytest.mark.parametrize("kind", ["Swin", "Swin classifier"])
def test_hugging_faces_swin(shared, folders, kind):
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
        images = shared.random_images(1, *pyramid.image_shape)
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
            shared.assert_close(ops.convert_to_numpy(one), expected, title)


@pytest.mark.parametrize("kind", ["DINOv2", "DINOv2 with registers", "DINOv3"])
def test_hugging_faces_dinos(shared, folders, kind):
    folder, model = folders(kind)
    for shape in (None, SHAPE, SQUARE):
        backbone = from_preset(folder, image_shape=shape)
        images = shared.random_images(1, *backbone.image_shape)
        title = f"{kind} {backbone.image_shape}"
        shared.assert_close(shared.output(backbone, images), shared.tokens(model, images), title)


def test_pytorchs_files_and_several_files(shared, folder, folders):
    from safetensors.numpy import load_file, save_file

    torch = pytest.importorskip("torch")
    expected = shared.values(from_preset(folders("ViT")[0]))
    changed = folder("ViT")
    arrays = load_file(changed / "model.safetensors")
    (changed / "model.safetensors").unlink()
    names = list(arrays)
    for n, part in enumerate((names[:10], names[10:])):
        save_file({name: arrays[name] for name in part}, changed / f"part{n}.safetensors")
    weight_map = {name: f"part{int(n >= 10)}.safetensors" for n, name in enumerate(names)}
    index = changed / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    found = shared.values(from_preset(changed))
    index.write_text('{"weight_map": {"a": "../part0.safetensors"}}')
    shared.refused("index.json names '../part0.safetensors', which leads elsewhere", changed)
    index.write_text("{")
    shared.refused("index.json is broken or only part of a file", changed)
    index.unlink()
    state = {name: torch.tensor(array, device="cpu") for name, array in arrays.items()}
    torch.save(state, changed / "pytorch_model.bin")
    for one in (found, shared.values(from_preset(changed))):
        for value, wanted in zip(one, expected, strict=True):
            np.testing.assert_array_equal(value, wanted)


def test_spoilt_weights_of_hugging_face(shared, folder):
    pytest.importorskip("safetensors")
    from safetensors.numpy import load_file, save_file

    changed = folder("ViT")
    weights = changed / "model.safetensors"
    arrays, whole = load_file(weights), weights.read_bytes()
    weights.write_bytes(whole[:-100])
    shared.refused("model.safetensors is broken or only part of a file", changed)
    save_file({k: v for k, v in arrays.items() if "layer.1.output" not in k}, weights)
    shared.refused(r"it lacks encoder.layer.1.output.dense.weight, encoder.layer.1.output", changed)
    save_file({**arrays, "encoder.extra": np.ones(3, "float32")}, weights)
    shared.refused("it has encoder.extra that nobody takes", changed)
    weights.write_bytes(whole)
    shared.change(changed, hidden_size=64)
    shared.refused(r"does not hold the weights of this ViTBackbone .*\(32, 3, 8, 8\)", changed)
    shared.change(changed, hidden_size=32, hidden_act="relu")
    shared.refused("hidden_act='relu'; the backbone in keras_hub computes 'gelu' only", changed)
    weights.unlink()
    shared.refused("has no weights: there is neither model.safetensors nor", changed)
    shared.change(changed, num_channels=1)
    shared.refused("images of 1 channels; expected 3", changed)


def test_weights_of_another_architecture(shared, folder):
    changed = folder("Swin")
    shutil.copy(folder("ViT") / "model.safetensors", changed / "model.safetensors")
    shared.refused("not hold the weights of this SwinTransformerBackbone .*it lacks", changed)
