"""The networks of other projects, the files they would write, and how to compare with them."""

import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import load_weights, swin_transformer, vision_transformer

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VIT |= {"intermediate_size": 48, "image_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SWIN |= {"image_size": 32, "patch_size": 4}
QKV = ("query", "key", "value")
SHAPE = (40, 64, 3)  # patches of 5 x 8, where the ViT was trained on 4 x 4
ODD = (33, 50, 3)


def randomized(model, spread=1.5):
    """Every weight, table and statistic far from its start, activations still of size one."""

    import torch

    rng = np.random.default_rng(0)
    state = {}
    for name, value in model.state_dict().items():
        shape, kind = tuple(value.shape), name.split(".")[-1]
        if value.dtype == torch.int64:  # indices and counters
            state[name] = value
            continue
        if kind == "running_var" or (kind == "weight" and len(shape) == 1):
            drawn = rng.uniform(0.5, 1.5, shape)
        elif kind == "weight":
            drawn = rng.normal(0, math.sqrt(spread / math.prod(shape[1:])), shape)
        else:
            drawn = rng.normal(0, 0.3, shape)
        state[name] = torch.tensor(drawn.astype("float32"), device="cpu")
    model.load_state_dict(state)
    return model.eval()


def saved_arrays(model, folder):
    """What `save_pretrained` writes."""
    from safetensors.numpy import load_file

    model.save_pretrained(folder)
    return load_file(folder / "model.safetensors")


def channels_first(images):
    import torch

    return torch.tensor(images.transpose(0, 3, 1, 2), device="cpu")


def random_images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def assert_close(found, expected, title):
    found = ops.convert_to_numpy(found)
    assert found.shape == expected.shape and 0.1 < expected.std() < 10
    error = np.abs(found - expected).max()
    print(f"{keras.backend.backend()}: {title}, max abs difference {error:.1e}")
    assert error < 1e-4


def write(path, arrays):
    """In the format of the path's ending."""

    import torch

    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        tensors = {name: torch.tensor(array, device="cpu") for name, array in arrays.items()}
        torch.save({"model": tensors, "epoch": 3}, path)
    return path


def timm_vit(arrays):
    """timm's names for Hugging Face's."""
    arrays = {name.removeprefix("vit."): array for name, array in arrays.items()}
    names = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj": "embeddings.patch_embeddings.projection",
        "norm": "layernorm",
        "head": "classifier",
    }
    parts = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for n in range(2):
        names |= {f"blocks.{n}.{ours}": f"encoder.layer.{n}.{hf}" for ours, hf in parts.items()}
    renamed = {}
    for timm, theirs in names.items():
        for kind in ("", ".weight", ".bias"):
            if theirs + kind in arrays:
                renamed[timm + kind] = arrays[theirs + kind]
    for n in range(2):
        for kind in ("weight", "bias"):
            fused = [f"encoder.layer.{n}.attention.attention.{one}.{kind}" for one in QKV]
            renamed[f"blocks.{n}.attn.qkv.{kind}"] = np.concatenate([arrays[x] for x in fused])
    return renamed


