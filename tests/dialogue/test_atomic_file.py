import os
from pathlib import Path

import pytest

from dialogue.atomic_file import replace_file


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(partial):
        partial.write_text("half of the n")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        replace_file(path, fail)
    assert path.read_text() == "old"


def test_a_replaced_file_is_the_new_one_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "file"
    for content in ("old", "new"):
        replace_file(path, lambda partial, content=content: partial.write_text(content))
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_into_and_stays_what_it_is():
    """`--out /dev/null`, run by root, once replaced the device by a plain file."""
    master, terminal = os.openpty()
    path = Path(os.ttyname(terminal))
    replace_file(path, lambda place: place.write_text("a text\n"))
    assert os.read(master, 100) == b"a text\r\n"
    assert path.is_char_device()
    os.close(master)
    os.close(terminal)


def test_while_a_file_is_written_readers_see_the_old_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    seen = []

    def write(partial):
        partial.write_text("new")
        seen.append(path.read_text())

    replace_file(path, write)
    assert seen == ["old"]
