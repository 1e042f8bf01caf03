"""python -m dialogue.bench: measure the time and memory of replies, by precision and batch.

Everything is timed in interleaved rounds, so trust ratios within one run. The last line is JSON:

    rows            the rows of the table; ratio is ms / floor_ms, and floor.py defines floor and
                    bound
    relations       ratios of rows
    fidelity        how each precision changes what the checkpoint says
    auto            the precision that --precision auto would choose for the checkpoint right now
    peak_memory_mb  for each precision, of a process that loads the checkpoint's agent and answers

--grid SECONDS prints the figures of grid.py instead, mainly for GPUs.

To compare runs, pin it to one core: taskset -c 0 env OMP_NUM_THREADS=1 python -m dialogue.bench
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from dialogue import checkpoint
from dialogue.agent import DialogueAgent
from dialogue.bench import floor, grid, replies
from dialogue.bench.fidelity import HELD_OUT, fidelity, read_exchanges
from dialogue.bench.memory import peak_mb
from dialogue.bench.timing import Call, time_in_turns
from dialogue.command_line import add_model, at_least, command
from dialogue.config import DecodeConfig
from dialogue.device import choose_device
from dialogue.models import Prepares
from dialogue.models.projection import precisions

FORCED_TOKENS = replies.LENGTHS[1]


@command
def main(arguments: list[str] | None = None) -> int:
    """Time replies from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dialogue.bench", description="Time replies, beside their bare operations."
    )
    add = parser.add_argument
    add_model(parser)
    add("--full", action="store_true", help="also time every method of DecodeConfig")
    add(
        "--text",
        type=Path,
        default=HELD_OUT,
        metavar="FILE",
        help="conversations for the fidelity, one per line, turns tab-separated",
    )
    add("--rounds", type=int, default=7, help="(default: %(default)s)")
    add("--device", default="cpu", help="(default: %(default)s)")
    add(
        "--grid",
        type=int,
        metavar="SECONDS",
        help="time batches of 1 to 1,024 by beam and precision instead, within so many seconds",
    )
    options = parser.parse_args(arguments)
    at_least(1, rounds=options.rounds, grid=options.grid)
    device, exchanges = choose_device(options.device), read_exchanges(options.text)
    source = checkpoint.load(options.checkpoint, device=device, model_name=options.model)
    there = precisions(device)
    names = there if isinstance(source.model, Prepares) else ["fp32"]
    console = Console(stderr=True)
    console.width = max(console.width, 140)
    if options.grid:
        agents = {name: DialogueAgent(source, precision=name) for name in names}
        found = grid.measure(agents, there, exchanges, seconds=options.grid, device=device)
        print(json.dumps(found), flush=True)
        show_grid(found, console)
        return 0
    memory = {
        name: peak_mb(options.checkpoint, name, model_name=options.model, device=device)
        for name in names
    }
    agents = {name: DialogueAgent(source, precision=name) for name in names}
    forced = DialogueAgent(
        source, decode=DecodeConfig(min_length=FORCED_TOKENS, max_length=FORCED_TOKENS)
    )
    found = time_rows(
        agents, forced, there, device, full=options.full, rounds=options.rounds, console=console
    )
    found["fidelity"] = fidelity(agents, exchanges)
    found["auto"] = DialogueAgent(source, precision="auto").prepared.precision
    found["peak_memory_mb"] = memory
    print(json.dumps(found), flush=True)
    show(found, console)
    return 0


def time_rows(
    agents: dict[str, DialogueAgent],
    forced: DialogueAgent,
    there: list[str],
    device: torch.device,
    *,
    full: bool,
    rounds: int,
    console: Console,
) -> dict[str, Any]:
    """Time all rows and their bare operations, and return the JSON's rows and relations."""
    model = replies.reference_model(device)
    prepared = {name: model.prepare(name) for name in there}
    searches = replies.reference_rows(prepared, device) | replies.length_rows(prepared, device)
    if full:
        searches |= replies.method_rows(prepared, device)
    encodings = {
        row: replies.encoding(prepared[row.precision], row.batch, device) for row in searches
    }
    for row, (search, encode) in replies.checkpoint_rows(agents, forced).items():
        searches[row], encodings[row] = search, encode
    calls: dict[Hashable, Call] = dict(searches.items())
    calls |= {
        ("encoding", row.model, row.batch, row.turns): call for row, call in encodings.items()
    }
    for size in replies.SIZES:
        calls |= dict(floor.parts(size, replies.REFERENCE, precisions=there, device=device).items())
    times = time_in_turns(calls, track(range(rounds), "timing", console=console), device=device)
    ms = {key: statistics.median(found) for key, found in times.items()}
    parts = {key: time for key, time in ms.items() if isinstance(key, floor.Part)}
    rows = []
    for row in searches:
        floor_ms, bound_ms = (
            floor.reply_ms(
                kind,
                (row.batch, row.beam),
                row.precision,
                times=parts,
                tokens=row.calls * row.reply_tokens,
            )
            if row.model == "reference"
            else None
            for kind in ("floor", "bound")
        )
        encode_ms = ms["encoding", row.model, row.batch, row.turns]
        ratio = ms[row] / floor_ms if floor_ms else None
        rows.append(
            row.figures(
                ms=ms[row], encode_ms=encode_ms, floor_ms=floor_ms, ratio=ratio, bound_ms=bound_ms
            )
        )
    return {"rows": rows, "relations": replies.relations({row: times[row] for row in searches})}


def show_grid(found: dict[str, Any], console: Console) -> None:
    """Print the figures of grid.py as tables, with a column for each batch."""
    table = Table("model", "precision", "beam", *(f"ms at {batch}" for batch in grid.BATCHES))
    cells = {(r["model"], r["precision"], r["beam"], r["batch"]): r for r in found["rows"]}
    for kind in dict.fromkeys(key[:3] for key in cells):
        row = [cells.get((*kind, batch), {}) for batch in grid.BATCHES]
        shown = [
            f"{cell['ms']:.4g}" + (f" ({cell['ratio']:.2f})" if "ratio" in cell else "")
            if cell
            else ""
            for cell in row
        ]
        table.add_row(*map(str, kind), *shown)
    console.print(f"{found['device']}; in brackets: over the bare operations", highlight=False)
    console.print(table)
    for title in ("pays_until", "load"):
        table = Table(*found[title][0], title=title)
        for figures in found[title]:
            table.add_row(*map(str, figures.values()))
        console.print(table)


def show(found: dict[str, Any], console: Console) -> None:
    """Print the rows, relations and fidelity as tables."""
    table = Table(*found["rows"][0])
    for figures in found["rows"]:
        table.add_row(*("" if value is None else str(value) for value in figures.values()))
    console.print(table)
    for title, values in {
        **found["relations"],
        **{f"fidelity of {name}": f for name, f in found["fidelity"].items()},
    }.items():
        console.print(
            f"{title}: " + ", ".join(f"{name} {value:.3g}" for name, value in values.items()),
            highlight=False,
        )
    memory = ", ".join(f"{name} {megabytes}" for name, megabytes in found["peak_memory_mb"].items())
    console.print(f"auto is {found['auto']} here; peak memory, MB: {memory}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
