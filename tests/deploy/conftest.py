from ..skill.conftest import alexa, outside  # noqa: F401  (fixtures: who signs requests)
