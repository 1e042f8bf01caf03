"""The first step: learn from corpora which reply goes with which context.

Within a batch, every context is compared with all replies, its own among them, and every reply with
all contexts. The loss is the mean of the two softmax losses (Henderson et al. 2019, arXiv
1911.03688).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from dialogue.atomic_file import replace_file
from dialogue.learned_ranker import READ_TOKENS, READ_TURNS, Matcher, table
from dialogue.vocabulary import Vocabulary
from training.corpora.roles import only_companion
from training.corpora.transcript import Transcript

BATCH = 256  # pairs
LEARNING_RATE, WARMUP = 3e-3, 100
SAVED_EVERY = 60.0  # seconds
OTHERS = 19  # wrong replies that `hits` puts beside the true one


@dataclass(frozen=True)
class Pair:
    """Token ids of a context's last turns, the last one first, and of its reply."""

    context: tuple[tuple[int, ...], ...]
    reply: tuple[int, ...]


def pairs(transcripts: Sequence[Transcript], vocabulary: Vocabulary) -> list[Pair]:
    """List the replies to learn with the turns before them, as often as one pass reads them."""
    places = [
        (told.turns[max(0, number - READ_TURNS) : number], told.turns[number], told.times)
        for told in map(only_companion, transcripts)
        for number in range(1, len(told.turns))
        if number not in told.untaught and told.turns[number].strip()
    ]
    texts = list(dict.fromkeys(text for turns, reply, _ in places for text in (*turns, reply)))
    ids = dict(zip(texts, map(tuple, vocabulary.encode_all(texts)), strict=True))
    return [
        Pair(tuple(ids[turn][-READ_TOKENS:] for turn in reversed(turns)), ids[reply][:READ_TOKENS])
        for turns, reply, times in places
        for _ in range(times if ids[reply] else 0)
    ]


def fit(
    matcher: Matcher,
    found: Sequence[Pair],
    *,
    minutes: float,
    seed: int,
    state: Path,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Fit a matcher for a number of minutes and return the number of steps.

    The learning rate falls to zero over that time. state: the file to resume from, written every
    minute and at the end.
    """
    rng, total = random.Random(seed), minutes * 60
    steps, spent = _read(matcher, state) if resume else (0, 0.0)
    rng.seed(f"{seed} {steps}")  # a resumed run draws other pairs than the steps it has taken
    optimizer = torch.optim.AdamW(matcher.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    begun, saved = clock() - spent, spent
    bar = tqdm(
        total=round(total),
        initial=round(min(spent, total)),
        desc="matching",
        unit="s",
        mininterval=1,
        disable=None,
    )
    matcher.train()
    # A resumed run whose minutes are already used up has nothing left to do.
    while (seconds := clock() - begun) < total:
        share = seconds / total
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * min(1, (steps + 1) / WARMUP) * (1 + math.cos(math.pi * share)) / 2
        )
        drawn = rng.sample(found, min(BATCH, len(found)))
        loss = _loss(matcher, drawn)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(matcher.parameters(), 1.0)
        optimizer.step()
        steps += 1
        bar.update(round(seconds) - bar.n)
        if steps % 20 == 0:
            bar.set_postfix(steps=steps, loss=f"{loss.item():.3f}")
        if seconds - saved > SAVED_EVERY:
            saved = seconds
            _write(matcher, state, steps, seconds)
    bar.close()
    matcher.eval()
    _write(matcher, state, steps, max(spent, total))
    return steps


def _loss(matcher: Matcher, drawn: Sequence[Pair]) -> torch.Tensor:
    """Return the cross-entropy of finding the reply of each context among all, and the reverse."""
    device = matcher.embedding.weight.device
    contexts = matcher.context_vectors(
        context_table([pair.context for pair in drawn], matcher.pad_id).to(device)
    )
    replies = matcher.reply_vectors(
        table([pair.reply for pair in drawn], matcher.pad_id).to(device)
    )
    # Cosines lie between -1 and 1: without the learned scale the softmax would stay flat.
    logits = contexts @ replies.t() * matcher.log_scale.exp().clamp_max(50)
    # Row i of the logits is context i against all replies; its own is on the diagonal.
    own = torch.arange(len(drawn), device=device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.t(), own)) / 2


@torch.inference_mode()
def hits(matcher: Matcher, found: Sequence[Pair], *, seed: int = 0) -> float:
    """Return the share of contexts whose own reply comes first among 20.

    The other replies are drawn from other contexts.
    """
    rng, first = random.Random(seed), 0
    device = matcher.embedding.weight.device
    contexts = matcher.context_vectors(
        context_table([pair.context for pair in found], matcher.pad_id).to(device)
    )
    replies = matcher.reply_vectors(
        table([pair.reply for pair in found], matcher.pad_id).to(device)
    )
    for place in range(len(found)):
        others = [
            at for at in rng.sample(range(len(found)), min(OTHERS + 1, len(found))) if at != place
        ][:OTHERS]
        cosines = replies[[place, *others]] @ contexts[place]
        first += bool((cosines[0] > cosines[1:]).all())
    return first / len(found)


def context_table(contexts: Sequence[Sequence[Sequence[int]]], pad_id: int) -> Tensor:
    """Pad contexts to a tensor (N, READ_TURNS, T)."""
    turns = [turn for context in contexts for turn in [*context, *[()] * READ_TURNS][:READ_TURNS]]
    return table(turns, pad_id).view(len(contexts), READ_TURNS, -1)


def _write(matcher: Matcher, state: Path, steps: int, seconds: float) -> None:
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in matcher.state_dict().items()
    }
    metadata = {"steps": str(steps), "seconds": str(seconds)}
    replace_file(state, lambda path: save_file(tensors, path, metadata=metadata))


def _read(matcher: Matcher, state: Path) -> tuple[int, float]:
    """Load a state into a matcher; return the steps and seconds spent on it.

    Raises ValueError if it is not one.
    """
    try:
        with safe_open(state, framework="pt") as file:
            metadata = file.metadata() or {}
            matcher.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (it is no dict)
        return int(metadata["steps"]), float(metadata["seconds"])
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{state} is not a state of this matcher ({reason}); start again without --resume"
        ) from None
