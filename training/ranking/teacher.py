"""A large judge, from which the small cross-encoder learns: a language model fitted to judgements.

    context + candidate -> Transformer -> its last state, and the likelihoods of the candidate's
        words -> sensible? specific?

Judgements are too few for a small network to learn to read. A Transformer that has learnt to
predict the corpora's words can read already; fitted to judgements, it labels the model's own
candidates in as many contexts as there are (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from dialogue.conversation import Conversation
from dialogue.models.transformer import Transformer
from dialogue.ranker_network import READ_TOKENS, READ_TURNS
from dialogue.ranking import Candidate, Ranker
from dialogue.vocabulary import Vocabulary, without_marks
from training.data.batches import collate
from training.ranking.judging import Example
from training.ranking.matching import Ids, Pair

EPOCHS, LEARNING_RATE, WEIGHT_DECAY = 4, 3e-5, 0.01
TOKENS = 16_000  # of contexts and candidates, per step
SPECIFIC = 0.3  # weight of the loss for "specific" relative to "sensible"

# A context's turns, the last one first, and a candidate.
Asked = tuple[tuple[Ids, ...], Ids]


class LargeJudge(nn.Module):
    """A Transformer with a head that says whether a reply is sensible and specific."""

    def __init__(self, model: Transformer, *, eos_id: int, pad_id: int) -> None:
        super().__init__()
        self.model, self.eos_id, self.pad_id = model, eos_id, pad_id
        width = model.embedding.embedding_dim
        self.head = nn.Sequential(
            nn.Linear(2 * width + 3, width), nn.GELU(), nn.Dropout(0.1), nn.Linear(width, 2)
        )

    def forward(self, asked: Sequence[Asked]) -> Tensor:
        """Judge candidates in their contexts: logits (R, 2), sensible and specific."""
        talks = [
            [[*turn, self.eos_id] for turn in (*reversed(context), reply)]
            for context, reply in asked
        ]
        batch = collate(talks, pad_id=self.pad_id).to(self.model.embedding.weight.device)
        states, words, lengths = self.model.states(batch)  # (P, E), (P,), utterance by utterance
        device = states.device
        ends = lengths.cumsum(0)[batch.turns.cumsum(0) - 1]  # of the replies
        sizes = lengths[batch.turns.cumsum(0) - 1]
        places = torch.cat(
            [torch.arange(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]
        ).to(device)
        rows = torch.arange(len(talks)).repeat_interleave(sizes).to(device)
        states, words, sizes = states[places], words[places], sizes.to(device)
        logits = F.linear(states, self.model.embedding.weight, self.model.output_bias)
        log_probs = -F.cross_entropy(logits.float(), words, reduction="none")
        total = torch.zeros(len(talks), device=device).index_add(0, rows, log_probs)
        worst = torch.zeros_like(total).scatter_reduce(0, rows, log_probs, "amin")
        zeros = states.new_zeros(len(talks), states.shape[1])
        mean = zeros.index_add(0, rows, states) / sizes[:, None]
        last = states[sizes.cumsum(0) - 1]
        numbers = torch.stack([total / 20, total / sizes, worst / 10], dim=1)
        found: Tensor = self.head(torch.cat([last, mean, numbers.to(states.dtype)], dim=1))
        return found.float()


def fit(
    judge: LargeJudge,
    asked: Sequence[Asked],
    found: Tensor,
    *,
    seed: int,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Fit a judge to judgements (R, 2), sensible and specific: 0 or 1, or NaN if not asked."""
    device = next(judge.parameters()).device
    optimizer = torch.optim.AdamW(
        [
            {"params": judge.model.parameters(), "scale": 1.0},
            {"params": judge.head.parameters(), "scale": 10.0},
        ],
        weight_decay=WEIGHT_DECAY,
    )
    rng = random.Random(seed)
    torch.manual_seed(seed)
    plans = [_plan(asked, rng) for _ in range(epochs)]
    total, step = sum(map(len, plans)), 0
    judge.train()
    bar = tqdm(total=total, desc="fitting the judge", disable=None)
    for plan in plans:
        for places in plan:
            rate = min(1, (step + 1) / 50) * (1 + math.cos(math.pi * step / total)) / 2
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * group["scale"] * rate
            with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
                logits = judge([asked[at] for at in places])
            sensible, specific = found[places].to(device).unbind(1)
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], sensible)
            # A reply that is not sensible is never specific, so only sensible ones teach that.
            teaching = sensible * specific.isfinite()
            of_sensible = F.binary_cross_entropy_with_logits(
                logits[:, 1], specific.nan_to_num(), reduction="none"
            )
            of_sensible = (of_sensible * teaching).sum() / teaching.sum().clamp_min(1)
            optimizer.zero_grad()
            torch.autograd.backward(loss + SPECIFIC * of_sensible)
            nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimizer.step()
            step += 1
            bar.update()
    bar.close()
    judge.eval()


