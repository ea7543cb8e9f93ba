"""Where knowledge is taken, and which losses stand there."""

import re

from torch import nn

from ..errors import ConfigError
from ..registry import MODELS, build, suggest


class Sites(nn.ModuleDict):
    """The losses of each site of a distilled model, by the site's name.

    Args:
        cfg (dict[str, dict | list[dict]] | None): Site name to a loss or a list of losses.
        valid (dict[str, str]): Each site that the model has, with the registered base class of
            the losses that can stand there.

    Raises:
        ConfigError: An unknown site, or a loss that cannot stand there.
    """

    def __init__(self, cfg, valid):
        super().__init__()
        if cfg is None:
            cfg = {}
        if not isinstance(cfg, dict):
            raise ConfigError(f'distill: expected dict(site=loss, ...), got {cfg!r}')
        for site, losses in cfg.items():
            if site not in valid:
                raise ConfigError(
                    f'distill: unknown site {site!r}{suggest(site, valid)}; valid sites: '
                    f'{", ".join(valid)}'
                )
            base = MODELS.get(f'btkd_det.{valid[site]}')
            if not isinstance(losses, (list, tuple)):
                losses = [losses]
            self[site] = nn.ModuleList(
                build(loss, _field(site, i, len(losses)), base) for i, loss in enumerate(losses)
            )

    def evaluate(self, site, *args, **extras):
        """Call every loss of a site.

        Args:
            site (str): The site's name. One without losses gives an empty dict.
            *args: What every loss of this site takes.
            **extras: What the site knows beside it. A loss gets those that it names in its
                ``extra_inputs``.

        Returns:
            dict[str, Tensor]: ``distill.<site>.loss_<name>`` for each loss, and
            ``distill.<site>.<entry>`` for what it saw, which MMEngine logs and does not sum.
        """
        entries = {}
        losses = self[site] if site in self else ()  # noqa: SIM401 (no get in torch 2.4)
        for loss in losses:
            name = snake_case(type(loss).__name__.removesuffix('Loss'))
            key, number = f'distill.{site}.loss_{name}', 1
            while key in entries:
                number += 1
                key = f'distill.{site}.loss_{name}{number}'
            wanted = getattr(loss, 'extra_inputs', ())
            entries[key] = loss(*args, **{k: v for k, v in extras.items() if k in wanted})
            for entry, value in getattr(loss, 'log_vars', {}).items():
                entries[f'distill.{site}.{entry}{number if number > 1 else ""}'] = value
        return entries


def snake_case(name):
    """``'ReviewKD'`` -> ``'review_kd'``: the name of a class as a log entry."""
    return re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name).lower()


def _field(site, index, count):
    return f'distill.{site}' if count == 1 else f'distill.{site}[{index}]'
