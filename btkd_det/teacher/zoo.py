"""Where the model zoo keeps a teacher's weights."""

from mmengine.hub import get_config

from ..config.reading import read_config
from ..errors import ConfigError


def pretrained_address(config: str) -> str:
    """Where the model zoo keeps the weights of a config of an installed package.

    Args:
        config (str): ``'mmdet::...'``.

    Returns:
        str: An http(s) address.

    Raises:
        ConfigError: The config is of no package, or the zoo lists no weights for it.
    """
    if not isinstance(config, str) or '::' not in config:
        raise ConfigError(
            "teacher.checkpoint: 'pretrained' needs a config of an installed package, such as "
            f"teacher.config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py', got {config!r}"
        )
    read_config(config, 'teacher.config')
    try:
        address = get_config(config, pretrained=True).get('model_path')
    except AssertionError:
        address = None
    if not address:
        raise ConfigError(
            f'teacher.checkpoint: the model zoo lists no weights for {config!r}; give '
            'the path of a checkpoint'
        )
    return address
