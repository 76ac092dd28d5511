"""Published PyTorch checkpoints as Keras models: `python -m keras_mtl.convert CHECKPOINT`.

Reads a TaskPrompter that its authors published and writes a `.keras` file, which loads under every
backend without PyTorch. Code inside the checkpoint is never run.
"""

import argparse
import math
from pathlib import Path

from keras_mtl.arguments import check_path
from keras_mtl.models import TaskPrompter
from keras_mtl.models.published_checkpoints import (
    configurations,
    preset_of,
    published_entries,
    published_tasks,
)
from keras_mtl.models.registry import PRESETS


def convert(
    checkpoint: str | Path,
    configuration: str,
    output: str | Path,
    tasks: list[str] | None = None,
    force: bool = False,
) -> TaskPrompter:
    """Writes a published checkpoint as a `.keras` file.

    Args:
        checkpoint: path of the file, see `TaskPrompter.from_published`.
        configuration: see `TaskPrompter.from_published`.
        output: path of the file to write, ending in `.keras`.
        tasks: names of the tasks it was trained for, if not all of the dataset's.
        force: bool. Whether a file that is there is replaced.

    Returns:
        The model that was written.

    Raises:
        ValueError: if the checkpoint is refused or the output cannot be written; then nothing
            has been written, and a file that was there is as it was.
        ImportError: if a library that reads the checkpoint is not installed.

    Example:

    ```python
    convert("checkpoint.pth.tar", "nyud_vit_large", "taskprompter_nyud.keras")
    ```
    """
    output, checkpoint = check_path("output", output), check_path("checkpoint", checkpoint)
    if output.suffix != ".keras":
        raise ValueError(f"The output is {output}; expected a name that ends in .keras.")
    if not output.parent.is_dir():
        raise ValueError(f"There is no folder {output.parent} to write {output.name} into.")
    if output.exists() and not force:
        raise ValueError(f"{output} exists; pass force=True (--force) to replace it.")
    name = preset_of(configuration)
    chosen = None
    if tasks:
        known = {task.name: task for task in published_tasks(name)}
        unknown = [task for task in tasks if task not in known]
        if unknown:
            raise ValueError(f"{name} has no task {unknown[0]!r}; it has {', '.join(known)}.")
        chosen = [known[task] for task in tasks]
    model = TaskPrompter.from_published(checkpoint, name, chosen)
    try:
        model.save(output)  # under another name, and renamed when it is whole
    except OSError as error:
        raise ValueError(f"{output} cannot be written ({error.strerror or error}).") from error
    return model


def main(arguments: list[str] | None = None) -> None:
    """The command line; `python -m keras_mtl.convert --help` explains it."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.convert",
        description="Writes a published TaskPrompter checkpoint (PyTorch) as a .keras file.",
        epilog="Code inside the checkpoint is never run. On any doubt about the file nothing is "
        "written.",
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        metavar="CHECKPOINT",
        help="the file: .pth.tar as published, .safetensors or .npz",
    )
    parser.add_argument(
        "--configuration", metavar="NAME", help="what was trained, see --list; or nyud_vit_large"
    )
    parser.add_argument("--output", metavar="FILE", help="the .keras file to write")
    parser.add_argument(
        "--tasks", nargs="+", metavar="TASK", help="the tasks it was trained for, if not all"
    )
    parser.add_argument("--force", action="store_true", help="replace the output if it exists")
    parser.add_argument("--list", action="store_true", help="print the configurations and stop")
    options = parser.parse_args(arguments)
    if options.list:
        for name in configurations():
            tasks = ", ".join(task.name for task in published_tasks(name))
            print("{:30} {}x{}  {}".format(name, *PRESETS[name]["image_size"], tasks))
        return
    for wanted in ("checkpoint", "configuration", "output"):
        if getattr(options, wanted) is None:
            flag = "CHECKPOINT" if wanted == "checkpoint" else f"--{wanted}"
            parser.error(f"{flag} is missing; see --help.")
    try:
        model = convert(
            options.checkpoint,
            options.configuration,
            options.output,
            options.tasks,
            options.force,
        )
    except (ValueError, ImportError) as error:
        raise SystemExit(str(error)) from None
    height, width = model.image_size
    tensors = {name for entry in published_entries(model) for name in entry.all_names}
    parameters = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    size = Path(options.output).stat().st_size
    print(
        f"{options.checkpoint}: {', '.join(task.name for task in model.tasks)} at {height}x{width}"
    )
    print(f"tensors     {len(tensors):10}")
    print(f"parameters  {parameters / 1e6:10.2f} M")
    print(f"written     {size / 1e6:10.1f} MB to {options.output}")


if __name__ == "__main__":
    main()
