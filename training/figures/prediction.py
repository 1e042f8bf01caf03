"""How well a model predicts what was said, fed the true tokens before each: perplexities, and shares of right words."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dialogue.models import Batch, Decoder, ModelModule
from dialogue.vocabulary import Vocabulary, spaceless
from training import batches
from training.corpora.transcript import Transcript
from training.figures.exchanges import Exchange, Figures

BATCH_TOKENS, BATCH_TURNS = 6000, 512
MEANINGS = {
    "perplexity_per_token": "of every turn but a conversation's first, given the turns before it",
    "perplexity_per_word": "the same over runs of letters, numbers and other marks, each one word, and one end a turn",
    "perplexity_per_word_recognised": "the same with the history as a speech recogniser would have handed it over",
    "perplexity_per_word_shuffled_history": "the same with another conversation's history: what the history is worth",
    "token_accuracy": "share of those tokens that the model finds the likeliest",
    "perplexity_per_word_all": "of all turns, the first from nothing; spaces part MovieTriples' words (Serban et al. 2016)",
    "perplexity_per_word_u3": "of third turns alone (Serban et al. 2016, @U3), words as in _all",
    "perplexity_per_word_from_u4": "of fourth turns and all after them, words as in _all",
    "word_error_rate": "share of those words and ends of all turns of which the model does not find every token the likeliest",
    "word_error_rate_u3": "the same of third turns alone",
}
_COUNTED_WORD = re.compile(r"<\w+>|[a-z']+|\d+|[^\sa-z'\d]")
_SPACED_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Prediction:
    """Turns, and how a model predicted each of them. Every tensor is (M,), and every count includes the turn's end, </s>.

    counted: words as _COUNTED_WORD finds them. words: the same, but what stands between spaces where the corpus is spaced, as
    MovieTriples is: its own count, </s> among them, which its authors' model predicts as any other word. wrong: those of
    `words` of which some token is not the model's likeliest.
    """

    turn: Tensor  # its number in the conversation, from 0
    log_probs: Tensor  # float64
    tokens: Tensor
    correct: Tensor  # of the tokens
    counted: Tensor
    words: Tensor
    wrong: Tensor

    def where(self, chosen: Tensor) -> Prediction:
        """Keep the turns that are chosen, (M,) bool."""
        return Prediction(*(getattr(self, field.name)[chosen] for field in fields(self)))


def predict(
    decoder: Decoder[Any], turns: Sequence[Exchange], *, transcripts: Sequence[Transcript], vocabulary: Vocabulary
) -> Prediction:
    """Predict turns, each given its history."""
    log_probs, right = teacher_forced(decoder, turns, bos_id=vocabulary.bos_id)
    counted, words, wrong = [], [], []
    for exchange, hits in zip(turns, right, strict=True):
        transcript = transcripts[exchange.conversation]
        text = transcript.turns[exchange.turn]
        counted.append(len(_COUNTED_WORD.findall(text.lower())) + 1)
        *of_words, end = hits
        words_right = right_words(text, of_words, vocabulary=vocabulary, spaced=transcript.spaced)
        words.append(len(words_right) + 1)
        wrong.append(words_right.count(False) + (not end))
    return Prediction(
        turn=torch.tensor([exchange.turn for exchange in turns]),
        log_probs=log_probs,
        tokens=torch.tensor([len(hits) for hits in right]),
        correct=torch.tensor([sum(hits) for hits in right]),
        counted=torch.tensor(counted),
        words=torch.tensor(words),
        wrong=torch.tensor(wrong),
    )


def prediction_figures(prediction: Prediction) -> Figures:
    """Measure a prediction of all turns of conversations, their first ones included. What no conversation reaches is left out."""
    turn = prediction.turn
    later, third, from_fourth = (prediction.where(chosen) for chosen in (turn > 0, turn == 2, turn > 2))
    figures = {
        "perplexity_per_token": perplexity(later.log_probs, later.tokens),
        "perplexity_per_word": perplexity(later.log_probs, later.counted),
        "token_accuracy": later.correct.sum().item() / later.tokens.sum().item(),
        "perplexity_per_word_all": perplexity(prediction.log_probs, prediction.words),
        "word_error_rate": prediction.wrong.sum().item() / prediction.words.sum().item(),
    }
    if len(third.turn):
        figures["perplexity_per_word_u3"] = perplexity(third.log_probs, third.words)
        figures["word_error_rate_u3"] = third.wrong.sum().item() / third.words.sum().item()
    if len(from_fourth.turn):
        figures["perplexity_per_word_from_u4"] = perplexity(from_fourth.log_probs, from_fourth.words)
    return figures


def perplexity(log_probs: Tensor, counts: Tensor) -> float:
    """Give exp of minus the log-probability of some turns over how many tokens, or words, they have: (M,) each."""
    return math.exp(-log_probs.sum().item() / counts.sum().item())


@torch.no_grad()
def teacher_forced(decoder: Decoder[Any], turns: Sequence[Exchange], *, bos_id: int) -> tuple[Tensor, list[list[bool]]]:
    """Read each turn token by token: its log p, (M,) float64, and of each token whether the decoder found it the likeliest.

    By the steps that search takes, since a model's log_likelihood counts right tokens and does not say which they are.
    """
    utterances = [turn.token_ids for turn in turns]
    order = sorted(range(len(turns)), key=lambda row: len(utterances[row]))
    log_probs, right = torch.zeros(len(turns), dtype=torch.float64), [[False]] * len(turns)
    for rows in tqdm(list(_by_tokens(order, utterances)), desc="teacher forcing", leave=False, disable=None):
        rows.reverse()  # the longest first, so that those that go on are always the first rows
        histories = torch.stack([turns[row].history for row in rows])
        padded = batches.collate([[utterances[row]] for row in rows], pad_id=0)
        truth = padded.token_ids.to(histories.device)  # (R, T)
        read = torch.full_like(truth[:, 0], bos_id)
        found, hits = torch.zeros(truth.shape, device=truth.device), torch.zeros_like(truth, dtype=torch.bool)  # (R, T)
        state = decoder.start(histories)
        for step in range(truth.shape[1]):
            going_on = int((padded.lengths > step).sum())
            if going_on < len(read):
                state, read = state.select(torch.arange(going_on, device=read.device)), read[:going_on]
            table, state = decoder.step(read, state)  # (R', V)
            read = truth[:going_on, step]
            target = table.gather(1, read[:, None]).squeeze(1)
            found[:going_on, step], hits[:going_on, step] = target, target >= table.amax(1)
        log_probs[rows] = found.double().sum(1).cpu()
        for row, length, row_hits in zip(rows, padded.lengths.tolist(), hits.tolist(), strict=True):
            right[row] = row_hits[:length]
    return log_probs, right


def right_words(text: str, hits: Sequence[bool], *, vocabulary: Vocabulary, spaced: bool) -> list[bool]:
    """Tell of each word of a turn whether all of its tokens are right. hits: of each token, </s> left out.

    Words and tokens need not end at the same places ("don ' t" is read as "don't"): a token belongs to every word that it
    shares a character with.
    """
    wrong = bytearray()  # for each character of the turn, spaces left out
    unread = False  # a space mark alone, or a byte within a character: it belongs to the character after it
    for width, hit in zip(vocabulary.widths(text, spaced=spaced), hits, strict=True):
        unread = unread or not hit
        wrong += bytes([unread]) * width
        unread = unread and not width
    lowered = text.lower()
    rule = _SPACED_WORD if spaced else _COUNTED_WORD
    ends = [len(spaceless(lowered[: word.end()])) for word in rule.finditer(lowered)]
    # two quotes are read as one: the second is the character that the first is
    return [not any(wrong[max(0, min(begin, end - 1)) : end]) for begin, end in zip([0, *ends], ends, strict=False)]


def history_figures(
    model: ModelModule[Any], exchanges: Sequence[Exchange], *, recognised: Sequence[Exchange], counted: Tensor
) -> tuple[Figures, Tensor]:
    """Measure exchanges with histories that are not the true ones; give their log p with the shuffled ones, (M,), too.

    recognised: the same exchanges with the histories of what a speech recogniser would have handed over. counted (M,): words.
    """
    replies = [exchange.token_ids for exchange in exchanges]
    spoken = score(model, replies, histories=[exchange.history for exchange in recognised], name="recognised histories")
    other = score(model, replies, histories=_shuffled(exchanges), name="shuffled histories")
    return {
        "perplexity_per_word_recognised": perplexity(spoken, counted),
        "perplexity_per_word_shuffled_history": perplexity(other, counted),
    }, other


@torch.no_grad()
def score(model: ModelModule[Any], replies: Sequence[Sequence[int]], *, histories: Sequence[Tensor] | None, name: str) -> Tensor:
    """Give log p of each reply (its tokens with </s>) given its history vector, or nothing: (M,) float64."""
    order = sorted(range(len(replies)), key=lambda index: len(replies[index]))
    device = next(model.parameters()).device
    log_probs = torch.zeros(len(replies), dtype=torch.float64)
    for rows in tqdm(list(_by_tokens(order, replies)), desc=name, leave=False, disable=None):
        batch = batches.collate([[list(replies[row])] for row in rows], pad_id=0)
        history = None if histories is None else torch.stack([histories[row] for row in rows])
        found = model.log_likelihood(Batch(batch.token_ids, batch.lengths, batch.turns, history=history).to(device))
        log_probs[rows] = found.log_probs.double().cpu()
    return log_probs


def _by_tokens(order: Sequence[int], replies: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    taken: list[int] = []
    for row in order:  # the longest comes last: its length is the padded one
        if taken and (len(taken) == BATCH_TURNS or (len(taken) + 1) * len(replies[row]) > BATCH_TOKENS):
            yield taken
            taken = []
        taken.append(row)
    if taken:
        yield taken


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
