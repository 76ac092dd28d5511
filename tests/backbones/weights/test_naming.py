"""Files in other projects' names, against the networks that these projects would compute."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.backbones import HRNet, load_weights, swin_transformer, vision_transformer
from keras_mtl.backbones.vision_transformer import resize_bicubic

torch = pytest.importorskip("torch", reason="the references are in PyTorch")
transformers = pytest.importorskip("transformers", reason="the references are its networks")

pytestmark = pytest.mark.usefixtures("drawn_by_numpy")

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
VIT |= {"intermediate_size": 48, "image_size": 32, "patch_size": 8}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4}
SWIN |= {"image_size": 32, "patch_size": 4}
SHAPE = (40, 64, 3)  # patches of 5 x 8, where the ViT was trained on 4 x 4
ODD = (33, 50, 3)


def randomized(model, spread=1.5):
    """Every weight, table and statistic far from its start, activations still of size one."""
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
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    else:
        tensors = {name: torch.tensor(array, device="cpu") for name, array in arrays.items()}
        torch.save({"model": tensors, "epoch": 3}, path)
    return path


# === Vision Transformer ===


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A classifier and the arrays it saves."""
    with torch.device("cpu"):
        model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT))
    folder = tmp_path_factory.mktemp("vit")
    return randomized(model), saved_arrays(model, folder)


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


QKV = ("query", "key", "value")


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
    with torch.no_grad():
        output = model.vit(channels_first(images), interpolate_pos_encoding=True)
    return output.last_hidden_state.numpy()


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("vit.safetensors", dict),
        ("vit.pth", timm_vit),
        ("vit.npz", google_vit),
    ],
    ids=["hugging_face", "timm", "google"],
)
def test_vit(vit, tmp_path, file, named):
    model, arrays = vit
    path = write(tmp_path / file, named(arrays))
    for shape in ((32, 32, 3), SHAPE):
        backbone, images = our_vit(shape), random_images(2, *shape)
        load_weights(backbone, path)
        expected = vit_features(model, images)
        assert_close(backbone(images, training=False), expected, f"{named.__name__} ViT {shape}")


def test_vit_as_transformers_5_names_it(vit, tmp_path):
    model, _ = vit
    torch.save(model.state_dict(), tmp_path / "vit.bin")
    assert "vit.layers.0.attention.q_proj.weight" in model.state_dict()
    backbone, images = our_vit(SHAPE), random_images(1, *SHAPE)
    load_weights(backbone, tmp_path / "vit.bin")
    assert_close(backbone(images, training=False), vit_features(model, images), "state dict")


def test_resized_positions_in_the_reference_itself(vit, tmp_path):
    """Not only like its own resizing: the same with our table given to it."""
    model, arrays = vit
    with torch.device("cpu"):
        twin = transformers.ViTModel(
            transformers.ViTConfig(**{**VIT, "image_size": SHAPE[:2]}), add_pooling_layer=False
        ).eval()
    state = model.vit.state_dict()
    table = state["embeddings.position_embeddings"].numpy()[0]
    grid = resize_bicubic(table[1:].reshape(4, 4, 32), (5, 8)).reshape(40, 32)
    table = torch.tensor(np.concatenate([table[:1], grid])[None], device="cpu")
    twin.load_state_dict({**state, "embeddings.position_embeddings": table})
    images = random_images(2, *SHAPE)
    with torch.no_grad():
        expected = twin(channels_first(images)).last_hidden_state.numpy()
    backbone = our_vit(SHAPE)
    load_weights(backbone, write(tmp_path / "vit.npz", arrays))
    assert_close(backbone(images, training=False), expected, "our table in torch")


def test_class_token_is_dropped_where_the_backbone_has_none(vit, tmp_path):
    _, arrays = vit
    backbone = our_vit(SHAPE, use_class_token=False)
    load_weights(backbone, write(tmp_path / "vit.npz", timm_vit(arrays)))
    table = ops.convert_to_numpy(
        backbone.get_layer("vit_patching_and_embedding").position_embedding.embeddings
    )
    grid = arrays["vit.embeddings.position_embeddings"][0, 1:].reshape(4, 4, 32)
    np.testing.assert_array_equal(table, resize_bicubic(grid, (5, 8)).reshape(40, 32))


