"""What holds for all tests."""

from hypothesis import settings

# A property does not hold less on a machine that is busy with something else.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
