"""What a run learns from: its corpora, read, cleaned and encoded, or taken from the cache."""

from __future__ import annotations

import math
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dialogue.models import Batch
from dialogue.vocabulary import Vocabulary
from training import corpora
from training.corpora import cleaning, overlap, roles
from training.corpora.transcript import Complaints, sha256_of
from training.data import batches, cache
from training.data.cache import Tokenised
from training.data.vocabulary import build, foreign, load_vocabulary, turns_of
from training.run.config import FitConfig


@dataclass(frozen=True)
class Data:
    """What a run learns from."""

    vocabulary: Vocabulary
    train: batches.Encoded
    validation: list[Batch]
    # Of the conversations of each split, as they were read.
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> int:
        """Return a number that two machines share if they have the same vocabulary and corpora."""
        sizes = [sum(map(len, conversation)) for conversation in self.train.as_read]
        return zlib.crc32(f"{self.vocabulary.sha256} {sizes} {len(self.validation)}".encode())

    @property
    def named(self) -> dict[str, str]:
        """Return the sha256 of each part's content. A resumed run must find them unchanged."""
        return {
            "vocabulary": self.vocabulary.sha256,
            **{f"{split} split": digest for split, digest in self.sha256.items()},
        }


def prepare(
    config: FitConfig,
    *,
    vocabulary_file: Path | None,
    skip_bad_lines: bool,
    kept_in: Path | None = None,
    keep: bool = True,
) -> Data:
    """Read and encode a run's corpora; without a vocabulary, build it from the training split.

    kept_in: the cache folder of training.data.cache, to look in first. keep: store the result
    there. Raises ValueError if a corpus or vocabulary is missing or broken, or has nothing to learn
    from or to validate on.
    """
    vocabulary = None if vocabulary_file is None else load_vocabulary(vocabulary_file, config.data)
    tokenised, key = None, ""
    if kept_in is not None:
        key = _key(config, vocabulary, skip_bad_lines=skip_bad_lines)
        tokenised = cache.load(kept_in, key)
    found_again = tokenised is not None
    if tokenised is None:
        tokenised = _tokenise(config, vocabulary, skip_bad_lines=skip_bad_lines)
    for line in tokenised.said:
        print(line)
    for split, part in tokenised.splits.items():
        tokens, read = (
            sum(len(turn) for conversation in conversations for turn in conversation)
            for conversations in (part.conversations, part.as_read)
        )
        print(
            f"{split}: {len(part.conversations):,} conversations, {part.utterances:,} turns, "
            f"{tokens:,} tokens",
            end="",
        )
        print(f" ({read:,} per pass)" if read > tokens else "", end="")
        print(f", {part.truncated:,} turns truncated to {config.truncate} tokens")
    if found_again:
        print(f"taken from the cache in {kept_in}; --no-cache tokenises them again")
    if all(len(conversation) < 2 for conversation in tokenised.splits["validation"].conversations):
        raise ValueError(
            "the validation split has no conversation of two turns or more; validation needs one"
        )
    if kept_in is not None and keep and not found_again:
        try:
            cache.save(kept_in, key, tokenised)
        except OSError as error:
            print(f"cannot cache the tokenised corpora; the next run tokenises them again: {error}")
    planned = batches.plan(
        tokenised.splits["validation"].conversations,
        batch_tokens=config.batch_tokens,
        rng=random.Random(0),
    )
    if config.validation_tokens is not None:
        # The batches are in random order, so the first ones are a fair sample.
        planned = planned[: math.ceil(config.validation_tokens / config.batch_tokens)]
    validation = [
        batches.collate(windows, pad_id=tokenised.vocabulary.pad_id) for windows in planned
    ]
    return Data(tokenised.vocabulary, tokenised.splits["train"], validation, tokenised.sha256)


def _tokenise(
    config: FitConfig, vocabulary: Vocabulary | None, *, skip_bad_lines: bool
) -> Tokenised:
    complaints, said = Complaints(skip=skip_bad_lines), []
    transcripts = {
        split: corpora.load(list(config.data), split, complaints)
        for split in ("train", "validation")
    }
    if complaints.count:
        said.append(f"{complaints.count} bad lines skipped, the first: {complaints.first}")
    # Weights are for training; validation reads every conversation once.
    transcripts["validation"] = [
        replace(transcript, times=1) for transcript in transcripts["validation"]
    ]
    transcripts["train"], shared = overlap.without(
        transcripts["train"], corpora.held_out(config.data)
    )
    if not transcripts["train"]:
        raise ValueError(
            f"every conversation of the training split shares {overlap.TURNS} consecutive turns "
            "with one of the test split, so nothing is left to learn; "
            "use a corpus that does not repeat itself"
        )
    if shared:
        said.append(
            f"left out of training: {shared:,} conversations that share {overlap.TURNS} "
            "consecutive turns with a test one"
        )
    # Before cleaning: a resumed run compares the corpora, not what this version makes of them.
    sha256 = {split: sha256_of(found) for split, found in transcripts.items()}
    if config.clean:
        transcripts["train"], touched = cleaning.clean(transcripts["train"])
        said.append(cleaning.summary(touched))
    # In validation too: turns that are not learnt say nothing about how well others were.
    if config.only_companion:
        transcripts = {
            split: [roles.only_companion(one) for one in found]
            for split, found in transcripts.items()
        }
    if vocabulary is None:
        print("building the vocabulary")
        vocabulary = build(turns_of(transcripts["train"]))
    encoded = {
        split: batches.encode(
            found,
            vocabulary,
            truncate=config.truncate,
            heard=split == "train" and config.recognised > 0,
        )
        for split, found in transcripts.items()
    }
    said += foreign(encoded["train"], vocabulary)
    return Tokenised(vocabulary, encoded, sha256, tuple(said))


def _key(config: FitConfig, vocabulary: Vocabulary | None, *, skip_bad_lines: bool) -> str:
    files = [corpora.files_of(name) for name in config.data]
    settings = {
        "files": [len(of_one) for of_one in files],
        "times": [corpora.weighted(name)[1] for name in config.data],
        "data": [
            name if not of_one else None for name, of_one in zip(config.data, files, strict=True)
        ],
        "vocabulary": None if vocabulary is None else vocabulary.sha256,
        "truncate": config.truncate,
        "heard": config.recognised > 0,
        "clean": config.clean,
        "only_companion": config.only_companion,
        "skip_bad_lines": skip_bad_lines,
    }
    return cache.key_of([path for of_one in files for path in of_one], settings)
