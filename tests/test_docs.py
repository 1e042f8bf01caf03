"""README says what the programs do."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from dialogue.config import METHODS, DecodeConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(
    set(re.findall(r"python -m ((?:dialogue|training|skill)[.\w]*)", README)) | {"app.py"}
)


def help_of(command):
    target = [command] if command.endswith(".py") else ["-m", command]
    return subprocess.run(
        [sys.executable, *target, "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_option_of_the_readme_is_real(command):
    known = set(re.findall(r"--[a-z][a-z-]*", help_of(command)))
    mentions = [
        line
        for line in README.splitlines()
        if re.search(rf"(?:python -m |python ){re.escape(command)}(?![.\w])", line)
    ]
    assert mentions
    for line in mentions:
        said = line[re.search(rf"{re.escape(command)}(?![.\w])", line).end() :].split("`")[0]
        assert set(re.findall(r"--[a-z][a-z-]*", said)) <= known, line


def test_the_options_of_fit_that_the_readme_lists_are_real():
    paragraph = (
        README[README.index("Options of `training.fit`") :].split("\n\n")[0].split("`python -m")[0]
    )
    assert set(re.findall(r"--[a-z][a-z-]*", paragraph)) <= set(
        re.findall(r"--[a-z][a-z-]*", help_of("training.fit"))
    )


def test_the_methods_and_settings_of_the_search_are_those_of_the_readme():
    rows = {
        row[0].strip("`"): row[1:]
        for row in (
            line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith("| `")
        )
    }
    assert METHODS.keys() <= rows.keys()
    assert all(
        rows[name][0].replace("`", "") == meaning.replace("`", "")
        for name, meaning in METHODS.items()
    )
    for setting in fields(DecodeConfig):
        if setting.name != "method":
            default, meaning = rows[setting.name]
            assert default == ("none" if setting.default in ("", ()) else str(setting.default)), (
                setting.name
            )
            assert meaning.replace("\\|", "|") == setting.metadata["help"], setting.name


def test_each_file_of_the_tree_in_the_readme_is_there():
    tree = README[README.index("app.py                   create_app") :].split("```")[0]
    folder = ROOT
    for line in tree.splitlines():
        if line and not line.startswith(" "):
            folder = ROOT / line.split("/")[0] if "/" in line.split("  ")[0] else ROOT
        for name in re.findall(r"\b[\w]+\.(?:py|md)\b|(?<= )\w+/(?= )", line):
            places = (folder / name, ROOT / name, *folder.glob(f"*/{name}"))
            assert any(place.exists() for place in places), f"{name} in: {line}"


def test_make_run_is_what_the_readme_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "app.py --no-verify --tunnel none" in makefile
    assert "python app.py --no-verify --tunnel none" in README
    assert 'pytest -m "not slow"' in makefile
    assert 'pytest -m "not slow"' in README