def google_vit(arrays):
    """Google's names and layouts for Hugging Face's."""
    arrays = {name.removeprefix("vit."): array for name, array in arrays.items()}
    renamed = {
        "cls": arrays["embeddings.cls_token"],
        "Transformer/posembed_input/pos_embedding": arrays["embeddings.position_embeddings"],
        "embedding/bias": arrays["embeddings.patch_embeddings.projection.bias"],
        "head/kernel": arrays["classifier.weight"].T,
        "head/bias": arrays["classifier.bias"],
    }
    kernel = arrays["embeddings.patch_embeddings.projection.weight"]
    renamed["embedding/kernel"] = kernel.transpose(2, 3, 1, 0)

    def norm(theirs, ours):
        renamed[f"{theirs}/scale"] = arrays[f"{ours}.weight"]
        renamed[f"{theirs}/bias"] = arrays[f"{ours}.bias"]

    norm("Transformer/encoder_norm", "layernorm")
    for n in range(2):
        block, source = f"Transformer/encoderblock_{n}", f"encoder.layer.{n}"
        norm(f"{block}/LayerNorm_0", f"{source}.layernorm_before")
        norm(f"{block}/LayerNorm_2", f"{source}.layernorm_after")
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for one in QKV:
            name = f"{source}.attention.attention.{one}"
            kernel = arrays[f"{name}.weight"].T.reshape(32, 4, 8)
            renamed[f"{attention}/{one}/kernel"] = kernel
            renamed[f"{attention}/{one}/bias"] = arrays[f"{name}.bias"].reshape(4, 8)
        name = f"{source}.attention.output.dense"
        renamed[f"{attention}/out/kernel"] = arrays[f"{name}.weight"].T.reshape(4, 8, 32)
        renamed[f"{attention}/out/bias"] = arrays[f"{name}.bias"]
        for theirs, ours in (("Dense_0", "intermediate.dense"), ("Dense_1", "output.dense")):
            name = f"{block}/MlpBlock_3/{theirs}"
            renamed[f"{name}/kernel"] = arrays[f"{source}.{ours}.weight"].T
            renamed[f"{name}/bias"] = arrays[f"{source}.{ours}.bias"]
    return renamed


def our_vit(image_shape, **arguments):
    config = {"num_layers": 2, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 48, "patch_size": 8}
    config |= {"layer_norm_epsilon": 1e-12, "use_class_token": True}
    return vision_transformer("tiny", image_shape, **{**config, **arguments})


def vit_features(model, images):
    import torch

    with torch.no_grad():
        output = model.vit(channels_first(images), interpolate_pos_encoding=True)
    return output.last_hidden_state.numpy()


def official_swin(arrays):
    """The authors' names for Hugging Face's, buffers included."""
    arrays = {name.removeprefix("swin."): array for name, array in arrays.items()}
    parts = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    names = {"patch_embed.proj": "embeddings.patch_embeddings.projection"}
    names |= {"patch_embed.norm": "embeddings.norm", "norm": "layernorm", "head": "classifier"}
    for part in ("norm", "reduction"):
        names[f"layers.0.downsample.{part}"] = f"encoder.layers.0.downsample.{part}"
    renamed = {}
    for i, n in np.ndindex(2, 2):
        block, theirs = f"layers.{i}.blocks.{n}", f"encoder.layers.{i}.blocks.{n}"
        names |= {f"{block}.{ours}": f"{theirs}.{part}" for ours, part in parts.items()}
        for kind in ("weight", "bias"):
            fused = [arrays[f"{theirs}.attention.self.{one}.{kind}"] for one in QKV]
            renamed[f"{block}.attn.qkv.{kind}"] = np.concatenate(fused)
        renamed[f"{block}.attn.relative_position_index"] = np.zeros((16, 16), "int64")
    renamed["layers.0.blocks.1.attn_mask"] = np.zeros((4, 16, 16), "float32")
    for ours, theirs in names.items():
        for kind in ("", ".weight", ".bias"):
            if theirs + kind in arrays:
                renamed[ours + kind] = arrays[theirs + kind]
    return renamed


def timm_swin(arrays):
    """timm's today: patches are merged at the beginning of a stage, the head is deeper."""
    arrays = official_swin(arrays)
    moved = {"layers.0.downsample": "layers.1.downsample", "head": "head.fc"}
    for old, new in moved.items():
        for name in [name for name in arrays if name.startswith(f"{old}.")]:
            arrays[new + name.removeprefix(old)] = arrays.pop(name)
    return arrays


