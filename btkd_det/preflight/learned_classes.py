"""Whether a checkpoint that is tested learned the classes that the data have."""

from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoint import class_names
from ..models.data_classes import listed
from .data import classes_of_data


def warn_of_other_classes(cfg: Config, meta: dict[str, Any], checkpoint: str) -> None:
    """Warn where a model would be measured on other classes than it learned.

    The weights fit all the same, and the numbers are of a model that looks untrained.

    Args:
        cfg (Config): The whole config, its test data checked.
        meta (dict): Of the checkpoint.
        checkpoint (str): As the command line names it.
    """
    scope = cfg.get('default_scope')
    data = classes_of_data(dict(default_scope=scope, test_dataloader=cfg.test_dataloader))
    learned = class_names(meta)
    if data is None or learned is None:
        return
    pairs = list(zip(map(str, data), map(str, learned), strict=False))
    if len(learned) >= len(data) and all(one == other for one, other in pairs):
        return
    same = sorted(map(str, data)) == sorted(map(str, learned))
    what = 'the same in another order' if same else 'others'
    print_log(
        f'CKPT: {checkpoint} learned the classes {listed(learned)}, and the test data have {what}, '
        f'{listed(data)}: a class is measured by what the model learned of another; valid: '
        'metainfo=dict(classes=...) of the data in the order of the training',
        'current',
        level=30,
    )
