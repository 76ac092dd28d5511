"""Runs an ablation of the papers again, on generated rooms, over several seeds.

    KERAS_BACKEND=jax python examples/ablate.py taskprompter-table1 --seeds 0 1 2
    KERAS_BACKEND=jax python examples/ablate.py --list
    KERAS_BACKEND=jax python examples/ablate.py taskprompter-table1 --table-only   # what is there

Every row and seed is a run in a process of its own and leaves one JSON file. Runs that are there
are not run again, also when another table made them; a run that was interrupted begins anew. At the
end stand TABLE.md, TABLE.json and TABLE.png: mean and standard deviation of every metric over the
seeds, and of Delta_m against the mean of the single-task networks.

The protocol. All rows of a table start from the same backbone, train on the same rooms with the
same steps, optimizer and loss weights (those of `training.py`), and are measured after the last
step. A seed settles the weights at the start and the order of the rooms. Four sets of rooms share
no scene: "pretraining" (the backbone learns to segment them, once for each seed, as the papers'
learnt to classify ImageNet; its head is thrown away), "training" (few; each is mirrored at random),
"validation" (the settings of a scale were chosen there: `--held-out validation`) and "test" (what
the tables show). At the small scale boundaries are scored by F_within_1px, at the full one by the
papers' odsF.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from ablations import COST_ORDER, COST_PRESET, COST_TABLE, NETWORKS, SCALES, TABLES, TASKS

FORMAT = "keras_mtl ablation 1"
ROOM_SEEDS = {"training": 0, "validation": 1, "test": 2, "pretraining": 3}
# TaskPrompter's Table 8, by number of tasks: millions of parameters, GMACs.
PUBLISHED_COST = {1: (364, 389), 2: (373, 416), 3: (383, 443), 4: (392, 470), 5: (401, 497)}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _arguments(arguments)
    if options.list:
        print(_listing())
        return
    scale = SCALES[options.scale]
    changes = {"steps": options.steps, "learning_rate": options.learning_rate}
    scale = dataclasses.replace(scale, **{k: v for k, v in changes.items() if v is not None})
    folder = Path(options.output) / options.scale
    work = Work(scale, folder, options.held_out)
    if options.one:  # what a process of its own is asked for
        name, seed = options.one
        work.do(name, int(seed), lambda done: print(done, flush=True))
        return
    if options.table == COST_TABLE:
        _write_cost_table(folder)
        return
    table = TABLES[options.table]
    chosen = _chosen_rows(table, options.rows)
    names = list(dict.fromkeys(name for row in chosen for name in row.networks))
    try:
        if not options.table_only:
            _run_all(work, names, options.seeds, options.jobs or scale.jobs, options)
        report = summary(table, work, options.seeds)
    except ValueError as error:
        sys.exit(f"ablate.py: {error}")
    write_table(report, table, folder / options.table)
    print((folder / f"{options.table}.md").read_text())
    print(f"Wrote {folder / options.table}.md, .json and .png")


# === One run ===


class Work:
    """What there is to do at one scale, and where its results are.

    Args:
        scale: `ablations.Scale`.
        folder: for results.
        held_out: "test" or "validation", the rooms to measure on.
    """

    def __init__(self, scale, folder: Path, held_out: str = "test"):
        self.scale, self.folder, self.held_out = scale, Path(folder), held_out

    def file(self, name: str, seed: int) -> Path:
        """The result of a run, or the weights of a pretrained backbone."""
        if name.startswith("pretrained-"):
            return self.folder / "backbones" / f"{name}-seed{seed}.npz"
        return self.folder / "runs" / f"{name}-seed{seed}.json"

    def settings(self, name: str, seed: int) -> dict:
        """All that a run's result depends on, but versions and machine."""
        import keras
        from training import ROOMS_LOSS_WEIGHTS

        scale = dataclasses.asdict(self.scale)
        del scale["jobs"]
        backbones, arguments = scale.pop("backbones"), scale.pop("arguments")
        steps, rooms = scale.pop("steps"), scale.pop("rooms")
        odsf = scale.pop("odsf")
        common = {"seed": seed, "backend": keras.backend.backend(), **scale, "rooms": rooms}
        if name.startswith("pretrained-"):
            kind = name.removeprefix("pretrained-")
            head = arguments["MultiTaskBaseline"]
            found = {**common, "backbone": backbones[kind], "arguments": head}
        else:
            network = NETWORKS[name]
            found = {
                **common,
                "steps": steps,
                "model": network.model,
                "backbone": backbones[network.backbone],
                "arguments": {**arguments[network.model], **network.arguments},
                "tasks": network.tasks,
                "loss_weights": ROOMS_LOSS_WEIGHTS,
                "measured_on": self.held_out,
                "odsF": odsf,
            }
        return json.loads(json.dumps(found))

    def finished(self, name: str, seed: int) -> dict | None:
        """A run's result, or None if there is none.

        Raises:
            ValueError: if it is of other settings, or no result.
        """
        path = self.file(name, seed)
        if not path.exists():
            return None
        try:
            if path.suffix == ".npz":
                with np.load(path) as stored:
                    result = json.loads(str(stored["about"]))
            else:
                result = json.loads(path.read_text())
            found, expected = result["settings"], self.settings(name, seed)
            whole = result["format"] == FORMAT
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            whole = False
        if not whole:
            raise ValueError(
                f"{path} is no result of this script; remove it or name another --output."
            )
        for key in dict.fromkeys([*expected, *found]):
            if found.get(key) != expected.get(key):
                raise ValueError(
                    f"{path} was made with {key} {found.get(key)!r}, not {expected.get(key)!r}; "
                    "use the same settings and backend, or name another --output."
                )
        return result

    def do(self, name: str, seed: int, report: Callable[[int], None]) -> None:
        """Trains a network, or pretrains a backbone, and writes its file.

        Args:
            name: key of `NETWORKS`, or "pretrained-" and the name of a backbone.
            seed: of weights and order.
            report: called with the number of steps done, now and then.
        """
        if name.startswith("pretrained-"):
            self._pretrain(name, seed, report)
        else:
            self._train(name, seed, report)

    def steps(self, name: str) -> int:
        pretraining = name.startswith("pretrained-")
        return self.scale.pretraining_steps if pretraining else self.scale.steps

    def rooms(self, use: str) -> dict[str, np.ndarray]:
        """Images and labels of one set of rooms, rendered once and kept beside the results."""
        import keras_mtl
        from keras_mtl.data import rooms

        count, (height, width) = self.scale.rooms[use], self.scale.image_size
        path = self.folder / "rooms" / f"{use}-{count}-{height}x{width}.npz"
        if not path.exists():
            tasks = keras_mtl.tasks.nyud()
            images, labels = rooms.arrays(
                tasks, count, (height, width), ROOM_SEEDS[use], progress=True
            )
            _write(path, lambda file: np.savez(file, image=images, **labels))
        with np.load(path) as stored:
            return dict(stored)

    def _backbone(self, kind: str, seed: int | None = None):
        import keras_mtl

        build, size, arguments = self.scale.backbones[kind]
        shape = (*self.scale.image_size, 3)
        backbone = getattr(keras_mtl.backbones, build)(size, shape, **arguments)
        if seed is not None:
            with np.load(self.file(f"pretrained-{kind}", seed)) as stored:
                backbone.set_weights([stored[str(i)] for i in range(len(backbone.weights))])
        return backbone

    def network(self, name: str, seed: int | None = None):
        """A network of a table; without a seed its backbone is not the pretrained one."""
        import keras_mtl

        network = NETWORKS[name]
        return getattr(keras_mtl, network.model)(
            self._backbone(network.backbone, seed),
            keras_mtl.tasks.nyud(*network.tasks),
            **{**self.scale.arguments[network.model], **network.arguments},
        )

    def _pretrain(self, name, seed, report):
        import keras

        import keras_mtl

        keras.utils.set_random_seed(seed)
        backbone = self._backbone(name.removeprefix("pretrained-"))
        model = keras_mtl.MultiTaskBaseline(
            backbone,
            keras_mtl.tasks.nyud("semseg"),
            **self.scale.arguments["MultiTaskBaseline"],
        )
        self._fit(model, "pretraining", self.scale.pretraining_steps, seed, report)
        about = json.dumps({"format": FORMAT, "settings": self.settings(name, seed)})
        weights = {str(i): weight for i, weight in enumerate(backbone.get_weights())}
        _write(self.file(name, seed), lambda file: np.savez(file, about=about, **weights))

    def _train(self, name, seed, report):
        import keras

        from keras_mtl import cost

        keras.utils.set_random_seed(seed)
        model = self.network(name, seed)
        start, processor = time.perf_counter(), time.process_time()
        self._fit(model, "training", self.scale.steps, seed, report)
        trained, processor = time.perf_counter(), time.process_time() - processor
        scores = self._scores(model)
        result = {
            "format": FORMAT,
            "network": name,
            "seed": seed,
            "settings": self.settings(name, seed),
            "scores": scores,
            "parameters": cost.parameters(model),
            "macs": cost.macs(model).total,
            "seconds": {
                "training": round(trained - start, 1),
                "training_processor": round(processor, 1),  # where others use the cores, too
                "evaluation": round(time.perf_counter() - trained, 1),
            },
            "machine": _machine(),
            "versions": _versions(),
        }
        text = json.dumps(result, indent=2) + "\n"
        _write(self.file(name, seed), lambda file: file.write(text.encode()))

    def _fit(self, model, use, steps, seed, report):
        import keras
        from training import ROOMS_LOSS_WEIGHTS

        import keras_mtl
        from keras_mtl.resume import StopOnDivergence

        rate = keras_mtl.schedules.PolynomialDecay(self.scale.learning_rate, steps)
        weights = {task.name: task.loss_weight for task in model.tasks}
        weights |= {name: w for name, w in ROOMS_LOSS_WEIGHTS.items() if name in weights}
        model.compile(
            keras.optimizers.Adam(rate, weight_decay=1e-6, global_clipnorm=10.0),
            loss_weights=weights,
            metrics=None,
        )
        rooms, size = self.rooms(use), self.scale.batch_size
        batches = _batches(rooms, model.tasks, size, steps, seed)
        every = max(steps // 100, 1)
        told = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: (step + 1) % every or report(step + 1)
        )
        model.fit(batches, epochs=1, verbose=0, callbacks=[StopOnDivergence(), told])

    def _scores(self, model) -> dict:
        rooms = self.rooms(self.held_out)
        labels = {task.name: rooms[task.name] for task in model.tasks}
        parts = [slice(first, first + 50) for first in range(0, len(rooms["image"]), 50)]
        scores = {}
        if self.scale.odsf:
            import keras_mtl

            batches = [
                (rooms["image"][some], {name: each[some] for name, each in labels.items()})
                for some in parts
            ]
            found = keras_mtl.evaluate(model, batches, batch_size=10, progress=False)
            for name, task in found.tasks.items():
                headline = task["headline"]
                scores[name] = {"metric": headline, "value": task["scores"][headline]}
        else:
            metrics = {task.name: _quick_metric(task) for task in model.tasks}
            for some in parts:
                raw = model.predict_on_batch(rooms["image"][some])
                for name, metric in metrics.items():
                    metric.update_state(labels[name][some], raw[name])
            for name, metric in metrics.items():
                scores[name] = {"metric": metric.name, "value": float(metric.result())}
        for task in model.tasks:
            scores[task.name] |= {"unit": task.unit, "higher_is_better": task.higher_is_better}
        return scores


