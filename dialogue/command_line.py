"""What all command lines share: lenient output streams, one-line errors, and common options."""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from dialogue.checkpoint import PRETRAINED

FAILED, INTERRUPTED = 2, 130
# How each stream treats a character that its encoding lacks; by default, Python raises.
_ERRORS = {"stdin": "replace", "stdout": "replace", "stderr": "backslashreplace"}


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Make a main function print in any encoding, and end with one line if its input is wrong.

    ValueError and OSError are taken to be about the input: they are shown, and the status is 2.
    """

    @wraps(main)
    def run(arguments: list[str] | None = None, **more: Any) -> int:
        never_raise_at_characters()
        try:
            status = main(arguments, **more)
        except BrokenPipeError:  # the reader has left, as `| head` does
            status = FAILED
        except (ValueError, OSError) as error:
            tell(f"error: {error}")
            status = FAILED
        except KeyboardInterrupt:
            status = INTERRUPTED
        return status if _all_is_shown() else FAILED

    return run


def never_raise_at_characters() -> None:
    """Make the standard streams replace characters that their encoding lacks."""
    for name, errors in _ERRORS.items():
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            with suppress(io.UnsupportedOperation):  # it has already been read from
                stream.reconfigure(errors=errors)


def tell(line: str) -> None:
    """Show a line on standard error, if that can be written to."""
    with suppress(OSError, ValueError):  # a closed stream is a ValueError
        print(line, file=sys.stderr, flush=True)


def _all_is_shown() -> bool:
    """Flush standard output, and return whether that succeeded.

    It is no failure if the reader has left.
    """
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # or Python would fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            tell(f"error: cannot write to standard output: {error.strerror}")
            return False
    return True


def add_checkpoint(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add --checkpoint; unless required, its default is CHECKPOINT in the environment."""
    default = None if required else os.environ.get("CHECKPOINT") or PRETRAINED
    text = "the model's folder" if required else "the model's folder (env CHECKPOINT)"
    parser.add_argument(
        "--checkpoint", type=Path, required=required, default=default, metavar="DIR", help=text
    )


def add_model(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add --checkpoint, and --model for a checkpoint whose class is not part of this project.

    Unless required, the default of --model is MODEL_CLASS in the environment.
    """
    add_checkpoint(parser, required=required)
    text = "the model's class, where it is not of this project"
    parser.add_argument(
        "--model",
        default=None if required else os.environ.get("MODEL_CLASS") or None,
        metavar="MODULE:CLASS",
        help=text if required else f"{text} (env MODEL_CLASS)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, for dialogue.device.choose_device."""
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")


def at_least(least: int, **values: int | None) -> None:
    """Check lower bounds of integer options, given by name.

    Raises ValueError naming the one that is too small.
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be at least {least}")


def check_writable(folder: Path, *, option: str = "--out") -> None:
    """Check that a folder can be written to, or created.

    Raises ValueError if not; leaves nothing behind.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".writable-"):
            pass
    except OSError as error:
        raise ValueError(
            f"cannot write into {there}: {error.strerror}; name another folder with {option}"
        ) from None


def check_writable_file(path: Path, *, option: str = "--out") -> None:
    """Check that a file can be written, before doing the work that goes into it.

    Raises ValueError if not.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # a device or a pipe, which is not replaced
        return
    check_writable(path.parent, option=option)
