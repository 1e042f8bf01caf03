"""python -m training.reading: have replies read blind, and count what readers found.

python -m training.reading sheet --checkpoint dialogue/pretrained --checkpoint runs/new/checkpoint \
    --decode method=beam,anti_lm=0.3 --contexts everyday-dev --limit 60 --out readings/new
python -m training.reading score readings/new          # sheet.txt filled in, or one copy per reader

Candidates for a ranker to learn from are judged in the same way:

python -m training.reading candidates --checkpoint runs/new/checkpoint --contexts companion \
    --limit 50 --out readings/judged
python -m training.reading file readings/judged --into judgements.jsonl.gz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from dialogue.agent import DialogueAgent, Reply
from dialogue.checkpoint import PRETRAINED
from dialogue.command_line import add_device, at_least, check_writable, check_writable_file, command
from dialogue.config import DecodeConfig
from dialogue.conversation import Conversation, Turn
from dialogue.device import choose_device
from training.metrics.decoding import settings_of
from training.reading import candidates, contexts, judgements, scores, sheet
from training.reading.contexts import Context

WRITTEN = "written"  # the source of the replies that the contexts come with
BATCH_REPLIES = 16


@dataclass
class Source:
    """A checkpoint and the decoding settings it answers with, as given on the command line."""

    checkpoint: Path
    decode: str = ""

    @property
    def name(self) -> str:
        """Return the source's name for the key."""
        return f"{self.checkpoint}{' ' if self.decode else ''}{self.decode}"


class _Checkpoint(argparse.Action):
    """Start a new source."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        namespace.sources = [*namespace.sources, Source(Path(values))]


class _Decode(argparse.Action):
    """Set the last source's settings; if it has some, start another with the same checkpoint."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        sources = namespace.sources or [Source(PRETRAINED)]
        if sources[-1].decode:
            sources = [*sources, Source(sources[-1].checkpoint)]
        namespace.sources = [*sources[:-1], Source(sources[-1].checkpoint, values)]


def replies_of(agent: DialogueAgent, wanted: Sequence[Context]) -> list[Reply]:
    """Answer each context in the agent's own words, with no follow-up question appended."""
    replies: list[Reply] = []
    batches = range(0, len(wanted), BATCH_REPLIES)
    for begin in tqdm(batches, desc="replies", leave=False, disable=None):
        some = wanted[begin : begin + BATCH_REPLIES]
        heard = [context.as_heard for context in some]
        conversations = [Conversation() for _ in some]
        for place in range(max(map(len, heard)) - 1):
            going_on = [row for row, turns in enumerate(heard) if len(turns) > place + 1]
            turns = [
                Turn("bot" if (len(heard[row]) - place) % 2 == 0 else "user", heard[row][place])
                for row in going_on
            ]
            found = agent.hear([conversations[row] for row in going_on], turns)
            for row, conversation in zip(going_on, found, strict=True):
                conversations[row] = conversation
        replies += agent.answer(conversations, [turns[-1] for turns in heard])
    return replies


def write_sheet(options: argparse.Namespace) -> None:
    """Write the sheet that the command line asks for.

    Raises ValueError, before anything is answered, if that is impossible.
    """
    sources = options.sources or [Source(PRETRAINED)]
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"a source is named twice: {', '.join(names)}")
    _check_new(options)
    decodes = [settings_of(source.decode, DecodeConfig()) for source in sources]
    wanted = _contexts(options)
    replies: dict[str, Sequence[str]] = {WRITTEN: [context.reply for context in wanted]}
    about: dict[str, Any] = {WRITTEN: "the replies that the contexts come with"}
    for source, decode in zip(sources, decodes, strict=True):
        agent = DialogueAgent.load(
            source.checkpoint, device=choose_device(options.device), decode=decode, precision="fp32"
        )
        replies[source.name] = [reply.text for reply in replies_of(agent, wanted)]
        about[source.name] = asdict(decode)
    if options.only_models:
        del replies[WRITTEN], about[WRITTEN]
    sheet.write(options.out, wanted, replies, seed=options.seed, about=about)
    count = sum(len(context["replies"]) for context in sheet.read_key(options.out)["contexts"])
    print(
        f"{len(wanted)} contexts with {count} different replies from {len(replies)} sources: "
        f"fill in\n{options.out / sheet.SHEET}, "
        f"or open {options.out / sheet.PAGE} and save its result in the same folder;\n"
        f"then run python -m training.reading score {options.out}"
    )


