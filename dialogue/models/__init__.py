"""The interface between models and the rest of the project: four calls, and a type of batch.

encode_turn(token_ids (N, T), lengths (N,), history | None) -> history       one utterance further
start(history) -> decoder_state                                              where a reply begins
step(token_ids (R,), decoder_state) -> (log_probs (R, V), decoder_state)     one token further
log_likelihood(batch) -> Likelihood, per utterance           for fitting, ranking, re-scoring

Each model has its own kinds of history and decoder state: nothing outside this package looks inside
them. A history is a tensor (N, C), or any other `History`; dialogue.models.history stacks histories
and converts them to bytes.

Four more calls are optional: `HasEmptyHistory` (a history that is not a tensor), `Prepares`
(decoding in fewer bits), `Penalises` (fitting by more than its likelihood) and `ReadsOn` (fitting
to a text that continues from batch to batch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import (
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    cast,
    runtime_checkable,
)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dialogue.config import ModelConfig
from dialogue.device import moved


class History(Protocol):
    """What a model keeps of N conversations, one row each. A tensor (N, C) is a history."""

    @property
    def nbytes(self) -> int:
        """Return its size in bytes."""
        ...

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, rows: Any) -> Self:
        """Copy rows (R,), a tensor on the CPU or a list of integers, in the given order.

        A single row is history[[row]].
        """
        ...

    def to(self, device: torch.device) -> Self:
        """Move it to the model's device."""
        ...

    def flatten(self) -> Tensor:
        """Return all its numbers as a vector, for display."""
        ...


class DecoderState(Protocol):
    """What a model carries from token to token. The search never looks inside it."""

    def repeat(self, times: int) -> Self:
        """Return every row `times` times in a row: N rows -> N * times rows."""
        ...

    def select(self, rows: Tensor) -> Self:
        """Take rows (R,) in another order, as a beam does to follow its parents."""
        ...


