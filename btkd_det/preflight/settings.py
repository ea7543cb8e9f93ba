"""Settings that the runner passes on: seeds, processes, the log, the rate's scale."""

import inspect
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from ..checks import check_choice, check_known_keys, check_whole
from ..errors import ConfigError
from .building import ERRORS, build_part, reason


def check_settings(cfg: Config) -> None:
    """Check what the runner hands to functions rather than builds.

    Args:
        cfg (Config): The whole config.

    Raises:
        ConfigError: A setting has a key or a value that its function refuses.
    """
    _check_randomness(_dict(cfg, 'randomness'))
    environment = _dict(cfg, 'env_cfg')
    distributed = (cfg.get('launcher') or 'none') != 'none'
    processes = environment.get('mp_cfg') or {}
    try:
        set_multi_processing(**processes, distributed=distributed)
    except ERRORS as error:
        raise ConfigError(
            f'env_cfg.mp_cfg: {processes!r}: {reason(error)}; valid: dict(mp_start_method='
            "'fork' or 'spawn', opencv_num_threads=0)"
        ) from error
    limit = environment.get('resource_limit', 4096)
    check_whole('env_cfg.resource_limit', limit)
    level = cfg.get('log_level', 'INFO')
    names = ('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'NOTSET')
    if not (isinstance(level, int) and level in range(51)):
        check_choice('log_level', level, names)
    processor = {'type': 'LogProcessor', **_dict(cfg, 'log_processor')}
    scope = cfg.get('default_scope') or 'mmengine'
    build_part(processor, root.LOG_PROCESSORS, 'log_processor', scope)
    _check_scaling(_dict(cfg, 'auto_scale_lr'))


def _dict(cfg: Config, key: str) -> Any:
    value = cfg.get(key)
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f'{key}: {value!r}; valid: dict(...) or None')
    return value or {}


def _check_randomness(given: Any) -> None:
    valid = [n for n in inspect.signature(Runner.set_randomness).parameters if n != 'self']
    check_known_keys('randomness', given, valid)
    seed = given.get('seed')
    if given and 'seed' not in given:
        raise ConfigError("randomness: needs the key 'seed'; valid: a whole number, or None")
    check_whole('randomness.seed', seed, least=0, below=2**32, optional=True)


def _check_scaling(given: Any) -> None:
    if not given.get('enable'):
        return
    check_whole('auto_scale_lr.base_batch_size', given.get('base_batch_size'), least=1)
