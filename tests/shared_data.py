"""Where the data lie that some tests use and that are too large, or not ours, to be in the repo."""

import os
from pathlib import Path

#: Names the folder; without it, ``shared/data`` beside the checkout.
VARIABLE = 'BTKD_DET_TEST_DATA'

SHARED_DATA = Path(
    os.environ.get(VARIABLE) or Path(__file__).resolve().parents[2] / 'shared' / 'data'
)


def absent(what):
    """The reason to skip a test.

    Args:
        what (str): What it needs.

    Returns:
        str: The reason.
    """
    return f'needs {what}, not in {SHARED_DATA}; {VARIABLE} names another folder'
