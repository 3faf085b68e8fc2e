"""What a notebook checks of its parameters."""

import ast

from msa_core.config.base import shown, suggestion


def refuse_unknown_parameters(cells: list[str]) -> None:
    """Stop a notebook that was given a parameter it does not have, or one of another type; papermill itself only warns.

    To be called from the cell that follows the parameters cell, with IPython's `In`. Papermill puts its own cell,
    which begins with "# Parameters", between the two.

    Args:
        cells: sources of the cells executed so far, this one last.

    Raises:
        ValueError: papermill's cell assigns a name that the notebook's parameters cell does not have, or a value of
            another type than the one that is declared there.

    >>> refuse_unknown_parameters(["seed: int = 1", "# Parameters\\nsede = 2\\n", "this cell"])
    Traceback (most recent call last):
        ...
    ValueError: got unknown parameter sede, expected one of seed; did you mean 'seed'?
    """
    if len(cells) < 3 or not cells[-2].startswith("# Parameters"):
        return
    declared = {
        statement.target.id: ast.unparse(statement.annotation)
        for statement in ast.parse(cells[-3]).body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }
    for name, given in _assigned(cells[-2]).items():
        if name not in declared:
            raise ValueError(
                f"got unknown parameter {name}, expected one of {', '.join(sorted(declared))}"
                f"{suggestion(name, declared)}"
            )
        value = _literal(given)
        if type(value).__name__ != declared[name]:
            raise ValueError(
                f"parameter {name}: got {shown(value)} ({type(value).__name__}), expected {declared[name]}; papermill "
                "takes text by -r, a list or mapping by -y"
            )


def _assigned(source: str) -> dict[str, ast.expr]:
    return {
        target.id: statement.value
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _literal(given: ast.expr) -> object:
    try:
        return ast.literal_eval(given)
    except ValueError:  # papermill writes an infinite or NaN number as a call, float('nan')
        return float("nan")