def _batches(rooms, tasks, batch_size, steps, seed):
    """The batches of a run: rooms in an order that the seed settles, each mirrored or not."""
    import keras

    rng = np.random.default_rng(seed)
    count, wanted = len(rooms["image"]), steps * batch_size
    passes = [rng.permutation(count) for _ in range(math.ceil(wanted / count))]
    order = np.concatenate(passes)[:wanted].reshape(steps, batch_size)
    mirrored = rng.random(order.shape) < 0.5

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return steps

        def __getitem__(self, step):
            numbers, mirror = order[step], mirrored[step]
            images = rooms["image"][numbers].astype("float32")
            images[mirror] = images[mirror, :, ::-1]
            labels = {}
            for task in tasks:
                label = rooms[task.name][numbers]
                label[mirror] = task.flipped_label(label[mirror, :, ::-1])
                labels[task.name] = label
            return images, labels

    return Batches()


def _quick_metric(task):
    """The metric at the small scale: a task's first, of boundaries with half its tolerance.

    At 64x64 pixels 1 pixel is 0.011 of the diagonal, the papers' tolerance on NYUD-v2; within 2
    of a boundary lies most of a room, so that marking everything scores well.
    """
    import keras_mtl

    if isinstance(task, keras_mtl.tasks.BoundaryDetection):
        return keras_mtl.metrics.BoundaryF(tolerance=1)
    return task.metrics()[0]


