"""Backbones by name, and the papers' configurations as data.

`from_preset` builds a configuration and `python -m keras_mtl.cost` counts it.
"""

# Name: a function of `keras_mtl.backbones`, and its size.
BACKBONES = {
    "vit_nano": ("vision_transformer", "nano"),
    "vit_tiny": ("vision_transformer", "tiny"),
    "vit_small": ("vision_transformer", "small"),
    "vit_base": ("vision_transformer", "base"),
    "vit_large": ("vision_transformer", "large"),
    "swin_tiny": ("swin_transformer", "tiny"),
    "swin_small": ("swin_transformer", "small"),
    "swin_base": ("swin_transformer", "base"),
    "swin_large": ("swin_transformer", "large"),
    "hrnet18": ("hrnet", "18_small"),
    "hrnet48": ("hrnet", "48"),
}

# The published position tables carry an entry for a class token that nobody reads.
_VIT = {"use_class_token": True}

PRESETS = {
    # TaskPrompter, Tables 2, 3, 5 and 8. Base on NYUD-v2 is in no table: large's, with its width.
    "taskprompter_vit_large_pascal": {
        "model": "TaskPrompter",
        "backbone": "vit_large",
        "backbone_arguments": _VIT,
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {
            "variant": "released",
            "decode_dim": 300,
            "final_dim": 350,
            "channel_windows": (1, 1),
        },
    },
    "taskprompter_vit_base_pascal": {
        "model": "TaskPrompter",
        "backbone": "vit_base",
        "backbone_arguments": _VIT,
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {
            "variant": "released",
            "decode_dim": 780,
            "final_dim": 1024,
            "channel_windows": (4, 4),
        },
    },
    "taskprompter_vit_large_nyud": {
        "model": "TaskPrompter",
        "backbone": "vit_large",
        "backbone_arguments": _VIT,
        "image_size": (448, 576),
        "tasks": "nyud",
        "arguments": {
            "variant": "released",
            "decode_dim": 768,
            "final_dim": 768,
            "channel_windows": (4, 4),
            "cross_task_reweighting": False,
        },
    },
    "taskprompter_vit_base_nyud": {
        "model": "TaskPrompter",
        "backbone": "vit_base",
        "backbone_arguments": _VIT,
        "image_size": (448, 576),
        "tasks": "nyud",
        "arguments": {
            "variant": "released",
            "decode_dim": 768,
            "final_dim": 768,
            "channel_windows": (4, 4),
            "cross_task_reweighting": False,
        },
    },
    # TaskPrompter's baseline, Table 1. The paper does not give its head's width: the ViT's.
    "multitask_baseline_vit_base_pascal": {
        "model": "MultiTaskBaseline",
        "backbone": "vit_base",
        "backbone_arguments": _VIT,
        "image_size": (512, 512),
        "tasks": "pascal_context",
        "arguments": {"head_width": 768},
    },
}

# TPANet, Tables 1, 2 and 5, and the baselines beside it: the HRNet and the Swin rows of the paper
# have different widths.
_HRNET = {"dim": 108, "groups": 2}  # and heads a quarter of the features wide, the default
_SWIN = {"dim": 256, "groups": 8, "head_width": 64}
_LESS_MEMORY = {"remat": True}  # TPANet's trunk is a small part of its work, but not of its memory
for _backbone, _arguments, _tpanet, _baseline in (
    ("hrnet18", {}, _HRNET, {}),
    ("swin_tiny", _LESS_MEMORY, _SWIN, {"head_width": 96}),
    ("swin_small", _LESS_MEMORY, _SWIN, {"head_width": 96}),
    ("swin_base", _LESS_MEMORY, _SWIN, {"head_width": 96}),
    ("swin_large", _LESS_MEMORY, _SWIN, {"head_width": 96}),
):
    for _dataset, _tasks, _image_size in (
        ("nyud", "nyud", (425, 560)),
        ("pascal", "pascal_context", (512, 512)),
    ):
        _common = {"backbone": _backbone, "image_size": _image_size, "tasks": _tasks}
        PRESETS[f"tpanet_{_backbone}_{_dataset}"] = {
            "model": "TPANet",
            **_common,
            "backbone_arguments": _arguments,
            "arguments": _tpanet,
        }
        PRESETS[f"multitask_baseline_{_backbone}_{_dataset}"] = {
            "model": "MultiTaskBaseline",
            **_common,
            "arguments": _baseline,
        }
