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

    builder = SkillBuilder()
    for handler in (
        handlers.Launch(agent),
        handlers.Chat(agent),
        handlers.YesNo(agent),
        handlers.Help(),
        handlers.Repeat(),
        handlers.StartOver(agent),
        handlers.Leave(agent),
        handlers.NotUnderstood(),
        handlers.Ended(agent),
        handlers.Silent(),
    ):
        builder.add_request_handler(handler)
    builder.add_exception_handler(handlers.Trouble())
    return builder.create()