def _write(path: Path, fill) -> None:
    """Writes a file that is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as file:
        try:
            fill(file)
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, path)


def _machine() -> dict:
    import keras

    backend, accelerator = keras.backend.backend(), None
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        accelerator = device.device_kind if device.platform != "cpu" else None
    elif backend == "torch":
        import torch

        accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    else:
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        if found:
            accelerator = tf.config.experimental.get_device_details(found[0]).get("device_name")
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": threads, "accelerator": accelerator}


def _versions() -> dict:
    import keras

    found = {"python": platform.python_version()}
    for name in ("keras-mtl", "keras", "keras-hub", keras.backend.backend(), "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


# === All runs ===


def _run_all(work: Work, names: list[str], seeds: list[int], jobs: int, options) -> None:
    """Runs what is not finished; backbones first, then seed by seed."""
    backbones = dict.fromkeys(f"pretrained-{NETWORKS[name].backbone}" for name in names)
    todo = [(name, seed) for seed in seeds for name in names if not work.finished(name, seed)]
    if not todo:
        return
    needed = {(f"pretrained-{NETWORKS[name].backbone}", seed) for name, seed in todo}
    first = [(name, seed) for seed in seeds for name in backbones if (name, seed) in needed]
    first = [each for each in first if not work.finished(*each)]
    for use in ("pretraining", "training", work.held_out):
        work.rooms(use)
    for kind, runs in (("backbones", first), ("runs", todo)):
        if runs:
            print(f"{len(runs)} {kind} to train, {jobs} at a time")
            _run_each(work, runs, jobs, options)


def _run_each(work, runs, jobs, options):
    from tqdm import tqdm

    free = list(range(jobs))  # lines of the terminal

    def one(run):
        name, seed = run
        place = free.pop()
        try:
            label = f"{name} seed {seed}"
            with tqdm(total=work.steps(name), desc=label, position=place, leave=False) as bar:

                def report(done):
                    bar.update(done - bar.n)

                start = time.perf_counter()
                if jobs == 1:
                    import keras

                    work.do(name, seed, report)
                    keras.backend.clear_session()
                else:
                    _in_a_process(run, jobs, options, report)
            tqdm.write(f"{label}: {(time.perf_counter() - start) / 60:.1f} min{_said(work, run)}")
        finally:
            free.append(place)

    if jobs == 1:
        for run in runs:
            one(run)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(one, run) for run in runs]
        try:
            for each in waiting:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_a_process(run, jobs, options, report):
    threads = str(max(os.cpu_count() // jobs, 1))
    limits = ("OMP_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS")
    environment = {**os.environ, **dict.fromkeys(limits, threads), "TF_NUM_INTEROP_THREADS": "1"}
    command = [sys.executable, __file__, options.table, "--one", run[0], str(run[1])]
    command += ["--scale", options.scale, "--output", options.output]
    command += ["--held-out", options.held_out]
    for name in ("steps", "learning_rate"):
        if getattr(options, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process:
            for line in process.stdout:
                if line.strip().isdigit():
                    report(int(line))
        if process.returncode:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            raise ValueError(
                f"The run of {run[0]} with seed {run[1]} failed ({' '.join(last)}); run it alone "
                "with --jobs 1 to see where."
            )


def _said(work, run) -> str:
    result = work.finished(*run)
    if "scores" not in result:
        return ""
    scores = result["scores"].items()
    return ", " + ", ".join(f"{task} {each['metric']} {each['value']:.3f}" for task, each in scores)


# === Tables ===


def summary(table, work: Work, seeds: list[int]) -> dict:
    """What a table shows: mean and standard deviation of every metric and of Delta_m.

    Args:
        table: `ablations.Table`.
        work: where the runs are.
        seeds: that count. A row is of those seeds all of whose networks are finished.

    Returns:
        What is written to TABLE.json.

    Raises:
        ValueError: if a run is of other settings, or none is finished.
    """
    from keras_mtl.evaluation.single_task import delta_m

    rows, reference, everything = [], None, []
    for row in table.rows:
        found = {seed: [work.finished(name, seed) for name in row.networks] for seed in seeds}
        found = {seed: runs for seed, runs in found.items() if all(runs)}
        everything += [run for runs in found.values() for run in runs]
        values = {
            seed: {task: each for run in runs for task, each in run["scores"].items()}
            for seed, runs in found.items()
        }
        scores = {
            task: _spread([of_seed[task]["value"] for of_seed in values.values()])
            for task in TASKS
            if values
        }
        if len(row.networks) > 1:
            reference = (set(found), {task: each["mean"] for task, each in scores.items()})
        gain = None
        if values and reference and reference[0] == set(found):
            up = {t: each["higher_is_better"] for t, each in next(iter(values.values())).items()}
            gain = _spread(
                [
                    delta_m({t: each["value"] for t, each in of_seed.items()}, reference[1], up)
                    for of_seed in values.values()
                ]
            )
        some = next(iter(found.values()), [])
        seconds = [sum(run["seconds"]["training"] for run in runs) for runs in found.values()]
        rows.append(
            {
                "row": row.label,
                "says": row.says,
                "networks": list(row.networks),
                "x": row.x,
                "seeds": list(found),
                "scores": scores,
                "delta_m": gain,
                "parameters": sum(run["parameters"] for run in some) or None,
                "macs": sum(run["macs"] for run in some) or None,
                "minutes": _spread([each / 60 for each in seconds]) if seconds else None,
            }
        )
    if not everything:
        raise ValueError("No run of this table is finished; leave --table-only out to run it.")
    metrics = {
        task: {key: each[key] for key in ("metric", "unit", "higher_is_better")}
        for run in everything
        for task, each in run["scores"].items()
    }
    settings = {
        key: value
        for key, value in everything[0]["settings"].items()
        if all(run["settings"].get(key) == value for run in everything)
    }
    kinds = [{"machine": run["machine"], "versions": run["versions"]} for run in everything]
    return {
        "title": table.title,
        "settings": settings,
        "metrics": {task: metrics[task] for task in TASKS if task in metrics},
        "rows": rows,
        "made_by": [kind for i, kind in enumerate(kinds) if kind not in kinds[:i]],
    }


def _spread(values: list[float]) -> dict:
    """Mean and standard deviation (of a sample; None of a single value)."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std, "values": list(values)}


