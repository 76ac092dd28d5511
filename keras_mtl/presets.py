"""The papers' configurations, as data: what `from_preset` builds and `keras_mtl.cost` counts."""

PRESETS = {
    # TaskPrompter, Tables 2, 3, 5 and 8.
    "taskprompter_vit_large_pascal": {
        "model": "TaskPrompter",
        "vit": "large",
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
        "vit": "base",
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
        "vit": "large",
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
