"""Kills the table of the systems at random moments, goes on, and compares it with an unbroken one.

    KERAS_BACKEND=jax python benchmarks/killed_and_resumed.py --rows "SE-ResNet: baseline"

Runs `benchmarks/compare_systems.py` twice, at the scale that shows that everything runs: once in
one piece, and once killed (SIGKILL, with all its processes) --kills times, each time taken up anew.
Ends with an error unless all figures of both tables are the same to the last bit; steps are not
timed, and the minutes of each run are left out.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("compare_systems.py")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rows = "of the table, by label or number (default: all, which takes long)"
    parser.add_argument("--rows", nargs="+", default=[], metavar="ROW", help=rows)
    parser.add_argument("--scale", default="tiny", help="default tiny")
    parser.add_argument("--seeds", nargs="+", default=["0"], help="default 0")
    parser.add_argument("--kills", type=int, default=3, metavar="N", help="default 3")
    options = parser.parse_args()
    command = [sys.executable, str(SCRIPT), "--scale", options.scale, "--no-timing"]
    command += ["--seeds", *options.seeds]
    if options.rows:
        command += ["--rows", *options.rows]
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        began = time.monotonic()
        subprocess.run([*command, "--output", str(whole)], check=True)
        took = time.monotonic() - began
        kills = 0
        while kills < options.kills:
            after = random.uniform(0.1, 0.8) * took
            if _ended([*command, "--output", str(broken)], after):
                shutil.rmtree(broken)  # the table was made; begin one again
                continue
            kills += 1
            there = sum(1 for _ in broken.rglob("*-seed*.json"))
            print(f"killed after {after:.0f} s; {there} runs are there", flush=True)
        subprocess.run([*command, "--output", str(broken)], check=True)
        tables = [_figures(each / options.scale / "systems.json") for each in (whole, broken)]
    if tables[0] != tables[1]:
        sys.exit("killed_and_resumed: the tables differ.")
    rows = sum(bool(row["seeds"]) for row in tables[0]["rows"])
    print(f"{rows} rows are the same to the last bit.")


def _ended(command: list[str], after: float) -> bool:
    """Whether it ended by itself within so many seconds; else it is killed."""
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        try:
            if process.wait(after):
                raise subprocess.CalledProcessError(process.returncode, command)
            return True
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return False


def _figures(path: Path) -> dict:
    table = json.loads(path.read_text())
    for row in table["rows"]:
        del row["minutes"]
    return table


if __name__ == "__main__":
    main()
