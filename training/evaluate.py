"""python -m training.evaluate: how well a checkpoint predicts, answers and ranks held-out turns.

training/metrics/ says what each figure means; so does the page that --report writes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dialogue.agent import DialogueAgent
from dialogue.command_line import (
    add_device,
    add_model,
    at_least,
    check_writable,
    check_writable_file,
    command,
)
from dialogue.config import METHODS, DecodeConfig
from dialogue.device import choose_device
from training import corpora
from training.corpora.transcript import Complaints, sha256_of
from training.metrics import decoding
from training.metrics.evaluation import Evaluation, evaluate
from training.report import page
from training.run import manifest


@command
def main(arguments: list[str] | None = None) -> int:
    """Evaluate a checkpoint from the command line."""
    options = _options().parse_args(arguments)
    console = Console(stderr=options.json == "-")
    complaints = Complaints(skip=options.skip_bad_lines)
    _check(options)
    agent = _load(options, DecodeConfig())
    transcripts = corpora.load(options.data or corpora.default_names(), options.split, complaints)
    found = evaluate(agent, transcripts, limit=options.limit)
    by_method = _by_method(options, found) if options.methods else []
    _write(options, agent, found, by_method)  # before anything is shown
    if complaints.count:
        console.print(
            f"{complaints.count} bad lines skipped, the first: {complaints.first}", markup=False
        )
    table = Table("figure", "value")
    for name, value in found.figures.items():
        table.add_row(name, f"{value:,.4g}")
    console.print(table)
    if by_method:
        decoding.show(by_method, console)
    for exchange, reply in list(zip(found.chosen, found.replies, strict=True))[: options.replies]:
        console.print(
            f"  {found.turn(exchange, before=1)}\n    -> {reply.text}",
            markup=False,
            highlight=False,
        )
    if options.report:
        console.print(f"report written to {options.report / page.FILE}", markup=False)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Reject early what would otherwise only fail after everything has been measured."""
    at_least(1, limit=options.limit)
    at_least(0, replies=options.replies)
    if options.json not in (None, "-"):
        if not Path(options.json).absolute().parent.is_dir():
            raise ValueError(f"--json {options.json}: its folder does not exist")
        check_writable_file(Path(options.json), option="--json")
    if options.report:
        check_writable(options.report, option="--report")


def _write(
    options: argparse.Namespace,
    agent: DialogueAgent,
    found: Evaluation,
    by_method: list[dict[str, Any]],
) -> None:
    """Write the figures and the page if they were asked for."""
    if options.json:
        text = json.dumps(_as_json(found, by_method), indent=2)
        if options.json == "-":
            print(text, flush=True)
        else:
            Path(options.json).write_text(text + "\n", encoding="utf-8")
    if options.report:
        page.write(options.report, found, facts=_facts(agent, options, found), by_method=by_method)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="Measure a checkpoint on held-out conversations.",
    )
    add = parser.add_argument
    add_model(parser)
    add(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: as training.fit)",
    )
    add("--split", default="test", help="train, validation, test or all (default: %(default)s)")
    add(
        "--limit",
        type=int,
        metavar="N",
        help="answer and rank N histories at most (default: one in each conversation)",
    )
    add(
        "--methods",
        action="store_true",
        help=f"also measure every decoding method, on {decoding.REPLIES} replies each",
    )
    add(
        "--json",
        metavar="FILE|-",
        help="write the figures as JSON; - writes them, and nothing else, to standard output",
    )
    add(
        "--report",
        type=Path,
        metavar="DIR",
        help="write a page with tables, plots and conversations to DIR/index.html",
    )
    add(
        "--replies",
        type=int,
        default=10,
        metavar="N",
        help="show N replies (default: %(default)s)",
    )
    add(
        "--skip-bad-lines",
        action="store_true",
        help="skip and count lines that are not conversations",
    )
    add_device(parser)
    return parser


def _load(options: argparse.Namespace, decode: DecodeConfig) -> DialogueAgent:
    device = choose_device(options.device)
    return DialogueAgent.load(
        options.checkpoint, device=device, model_name=options.model, precision="fp32", decode=decode
    )


def _facts(agent: DialogueAgent, options: argparse.Namespace, found: Evaluation) -> dict[str, str]:
    """Return what was evaluated and how, for the page."""
    parameters = sum(parameter.numel() for parameter in agent.model.parameters())
    turns = sum(len(transcript.turns) for transcript in found.transcripts)
    return {
        "model": f"{type(agent.model).__name__}, {parameters:,} parameters, "
        f"from {options.checkpoint}",
        "vocabulary": f"{len(agent.vocabulary):,} tokens",
        "data": f"{', '.join(options.data or corpora.default_names())}, split {options.split}: "
        f"{len(found.transcripts):,} conversations, {turns:,} turns, "
        f"sha256 {sha256_of(found.transcripts)[:16]}",
        "answered and ranked": f"{len(found.chosen):,} histories",
        "decoding": ", ".join(
            f"{name} {value}"
            for name, value in asdict(agent.decode_config).items()
            if value not in ("", ())
        ),
        "versions": ", ".join(f"{name} {number}" for name, number in manifest.versions().items()),
        "written": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    }


def _by_method(options: argparse.Namespace, found: Evaluation) -> list[dict[str, Any]]:
    agents = {f"method={method}": _load(options, DecodeConfig(method=method)) for method in METHODS}
    chosen = found.chosen[: decoding.REPLIES]
    compared = decoding.side_by_side(
        agents, chosen, exchanges=found.exchanges, transcripts=found.transcripts
    )
    return [row for row, _ in compared]


def _as_json(found: Evaluation, by_method: list[dict[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {name: round(value, 6) for name, value in found.figures.items()}
    return (
        figures
        | {"bleu_signature": found.bleu_signature}
        | ({"methods": by_method} if by_method else {})
    )


if __name__ == "__main__":
    sys.exit(main())
