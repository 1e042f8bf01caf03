"""python -m training.evaluate: how well a checkpoint predicts, answers and ranks, on held-out conversations.

What each figure means stands beside the code that computes it; shares are fractions from 0 to 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from dialogue.agent import DialogueAgent, Reply
from dialogue.checkpoint import PRETRAINED
from dialogue.conversation import Conversation, Turn
from dialogue.device import choose_device
from dialogue.models import Batch, ModelModule
from dialogue.safety import hits
from dialogue.vocabulary import CONTINUED, Vocabulary, without_marks
from dialogue.words import repeats_ngram, words
from training import batches, corpora
from training.corpora.transcript import Complaints, Transcript

BATCH_TOKENS = 6000
BATCH_CONVERSATIONS = 64
BATCH_REPLIES = 32
CANDIDATES = 20
TALKS, TALK_TURNS = 50, 12  # whole conversations that the agent holds, and turns that a transcript must have for that
Figures = dict[str, float]

_MARK = re.compile(r"<\w+>")
_COUNTED_WORD = re.compile(r"<\w+>|[a-z']+|\d+|[^\sa-z'\d]")


@dataclass(frozen=True)
class Exchange:
    """One turn that follows another: which conversation and turn it is, what was said before as a vector, and the turn."""

    conversation: int
    turn: int
    history: Tensor  # (C,)
    token_ids: list[int]


def by_hash(transcripts: Iterable[Transcript]) -> list[Transcript]:
    """Order conversations by sha1 of their ids: the same order for everybody, corpora interleaved."""
    return sorted(transcripts, key=lambda transcript: hashlib.sha1(transcript.id.encode()).hexdigest())


def exchanges_of(model: ModelModule[Any], conversations: Sequence[list[batches.Utterance]], device: torch.device) -> list[Exchange]:
    """Encode conversations turn by turn and list every turn but each one's first, with the history vector before it."""
    found: list[Exchange] = []
    order = sorted(range(len(conversations)), key=lambda index: len(conversations[index]))
    for begin in tqdm(range(0, len(order), BATCH_CONVERSATIONS), desc="histories", leave=False, disable=None):
        going_on = [index for index in order[begin : begin + BATCH_CONVERSATIONS] if len(conversations[index]) > 1]
        history: Tensor | None = None
        for turn in range(max((len(conversations[index]) for index in going_on), default=1) - 1):
            staying = [row for row, index in enumerate(going_on) if len(conversations[index]) > turn + 1]
            history = None if history is None else history[staying]
            going_on = [going_on[row] for row in staying]
            said = batches.collate([[conversations[index][turn]] for index in going_on], pad_id=0)
            history = model.encode_turn(said.token_ids.to(device), said.lengths, history)
            found += [
                Exchange(index, turn + 1, vector, conversations[index][turn + 1])
                for index, vector in zip(going_on, history, strict=True)
            ]
    return found


@torch.no_grad()
def score(
    model: ModelModule[Any], replies: Sequence[Sequence[int]], *, histories: Sequence[Tensor] | None, name: str
) -> tuple[Tensor, Tensor]:
    """Give log p of each reply (its tokens with </s>) given its history vector, and how many tokens were right: (M,) each."""
    order = sorted(range(len(replies)), key=lambda index: len(replies[index]))
    device = next(model.parameters()).device
    log_probs, correct = torch.zeros(len(replies), dtype=torch.float64), torch.zeros(len(replies), dtype=torch.long)
    for rows in tqdm(list(_by_tokens(order, replies)), desc=name, leave=False, disable=None):
        batch = batches.collate([[list(replies[row])] for row in rows], pad_id=0)
        history = None if histories is None else torch.stack([histories[row] for row in rows])
        found = model.log_likelihood(Batch(batch.token_ids, batch.lengths, batch.turns, history=history).to(device))
        log_probs[rows], correct[rows] = found.log_probs.double().cpu(), found.correct.cpu()
    return log_probs, correct


