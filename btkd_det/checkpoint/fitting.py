"""Weights into a model, and what of them does not fit, by what the model's modules say."""

import re

from ..errors import ConfigError
from .reading import read_checkpoint

#: What a checkpoint may have beyond the model: what distillation learned, the values by which
#: images are normalized, and MMDetection 2's averaged copy of the weights.
EXTRA = ('distill.', 'data_preprocessor.', 'ema_')
_SHAPES = re.compile(
    r'size mismatch for (\S+): .*shape torch\.Size\(\[(.*?)\]\) from checkpoint, '
    r'the shape in current model is torch\.Size\(\[(.*?)\]\)'
)


def load_weights(model, source, field):
    """Load all weights of ``model`` from a checkpoint, or say what does not fit.

    Keys under ``distill.`` in the checkpoint (what distillation learned) are passed over, so
    that a distilled student loads into its plain model.

    Args:
        model (nn.Module): Takes the weights.
        source (str | Path): As in :func:`read_checkpoint`.
        field (str): Where ``source`` stands in the config.

    Returns:
        dict: The checkpoint's ``meta``.

    Raises:
        ConfigError: The file cannot be read, or its weights are of another architecture.
    """
    state, meta = read_checkpoint(source, field)
    misfits = load_state(model, state)
    if misfits:
        raise ConfigError(
            f'{field}: {source} does not fit {type(model).__name__}, {shown(misfits)}. Valid is a '
            'checkpoint of the same architecture and the same number of classes'
        )
    return meta


def shown(misfits):
    """The first of many differences, in words."""
    more = f'; and {len(misfits) - 4} more' if len(misfits) > 4 else ''
    return f'{len(misfits)} differences: {"; ".join(misfits[:4])}{more}'


def load_state(model, state, extra=EXTRA):
    """Load what fits of a state dict, and tell what keeps it from being the model's whole one.

    The model itself is asked: its modules may rename the keys of older versions, or resize what
    depends on the size of an image.

    Args:
        model (nn.Module): Takes the weights.
        state (dict[str, Tensor]): A state dict.
        extra (tuple[str]): Beginnings of keys that may be missing in the model.

    Returns:
        list[str]: One line for each differing shape and each missing or unexpected key; empty
        where everything fits.
    """
    keys = []
    note = lambda module, result: keys.append((list(result[0]), list(result[1])))
    handle = model.register_load_state_dict_post_hook(note)
    shapes = []
    try:
        model.load_state_dict(state, strict=False)
    except Exception as error:  # a module may do anything with weights that are not its own
        shapes = _differences(error)
    finally:
        handle.remove()
    missing, unexpected = keys[-1] if keys else ([], [])
    missing = [
        f'{key} is missing there'
        for key in missing
        if not key.endswith('num_batches_tracked') and not key.startswith('distill.')
    ]
    unexpected = [f'{key} is not in the model' for key in unexpected if not key.startswith(extra)]
    return shapes + missing + unexpected


def _differences(error):
    """What PyTorch says of shapes, one line for each; or the error, where it is another."""
    found = _SHAPES.findall(str(error))
    if not found:
        return [f'{type(error).__name__}: {" ".join(str(error).split())[:200]}']
    return [f'{key} is ({there}) there and ({own}) in the model' for key, there, own in found]