def test_table_without_the_class_tokens_entry(vit, tmp_path):
    """timm's `no_embed_class`: nothing is added to the class token."""
    _, arrays = vit
    arrays = timm_vit(arrays)
    arrays["pos_embed"] = arrays["pos_embed"][:, 1:]
    backbone = our_vit((32, 32, 3))
    load_weights(backbone, write(tmp_path / "vit.npz", arrays))
    table = ops.convert_to_numpy(
        backbone.get_layer("vit_patching_and_embedding").position_embedding.embeddings
    )
    assert not table[0].any()
    np.testing.assert_array_equal(table[1:], arrays["pos_embed"][0])


def test_table_of_a_grid_that_is_no_square(vit, tmp_path):
    _, arrays = vit
    arrays = timm_vit(arrays)  # 16 entries and one
    path = write(tmp_path / "vit.npz", arrays)
    backbone = our_vit((16, 64, 3))
    load_weights(backbone, path, table_grid=(2, 8))
    layer = backbone.get_layer("vit_patching_and_embedding").position_embedding
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.embeddings), arrays["pos_embed"][0])

    arrays["pos_embed"] = np.concatenate([arrays["pos_embed"], arrays["pos_embed"][:, 1:3]], 1)
    path = write(tmp_path / "more.npz", arrays)  # 18 entries and one: no square
    backbone = our_vit((24, 48, 3))
    load_weights(backbone, path)  # of the backbone's own grid, then
    layer = backbone.get_layer("vit_patching_and_embedding").position_embedding
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.embeddings), arrays["pos_embed"][0])
    for options in ({}, {"table_grid": (3, 7)}):
        with pytest.raises(ValueError, match=r"pos_embed \(1, 19, 32\)"):
            load_weights(our_vit(SHAPE), path, **options)


# === Swin Transformer ===


@pytest.fixture(scope="module")
def swin(tmp_path_factory):
    with torch.device("cpu"):
        model = transformers.SwinForImageClassification(transformers.SwinConfig(**SWIN))
    folder = tmp_path_factory.mktemp("swin")
    return randomized(model), saved_arrays(model, folder)


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


@pytest.mark.parametrize(
    ("file", "named"),
    [("swin.npz", dict), ("swin.pth", official_swin), ("swin.safetensors", timm_swin)],
    ids=["hugging_face", "authors", "timm"],
)
def test_swin(swin, tmp_path, file, named):
    model, arrays = swin
    path = write(tmp_path / file, named(arrays))
    pyramid = our_swin(ODD)
    pyramid.build((None, *ODD))
    load_weights(pyramid, path)
    assert_swin(pyramid, model, ODD, named.__name__)
    for norm in pyramid.norms:  # in no file
        assert ops.convert_to_numpy(norm.gamma).all() and not ops.convert_to_numpy(norm.beta).any()


def test_swin_as_transformers_5_names_it(swin, tmp_path):
    model, _ = swin
    torch.save(model.state_dict(), tmp_path / "swin.bin")
    pyramid = our_swin((32, 32, 3))
    load_weights(pyramid.backbone, tmp_path / "swin.bin")  # keras-hub's own, too
    assert_swin(pyramid, model, (32, 32, 3), "state dict")


def test_swin_with_other_windows(swin, tmp_path, caplog):
    model, arrays = swin
    pyramid = our_swin(ODD, window_size=6)
    with caplog.at_level("INFO", logger="keras_mtl"):
        load_weights(pyramid, write(tmp_path / "swin.npz", arrays))
    assert "windows of 4 to windows of 6" in caplog.text
    assert_swin(pyramid, model, ODD, "windows of 6", window=6)


# === HRNet ===


def conv_norm(inputs, outputs, kernel=3, stride=1, relu=False):
    convolution = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    parts = [convolution, torch.nn.BatchNorm2d(outputs)]
    return torch.nn.Sequential(*parts, *([torch.nn.ReLU()] if relu else []))


