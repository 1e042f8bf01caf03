"""How well a model predicts each turn from the turns before it: perplexity and accuracy."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dialogue.models import Batch, History, ModelModule
from dialogue.models.history import empty_history, stack_histories
from dialogue.vocabulary import Vocabulary, spaceless
from training.corpora.transcript import Transcript
from training.data import batches
from training.data.batches import Utterance
from training.metrics.exchanges import Metrics, exchanges_of

# More rows are not faster, and a Transformer's history takes a megabyte per row.
BATCH_TOKENS, BATCH_ROWS = 6000, 256
STRETCH_TURNS = 100
MEANINGS = {
    "perplexity_per_token": "of every turn but a conversation's first, given the turns before it",
    "perplexity_per_word": (
        "the same per word: a run of letters or digits, any other mark, and the end of each turn"
    ),
    "perplexity_per_word_recognised": (
        "the same with the history as a speech recogniser would have transcribed it"
    ),
    "perplexity_per_word_shuffled_history": (
        "the same after the turns of another conversation of the corpus: shows the value of the "
        "history"
    ),
    "token_accuracy": "share of those tokens that the model finds the likeliest",
    "perplexity_per_word_all": (
        "of all turns, the first without history; MovieTriples' words are separated by spaces "
        "(Serban et al. 2016)"
    ),
    "perplexity_per_word_u3": "of third turns only (Serban et al. 2016, @U3), words as in _all",
    "perplexity_per_word_from_u4": "of fourth and later turns, words as in _all",
    "word_error_rate": (
        "share of those words and ends of turns with a token that is not the model's likeliest"
    ),
    "word_error_rate_u3": "the same of third turns only",
}
_COUNTED_WORD = re.compile(r"<\w+>|[a-z']+|\d+|[^\sa-z'\d]")
_SPACED_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Prediction:
    """How a model predicted all turns, in order. Every tensor is (M,); counts include </s>.

    log_probs, recognised, shuffled: log p given the true history, given what a speech recogniser
    would have made of it, and given as many turns of another conversation; float64.
    counted: the number of words as _COUNTED_WORD finds them.
    words: the same, except that words of a spaced corpus (MovieTriples) are separated by spaces.
    That is its authors' count; </s> is one of them, since their model predicts it like any other
    word.
    wrong: how many of `words` have a token that is not the model's likeliest.
    """

    turn: Tensor  # index in the conversation, from 0
    log_probs: Tensor
    recognised: Tensor
    shuffled: Tensor
    tokens: Tensor
    correct: Tensor  # tokens that are the model's likeliest
    counted: Tensor
    words: Tensor
    wrong: Tensor

    def where(self, chosen: Tensor) -> Prediction:
        """Keep the turns selected by (M,) bool."""
        return Prediction(*(getattr(self, field.name)[chosen] for field in fields(self)))


def predict(
    model: ModelModule[Any],
    conversations: Sequence[list[Utterance]],
    *,
    transcripts: Sequence[Transcript],
    vocabulary: Vocabulary,
) -> Prediction:
    """Predict all turns of conversations, which are the transcripts encoded.

    Raises ValueError if a corpus has only one conversation.
    """
    spoken = [
        [turn if turn.heard is None else Utterance(turn.heard) for turn in turns]
        for turns in conversations
    ]
    log_probs, right = likelihoods(model, conversations, after=conversations, name="predicting")
    recognised, _ = likelihoods(model, conversations, after=spoken, name="recognised histories")
    shuffled, _ = likelihoods(
        model, conversations, after=others(conversations, transcripts), name="shuffled histories"
    )
    counted, words, wrong = [], [], []
    texts = ((transcript, text) for transcript in transcripts for text in transcript.turns)
    for (transcript, text), hits in zip(texts, right, strict=True):
        counted.append(len(_COUNTED_WORD.findall(text.lower())) + 1)
        *of_words, end = hits
        words_right = right_words(text, of_words, vocabulary=vocabulary, spaced=transcript.spaced)
        words.append(len(words_right) + 1)
        wrong.append(words_right.count(False) + (not end))
    return Prediction(
        turn=torch.tensor([number for turns in conversations for number in range(len(turns))]),
        log_probs=log_probs,
        recognised=recognised,
        shuffled=shuffled,
        tokens=torch.tensor([len(hits) for hits in right]),
        correct=torch.tensor([sum(hits) for hits in right]),
        counted=torch.tensor(counted),
        words=torch.tensor(words),
        wrong=torch.tensor(wrong),
    )


def prediction_metrics(prediction: Prediction) -> Metrics:
    """Compute the figures of a prediction of all turns, first turns included.

    Figures about third or later turns are left out if no conversation has any.
    """
    turn = prediction.turn
    later, third, from_fourth = (
        prediction.where(chosen) for chosen in (turn > 0, turn == 2, turn > 2)
    )
    figures = {
        "perplexity_per_token": perplexity(later.log_probs, later.tokens),
        "perplexity_per_word": perplexity(later.log_probs, later.counted),
        "perplexity_per_word_recognised": perplexity(later.recognised, later.counted),
        "perplexity_per_word_shuffled_history": perplexity(later.shuffled, later.counted),
        "token_accuracy": later.correct.sum().item() / later.tokens.sum().item(),
        "perplexity_per_word_all": perplexity(prediction.log_probs, prediction.words),
        "word_error_rate": prediction.wrong.sum().item() / prediction.words.sum().item(),
    }
    if len(third.turn):
        figures["perplexity_per_word_u3"] = perplexity(third.log_probs, third.words)
        figures["word_error_rate_u3"] = third.wrong.sum().item() / third.words.sum().item()
    if len(from_fourth.turn):
        figures["perplexity_per_word_from_u4"] = perplexity(
            from_fourth.log_probs, from_fourth.words
        )
    return figures


def perplexity(log_probs: Tensor, counts: Tensor) -> float:
    """Return exp(-log p / count) over some turns. log_probs and counts of tokens or words: (M,)."""
    return math.exp(-log_probs.sum().item() / counts.sum().item())


@torch.no_grad()
def likelihoods(
    model: ModelModule[Any],
    conversations: Sequence[list[Utterance]],
    *,
    after: Sequence[list[Utterance]],
    name: str,
) -> tuple[Tensor, list[list[bool]]]:
    """Score all turns, each given the turns before its position in `after`.

    after: the conversations themselves, or one other conversation of the same length for each.
    Return log p of every turn, (M,) float64, and for each turn whether each token was the
    likeliest.
    """
    device = next(model.parameters()).device
    # A long text is cut into stretches. Each starts from the history at its beginning.
    before = [turns[: 1 + (len(turns) - 1) // STRETCH_TURNS * STRETCH_TURNS] for turns in after]
    histories = {
        (found.conversation, found.turn): found.history
        for found in exchanges_of(model, before, device)
    }
    empty = empty_history(model)
    first = [0, *itertools.accumulate(map(len, conversations))]  # first row of each conversation
    log_probs, right = torch.zeros(first[-1], dtype=torch.float64), [[False]] * first[-1]
    stretches = [
        (index, begin, turns[begin : begin + STRETCH_TURNS])
        for index, turns in enumerate(conversations)
        for begin in range(0, len(turns), STRETCH_TURNS)
    ]
    # Sorted by the longest turn, because a batch is padded to it.
    order = sorted(range(len(stretches)), key=lambda place: max(map(len, stretches[place][2])))
    for places in _by_tokens(order, [sum(map(len, turns)) for *_, turns in stretches], name=name):
        part = [stretches[place] for place in places]
        batch = batches.collate([turns for *_, turns in part], pad_id=0)
        if histories:
            stacked = [histories.get((index, begin), empty) for index, begin, _ in part]
            batch = replace(batch, history=stack_histories(stacked))
        if after is not conversations:
            heard = batches.collate(
                [after[index][begin : begin + len(turns)] for index, begin, turns in part], pad_id=0
            )
            batch = replace(batch, encoder_input=(heard.token_ids, heard.lengths))
        found = model.log_likelihood(batch.to(device))
        rows = [
            first[index] + begin + turn
            for index, begin, turns in part
            for turn in range(len(turns))
        ]
        log_probs[rows] = found.log_probs.double().cpu()
        for row, length, hits in zip(
            rows, batch.lengths.tolist(), found.correct_mask.tolist(), strict=True
        ):
            right[row] = hits[:length]
    return log_probs, right


def others(
    conversations: Sequence[list[Utterance]], transcripts: Sequence[Transcript]
) -> list[list[Utterance]]:
    """Return a history for each conversation: as many turns of another one from the same corpus.

    It is the next longer conversation, so that the histories differ in content rather than length.
    For the longest it is the next shorter one, repeated. Raises ValueError if a corpus has only one
    conversation.
    """
    found: list[list[Utterance]] = [[]] * len(conversations)
    by_corpus: dict[str, list[int]] = {}
    # sorted() is stable: conversations of equal length keep their order.
    for index in sorted(range(len(conversations)), key=lambda index: len(conversations[index])):
        by_corpus.setdefault(transcripts[index].corpus, []).append(index)
    for corpus, order in by_corpus.items():
        if len(order) < 2:
            raise ValueError(
                f"the split has only one conversation of {corpus}: "
                "there is no other history to shuffle in"
            )
        for index, other in zip(order, [*order[1:], order[-2]], strict=True):
            found[index] = list(
                itertools.islice(itertools.cycle(conversations[other]), len(conversations[index]))
            )
    return found


def right_words(
    text: str, hits: Sequence[bool], *, vocabulary: Vocabulary, spaced: bool
) -> list[bool]:
    """Return for each word of a turn whether all its tokens are right.

    hits: the same for each token, without </s>. Words and tokens need not share boundaries ("don '
    t" is read as "don't"): a token belongs to every word it shares a character with.
    """
    # Per character of the turn, without spaces: was a token that covers it wrong? A token without
    # a character of its own (a lone space mark, a byte within a character) counts towards the next.
    wrong = bytearray()
    unread = False
    for width, hit in zip(vocabulary.widths(text, spaced=spaced), hits, strict=True):
        unread = unread or not hit
        wrong += bytes([unread]) * width
        unread = unread and not width
    lowered = text.lower()
    rule = _SPACED_WORD if spaced else _COUNTED_WORD
    ends = [len(spaceless(lowered[: word.end()])) for word in rule.finditer(lowered)]
    # normalise() reads two quotes as one, so the second word may be empty: it then takes the
    # character of the first.
    return [
        not any(wrong[max(0, min(begin, end - 1)) : end])
        for begin, end in zip([0, *ends], ends, strict=False)
    ]


@torch.no_grad()
def score(
    model: ModelModule[Any],
    replies: Sequence[Sequence[int]],
    *,
    histories: Sequence[History] | None,
    name: str,
) -> Tensor:
    """Return log p of each reply (tokens with </s>), given its history if any: (M,) float64."""
    order = sorted(range(len(replies)), key=lambda index: len(replies[index]))
    device = next(model.parameters()).device
    log_probs = torch.zeros(len(replies), dtype=torch.float64)
    for rows in _by_tokens(order, list(map(len, replies)), name=name):
        batch = batches.collate([[list(replies[row])] for row in rows], pad_id=0)
        history = None if histories is None else stack_histories([histories[row] for row in rows])
        found = model.log_likelihood(
            Batch(batch.token_ids, batch.lengths, batch.turns, history=history).to(device)
        )
        log_probs[rows] = found.log_probs.double().cpu()
    return log_probs


def _by_tokens(order: Sequence[int], sizes: Sequence[int], *, name: str) -> Iterator[list[int]]:
    """Yield groups of at most BATCH_TOKENS tokens and BATCH_ROWS rows, in order; show progress."""
    groups: list[list[int]] = []
    room = 0
    for row in order:
        if not groups or room < sizes[row] or len(groups[-1]) == BATCH_ROWS:
            groups.append([])
            room = BATCH_TOKENS
        groups[-1].append(row)
        room -= sizes[row]
    yield from tqdm(groups, desc=name, leave=False, disable=None)
