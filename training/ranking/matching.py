"""Fit the cross-encoder: learn from corpora which reply goes with which context.

In each context, the cross-encoder has to find the true reply among others: the model's own
candidates, a reply from the same conversation, and replies from other conversations. Where a larger
judge has said which of the model's own are sensible and specific (training.ranking.teacher), it
learns that as well.
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
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from dialogue.atomic_file import replace_file
from dialogue.ranker_network import (
    MATCH,
    READ_TOKENS,
    READ_TURNS,
    SENSIBLE,
    SPECIFIC,
    CrossEncoder,
    table,
)
from dialogue.recognised import as_recognised, as_written
from dialogue.vocabulary import Vocabulary
from training.corpora.roles import only_companion
from training.corpora.transcript import Transcript

LEARNING_RATE, WARMUP = 1e-3, 200
SAVED_EVERY = 60.0  # seconds
OWN, ELSEWHERE = 6, 3  # wrong replies beside the true one: the model's, and other conversations'
OTHERS = 19  # wrong replies that `hits` puts beside the true one
IMPOSSIBLE = -1e4  # a logit

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """Token ids of a context's last turns, the last one first, and of its reply.

    near: the reply to another turn of the same conversation, if there is one. own: the model's
    own candidates. labels: a judge's P(sensible) and P(specific) for each of these.
    """

    context: tuple[Ids, ...]
    reply: Ids
    near: Ids = ()
    own: tuple[Ids, ...] = ()
    labels: tuple[tuple[float, float], ...] = ()


def pairs(transcripts: Sequence[Transcript], vocabulary: Vocabulary) -> list[Pair]:
    """List the replies to learn with the turns before them, each as often as one pass reads it."""
    places = [
        (number, told.turns, told.times)
        for told in map(only_companion, transcripts)
        for number in range(1, len(told.turns))
        if number not in told.untaught and told.turns[number].strip()
    ]
    texts = list(dict.fromkeys(text for _, turns, _ in places for text in turns))
    ids = dict(zip(texts, map(tuple, vocabulary.encode_all(texts)), strict=True))
    spoken = [as_written(as_recognised(text)) for text in texts]
    heard = dict(zip(texts, map(tuple, vocabulary.encode_all(spoken)), strict=True))
    found = []
    for number, turns, times in places:
        reply = ids[turns[number]][:READ_TOKENS]
        before = turns[max(0, number - READ_TURNS) : number]
        near = [turns[other] for other in (number + 2, number - 2) if 0 < other < len(turns)]
        others = [ids[text][:READ_TOKENS] for text in near if ids[text][:READ_TOKENS] != reply]
        pair = Pair(
            tuple(
                (ids if at % 2 else heard)[turn][-READ_TOKENS:]  # the person's, as they are heard
                for at, turn in enumerate(reversed(before))
            ),
            reply,
            near=others[0] if others else (),
        )
        found += [pair] * (times if reply else 0)
    return found


def fit(
    encoder: CrossEncoder,
    found: Sequence[Pair],
    *,
    minutes: float,
    seed: int,
    state: Path,
    batch: int = 64,
    resume: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Fit a cross-encoder for a number of minutes and return the number of steps.

    The learning rate falls to zero over that time. batch: contexts per step. state: the file to
    resume from, written every minute and at the end.
    """
    rng, total = random.Random(seed), minutes * 60
    steps, spent = _read(encoder, state) if resume else (0, 0.0)
    rng.seed(f"{seed} {steps}")  # a resumed run must not draw the same pairs again
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    begun, saved = clock() - spent, spent
    judged = [pair for pair in found if pair.own]
    bar = tqdm(
        total=round(total),
        initial=round(min(spent, total)),
        desc="matching",
        unit="s",
        mininterval=1,
        disable=None,
    )
    encoder.train()
    # A resumed run whose minutes are already used up has nothing left to do.
    while (seconds := clock() - begun) < total:
        share = seconds / total
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * min(1, (steps + 1) / WARMUP) * (1 + math.cos(math.pi * share)) / 2
        )
        # Half of the contexts have the model's own candidates, however few those contexts are.
        drawn = rng.sample(judged, min(batch // 2, len(judged)))
        drawn += rng.sample(found, min(batch - len(drawn), len(found)))
        loss = _loss(encoder, drawn, rng)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        steps += 1
        bar.update(round(seconds) - bar.n)
        if steps % 20 == 0:
            bar.set_postfix(steps=steps, loss=f"{loss.item():.3f}")
        if seconds - saved > SAVED_EVERY:
            saved = seconds
            _write(encoder, state, steps, seconds)
    bar.close()
    encoder.eval()
    _write(encoder, state, steps, max(spent, total))
    return steps


def _loss(encoder: CrossEncoder, drawn: Sequence[Pair], rng: random.Random) -> Tensor:
    """Return the cross-entropy of finding each true reply, plus that of the judge's labels.

    In a context's row of candidates the true reply comes first.
    """
    rows: list[list[Ids]] = []
    labels: list[tuple[int, tuple[float, float]]] = []  # place among all candidates, and label
    first = 0
    for pair in drawn:
        own = [at for at, reply in enumerate(pair.own) if reply != pair.reply]
        own = rng.sample(own, min(OWN, len(own)))
        others = [other.reply for other in rng.sample(drawn, min(ELSEWHERE, len(drawn)))]
        wrong = [reply for reply in (pair.near, *others) if reply and reply != pair.reply]
        row = [pair.reply, *(pair.own[at] for at in own), *wrong]
        if pair.labels:
            labels += [(first + 1 + n, pair.labels[at]) for n, at in enumerate(own)]
        rows.append(row)
        first += len(row)
    answers = _read_together(encoder, [pair.context for pair in drawn], rows)
    sizes = [len(row) for row in rows]
    match = pad_sequence(
        list(torch.split(answers[:, MATCH], sizes)), batch_first=True, padding_value=IMPOSSIBLE
    )
    device = match.device
    loss = F.cross_entropy(match, torch.zeros(len(rows), dtype=torch.long, device=device))
    if labels:
        at = torch.tensor([place for place, _ in labels], device=device)
        said = torch.tensor([label for _, label in labels], device=device)
        judged = answers.index_select(0, at)[:, [SENSIBLE, SPECIFIC]]
        loss = loss + 2 * F.binary_cross_entropy_with_logits(judged, said)
    return loss


def _read_together(
    encoder: CrossEncoder, contexts: Sequence[Sequence[Ids]], rows: Sequence[Sequence[Ids]]
) -> Tensor:
    """Read each context's row of replies, in bfloat16 on a GPU: (R, 3), float32."""
    device = encoder.embedding.weight.device
    turns = context_table(contexts, encoder.pad_id).to(device)
    replies = table([reply for row in rows for reply in row], encoder.pad_id).to(device)
    owners = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(row) for row in rows]))
    with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
        answers: Tensor = encoder(turns, replies, owners.to(device))
    return answers.float()