@torch.inference_mode()
def verdicts(judge: LargeJudge, asked: Sequence[Asked]) -> Tensor:
    """Return P(sensible) and P(specific | sensible) of candidates: (R, 2), on the CPU."""
    device = next(judge.parameters()).device
    found = torch.zeros(len(asked), 2)
    for places in tqdm(
        _plan(asked, None, tokens=4 * TOKENS), desc="judging", leave=False, disable=None
    ):
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            logits = judge([asked[at] for at in places])
        found[places] = logits.sigmoid().cpu()
    return found


def asked_of(examples: Sequence[Example], vocabulary: Vocabulary) -> tuple[list[Asked], Tensor]:
    """Return the candidates of judged examples, and their judgements (R, 2)."""
    asked: list[Asked] = []
    for example in examples:
        asked += _asked(example.conversation, example.candidates, vocabulary)
    return asked, torch.cat([example.found for example in examples])


def _asked(
    conversation: Conversation, candidates: Sequence[Candidate], vocabulary: Vocabulary
) -> list[Asked]:
    turns = [without_marks(turn.text) for turn in conversation.turns][-READ_TURNS:]
    context = tuple(tuple(ids[-READ_TOKENS:]) for ids in vocabulary.encode_all(turns[::-1]))
    texts = [without_marks(candidate.text) for candidate in candidates]
    return [(context, tuple(ids[:READ_TOKENS])) for ids in vocabulary.encode_all(texts)]


def as_ranker(judge: LargeJudge, vocabulary: Vocabulary) -> Ranker:
    """Return a ranker that scores candidates as the judge would."""

    def scores(
        conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> list[list[float]]:
        found = []
        for conversation, some in zip(conversations, candidates, strict=True):
            said = verdicts(judge, _asked(conversation, some, vocabulary))
            found.append((said[:, 0] * (1 + said[:, 1]) / 2).tolist())
        return found

    return scores


def labelled(judge: LargeJudge, pairs: Sequence[Pair], own: Sequence[Sequence[Ids]]) -> list[Pair]:
    """Return pairs with the model's own candidates and the judge's verdict on each."""
    asked = [(pair.context, reply) for pair, some in zip(pairs, own, strict=True) for reply in some]
    said = verdicts(judge, asked).clone()
    said[:, 1] *= said[:, 0]  # P(specific), no longer given that it is sensible
    labels = iter([(sensible, specific) for sensible, specific in said.tolist()])
    return [
        replace(pair, own=tuple(some), labels=tuple(next(labels) for _ in some))
        for pair, some in zip(pairs, own, strict=True)
    ]


def _plan(
    asked: Sequence[Asked], rng: random.Random | None, *, tokens: int = TOKENS
) -> list[list[int]]:
    """Group candidates of similar length into steps, in random order if rng is given."""
    sizes = [sum(len(turn) + 1 for turn in (*context, reply)) for context, reply in asked]
    order = sorted(range(len(asked)), key=lambda at: sizes[at] + (rng.random() if rng else 0))
    plan: list[list[int]] = []
    room = 0
    for at in order:
        if not plan or room < sizes[at]:
            plan.append([])
            room = tokens
        plan[-1].append(at)
        room -= sizes[at]
    if rng:
        rng.shuffle(plan)
    return plan
