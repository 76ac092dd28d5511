"""What rules that balance the tasks cost, and with --rooms what they give; see `--help`."""

import argparse
import os
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where `benchmarks` is, which nothing installs

from benchmarks.training_step import OURS, SETTINGS, THREADS, Patience, Process  # noqa: E402

NETWORK = "taskprompter_vit_small"
DESCRIPTION = """
Times a training step of TaskPrompter (ViT-S, the four tasks of NYUD-v2) with each rule of
keras_mtl.balancing beside one with fixed weights, on random images and labels: train_on_batch,
without metrics. Both are fresh processes that take turns, so that what else the machine does meets
them alike.

  CPU (s)      processor seconds of a step, all cores together, median; the wall's beside it
  CPU, wall    relative to the step with fixed weights: of medians
  memory       the most that the process held until the end of the steps, above what it held once
               its libraries were imported, relative to that with fixed weights

Rules by gradients compare those of features; with --of variables those of all shared variables,
for which the shared part is differentiated once a task: then the line below the table says what
that is by the multiply-accumulates of the two parts, 1 + T x (2 shared / 3 all).

With --rooms a small multi-task baseline is trained on generated rooms with each rule, over several
seeds, and set beside fixed and equal weights: the table "balancing" of `python -m
benchmarks.ablations`, whose protocol and options (--seeds, --scale, --rows, ...) these are then. It
goes on where it was interrupted.
"""


def main(arguments: list[str]) -> None:
    if "--rooms" in arguments:
        from benchmarks.ablations import __main__ as ablations
        from benchmarks.ablations.papers import BALANCING

        ablations.main([BALANCING, *(each for each in arguments if each != "--rooms")])
        return
    options = _options(arguments)
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
        os.environ.update(dict.fromkeys(THREADS, str(options.cores)))
    job = {
        "what": OURS,
        "network": NETWORK,
        "size": options.size,
        "batch": options.batch,
        "dtype": "float32",
        "backend": os.environ.get("KERAS_BACKEND", "jax"),
        "arguments": {},
        "jit": "auto",
    }
    patience = Patience(60 * options.patience)
    fixed = Process(job)
    fixed.ask("train")  # not counted: the second step may still compile or allocate
    rows = [["rule", "CPU (s)", "wall (s)", "CPU", "wall", "memory"]]
    for name, given in _rules(options):
        found, other = _turns(fixed, {**job, "balancing": (name, given)}, options.runs, patience)
        rows.append(_row(name, given, found, other))
        print(f"{rows[-1][0]}: {rows[-1][3]} of the processor seconds", file=sys.stderr, flush=True)
    fixed.end()

    from keras_mtl.tables import markdown

    height, width = options.size
    print(
        f"\nTaskPrompter, ViT-S, {height}x{width}, batch {options.batch}, {job['backend']}, "
        f"{len(os.sched_getaffinity(0))} cores, {options.runs} turns\n"
    )
    print(markdown(rows, padded=False))
    if options.of == "variables":
        print(f"\nBy multiply-accumulates a step costs {_bound(job):.2f} with --of variables.")
    if patience.disturbed:
        print(f"\nOther programs disturbed {patience.disturbed} of the turns.")


def _rules(options) -> list[tuple[str, dict]]:
    """Names and arguments of what is measured."""
    from keras_mtl import balancing

    found = []
    for rule in balancing.RULES:
        by_gradients = issubclass(rule, balancing.GradientWeighting)
        given: dict = {"of": options.of} if by_gradients else {}
        if rule is balancing.MoCo:
            given = {}  # of variables alone
        if rule is balancing.DBMTL and options.of == "variables":
            given["momentum"] = 0.9
        if by_gradients or options.of == "features":
            found.append((rule.__name__, given))
    return [each for each in found if each[0] in (options.rules or [each[0]])]


def _turns(fixed: Process, job: dict, runs: int, patience: Patience):
    """Seconds of the turns, and peaks of memory, of a rule and of fixed weights."""
    process = Process(job)
    process.ask("train")
    times: tuple[list, list] = ([], [])
    for _ in range(runs):
        for each, found in zip((process, fixed), times, strict=True):
            found.append(each.time("train", patience))
    peaks = [each.ask("memory")["peak"] for each in (process, fixed)]
    process.end()
    return [(found, peak) for found, peak in zip(times, peaks, strict=True)]


def _row(name: str, given: dict, ours, fixed) -> list[str]:
    def median(turns, key):
        return statistics.median(turn[key] for turn in turns)

    keys = ("cpu", "seconds")
    (turns, peak), (other_turns, other_peak) = ours, fixed
    return [
        f"{name}({', '.join(f'{key}={value!r}' for key, value in given.items())})",
        *(f"{median(turns, key):.2f}" for key in keys),
        *(f"{median(turns, key) / median(other_turns, key):.2f}" for key in keys),
        f"{peak / other_peak:.2f}",
    ]


def _bound(job: dict) -> float:
    """1 + T x the share of the shared part's backward pass in a step, by multiply-accumulates."""
    from benchmarks.training_step import KerasNetwork
    from keras_mtl.cost import macs

    model = KerasNetwork(OURS, job).model
    share = 2 * macs(model.branches.shared).total / (3 * macs(model).total)
    return 1 + len(model.tasks) * share


def _options(arguments):
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def size(text):
        height, width = text.split("x")
        return int(height), int(width)

    own = "{}x{}".format(*SETTINGS[NETWORK]["image_size"])
    parser.add_argument("--rooms", action="store_true", help="the table of what they give")
    parser.add_argument("--rules", nargs="+", metavar="RULE", help="some of them (default all)")
    parser.add_argument("--of", choices=("features", "variables"), default="features")
    parser.add_argument("--size", type=size, default=size(own), metavar="HxW", help=f"({own})")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images (default 1)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each (default 5)")
    parser.add_argument("--cores", type=int, metavar="N", help="of the processor (default all)")
    text = "repeat turns that others disturb, until this long after the first (default 0)"
    parser.add_argument("--patience", type=float, default=0, metavar="MINUTES", help=text)
    options = parser.parse_args(arguments)
    from keras_mtl.balancing import RULES

    known = [rule.__name__ for rule in RULES]
    unknown = sorted(set(options.rules or ()) - set(known))
    if unknown:
        parser.error(f"{', '.join(unknown)} is no rule; expected some of {', '.join(known)}.")
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
