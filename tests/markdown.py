"""Reads the tables of pages."""


def table(lines: list[str], first: str) -> tuple[list[str], list[list[str]]]:
    """Return (head, rows) of the Markdown table whose first column is called `first`."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    starts = [n for n, line in enumerate(lines) if line[:1] == "|" and cells[n][0] == first]
    begin = end = starts[0]
    while end < len(lines) and lines[end][:1] == "|":
        end += 1
    assert end > begin + 2, f"{first}: a table must have rows"
    return cells[begin], cells[begin + 2 : end]
