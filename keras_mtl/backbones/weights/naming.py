"""Weights of backbones in the names of timm, Hugging Face and the authors' own code.

One function for each architecture and naming says which variable gets which arrays.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_mtl.backbones.hrnet import HRNet
from keras_mtl.backbones.swin_transformer import SwinTransformer, relative_position_table
from keras_mtl.backbones.vision_transformer import grid_of, position_table
from keras_mtl.backbones.weights.files import Entry, assign, read_weights


def load_weights(
    backbone: keras.Model | keras.layers.Layer,
    path: str | Path,
    table_grid: tuple[int, int] | None = None,
) -> None:
    """Fills a backbone with the weights in a file that another project wrote.

    | backbone | names in the file |
    |---|---|
    | `vision_transformer(...)` or `keras_hub.models.ViTBackbone` | timm, Hugging Face, Google |
    | `swin_transformer(...)` or `keras_hub.models.SwinTransformerBackbone` | the authors, timm, \
Hugging Face |
    | `hrnet(...)` | the authors, timm |
    | `keras_hub.models.DINOV2Backbone`, `DINOV3Backbone` | Hugging Face |

    The backbone may be built for any image size: position embeddings are resized bicubically to
    its patches, relative positions to its windows. Classifiers, poolers and mask tokens in the
    file are left aside, and its class token where the backbone has none; any other array must be
    one of the backbone's, and each of the backbone's must be there. There is one exception: the
    LayerNorms of a `SwinTransformer`'s outputs, all but the last, are no part of a classifier and
    keep their values, as in the published networks for dense prediction.

    LayerNorm's epsilon is the backbone's: give a ViT `layer_norm_epsilon=1e-12` for exactly what
    Hugging Face computes; timm and Google have the default, 1e-6. `HRNet` resizes bilinearly where
    it fuses branches, as the authors' code for segmentation does; in their code for ImageNet,
    which trained the weights, the nearest pixel is repeated.

    Args:
        backbone: one of the table above.
        path: path of a PyTorch, safetensors or NumPy file. Code in it is not run.
        table_grid: `(rows, columns)` of the patches that the file's position embeddings stand
            for. `None` means a square where their number is one, as in all published weights,
            and else the backbone's own grid.

    Raises:
        ValueError: if the file is broken, has other names or sizes, or lacks arrays or has some
            left over. The backbone is as before then.

    Example:

    >>> shapes = {
    ...     "patch_embed.proj.weight": (192, 3, 16, 16),
    ...     "patch_embed.proj.bias": (192,),
    ...     "cls_token": (1, 1, 192),
    ...     "pos_embed": (1, 1 + 14 * 14, 192),
    ...     "norm.weight": (192,),
    ...     "norm.bias": (192,),
    ... }  # and 12 arrays for each block, of which there are none here
    >>> np.savez("vit.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (448, 576, 3), num_layers=0)
    >>> keras_mtl.backbones.load_weights(backbone, "vit.npz")
    """
    _layers_of(backbone)  # refuses what is no such backbone, before a long file is read
    fill(backbone, read_weights(path), path, table_grid)


def fill(
    backbone: keras.Model | keras.layers.Layer,
    arrays: Mapping[str, np.ndarray],
    path: str | Path,
    table_grid: tuple[int, int] | None = None,
) -> None:
    """What `load_weights` does, once the file is read.

    Args:
        backbone: as for `load_weights`.
        arrays: dict by name.
        path: where the arrays are from, for messages.
        table_grid: as for `load_weights`.
    """
    kind, layers = type(backbone).__name__, _layers_of(backbone)
    namings = NAMINGS[type(layers).__name__]
    for naming in namings:
        prefix = naming.prefix_in(arrays)
        if prefix is not None:
            break
    else:
        found = ", ".join(list(arrays)[:4])
        expected = ", ".join(f"{naming.probe} ({naming.title})" for naming in namings)
        raise ValueError(
            f"{path} has no names that are known for a {kind}: it has {found} and so on; expected "
            f"one of {expected}."
        )
    entries = [
        replace(entry, names=tuple(prefix + name for name in entry.all_names))
        for entry in naming.entries(layers, table_grid)
    ]
    assign(
        entries,
        arrays,
        f"{path} does not hold the weights of this {kind} in the names of {naming.title}: ",
        ignore=[f"(?:{re.escape(prefix)})?(?:{pattern})" for pattern in naming.ignore],
        variables=layers.weights,
    )


def _layers_of(backbone):
    """What has the weights, built."""
    layers = backbone.backbone if isinstance(backbone, SwinTransformer) else backbone
    if type(layers).__name__ not in NAMINGS:
        raise ValueError(
            f"{type(backbone).__name__} is no backbone whose weights other projects name; "
            f"load_weights takes {', '.join(NAMINGS)}, and what vision_transformer, "
            "swin_transformer and hrnet build."
        )
    if isinstance(layers, HRNet) and not layers.built:
        layers.build((None, *layers.image_shape))
    return layers


# === What several namings share ===


def _convolution(layer, name) -> Iterator[Entry]:
    yield Entry(layer.kernel, f"{name}.weight", lambda kernel: kernel.transpose(2, 3, 1, 0))
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}.bias")


def _dense(layer, name) -> Iterator[Entry]:
    yield Entry(layer.kernel, f"{name}.weight", np.transpose)
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}.bias")


def _norm(layer, name) -> Iterator[Entry]:
    yield Entry(layer.gamma, f"{name}.weight")
    yield Entry(layer.beta, f"{name}.bias")


def _projection(layer, name) -> Iterator[Entry]:
    """A projection of a Keras attention, `(C, heads, d)` or `(heads, d, C)`, from a matrix."""
    shape = tuple(layer.kernel.shape)
    yield Entry(layer.kernel, f"{name}.weight", lambda matrix: matrix.T.reshape(shape))
    if layer.bias is not None:
        yield Entry(layer.bias, f"{name}.bias", _reshaped(layer.bias))


def _projections(attention, names) -> Iterator[Entry]:
    """Queries, keys, values and output of a `keras.layers.MultiHeadAttention`."""
    for kind, name in zip(("query", "key", "value", "output"), names, strict=True):
        yield from _projection(getattr(attention, f"{kind}_dense"), name)


def _fused_projections(attention, name) -> Iterator[Entry]:
    """Queries, keys and values of a `keras.layers.MultiHeadAttention` from one matrix."""
    for n, kind in enumerate(("query", "key", "value")):
        layer = getattr(attention, f"{kind}_dense")
        shape = tuple(layer.kernel.shape)
        yield Entry(
            layer.kernel,
            f"{name}.weight",
            lambda matrix, n=n, shape=shape: np.split(matrix, 3)[n].T.reshape(shape),
        )
        if layer.bias is not None:
            shape = tuple(layer.bias.shape)
            yield Entry(
                layer.bias,
                f"{name}.bias",
                lambda bias, n=n, shape=shape: np.split(bias, 3)[n].reshape(shape),
            )


def _reshaped(variable) -> Callable[[np.ndarray], np.ndarray]:
    shape = tuple(variable.shape)
    return lambda array: array.reshape(shape)


# === Vision Transformer ===


def _vit_start(backbone, table_grid, projection, class_token, positions) -> Iterator[Entry]:
    """Patch projection, class token and positions, with PyTorch's names for them."""
    embedding = backbone.get_layer("vit_patching_and_embedding")
    yield from _convolution(embedding.patch_embedding, projection)
    yield from _vit_tokens(backbone, table_grid, class_token, positions)


def _vit_tokens(backbone, table_grid, class_token, positions) -> Iterator[Entry]:
    embedding = backbone.get_layer("vit_patching_and_embedding")
    grid, has_token = grid_of(backbone), backbone.use_class_token
    if has_token:
        yield Entry(embedding.class_token, class_token)
    yield Entry(
        embedding.position_embedding.embeddings,
        positions,
        lambda table: position_table(table, grid, has_token, table_grid),
    )


def _vit_timm(backbone, table_grid) -> Iterator[Entry]:
    yield from _vit_start(backbone, table_grid, "patch_embed.proj", "cls_token", "pos_embed")
    encoder = backbone.get_layer("vit_encoder")
    for n, block in enumerate(encoder.encoder_layers):
        name = f"blocks.{n}"
        yield from _norm(block.layer_norm_1, f"{name}.norm1")
        yield from _fused_projections(block.mha, f"{name}.attn.qkv")
        yield from _projection(block.mha.output_dense, f"{name}.attn.proj")
        yield from _norm(block.layer_norm_2, f"{name}.norm2")
        yield from _dense(block.mlp.dense_1, f"{name}.mlp.fc1")
        yield from _dense(block.mlp.dense_2, f"{name}.mlp.fc2")
    yield from _norm(encoder.layer_norm, "norm")


def _vit_hugging_face(backbone, table_grid) -> Iterator[Entry]:
    """As `save_pretrained` writes them."""
    yield from _vit_start(
        backbone,
        table_grid,
        "embeddings.patch_embeddings.projection",
        "embeddings.cls_token",
        "embeddings.position_embeddings",
    )
    encoder = backbone.get_layer("vit_encoder")
    for n, block in enumerate(encoder.encoder_layers):
        name = f"encoder.layer.{n}"
        parts = [f"attention.{kind}" for kind in ("query", "key", "value")] + ["output.dense"]
        yield from _norm(block.layer_norm_1, f"{name}.layernorm_before")
        yield from _projections(block.mha, [f"{name}.attention.{part}" for part in parts])
        yield from _norm(block.layer_norm_2, f"{name}.layernorm_after")
        yield from _dense(block.mlp.dense_1, f"{name}.intermediate.dense")
        yield from _dense(block.mlp.dense_2, f"{name}.output.dense")
    yield from _norm(encoder.layer_norm, "layernorm")


def _vit_transformers_5(backbone, table_grid) -> Iterator[Entry]:
    """As a `state_dict()` in transformers 5 has them; `save_pretrained` writes the older ones."""
    yield from _vit_start(
        backbone,
        table_grid,
        "embeddings.patch_embeddings.projection",
        "embeddings.cls_token",
        "embeddings.position_embeddings",
    )
    encoder = backbone.get_layer("vit_encoder")
    for n, block in enumerate(encoder.encoder_layers):
        name = f"layers.{n}"
        yield from _norm(block.layer_norm_1, f"{name}.layernorm_before")
        yield from _projections(block.mha, [f"{name}.attention.{kind}_proj" for kind in "qkvo"])
        yield from _norm(block.layer_norm_2, f"{name}.layernorm_after")
        yield from _dense(block.mlp.dense_1, f"{name}.mlp.fc1")
        yield from _dense(block.mlp.dense_2, f"{name}.mlp.fc2")
    yield from _norm(encoder.layer_norm, "layernorm")


def _vit_google(backbone, table_grid) -> Iterator[Entry]:
    """The authors' JAX code: kernels have Keras' layout already."""

    def dense(layer, name):
        yield Entry(layer.kernel, f"{name}/kernel")
        if layer.bias is not None:
            yield Entry(layer.bias, f"{name}/bias")

    def norm(layer, name):
        yield Entry(layer.gamma, f"{name}/scale")
        yield Entry(layer.beta, f"{name}/bias")

    yield from dense(backbone.get_layer("vit_patching_and_embedding").patch_embedding, "embedding")
    positions = "Transformer/posembed_input/pos_embedding"
    yield from _vit_tokens(backbone, table_grid, "cls", positions)
    encoder = backbone.get_layer("vit_encoder")
    for n, block in enumerate(encoder.encoder_layers):
        name = f"Transformer/encoderblock_{n}"
        yield from norm(block.layer_norm_1, f"{name}/LayerNorm_0")
        for part, ours in (("query",) * 2, ("key",) * 2, ("value",) * 2, ("out", "output")):
            layer = getattr(block.mha, f"{ours}_dense")
            yield from dense(layer, f"{name}/MultiHeadDotProductAttention_1/{part}")
        yield from norm(block.layer_norm_2, f"{name}/LayerNorm_2")
        yield from dense(block.mlp.dense_1, f"{name}/MlpBlock_3/Dense_0")
        yield from dense(block.mlp.dense_2, f"{name}/MlpBlock_3/Dense_1")
    yield from norm(encoder.layer_norm, "Transformer/encoder_norm")


# === Swin Transformer ===


def _swin_start(backbone, projection, norm) -> Iterator[Entry]:
    yield from _convolution(backbone.patch_embedding.proj, projection)
    if backbone.patch_embedding.norm is not None:
        yield from _norm(backbone.patch_embedding.norm, norm)


def _relative_positions(backbone, attention, name) -> Entry:
    window = backbone.window_size
    return Entry(
        attention.relative_position_bias_table,
        name,
        lambda table: relative_position_table(table, window),
    )


def _merging(stage, name) -> Iterator[Entry]:
    if stage.downsample is not None:
        yield from _norm(stage.downsample.norm, f"{name}.norm")
        yield from _dense(stage.downsample.reduction, f"{name}.reduction")


def _swin_official(backbone, table_grid, merging_first=False) -> Iterator[Entry]:
    """The authors' code and timm's first version: patches are merged at the end of a stage."""
    yield from _swin_start(backbone, "patch_embed.proj", "patch_embed.norm")
    for i, stage in enumerate(backbone.stages):
        for n, block in enumerate(stage.blocks):
            name = f"layers.{i}.blocks.{n}"
            table = f"{name}.attn.relative_position_bias_table"
            yield from _norm(block.norm1, f"{name}.norm1")
            yield from _dense(block.attn.qkv, f"{name}.attn.qkv")
            yield _relative_positions(backbone, block.attn, table)
            yield from _dense(block.attn.proj, f"{name}.attn.proj")
            yield from _norm(block.norm2, f"{name}.norm2")
            yield from _dense(block.mlp.fc1, f"{name}.mlp.fc1")
            yield from _dense(block.mlp.fc2, f"{name}.mlp.fc2")
        yield from _merging(stage, f"layers.{i + merging_first}.downsample")
    yield from _norm(backbone.norm, "norm")


def _swin_timm(backbone, table_grid) -> Iterator[Entry]:
    """timm since 0.9: patches are merged at the beginning of the next stage."""
    yield from _swin_official(backbone, table_grid, merging_first=True)


def _swin_hugging_face(backbone, table_grid, parts=None) -> Iterator[Entry]:
    """As `save_pretrained` writes them; `parts` names the parts of a block otherwise."""
    parts = parts or {
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "table": "attention.self.relative_position_bias_table",
        "proj": "attention.output.dense",
        "mlp": ("intermediate.dense", "output.dense"),
    }
    start = "embeddings.patch_embeddings.projection", "embeddings.norm"
    yield from _swin_start(backbone, *start)
    for i, stage in enumerate(backbone.stages):
        for n, block in enumerate(stage.blocks):
            name = f"encoder.layers.{i}.blocks.{n}"
            qkv, fused = block.attn.qkv, [f"{name}.{part}" for part in parts["qkv"]]
            yield from _norm(block.norm1, f"{name}.layernorm_before")
            yield Entry(
                qkv.kernel,
                tuple(f"{one}.weight" for one in fused),
                lambda *matrices: np.concatenate(matrices).T,
            )
            if qkv.bias is not None:
                yield Entry(
                    qkv.bias,
                    tuple(f"{one}.bias" for one in fused),
                    lambda *biases: np.concatenate(biases),
                )
            yield _relative_positions(backbone, block.attn, f"{name}.{parts['table']}")
            yield from _dense(block.attn.proj, f"{name}.{parts['proj']}")
            yield from _norm(block.norm2, f"{name}.layernorm_after")
            for layer, part in zip((block.mlp.fc1, block.mlp.fc2), parts["mlp"], strict=True):
                yield from _dense(layer, f"{name}.{part}")
        yield from _merging(stage, f"encoder.layers.{i}.downsample")
    yield from _norm(backbone.norm, "layernorm")


def _swin_transformers_5(backbone, table_grid) -> Iterator[Entry]:
    """As a `state_dict()` in transformers 5 has them; `save_pretrained` writes the older ones."""
    parts = {
        "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "table": "attention.relative_position_bias.relative_position_bias_table",
        "proj": "attention.o_proj",
        "mlp": ("mlp.fc1", "mlp.fc2"),
    }
    yield from _swin_hugging_face(backbone, table_grid, parts)


# === HRNet ===


def _hrnet_official(backbone, table_grid) -> Iterator[Entry]:
    """The authors' code; a fusion's or transition's place `i.j` is the branches' it leads to."""
    layer = backbone.body.get_layer

    def conv_norm(ours, conv, norm):
        yield from _convolution(layer(ours), conv)
        statistics = layer(f"{ours}_norm")
        yield from _norm(statistics, norm)
        yield Entry(statistics.moving_mean, f"{norm}.running_mean")
        yield Entry(statistics.moving_variance, f"{norm}.running_var")

    def pair(ours, sequence):
        """A convolution and its normalisation as the first two of a `Sequential`."""
        yield from conv_norm(ours, f"{sequence}.0", f"{sequence}.1")

    def block(ours, theirs, convolutions):
        for n in range(1, convolutions + 1):
            yield from conv_norm(f"{ours}_conv{n}", f"{theirs}.conv{n}", f"{theirs}.bn{n}")

    for n in (1, 2):
        yield from conv_norm(f"stem{n}", f"conv{n}", f"bn{n}")
    for n in range(backbone.bottlenecks):
        yield from block(f"stage1_block{n + 1}", f"layer1.{n}", 3)
    yield from pair("stage1_block1_projection", "layer1.0.downsample")

    for stage, modules in enumerate(backbone.stage_modules, start=2):
        transition = f"stage{stage}_transition_branch"
        if stage == 2 and backbone.width != 256:  # 256 are what the bottlenecks give
            yield from pair(f"{transition}1", "transition1.0")
        yield from pair(f"{transition}{stage}", f"transition{stage - 1}.{stage - 1}.0")
        for m in range(modules):
            ours, theirs = f"stage{stage}_module{m + 1}", f"stage{stage}.{m}"
            for b in range(stage):
                for n in range(backbone.blocks):
                    yield from block(
                        f"{ours}_branch{b + 1}_block{n + 1}", f"{theirs}.branches.{b}.{n}", 2
                    )
            for i in range(stage):
                for j in range(stage):
                    fuse, fused = f"{ours}_fuse{j + 1}to{i + 1}", f"{theirs}.fuse_layers.{i}.{j}"
                    if j > i:
                        yield from pair(fuse, fused)
                    for k in range(i - j):
                        yield from pair(f"{fuse}_{k + 1}", f"{fused}.{k}")


# === DINOv2 and DINOv3 ===


def _dinov2_hugging_face(backbone, table_grid) -> Iterator[Entry]:
    embeddings = backbone.embeddings
    yield Entry(embeddings.cls_token, "embeddings.cls_token")
    if backbone.use_mask_token:
        yield Entry(embeddings.mask_token, "embeddings.mask_token")
    if backbone.num_register_tokens:
        yield Entry(embeddings.register_tokens, "embeddings.register_tokens")
    # What images meet, and what keras-hub resizes it from when a file is read.
    for table, shape in (
        (embeddings.interpolated_position_embeddings, embeddings.image_shape),
        (embeddings.position_embeddings, embeddings.position_embedding_shape),
    ):
        grid = tuple(length // backbone.patch_size for length in shape)
        yield Entry(
            table,
            "embeddings.position_embeddings",
            lambda value, grid=grid: dinov2_positions(backbone, value, grid, table_grid)[None],
        )
    yield from _convolution(
        embeddings.patch_embeddings.projection, "embeddings.patch_embeddings.projection"
    )
    for n, block in enumerate(backbone.encoder.layers):
        name = f"encoder.layer.{n}"
        parts = [f"attention.{kind}" for kind in ("query", "key", "value")] + ["output.dense"]
        yield from _norm(block.norm1, f"{name}.norm1")
        yield from _projections(
            block.attention.attention, [f"{name}.attention.{part}" for part in parts]
        )
        yield Entry(block.layer_scale1.lambda1, f"{name}.layer_scale1.lambda1")
        yield from _norm(block.norm2, f"{name}.norm2")
        gated = backbone.use_swiglu_ffn
        for part in ("weights_in", "weights_out") if gated else ("fc1", "fc2"):
            yield from _dense(getattr(block.mlp, part), f"{name}.mlp.{part}")
        yield Entry(block.layer_scale2.lambda1, f"{name}.layer_scale2.lambda1")
    yield from _norm(backbone.layernorm, "layernorm")


def dinov2_positions(backbone, table, grid, table_grid=None) -> np.ndarray:
    """`position_table` for a `DINOV2Backbone`, which may ask for smoothing."""
    if not backbone.antialias_in_interpolation:
        return position_table(table, grid, True, table_grid)
    table = table.reshape(-1, table.shape[-1])
    side = int((len(table) - 1) ** 0.5)
    if (side, side) == tuple(grid):
        return table
    # With antialiasing, and only then, the backends and PyTorch agree.
    patches = table[1:].reshape(1, side, side, -1)
    patches = ops.image.resize(patches, grid, interpolation="bicubic", antialias=True)
    patches = ops.convert_to_numpy(patches).reshape(-1, table.shape[-1])
    return np.concatenate([table[:1], patches])


def _dinov3_hugging_face(backbone, table_grid) -> Iterator[Entry]:
    embeddings = backbone.embeddings
    yield Entry(embeddings.cls_token, "embeddings.cls_token")
    if backbone.use_mask_token:
        yield Entry(embeddings.mask_token, "embeddings.mask_token")
    if backbone.num_register_tokens:
        yield Entry(embeddings.register_tokens, "embeddings.register_tokens")
    yield from _convolution(embeddings.patch_embeddings.projection, "embeddings.patch_embeddings")
    for n, block in enumerate(backbone.encoder.layers):
        name = f"layer.{n}"
        yield from _norm(block.norm1, f"{name}.norm1")
        for kind, part in zip(("query", "key", "value", "output"), "qkvo", strict=True):
            layer = getattr(block.attention, f"{kind}_dense")
            yield from _dense(layer, f"{name}.attention.{part}_proj")
        yield Entry(block.layer_scale1.lambda1, f"{name}.layer_scale1.lambda1")
        yield from _norm(block.norm2, f"{name}.norm2")
        gate = ["gate_proj"] if backbone.use_gated_mlp else []
        for part in (*gate, "up_proj", "down_proj"):
            yield from _dense(getattr(block.mlp, part), f"{name}.mlp.{part}")
        yield Entry(block.layer_scale2.lambda1, f"{name}.layer_scale2.lambda1")
    yield from _norm(backbone.layernorm, "norm")


# === Which names a file has ===


@dataclass(frozen=True)
class Naming:
    """One project's names for the weights of one architecture.

    Args:
        title: str. The project.
        probe: str. A name that all its files have, after a prefix such as `vit.` or none.
        entries: function from the backbone and the grid of the file's position table to every
            `Entry`.
        ignore: regular expressions of names that may be left over, with or without the prefix.
        part: str that is part of some name in all its files.
    """

    title: str
    probe: str
    entries: Callable[..., Iterator[Entry]]
    ignore: tuple[str, ...] = ()
    part: str = ""

    def prefix_in(self, arrays: Mapping[str, np.ndarray]) -> str | None:
        """What stands before all names, `None` if the names are others."""
        if any(self.part in name for name in arrays):
            for name in arrays:
                if name == self.probe or name.endswith(f".{self.probe}"):
                    return name.removesuffix(self.probe)
        return None


_HUGGING_FACE = "embeddings.patch_embeddings.projection.weight"
_HEADS = {
    "timm": (r"(head|pre_logits|fc_norm)\..*", "cls_token"),
    "Hugging Face": (
        r"(classifier|pooler|decoder)\..*",  # the decoder is that of masked image modelling
        r"embeddings\.(cls_token|mask_token)",
    ),
    "Google": (r"(head|pre_logits)/.*", "cls"),
    "Swin": (r"head\..*", r".*\.(relative_position_index|attn_mask)"),
    "HRNet": (
        r"(incre_modules|downsamp_modules|final_layer|classifier)\..*",
        r"last_layer\..*",  # of segmentation
        r".*\.num_batches_tracked",
    ),
}

# The first that a file fits is taken.
NAMINGS = {
    "ViTBackbone": (
        Naming("timm", "patch_embed.proj.weight", _vit_timm, _HEADS["timm"]),
        Naming(
            "transformers 5", _HUGGING_FACE, _vit_transformers_5, _HEADS["Hugging Face"], ".q_proj."
        ),
        Naming("Hugging Face", _HUGGING_FACE, _vit_hugging_face, _HEADS["Hugging Face"]),
        Naming("Google", "embedding/kernel", _vit_google, _HEADS["Google"]),
    ),
    "SwinTransformerBackbone": (
        Naming(
            "the authors",
            "patch_embed.proj.weight",
            _swin_official,
            _HEADS["Swin"],
            "layers.0.downsample.",
        ),
        Naming("timm", "patch_embed.proj.weight", _swin_timm, _HEADS["Swin"]),
        Naming(
            "transformers 5",
            _HUGGING_FACE,
            _swin_transformers_5,
            _HEADS["Hugging Face"],
            ".q_proj.",
        ),
        Naming("Hugging Face", _HUGGING_FACE, _swin_hugging_face, _HEADS["Hugging Face"]),
    ),
    "HRNet": (Naming("the authors", "layer1.0.conv1.weight", _hrnet_official, _HEADS["HRNet"]),),
    "DINOV2Backbone": (
        Naming("Hugging Face", _HUGGING_FACE, _dinov2_hugging_face, _HEADS["Hugging Face"]),
    ),
    "DINOV3Backbone": (
        Naming(
            "Hugging Face",
            "embeddings.patch_embeddings.weight",
            _dinov3_hugging_face,
            _HEADS["Hugging Face"],
        ),
    ),
}
