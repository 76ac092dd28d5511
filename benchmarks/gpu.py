"""Training steps of the papers' largest networks on one GPU; `benchmarks/gpu.sh` starts it."""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # where `benchmarks` is, which nothing installs

from benchmarks.training_step import BARE, OURS, Patience, measure, progress  # noqa: E402
from keras_mtl import files  # noqa: E402
from keras_mtl.tables import markdown  # noqa: E402

TASKPROMPTER, TPANET = "taskprompter_vit_large_nyud", "tpanet_swin_large_nyud"
DESCRIPTION = """
Measures training steps with JAX and with PyTorch at 448x576, batch 8, in mixed bfloat16, on random
images and labels of the four tasks of NYUD-v2: TaskPrompter on ViT-L and TPANet on Swin-L, each
beside its bare backbone; then both without fused attention (keras.config.disable_flash_attention:
ours computes scores in chunks, the bare ViT stores them), and TaskPrompter computing its blocks
again for the gradient (remat). Every network is in a process of its own, one after another, as in
benchmarks/training_step.py, whose --help says what a step is.

Prints a table, and after each network writes all figures as JSON and the table beside it. What
does not fit into --minutes or fails stands in the table as that; the most important networks come
first.

  step (ms)    median (min..max) of the runs
  img/s        images of a training step per second
  peak (GB)    the most device memory until the end of the training runs; on the CPU, memory of the
               process above its libraries'
  first (s)    until the end of the first step, compiling included
  use          share of the rate of matrix products, measured by the same process between the steps:
               6 FLOP for each multiply-accumulate of the forward pass, whether or not it is
               computed again
  / bare       step beside that of the bare backbone with the same attention
"""
HEADER = (
    *("network", "backend", "attention", "remat"),
    *("step (ms)", "img/s", "peak (GB)", "first (s)", "use", "/ bare"),
)


@dataclass(frozen=True)
class Case:
    """One network as it is measured.

    Args:
        network: preset.
        what: `OURS` or `BARE`.
        fused: whether attention may be the backend's kernel.
        arguments: of the network, besides the preset's.
    """

    network: str
    what: str
    fused: bool = True
    arguments: dict = field(default_factory=dict)


CASES = (
    Case(TASKPROMPTER, OURS),
    Case(TASKPROMPTER, BARE),
    Case(TPANET, OURS),
    Case(TPANET, BARE),
    Case(TASKPROMPTER, OURS, fused=False),
    Case(TASKPROMPTER, OURS, arguments={"remat": True}),
    Case(TASKPROMPTER, BARE, fused=False),
    Case(TPANET, OURS, fused=False),
)
# To see that everything runs: arguments of the backbones and of the networks.
TINY = {
    TASKPROMPTER: (
        {"num_layers": 4, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32},
        {"decode_dim": 8, "final_dim": 8, "channel_windows": (1, 1)},
    ),
    TPANET: (
        {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 4},
        {"dim": 16, "groups": 2, "head_width": 8},
    ),
}


def job_of(case: Case, backend: str, rehearse: bool) -> dict:
    """What `training_step.measure` is asked for."""
    backbone, network = TINY[case.network] if rehearse else ({}, {})
    return {
        "network": case.network,
        "size": (64, 64) if rehearse else (448, 576),
        "batch": 2 if rehearse else 8,
        "dtype": "bfloat16",
        "backend": backend,
        "arguments": {**network, **case.arguments},
        "backbone_arguments": backbone,
        "fused": case.fused,
        "jit": "auto",
        "compile": False,
    }


def run(cases, backends, minutes: float, measured, report) -> list[dict]:
    """A row for each case and backend; `"failed"` says why there is no figure.

    Args:
        cases: list of `Case`, the most important first.
        backends: list of str.
        minutes: after which no other is begun, were it to take as long as the longest so far.
        measured: function of a case and a backend that gives the figures.
        report: called with all rows after each.
    """
    until, longest, rows = time.monotonic() + 60 * minutes, 0.0, []
    for case in cases:
        for backend in backends:
            row = {
                "network": case.network,
                "what": case.what,
                "backend": backend,
                "fused": case.fused,
                "remat": bool(case.arguments.get("remat")),
            }
            began = time.monotonic()
            if began + longest > until:
                row["failed"] = f"not begun within {minutes:g} minutes"
            else:
                try:
                    row |= measured(case, backend)
                except SystemExit as error:  # of the process that measures
                    row["failed"] = str(error)
                longest = max(longest, time.monotonic() - began)
            rows.append(row)
            report(rows)
    return rows


def table(rows: list[dict]) -> str:
    """Markdown of the rows."""
    bare = {
        (row["network"], row["backend"], row["fused"]): statistics.median(row["train_seconds"])
        for row in rows
        if row["what"] == BARE and "failed" not in row
    }
    lines = [HEADER]
    for row in rows:
        name = row["network"] if row["what"] == OURS else f"{row['what']} of {row['network']}"
        attention = "fused" if row["fused"] else "not fused"
        line = [name, row["backend"], attention, "yes" if row["remat"] else ""]
        if "failed" in row:
            lines.append([*line, row["failed"], *[""] * (len(HEADER) - len(line) - 1)])
            continue
        steps = [1000 * seconds for seconds in row["train_seconds"]]
        step = statistics.median(steps)
        use = 6000 * row["macs"] * row["batch"] / step / row["matmul_flops"]
        beside = bare.get((row["network"], row["backend"], row["fused"]))
        line += [
            f"{step:.0f} ({min(steps):.0f}..{max(steps):.0f})",
            f"{1000 * row['batch'] / step:.1f}",
            f"{row['peak_bytes'] / 1e9:.2f}",
            f"{row['first_step_seconds']:.0f}",
            f"{100 * use:.0f} %",
            f"{step / 1000 / beside:.2f}" if beside and row["what"] == OURS else "",
        ]
        lines.append(line)
    return markdown(lines, padded=False)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="all of it, with tiny networks")
    backends = ("jax", "torch")
    parser.add_argument("--backends", nargs="+", choices=backends, default=list(backends))
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="of each (default 10)")
    parser.add_argument(
        "--minutes", type=float, default=7.5, metavar="N", help="for all of it (default 7.5)"
    )
    parser.add_argument(
        "--json", default="runs/gpu.json", metavar="FILE", help="default runs/gpu.json"
    )
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error(f"--runs is {options.runs}; expected 1 or more.")
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)  # of the processes that measure

    def measured(case, backend):
        job = job_of(case, backend, options.rehearse)
        (row,) = measure(job, options.runs, [case.what], Patience(0))
        return row

    def report(rows):
        files.write_text(options.json, json.dumps(rows, indent=2) + "\n")
        files.write_text(Path(options.json).with_suffix(".md"), table(rows) + "\n")
        progress(f"{len(rows)} of {len(CASES) * len(options.backends)} rows in {options.json}")

    print(table(run(CASES, options.backends, options.minutes, measured, report)))


if __name__ == "__main__":
    main()
