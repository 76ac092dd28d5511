"""The systems that both papers compare, in one table: on generated rooms, or on prepared data.

    KERAS_BACKEND=jax python benchmarks/compare_systems.py --seeds 0 1 2
    KERAS_BACKEND=jax python benchmarks/compare_systems.py --data nyud_v2

On rooms every system trains from the same pretrained weights of its kind of backbone, on the same
rooms, for the same number of images. That is the table "systems" of
`python -m benchmarks.ablations`, whose protocol and options it has (`--help` shows them), and its
runs are shared with the other tables there.

With --data, each system of the papers is trained by its own recipe (`examples/train_nyud.py
--preset`) and evaluated by the published procedure (`examples/evaluate.py`), both of which go on
where they were interrupted; each seed gets a table beside the papers' rows, with Delta_m against
single-task networks on HRNet-18. What is given after -- goes to the training script.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where `benchmarks` is, which nothing installs

from benchmarks.ablations import __main__ as ablations  # noqa: E402
from benchmarks.ablations.papers import SYSTEMS  # noqa: E402
from keras_mtl.evaluation import compare  # noqa: E402
from keras_mtl.models.registry import PRESETS, preset_tasks  # noqa: E402

# Of several configurations of a system the one that the papers' tables have; single-task first.
BACKBONES = ("hrnet18", "swin_tiny", "swin_small", "se_resnet50", "vit_large")
NO_SYSTEM = {"ATRCSearch"}  # finds what ATRC is built of
SCRIPTS = {"nyud": "train_nyud.py", "pascal": "train_pascal_context.py"}


def main(arguments: list[str]) -> None:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)  # and then the options of what was asked for
    if not any(each.split("=")[0] == "--data" for each in arguments):
        ablations.main([SYSTEMS, *arguments])
        return
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = _options(arguments[:cut])
    folder = Path(options.output) / options.dataset
    singles, systems = single_task_runs(options.dataset), system_runs(options.dataset)
    for seed in options.seeds:
        results = {name: folder / f"{name}-seed{seed}" for name in (*singles, *systems)}
        for name, settings in {**singles, **systems}.items():
            _run(options, results[name], name, settings, seed, arguments[cut + 1 :])
        table = folder / f"systems-seed{seed}.md"
        evaluations = {name: str(each / "evaluation.json") for name, each in results.items()}
        compare.main(
            [evaluations[name] for name in systems]
            + ["--single", *(evaluations[name] for name in singles), "--output", str(table)]
        )
        print(table.read_text() + f"\nWrote {table}")


def single_task_runs(dataset: str) -> dict[str, list[str]]:
    """By name, options of the training script for one network a task."""
    preset = f"multitask_baseline_hrnet18_{dataset}"
    return {
        f"single-{task.name}": ["--preset", preset, "--tasks", task.name]
        for task in preset_tasks(preset)
    }


def system_runs(dataset: str) -> dict[str, list[str]]:
    """By preset, options of the training script for each system."""
    found: dict[str, str] = {}
    for backbone in BACKBONES:
        for name, preset in PRESETS.items():
            fits = preset["backbone"] == backbone and name.endswith(f"_{dataset}")
            if fits and preset["model"] not in NO_SYSTEM:
                found.setdefault(preset["model"], name)
    return {
        name: ["--preset", name, "--tasks", *(task.name for task in preset_tasks(name))]
        for name in found.values()
    }


def _run(options, folder, name, settings, seed, more) -> None:
    """Trains and evaluates what is not yet; both scripts go on where they were interrupted."""
    if (folder / "evaluation.json").exists():
        return
    data = ["--data", options.data]
    train = [*data, *settings, "--seed", str(seed), "--output", str(folder), *more]
    steps = [] if (folder / "results.json").exists() else [[SCRIPTS[options.dataset], *train]]
    steps.append(["evaluate.py", str(folder / "model.keras"), *data, "--name", name])
    for script, *rest in steps:
        print(f"{name}, seed {seed}: {script}", flush=True)
        if subprocess.run([sys.executable, str(ROOT / "examples" / script), *rest]).returncode:
            sys.exit(f"compare_systems: {script} of {name} with seed {seed} failed, as it says.")


def _options(arguments):
    parser = argparse.ArgumentParser(description="Options with --data.")
    parser.add_argument("--data", required=True, metavar="DIR", help="prepared dataset")
    parser.add_argument(
        "--dataset", choices=list(SCRIPTS), default="nyud", help="whose recipes (default nyud)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--output", default="runs/systems", help="default runs/systems")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