class Block(torch.nn.Module):
    """`conv1`, `bn1`, `conv2` and so on, and the sum with what came in."""

    def __init__(self, widths, kernels, project=False):
        super().__init__()
        self.count = len(kernels)
        for n, kernel in enumerate(kernels):
            convolution, norm = conv_norm(widths[n], widths[n + 1], kernel)
            setattr(self, f"conv{n + 1}", convolution)
            setattr(self, f"bn{n + 1}", norm)
        self.downsample = conv_norm(widths[0], widths[-1], 1) if project else None

    def forward(self, x):
        y = x
        for n in range(1, self.count + 1):
            y = getattr(self, f"bn{n}")(getattr(self, f"conv{n}")(y))
            y = torch.relu(y) if n < self.count else y
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Module(torch.nn.Module):
    """Blocks on every branch, and the fusion of all with all."""

    def __init__(self, widths, blocks):
        super().__init__()
        count = len(widths)
        basic = [[Block((w, w, w), (3, 3)) for _ in range(blocks)] for w in widths]
        self.branches = torch.nn.ModuleList(torch.nn.Sequential(*branch) for branch in basic)

        def way(j, i):
            if j == i:
                return None
            if j > i:
                return conv_norm(widths[j], widths[i], 1)
            steps = [conv_norm(widths[j], widths[j], 3, 2, relu=True) for _ in range(i - j - 1)]
            return torch.nn.Sequential(*steps, conv_norm(widths[j], widths[i], 3, 2))

        self.fuse_layers = torch.nn.ModuleList(
            torch.nn.ModuleList(way(j, i) for j in range(count)) for i in range(count)
        )

    def forward(self, xs):
        xs = [branch(x) for branch, x in zip(self.branches, xs, strict=True)]
        fused = []
        for i, ways in enumerate(self.fuse_layers):
            total = xs[i]
            for j, way in enumerate(ways):
                if j != i:
                    y = way(xs[j])
                    if j > i:  # bilinearly, as the authors' code for segmentation
                        y = torch.nn.functional.interpolate(y, xs[i].shape[2:], mode="bilinear")
                    total = total + y
            fused.append(torch.relu(total))
        return fused


class OfficialHRNet(torch.nn.Module):
    """The structure and the names of the authors' network, with some of a classifier."""

    def __init__(self, width, bottlenecks, modules, blocks):
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.conv1, self.bn1 = conv_norm(3, 64, 3, 2)
        self.conv2, self.bn2 = conv_norm(64, 64, 3, 2)
        first = [Block((64, 64, 64, 256), (1, 3, 1), project=True)]
        more = [Block((256, 64, 64, 256), (1, 3, 1)) for _ in range(bottlenecks - 1)]
        self.layer1 = torch.nn.Sequential(*first, *more)

        def new_branch(inputs, outputs):
            return torch.nn.Sequential(conv_norm(inputs, outputs, 3, 2, relu=True))

        self.transition1 = torch.nn.ModuleList(
            [conv_norm(256, width, relu=True), new_branch(256, widths[1])]
        )
        for stage in (3, 4):
            kept = [None] * (stage - 1)
            branch = new_branch(widths[stage - 2], widths[stage - 1])
            setattr(self, f"transition{stage - 1}", torch.nn.ModuleList([*kept, branch]))
        for stage, count in zip((2, 3, 4), modules, strict=True):
            parts = [Module(widths[:stage], blocks) for _ in range(count)]
            setattr(self, f"stage{stage}", torch.nn.Sequential(*parts))
        self.incre_modules = torch.nn.ModuleList([Block((width, 8, 8, 32), (1, 3, 1), True)])
        self.downsamp_modules = torch.nn.ModuleList([conv_norm(32, 64, 3, 2)])
        self.final_layer = conv_norm(64, 8, 1)
        self.classifier = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        xs = self.stage2([way(x) for way in self.transition1])
        xs = self.stage3([*xs, self.transition2[2](xs[-1])])
        return self.stage4([*xs, self.transition3[3](xs[-1])])


HRNET = {"width": 4, "bottlenecks": 2, "modules": (1, 2, 1), "blocks": 2}


@pytest.fixture(scope="module")
def hrnet():
    with torch.device("cpu"):
        return randomized(OfficialHRNet(**HRNET), spread=0.3)


