"""What `fit` logged, as arrays."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_mtl.arguments import check_path


def read_history(log: Any) -> dict[str, np.ndarray]:
    """Columns of numbers by name, `"epoch"` counted from 1 among them; NaN where there is none.

    Args:
        log: path of the CSV that `keras.callbacks.CSVLogger` wrote, or the dict
            `History.history` that `model.fit` returned.

    Raises:
        ValueError: if the file is missing or not such a CSV, or there is no loss.

    Example:

    >>> {name: x.tolist() for name, x in read_history({"loss": [3.0, 2.0]}).items()}
    {'epoch': [1.0, 2.0], 'loss': [3.0, 2.0]}
    """
    if not isinstance(log, Mapping):
        return _read_csv(check_path("log", log))
    history = {name: np.asarray(values, "float64") for name, values in log.items()}
    if not len(history.get("loss", ())):
        raise ValueError(
            f"The history holds {', '.join(history) or 'nothing'}; expected 'loss', a number for "
            "every epoch, as model.fit(...).history has it."
        )
    return {"epoch": np.arange(1.0, len(history["loss"]) + 1), **history}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    expected = "expected what keras.callbacks.CSVLogger writes, a column for each number"
    if not path.is_file():
        raise ValueError(f"There is no file {path}; give the CSV of keras.callbacks.CSVLogger.")
    try:
        header, *rows = csv.reader(path.read_text().splitlines())
    except (ValueError, csv.Error):
        raise ValueError(f"{path} cannot be read as a CSV; {expected}.") from None
    if not {"epoch", "loss"} <= set(header) or not rows:
        found = "no epoch" if not rows else f"the columns {', '.join(header)[:60]}"
        raise ValueError(f"{path} holds {found}; {expected}, 'epoch' and 'loss' among them.")
    table = []
    for line, row in enumerate(rows, start=2):
        try:
            # CSVLogger writes NA for what an epoch does not have.
            numbers = [float("nan") if cell == "NA" else float(cell) for cell in row]
        except ValueError:
            numbers = []
        if len(numbers) != len(header):
            raise ValueError(
                f"Line {line} of {path} is {','.join(row)[:60]!r}; expected {len(header)} numbers "
                "as in the header."
            )
        table.append(numbers)
    columns = dict(zip(header, np.array(table).T, strict=True))
    return {**columns, "epoch": columns["epoch"] + 1}
