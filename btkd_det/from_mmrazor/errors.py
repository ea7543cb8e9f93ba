"""Why something of MMRazor has no place in a config of ours."""


class NoCounterpart(Exception):
    """Carries the reason why something cannot be translated."""
