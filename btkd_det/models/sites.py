"""Where knowledge is taken, and which losses stand there."""

import logging
import re

from mmengine.logging import print_log
from torch import nn

from ..errors import ConfigError
from ..progress import forget_logged, known_progress
from ..registry import MODELS, build, registered, suggest

OPTIONS = ('losses', 'stop_at', 'stages')


class Site(nn.ModuleList):
    """The losses at one place of the model.

    Args:
        cfg (dict | list[dict]): A loss, a list of losses, or
            ``dict(losses=..., stop_at=..., stages=...)`` with a loss or a list in it.
        field (str): Where ``cfg`` stands in the config.
        base (type): The class of the losses that can stand here.
        valid (Sequence[str]): The options that make sense here; only the box heads of a cascade
            have ``stages``.

    Attributes:
        stop_at (float): The share of training after which the site is silent.
        stages (str): ``'all'`` stages of a cascade, or the ``'last'``.

    Raises:
        ConfigError: A loss does not build, or an option is unknown or out of range.
    """

    def __init__(self, cfg, field, base, valid=OPTIONS):
        super().__init__()
        options = {}
        if isinstance(cfg, dict) and 'type' not in cfg and 'losses' in cfg:
            options = dict(cfg)
            cfg = options.pop('losses')
            field = f'{field}.losses'
        for key in options:
            if key not in valid and key != '_scope_':
                raise ConfigError(
                    f'{field}: unknown key {key!r}{suggest(key, valid)}; valid keys: '
                    f'{", ".join(valid)}'
                )
        self.stop_at = options.get('stop_at', 1.0)
        self.stages = options.get('stages', 'all')
        if not isinstance(self.stop_at, (int, float)) or not 0 < self.stop_at <= 1:
            raise ConfigError(
                f'{field}.stop_at: got {self.stop_at!r}; valid: a share of training, above 0 and '
                'at most 1'
            )
        if self.stages not in ('all', 'last'):
            raise ConfigError(f"{field}.stages: got {self.stages!r}; valid: 'all', 'last'")
        several = isinstance(cfg, (list, tuple))
        for i, loss in enumerate(cfg if several else [cfg]):
            self.append(build(loss, f'{field}[{i}]' if several else field, base))

    @property
    def silent(self):
        """Whether training has passed ``stop_at``; False where nobody tells how far it is."""
        if self.stop_at == 1:
            return False
        progress = known_progress()
        return progress is not None and progress >= self.stop_at


class Sites(nn.ModuleDict):
    """The sites of a distilled model, by name.

    Args:
        cfg (dict[str, dict | list[dict]] | None): Site name to what :class:`Site` takes.
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
            if site == '_scope_':
                continue
            if site not in valid:
                raise ConfigError(
                    f'distill: unknown site {site!r}{suggest(site, valid)}; valid sites: '
                    f'{", ".join(valid)}'
                )
            base = MODELS.get(f'btkd_det.{valid[site]}')
            options = OPTIONS if site.startswith('roi_') else OPTIONS[:-1]
            try:
                self[site] = Site(losses, f'distill.{site}', base, options)
            except ConfigError as error:
                if 'is not a registered' in str(error):
                    _check_place(losses, site, valid)
                raise

    def warn_if_nothing_is_distilled(self, valid):
        """Say in one line of the log where nothing is learned from a teacher.

        Args:
            valid (Iterable[str]): The sites that the model has.
        """
        losses = [loss for site in self.values() for loss in site]
        empty = [name for name, site in self.items() if not len(site)]
        if not losses:
            stands = f'nothing stands at {", ".join(empty)}' if empty else 'it is empty'
            line = (
                f'distill: {stands}, so nothing is distilled and the student trains as the plain '
                f'model; valid sites: {", ".join(valid)}'
            )
        elif all(getattr(loss, 'loss_weight', 1) == 0 for loss in losses):
            line = 'distill: every loss_weight is 0, so nothing is distilled'
        elif empty:
            line = f'distill: nothing stands at {", ".join(empty)}; valid: a loss, or no such site'
        else:
            return
        print_log(line, 'current', logging.WARNING)

    def at(self, name):
        """The losses of a site, none where it is not there.

        Args:
            name (str): The site.

        Returns:
            Iterable[nn.Module]: Its losses.
        """
        return self[name] if name in self else ()  # noqa: SIM401 (no get in torch 2.4)

    def speaking(self):
        """The sites that have not passed their ``stop_at``.

        Returns:
            set[str]: Their names.
        """
        return {name for name, site in self.items() if not site.silent}

    def silence(self):
        """What keeps the gradients of silent sites defined; their last values leave the log.

        Returns:
            dict[str, Tensor]: A loss of exactly 0 for each silent site that learns something, so
            that distributed training misses no parameter.
        """
        for name, site in self.items():
            if site.silent:
                forget_logged(f'distill.{name}.', kept=f'distill.{name}.loss_silent')
        return {
            f'distill.{name}.loss_silent': sum(p.sum() for p in site.parameters()) * 0
            for name, site in self.items()
            if site.silent and any(True for _ in site.parameters())
        }

    def evaluate(self, name, *args, stage=None, **extras):
        """Call every loss of a site.

        Args:
            name (str): The site's name. One that is not there gives an empty dict.
            *args: What every loss of this site takes.
            stage (int, optional): The stage of a cascade, for the entries' names.
            **extras: What the site knows beside it. A loss gets those that it names in its
                ``extra_inputs``. A function is called with the loss first.

        Returns:
            dict[str, Tensor]: ``distill.<site>.loss_<loss>`` for each loss, and
            ``distill.<site>.<entry>`` for what it saw, which MMEngine logs and does not sum.
        """
        entries = {}
        prefix = f'distill.{name}.' if stage is None else f'distill.{name}.s{stage}.'
        for loss in self.at(name):
            label = snake_case(type(loss).__name__.removesuffix('Loss'))
            key, number = f'{prefix}loss_{label}', 1
            while key in entries:
                number += 1
                key = f'{prefix}loss_{label}{number}'
            wanted = getattr(loss, 'extra_inputs', ())
            known = {
                extra: value(loss) if callable(value) else value
                for extra, value in extras.items()
                if extra in wanted
            }
            entries[key] = loss(*args, **known)
            for entry, value in getattr(loss, 'log_vars', {}).items():
                entries[f'{prefix}{entry}{number if number > 1 else ""}'] = value
        return entries


def _check_place(losses, site, valid):
    """Say where a loss can stand that stands at a site of another kind."""
    losses = losses.get('losses', losses) if isinstance(losses, dict) else losses
    for loss in losses if isinstance(losses, (list, tuple)) else [losses]:
        name = loss.get('type') if isinstance(loss, dict) else None
        cls = MODELS.module_dict.get(name.rpartition('.')[2]) if isinstance(name, str) else None
        if not isinstance(cls, type):
            continue
        places = [
            other for other in valid if issubclass(cls, MODELS.get(f'btkd_det.{valid[other]}'))
        ]
        if places and site not in places:
            raise ConfigError(
                f'distill.{site}.type: {name!r} cannot stand at {site}; valid for it here: '
                f'{", ".join(places)}; valid types there: '
                f'{", ".join(registered(MODELS.get(f"btkd_det.{valid[site]}")))}'
            )


def snake_case(name):
    """``'ReviewKD'`` -> ``'review_kd'``: the name of a class as a log entry."""
    return re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name).lower()