def markdown(report: dict) -> str:
    """The table as Markdown, with what it was made with."""
    heads = ["row", "seeds"]
    for task, metric in report["metrics"].items():
        arrow = "↑" if metric["higher_is_better"] else "↓"
        heads.append(f"{task} {metric['metric']} [{metric['unit']}] {arrow}")
    heads += ["Δm [%] ↑", "parameters [M]", "MACs [M]", "minutes a run"]
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for row in report["rows"]:
        cells = [row["row"], str(len(row["seeds"]))]
        for task in report["metrics"]:
            digits = 3 if report["metrics"][task]["unit"] == "m" else 2
            cells.append(_shown(row["scores"].get(task), digits))
        cells.append(_shown(row["delta_m"], 2, sign="+"))
        cells += [f"{row[key] / 1e6:.2f}" if row[key] else "" for key in ("parameters", "macs")]
        cells.append(_shown(row["minutes"], 1))
        lines.append(cells)
    text = [f"## {report['title']}", ""]
    text += [f"| {' | '.join(cells)} |" for cells in lines]
    settings, made = report["settings"], report["made_by"][0]
    rooms, (height, width) = settings["rooms"], settings["image_size"]
    machine = made["machine"]["accelerator"] or (
        f"{made['machine']['cpu']}, {made['machine']['threads']} thread(s) a run"
    )
    versions = ", ".join(f"{name} {v}" for name, v in made["versions"].items())
    text += [
        "",
        "Mean ± standard deviation over the seeds; Δm against the mean of the single-task "
        "networks; their parameters, MACs (one image) and minutes are those of all together.",
        f"Rooms of {height}x{width} pixels: {rooms['training']} to train on, "
        f"{rooms[settings['measured_on']]} to measure on ({settings['measured_on']}), "
        f"{rooms['pretraining']} others for the backbone; {settings['steps']} steps of "
        f"{settings['batch_size']} images, learning rate {settings['learning_rate']:g}; "
        f"backend {settings['backend']}.",
        f"Made on {machine}; {versions}.",
        "",
        *(f"- {row['row']}: {row['says']}." for row in report["rows"]),
    ]
    return "\n".join(text) + "\n"


