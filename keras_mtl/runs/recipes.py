"""How each architecture is trained by the scripts: in minutes on generated scenes, and as in its
paper."""

from dataclasses import dataclass
from typing import Any

from keras_mtl import backbones
from keras_mtl.models import (
    ASTMT,
    ATRC,
    MTAN,
    NDDRCNN,
    PAP,
    PSD,
    ATRCSearch,
    CrossStitch,
    InvPT,
    MQTransformer,
    MTFormer,
    MTINet,
    MultiTaskBaseline,
    PADNet,
    TaskPrompter,
    TPANet,
)
from keras_mtl.models.registry import ARCHITECTURES, BACKBONES, PRESETS

# The published weights (depth 1, normals 10, boundaries 50) suit pretrained networks; in minutes
# from scratch they leave depth in metres little to learn from.
ROOMS_LOSS_WEIGHTS = {"depth": 5.0}

ON_ROOMS = {
    "batch_size": 4,
    "image_size": (48, 64),
    "epochs": 5,
    "learning_rate": 1e-3,
    "scenes": 5000,
    "loss_weights": ROOMS_LOSS_WEIGHTS,
}
# From weights that come with the package: details that a larger image has, in fewer steps. Classes,
# which the new heads are slowest at, count as they did for those weights.
FROM_TRUNK = {
    "batch_size": 4,
    "image_size": (96, 128),
    "epochs": 4,
    "learning_rate": 1e-3,
    "scenes": 2800,
    "steps": 700,
    "loss_weights": {**ROOMS_LOSS_WEIGHTS, "semseg": 4.0},
}
# Streets: wider, of more depth, and with boxes, whose loss is the largest by far.
STREETS_LOSS_WEIGHTS = {"semseg": 4.0, "depth": 0.2}
ON_STREETS = {
    "image_size": (64, 128),
    "scenes": 600,
    "loss_weights": STREETS_LOSS_WEIGHTS,
}
# From the same weights: half of the vehicles are less than 17 pixels wide at this size, and a box
# counts if it overlaps by 70 %.
STREETS_FROM_TRUNK = {
    "batch_size": 4,
    "image_size": (96, 192),
    "epochs": 3,
    "learning_rate": 1e-3,
    "scenes": 1600,
    "steps": 600,
    "loss_weights": STREETS_LOSS_WEIGHTS,
}
ON_DATA = {"epochs": 20, "loss_weights": {}}  # and the settings of the architecture's own recipe


