"""The papers' configurations, as data: what `from_preset` builds and `keras_mtl.cost` counts.

A backbone is a function of `keras_mtl.backbones`, its size, and further arguments if any.
"""


def _taskprompter(size: str, tasks: str, image_size: tuple[int, int], **arguments) -> dict:
    return {
        "model": "TaskPrompter",
        # The published position tables carry an entry for a class token that nobody reads.
        "backbone": ("vision_transformer", size, {"use_class_token": True}),
        "image_size": image_size,
        "tasks": tasks,
        "arguments": {"variant": "released", **arguments},
    }


# TaskPrompter, Tables 2, 3, 5 and 8.
PRESETS = {
    "taskprompter_vit_large_pascal": _taskprompter(
        "large",
        "pascal_context",
        (512, 512),
        decode_dim=300,
        final_dim=350,
        channel_windows=(1, 1),
    ),
    "taskprompter_vit_base_pascal": _taskprompter(
        "base",
        "pascal_context",
        (512, 512),
        decode_dim=780,
        final_dim=1024,
        channel_windows=(4, 4),
    ),
    "taskprompter_vit_large_nyud": _taskprompter(
        "large",
        "nyud",
        (448, 576),
        decode_dim=768,
        final_dim=768,
        channel_windows=(4, 4),
        cross_task_reweighting=False,
    ),
}

# TPANet, Tables 1, 2 and 5, and the baselines beside it. The HRNet and the Swin rows of the paper
# have different widths; the image sizes are the published crops.
_BACKBONES = {
    "hrnet18": ("hrnet", "18_small"),
    "swin_tiny": ("swin_transformer", "tiny"),
    "swin_small": ("swin_transformer", "small"),
    "swin_base": ("swin_transformer", "base"),
    "swin_large": ("swin_transformer", "large"),
}
for _dataset, _tasks, _image_size in (
    ("nyud", "nyud", (425, 560)),
    ("pascal", "pascal_context", (512, 512)),
):
    for _name, _backbone in _BACKBONES.items():
        _common = {"backbone": _backbone, "image_size": _image_size, "tasks": _tasks}
        _swin = _backbone[0] == "swin_transformer"
        PRESETS[f"multitask_baseline_{_name}_{_dataset}"] = {
            "model": "MultiTaskBaseline",
            **_common,
            "arguments": {"head_width": 96} if _swin else {},
        }
        PRESETS[f"tpanet_{_name}_{_dataset}"] = {
            "model": "TPANet",
            **_common,
            "arguments": (
                {"dim": 256, "groups": 8, "head_width": 64} if _swin else {"dim": 108, "groups": 2}
            ),
        }

# TaskPrompter's baseline, Table 1.
PRESETS["multitask_baseline_vit_base_pascal"] = {
    "model": "MultiTaskBaseline",
    "backbone": ("vision_transformer", "base", {"use_class_token": True}),
    "image_size": (512, 512),
    "tasks": "pascal_context",
    "arguments": {"head_width": 768},
}
