"""Whether a training can start from, or go on with, the checkpoint that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS

from ..checkpoint import find_misfits, read_checkpoint, read_content, state_of
from ..config.named_types import builds
from ..config.reading import read_config
from ..errors import ConfigError
from ..hints import Model
from ..run_facts import KEY, differences, run_facts

#: Of a model's values the least share that a checkpoint of the same architecture gives.
LEAST_SHARE = 0.1
#: Parts of a model that know no classes, or whose number is for the images' labels alone.
_NO_CLASSES = ('rpn_head', 'data_preprocessor')
_RESUMABLE = 'valid is a checkpoint that this training has saved'


def check_weights(cfg: Config, model: Model) -> None:
    """Check the checkpoint that training starts from or is resumed from, and pretrained parts.

    Args:
        cfg (Config): The whole config; ``load_from`` may be unset.
        model (nn.Module): What :func:`check_model` built. It takes the weights.

    Raises:
        ConfigError: A checkpoint is not there, is none, or is of another architecture; one to be
            resumed from is no checkpoint of a training of this model.
    """
    _check_pretrained(cfg.model, 'model')
    source = cfg.get('load_from')
    if not cfg.get('resume'):
        if source:
            _check_start(model, source)
        return
    if source:
        _check_resume(cfg, model, source)


def _check_pretrained(node: Any, field: str) -> None:
    """Read the files that parts of a model name as their initial weights."""
    if isinstance(node, dict):
        source = node.get('checkpoint')
        if builds(node, WEIGHT_INITIALIZERS, 'mmengine', 'Pretrained', 'PretrainedInit'):
            # What lies elsewhere is fetched when it is needed, and read weights only as well.
            if isinstance(source, str) and '://' not in source:
                read_checkpoint(source, f'{field}.checkpoint')
            return
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        # A teacher's weights are its checkpoint's.
        if isinstance(value, (dict, list, tuple)) and key != 'teacher':
            _check_pretrained(value, f'{field}.{key}')


def _check_start(model: Any, source: str) -> None:
    """Hold weights to start from against the model; MMEngine takes what fits, down to nothing."""
    misfits = find_misfits(model, read_checkpoint(source, 'load_from')[0])
    own = {
        key: value.numel()
        for key, value in model.state_dict().items()
        if not key.startswith('distill.')
    }
    left = misfits.left(own)
    share = 1 - sum(own[key] for key in left) / max(sum(own.values()), 1)
    if share < LEAST_SHARE:
        raise ConfigError(
            f'load_from: {source} is of another architecture than {type(model).__name__}: of '
            f'{len(own)} weights {len(own) - len(left)} fit, {share:.0%} of all values '
            f'({misfits}). Valid is a checkpoint of this architecture, of any number of classes; '
            "weights of a backbone alone go into its init_cfg=dict(type='Pretrained', "
            "checkpoint=FILE, prefix='backbone.')"
        )
    if left:
        parts = sorted({'.'.join(key.split('.')[:3]) for key in left})
        more = f' and {len(parts) - 5} more' if len(parts) > 5 else ''
        print_log(
            f'load_from: {len(left)} of {len(own)} weights are not in {source} and start anew: '
            f'{", ".join(parts[:5])}{more}',
            'current',
            level=30,
        )


def _check_resume(cfg: Config, model: Any, source: str) -> None:
    content = read_content(source, '--resume')
    state = state_of(content, source, '--resume')
    _check_progress(cfg, content, source)
    teacher = cfg.model.get('teacher')
    teacher = teacher.get('checkpoint') if isinstance(teacher, dict) else None
    if teacher and Path(str(teacher)).resolve() == Path(str(source)).resolve():
        raise ConfigError(f"--resume: {source} is the teacher's checkpoint; {_RESUMABLE}")
    misfits = find_misfits(model, state).lines
    misfits += [
        f'{key} is missing there'
        for key in model.state_dict()
        if key.startswith('distill.') and key not in state
    ]
    if misfits:
        more = f'; and {len(misfits) - 4} more' if len(misfits) > 4 else ''
        raise ConfigError(
            f'--resume: {source} is of another model than {type(model).__name__}: '
            f'{"; ".join(misfits[:4])}{more}; {_RESUMABLE}'
        )
    other = differences(content.get(KEY), run_facts(cfg))
    if other:
        print_log(
            f'--resume: another training goes on here than {source} is of: {"; ".join(other)}',
            'current',
            level=30,
        )


def _check_progress(cfg: Config, content: Any, source: str) -> None:
    """A training goes on from its counters, its records and its optimizer's state."""
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    missing = [f'meta.{key}' for key in ('epoch', 'iter') if not isinstance(meta.get(key), int)]
    missing += [] if isinstance(content.get('message_hub'), dict) else ['message_hub']
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if saving.get('save_optimizer', True) and not isinstance(content.get('optimizer'), dict):
        missing.append('optimizer')
    if missing:
        raise ConfigError(
            f'--resume: {source} holds weights, but no {", ".join(missing)}, so there is no '
            f'training to go on with; {_RESUMABLE}, or --cfg-options load_from={source} to start '
            'from its weights'
        )


def check_named_classes(taught: tuple[str, ...], config: str | dict[str, Any], field: str) -> None:
    """Check that a teacher's checkpoint names as many classes as its model tells apart.

    Args:
        taught (tuple[str]): The names in the checkpoint.
        config (str | dict): The teacher's config.
        field (str): Where the teacher stands.

    Raises:
        ConfigError: It names more or fewer, so that no name says which output is meant.
    """
    if isinstance(config, str):
        config = read_config(config, f'{field}.config')
    if not isinstance(config, (dict, Config)):
        return
    counts = set(_class_counts(config.get('model', config)))
    if counts and len(taught) not in counts:
        raise ConfigError(
            f'{field}.checkpoint: names {len(taught)} classes, but the model of {field}.config '
            f'tells {", ".join(map(str, sorted(counts)))} apart, so its classes cannot be found by '
            'name; valid: a class_map that you state, or a checkpoint that names what it knows'
        )


def _class_counts(node: Any) -> Iterator[Any]:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key == 'num_classes' and isinstance(value, int):
            yield value
        elif isinstance(value, (dict, list, tuple)) and key not in (
            'rpn_head',
            'data_preprocessor',
        ):
            yield from _class_counts(value)
