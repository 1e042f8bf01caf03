from ..skill.conftest import alexa, many_files, outside  # noqa: F401  (fixtures)
