"""The names that the authors of Swin Transformer and HRNet have for their weights."""

from collections.abc import Iterator

from keras_mtl.backbones.keras_hub import (
    dense_layers,
    final_norm,
    fused_projections,
    merging_layers,
    parts_of,
    patch_norm,
    patch_projection,
    swin_stages,
)
from keras_mtl.backbones.weights.assign import Entry
from keras_mtl.backbones.weights.layouts import batch_norm, convolution, dense, norm
from keras_mtl.backbones.weights.tables import relative_positions

SWIN_UNUSED = (r"head\..*", r".*\.(relative_position_index|attn_mask)")
HRNET_UNUSED = (
    r"(incre_modules|downsamp_modules|final_layer|classifier)\..*",
    r"last_layer\..*",  # of segmentation
    r".*\.num_batches_tracked",
)


def swin(backbone, table_grid, merging_first: bool = False) -> Iterator[Entry]:
    """A Swin Transformer; timm's first version named it so too.

    Patches are merged at the end of a stage, or with `merging_first` at the beginning of the next.
    """
    yield from swin_start(backbone, "patch_embed.proj", "patch_embed.norm")
    for i, stage in enumerate(swin_stages(backbone)):
        for n, block in enumerate(stage.blocks):
            name, parts = f"layers.{i}.blocks.{n}", parts_of(block)
            qkv, output = fused_projections(parts.attention)
            table = f"{name}.attn.relative_position_bias_table"
            yield from norm(parts.norm1, f"{name}.norm1")
            yield from dense(qkv, f"{name}.attn.qkv")
            yield relative_positions(backbone, parts.attention, table)
            yield from dense(output, f"{name}.attn.proj")
            yield from norm(parts.norm2, f"{name}.norm2")
            for part, layer in dense_layers(parts.mlp).items():
                yield from dense(layer, f"{name}.mlp.{part}")
        yield from merging(stage, f"layers.{i + merging_first}.downsample")
    yield from norm(final_norm(backbone), "norm")


def swin_start(backbone, projection: str, its_norm: str) -> Iterator[Entry]:
    """What a Swin Transformer has before its stages."""
    yield from convolution(patch_projection(backbone), projection)
    if patch_norm(backbone) is not None:
        yield from norm(patch_norm(backbone), its_norm)


def merging(stage, name: str) -> Iterator[Entry]:
    """What merges a stage's patches, if anything does."""
    if stage.merging is not None:
        its_norm, reduction = merging_layers(stage.merging)
        yield from norm(its_norm, f"{name}.norm")
        yield from dense(reduction, f"{name}.reduction")


def hrnet(backbone, table_grid) -> Iterator[Entry]:
    """An HRNet; a fusion's or transition's place `i.j` is the branches' it leads to."""
    layer = backbone.body.get_layer

    def conv_norm(ours, conv, norm):
        yield from convolution(layer(ours), conv)
        yield from batch_norm(layer(f"{ours}_norm"), norm)

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
