"""flask-ask-sdk's adapter, loaded without the certvalidator package.

Importing flask_ask_sdk imports certvalidator, which imports oscrypto, which raises
LibraryNotFoundError on OpenSSL 3.0.10 and later (it reads only one digit of the version). None of
it is needed, because skill.verify runs before the SDK, so a stub with three names takes its place.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ask_sdk_core.skill import CustomSkill
    from flask import Flask


def skill_adapter(skill: CustomSkill, app: Flask) -> Any:
    """Build flask-ask-sdk's adapter for a skill."""
    if "certvalidator" not in sys.modules:
        stub, errors = ModuleType("certvalidator"), ModuleType("certvalidator.errors")
        never = type("NeverRaised", (Exception,), {})
        vars(errors).update(ValidationError=never, PathError=never)
        vars(stub).update(CertificateValidator=None, errors=errors)
        sys.modules |= {"certvalidator": stub, "certvalidator.errors": errors}
    from flask_ask_sdk.skill_adapter import SkillAdapter

    return SkillAdapter(skill=skill, skill_id="skill", app=app)
