"""Files that are written whole or not at all, and what is said when the system refuses to write them."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FREE_SPACE = "free some space there, or choose another folder; what is finished is kept"
RIGHTS = "get the right to use it, or choose another folder"
REMEDIES = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
}


def put(partial: Path, place: Path) -> None:
    """Move a complete file or folder to its place; its content is on the disk before its name is.

    Args:
        partial: on the same file system.
        place: a file there is replaced; a folder there must be empty.
    """
    for path in (partial, *partial.rglob("*")):
        _sync(path)
    partial.replace(place)
    _sync(place.parent)


@contextmanager
def created(place: Path) -> Iterator[Path]:
    """A path to write a new file to; once it is complete, it is moved to its place.

    Raises:
        FileExistsError: there is a file at its place, which is never overwritten.
        FileNotFoundError: there is no such folder.
        OSError: it cannot be written, see `refusals_explained`.
    """
    refuse_existing(place)
    if not place.parent.is_dir():
        raise FileNotFoundError(f"{place}: got no folder {place.parent}, expected one; make it, or name another one")
    partial = place.with_name(f".{place.name}.partial")
    try:
        with refusals_explained(place.parent):
            yield partial
            refuse_existing(place)
            put(partial, place)
    finally:
        partial.unlink(missing_ok=True)


def refuse_existing(place: Path) -> None:
    """Raise a `FileExistsError` if something is at a new file's place."""
    if place.exists():
        raise FileExistsError(f"{place}: is there already and is not overwritten; remove it, or name another file")


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, within `refusals_explained`, which names the remedies of its own errors.

    Raises:
        OSError: it cannot be made where it is named; says so in one line with the path and the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in REMEDIES:
            raise
        reason = f"cannot be made ({os.strerror(error.errno or 0)})"
        raise OSError(error.errno, f"{error.filename}: {reason}; choose another folder") from None


@contextmanager
def refusals_explained(folder: Path) -> Iterator[None]:
    """Turn a full disk, a read-only file system and a missing right into one line with the path and the remedy.

    Args:
        folder: named where the system does not say which path it refused.

    Raises:
        OSError: (or its subclass for the error's number) in place of the system's or a library's error.
    """
    try:
        yield
    except Exception as error:
        refusal = _refusal(error)
        if refusal is None:
            raise
        code, path = refusal
        raise OSError(code, f"{path or folder}: {os.strerror(code)}; {REMEDIES[code]}") from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refusal(error: BaseException | None) -> tuple[int, str | None] | None:
    """Number and path of the system's error behind a library's: torch raises another one, safetensors quotes it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in REMEDIES:
            return error.errno, error.filename
        quoted = re.search(r"\(os error (\d+)\)", str(error))
        if quoted and int(quoted[1]) in REMEDIES:
            return int(quoted[1]), None
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
