"""TaskPrompter's published configurations."""

from keras_mtl.tasks import Detection3D, DisparityEstimation, Task, cityscapes_3d


def _published_cityscapes_3d() -> list[Task]:
    """What checkpoints have learned: disparity, and angles in slots of their own."""
    return [*cityscapes_3d("semseg"), DisparityEstimation(), Detection3D(angles="published")]


# The published position tables carry an entry for a class token that nobody reads.
_VIT = {"use_class_token": True}

# The released decoder on foundation features: in no paper, and with its settings of NYUD-v2's large
# ViT. Windows divide 32 x 40 patches of 14 pixels, and 28 x 36 of 16.
_ON_DINO = {
    "variant": "released",
    "decode_dim": 768,
    "final_dim": 768,
    "channel_windows": (4, 4),
    "cross_task_reweighting": False,
}
_DINO_PRESETS = {
    f"taskprompter_{backbone}_nyud": {
        "backbone": backbone,
        "backbone_arguments": {"num_register_tokens": 4},
        "image_size": image_size,
        "tasks": "nyud",
        "arguments": _ON_DINO,
    }
    for backbone, image_size in (
        ("dinov2_base", (448, 560)),
        ("dinov2_large", (448, 560)),
        ("dinov3_base", (448, 576)),
        ("dinov3_large", (448, 576)),
    )
}

PRESETS = {
    # TaskPrompter, Tables 2, 3, 5 and 8. Base on NYUD-v2 is in no table: large's, with its width.
    "taskprompter_vit_large_pascal": {
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
    # A.6, Table 4: images of 1024x2048, which the network scales to 768x1536.
    "taskprompter_swin_base_cityscapes3d": {
        "backbone": "swin_base",
        "backbone_arguments": {"window_size": 12},
        "image_size": (1024, 2048),
        "tasks": "cityscapes_3d",
        "published_tasks": _published_cityscapes_3d,
        "arguments": {
            "variant": "released",
            "channel_windows": (1, 1),
            "channel_dim": 256,
            "image_scale": 0.75,
            "decode_dim": 256,
            "final_dim": 450,
        },
    },
    **_DINO_PRESETS,
}
