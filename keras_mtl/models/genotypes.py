"""Which context each task takes from which other: ATRC's genotypes, as data."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_mtl.arguments import did_you_mean
from keras_mtl.layers.atrc.context_pooling import POOLED

CONTEXTS = ("none", *POOLED)  # by the published codes, 0 to 4

# As published: a row for each target, whose columns are the sources in the same order.
_SHIPPED = {
    "nyud_hrnet18": ("semseg depth normals edge", "3344 4344 4334 3313"),
    "nyud_hrnet48": ("semseg depth normals edge", "3004 4114 4114 3333"),
    "pascal_hrnet18": (
        "semseg human_parts sal normals edge",
        "33404 33434 33343 33334 33313",
    ),
}

Genotype = dict[str, dict[str, str]]  # {target: {source: context}}

SHIPPED: dict[str, Genotype] = {
    name: {
        target: {
            source: CONTEXTS[int(code)] for source, code in zip(tasks.split(), row, strict=True)
        }
        for target, row in zip(tasks.split(), rows.split(), strict=True)
    }
    for name, (tasks, rows) in _SHIPPED.items()
}


def checked_genotype(genotype: Any, names: Sequence[str]) -> Genotype:
    """A genotype as a dict by name, after refusing what is none of these tasks.

    Args:
        genotype: one of `POOLED`, for all pairs; a key of `SHIPPED`; a row for each target of a
            context, or of its code, for each source; or a dict `{target: {source: context}}`.
        names: the tasks'.

    Raises:
        ValueError: if it is none of those, or not of these tasks.

    Example:

    >>> checked_genotype("nyud_hrnet48", ["depth", "edge"])["depth"]
    {'depth': 'global', 'edge': 's-label'}
    >>> checked_genotype([[0, 2], ["t-label", 0]], ["depth", "edge"])["edge"]
    {'depth': 't-label', 'edge': 'none'}
    """
    if isinstance(genotype, str):
        genotype = _named(genotype, names)
    rows = _values(genotype, names, "genotype", "a row for each target")
    return {
        target: {
            source: _context(code, target, source)
            for source, code in _values(
                row, names, f"The row of {target!r} of genotype", "a context for each source"
            ).items()
        }
        for target, row in rows.items()
    }


def _named(genotype: str, names: Sequence[str]) -> Genotype:
    if genotype in POOLED:
        return {target: dict.fromkeys(names, genotype) for target in names}
    known = [*POOLED, *SHIPPED]
    if genotype not in SHIPPED:
        raise ValueError(
            f"genotype is {genotype!r}; expected one of {', '.join(map(repr, known))}, or a row of "
            f"contexts for each task{did_you_mean([genotype], known)}."
        )
    published = SHIPPED[genotype]
    if others := [name for name in names if name not in published]:
        raise ValueError(
            f"genotype is {genotype!r}, which is one of {', '.join(published)} and has no "
            f"{others[0]!r}; give a row of contexts for each task."
        )
    return {t: {s: published[t][s] for s in names} for t in names}


def _values(given: Any, names: Sequence[str], what: str, wanted: str) -> dict:
    """What is given for each task, by its name or in its place."""
    if isinstance(given, Mapping) and set(given) == set(names):
        return {name: given[name] for name in names}
    fits = not isinstance(given, (Mapping, str)) or what != "genotype"
    if fits and not isinstance(given, Mapping) and _length(given) == len(names):
        return dict(zip(names, given, strict=True))
    found = ", ".join(map(str, given)) if isinstance(given, Mapping) else repr(given)
    raise ValueError(f"{what} is {found}; expected {wanted}, of {', '.join(names)}.")


def _length(given: Any) -> int | None:
    try:
        return len(given)
    except TypeError:  # of a number, also of an array without axes
        return None


def _context(code: Any, target: str, source: str) -> str:
    if isinstance(code, str) and code in CONTEXTS:
        return code
    found = str(code)
    if isinstance(code, bool) or found not in map(str, range(len(CONTEXTS))):
        raise ValueError(
            f"genotype has {code!r} for {target!r} from {source!r}; expected 0 to 4, or one of "
            f"{', '.join(map(repr, CONTEXTS))}."
        )
    return CONTEXTS[int(found)]
