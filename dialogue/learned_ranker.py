"""A ranker learned from judgements: it scores a candidate by the SSA that readers would give it.

    numbers: likelihood, similarity, shared words, place among its kind, ... -+
    gladness of the person, and of what the candidate answers ----------------+
    last turns -> words in context ---+                                       |
                                      |  attention                            |
    candidate  -> words in context ---+-> right reply? sensible? specific? ---+
                                          judges -> sensible? specific? <-----+

A few small judges, whose verdicts are averaged, are fitted to readers' judgements of candidates, as
LaMDA's ranker was (Thoppilan et al. 2022, arXiv 2201.08239). The cross-encoder, which is optional,
reads a candidate together with the last turns. It has learnt to tell the true reply from others,
some of them the model's own, and which replies make sense. training.fit_ranker fits both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dialogue import tensor_file
from dialogue.atomic_file import replace_file
from dialogue.candidate_numbers import NUMBERS, described, spoken_turns
from dialogue.conversation import Conversation
from dialogue.feelings import HEARD, SAID
from dialogue.ranker_network import READ_TOKENS, READ_TURNS, RankerConfig, RankerNetwork, table
from dialogue.ranking import Candidate
from dialogue.vocabulary import Vocabulary, without_marks
from dialogue.words import words

FILE = "ranker.safetensors"  # in a checkpoint's folder
LATE_TEXTS, LATE_COST = 4, 0.1  # see `late_cost`; chosen on 574 contexts of 75 live talks
EARLIER = 0.5  # how much of a person's feeling lasts from one turn to the next


def late_cost(conversation: Conversation, candidate: Candidate) -> float:
    """Return the penalty, in SSA, of a candidate that the search found late in a conversation.

    Late means after LATE_TEXTS turns by both speakers. Readers judged few long talks with the
    companion, so the judges expect too much of it there.
    """
    is_found = candidate.similarity is None and candidate.fit is None
    return LATE_COST if is_found and len(conversation.turns) >= LATE_TEXTS else 0.0


class LearnedRanker:
    """A ranker by expected SSA, less penalties for common replies and late in a conversation.

    A reply that ranks first in n of a thousand contexts costs variety * log(1 + n). common: that n,
    by the reply's words (see `key`). Replies found by the search also cost `late_cost`.
    """

    needs_blank = False

    def __init__(
        self,
        network: RankerNetwork,
        vocabulary: Vocabulary,
        *,
        common: Mapping[str, float] | None = None,
        variety: float = 0.0,
    ) -> None:
        self.network, self.vocabulary = network, vocabulary
        self.common, self.variety = common or {}, variety

    def with_variety(self, variety: float) -> LearnedRanker:
        """Return the same ranker with another penalty for common replies, in SSA per log(1 + n)."""
        return LearnedRanker(self.network, self.vocabulary, common=self.common, variety=variety)

    @torch.inference_mode()
    def __call__(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> list[list[float]]:
        """Return a score, at most 1, for each candidate."""
        if not any(candidates):
            return [[] for _ in candidates]
        numbers = self.numbers(conversations, candidates)
        scores = iter(self.network.expected(numbers).tolist())
        return [
            [next(scores) - self._price(one.text) - late_cost(conversation, one) for one in found]
            for conversation, found in zip(conversations, candidates, strict=True)
        ]

    def _price(self, text: str) -> float:
        """Return the penalty, in SSA, for a reply that is common."""
        if not self.variety:
            return 0.0
        return self.variety * math.log1p(self.common.get(key(text), 0.0))

    def numbers(
        self, conversations: Sequence[Conversation], candidates: Sequence[Sequence[Candidate]]
    ) -> Tensor:
        """Return the features of the candidates, at least one, in the order of NUMBERS: (R, F)."""
        device = self.network.mean.device
        owners = torch.tensor(
            [row for row, found in enumerate(candidates) for _ in found], device=device
        )
        texts = [without_marks(candidate.text) for found in candidates for candidate in found]
        replies = self.tokens(texts, beginning=True).to(device)
        turns = self.context_tokens([spoken_turns(c) for c in conversations]).to(device)
        encoder = self.network.encoder
        answers = encoder(turns, replies, owners) if encoder else turns.new_zeros(len(owners), 3)
        plain = [
            row
            for c, found in zip(conversations, candidates, strict=True)
            for row in described(c, found)
        ]
        earlier = self.tokens([(c.said("user")[-2:-1] or [""])[0] for c in conversations])
        felt = self.felt(turns[:, 0], earlier.to(device), replies, owners)
        return torch.cat([torch.tensor(plain, device=device), answers, felt], dim=1)

    def felt(self, last: Tensor, earlier: Tensor, replies: Tensor, owners: Tensor) -> Tensor:
        """Return the features of the candidates that concern feelings, (R, 4).

        They are: how glad the person sounds now, and of late; how glad a turn the reply would suit;
        and whether the last two agree, negative where sorrow meets cheer. last, earlier (N, T): the
        person's last turn and the one before it. replies (R, T). owners (R,): the conversation of
        each reply.
        """
        feelings = self.network.feelings
        heard = feelings(last)[:, HEARD]
        lasting = heard + EARLIER * feelings(earlier)[:, HEARD]
        said = feelings(replies)[:, SAID]
        return torch.stack(
            [heard[owners], lasting[owners], said, lasting[owners].tanh() * said], dim=1
        )

    def context_tokens(self, conversations: Sequence[Sequence[str]]) -> Tensor:
        """Lay out the last turns of conversations, latest first: (N, READ_TURNS, T)."""
        turns = [([""] * READ_TURNS + list(spoken))[-READ_TURNS:][::-1] for spoken in conversations]
        return self.tokens([turn for spoken in turns for turn in spoken]).view(
            len(turns), READ_TURNS, -1
        )

    def tokens(self, texts: Sequence[str], *, beginning: bool = False) -> Tensor:
        """Lay out the last READ_TOKENS tokens of each text, or the first if `beginning`: (M, T)."""
        part = slice(READ_TOKENS) if beginning else slice(-READ_TOKENS, None)
        rows = [ids[part] for ids in self.vocabulary.encode_all(texts)]
        return table(rows, self.vocabulary.pad_id)


def key(text: str) -> str:
    """Return the words of a reply, which are the key that it is counted under."""
    return " ".join(words(without_marks(text)))


# --- in a checkpoint -----------------------------------------------------------------------------


def save(folder: Path, ranker: LearnedRanker, about: dict[str, Any]) -> None:
    """Write a ranker into a checkpoint's folder, in half precision. about: how it was fitted."""
    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in ranker.network.state_dict().items()
    }
    metadata = {
        "config": json.dumps(asdict(ranker.network.config)),
        "vocabulary_sha256": ranker.vocabulary.sha256,
        "numbers": json.dumps(NUMBERS),
        "common": json.dumps(dict(ranker.common), ensure_ascii=False),
        "about": json.dumps(about),
    }
    replace_file(folder / FILE, lambda path: save_file(tensors, path, metadata=metadata))