def _shown(spread, digits, sign="") -> str:
    if not spread:
        return ""
    text = f"{spread['mean']:{sign}.{digits}f}"
    return text if spread["std"] is None else f"{text} ± {spread['std']:.{digits}f}"


def write_table(report: dict, table, path: Path) -> None:
    """Writes PATH.json, PATH.md and PATH.png."""
    text = json.dumps(report, indent=2) + "\n"
    _write(path.with_name(path.name + ".json"), lambda file: file.write(text.encode()))
    said = markdown(report).encode()
    _write(path.with_name(path.name + ".md"), lambda file: file.write(said))
    picture = figure(report, table.axis)
    _write(path.with_name(path.name + ".png"), lambda file: picture.savefig(file, format="png"))


def figure(report: dict, axis: str = ""):
    """Delta_m and every metric, with their standard deviations and the seeds as dots.

    Args:
        report: of `summary`.
        axis: what the rows' `x` counts; without it the rows stand one below the other.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    from matplotlib.figure import Figure

    panels = [("Δm [%] ↑", lambda row: row["delta_m"])]
    for task, metric in report["metrics"].items():
        arrow = "↑" if metric["higher_is_better"] else "↓"
        name = f"{task} {metric['metric']} [{metric['unit']}] {arrow}"
        panels.append((name, lambda row, task=task: row["scores"].get(task)))
    rows = [row for row in report["rows"] if row["seeds"]]
    height = 3.2 if axis else 1.2 + 0.4 * len(rows)
    picture = Figure(figsize=(13, height), dpi=110, layout="constrained")
    picture.suptitle(report["title"], fontsize=10)
    plots = picture.subplots(1, len(panels), sharey=not axis)
    single = [row for row in rows if len(row["networks"]) > 1]
    for plot, (name, of) in zip(plots, panels, strict=True):
        plot.set_title(name, fontsize=9)
        plot.tick_params(labelsize=8)
        plot.grid(alpha=0.3)
        shown = [row for row in rows if row["x"] is not None] if axis else rows
        for place, row in enumerate(shown):
            spread = of(row)
            if not spread:
                continue
            where = row["x"] if axis else len(rows) - 1 - place
            error = spread["std"] or 0
            dots = [where] * len(spread["values"]), spread["values"]
            bar = {"fmt": "o", "capsize": 3, "color": "C0"}
            if axis:
                plot.plot(*dots, ".", color="0.6")
                plot.errorbar(where, spread["mean"], yerr=error, **bar)
            else:
                plot.plot(*dots[::-1], ".", color="0.6")
                plot.errorbar(spread["mean"], where, xerr=error, **bar)
        for row in single:
            if of(row) and (axis or len(single) == 1):
                line = plot.axhline if axis else plot.axvline
                line(of(row)["mean"], color="C1", linestyle="--", linewidth=1)
        if axis:
            plot.set_xlabel(axis, fontsize=8)
            plot.set_xticks([row["x"] for row in shown])
            plot.set_xticklabels([f"{row['x']:g}" for row in shown])
    if axis and single:
        plots[0].set_ylabel("dashed: single-task", fontsize=8)
    if not axis:
        labels = [row["row"] for row in rows][::-1]
        plots[0].set_yticks(range(len(rows)), labels, fontsize=8)
    return picture


# === Table 8: cost against the number of tasks ===


def _write_cost_table(folder: Path) -> None:
    import keras
    from tqdm import tqdm

    import keras_mtl
    from keras_mtl import cost

    tasks = {task.name: task for task in keras_mtl.tasks.pascal_context()}
    rows = []
    for count in tqdm(range(1, len(COST_ORDER) + 1), desc="counting", unit="network"):
        chosen = [tasks[name] for name in COST_ORDER[:count]]
        model = keras_mtl.MultiTaskModel.from_preset(COST_PRESET, tasks=chosen)
        rows.append(
            {
                "tasks": count,
                "parameters": cost.parameters(model),
                "macs": cost.macs(model).total,
                "paper": dict(zip(("parameters_M", "GMACs"), PUBLISHED_COST[count], strict=True)),
            }
        )
        del model
        keras.backend.clear_session()
    report = {"title": "TaskPrompter, Table 8: cost against the number of tasks", "rows": rows}
    report |= {"preset": COST_PRESET, "order": COST_ORDER, "versions": _versions()}
    lines = ["| tasks | parameters [M] | paper | GMACs | paper |", "|---" + "|---:" * 4 + "|"]
    for row in rows:
        millions, giga = row["parameters"] / 1e6, row["macs"] / 1e9
        paper = row["paper"]
        lines.append(
            f"| {row['tasks']} | {millions:.2f} | {paper['parameters_M']} "
            f"| {giga:.1f} | {paper['GMACs']} |"
        )
    growth = [rows[-1][key] / rows[0][key] * 100 - 100 for key in ("parameters", "macs")]
    lines.append(f"| increase | {growth[0]:+.2f}% | +10.16% | {growth[1]:+.2f}% | +27.76% |")
    said = f"`{COST_PRESET}`, tasks in the order {', '.join(COST_ORDER)}; one image."
    text = "\n".join([f"## {report['title']}", "", *lines, "", said]) + "\n"
    path = folder / COST_TABLE
    content = json.dumps(report, indent=2) + "\n"
    _write(path.with_name(f"{COST_TABLE}.json"), lambda file: file.write(content.encode()))
    _write(path.with_name(f"{COST_TABLE}.md"), lambda file: file.write(text.encode()))
    picture = _cost_figure(report)
    _write(path.with_name(f"{COST_TABLE}.png"), lambda file: picture.savefig(file, format="png"))
    print(text + f"\nWrote {path}.md, .json and .png")


def _cost_figure(report):
    from matplotlib.figure import Figure

    picture = Figure(figsize=(7, 3), dpi=110, layout="constrained")
    picture.suptitle(report["title"], fontsize=10)
    kinds = (
        ("parameters [M]", "parameters", 1e6, "parameters_M"),
        ("GMACs", "macs", 1e9, "GMACs"),
    )
    for plot, (name, key, unit, paper) in zip(picture.subplots(1, 2), kinds, strict=True):
        counts = [row["tasks"] for row in report["rows"]]
        plot.plot(counts, [row[key] / unit for row in report["rows"]], "o-", label="here")
        plot.plot(counts, [row["paper"][paper] for row in report["rows"]], "x", label="paper")
        plot.set_title(name, fontsize=9)
        plot.set_xlabel("tasks", fontsize=8)
        plot.set_xticks(counts)
        plot.set_ylim(0, 1.1 * max(row[key] / unit for row in report["rows"]))
        plot.grid(alpha=0.3)
        plot.legend(fontsize=8, loc="lower right")
    return picture


# === Command line ===


def _arguments(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*TABLES, COST_TABLE]
    parser.add_argument("table", nargs="?", choices=names, metavar="TABLE", help="see --list")
    parser.add_argument("--list", action="store_true", help="show all tables and their rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--scale", choices=list(SCALES), default="small", help="default small")
    parser.add_argument("--output", default="runs/ablations", help="default runs/ablations")
    rows = "labels of the rows to run, or their numbers in --list (default all)"
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=rows)
    jobs = "runs side by side, the cores divided among them (default: the scale's)"
    parser.add_argument("--jobs", type=int, metavar="N", help=jobs)
    held_out = "rooms to measure on (default test); validation is for choosing settings"
    parser.add_argument("--held-out", choices=["test", "validation"], default="test", help=held_out)
    parser.add_argument("--steps", type=int, help="of a run, instead of the scale's")
    parser.add_argument("--learning-rate", type=float, help="instead of the scale's")
    parser.add_argument(
        "--table-only", action="store_true", help="write the table of the runs there are"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.table and not options.list:
        parser.error(f"name a TABLE: {', '.join(names)}.")
    if options.jobs is not None and options.jobs < 1:
        parser.error(f"--jobs is {options.jobs}; expected 1 or more.")
    if min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        parser.error(f"--seeds are {options.seeds}; expected different integers from 0 on.")
    return options


def _chosen_rows(table, chosen):
    if not chosen:
        return table.rows
    known = {row.label: row for row in table.rows}
    known |= {str(number): row for number, row in enumerate(table.rows, start=1)}
    missing = [name for name in chosen if name not in known]
    if missing:
        sys.exit(
            f"ablate.py: There is no row {missing[0]!r}; the rows are "
            f"{', '.join(row.label for row in table.rows)}."
        )
    return [row for row in table.rows if row in [known[name] for name in chosen]]


def _listing() -> str:
    lines = []
    for name, table in TABLES.items():
        lines.append(f"{name}  ({table.title})")
        for number, row in enumerate(table.rows, start=1):
            lines.append(f"  {number}  {row.label}: {row.says}")
    lines.append(f"{COST_TABLE}  (TaskPrompter, Table 8: cost against the number of tasks)")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