@dataclass(frozen=True)
class Recipe:
    """An architecture as the training scripts know it; how it was published stands with it.

    Most are published on HRNet-18, and train on rooms from scratch with it: that is the default.

    Args:
        name: what `--model` says.
        model: the architecture.
        arguments: those of its arguments that the scripts set without a preset, by their names.
        backbone: key of `keras_mtl.presets.BACKBONES`: what trains from scratch on rooms.
        steps: for that, minutes on a CPU.
        image_size: for that, where not all sizes fit; `None` means that of all others.
        papers_backbone: of the paper's configuration, the default on prepared data.
        trunk: weights that come with the package (`keras_mtl.shipped`), to start from on generated
            scenes instead; `None` where there are none for this architecture.
    """

    name: str
    model: Any  # a class derived from MultiTaskModel, with arguments of its own
    arguments: tuple[str, ...] = ()
    backbone: str = "hrnet18"
    steps: int = 1200
    image_size: tuple[int, int] | None = None
    papers_backbone: str | None = "hrnet18"
    trunk: str | None = None

    def preset(self, dataset: str) -> str | None:
        """The paper's configuration for a dataset, by the name of its list of tasks."""
        found = {}
        for name, preset in PRESETS.items():
            tasks = preset["tasks"]
            of_dataset = tasks[0] if isinstance(tasks, tuple) else tasks
            if preset["model"] == self.model.__name__ and of_dataset == dataset:
                found.setdefault(preset["backbone"], name)
        # Where the paper has another backbone for a dataset, it is the only one there.
        return found.get(self.papers_backbone) or next(iter(found.values()), None)

    def defaults(
        self,
        prepared: bool,
        from_trunk: bool = False,
        level: str | None = None,
        streets: bool = False,
    ) -> dict:
        """Defaults of the scripts' options, on prepared data or scenes, from there or scratch."""
        on_rooms = ON_ROOMS | {"steps": self.steps}
        if streets and not prepared:
            return on_rooms | (STREETS_FROM_TRUNK if from_trunk else ON_STREETS)
        if self.image_size:
            on_rooms["image_size"] = self.image_size
        if prepared:
            names = ("steps", "learning_rate", "batch_size")
            recipe = self.model.recipe
            if level == "encoder":
                recipe = getattr(self.model, "encoder_recipe", recipe)
            return on_rooms | ON_DATA | {name: recipe[name] for name in names}
        return on_rooms | FROM_TRUNK if from_trunk else on_rooms


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="taskprompter",
            model=TaskPrompter,
            arguments=("variant", "channel_windows", "decode_dim", "stochastic_depth"),
            backbone="vit_pico",
            steps=4000,
            papers_backbone="vit_large",
            trunk="vit_nano_rooms",
        ),
        Recipe(
            name="tpanet",
            model=TPANet,
            arguments=("dim", "groups", "head_width", "key_value_pooling", "stochastic_depth"),
            papers_backbone="swin_tiny",
        ),
        Recipe(
            name="baseline",
            model=MultiTaskBaseline,
            arguments=("head_width",),
            papers_backbone="swin_tiny",
        ),
        Recipe(name="pad_net", model=PADNet, arguments=("width",)),
        Recipe(name="mti_net", model=MTINet),
        Recipe(
            name="invpt",
            model=InvPT,
            arguments=("width",),
            backbone="vit_pico",
            steps=4000,
            image_size=(64, 96),  # patches of 8 pixels, four to a side of a stage's
            papers_backbone="vit_large",
        ),
        Recipe(
            name="mq_transformer",
            model=MQTransformer,
            arguments=("width",),
            papers_backbone="swin_tiny",
        ),
        Recipe(name="pap", model=PAP),
        Recipe(name="psd", model=PSD),
        Recipe(name="atrc", model=ATRC, arguments=("genotype",)),
        Recipe(name="atrc_search", model=ATRCSearch, arguments=("steps",)),
        Recipe(name="cross_stitch", model=CrossStitch, arguments=("level", "width")),
        Recipe(name="nddr_cnn", model=NDDRCNN, arguments=("level", "width")),
        Recipe(name="mtan", model=MTAN, arguments=("head_width",)),
        Recipe(
            name="astmt",
            model=ASTMT,
            arguments=("width",),
            backbone="se_resnet26",
            papers_backbone="se_resnet50",
        ),
        Recipe(name="mtformer", model=MTFormer, arguments=("width",), papers_backbone="swin_small"),
    )
}


def recipe_of(preset: str) -> Recipe:
    """The recipe of the architecture that a preset configures."""
    model = ARCHITECTURES[PRESETS[preset]["model"]]
    found = [recipe for recipe in RECIPES.values() if recipe.model is model]
    return found[0] if found else Recipe(model.__name__, model, steps=4000, papers_backbone=None)


def make_backbone(name: str, image_size: tuple[int, int], patch_size: int = 8):
    """A backbone with random weights.

    Args:
        name: a key of `keras_mtl.presets.BACKBONES`.
        image_size: `(height, width)` in pixels.
        patch_size: pixels, of a plain Transformer.
    """
    function, size = BACKBONES[name]
    plain = function in ("vision_transformer", "dinov2", "dinov3")
    arguments = {"patch_size": patch_size} if plain else {}
    if size == "nano":  # nothing published is as small, so it may be built as it learns best
        arguments["convolutional_stem"] = True
    return getattr(backbones, function)(size, (*image_size, 3), **arguments)
