"""Every command shows text that the output's encoding lacks, and reports bad input in a line."""

import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch

from dialogue import checkpoint
from dialogue.checkpoint import Checkpoint
from dialogue.config import ModelConfig
from dialogue.models.hred import HRED
from dialogue.models.language_model import LanguageModel
from dialogue.text_files import read_text
from training import fit
from training.corpora.transcript import split_of
from training.data.vocabulary import build
from training.reading import candidates as judged_candidates
from training.reading import contexts, sheet
from training.run import log

ROOT = Path(__file__).parent.parent
NEITHER = (
    "привет ☃",
    "как дела 日本",
    "ничего ☃",
    "ну да 日本",
)  # in neither ASCII nor cp1252, as all that is said here
SIZES = {"embedding": 8, "utterance": 8, "context": 8, "hidden": 8}
IN_A_PROCESS = {
    "dialogue.bench",
    "training.bench",
    "skill.bench",
    "skill.load",
}  # minutes, or seconds of CPU, and they show numbers


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus, models trained on it, and a run, all of words that neither encoding has."""
    place = tmp_path_factory.mktemp("здесь ☃")
    keys = {
        split: [str(n) for n in range(900) if split_of(str(n)) == split][:8]
        for split in ("train", "validation", "test")
    }
    spoken = {"test": NEITHER[::-1]}  # what a test conversation holds would not be learnt
    lines = [
        json.dumps({"id": key, "turns": spoken.get(split, NEITHER)}, ensure_ascii=False) + "\n"
        for split in keys
        for key in keys[split]
    ]
    (place / "talk.jsonl").write_text("".join(lines), encoding="utf-8")
    (place / "book.txt").write_text("\n".join(NEITHER * 20), encoding="utf-8")
    (place / "said.txt").write_text(f"what the fuck {NEITHER[0]}\n\nhello\n", encoding="utf-8")
    (place / "human.txt").write_text(
        f"Human 1: {NEITHER[0]}\nHuman 2: {NEITHER[1]}\n", encoding="utf-8"
    )
    context = {"id": "1", "turns": NEITHER[:1], "reply": NEITHER[1]}
    (place / "contexts.jsonl").write_text(
        json.dumps(context, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    wanted = contexts.load(str(place / "contexts.jsonl"))
    about = {NEITHER[2]: None, **judged_candidates.about(wanted)}
    sheet.write(place / "sheet", wanted, {NEITHER[2]: NEITHER[1:2]}, about=about)
    filled = read_text(place / "sheet" / sheet.SHEET).replace("1a [  ]", "1a [yy]")
    (place / "sheet" / sheet.SHEET).write_text(filled, encoding="utf-8")
    candidates = [
        {"reply": NEITHER[1], "sensible": 1, "specific": 1},
        {"reply": NEITHER[2], "sensible": 0, "specific": 0},
    ]
    judged = [
        {"corpus": "everyday", "id": str(n), "context": NEITHER[:1], "candidates": candidates}
        for n in range(20)
    ]
    (place / "judged.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in judged), encoding="utf-8"
    )
    labels = [
        {"id": str(n), "context": NEITHER[:1], "specific": [NEITHER[1]], "plain": []}
        for n in range(20)
    ]
    (place / "labels.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [{"replies": [NEITHER[1]]}, *labels]),
        encoding="utf-8",
    )
    moments = {"replies": [NEITHER[1]], "suits": [[text] for text in NEITHER * 9], "near": []}
    (place / "moments.jsonl").write_text(json.dumps(moments), encoding="utf-8")
    vocabulary = build(NEITHER * 3, size=60, model_type="word")
    (place / "words.model").write_bytes(vocabulary.serialised)
    torch.manual_seed(0)
    for name, kind, sizes in (
        ("model", HRED, SIZES),
        ("writer", LanguageModel, {"embedding": 8, "hidden": 8}),
        ("keeper", HRED, SIZES),
    ):
        config = ModelConfig(vocab_size=len(vocabulary), **sizes)
        made = kind.from_config(config, bos_id=vocabulary.bos_id).eval()
        checkpoint.save(place / name, Checkpoint(made, vocabulary, config, {}))
    return place


def fit_options(place, out):
    sizes = [f"--{name}={size}" for name, size in SIZES.items()]
    return [
        f"--data={place / 'talk.jsonl'}", f"--vocabulary={place / 'words.model'}", *sizes,
        "--batch-tokens=60", "--epochs=1",
        "--precision=fp32", "--device=cpu", "--no-cache", f"--out={out}",
    ]  # fmt: skip


def arguments_of(command, place, tmp_path):
    model, data = f"--checkpoint={place / 'model'}", f"--data={place / 'talk.jsonl'}"
    return {
        "dialogue": [[model], [model, f"--openings={place / 'said.txt'}"]],
        "dialogue.generate": [
            [f"--checkpoint={place / 'writer'}", "--prompt", NEITHER[0], "--length=12"]
        ],
        "dialogue.claims": [[str(place / "said.txt")]],
        "dialogue.safety": [[str(place / "said.txt")], ["-"]],
        "skill.replay": [[str(place / "said.txt"), model]],
        "skill.load": [["--talkers=0"]],
        "skill.interaction_model": [["--check"]],
        "skill.doctor": [[model, "--json", "--port=0"], [model, "--certification"]],
        "skill.deploy": [["--dry-run", "--endpoint=https://example.com/"]],
        "app": [["--host=здесь.invalid", "--tunnel=none"]],
        "training.fit": [fit_options(place, tmp_path / "☃")],
        "training.evaluate": [[model, data, "--limit=4"], [model, data, "--limit=4", "--json=-"]],
        "training.compare_decoding": [
            [model, data, "--limit=4", "--replies=2", "--try=method=greedy"]
        ],
        "training.carried_state": [
            [f"--checkpoint={place / 'writer'}", f"--data={place / 'book.txt'}"]
        ],
        "training.copying": [[model]],
        "training.build_vocabulary": [[data, "--size=400", f"--out={tmp_path / '☃.model'}"]],
        "training.trigram": [[data, f"--vocabulary={place / 'words.model'}", "--limit=4"]],
        "training.compare_runs": [[str(place / "нет")]],
        "training.average": [
            [
                f"--checkpoint={place / 'keeper'}",
                f"--checkpoint={place / 'keeper'}:2",
                f"--out={tmp_path / '☃'}",
            ]
        ],
        "training.remember": [[f"--checkpoint={place / 'keeper'}", data]],
        "training.fit_stock": [
            [
                f"--checkpoint={place / 'keeper'}",
                f"--labels={place / 'labels.jsonl'}",
                f"--moments={place / 'moments.jsonl'}",
                f"--people={place / 'talk.jsonl'}",
            ]
        ],
        "training.fit_ranker": [
            [
                f"--checkpoint={place / 'keeper'}",
                data,
                "--minutes=0.02",
                f"--judgements={place / 'judged.jsonl'}",
                f"--state={tmp_path / '☃'}",
            ],
        ],
        "training.reading": [
            ["sheet", model, f"--contexts={place / 'contexts.jsonl'}", f"--out={tmp_path / '☃'}"],
            ["score", str(place / "sheet")],
            [
                "candidates",
                model,
                f"--contexts={place / 'contexts.jsonl'}",
                f"--out={tmp_path / 'нет'}",
            ],
            ["file", str(place / "sheet"), f"--into={tmp_path / '☃.jsonl.gz'}"],
        ],
        "training.corpora.convert": [
            ["meena", str(place / "human.txt"), str(tmp_path / "☃.jsonl")]
        ],
        "training.corpora.self_dialogue": [[str(place / "нет"), str(tmp_path / "☃.jsonl")]],
        "dialogue.bench": [[model, "--rounds=0"]],
        "training.bench": [["--data", str(place / "нет")]],
        "skill.bench": [["--rounds=0"]],
    }[command]


def main_of(command):
    package = ROOT / command.replace(".", "/")
    return import_module(
        f"{command}.__main__" if (package / "__main__.py").exists() else command
    ).main


def commands():
    """Find everything that can be called from a command line: files with a main of their own."""
    paths = [
        path
        for part in ("dialogue", "training", "skill")
        for path in sorted((ROOT / part).rglob("*.py"))
    ]
    found = [
        path.relative_to(ROOT).with_suffix("")
        for path in paths
        if "\ndef main(" in path.read_text(encoding="utf-8")
    ]
    return ["app", *(".".join(path.parts).removesuffix(".__main__") for path in found)]


@pytest.fixture
def streams(monkeypatch):
    """Replace the standard streams by ones with an encoding; return what a command wrote."""

    def run(main, arguments, encoding, *, said=""):
        for name, content in (("stdin", said.encode()), ("stdout", b""), ("stderr", b"")):
            monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(content), encoding=encoding))
        status = main(arguments)
        sys.stderr.flush()
        written = [
            getattr(sys, name).buffer.getvalue().decode(encoding) for name in ("stdout", "stderr")
        ]
        monkeypatch.undo()
        return status, *written

    return run


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("command", commands())
def test_every_command_shows_what_the_encoding_of_the_output_lacks(
    command, encoding, place, tmp_path, streams
):
    """One such character ended the command in a traceback: a run at its first sample, an evaluation
    before its JSON.
    """
    for arguments in arguments_of(command, place, tmp_path):
        status, out, err = streams(
            main_of(command), arguments, encoding, said=f"{NEITHER[1]} fuck\n"
        )
        fails = (
            command
            in {"app", "training.compare_runs", "training.corpora.self_dialogue"} | IN_A_PROCESS
        )
        finds = command in ("dialogue.safety", "skill.doctor")
        assert status == (2 if fails else 1 if finds else 0), err
        assert out or err or command == "skill.interaction_model"
        if fails:
            assert re.fullmatch(r"error: .*\n", err)
        else:
            assert "error: " not in err
    assert (
        command not in ("training.fit", "dialogue", "dialogue.generate", "skill.replay")
        or "?" in out
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        (command, encoding)
        for command in commands()
        for encoding in ("cp1252", "ascii")
        if encoding == "ascii" or command not in IN_A_PROCESS  # ASCII lacks all that cp1252 lacks
    ],
)
def test_every_command_as_a_process_of_its_own_under_another_encoding(
    command, encoding, place, tmp_path
):
    name = f"{command}.py" if command == "app" else "-m"
    given = {
        "dialogue.bench": [[f"--checkpoint={place / 'model'}", "--rounds=1"]],
        "training.bench": [[f"--data={place / 'talk.jsonl'}", "--steps=1", "--batch-tokens=100"]],
        "skill.bench": [["--rounds=1"]],
    }
    for arguments in given.get(command) or arguments_of(command, place, tmp_path):
        ended = subprocess.run(
            [sys.executable, name, *([] if command == "app" else [command]), *arguments], cwd=ROOT,
            check=False,
            env={
                **os.environ,
                "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1",
            },
            input=f"{NEITHER[1]} fuck\n".encode(), capture_output=True,
        )  # fmt: skip
        assert ended.returncode in (0, 1, 2), ended.stderr.decode(errors="replace")
        assert b"Traceback" not in ended.stderr


def test_every_command_is_set_up_in_the_one_way():
    found = commands()
    assert len(found) > 15
    for command in found:
        assert hasattr(main_of(command), "__wrapped__"), f"{command}: its main lacks @command"


# --- what is shown, and what is saved ------------------------------------------------------------


class Full(io.StringIO):
    """A stream whose disk is full, or whose reader has gone."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        BrokenPipeError(32, "Broken pipe"),
        ValueError("closed"),
    ],
)
def test_a_run_whose_output_nobody_takes_goes_on_to_its_end(place, tmp_path, monkeypatch, error):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Full(error))
    assert fit.main(fit_options(place, tmp_path / "run")) == 0
    monkeypatch.undo()
    assert checkpoint.load(tmp_path / "run" / "checkpoint").training["progress"]["step"] > 0