@dataclass(frozen=True)
class Batch:
    """Conversations as tensors: one utterance per row, conversation by conversation.

    token_ids (M, T): every utterance, ending with </s>, then padding. lengths (M,): including </s>;
    on the CPU.
    turns (N,): how many of the M utterances each conversation has, at least one; on the CPU.
    history: the model's own, from which the N conversations continue; None if all begin.
    without_history (M,) bool or None: turns to predict as if nothing had been said before.
    encoder_input: what the encoder reads into the history instead of each utterance, another form
    of it or other words altogether: (token_ids (M, T'), lengths (M,)); None: the utterances.
    loss_mask (M,) bool or None: turns that count in fitting; None: all. A model may skip the
    others, and return zeros for them. decoder_input (M, T) or None: what the decoder reads instead
    of each token; None: the tokens. origin: the same batch on the CPU, if it was moved from there
    and nothing has been replaced since.
    """

    token_ids: Tensor
    lengths: Tensor
    turns: Tensor
    history: Any = None
    without_history: Tensor | None = None
    encoder_input: tuple[Tensor, Tensor] | None = None
    loss_mask: Tensor | None = None
    decoder_input: Tensor | None = None
    origin: Batch | None = field(default=None, repr=False)

    def to(self, device: torch.device) -> Batch:
        """Move the tensors that the model computes with to a device.

        lengths and turns stay on the CPU, where the batch is laid out. The result remembers the
        batch on the CPU, for `on_cpu`.
        """

        def sent(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else moved(tensor, device)

        heard = self.encoder_input
        return replace(
            self,
            token_ids=moved(self.token_ids, device),
            history=None if self.history is None else self.history.to(device),
            encoder_input=None if heard is None else (moved(heard[0], device), heard[1]),
            without_history=sent(self.without_history),
            loss_mask=sent(self.loss_mask),
            decoder_input=sent(self.decoder_input),
            origin=self if self.token_ids.device.type == "cpu" else self.origin,
        )

    def on_cpu(self) -> Batch:
        """Return the batch on the CPU: the one before `to`, so as not to wait for a device."""
        if self.token_ids.device.type == "cpu":
            return self
        return self.origin or self.to(torch.device("cpu"))


class Likelihood(NamedTuple):
    """How likely each utterance of a batch is, given what was said before it.

    log_probs (M,) float32: natural logarithm, summed over the tokens, </s> included. tokens (M,)
    long: how many tokens that is. correct_mask (M, T) bool: which of them the model finds likeliest
    itself. penalty (M,) float32: what the Objective adds to -log_probs, if anything. table (P, V):
    the probabilities of all tokens at each place, utterance by utterance, if the Objective asks for
    them.

    For two utterances, where the model would have said "you" instead of "fine":

        tokens          i  am  fine  </s>      no  </s>  (padding)
        correct_mask    1  1   0     1         1   1     0  0
    """

    log_probs: Tensor
    tokens: Tensor
    correct_mask: Tensor
    penalty: Tensor | None = None
    table: Tensor | None = None

    @property
    def correct_count(self) -> Tensor:
        """How many tokens of each utterance the model itself would have chosen, (M,)."""
        return self.correct_mask.sum(1)

    def of(self, chosen: Tensor) -> Likelihood:
        """Zero all figures of the utterances that are not chosen: (M,) bool."""
        penalty = None if self.penalty is None else self.penalty * chosen
        return Likelihood(
            self.log_probs * chosen,
            self.tokens * chosen,
            self.correct_mask & chosen[:, None],
            penalty,
        )

    def among(self, chosen: Tensor, *, width: int) -> Likelihood:
        """Spread the figures of the chosen utterances over all M, with zeros for the others.

        chosen (M,) bool. width: of the new correct_mask, (M, width).
        """

        def spread(figures: Tensor) -> Tensor:
            every = figures.new_zeros(len(chosen), *figures.shape[1:])
            return every.masked_scatter(chosen.view(-1, *[1] * (figures.dim() - 1)), figures)

        correct_mask = F.pad(self.correct_mask, (0, width - self.correct_mask.shape[1]))
        penalty = None if self.penalty is None else spread(self.penalty)
        return Likelihood(
            spread(self.log_probs), spread(self.tokens), spread(correct_mask), penalty
        )


@dataclass(frozen=True)
class Objective:
    """What a model is fitted by besides its likelihood.

    The loss of an utterance is -log p + penalty, summed over its tokens.

    label_smoothing: eps of (1 - eps) * -log p(target) + eps * mean over the vocabulary of -log p
    (Szegedy et al. 2016).
    unlikelihood: alpha of -alpha * sum of log(1 - p(c)) over the distinct tokens c that precede
    this target in the utterance, except the target itself: the token level of Welleck et al. 2020.
    sampled: sum the softmax only over the targets of the batch and so many other tokens, drawn anew
    each time, which stand for all the others (Jean et al. 2015). None: over the whole vocabulary.
    distilled: share of the loss that is cross-entropy with a teacher's probabilities instead of the
    true word (Hinton et al. 2015, arXiv 1503.02531). teacher (P, V): those probabilities, utterance
    by utterance, as in the table of the teacher's Likelihood.
    keeps_table: whether to return the table of the Likelihood.
    """

    label_smoothing: float = 0.0
    unlikelihood: float = 0.0
    sampled: int | None = None
    distilled: float = 0.0
    teacher: Tensor | None = None
    keeps_table: bool = False

    def among(self, chosen: Tensor, lengths: Tensor) -> Objective:
        """Restrict it to the chosen utterances: chosen (M,) bool; lengths (M,), on the CPU."""
        if self.teacher is None:
            return self
        device = self.teacher.device
        return replace(self, teacher=self.teacher[chosen.repeat_interleave(lengths.to(device))])


LIKELIHOOD = Objective()  # no penalty: plain cross-entropy


State = TypeVar("State", bound=DecoderState)


class Model(Protocol[State]):
    """The four calls.

    `history` is of the model's own kind; if it is a tensor (N, C), the empty history is zeros.
    """

    def encode_turn(self, token_ids: Tensor, lengths: Tensor, history: Any) -> Any:
        """Add one utterance, (N, T), to the history of N rows; None is the empty history."""
        ...

    def start(self, history: Any) -> State:
        """Begin a reply to each history: N rows."""
        ...

    def step(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token per row, (R,), and return the log-probabilities of the next.

        These are (R, V) in float32, and the caller may overwrite them.
        """
        ...

    def log_likelihood(self, batch: Batch) -> Likelihood:
        """Score every utterance of the batch, each given its conversation so far."""
        ...


class ModelModule(Model[State], Protocol[State]):
    """A model as seen by loading, fitting and saving: the four calls and those of any nn.Module."""

    def parameters(self) -> Iterator[nn.Parameter]: ...  # noqa: D102
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...  # noqa: D102
    def state_dict(self) -> dict[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Mapping[str, Any], *, assign: bool = False) -> Any: ...  # noqa: D102
    def zero_grad(self, set_to_none: bool = True) -> None: ...  # noqa: D102
    def train(self, mode: bool = True) -> Self: ...  # noqa: D102
    def eval(self) -> Self: ...  # noqa: D102
    def bfloat16(self) -> Self: ...  # noqa: D102
    def to(self, device: torch.device) -> Self: ...  # noqa: D102


class ModelClass(Protocol):
    """The class that a checkpoint names; it builds models from the sizes in config.json."""

    def from_config(self, config: ModelConfig, *, bos_id: int) -> ModelModule[Any]:
        """Build a model from those of the sizes that it needs.

        bos_id: the token that precedes every reply.
        """
        ...


class Configured:
    """A base class for models whose constructor takes vocab_size, bos_id and SETTINGS.

    SETTINGS are names of fields of ModelConfig.
    """

    SETTINGS: ClassVar[frozenset[str]]

    @classmethod
    def from_config(cls, config: ModelConfig, *, bos_id: int) -> Self:
        """Build the model that a configuration describes.

        Raises ValueError on incompatible sizes.
        """
        settings = {name: getattr(config, name) for name in cls.SETTINGS}
        model: Self = cast(Any, cls)(vocab_size=config.vocab_size, bos_id=bos_id, **settings)
        return model


def unchanged(output: Tensor) -> Tensor:
    """Return log-probabilities as they are: a model's own `step` has already computed them."""
    return output


@dataclass(frozen=True)
class PreparedModel(Generic[State]):
    """What talking needs of a model: hear a turn, begin a reply, and take a step of one token.

    A step comes in two halves, so that many tokens can share the output layer: `read` reads a token
    (R,) into the state and returns the output (R, ...) after it, which must not be overwritten;
    `log_probs` maps outputs to the log-probabilities (R, V) of the next token, in a new tensor.
    is_apart: whether it has its own copy of the weights, so that the model's may be freed.
    """

    encode_turn: Callable[[Tensor, Tensor, Any], Any]
    start: Callable[[Any], State]
    read: Callable[[Tensor, State], tuple[Tensor, State]]
    log_probs: Callable[[Tensor], Tensor] = unchanged
    precision: str = "fp32"  # of the output layer
    is_apart: bool = False

    def step(self, token_ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token per row and return the log-probabilities of the next, like Model.step."""
        output, state = self.read(token_ids, state)
        return self.log_probs(output), state


@runtime_checkable
class Penalises(Protocol):
    """A model that can be fitted by an Objective, and with decoder inputs other than the truth."""

    def penalised(self, batch: Batch, objective: Objective) -> Likelihood:
        """Score like log_likelihood, with an objective's penalty.

        The decoder reads batch.decoder_input if there is one.
        """
        ...


@runtime_checkable
class ReadsOn(Protocol):
    """A model of running text: a batch may continue the previous one, even within an utterance."""

    def read_on(self, batch: Batch, objective: Objective) -> tuple[Likelihood, Tensor]:
        """Score like penalised, and return the detached history after each conversation, (N, C)."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A model that can lay its weights out for decoding.

    Later changes of the weights do not affect the result.
    """

    def prepare(self, precision: str) -> PreparedModel[Any]:
        """Lay out all calls but log_likelihood.

        precision: of the output layer, see dialogue.models.projection.
        """
        ...


def prepare(model: Model[Any], precision: str) -> PreparedModel[Any]:
    """Prepare a model for talking, in a given precision.

    If the model has no `prepare`, its own three calls are used. Raises ValueError if the model or
    the device does not support the precision.
    """
    if isinstance(model, Prepares):
        return model.prepare(precision)
    if precision not in ("auto", "fp32"):
        raise ValueError(
            f"precision is {precision!r}; {type(model).__name__} has no `prepare`, so it decodes "
            "in fp32 alone"
        )
    return PreparedModel(model.encode_turn, model.start, model.step)