def load(folder: Path, vocabulary: Vocabulary, device: torch.device) -> LearnedRanker | None:
    """Read a checkpoint's ranker; None if it has none.

    Raises ValueError if it is broken or belongs to another model.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        halves, metadata = tensor_file.read(path)
        tensors = {name: tensor.float() for name, tensor in halves.items()}
        settings = json.loads(metadata["config"])
        config = RankerConfig(
            **{field.name: settings[field.name] for field in fields(RankerConfig)}
        )
        if metadata["vocabulary_sha256"] != vocabulary.sha256:
            raise ValueError("it was fitted to another vocabulary")
        if json.loads(metadata["numbers"]) != list(NUMBERS):
            raise ValueError("it was fitted to other numbers")
        if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("it has weights that are not finite")
        network = RankerNetwork(config, pad_id=vocabulary.pad_id)
        network.load_state_dict(tensors)
        common = {
            str(text): float(n) for text, n in json.loads(metadata.get("common", "{}")).items()
        }
        if not all(0 <= n <= 1000 for n in common.values()):
            raise ValueError("it counts more than a thousand in a thousand")
    except (
        OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, AttributeError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is no ranker of this checkpoint ({reason}); "
            "fit one with python -m training.fit_ranker, or delete it"
        ) from None
    return LearnedRanker(network.eval().to(device), vocabulary, common=common)
