"""README and docs/ say what the programs do.

Their commands parse, their tables equal the help, and their links lead somewhere.
"""

import argparse
import ast
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from dialogue.config import METHODS, DecodeConfig
from skill.interaction_settings import LOCALES

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md")))
}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
LARGEST = {"README.md": 10_000}  # bytes
LARGEST_PAGE = 12_000
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"-m ((?:dialogue|training|skill)\b[.\w]*)|\bpython (app\.py)")
NAMED = re.compile(
    r"(?<![\w./-])((?:dialogue|skill|training|tests|docs|interaction_models|deploy|\.ci)/[\w./-]*[\w/])"
)
TREE = TEXTS["docs/architecture.md"].partition("app.py                   ")[2].split("```")[0]


def prose_of(text):
    return FENCED.sub("", text)


def rows_of(text, header):
    """Return the cells of the tables whose header row begins so, without header and rule."""
    table = re.findall(rf"^\| {header}.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in "".join(table).splitlines()
    ]


def commands_of(text):
    """Return the commands of blocks, with their shell variables filled in, and those that the text
    sets as code.
    """
    shown = []
    for block in FENCED.findall(text):
        variables = dict(re.findall(r"for (\w+) in (\S+)", block))
        for line in block.replace("\\\n", "").splitlines():
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            variables |= dict(re.findall(r"^\s*(\w+)=(\S+)$", line))
            if re.match(r"\s*(?:[A-Z_]+=\S+ |taskset |torchrun |\S*python )", line):
                shown.append((line.strip(), True))
    code = re.findall(r"`([^`]+)`", prose_of(text).replace("\n", " ").replace("\\|", "|"))
    shown += [(line, False) for line in code]
    return {command for command in shown if PROGRAM.search(command[0])}


COMMANDS = sorted((name, *found) for name, text in TEXTS.items() for found in commands_of(text))


@cache
def help_of(command):
    target = [command] if command.endswith(".py") else ["-m", command]
    return subprocess.run(
        [sys.executable, *target, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "10000"},  # so that no help is wrapped
    ).stdout


@cache
def options_of(command):
    """Return the help of each option, by its names, as --help prints it."""
    listed = re.findall(r"^  (-\S.*?)(?:  +|\n +)(\S.*)$", help_of(command), re.MULTILINE)
    return {
        tuple(re.findall(r"--[a-z][a-z-]*", names)): text.replace(f"{ROOT}/", "").replace(
            " (default: None)", ""
        )
        for names, text in listed
    }


class Parsed(BaseException):
    """A command has parsed its arguments; nothing more is wanted of it."""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_short_and_its_tables_are_whole(name):
    assert len(PAGES[name].read_bytes()) <= LARGEST.get(name, LARGEST_PAGE)
    for table in re.findall(r"(?:^\|.*\n)+", prose_of(TEXTS[name]), re.MULTILINE):
        lines = table.splitlines()
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(widths) == 1, f"rows of different widths:\n{table}"
        assert re.fullmatch(r"\|(?:---\|)+", lines[1]), f"no header:\n{table}"


def anchors_of(text):
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.*)$", prose_of(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_each_link_and_each_file_that_a_page_names_is_there(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if not link.startswith(("https://", "http://")):
            target, _, anchor = link.partition("#")
            path = (PAGES[name].parent / target) if target else PAGES[name]
            assert path.exists(), link
            assert not anchor or anchor in anchors_of(path.read_text(encoding="utf-8")), link
    yours = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()  # such as deploy/tls/
    for file in NAMED.findall(TEXTS[name]):
        assert (ROOT / file).exists() or f"/{file}" in yours, file


def test_each_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/\w+\.md)[)#]", TEXTS["README.md"]))
    assert linked == set(PAGES) - {"README.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize(("page", "line", "is_whole"), COMMANDS)
def test_each_command_shown_parses(page, line, is_whole, monkeypatch, tmp_path, capsys):
    found = PROGRAM.search(line)
    module = found[1] or "app"
    assert find_spec(module), line
    rest = re.split(r"\s#\s|\s[|>]\s", line[found.end() :])[0].replace("FILE...", "FILE")
    arguments = [word.split("|")[0] for word in shlex.split(re.sub(r"\[.*\]", "", rest))]
    if not arguments and not is_whole:
        return  # the text only names the command
    if hasattr(import_module(module), "__path__"):
        module += ".__main__"

    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser, given=None, namespace=None):
        parse(parser, given, namespace)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    monkeypatch.chdir(tmp_path)
    try:
        import_module(module).main(arguments)
    except Parsed:
        return
    except SystemExit as end:
        lacking = not is_whole and "arguments are required" in capsys.readouterr().err
        assert lacking or ("--help" in arguments and not end.code), line
        return
    pytest.fail(f"nothing was parsed: {line}")


