"""Alexa in, Alexa out. Knows Alexa, Flask and the agent's two calls (respond, forget); knows no tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ask_sdk_core.skill import CustomSkill

    from dialogue.agent import DialogueAgent


def build_skill(agent: DialogueAgent) -> CustomSkill:
    """Build the skill: its handlers in order, the most specific first."""
    from ask_sdk_core.skill_builder import SkillBuilder

    from skill import handlers
    from skill.session import Conversations

    conversations = Conversations(agent)
    builder = SkillBuilder()
    for handler in (
        handlers.CanFulfill(),
        handlers.Launch(conversations),
        handlers.Chat(conversations),
        handlers.YesNo(conversations),
        handlers.Help(),
        handlers.Repeat(),
        handlers.StartOver(conversations),
        handlers.Leave(conversations),
        handlers.Resume(),
        handlers.NotUnderstood(),
        handlers.Ended(conversations),
        handlers.Disabled(conversations),
        handlers.Silent(),
    ):
        builder.add_request_handler(handler)
    builder.add_exception_handler(handlers.Trouble())
    return builder.create()
