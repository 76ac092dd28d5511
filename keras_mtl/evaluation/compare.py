"""Results beside each other and beside the papers' figures, with Delta_m.

    python -m keras_mtl.evaluation.compare mine.json other.json --single semseg.json depth.json

Results are what `Evaluation.save` wrote as JSON; see `keras_mtl.evaluation.comparison_table`.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from keras_mtl.evaluation.comparison_table import comparison
from keras_mtl.evaluation.published import single_task_rows
from keras_mtl.evaluation.result import listed, read_evaluation
from keras_mtl.evaluation.single_task import published_single_task, single_task_scores
from keras_mtl.files import write_text


def _list_published() -> str:
    lines = []
    for row in single_task_rows().values():
        scores = listed(f"{task} {score:g}" for task, score in row.scores.items())
        lines.append(f"{row.name:24} {scores} ({row.source})")
        if row.note:
            lines.append(f"{'':24} {row.note}")
    return "\n".join(lines)


def _write(path: Path, text: str, inputs: Iterable[str]) -> None:
    if path.resolve() in {Path(one).resolve() for one in inputs}:
        raise ValueError(f"{path} is one of the results; write the table to another file.")
    try:
        write_text(path, text)
    except OSError as error:
        raise ValueError(str(error)) from None


def main(arguments: list[str] | None = None) -> int:
    """The command; its arguments are `sys.argv[1:]` unless given. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_mtl.evaluation.compare",
        description="Puts results beside each other and beside the figures that the papers print "
        "for the same dataset, as one table.",
        epilog="example, with Delta_m against one single-task network for each task:\n"
        "  python -m keras_mtl.evaluation.compare runs/mine/evaluation.json \\\n"
        "      --single runs/semseg/evaluation.json runs/depth/evaluation.json\n\n"
        "Exit status: 0, or 2 if a file is broken or results cannot be compared.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results", metavar="RESULT.json", nargs="*", help="what Evaluation.save wrote"
    )
    reference = parser.add_mutually_exclusive_group()
    reference.add_argument(
        "--single",
        metavar="JSON",
        nargs="+",
        help="Delta_m against these single-task results (after the results; one with all tasks "
        "or one for each)",
    )
    reference.add_argument(
        "--single-published",
        metavar="NAME",
        help="Delta_m against a paper's single-task networks (names: --list-published)",
    )
    parser.add_argument("--no-published", action="store_true", help="leave the papers' rows out")
    parser.add_argument("--format", choices=("markdown", "csv"), default="markdown")
    parser.add_argument("--output", metavar="FILE", help="write the table there (default: print)")
    parser.add_argument(
        "--list-published",
        action="store_true",
        help="list what --single-published takes, and exit",
    )
    given = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):  # a terminal without arrows is no reason to fail
        sys.stdout.reconfigure(errors="replace")
    if given.list_published:
        print(_list_published())
        return 0
    if not given.results:
        parser.error("There is no result to compare; name one JSON file at least, before --single.")
    try:
        evaluations = [read_evaluation(path) for path in given.results]
        names = [evaluation["name"] for evaluation in evaluations]
        for path, evaluation in zip(given.results, evaluations, strict=True):
            if names.count(evaluation["name"]) > 1:
                evaluation["name"] += f" ({path})"
        single = None
        if given.single:
            single = single_task_scores(given.single)
        elif given.single_published:
            single = published_single_task(given.single_published)
        table = comparison(evaluations, single, not given.no_published)
        text = table.csv() if given.format == "csv" else f"{table.markdown()}\n"
        if given.output:
            _write(Path(given.output), text, given.results + (given.single or []))
        else:
            sys.stdout.write(text)
    except ValueError as error:
        parser.error(str(error))
    if given.format == "csv":
        for note in table.notes:
            print(note, file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
