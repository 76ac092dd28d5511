"""TaskPrompter's published configurations."""

# The published position tables carry an entry for a class token that nobody reads.
_VIT = {"use_class_token": True}

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
}
