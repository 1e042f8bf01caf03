"""Memory that is free goes back to the system, and threads do not each keep their own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dialogue import allocator

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is about glibc")
ROOT = Path(__file__).parent.parent.parent
# How many arenas malloc_info counts after sixteen threads have all allocated at the same time.
THREADS = """
import ctypes, threading, sys
from dialogue import allocator
if "few" in sys.argv:
    allocator.keep_little()
together = threading.Barrier(16)
def work():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    together.wait()
    kept.extend(libc.malloc(1000) for _ in range(200))
    together.wait()
kept = []
threads = [threading.Thread(target=work) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
"""


def printed(program, *arguments):
    """Run a program in a process of its own, since an allocator cannot be set back."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def arenas(*arguments):
    return printed(THREADS, *arguments).count("<heap nr=")


def test_many_threads_share_few_arenas():
    assert arenas("few") <= allocator.ARENAS < arenas()


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_what_is_free_goes_back_to_the_system():
    """By default, malloc keeps free pieces for ever if one that is in use lies above them."""
    pieces = [bytearray(2000) for _ in range(50_000)]
    kept = [pieces[-1]]
    full = resident()
    pieces.clear()
    allocator.give_back()
    assert resident() < full - (50 << 20)
    assert len(kept[0]) == 2000


# How much stays resident after many blocks were freed, once a large one has been.
FREED = """
import sys
from pathlib import Path
from dialogue import allocator
if "few" in sys.argv:
    allocator.keep_little()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
large = bytearray(30 << 20)
del large  # from now on, by default, blocks of up to 30 MB come from the heap, and up to 60 stay
before = resident()
blocks = [bytearray(1 << 20) for _ in range(55)]
blocks.clear()
print(resident() - before)
"""


def test_what_is_free_at_the_end_of_the_heap_goes_back_by_itself():
    most = allocator.FREE_AT_MOST + (4 << 20)
    assert int(printed(FREED, "few")) < most < int(printed(FREED))


# How much stays resident of blocks that were freed below one that was not.
BELOW = """
import contextlib, sys
from pathlib import Path
from dialogue import allocator
allocator.keep_little()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
with allocator.apart() if "apart" in sys.argv else contextlib.nullcontext():
    blocks = [bytearray(1 << 20) for _ in range(50)]
kept = bytearray(100_000)
blocks.clear()
print(resident() - before)
"""


def test_what_was_given_apart_goes_back_whole():
    assert int(printed(BELOW, "apart")) < 4 << 20 < 40 << 20 < int(printed(BELOW))
