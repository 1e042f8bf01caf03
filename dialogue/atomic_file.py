"""Files replaced as a whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside `path`, flush it to disk, then move it into place.

    A device or a pipe is written to directly: replacing /dev/null would destroy it. Raises an
    OSError that names the file if it cannot be written, for example because the disk is full;
    nothing new is left behind.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        if path.exists() and not path.is_file():
            write(path)
            return
        write(partial)
        partial.chmod(0o644)  # safetensors creates files that only their owner can read
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OSError(f"cannot write {path}: {reason}; its previous content is unchanged") from None
    finally:
        with suppress(OSError):
            partial.unlink()
