"""Read text files: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one.

Anything else is refused with a clear message, never half read: from UTF-16 mistaken for UTF-8, a
model would learn letters with NULs between them. Every text file is read through this module.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, cast

BEGINNING = 1 << 16  # bytes by which the encoding is recognised
_BYTE_ORDER_MARKS = (  # UTF-32's little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"\x1f\x8b", "packed by gzip: give it a name that ends in .gz, or unpack it"),
    (
        b"PK\x03\x04",
        "a zip archive, or a document that is one inside: unpack it, or save it as text",
    ),
    (b"\xfd7zXZ\x00", "packed by xz: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed by zstd: unpack it"),
    (b"%PDF-", "a PDF document: save it as text"),
)
_NUL = "it holds a NUL byte, like UTF-16 that is taken for UTF-8, or a file that is not text"


def read_text(path: str | Path) -> str:
    """Return a file's text, with line feeds as its line ends.

    Raises ValueError naming the file and saying what to do.
    """
    try:
        return decoded(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def read_lines(path: str | Path) -> list[str]:
    """Return a file's lines without their line ends. Raises ValueError as `read_text` does."""
    return read_text(path).splitlines()


def decoded(content: bytes) -> str:
    """Decode bytes to text, with line feeds as its line ends.

    Raises ValueError saying what was found and what to do.
    """
    encoding = _encoding_of(content[:BEGINNING])
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is invalid {_named(encoding)} ({error.reason}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"line {text[: text.index(chr(0))].count(chr(10)) + 1}: {_NUL}; save it as UTF-8"
        )
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def numbered_lines(path: Path, complain: Callable[[str], None]) -> Iterator[tuple[int, str]]:
    """Yield a file's lines, with numbers and line ends, through gzip if its name ends in .gz.

    A line ends with a line feed or, in a file without any, with a carriage return. A line that is
    not text is skipped, with a call to `complain`. Raises ValueError if the file cannot be read or
    is not text at all.
    """
    try:
        with path.open("rb", buffering=BEGINNING) as file:
            unpacked = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else None
            # A GzipFile has all the methods that a BufferedReader needs from its source.
            content = (
                file
                if unpacked is None
                else io.BufferedReader(cast(io.RawIOBase, unpacked), BEGINNING)
            )
            for number, line in enumerate(_lines(content), start=1):
                if fault := _fault(line):
                    complain(f"{path}, line {number}: {fault}")
                else:
                    # Files that were joined have a byte order mark at every seam.
                    yield number, line.removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"cannot read {path}: invalid {_named(error.encoding)} ({error.reason}); "
            "save it as UTF-8"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except _NoText as error:
        raise ValueError(f"cannot read {path}: {error}") from None


class _NoText(ValueError):
    """The file is not text, or is in an encoding that is not supported."""


def _lines(content: BinaryIO | io.BufferedReader) -> Iterator[str]:
    """Decode a file and yield its lines; a byte that is not UTF-8 becomes half a surrogate pair."""
    beginning = cast(io.BufferedReader, content).peek(BEGINNING)[:BEGINNING]
    encoding = _encoding_of(beginning)
    shown = beginning.decode(encoding, errors="replace")
    newline = "" if "\r" in shown and "\n" not in shown else "\n"
    errors = "surrogateescape" if encoding.startswith("utf-8") else "strict"
    with io.TextIOWrapper(content, encoding=encoding, errors=errors, newline=newline) as text:
        yield from text


def _encoding_of(beginning: bytes) -> str:
    """Return the encoding of a text, judged by its first bytes.

    Raises ValueError if it is not supported.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if beginning.startswith(mark):
            return encoding
    for magic, what in _NO_TEXT:
        if beginning.startswith(magic):
            raise _NoText(f"it is {what}")
    nuls = beginning.count(0)
    on_even = beginning[::2].count(0)
    # In UTF-16 every second byte of Latin letters, spaces and line ends is NUL, so nearly all NULs
    # are in even places or nearly all in odd ones; in UTF-32 they are in both.
    one_sided = nuls > 0 and not 0.1 <= on_even / nuls <= 0.9
    if 20 * nuls > len(beginning) or (one_sided and not _may_be(beginning, "utf-8")):
        kind = f"UTF-{16 if one_sided else 32}{'BE' if 2 * on_even > nuls else 'LE'}"
        # Nothing but NULs would decode as any of these, yet is not text.
        kind = kind if nuls < len(beginning) and _may_be(beginning, kind) else ""
        guess = f"it looks like {kind} without a byte order mark" if kind else "it is not text"
        advice = (
            f"; save it as UTF-8, such as with iconv -f {kind} -t UTF-8 OLD > NEW" if kind else ""
        )
        raise _NoText(f"{nuls:,} of its first {len(beginning):,} bytes are NUL: {guess}{advice}")
    return "utf-8"


def _may_be(beginning: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(beginning)  # its end may cut a character
    except UnicodeDecodeError:
        return False
    return True


def _fault(line: str) -> str:
    """Return what is wrong with a line, or ""."""
    if "\0" in line:
        return _NUL
    try:
        line.encode()
    except UnicodeEncodeError:
        try:
            line.encode(errors="surrogateescape").decode()
        except UnicodeDecodeError as error:
            return f"invalid UTF-8 ({error.reason} at byte {error.start})"
    return ""


def _named(encoding: str) -> str:
    return encoding.upper().removesuffix("-SIG")
