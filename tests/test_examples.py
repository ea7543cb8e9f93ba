"""The examples of docstrings and pages print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / 'docs'
PAGES = sorted((DOCS / 'reference').glob('*.md'))
NAMES = [
    pytest.param(name, section, id=name.removeprefix('btkd_det.'))
    for page in PAGES
    for name, section in re.findall(
        r'^::: ([\w.]+)\n(.*?)(?=^:::|\Z)', page.read_text(), re.DOTALL | re.MULTILINE
    )
]


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Random states, and MMEngine's scope, as they were."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize(('name', 'section'), NAMES)
def test_all_in_the_reference_have_an_example_that_runs(name, section):
    module, _, member = name.rpartition('.')
    text = f'{getattr(importlib.import_module(module), member).__doc__}\n{section}'
    # A block of a page ends there; nothing after it is what the example prints.
    text = text.replace('```\n', '\n')
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f'{name} has no example'
    printed = []
    result = doctest.DocTestRunner().run(example, out=printed.append)
    assert result.failed == 0, ''.join(printed)
