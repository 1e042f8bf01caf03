"""The WSGI application: model, store, skill and, without verification, the simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask

from dialogue import allocator, trial
from dialogue.agent import DialogueAgent, Reply
from dialogue.batching import MOST, BatchingAgent
from dialogue.bounded import Bounds
from dialogue.checkpoint import digest
from dialogue.config import DecodeConfig
from dialogue.models.history import max_history_bytes
from dialogue.state import StateStore, Unreachable
from dialogue.state.choice import check, check_carried, open_state
from dialogue.state.memory import MemoryState
from skill import build_skill, health, simulator, workers
from skill.endpoint import mount
from skill.metrics import Metrics
from skill.reload import Reloader
from skill.settings import Settings
from skill.transaction import Transactions
from skill.verify import Verifier


def create_app(settings: Settings | None = None, agent: DialogueAgent | None = None) -> Flask:
    """Build the WSGI application: load the model once and mount the skill.

    Without settings, as in production, they are read from the environment, and SKILL_ID is
    required. Raises ValueError if SKILL_ID is missing, if the checkpoint cannot be loaded, or if
    conversations cannot be kept as configured.
    """
    if settings is None:
        settings = Settings.from_environment()
        if not settings.skill_ids:
            raise ValueError(
                "SKILL_ID is not set: without it any skill's requests would be answered "
                "(amzn1.ask.skill....)"
            )
    # Refuse whatever can be refused before the model is loaded.
    check(settings.state, keys=settings.state_keys, workers=workers.count())
    app = Flask(__name__, static_folder=None)
    metrics = Metrics()

    # First called when somebody talks; by then `served` and the store exist.
    def replied(replies: Sequence[Reply]) -> None:
        metrics.replied(replies, waiting=served.waiting)
        store = app.extensions["transactions"].store
        if isinstance(store, MemoryState):
            metrics.keeps(len(store), store.nbytes)

    if agent is None:  # tests pass their own
        allocator.keep_little()
        agent = load_agent(settings, replied)
        allocator.give_back()
    served = BatchingAgent(agent) if isinstance(agent, DialogueAgent) else agent
    app.extensions["agent"] = served
    app.extensions["reloader"] = Reloader(
        served,
        lambda: load_agent(settings, replied),
        # Without its observer, so that the metrics do not count the trial's replies.
        lambda new: trial.provoke(new.with_observer(None), settings.safety),
        version=lambda: digest(settings.checkpoint),
        told=metrics.reloaded,
    )
    checks = {
        "model": lambda: not isinstance(served, BatchingAgent) or served.is_well,
        "state": lambda: _is_reachable(app.extensions["transactions"].store),
    }
    health.mount(app, metrics, token=settings.metrics_token, checks=checks)
    if settings.verify:
        _mount_verified(app, settings, served, metrics)
    else:
        _mount_simulated(app, settings, served, metrics)
    return app


def _is_reachable(store: StateStore) -> bool:
    try:
        store.check()
    except Unreachable:
        return False
    return True


def load_agent(
    settings: Settings, observe: Callable[[Sequence[Reply]], None] | None = None
) -> DialogueAgent:
    """Load the model, and talk with it before anybody else does.

    observe: called with the replies of every later batch. Raises ValueError if the model cannot be
    loaded, says nothing, or has histories that cannot be kept as configured.
    """
    with allocator.apart():
        agent = DialogueAgent.load(
            settings.checkpoint,
            model_name=settings.model,
            decode=DecodeConfig(ranker=settings.ranker),
            safety=settings.safety,
        )
    check_carried(settings.state, max_history_bytes(agent.empty_history, half=True))
    try:
        trial.converse(agent)
    except ValueError as error:
        raise ValueError(f"{settings.checkpoint} holds no model to talk with: {error}") from None
    agent.free_weights()
    trial.fill(agent, MOST)
    return agent.with_observer(observe)


def _transactions(
    app: Flask, settings: Settings, agent: BatchingAgent, agent_of: Callable[[str], Any]
) -> Transactions:
    """Open the store of conversations."""
    store = open_state(
        settings.state,
        keys=settings.state_keys,
        history_bytes=max_history_bytes(agent.empty_history, half=True),
        bounds=Bounds(limit=settings.max_conversations, limit_bytes=settings.max_state_mb << 20),
    )
    app.extensions["transactions"] = found = Transactions(store, agent_of)
    return found


def _mount_verified(app: Flask, settings: Settings, agent: BatchingAgent, metrics: Metrics) -> None:
    """Mount the skill with verification, so that it answers only what Alexa has signed."""
    verifier = Verifier(skill_ids=settings.skill_ids)
    app.extensions["verifier"] = verifier
    skill = build_skill(
        agent,
        interaction=settings.interaction,
        safety=settings.safety,
        may_send=True,
        log_text=settings.log_text,
        metrics=metrics,
    )
    mount(
        app,
        skill,
        verifier=verifier,
        transactions=_transactions(app, settings, agent, agent.of),
        interaction=settings.interaction,
        metrics=metrics,
    )


def _mount_simulated(
    app: Flask, settings: Settings, agent: BatchingAgent, metrics: Metrics
) -> None:
    """Mount the skill without verification, and the simulator, which observes its own sessions."""
    agents = simulator.build_agents(
        agent,
        settings.checkpoint,
        load=lambda checkpoint: DialogueAgent.load(checkpoint, safety=settings.safety),
    )
    skill = build_skill(
        agents,
        interaction=settings.interaction,
        safety=settings.safety,
        log_text=settings.log_text,
        observe=agents.observe,
        metrics=metrics,
    )
    mount(
        app,
        skill,
        verifier=None,
        transactions=_transactions(app, settings, agent, agents.of),
        interaction=settings.interaction,
        metrics=metrics,
    )
    simulator.mount(app, agents, settings.interaction)
