"""What KerasTuner knows of a search, kept whole: it writes its own files in place."""

import shutil
from pathlib import Path

import keras

from keras_mtl import declared, files

_KEPT = "kept_state"
_STATE = ("oracle.json", "tuner*.json", "trial_*/trial.json")


class KeepState(keras.callbacks.Callback):
    """Copies KerasTuner's state when a trial begins to train; `mend` takes the copy.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.folder = Path(folder)

    def on_train_begin(self, logs=None):
        with files.whole_folder(self.folder / _KEPT, replace=True) as fresh:
            _copy(self.folder, fresh)


def mend(folder: str | Path) -> None:
    """Puts a search back to the beginning of its last trial, if a kill has cut a file short.

    Args:
        folder: of the search.

    Raises:
        ValueError: if a file is cut short and no trial had begun.

    Example:

    >>> from pathlib import Path
    >>> mend("nothing_searched")
    >>> Path("cut").mkdir()
    >>> _ = Path("cut/oracle.json").write_text('{"ongoing_trials": {')
    >>> mend("cut")
    Traceback (most recent call last):
    ValueError: cut/oracle.json is no whole JSON, and there is no copy of it; remove cut to begin \
the search anew.
    """
    folder = Path(folder)
    files.put_back(folder / _KEPT)
    broken = next((path for path in _state(folder) if not _is_whole(path)), None)
    if broken is None:
        return
    kept = folder / _KEPT
    if not _state(kept) or not all(map(_is_whole, _state(kept))):
        raise ValueError(
            f"{broken} is no whole JSON, and there is no copy of it; remove {folder} to begin the "
            "search anew."
        )
    print(
        f"{broken} was cut short when the search was killed; it goes on at the beginning of its "
        "last trial."
    )
    for path in _state(folder):
        path.unlink()
    _copy(kept, folder)


def _state(folder: Path) -> list[Path]:
    return [path for pattern in _STATE for path in sorted(folder.glob(pattern))]


def _copy(source: Path, target: Path) -> None:
    for path in _state(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(copy) as fresh:
            shutil.copyfile(path, fresh)


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(declared.read_json(path), dict)
    except declared.Refused:
        return False
