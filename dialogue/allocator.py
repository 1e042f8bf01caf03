"""Make glibc's allocator keep less memory. Other C libraries are left alone."""

from __future__ import annotations

import ctypes
import gc
import platform

ARENAS = 2
_M_ARENA_MAX = -8  # of malloc.h


def use_few_arenas() -> None:
    """Let all threads allocate from two arenas.

    By default there are eight for each core, and each keeps what its largest batch took.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Return to the system what is free, such as what loading a model needed for a moment."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
