"""Which sites a model has, and which losses can stand at them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log

from ..config.named_types import type_package
from ..config.reading import losses_of, type_name
from ..errors import ConfigError
from ..registry import MODELS, SCOPE, SITES, registered
from .base import Site


def sites_of(recorders: Sequence[type]) -> dict[str, type[Site]]:
    """The registered sites of a model that has these recorders.

    Args:
        recorders (Sequence[type]): Of :class:`~btkd_det.sites.base.Recorder`.

    Returns:
        dict[str, type[Site]]: Name to the class.
    """
    SITES.import_from_location()
    return {
        name: site
        for name, site in SITES.module_dict.items()
        if any(issubclass(recorder, site.recorder) for recorder in recorders)
    }


def check_place(
    losses: dict[str, Any] | list[Any], site: str, valid: dict[str, type[Site]]
) -> None:
    """Raise a ConfigError that says where a loss can stand that stands at a site of another kind.

    Args:
        losses (dict | list): As the config states them.
        site (str): Where they stand.
        valid (dict[str, type[Site]]): The sites of the model.
    """
    families = {name: MODELS.get(f'btkd_det.{cls.family}') for name, cls in valid.items()}
    for loss in losses_of(losses):
        name = loss.get('type') if isinstance(loss, dict) else None
        ours = type_package(loss) in ('', SCOPE)
        cls = MODELS.module_dict.get(type_name(loss)) if ours else None
        if not isinstance(cls, type):
            continue
        places = [other for other, family in families.items() if issubclass(cls, family)]
        if places and site not in places:
            raise ConfigError(
                f'distill.{site}.type: {name!r} cannot stand at {site}; valid for it here: '
                f'{", ".join(places)}; valid types there: {", ".join(registered(families[site]))}'
            )


def check_options(
    losses: dict[str, Any] | list[Any], site: str, valid: dict[str, type[Site]], error: ConfigError
) -> None:
    """Raise a ConfigError that says where an option of the site belongs that a loss was given.

    Args:
        losses (dict | list): As the config states them.
        site (str): Where they stand.
        valid (dict[str, type[Site]]): The sites of the model.
        error (ConfigError): What building the losses raised.
    """
    for loss in losses_of(losses):
        for option in valid[site].options:
            if isinstance(loss, dict) and f'unknown key {option!r} ' in str(error):
                raise ConfigError(
                    f'{error}; {option} is an option of the site: distill.{site}='
                    f'dict(losses=dict(type={loss.get("type")!r}, ...), {option}=...)'
                ) from error


def warn_if_nothing_is_distilled(sites: Mapping, valid: Iterable[str]) -> None:
    """Say in one line of the log where nothing is learned from a teacher.

    Args:
        sites (Sites): Those of the model.
        valid (Iterable[str]): The sites that the model can have.
    """
    losses = [loss for site in sites.values() for loss in site]
    empty = [name for name, site in sites.items() if not len(site)]
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
