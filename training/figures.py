"""What is measured of a model on held-out conversations: how well it predicts, answers and ranks.

What each figure means stands beside the code that computes it; shares are fractions from 0 to 1.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dialogue.agent import DialogueAgent, Reply
from dialogue.conversation import Conversation, Turn
from dialogue.models import Batch, ModelModule
from dialogue.safety import hits
from dialogue.vocabulary import CONTINUED, without_marks
from dialogue.words import repeats_ngram, words
from training import batches
from training.corpora.transcript import Transcript

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
    agent: DialogueAgent, chosen: Sequence[Exchange], *, exchanges: Sequence[Exchange], transcripts: Sequence[Transcript]
) -> list[Reply]:
    """Let the agent answer gold histories, in its own words, at the places of the chosen ones among all exchanges."""
    histories = {(exchange.conversation, exchange.turn): exchange.history for exchange in exchanges}
    replies: list[Reply] = []
    for begin in tqdm(range(0, len(chosen), BATCH_REPLIES), desc="replies", leave=False, disable=None):
        conversations, utterances = [], []
        for exchange in chosen[begin : begin + BATCH_REPLIES]:
            *said, utterance = transcripts[exchange.conversation].turns[: exchange.turn]
            # the last speaker is the user, and speakers alternate
            turns = (Turn("bot" if (len(said) - i) % 2 else "user", text) for i, text in enumerate(said))
            conversations.append(Conversation(histories[exchange.conversation, exchange.turn - 1], tuple(turns)))
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
