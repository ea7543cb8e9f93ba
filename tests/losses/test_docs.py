"""What docs/losses.md shows works as it is written there."""

import re
from pathlib import Path

import pytest

from btkd_det import losses
from btkd_det.bias.rectify import RULES
from btkd_det.registry import MODELS

from .every import batch

TEXT = (Path(__file__).parents[2] / 'docs/losses.md').read_text()
CALLS = sorted(set(re.findall(r'`(\w+Loss\([^`]*\))`', TEXT)))


@pytest.fixture
def own_classes():
    rules, modules = dict(RULES), dict(MODELS.module_dict)
    yield
    RULES.clear()
    RULES.update(rules)
    MODELS.module_dict.clear()
    MODELS.module_dict.update(modules)


@pytest.mark.usefixtures('own_classes')
def test_every_call_and_the_example():
    names = dict(vars(losses), num_classes=5)
    assert len(CALLS) > 15
    for code in re.findall(r'```python\n(.*?)```', TEXT, re.DOTALL):
        exec(code, names)
    for call in CALLS:
        loss = eval(call, names)
        value = loss(*batch(8, 5), progress=0.5)
        assert value.isfinite(), call