def test_a_run_goes_on_where_a_sample_or_the_curves_cannot_be_made(
    place, tmp_path, monkeypatch, capsys
):
    def broken(*_, **__):
        raise RuntimeError("no font")

    monkeypatch.setattr(log, "draw_curves", broken)
    monkeypatch.setattr(log, "DialogueAgent", broken)
    assert fit.main(fit_options(place, tmp_path / "run")) == 0
    said = capsys.readouterr().out
    assert "loss.png cannot be shown: RuntimeError: no font" in said
    assert "a sample cannot be shown: RuntimeError: no font" in said


def test_the_state_is_saved_before_anything_of_a_validation_is_shown(place, tmp_path, monkeypatch):
    """A run that crashed while showing something had saved nothing, and crashed again at each
    --resume.
    """
    order, save_state = [], fit.save_state
    monkeypatch.setattr(
        fit, "save_state", lambda *args, **more: order.append("state") or save_state(*args, **more)
    )
    monkeypatch.setattr(fit, "show_validation", lambda out: order.append("shown"))
    monkeypatch.setattr(fit, "show_sample", lambda model: order.append("shown"))
    assert fit.main(fit_options(place, tmp_path / "run")) == 0
    assert order[0] == "state", "the beginning"
    assert order[1:4] == ["state", "shown", "shown"]


def test_figures_are_written_though_nothing_can_be_shown(place, tmp_path, monkeypatch):
    main, file = main_of("training.evaluate"), tmp_path / "figures.json"
    monkeypatch.setattr(sys, "stdout", Full(OSError(28, "No space left on device")))
    options = [f"--checkpoint={place / 'model'}", f"--data={place / 'talk.jsonl'}", "--limit=4"]
    assert main([*options, f"--json={file}"]) == 2
    monkeypatch.undo()
    assert "perplexity_per_word" in json.loads(file.read_text(encoding="utf-8"))


def test_a_result_that_standard_output_does_not_take_is_an_error(tmp_path):
    """`--json - > file` on a full disk must not look like success."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    told = (
        "from dialogue.command_line import command; import sys; "
        "sys.exit(command(lambda _: print('x') or 0)())"
    )
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", told],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert ended.returncode == 2
    assert re.fullmatch(r"error: .*No space left on device\n", ended.stderr)


def test_a_reader_that_leaves_is_no_error_to_speak_of(tmp_path):
    told = (
        "from dialogue.command_line import command; import sys\n"
        "sys.exit(command(lambda _: [print('x' * 100) for _ in range(9999)] and 0)())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", told],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 2
