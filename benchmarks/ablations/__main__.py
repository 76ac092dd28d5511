"""Runs an ablation of the papers again, on generated rooms, over several seeds.

    KERAS_BACKEND=jax python -m benchmarks.ablations taskprompter-table1 --seeds 0 1 2
    KERAS_BACKEND=jax python -m benchmarks.ablations --list
    KERAS_BACKEND=jax python -m benchmarks.ablations taskprompter-table1 --table-only

The last one writes the table of the runs there are.

Every row and seed is a run in a process of its own and leaves one JSON file. Runs that are there
are not run again, also when another table made them; a run that was interrupted begins anew. At the
end stand TABLE.md, TABLE.json and TABLE.png: mean and standard deviation of every metric over the
seeds, and of Delta_m against the mean of the single-task networks.

The protocol. All rows of a table start from the same backbone, train on the same rooms with the
same steps, optimizer and loss weights (those of the training scripts), and are measured after the
last step. A seed settles the weights at the start and the order of the rooms. Four sets of rooms
share no scene: "pretraining" (the backbone learns to segment them, once for each seed, as the
papers' learnt to classify ImageNet; its head is thrown away), "training" (few; each is mirrored at
random), "validation" (the settings of a scale were chosen there: `--held-out validation`) and
"test" (what the tables show). At the small scale boundaries are scored by F_within_1px, at the full
one by the papers' odsF.
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras

from benchmarks.ablations.cost_table import COST_TABLE, write_cost_table
from benchmarks.ablations.networks import NETWORKS
from benchmarks.ablations.papers import TABLES
from benchmarks.ablations.runs import Work
from benchmarks.ablations.scales import SCALES
from benchmarks.ablations.tables import comparison, summary, write_table

ROOT = Path(__file__).parents[2]


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
        write_cost_table(folder)
        return
    table = TABLES[options.table]
    chosen = _chosen_rows(table, options.rows)
    names = list(dict.fromkeys(name for row in chosen for name in row.networks))
    try:
        for each in options.merge:
            taken = work.merge(each / options.scale, names, options.seeds)
            print(f"{each} has {taken} of the runs")
        if not options.table_only:
            _run_all(work, names, options.seeds, options.jobs or scale.jobs, options)
            if table.against_cost and not options.no_timing:
                _measure_all(work, names, options)
        report = summary(table, work, options.seeds)
        differences = comparison(report, options.compare) if options.compare else ""
    except ValueError as error:
        sys.exit(f"ablations: {error}")
    write_table(report, table, folder / options.table)
    print((folder / f"{options.table}.md").read_text())
    print(f"Wrote {folder / options.table}.md, .json and .png")
    if differences:
        print(f"\nAgainst {options.compare}:\n\n{differences}")


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


def _measure_all(work, names, options):
    """Times what is not timed yet; one network at a time, each in a process of its own."""
    from tqdm import tqdm

    runs = [(f"measured-{name}", 0) for name in names]
    runs = [run for run in runs if not work.finished(*run)]
    for run in tqdm(runs, desc="timing", unit="network", disable=not runs):
        threads = work.scale.threads or os.cpu_count()
        _in_a_process(run, threads, options, lambda done: None)


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
                if jobs == 1 and work.scale.threads is None:
                    work.do(name, seed, report)
                    keras.backend.clear_session()
                else:
                    threads = work.scale.threads or max(os.cpu_count() // jobs, 1)
                    _in_a_process(run, threads, options, report)
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


def _in_a_process(run, threads, options, report):
    limits = dict.fromkeys(("OMP_NUM_THREADS", "NPROC", "TF_NUM_INTRAOP_THREADS"), str(threads))
    environment = {**os.environ, **limits, "TF_NUM_INTEROP_THREADS": "1"}
    environment["KERAS_BACKEND"] = keras.backend.backend()
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    command = [sys.executable, "-m", "benchmarks.ablations", options.table, "--one"]
    command += [run[0], str(run[1])]
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
            last = errors.read().strip().splitlines()[-20:]
            said = f"The run of {run[0]} with seed {run[1]} failed, and said at last:"
            raise ValueError("\n".join([said, *last]))


def _said(work, run) -> str:
    result = work.finished(*run)
    if "scores" not in result:
        return ""
    scores = result["scores"].items()
    return ", " + ", ".join(f"{task} {each['metric']} {each['value']:.3f}" for task, each in scores)


# === Command line ===


def _arguments(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*TABLES, COST_TABLE]
    parser.add_argument("table", nargs="?", choices=names, metavar="TABLE", help="see --list")
    parser.add_argument("--list", action="store_true", help="show all tables and their rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument("--scale", choices=list(SCALES), default="small", help="default small")
    parser.add_argument("--output", default="runs/ablations", help="default runs/ablations")
    rows = "labels of the rows to run, or their numbers in --list (default all)"
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=rows)
    jobs = "runs side by side (default: the scale's); at the small scale no figure depends on it"
    parser.add_argument("--jobs", type=int, metavar="N", help=jobs)
    held_out = "rooms to measure on (default test); validation is for choosing settings"
    parser.add_argument("--held-out", choices=["test", "validation"], default="test", help=held_out)
    parser.add_argument("--steps", type=int, help="of a run, instead of the scale's")
    parser.add_argument("--learning-rate", type=float, help="instead of the scale's")
    parser.add_argument(
        "--table-only", action="store_true", help="write the table of the runs there are"
    )
    parser.add_argument(
        "--no-timing", action="store_true", help="leave out the systems' step times and memory"
    )
    merge = "take over the finished runs of these, outputs of other machines; give each machine "
    merge += "seeds of its own, for the rows of a seed share a backbone"
    parser.add_argument("--merge", type=Path, nargs="+", default=[], metavar="FOLDER", help=merge)
    compare = "another TABLE.json, such as those in docs/: says how far the figures are from it"
    parser.add_argument("--compare", type=Path, metavar="FILE", help=compare)
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
            f"ablations: There is no row {missing[0]!r}; the rows are "
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