def test_the_commands_of_every_page_are_looked_at():
    assert ("docs/training.md", "python -m training.fit --recipe serban2016", True) in COMMANDS
    assert any(
        page == "docs/experiments.md" and "--recipe small-hred --" in line
        for page, line, _ in COMMANDS
    )
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("name", PAGES)
def test_each_make_target_and_requirements_file_that_a_page_names_is_there(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = "\n".join([*FENCED.findall(TEXTS[name]), *re.findall(r"`(.*?)`", TEXTS[name])])
    for target in re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for file in re.findall(r"requirements[-\w]*\.txt", TEXTS[name]):
        assert (ROOT / file).is_file(), file


def test_contributing_describes_each_make_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {*re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)}
    described = {name for name, _ in rows_of(TEXTS["CONTRIBUTING.md"], "command")}
    assert described == {f"`make {target}`" for target in targets - {"help"}}


@pytest.mark.parametrize(
    ("page", "command"),
    [
        (name, found)
        for name, text in TEXTS.items()
        for found in re.findall(r"^\| option of `python (?:-m )?([\w.]+)`", text, re.MULTILINE)
    ],
)
def test_a_table_of_options_is_the_help_of_its_command(page, command):
    rows = rows_of(TEXTS[page], f"option of `python (?:-m )?{re.escape(command)}`")
    table = {tuple(re.findall(r"--[a-z][a-z-]*", names)): text for names, text in rows}
    wanted = {names: text for names, text in options_of(command).items() if "--help" not in names}
    assert table == wanted, f"{page}, options of {command}"


def test_there_are_tables_of_the_options_of_the_server_and_of_training():
    tables = re.findall(r"^\| option of `python (.*?)`", "".join(TEXTS.values()), re.MULTILINE)
    assert {"app.py", "-m training.fit"} <= set(tables)


def test_the_methods_and_settings_of_the_search_are_those_of_the_page():
    page = TEXTS["docs/talking.md"]
    assert {name.strip("`"): text.replace("`", "") for name, text in rows_of(page, "`method`")} == {
        name: text.replace("`", "") for name, text in METHODS.items()
    }
    wanted = {
        f"`{setting.name}`": (
            "none" if setting.default in ("", ()) else str(setting.default),
            setting.metadata["help"],
        )
        for setting in fields(DecodeConfig)
        if setting.name != "method"
    }
    assert {name: (default, text) for name, default, text in rows_of(page, "setting")} == wanted


def test_the_tree_has_every_module_and_nothing_else():
    listed, folders = {"app.py"}, []
    for line in TREE.splitlines()[1:]:
        first, _, rest = line.strip().partition(" ")
        depth = (len(line) - len(line.lstrip())) // 2
        if depth <= 2 and first.endswith("/"):
            folders = [*folders[:depth], first]
        elif depth <= 2:
            folders = folders[:depth]
        files = re.findall(r"\b[\w.]+\.(?:py|md)\b", f"{first} {rest}" if depth < 10 else line)
        listed |= {"".join(folders) + file for file in files if file != "app.py"}
    modules = {
        path.relative_to(ROOT).as_posix()
        for package in ("dialogue", "skill", "training")
        for path in (ROOT / package).rglob("*.py")
    }
    assert {name for name in listed if not (ROOT / name).is_file()} == set()
    assert {name for name in modules if not name.endswith("__.py")} <= listed


def names_of(node):
    """Return the names that a statement defines: a function's, a class's, or those of constants."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return {getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)}


def test_the_map_of_the_architecture_leads_to_what_it_names():
    rows = rows_of(TEXTS["docs/architecture.md"], "what")
    assert len(rows) > 12
    for what, file, names in rows:
        path = ROOT / re.search(r"\((?:\.\./)(.*)\)", file)[1]
        for name in re.findall(r"`([\w.]+)`", names):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            for part in name.split("."):
                found = [node for node in body if part in names_of(node)]
                assert found, f"{what}: there is no {name} in {path.name}"
                body = getattr(found[0], "body", [])


def test_make_run_is_what_the_readme_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "app.py --no-verify --tunnel none" in makefile
    assert "python app.py --no-verify --tunnel none" in TEXTS["README.md"]
    assert 'pytest -m "not slow"' in makefile
    assert 'pytest -m "not slow"' in TEXTS["README.md"]


def test_the_locales_that_connecting_names_are_the_skill_s():
    assert f"supports {', '.join(LOCALES[:-1])} and {LOCALES[-1]}." in TEXTS["docs/connect.md"]


def test_the_cpu_build_that_the_readme_names_is_the_pinned_version():
    pinned = re.search(r"^torch==.*$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[0]
    assert (
        f"pip install {pinned} --index-url https://download.pytorch.org/whl/cpu"
        in TEXTS["README.md"]
    )
