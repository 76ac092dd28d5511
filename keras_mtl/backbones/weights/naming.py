"""Weights of backbones in other projects' names: which project's a file has, and loading them."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from keras_mtl.backbones.hrnet import HRNet
from keras_mtl.backbones.kinds import class_of, kind_of
from keras_mtl.backbones.swin_transformer import SwinTransformer
from keras_mtl.backbones.weights import google, hugging_face, official, timm
from keras_mtl.backbones.weights.assign import Entry, assign
from keras_mtl.backbones.weights.files import read_weights


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
    ... }
    >>> for name, shape in (  # and 12 arrays for each block
    ...     ("norm1", (192,)), ("attn.qkv", (576, 192)), ("attn.proj", (192, 192)),
    ...     ("norm2", (192,)), ("mlp.fc1", (768, 192)), ("mlp.fc2", (192, 768)),
    ... ):
    ...     shapes |= {f"blocks.0.{name}.weight": shape, f"blocks.0.{name}.bias": shape[:1]}
    >>> np.savez("vit.npz", **{name: np.ones(shape) for name, shape in shapes.items()})
    >>> backbone = keras_mtl.backbones.vision_transformer("tiny", (448, 576, 3), num_layers=1)
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
    namings = NAMINGS[_kind(layers)]
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
    if _kind(layers) not in NAMINGS:
        classes = [class_of(kind).__name__ for kind in NAMINGS if kind != "hrnet"]
        raise ValueError(
            f"{type(backbone).__name__} is no backbone whose weights other projects name; "
            f"load_weights takes {', '.join(classes)}, and what vision_transformer, "
            "swin_transformer and hrnet build."
        )
    if isinstance(layers, HRNet) and not layers.built:
        layers.build((None, *layers.image_shape))
    return layers


def _kind(layers) -> str | None:
    """The key of `NAMINGS`."""
    return "hrnet" if isinstance(layers, HRNet) else kind_of(layers)


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


_TIMM = "patch_embed.proj.weight"
_HUGGING_FACE = "embeddings.patch_embeddings.projection.weight"

# The first that a file fits is taken.
NAMINGS = {
    "vit": (
        Naming("timm", _TIMM, timm.vit, timm.VIT_UNUSED),
        Naming(
            "transformers 5",
            _HUGGING_FACE,
            hugging_face.vit_transformers_5,
            hugging_face.UNUSED,
            ".q_proj.",
        ),
        Naming("Hugging Face", _HUGGING_FACE, hugging_face.vit, hugging_face.UNUSED),
        Naming("Google", "embedding/kernel", google.vit, google.VIT_UNUSED),
    ),
    "swin": (
        Naming("the authors", _TIMM, official.swin, official.SWIN_UNUSED, "layers.0.downsample."),
        Naming("timm", _TIMM, timm.swin, official.SWIN_UNUSED),
        Naming(
            "transformers 5",
            _HUGGING_FACE,
            hugging_face.swin_transformers_5,
            hugging_face.UNUSED,
            ".q_proj.",
        ),
        Naming("Hugging Face", _HUGGING_FACE, hugging_face.swin, hugging_face.UNUSED),
    ),
    "hrnet": (
        Naming("the authors", "layer1.0.conv1.weight", official.hrnet, official.HRNET_UNUSED),
    ),
    "dinov2": (Naming("Hugging Face", _HUGGING_FACE, hugging_face.dinov2, hugging_face.UNUSED),),
    "dinov3": (
        Naming(
            "Hugging Face",
            "embeddings.patch_embeddings.weight",
            hugging_face.dinov3,
            hugging_face.UNUSED,
        ),
    ),
}
