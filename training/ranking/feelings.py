"""Fit what tells glad from troubled talk, to conversations whose corpus names their feeling.

EmpatheticDialogues does (Rashkin et al. 2019, arXiv 1811.00207): somebody describes a situation
that goes with one of 32 emotions, and a listener answers. Emotions that are neither glad nor
troubled, or both, such as surprise and nostalgia, are left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from dialogue.feelings import HEARD, SAID, Feelings
from dialogue.ranker_network import READ_TOKENS, table
from dialogue.vocabulary import Vocabulary
from training.corpora.transcript import Transcript

CORPUS = "empathetic"
GLAD = {
    "anticipating", "caring", "confident", "content", "excited", "faithful", "grateful", "hopeful",
    "impressed", "joyful", "prepared", "proud", "trusting",
}  # fmt: skip
TROUBLED = {
    "afraid", "angry", "annoyed", "anxious", "apprehensive", "ashamed", "devastated",
    "disappointed", "disgusted", "embarrassed", "furious", "guilty", "jealous", "lonely", "sad",
    "terrified",
}  # fmt: skip
TOLD_TURNS = 2  # of each speaker: the feeling is plainest where a story begins
EPOCHS, BATCH, LEARNING_RATE, DECAY = 5, 512, 0.05, 2e-5

Told = tuple[
    int, tuple[int, ...], bool
]  # HEARD or SAID, token ids, whether the story is a glad one


def told(transcripts: Sequence[Transcript], vocabulary: Vocabulary) -> list[Told]:
    """List the turns of conversations whose feeling is known, as the ranker will read them."""
    found = []
    for transcript in transcripts:
        if transcript.topic in GLAD | TROUBLED:
            for number, turn in enumerate(transcript.turns[: 2 * TOLD_TURNS]):
                ids = vocabulary.encode(turn)
                # As in LearnedRanker: the end of what is heard, but the beginning of a reply.
                part = ids[:READ_TOKENS] if number % 2 else ids[-READ_TOKENS:]
                if part:
                    asked = SAID if number % 2 else HEARD
                    found.append((asked, tuple(part), transcript.topic in GLAD))
    return found


def fit(feelings: Feelings, found: Sequence[Told], *, seed: int) -> None:
    """Fit feelings to these turns by logistic regression; it takes a minute on a CPU."""
    rng, device = random.Random(seed), feelings.bias.device
    optimizer = torch.optim.Adam(feelings.parameters(), lr=LEARNING_RATE)
    order = list(found)
    for epoch in range(EPOCHS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - epoch / EPOCHS)
        rng.shuffle(order)
        for begin in range(0, len(order), BATCH):
            asked, ids, glad = zip(*order[begin : begin + BATCH], strict=True)
            weighed = feelings(table(ids, feelings.pad_id).to(device))
            chosen = weighed.gather(1, torch.tensor(asked, device=device)[:, None]).squeeze(1)
            loss = F.binary_cross_entropy_with_logits(
                chosen, torch.tensor(glad, dtype=torch.float, device=device)
            )
            decay = feelings.tokens.weight.square().sum() + feelings.pairs.weight.square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss + DECAY * decay)
            optimizer.step()


@torch.inference_mode()
def accuracy(feelings: Feelings, found: Sequence[Told]) -> tuple[float, float]:
    """Return how often feelings are right about what is heard and about what is said."""
    right: tuple[list[bool], list[bool]] = ([], [])
    for begin in range(0, len(found), BATCH):
        some = found[begin : begin + BATCH]
        ids = table([ids for _, ids, _ in some], feelings.pad_id).to(feelings.bias.device)
        for (asked, _, glad), weighed in zip(some, feelings(ids).tolist(), strict=True):
            right[asked].append((weighed[asked] > 0) == glad)
    heard, said = (sum(marks) / len(marks) if marks else 0.0 for marks in right)
    return heard, said
