"""Tables in Markdown.

Written here and not with the library `tabulate`: it would be one more dependency for twenty lines,
its `github` format leaves a "|" in a cell as it is, which splits the cell, and its rulers are not
those of the tables in the documents, which tests compare letter by letter.
"""

from collections.abc import Sequence


def markdown(rows: Sequence[Sequence], numbers: bool = False, padded: bool = True) -> str:
    """Rows as a table in Markdown.

    Args:
        rows: the head and one or more rows, each with as many cells as the head. A cell is a text
            or has one; what would end it, "|" and ends of lines, is escaped or becomes a space.
        numbers: bool. Whether all columns but the first stand at the right.
        padded: bool. Whether columns are of one width, to be read in a terminal; without, a
            change of one cell changes one line.

    Returns:
        The lines, without a line's end after the last one.

    Raises:
        ValueError: if there is no row, or one has more or fewer cells than the head.

    Example:

    >>> print(markdown([["task", "mIoU"], ["semseg", 55.3], ["a|b", 7]]))
    | task   | mIoU |
    | ------ | ---- |
    | semseg | 55.3 |
    | a\\|b   | 7    |
    >>> print(markdown([["task", "mIoU"], ["semseg", 55.3]], numbers=True, padded=False))
    | task | mIoU |
    | --- | ---: |
    | semseg | 55.3 |
    """
    if not rows:
        raise ValueError("The table has no rows; expected a head and the rows below it.")
    cells = [[_cell(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(cells[0]):
            raise ValueError(
                f"The table's row {row} has {len(row)} cells, but its head has {len(cells[0])}; "
                "give one for each column."
            )
    right = [numbers and i > 0 for i in range(len(cells[0]))]
    rulers = ["---" + ":" * r for r in right]
    if padded:
        widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
        rulers = ["-" * (w - r) + ":" * r for w, r in zip(widths, right, strict=True)]
        cells = [
            [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
            for row in cells
        ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (cells[0], rulers, *cells[1:]))


def _cell(value) -> str:
    return " ".join(str(value).splitlines()).replace("|", "\\|")
