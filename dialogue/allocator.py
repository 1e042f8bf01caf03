"""Make glibc's allocator hold on to less memory; other C libraries are left alone."""

from __future__ import annotations

import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

ARENAS = 1  # more of them hold more: two took 40 MB more with one decoder
MAPPED_FROM = 32 * 2**20  # bytes from which a block is mapped separately: glibc's maximum
APART_FROM = 2**18  # the same while a model is being loaded
FREE_AT_MOST = 48 * 2**20  # bytes kept free at the top of the heap: the peak of a full batch
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from malloc.h


def keep_little() -> None:
    """Let all threads allocate from one arena, which returns free memory at its top to the system.

    By default there are up to eight arenas per core, each keeping what its largest batch took.
    """
    _set(_M_ARENA_MAX, ARENAS)
    _set(_M_MMAP_THRESHOLD, MAPPED_FROM)
    _set(_M_TRIM_THRESHOLD, FREE_AT_MOST)


@contextmanager
def apart() -> Iterator[None]:
    """Map larger blocks separately, for use while a model is being loaded.

    Such a block goes back to the system as a whole when freed; in the heap it would leave a hole,
    and holes fill and empty with the load.
    """
    _set(_M_MMAP_THRESHOLD, APART_FROM)
    try:
        yield
    finally:
        _set(_M_MMAP_THRESHOLD, MAPPED_FROM)


def give_back() -> None:
    """Return free memory to the system, such as what loading a model needed temporarily."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _set(option: int, value: int) -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(option, value)
