"""Weights into a model, and what of them does not fit, by what the model's modules say."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ConfigError
from ..hints import Model
from .reading import read_checkpoint

#: What a checkpoint may have beyond the model: what distillation learned, the values by which
#: images are normalized, and MMDetection 2's averaged copy of the weights.
EXTRA = ('distill.', 'data_preprocessor.', 'ema_')
_SHAPES = re.compile(
    r'size mismatch for (\S+): .*shape torch\.Size\(\[(.*?)\]\) from checkpoint, '
    r'the shape in current model is torch\.Size\(\[(.*?)\]\)'
)


def load_weights(
    model: Model, source: str | Path, field: str, compiled: bool = False
) -> dict[str, Any]:
    """Load all weights of ``model`` from a checkpoint, or say what does not fit.

    Keys under ``distill.`` in the checkpoint (what distillation learned) are passed over, so
    that a distilled student loads into its plain model.

    Args:
        model (nn.Module): Takes the weights.
        source (str | Path): As in :func:`read_checkpoint`.
        field (str): Where ``source`` stands in the config.
        compiled (bool): Take the names of ``torch.compile``'s models, too. Defaults to False:
            MMEngine, where it is to read the same file, leaves such weights out without a word.

    Returns:
        dict: The checkpoint's ``meta``.

    Raises:
        ConfigError: The file cannot be read, its weights are of another architecture, or one is
            infinite or no number.
    """
    state, meta = read_checkpoint(source, field)
    if compiled:
        state = _uncompiled(state)
    misfits = find_misfits(model, state)
    if misfits.lines:
        raise ConfigError(
            f'{field}: {source} does not fit {type(model).__name__}, {misfits}. Valid is a '
            'checkpoint of the same architecture and the same number of classes'
        )
    bad = [name for name, value in _learned(model) if not value.isfinite().all()]
    if bad:
        more = f' and {len(bad) - 3} more' if len(bad) > 3 else ''
        raise ConfigError(
            f'{field}: {source} holds infinite values or NaN in {", ".join(bad[:3])}{more}; valid '
            'are weights of a training that did not diverge'
        )
    return meta


def _uncompiled(state: Any) -> Any:
    """The weights without the parts that ``torch.compile`` adds to their names."""
    found = OrderedDict((_without_compile(key), value) for key, value in state.items())
    versions = getattr(state, '_metadata', None)
    if versions is not None:
        found._metadata = {_without_compile(key): value for key, value in versions.items()}
    return found


def _without_compile(name: str) -> str:
    name = '.'.join(part for part in name.split('.') if part != '_orig_mod')
    # A parallel model's wrapper may be within the compiled one.
    return name.removeprefix('module.')


def _learned(model: Any) -> Iterator[Any]:
    """What training changes, and would pass on; other buffers may hold infinities, as masks do."""
    yield from model.named_parameters()
    for name, value in model.named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            yield name, value


@dataclass
class Misfits:
    """What keeps a state dict from being the whole one of a model.

    Attributes:
        differing (dict[str, str]): What differs, in words, by the key.
        missing (list[str]): Keys of the model that the state dict lacks.
        unexpected (list[str]): Keys that the model lacks.
        broken (str | None): What went wrong when the model looked at the weights.
    """

    differing: dict
    missing: list
    unexpected: list
    broken: str | None = None

    @property
    def lines(self) -> list[Any]:
        """One line for each; empty where everything fits."""
        return [
            *([self.broken] if self.broken else []),
            *(f'{key} is {how}' for key, how in self.differing.items()),
            *(f'{key} is missing there' for key in self.missing),
            *(f'{key} is not in the model' for key in self.unexpected),
        ]

    def left(self, keys: Any) -> list[Any]:
        """Those of the model's keys that got no value."""
        without = {*self.differing, *self.missing}
        return [key for key in keys if self.broken or key in without]

    def __str__(self) -> str:
        lines = self.lines
        more = f'; and {len(lines) - 4} more' if len(lines) > 4 else ''
        count = '1 difference' if len(lines) == 1 else f'{len(lines)} differences'
        return f'{count}: {"; ".join(lines[:4])}{more}'


def find_misfits(model: Model, state: dict[str, Tensor]) -> Misfits:
    """Load what fits of a state dict, and tell what keeps it from being the model's whole one.

    The model itself is asked: its modules may rename the keys of older versions, or resize what
    depends on the size of an image.

    Args:
        model (nn.Module): Takes the weights.
        state (dict[str, Tensor]): A state dict.

    Returns:
        Misfits: Its ``lines`` are empty where everything fits. What distillation learned, and
        how many batches a normalization has seen, may be missing.
    """
    keys = []
    note = lambda module, result: keys.append((list(result[0]), list(result[1])))
    handle = model.register_load_state_dict_post_hook(note)
    differing, broken = {}, None
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # a module may do anything with weights that are not its own
        found = _SHAPES.findall(str(error))
        differing = {key: f'({there}) there and ({own}) in the model' for key, there, own in found}
        if not found:
            broken = f'{type(error).__name__}: {" ".join(str(error).split())[:200]}'
    finally:
        handle.remove()
    missing, unexpected = keys[-1] if keys else ([], [])
    optional = lambda key: key.endswith('num_batches_tracked') or key.startswith('distill.')
    return Misfits(
        differing,
        [key for key in missing if not optional(key)],
        [key for key in unexpected if not key.startswith(EXTRA)],
        broken,
    )
