"""What is said to the log."""

import pytest


@pytest.fixture
def said(monkeypatch):
    """Lines that the checks of this package print, in order."""
    lines = []
    for module in ('annotations', 'datasets', 'images', 'parts', 'surroundings', 'voc'):
        name = f'btkd_det.preflight.{module}.print_log'
        monkeypatch.setattr(name, lambda line, *args, **kwargs: lines.append(line))
    return lines
