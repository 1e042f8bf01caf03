"""Everything about Alexa: requests in, responses out.

This package knows Alexa, Flask and the four calls of `skill.responder.Agent`, but no tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ask_sdk_core.skill import CustomSkill

    from dialogue.answers import Answer
    from dialogue.safety import Level
    from skill.interaction_settings import InteractionSettings
    from skill.metrics import Metrics
    from skill.responder import Agent


def build_skill(
    agent: Agent,
    *,
    interaction: InteractionSettings | None = None,
    safety: Level = "standard",
    may_send: bool = False,
    log_text: bool = False,
    observe: Callable[[str, str, Answer], None] | None = None,
    metrics: Metrics | None = None,
) -> CustomSkill:
    """Build the skill from the routes of skill.handlers.

    interaction: the skill's names and how it takes free speech; None: read settings.toml. metrics:
    counts the answers. The other arguments are those of `Responder`.
    """
    from ask_sdk_core.skill_builder import SkillBuilder

    from dialogue.safety import fixed_answer
    from skill import commands, handlers
    from skill.interaction_settings import load
    from skill.metrics import Metrics
    from skill.responder import Responder

    interaction = interaction or load()
    # Compile both pattern lists now (they are cached), so that the first user does not wait.
    commands.compiled(interaction.invocation_name)
    fixed_answer("hello", seed="", level=safety)
    metrics = metrics or Metrics()

    def answered(request: str, session: str, given: Answer) -> None:
        metrics.answered(given)
        if observe:
            observe(request, session, given)

    responder = Responder(
        agent, safety=safety, may_send=may_send, log_text=log_text, observe=answered
    )
    builder = SkillBuilder()
    builder.add_global_request_interceptor(handlers.Interaction(interaction))
    builder.add_global_request_interceptor(handlers.Remember())
    for route in handlers.ROUTES:
        builder.add_request_handler(handlers.Handler(route, responder))
    builder.add_exception_handler(handlers.Trouble(metrics.failed))
    return builder.create()