def our_swin(image_shape, **arguments):
    config = {"embed_dim": 12, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
    return swin_transformer("tiny", image_shape, **{**config, **arguments})


def swin_features(model, images, window=4):
    """Its stages before their merging; unshifted where a grid is at most one window, as in
    the published classifiers (see test_swin_transformer.py)."""

    import torch
    import transformers

    config = {**SWIN, "window_size": window, "out_features": ["stage1", "stage2"]}
    with torch.device("cpu"):
        twin = transformers.SwinBackbone(transformers.SwinConfig(**config)).eval()
    state = model.swin.state_dict()
    for name, table in state.items():
        if name.endswith("relative_position_bias_table") and window != 4:
            grid = table.T.reshape(1, -1, 7, 7)
            side = 2 * window - 1
            grid = torch.nn.functional.interpolate(
                grid, size=(side, side), mode="bicubic", align_corners=False
            )
            state[name] = grid.reshape(-1, side * side).T
    twin.swin.load_state_dict(state)
    norm = twin.hidden_states_norms["stage2"]
    norm.load_state_dict(model.swin.layernorm.state_dict())
    for stride, stage in zip((4, 8), twin.swin.encoder.layers, strict=True):
        if min(images.shape[1:3]) <= stride * window:
            for block in stage.blocks:
                block.shift_size = 0
    with torch.no_grad():
        maps = twin(channels_first(images)).feature_maps
    return [x.permute(0, 2, 3, 1).numpy() for x in maps]


def assert_swin(pyramid, model, shape, title, window=4):
    images = random_images(1, *shape)
    found = pyramid(images, training=False).values()
    for one, expected in zip(found, swin_features(model, images, window), strict=True):
        assert_close(one, expected, f"{title} Swin {shape}")


def refused(backbone, path, match):
    before = [ops.convert_to_numpy(weight) + 0.0 for weight in backbone.weights]
    with pytest.raises(ValueError, match=match) as error:
        load_weights(backbone, path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    for weight, value in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), value)


def check_vit(vit, path, named):
    """A file in the names that `named` gives the arrays, at the trained image size and another."""
    model, arrays = vit
    write(path, named(arrays))
    for shape in ((32, 32, 3), SHAPE):
        backbone, images = our_vit(shape), random_images(2, *shape)
        load_weights(backbone, path)
        expected = vit_features(model, images)
        assert_close(backbone(images, training=False), expected, f"{named.__name__} ViT {shape}")


def check_swin(swin, path, named):
    """The same for a Swin Transformer at an odd image size."""
    model, arrays = swin
    write(path, named(arrays))
    pyramid = our_swin(ODD)
    pyramid.build((None, *ODD))
    load_weights(pyramid, path)
    assert_swin(pyramid, model, ODD, named.__name__)
    for norm in pyramid.norms:  # in no file
        assert ops.convert_to_numpy(norm.gamma).all() and not ops.convert_to_numpy(norm.beta).any()


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A classifier and the arrays it saves."""
    torch = pytest.importorskip("torch", reason="the references are in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the references are its networks")
    with torch.device("cpu"):
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    folder = tmp_path_factory.mktemp("vit")
    return randomized(model), saved_arrays(model, folder)


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    """A classifier and the arrays it saves."""
    torch = pytest.importorskip("torch", reason="the references are in PyTorch")
    transformers = pytest.importorskip("transformers", reason="the references are its networks")
    with torch.device("cpu"):
        model = transformers.SwinForImageClassification(transformers.SwinConfig(**SWIN))
    folder = tmp_path_factory.mktemp("swin")
    return randomized(model), saved_arrays(model, folder)


@pytest.fixture(scope="session")
def projects():
    """All the functions above, by name."""
    functions = [
        randomized,
        saved_arrays,
        channels_first,
        random_images,
        assert_close,
        write,
        timm_vit,
        google_vit,
        our_vit,
        vit_features,
        official_swin,
        timm_swin,
        our_swin,
        swin_features,
        assert_swin,
        refused,
        check_vit,
        check_swin,
    ]
    return SimpleNamespace(**{function.__name__: function for function in functions})
