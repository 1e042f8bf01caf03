"""What .ci/run asks of the machine that it runs on."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("is_file", [False, True], ids=["missing", "a file"])
def test_corpora_that_are_not_in_a_folder_end_the_run_with_a_sentence(tmp_path, is_file):
    corpora = tmp_path / "corpora"
    if is_file:
        corpora.touch()
    tools = tmp_path / "tools"  # only this one, so that nothing is installed or tested from here
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname"))
    ended = subprocess.run(
        [shutil.which("bash"), ROOT / ".ci" / "run"],
        env={"PATH": str(tools), "CORPORA": str(corpora)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == (
        f"CORPORA is {corpora}, which is not a folder; name the folder with the corpora, "
        "or unset CORPORA to leave their tests out\n"
    )
