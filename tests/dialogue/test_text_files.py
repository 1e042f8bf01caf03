"""Text is read in every encoding, or rejected with what was found and what to do."""

import codecs
import gzip
import zipfile

import pytest

from dialogue.text_files import decoded, numbered_lines, read_lines, read_text

TEXT = "Grüße aus Łódź ☃\nthe second line\n\n日本語 at the end\n"
MARKED = {
    "utf-8": TEXT.encode(),
    "utf-8 with a mark": codecs.BOM_UTF8 + TEXT.encode(),
    "utf-16, little-endian": codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
    "utf-16, big-endian": codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    "utf-32, little-endian": codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    "utf-32, big-endian": codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
}
UNMARKED = {
    "utf-16, little-endian": (TEXT.encode("utf-16-le"), "UTF-16LE"),
    "utf-16, big-endian": (TEXT.encode("utf-16-be"), "UTF-16BE"),
    "utf-32, little-endian": (TEXT.encode("utf-32-le"), "UTF-32LE"),
    "utf-32, big-endian": (TEXT.encode("utf-32-be"), "UTF-32BE"),
    "utf-16 with few Latin letters": (
        ("日本語の長い文章です" * 40 + "\n").encode("utf-16-le") * 20,
        "UTF-16LE",
    ),
    "utf-16 of one word": ("hello".encode("utf-16-le"), "UTF-16LE"),
}


def refused(line):
    raise AssertionError(line)


def lines_of(path):
    return [line.rstrip("\r\n") for _, line in numbered_lines(path, refused)]


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("encoding", MARKED)
def test_a_text_is_the_same_in_every_encoding_and_with_every_line_end(tmp_path, encoding, ends):
    """A byte order mark became part of the first word, UTF-16 became spaced letters, and CR alone
    one long line.
    """
    path = tmp_path / "text"
    codec = encoding.split(",")[0].replace(" with a mark", "-sig")
    suffix = {"little-endian": "-le", "big-endian": "-be"}.get(encoding.rpartition(", ")[2], "")
    mark = MARKED[encoding][
        : len(MARKED[encoding]) - len(TEXT.encode(codec.removesuffix("-sig") + suffix))
    ]
    path.write_bytes(mark + TEXT.replace("\n", ends).encode(codec.removesuffix("-sig") + suffix))
    assert read_text(path) == TEXT
    assert read_lines(path) == TEXT.splitlines()
    assert lines_of(path) == TEXT.splitlines()
    packed = tmp_path / "text.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert lines_of(packed) == TEXT.splitlines()


@pytest.mark.parametrize(("content", "guess"), UNMARKED.values(), ids=UNMARKED)
def test_an_encoding_without_a_mark_is_guessed_and_refused_with_the_way_to_convert_it(
    tmp_path, content, guess
):
    """Its letters were read with spaces between them; with --skip-bad-lines a model learnt them
    like that.
    """
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    for read in (read_text, lines_of):
        with pytest.raises(
            ValueError,
            match=rf"cannot read .*text\.txt: .* NUL: it looks like {guess}.*"
            f"iconv -f {guess} -t UTF-8",
        ):
            read(path)


@pytest.mark.parametrize(
    "content",
    [
        bytes(range(256)) * 50,
        b"\x00" * 100,
        b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\xff\xd8" * 9,
    ],
)
def test_a_file_that_is_no_text_is_not_taken_for_one(tmp_path, content):
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    for read in (read_text, lines_of):
        with pytest.raises(
            ValueError, match=r"cannot read .*text\.txt: .* bytes are NUL: it is not text$"
        ):
            read(path)


def test_a_nul_byte_in_a_text_is_named_by_its_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(
        b"a line\n" * 100
        + "appended by another program\r\n".encode("utf-16-le")
        + b"a line\n" * 100
    )
    complaints = []
    found = [line for _, line in numbered_lines(path, complaints.append)]
    assert set(found) == {"a line\n"}, "and no line with letters and spaces between"
    assert f"{path}, line 101: it holds a NUL byte" in complaints[0]
    with pytest.raises(ValueError, match=r"cannot read .*text\.txt: line 101: it holds a NUL byte"):
        read_text(path)


def test_bytes_of_another_encoding_are_named_by_their_line(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"good\n" + "schön\n".encode("latin-1") + b"good\n")
    complaints = []
    assert [number for number, _ in numbered_lines(path, complaints.append)] == [1, 3]
    assert complaints == [f"{path}, line 2: invalid UTF-8 (invalid start byte at byte 3)"]
    with pytest.raises(
        ValueError, match=r"cannot read .*text\.txt: line 2 is invalid UTF-8 .*; save it as UTF-8"
    ):
        read_text(path)


def test_a_file_cut_within_a_character_of_utf_16_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(MARKED["utf-16, little-endian"][:-1])
    for read in (read_text, lines_of):
        with pytest.raises(
            ValueError, match=r"cannot read .*text\.txt: .*invalid UTF-16.*; save it as UTF-8"
        ):
            read(path)


def test_marks_at_the_seams_of_joined_files_are_no_text(tmp_path):
    """`cat a.jsonl b.jsonl` leaves one in the middle, which made that line invalid."""
    path = tmp_path / "text.txt"
    path.write_bytes((codecs.BOM_UTF8 + b"one\n") * 3)
    assert lines_of(path) == ["one"] * 3


def test_a_carriage_return_within_lines_is_no_line_end(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"one\rstill one\ntwo\n")
    assert lines_of(path) == ["one\rstill one", "two"]


def test_what_is_packed_under_another_name_says_so(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(gzip.compress(b"text\n"))
    with pytest.raises(
        ValueError, match=r"text\.txt: it is packed by gzip: give it a name that ends in \.gz"
    ):
        lines_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.txt", "text\n")
    for read in (read_text, lines_of):
        with pytest.raises(ValueError, match=r"text\.txt: it is a zip archive.*unpack it"):
            read(path)


@pytest.mark.parametrize("read", [read_text, lines_of])
def test_what_cannot_be_opened_is_named(tmp_path, read):
    with pytest.raises(ValueError, match=r"cannot read .*none\.txt"):
        read(tmp_path / "none.txt")
    with pytest.raises(ValueError, match="cannot read"):
        read(tmp_path)


def test_an_empty_text_has_no_lines(tmp_path):
    path = tmp_path / "text.txt"
    path.touch()
    assert read_text(path) == decoded(b"") == ""
    assert lines_of(path) == []
    path.write_bytes(codecs.BOM_UTF8)
    assert read_lines(path) == lines_of(path) == []
