"""Make glibc's allocator keep less memory. Other C libraries are left alone."""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

ARENAS = 1  # two keep 40 MB more, and are no faster: one thread decodes
MAPPED_FROM = 32 * 2**20  # bytes of a block that the system gives by itself: glibc's limit
APART_FROM = 2**18  # bytes of a block that it gives by itself while a model is loaded
FREE_AT_MOST = 48 * 2**20  # bytes free at its end: what a full batch takes for a moment
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h


def keep_little() -> None:
    """Let all threads allocate from one arena, which gives back what is free at its end.

    By default there are eight arenas for each core, and each keeps what its largest batch took.
    """
    _set(_M_ARENA_MAX, ARENAS)
    _set(_M_MMAP_THRESHOLD, MAPPED_FROM)
    _set(_M_TRIM_THRESHOLD, FREE_AT_MOST)


@contextmanager
def apart() -> Iterator[None]:
    """Let the system give each larger block by itself, as those of a model that is loaded.

    What of them is freed goes back whole; in the heap it would leave holes, which fill up and are
    emptied with the load.
    """
    _set(_M_MMAP_THRESHOLD, APART_FROM)
    try:
        yield
    finally:
        _set(_M_MMAP_THRESHOLD, MAPPED_FROM)


def give_back() -> None:
    """Return to the system what is free, such as what loading a model needed for a moment."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _set(option: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(option, value)