@torch.inference_mode()
def hits(encoder: CrossEncoder, found: Sequence[Pair], *, seed: int = 0) -> float:
    """Return the share of contexts whose true reply ranks first among 20.

    The other replies are drawn from other contexts.
    """
    rng, first = random.Random(seed), 0
    for place, pair in enumerate(found):
        others = [
            at for at in rng.sample(range(len(found)), min(OTHERS + 1, len(found))) if at != place
        ][:OTHERS]
        row = [pair.reply, *(found[at].reply for at in others)]
        match = _read_together(encoder, [pair.context], [row])[:, MATCH]
        first += bool((match[0] > match[1:]).all())
    return first / len(found)


def context_table(contexts: Sequence[Sequence[Sequence[int]]], pad_id: int) -> Tensor:
    """Pad contexts to a tensor (N, READ_TURNS, T)."""
    turns = [turn for context in contexts for turn in [*context, *[()] * READ_TURNS][:READ_TURNS]]
    return table(turns, pad_id).view(len(contexts), READ_TURNS, -1)


def _write(encoder: CrossEncoder, state: Path, steps: int, seconds: float) -> None:
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()
    }
    metadata = {"steps": str(steps), "seconds": str(seconds)}
    replace_file(state, lambda path: save_file(tensors, path, metadata=metadata))


def _read(encoder: CrossEncoder, state: Path) -> tuple[int, float]:
    """Load a state into a cross-encoder; return the steps and seconds spent on it.

    Raises ValueError if the file is not a state of this cross-encoder.
    """
    try:
        with safe_open(state, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            encoder.load_state_dict({name: file.get_tensor(name) for name in names})
        return int(metadata["steps"]), float(metadata["seconds"])
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{state} is not a state of this cross-encoder ({reason}); start again without --resume"
        ) from None
