"""What a notebook shows of a stopped run; tests/test_run.py and tests/test_training.py hold the rest."""

from IPython.core.interactiveshell import InteractiveShell

from msa_core.progress import Interrupted


def test_a_notebook_shows_a_stopped_run_in_one_line(capsys):
    shell = InteractiveShell.instance()
    shell.user_ns["Interrupted"] = Interrupted
    result = shell.run_cell("def f():\n    raise Interrupted('SIGINT stopped it: start it again')\n\nf()")
    InteractiveShell.clear_instance()
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert capsys.readouterr().out.strip() == "SIGINT stopped it: start it again"
