"""What a notebook shows of a stopped run; tests/test_run.py and tests/test_training.py hold the rest."""

from IPython.core.interactiveshell import InteractiveShell
from tqdm import tqdm
from tqdm.notebook import tqdm_notebook

from msa_core.progress import Interrupted, move_end


def test_a_notebook_shows_a_stopped_run_in_one_line(capsys):
    shell = InteractiveShell.instance()
    shell.user_ns["Interrupted"] = Interrupted
    result = shell.run_cell("def f():\n    raise Interrupted('SIGINT stopped it: start it again')\n\nf()")
    InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert capsys.readouterr().out.strip() == "SIGINT stopped it: start it again"


def test_a_bars_end_moves_in_a_terminal_and_in_a_notebook():
    plain, notebook = tqdm(total=10, disable=False), tqdm_notebook(total=10, display=False)
    for bar in (plain, notebook):
        move_end(bar, 25)
        assert bar.total == 25
        bar.close()
    assert notebook.container.children[1].max == 25
