"""Where a run's numbers come from, in a checkout and outside one."""

import json
import os
import subprocess
import sys

import pytest
import torch

from msa_core import provenance


def test_the_fingerprint_of_the_code_changes_with_the_code(tmp_path, monkeypatch):
    (tmp_path / "msa_core").mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "msa_core")
    source = tmp_path / "msa_core" / "a.py"
    source.write_text("x = 1")
    first = provenance.code_fingerprint()
    assert provenance.code_fingerprint() == first
    source.write_text("x = 2")
    assert provenance.code_fingerprint() != first


SOURCE = '''"""Doc."""

# comment
class A:
    """Doc."""

    def f(self):
        """Doc."""
        return "text"
'''


@pytest.mark.parametrize(
    ("file", "source", "same"),
    [
        ("a.py", SOURCE.replace("Doc", "Other").replace("comment", "other").replace("\n\n", "\n\n\n"), True),
        ("a.py", SOURCE.replace("text", "other"), False),
        ("b.py", SOURCE, False),
        ("analysis/tables.py", "x = 1", True),
    ],
)
def test_comments_docstrings_and_analysis_are_no_part_of_the_code_s_identity(file, source, same, tmp_path, monkeypatch):
    (tmp_path / "msa_core" / "analysis").mkdir(parents=True)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "msa_core")
    (tmp_path / "msa_core" / "a.py").write_text(SOURCE)
    first = provenance.code_identity()
    (tmp_path / "msa_core" / file).write_text(source)
    assert (provenance.code_identity() == first) == same


def test_outside_a_checkout_provenance_says_so_and_does_not_fail(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "msa_core")
    (tmp_path / "msa_core").mkdir()
    result = provenance.provenance(provenance.start(), {})
    assert result["commit"] is None
    assert result["clean"] is None
    assert result["threads"] == torch.get_num_threads()
    assert result["device"] == "cpu"
    json.dumps(result)


def test_an_installed_package_is_of_no_commit_whatever_checkout_lies_around_it(monkeypatch):
    monkeypatch.setattr(provenance, "INSTALLED", True)
    assert [provenance.start()[name] for name in ("commit", "clean")] == [None, None]


def test_a_package_that_training_does_without_may_be_absent(monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    packages = provenance.provenance(provenance.start(), {})["packages"]
    assert packages == {"torch": torch.__version__, "no-such-package": None}


def test_a_rewritten_table_leaves_the_tree_clean_and_a_changed_source_does_not(tmp_path, monkeypatch):
    for name in ("results/tables/small.md", "figures/small.svg", "msa_core/labels.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "msa_core")
    (tmp_path / "results" / "tables" / "small.md").write_text("second")
    (tmp_path / "figures" / "new.svg").write_text("new")
    assert provenance.start()["clean"] is True
    (tmp_path / "msa_core" / "new.py").write_text("new")
    assert provenance.start()["clean"] is False


def test_the_arithmetic_is_that_of_the_process():
    """In processes of their own: torch chooses its instruction set when it is loaded."""
    code = "import json; from msa_core.provenance import arithmetic; print(json.dumps(arithmetic()))"
    capabilities = []
    for chosen in ({}, {"ATEN_CPU_CAPABILITY": "default"}):
        process = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | chosen, capture_output=True, text=True, check=True
        )
        found = json.loads(process.stdout)
        assert chosen.items() <= found.items()
        assert found["float32_products"] in ("oneDNN", "MKL")
        capabilities.append(found["cpu_capability"])
    assert capabilities[1] == "DEFAULT" or capabilities[0] == capabilities[1]
