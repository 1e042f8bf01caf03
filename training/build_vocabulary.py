"""python -m training.build_vocabulary: build a sentencepiece vocabulary from training splits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dialogue.command_line import at_least, check_writable_file, command
from training import corpora
from training.corpora import cleaning
from training.corpora.transcript import Complaints
from training.data.vocabulary import MODEL_TYPES, build, check_type, save, turns_of


@command
def main(arguments: list[str] | None = None) -> int:
    """Build a vocabulary from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.build_vocabulary", description=__doc__
    )
    parser.add_argument(
        "--data",
        action="append",
        metavar="NAME|PATH",
        help="a corpus, any number of times (default: as training.fit)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data/vocabulary.model"),
        help="the file to write (default: %(default)s)",
    )
    parser.add_argument(
        "--size", type=int, default=8000, help="how many pieces (default: %(default)s)"
    )
    parser.add_argument(
        "--type", default="unigram", help=f"{', '.join(MODEL_TYPES)} (default: %(default)s)"
    )
    parser.add_argument(
        "--clean",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="remove private details, as training.fit does",
    )
    parser.add_argument(
        "--skip-bad-lines",
        action="store_true",
        help="skip and count lines that are not conversations",
    )
    options = parser.parse_args(arguments)
    complaints = Complaints(skip=options.skip_bad_lines)
    at_least(1, size=options.size)
    check_type(options.type)
    check_writable_file(options.out)
    transcripts = corpora.load(options.data or corpora.default_names(), "train", complaints)
    if options.clean:
        transcripts, touched = cleaning.clean(transcripts)
    vocabulary = build(turns_of(transcripts), size=options.size, model_type=options.type)
    save(vocabulary, options.out)
    if complaints.count:
        print(f"{complaints.count} bad lines skipped, the first: {complaints.first}")
    if options.clean:
        print(cleaning.summary(touched))
    print(
        f"{len(vocabulary)} pieces from {len(transcripts)} conversations written to {options.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
