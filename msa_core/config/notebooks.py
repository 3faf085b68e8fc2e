"""What a notebook checks of its parameters."""

import ast


def refuse_unknown_parameters(cells: list[str]) -> None:
    """Stop a notebook that was given a parameter it does not have; papermill itself only warns.

    To be called from the cell that follows the parameters cell, with IPython's `In`. Papermill puts its own cell,
    which begins with "# Parameters", between the two.

    Args:
        cells: sources of the cells executed so far, this one last.

    Raises:
        ValueError: a name is assigned in papermill's cell and not in the notebook's parameters cell.

    >>> refuse_unknown_parameters(["seed: int = 1", "# Parameters\\nsede = 2\\n", "this cell"])
    Traceback (most recent call last):
        ...
    ValueError: got unknown parameter sede, expected one of seed
    """
    if len(cells) < 3 or not cells[-2].startswith("# Parameters"):
        return
    declared, injected = (_assigned(cell) for cell in cells[-3:-1])
    if unknown := injected - declared:
        raise ValueError(
            f"got unknown parameter {', '.join(sorted(unknown))}, expected one of {', '.join(sorted(declared))}"
        )


def _assigned(source: str) -> set[str]:
    targets: list[ast.expr] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets.append(statement.target)
    return {target.id for target in targets if isinstance(target, ast.Name)}