def test_hrnet(hrnet, tmp_path):
    names = list(hrnet.state_dict())
    for name in (
        "layer1.0.downsample.1.running_var",
        "transition1.0.0.weight",
        "transition1.1.0.0.weight",
        "transition3.3.0.1.bias",
        "stage3.1.branches.2.1.conv2.weight",
        "stage4.0.fuse_layers.0.3.1.running_mean",
        "stage4.0.fuse_layers.3.0.2.0.weight",
    ):
        assert name in names  # as in the published files
    path = tmp_path / "hrnet.pth"
    torch.save({f"module.{name}": value for name, value in hrnet.state_dict().items()}, path)
    backbone, images = HRNet(ODD, **HRNET), random_images(1, *ODD)
    load_weights(backbone, path)
    with torch.no_grad():
        expected = [x.permute(0, 2, 3, 1).numpy() for x in hrnet(channels_first(images))]
    for found, wanted in zip(backbone(images, training=False).values(), expected, strict=True):
        assert_close(found, wanted, f"HRNet branch of {wanted.shape[1:3]}")


# === Refusals: nothing changes ===


def refused(backbone, path, match):
    before = [ops.convert_to_numpy(weight) + 0.0 for weight in backbone.weights]
    with pytest.raises(ValueError, match=match) as error:
        load_weights(backbone, path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    for weight, value in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), value)


def test_names_that_nobody_knows(tmp_path):
    path = write(tmp_path / "other.npz", {"encoder/w": np.zeros(3), "encoder/b": np.zeros(2)})
    match = (
        r"known for a ViTBackbone: it has encoder/w, encoder/b and so on; expected one of .*timm"
    )
    refused(our_vit(SHAPE), path, match)


def test_another_architecture(vit, swin, tmp_path):
    path = write(tmp_path / "swin.npz", official_swin(swin[1]))
    refused(our_vit(SHAPE), path, "names of timm: it lacks .*blocks.0.norm1.weight")
    path = write(tmp_path / "vit.npz", vit[1])
    refused(our_swin(ODD), path, "this SwinTransformer in .*embeddings.norm.weight")
    backbone = HRNet(ODD, width=4, bottlenecks=1, modules=(1, 1, 1), blocks=1)
    backbone.build((None, *ODD))
    refused(backbone, path, "known for a HRNet: .* expected one of layer1.0.conv1.weight")


def test_sizes_of_another_backbone(vit, tmp_path):
    path = write(tmp_path / "vit.npz", timm_vit(vit[1]))
    match = r"patch_embed.proj.weight \(32, 3, 8, 8\) .* \(8, 8, 3, 64\)"
    refused(our_vit(SHAPE, hidden_dim=64), path, match)
    refused(our_vit(SHAPE, num_layers=3), path, "lacks blocks.2.norm1.weight, .* more")
    refused(our_vit(SHAPE, num_layers=1), path, "it has blocks.1.* that nobody takes")


def test_missing_and_left_over(vit, tmp_path):
    arrays = timm_vit(vit[1])
    del arrays["blocks.1.attn.qkv.bias"]
    refused(our_vit(SHAPE), write(tmp_path / "a.npz", arrays), "it lacks blocks.1.attn.qkv.bias")
    arrays = {**timm_vit(vit[1]), "blocks.0.ls1.gamma": np.ones(32, "float32")}
    match = "it has blocks.0.ls1.gamma that nobody takes"
    refused(our_vit(SHAPE), write(tmp_path / "b.npz", arrays), match)
    arrays = {**timm_vit(vit[1])}
    del arrays["cls_token"]
    refused(our_vit(SHAPE), write(tmp_path / "c.npz", arrays), "it lacks cls_token")


def test_truncated_file(vit, tmp_path):
    path = write(tmp_path / "vit.safetensors", vit[1])
    path.write_bytes(path.read_bytes()[:-1000])
    refused(our_vit(SHAPE), path, "broken or only part of a file")


def test_a_backbone_without_names():
    with pytest.raises(ValueError, match="Sequential is no backbone .*ViTBackbone") as error:
        load_weights(keras.Sequential(), __file__)
    assert "\n" not in str(error.value)
