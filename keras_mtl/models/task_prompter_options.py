"""What a TaskPrompter is told about its network, whichever backbone it stands on."""

from dataclasses import dataclass, replace
from typing import Any

import keras

from keras_mtl.arguments import check_integer, check_number, check_switch
from keras_mtl.layers.task_prompter.spatial_channel_prompting import check_variant


@dataclass(frozen=True)
class PromptOptions:
    """Arguments of `keras_mtl.TaskPrompter`, whose docstring says what each means."""

    variant: str
    spatial_prompts: bool
    channel_prompts: bool
    channel_windows: Any  # two numbers, or `None`
    cross_task_reweighting: bool | None
    prompting_levels: int
    task_specific_encoders: bool
    decode_dim: int | None
    final_dim: int | None
    stochastic_depth: float
    remat: bool
    channel_dim: Any  # a number, or `None`
    image_scale: float
    adapter_width: int | None

    @property
    def released(self) -> bool:
        """Whether it is the network behind the published figures."""
        return self.variant == "released"

    def checked(self) -> "PromptOptions":
        """The same, after refusing what no backbone takes.

        Raises:
            ValueError: one sentence on what does not fit.
        """
        check_variant(self.variant)
        switches: dict[str, Any] = {
            name: check_switch(name, getattr(self, name))
            for name in (
                "spatial_prompts",
                "channel_prompts",
                "cross_task_reweighting",
                "task_specific_encoders",
                "remat",
            )
            if name != "cross_task_reweighting" or self.cross_task_reweighting is not None
        }
        check_number("image_scale", self.image_scale)
        if not self.spatial_prompts and not self.channel_prompts:
            raise ValueError(
                "spatial_prompts and channel_prompts are both off, which leaves nothing of "
                "TaskPrompter; turn one of them on."
            )
        for name in ("decode_dim", "final_dim", "channel_dim", "adapter_width"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        rate = check_number("stochastic_depth", self.stochastic_depth, below=1)
        return replace(self, stochastic_depth=rate, **switches)


def check_encoder(backbone: keras.Model) -> None:
    """Refuses a backbone whose images are otherwise, or that drops what prompts would see.

    Args:
        backbone: of keras-hub.

    Raises:
        ValueError: one sentence on what it has.
    """
    given = getattr(backbone, "data_format", "channels_last")  # no attribute of a DINO
    if given != "channels_last":
        raise ValueError(
            f"The backbone's data_format is {given!r}; build it with data_format='channels_last'."
        )
    rates = {  # a DINOv2 has the first, a DINOv3 the second
        name: getattr(backbone, name, 0) for name in ("dropout_rate", "attention_dropout")
    }
    if any(rates.values()):
        raise ValueError(
            f"The backbone has {' and '.join(f'{k}={v}' for k, v in rates.items())}; TaskPrompter "
            "regularises by stochastic_depth, so build it with both at 0."
        )
