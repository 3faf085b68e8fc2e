"""The system's refusals, as libraries raise them."""

import errno

import pytest

from msa_core.disk import created, put, refusals_explained


def test_a_file_and_a_folder_are_put_in_their_place(tmp_path):
    (tmp_path / "partial").write_text("new")
    (tmp_path / "place").write_text("old")
    put(tmp_path / "partial", tmp_path / "place")
    assert (tmp_path / "place").read_text() == "new"
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "file").write_text("new")
    put(tmp_path / "folder", tmp_path / "other")
    assert (tmp_path / "other" / "inner" / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "place"]


def test_a_new_file_appears_whole_or_not_at_all_and_replaces_nothing(tmp_path):
    with created(tmp_path / "new.csv") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "new.csv").exists()
    with pytest.raises(KeyboardInterrupt), created(tmp_path / "other.csv") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    with (
        pytest.raises(FileExistsError, match=r"late\.csv: is there already"),
        created(tmp_path / "late.csv") as partial,
    ):
        partial.write_text("mine")
        (tmp_path / "late.csv").write_text("of another process, meanwhile")
    with (
        pytest.raises(FileNotFoundError, match=r"got no folder .*none, expected one"),
        created(tmp_path / "none" / "x"),
    ):
        pass
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "new.csv": "whole",
        "late.csv": "of another process, meanwhile",
    }


def torch_error():
    """torch raises its own error while it handles the system's."""
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904


def safetensors_error():
    raise ValueError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("fails", [torch_error, safetensors_error])
def test_a_full_disk_is_named_whoever_says_it(fails, tmp_path):
    expected = rf"{tmp_path}: No space left on device; free some space"
    with pytest.raises(OSError, match=expected) as caught, refusals_explained(tmp_path):
        fails()
    assert caught.value.errno == errno.ENOSPC
    assert "\n" not in str(caught.value)


def test_the_path_is_the_one_that_was_refused(tmp_path):
    expected = r"/a/file: Permission denied; get the right to use it"
    with pytest.raises(PermissionError, match=expected), refusals_explained(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied", "/a/file")


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such feature file"), refusals_explained(tmp_path):
        raise FileNotFoundError("no such feature file")
