"""How large the ablations are: for two CPU cores, for a GPU, and to see that everything runs."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """How large everything is.

    Args:
        image_size: `(height, width)` in pixels.
        rooms: number of rooms by use: "pretraining", "training", "validation", "test".
        pretraining_steps: of the backbone.
        steps: of every network.
        batch_size: images in a step.
        learning_rate: at the start of the polynomial decay.
        backbones: by name, function of `keras_mtl.backbones`, size, and further arguments.
        arguments: of the models, by backbone and class, where their defaults are for another size,
            and of the head that a backbone is pretrained with, if not the baseline's. On Swin D is
            such that TPANet's decoder is about as large as the baseline's heads, as in the paper;
            no head has fewer channels than there are classes, which would hold segmentation back.
        odsf: whether boundaries are scored by odsF, or by F_within_1px, which is quick.
        threads: of a run on a processor, whatever the machine has: another number adds up in
            another order, rounds otherwise, and training enlarges that to another result. None:
            the cores divided among the runs.
        jobs: runs side by side, if `--jobs` does not say.
    """

    image_size: tuple[int, int]
    rooms: Mapping[str, int]
    pretraining_steps: int
    steps: int
    batch_size: int
    learning_rate: float
    backbones: Mapping[str, tuple[str, str, Mapping]]
    arguments: Mapping[str, Mapping[str, Mapping]]
    odsf: bool
    threads: int | None
    jobs: int


SCALES = {
    # Two CPU cores: two to five minutes of one of them for a run.
    "small": Scale(
        image_size=(64, 64),
        rooms={"pretraining": 3000, "training": 500, "validation": 150, "test": 300},
        pretraining_steps=3000,
        steps=1500,
        batch_size=8,
        learning_rate=1e-3,
        backbones={
            "vit": ("vision_transformer", "pico", {"patch_size": 8}),
            "swin": (
                "swin_transformer",
                "tiny",
                {
                    "embed_dim": 32,
                    "depths": (2, 2, 2, 2),
                    "num_heads": (1, 2, 4, 8),
                    "window_size": 4,
                },
            ),
            "hrnet": ("hrnet", "18_small", {}),
            "se_resnet": ("se_resnet", "26", {"planes": (32, 64, 128, 256), "stem": 32}),
        },
        arguments={
            "vit": {
                "TaskPrompter": {
                    "channel_windows": (4, 4),
                    "decode_dim": 64,
                    "stochastic_depth": 0.0,
                },
                "MultiTaskBaseline": {"head_width": 64},
                "InvPT": {"width": 96, "prediction_width": 32},
            },
            "swin": {
                "TPANet": {"dim": 120, "groups": 8, "head_width": 64, "stochastic_depth": 0.0},
                "MultiTaskBaseline": {"head_width": 64},
                "pretraining": {"head_width": 32},
            },
            "hrnet": {
                "TPANet": {"dim": 108, "groups": 2, "stochastic_depth": 0.0},
                "MultiTaskBaseline": {},
                "MQTransformer": {"width": 128},
                "MTFormer": {"width": 64, "memory_size": 500, "negatives": 440},
            },
            "se_resnet": {"MultiTaskBaseline": {"head_width": 64}},
        },
        odsf=False,
        threads=1,
        jobs=2,
    ),
    # One GPU. It has not been run as a whole: no table of it is in docs/results.md.
    "full": Scale(
        image_size=(128, 128),
        rooms={"pretraining": 20_000, "training": 800, "validation": 300, "test": 650},
        pretraining_steps=20_000,
        steps=10_000,
        batch_size=16,
        learning_rate=3e-4,
        backbones={
            "vit": ("vision_transformer", "small", {"patch_size": 8}),
            "swin": ("swin_transformer", "tiny", {"window_size": 4}),
            "hrnet": ("hrnet", "18_small", {}),
            "se_resnet": ("se_resnet", "26", {}),
        },
        arguments={
            "vit": {
                "TaskPrompter": {"channel_windows": (4, 4), "decode_dim": 128},
                "MultiTaskBaseline": {"head_width": 128},
                "InvPT": {"width": 320, "prediction_width": 64},
            },
            "swin": {
                "TPANet": {"dim": 256, "groups": 8, "head_width": 64},
                "MultiTaskBaseline": {"head_width": 96},
            },
            "hrnet": {
                "TPANet": {"dim": 108, "groups": 2},
                "MultiTaskBaseline": {},
                "MTFormer": {"memory_size": 800},
            },
            "se_resnet": {"MultiTaskBaseline": {"head_width": 64}},
        },
        odsf=True,
        threads=None,
        jobs=1,
    ),
    # Seconds: shows that everything runs, and nothing else.
    "tiny": Scale(
        image_size=(32, 32),
        rooms={"pretraining": 4, "training": 4, "validation": 2, "test": 3},
        pretraining_steps=2,
        steps=2,
        batch_size=2,
        learning_rate=1e-3,
        backbones={
            "vit": (
                "vision_transformer",
                "nano",
                {"patch_size": 8, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16},
            ),
            "swin": (
                "swin_transformer",
                "tiny",
                {
                    "embed_dim": 8,
                    "depths": (1, 1, 1, 1),
                    "num_heads": (1, 1, 2, 2),
                    "window_size": 2,
                },
            ),
            "hrnet": (
                "hrnet",
                "18_small",
                {"width": 8, "bottlenecks": 2, "modules": (1, 1, 1), "blocks": 2},
            ),
            "se_resnet": (
                "se_resnet",
                "26",
                {"blocks": (1, 1, 1, 1), "planes": (2, 2, 4, 4), "stem": 4},
            ),
        },
        arguments={
            "vit": {
                "TaskPrompter": {
                    "channel_windows": (4, 4),
                    "decode_dim": 8,
                    "stochastic_depth": 0.0,
                },
                "MultiTaskBaseline": {"head_width": 8},
                "InvPT": {"width": 8, "prediction_width": 8},
            },
            **{
                name: {
                    "TPANet": {"dim": 8, "head_width": 8, "stochastic_depth": 0.0},
                    "MultiTaskBaseline": {"head_width": 8},
                    "MQTransformer": {"width": 8, "num_queries": 4},
                    "MTFormer": {"width": 8, "memory_size": 4, "negatives": 2},
                    "ASTMT": {"width": 8},
                }
                for name in ("swin", "hrnet", "se_resnet")
            },
        },
        odsf=False,
        threads=None,
        jobs=1,
    ),
}