def _by_tokens(order: Sequence[int], replies: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    taken: list[int] = []
    for row in order:  # the longest comes last: its length is the padded one
        if taken and (len(taken) + 1) * len(replies[row]) > BATCH_TOKENS:
            yield taken
            taken = []
        taken.append(row)
    if taken:
        yield taken


def perplexities(
    model: ModelModule[Any], exchanges: Sequence[Exchange], *, recognised: Sequence[Exchange], transcripts: Sequence[Transcript]
) -> Figures:
    """Measure perplexity a token and a word, with true and with other conversations' histories, and token accuracy.

    recognised: the same exchanges with the histories of what a speech recogniser would have handed over. A word is a match
    of _COUNTED_WORD in the lower-case text, and each turn counts one more for its end.
    """
    replies = [exchange.token_ids for exchange in exchanges]
    tokens = sum(map(len, replies))
    counted = sum(len(_COUNTED_WORD.findall(transcripts[e.conversation].turns[e.turn].lower())) + 1 for e in exchanges)
    true, correct = score(model, replies, histories=[exchange.history for exchange in exchanges], name="true histories")
    other, _ = score(model, replies, histories=_shuffled(exchanges), name="shuffled histories")
    spoken, _ = score(model, replies, histories=[exchange.history for exchange in recognised], name="recognised histories")
    return {
        "perplexity_per_token": math.exp(-true.sum().item() / tokens),
        "perplexity_per_word": math.exp(-true.sum().item() / counted),
        "perplexity_per_word_recognised": math.exp(-spoken.sum().item() / counted),
        "perplexity_per_word_shuffled_history": math.exp(-other.sum().item() / counted),
        "token_accuracy": correct.sum().item() / tokens,
    }


def _shuffled(exchanges: Sequence[Exchange]) -> list[Tensor]:
    """Give each exchange the history of one from another conversation, drawn with seed 0."""
    if len({exchange.conversation for exchange in exchanges}) < 2:
        raise ValueError("the split has one conversation only: there is no other history to shuffle in")
    rng = random.Random(0)
    histories = []
    for exchange in exchanges:
        other = rng.choice(exchanges)
        while other.conversation == exchange.conversation:
            other = rng.choice(exchanges)
        histories.append(other.history)
    return histories


def chosen_exchanges(exchanges: Sequence[Exchange], transcripts: Sequence[Transcript], *, limit: int | None) -> list[Exchange]:
    """Choose one exchange a conversation, after at least two turns, at a place that its id's hash tells; the first `limit`."""
    at = {(exchange.conversation, exchange.turn): exchange for exchange in exchanges}
    chosen = []
    for index, transcript in enumerate(transcripts):
        later = len(transcript.turns) - 2
        if later > 0:
            place = 2 + int(hashlib.sha1(transcript.id.encode()).hexdigest(), 16) // 20 % later
            chosen.append(at[index, place])
    return chosen[:limit]


def answers(
    agent: DialogueAgent, exchanges: Sequence[Exchange], *, before: Sequence[Tensor], transcripts: Sequence[Transcript]
) -> list[Reply]:
    """Let the agent answer gold histories: `before` is each one's history without the utterance that is answered."""
    replies: list[Reply] = []
    for begin in tqdm(range(0, len(exchanges), BATCH_REPLIES), desc="replies", leave=False, disable=None):
        part = range(begin, min(begin + BATCH_REPLIES, len(exchanges)))
        conversations, utterances = [], []
        for row in part:
            exchange = exchanges[row]
            *said, utterance = transcripts[exchange.conversation].turns[: exchange.turn]
            # the last speaker is the user, and speakers alternate
            turns = (Turn("bot" if (len(said) - i) % 2 else "user", text) for i, text in enumerate(said))
            conversations.append(Conversation(before[row], tuple(turns)))
            utterances.append(utterance)
        replies += agent.answer(conversations, utterances)
    return replies


def reply_figures(replies: Sequence[Reply]) -> Figures:
    """Measure variety, repetition and length of replies, on their words as dialogue.words has them.

    distinct_n: different n-grams over all n-grams. unique_replies: different replies over all. repeated_ngram: share of
    replies that hold some n words in a row twice. placeholders: share of replies with a mark such as <person>. fallbacks:
    share of fixed sentences. listed_words: replies with a word of dialogue.safety's lists, mild ones included.
    """
    texts = [reply.text.replace(CONTINUED, " ") for reply in replies]
    spoken = [words(text) for text in texts]

    def distinct(n: int) -> float:
        grams = [gram for reply in spoken for gram in zip(*(reply[i:] for i in range(n)), strict=False)]
        return len(set(grams)) / max(1, len(grams))

    return {
        "distinct_1": distinct(1),
        "distinct_2": distinct(2),
        "unique_replies": len(set(map(tuple, spoken))) / len(replies),
        "repeated_2gram": sum(repeats_ngram(text, 2) for text in texts) / len(replies),
        "repeated_3gram": sum(repeats_ngram(text, 3) for text in texts) / len(replies),
        "placeholders": sum(bool(_MARK.search(reply.text)) for reply in replies) / len(replies),
        "mean_length": sum(map(len, spoken)) / len(replies),
        "fallbacks": sum(reply.is_fallback for reply in replies) / len(replies),
        "listed_words": sum(bool(hits(reply.text)) for reply in replies),
        "replies": len(replies),
    }


def repeated_replies(agent: DialogueAgent, transcripts: Sequence[Transcript], *, limit: int = TALKS) -> Figures:
    """Let the agent hold whole conversations, against what one speaker of each transcript said.

    repeated_replies: share of its replies whose words it had said before in the same conversation.
    """
    heard = [transcript.turns[::2] for transcript in transcripts if len(transcript.turns) >= TALK_TURNS][:limit]
    talks, again, count = [Conversation()] * len(heard), 0, 0
    for turn in tqdm(range(max(map(len, heard), default=0)), desc="conversations", leave=False, disable=None):
        going_on = [index for index, utterances in enumerate(heard) if turn < len(utterances)]
        for begin in range(0, len(going_on), BATCH_REPLIES):
            part = going_on[begin : begin + BATCH_REPLIES]
            replies = agent.answer([talks[index] for index in part], [heard[index][turn] for index in part])
            for index, reply in zip(part, replies, strict=True):
                again += words(reply.text) in (words(without_marks(text)) for text in talks[index].said("bot"))
                talks[index] = reply.conversation
            count += len(part)
    return {"repeated_replies": again / max(1, count), "replies_in_conversations": count}


def ranking(
    model: ModelModule[Any], chosen: Sequence[Exchange], *, exchanges: Sequence[Exchange], transcripts: Sequence[Transcript]
) -> Figures:
    """Measure how often the true reply is ranked before 19 of other conversations of its corpus, drawn with seed 0.

    By log p(reply | history) - log p(reply | no history), and by mean loss a token. Ties lose.
    """
    rng = random.Random(0)
    by_corpus: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        by_corpus.setdefault(transcripts[exchange.conversation].corpus, []).append(exchange)
    candidates: list[list[int]] = []
    for exchange in chosen:
        others = by_corpus[transcripts[exchange.conversation].corpus]
        if len({other.conversation for other in others}) < 2:
            raise ValueError("a corpus of one conversation has no others to draw candidates from")
        drawn: list[list[int]] = [exchange.token_ids]
        while len(drawn) < CANDIDATES:
            other = rng.choice(others)
            if other.conversation != exchange.conversation:
                drawn.append(other.token_ids)
        candidates += drawn
    histories = [exchange.history for exchange in chosen for _ in range(CANDIDATES)]
    given, _ = score(model, candidates, histories=histories, name="ranking")
    blank, _ = score(model, candidates, histories=None, name="ranking without history")
    lengths = torch.tensor([len(candidate) for candidate in candidates])

    def hits(scores: Tensor) -> float:
        table = scores.view(-1, CANDIDATES)
        return (table[:, 0] > table[:, 1:].amax(1)).double().mean().item()

    return {"hits_at_1_of_20": hits(given - blank), "hits_at_1_of_20_mean_loss": hits(given / lengths)}


def evaluate(
    agent: DialogueAgent, transcripts: list[Transcript], *, limit: int | None = None
) -> tuple[Figures, list[tuple[str, Reply]]]:
    """Compute all figures, and the replies beside the utterances that they answer. Nothing of the text is cut.

    Raises ValueError where the conversations are too few or too short for a figure.
    """
    transcripts = by_hash(transcripts)
    vocabulary: Vocabulary = agent.vocabulary
    encoded = batches.encode(transcripts, vocabulary, truncate=None, heard=True).conversations
    exchanges = exchanges_of(agent.model, encoded, agent.device)
    spoken = [[batches.Utterance(turn.heard or turn) for turn in turns] for turns in encoded]
    histories_heard = {(e.conversation, e.turn): e.history for e in exchanges_of(agent.model, spoken, agent.device)}
    recognised = [replace(exchange, history=histories_heard[exchange.conversation, exchange.turn]) for exchange in exchanges]
    chosen = chosen_exchanges(exchanges, transcripts, limit=limit)
    if not chosen:
        raise ValueError("no conversation has three turns: there is nothing to answer after a history of two")
    histories = {(exchange.conversation, exchange.turn): exchange.history for exchange in exchanges}
    before = [histories[e.conversation, e.turn - 1] for e in chosen]
    replies = answers(agent, chosen, before=before, transcripts=transcripts)
    figures = perplexities(agent.model, exchanges, recognised=recognised, transcripts=transcripts) | reply_figures(replies)
    figures |= repeated_replies(agent, transcripts)
    figures |= ranking(agent.model, chosen, exchanges=exchanges, transcripts=transcripts)
    return figures, [(transcripts[e.conversation].turns[e.turn - 1], reply) for e, reply in zip(chosen, replies, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    """Evaluate a checkpoint from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description="Measure a checkpoint on held-out conversations."
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, default=os.environ.get("CHECKPOINT") or PRETRAINED, help="the model's folder (env CHECKPOINT)")
    add("--model", metavar="MODULE:CLASS", help="the model's class, where it is not of this project")
    add("--data", action="append", metavar="NAME|PATH", help="a corpus, any number of times (default: as training.fit)")
    add("--split", default="test", help="train, validation, test or all (default: %(default)s)")
    add("--limit", type=int, metavar="N", help="answer and rank N histories at most (default: one in each conversation)")
    add("--json", metavar="FILE|-", help="write the figures as JSON; with - standard output holds nothing else")
    add("--replies", type=int, default=10, metavar="N", help="show so many replies (default: %(default)s)")
    add("--skip-bad-lines", action="store_true", help="leave out lines that are no conversation, and count them")
    add("--device", help="cuda, mps or cpu (default: the best there is)")
    options = parser.parse_args(arguments)
    console = Console(stderr=options.json == "-")
    complaints = Complaints(skip=options.skip_bad_lines)
    try:
        if options.limit is not None and options.limit < 1:
            raise ValueError(f"--limit is {options.limit}; it must be at least 1")
        if options.json not in (None, "-") and not Path(options.json).absolute().parent.is_dir():
            raise ValueError(f"--json {options.json}: its folder is not there")
        device = choose_device(options.device)
        agent = DialogueAgent.load(options.checkpoint, device=device, model_name=options.model, precision="fp32")
        transcripts = corpora.load(options.data or corpora.default_names(), options.split, complaints)
        figures, replies = evaluate(agent, transcripts, limit=options.limit)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if complaints.count:
        console.print(f"{complaints.count} bad lines skipped, the first: {complaints.first}", markup=False)
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.4g}")
    console.print(table)
    for utterance, reply in replies[: options.replies]:
        console.print(f"  {utterance}\n    -> {reply.text}", markup=False, highlight=False)
    if options.json:
        text = json.dumps({name: round(value, 6) for name, value in figures.items()}, indent=2)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