def write_candidates(options: argparse.Namespace) -> None:
    """Write a sheet of one checkpoint's candidates. Raises ValueError as `write_sheet` does."""
    if len(options.sources) > 1:
        raise ValueError("candidates are of one checkpoint; name one, with one --decode")
    at_least(2, count=options.count)
    _check_new(options)
    (source,) = options.sources or [Source(PRETRAINED)]
    decode = settings_of(source.decode, DecodeConfig())
    wanted = _contexts(options)
    agent = DialogueAgent.load(
        source.checkpoint, device=choose_device(options.device), decode=decode, precision="fp32"
    )
    chosen = {
        context: candidates.chosen(
            agent, reply, count=options.count, seed=f"{options.seed} {context.id}"
        )
        for reply, context in zip(replies_of(agent, wanted), wanted, strict=True)
    }
    wanted = [context for context in wanted if chosen[context]]  # drop the others
    if not wanted:
        raise ValueError("there is no candidate that may be said in any of these contexts")
    found = [chosen[context] for context in wanted]
    table = candidates.table(wanted, found)
    about = candidates.about(wanted) | {"source": source.name, "decode": asdict(decode)}
    sheet.write(options.out, wanted, table, seed=options.seed, about=about)
    count = sum(map(len, found))
    print(f"{len(wanted)} contexts with {count} candidates: fill in {options.out / sheet.SHEET},")
    print(f"then python -m training.reading file {options.out} --into judgements.jsonl.gz")


def file_judgements(options: argparse.Namespace) -> None:
    """Add readers' judgements of candidates to a file of judgements."""
    check_writable_file(options.into, option="--into")
    found = [entry for folder in options.folders for entry in candidates.entries(folder)]
    before = judgements.read_entries(options.into) if options.into.exists() else []
    after = candidates.merged(before, found)
    judgements.save(options.into, after)
    count, had = (sum(len(one["candidates"]) for one in entries) for entries in (after, before))
    print(f"{count - had} judged candidates added; {options.into} has {len(after)} contexts")


def _check_new(options: argparse.Namespace) -> None:
    """Refuse a folder that already holds a sheet or is not writable."""
    if (options.out / sheet.KEY).exists():
        raise ValueError(f"{options.out} already holds a sheet; choose another folder with --out")
    at_least(1, limit=options.limit)
    check_writable(options.out)


def _contexts(options: argparse.Namespace) -> list[Context]:
    wanted = [
        context
        for name in options.contexts or ["everyday-dev"]
        for context in contexts.load(name, split=options.split, limit=options.limit)
    ]
    contexts.check_distinct(wanted)
    return wanted


