"""Weights in several files, and the one that lists them."""

from pathlib import Path

from keras_mtl import declared


def listed_files(index: Path) -> list[Path]:
    """The files that an index of weights names, each once.

    Args:
        index: JSON, whose `weight_map` has the name of a file, or several, for each weight.

    Raises:
        keras_mtl.declared.Refused: if it is broken, or a name leads out of its folder.
    """
    try:
        parts = declared.read_json(index)["weight_map"].values()
        names = [name for part in parts for name in ([part] if isinstance(part, str) else part)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise declared.Refused(
            f"{index} is broken or only part of a file; copy it again."
        ) from error
    for name in names:
        if declared.leads_out(str(name)):
            raise declared.Refused(f"{index} names {name!r}, which leads elsewhere; do not use it.")
    return [index.parent / name for name in dict.fromkeys(names)]