def score(options: argparse.Namespace) -> None:
    """Print a sheet's scores, by reader, and how far the readers agree.

    Raises ValueError if nobody has filled one in, or if one is filled in wrongly.
    """
    if options.json:
        check_writable_file(options.json, option="--json")
    key = sheet.read_key(options.folder)
    labels = [label for context in key["contexts"] for label in context["replies"]]
    filled = {
        path.stem: sheet.read_filled(path, labels) for path in sorted(options.folder.glob("*.txt"))
    }
    readers = {name: found for name, found in filled.items() if found}
    if not readers:
        raise ValueError(
            f"no sheet in {options.folder} has been filled in; "
            "write [yy], [yn] or [nn] before each reply"
        )
    if options.json:  # before anything is shown
        figures = {
            "scores": {
                reader: [asdict(row) for row in scores.scores(key, found)]
                for reader, found in readers.items()
            },
            "agreement": scores.agreement(readers),
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    console = Console()
    console.width = max(console.width, 140)
    for reader, found in readers.items():
        judged = scores.scores(key, found)
        gains = scores.differences(key, found, options.base or next(iter(key["sources"])))
        table = Table(
            "set", "source", "replies", "sensible", "specific", "SSA", "95 %", "gain over the base",
            title=f"{reader}: {len(found)} of {len(labels)} replies judged",
        )  # fmt: skip
        for row in judged:
            gain = gains.get((row.set, row.source))
            table.add_row(
                row.set, row.source, str(row.replies),
                f"{row.sensible:.1%}", f"{row.specific:.1%}", f"{row.ssa:.1%}",
                f"{row.low:.0%} to {row.high:.0%}",
                f"{gain[0]:+.1%} ({gain[1]:+.0%} to {gain[2]:+.0%})" if gain else "",
            )  # fmt: skip
        console.print(table)
        if "turns" in key["sources"]:
            best = candidates.oracle(key, found)
            console.print(f"{reader}: the best candidate of each context has SSA {best:.1%}")
    for row_of_two in scores.agreement(readers):
        console.print(
            f"{row_of_two['readers']}: {row_of_two['replies']} replies, "
            f"kappa {row_of_two['kappa_sensible']:.2f} for sensible, "
            f"{row_of_two['kappa_specific']:.2f} for specific"
        )


@command
def main(arguments: list[str] | None = None) -> int:
    """Write a sheet, or score one, from the command line."""
    options = _options().parse_args(arguments)
    options.run(options)
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.reading",
        description="Have replies read blind, and count what readers found.",
    )
    commands = parser.add_subparsers(required=True)
    written = commands.add_parser("sheet", help="write contexts with the replies of all sources")
    written.set_defaults(run=write_sheet)
    _add_sheet(written)
    written.add_argument("--only-models", action="store_true", help="leave the written replies out")
    several = commands.add_parser(
        "candidates", help="write contexts with several candidates of one checkpoint"
    )
    several.set_defaults(run=write_candidates)
    _add_sheet(several)
    several.add_argument(
        "--count", type=int, default=12, metavar="N",
        help="candidates per context: the ranker's best half, and some of the others "
        "(default: %(default)s)",
    )  # fmt: skip
    filed = commands.add_parser("file", help="add what readers found of candidates to a file")
    filed.set_defaults(run=file_judgements)
    filed.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="folders of `candidates`, filled in"
    )
    filed.add_argument(
        "--into", type=Path, required=True, metavar="FILE", help="the judgements, .jsonl.gz"
    )
    scored = commands.add_parser("score", help="count what readers found")
    scored.set_defaults(run=score)
    scored.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a sheet's folder, with one filled-in .txt per reader",
    )
    scored.add_argument(
        "--base",
        metavar="SOURCE",
        help="the source to compare the others with (default: the first)",
    )
    scored.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def _add_sheet(parser: argparse.ArgumentParser) -> None:
    """Add the options that every sheet needs."""
    parser.set_defaults(sources=[])
    add = parser.add_argument
    add(
        "--checkpoint", action=_Checkpoint, metavar="DIR",
        help="a source, any number of times (default: the shipped model)",
    )  # fmt: skip
    add(
        "--decode", action=_Decode, metavar="NAME=VALUE,...",
        help="settings of the preceding checkpoint; repeat it for another source",
    )  # fmt: skip
    add(
        "--contexts", action="append", metavar="FILE|CORPUS",
        help=f"{', '.join(contexts.OURS)}, a JSONL file whose lines have a reply, or a corpus; "
        "any number of times",
    )  # fmt: skip
    add("--split", default="test", help="of a corpus (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="at most N contexts from each")
    add("--seed", type=int, default=0, help="random seed of the order (default: %(default)s)")
    add_device(parser)
    add("--out", type=Path, required=True, metavar="DIR", help="the folder to write")


if __name__ == "__main__":
    sys.exit(main())
