"""What MMRazor's recorders see, as a site and a level of ours."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from ..config import ANY, CLASSIFIER, TWO_STAGE
from .errors import NoCounterpart
from .levels import check_no_index, map_index, neck_level, out_indices, pooled_level, stage_level
from .losses import POOLED
from .sides import kind_of, type_text

FEATURE_SITES = ('fpn', 'backbone', 'features')
_RECORD = ('recorder', 'from_student', 'record_idx', 'data_idx', 'connector', 'connector_idx')
# A connector that says this, or leaves it out, is the plain convolution that an adapter is. The
# activation is not among them: left out, it is MMCV's ReLU.
_PLAIN_CONVOLUTION = dict(
    kernel_size=(1, (1, 1), [1, 1]),
    stride=(1, (1, 1), [1, 1]),
    padding=(0, (0, 0), [0, 0]),
    dilation=(1, (1, 1), [1, 1]),
    groups=(1,),
    bias=('auto', True),
    conv_cfg=(None, dict(type='Conv2d')),
    norm_cfg=(None,),
    with_spectral_norm=(False,),
    padding_mode=('zeros',),
    init_cfg=(None,),
)
# Without an effect where there is neither norm nor activation.
_IDLE = ('type', '_scope_', 'in_channel', 'out_channel', 'act_cfg', 'inplace', 'order')
# Where the labels of the rows come from: site, recorder, its source, place in the record.
_LABELS = {
    'logits': ('ModuleInputs', r'head\.loss_module', 1),
    'roi_logits': ('MethodOutputs', r'.*BBoxHead\.get_targets', 0),
}


class Places:
    """The records of one distiller, found among the sites of a distilled class.

    Args:
        distiller (dict): The ``ConfigurableDistiller``.
        distilled (str): The distilled class, see :func:`btkd_det.config.distilled_type`.
        student (dict): The student's model config.
        teacher (dict): The teacher's.
        note (Callable[[str], None]): Takes what reads differently.
    """

    def __init__(
        self,
        distiller: dict[str, Any],
        distilled: str,
        student: dict[str, Any],
        teacher: dict[str, Any],
        note: Callable[[str], None],
    ) -> None:
        self.distiller = distiller
        self.distilled = distilled
        self.student = student
        self.teacher = teacher
        self.note = note
        self._uses = Counter(
            record.get('connector')
            for mapping in (distiller.get('loss_forward_mappings') or {}).values()
            for record in (mapping or {}).values()
        )

    def of_loss(self, mapping: dict[str, Any], keys: tuple, takes_maps: bool) -> tuple[str, tuple]:
        """Where a loss stands.

        Args:
            mapping (dict): Its entry in ``loss_forward_mappings``.
            keys (tuple): Its arguments for the student, the teacher and the labels, if any.
            takes_maps (bool | str): Whether it is a loss for feature maps, or for their means.

        Returns:
            tuple[str, tuple]: The site, and the levels of the student and the teacher, each None
            for all.

        Raises:
            NoCounterpart: There is no such place, or it is none for this loss.
        """
        for key in mapping:
            if key not in keys:
                raise NoCounterpart(f'its argument {key!r} in loss_forward_mappings is not known')
        site, level = self._place(mapping.get(keys[0]), keys[0], self.student, True)
        partner, its = self._place(mapping.get(keys[1]), keys[1], self.teacher, False)
        if site != partner or (level is None) != (its is None):
            raise NoCounterpart(
                f'the student is asked at {_place_text(site, level)} and the teacher at '
                f'{_place_text(partner, its)}'
            )
        if POOLED in (takes_maps, site):
            return self._of_means(takes_maps, site), (level, its)
        if takes_maps != (site in FEATURE_SITES):
            raise NoCounterpart(f'it cannot stand at the site {site}')
        if mapping[keys[0]].get('connector'):
            self._check_connector(mapping[keys[0]].connector, site)
        if keys[2]:
            self._check_labels(mapping.get(keys[2]), keys[2], site)
        return site, (level, its)

    def _of_means(self, takes_maps: Any, site: Any) -> Any:
        """The site of a loss that compares the means of maps, where it is given them."""
        if takes_maps != site:
            raise NoCounterpart(
                "it is not given the means of maps; valid for it: 'neck.gap' of a classifier"
                if takes_maps == POOLED
                else "it is given the means of maps at 'neck.gap', and takes maps or logits"
            )
        return 'features'

    def _place(self, record: Any, key: str, model: Any, from_student: Any) -> Any:
        """Site and level of one record of scores or maps."""
        recorder = self._recorder(record, key)
        if bool(record.get('from_student')) != from_student:
            raise NoCounterpart(f'{key} comes from the wrong model')
        if kind_of(recorder) != 'ModuleOutputs':
            raise NoCounterpart(f'its recorder {recorder.get("type")!r} is not ModuleOutputs')
        if record.get('connector') and not from_student:
            raise NoCounterpart(
                f"the connector {record.connector} changes the teacher's: btkd_det adapts the "
                "student's maps alone"
            )
        place = self._site(str(recorder.get('source')), record.get('data_idx'), model)
        if 'roi_logits' in place:
            self.note(
                'roi_logits: the teacher is asked about the RoIs that the student samples; in '
                'MMRazor each samples its own'
            )
        return place

    def _recorder(self, record: Any, key: str) -> Any:
        """The recorder of a record of which nothing but a connector remains to be looked at."""
        if not isinstance(record, dict):
            raise NoCounterpart(f'loss_forward_mappings does not give {key}')
        for name, value in record.items():
            if name not in _RECORD:
                raise NoCounterpart(f'the key {name!r} of {key} is not known')
            if name in ('record_idx', 'connector_idx') and value not in (None, 0):
                raise NoCounterpart(f'{name}={value} has no counterpart')
        if record.get('connector_idx') is not None:
            raise NoCounterpart(f'connector_idx={record.connector_idx} has no counterpart')
        whose = 'student_recorders' if record.get('from_student') else 'teacher_recorders'
        recorder = (self.distiller.get(whose) or {}).get(record.get('recorder'))
        if not isinstance(recorder, dict):
            raise NoCounterpart(f'there is no recorder {record.get("recorder")!r} in {whose}')
        return recorder

    def _check_labels(self, record: Any, key: str, site: str) -> None:
        """Ours are always the true labels of the rows."""
        recorder = self._recorder(record, key)
        kind, source, index = _LABELS[site]
        found = type_text(recorder), str(recorder.get('source')), record.get('data_idx')
        if found[0] != kind or not re.fullmatch(source, found[1]) or found[2] != index:
            raise NoCounterpart(
                f'{key} comes from {found[0]} of {found[1]!r} with data_idx={found[2]}; valid for '
                f'a translation are the labels: {kind} of {source!r} with data_idx={index}'
            )

    def _check_connector(self, name: str, site: str) -> None:
        """A connector is an adapter of ours, or has no counterpart."""
        connector = (self.distiller.get('connectors') or {}).get(name)
        parts = list(connector) if isinstance(connector, (list, tuple)) else [connector]
        if len(parts) == 1 and isinstance(parts[0], dict):
            odd = _not_plain(parts[0])
        else:
            odd = 'is not there' if connector is None else 'is several'
        if site not in FEATURE_SITES:
            odd = f'stands at {site}'
        elif self._uses[name] > 1:
            odd = odd or f'is shared by {self._uses[name]} losses'
        if odd:
            raise NoCounterpart(
                f"the connector {name} {odd}: btkd_det adapts the student's maps alone, by a "
                'convolution for each loss and level, 1 x 1 and without norm and activation, '
                'where channels differ'
            )
        self.note(
            f'connectors.{name}: btkd_det makes the 1 x 1 convolution by itself where channels '
            "differ, with PyTorch's initialization"
        )

    def _site(self, source: str, data_idx: Any, model: Any) -> tuple:
        """Where ours takes what a module of the model gives."""
        if self.distilled == CLASSIFIER:
            if source == 'backbone' or source.startswith('backbone.'):
                return 'features', stage_level(source, data_idx, model.get('backbone') or {})
            if source == 'neck.gap':
                return POOLED, pooled_level(source, data_idx, model)
            single = {'head.fc': 'logits'}
        else:
            if source == 'neck' or source.startswith('neck.fpn_convs'):
                return 'fpn', neck_level(source, data_idx, model.get('neck'))
            if self.distilled == ANY and source == 'backbone':
                stages = out_indices(model.get('backbone') or {})
                return 'backbone', map_index(data_idx, stages, 'the backbone')
            two_stage = self.distilled == TWO_STAGE
            single = {'roi_head.bbox_head.fc_cls': 'roi_logits'} if two_stage else {}
        if source not in single:
            raise NoCounterpart(f'{self.distilled.partition(".")[2]} has no site at {source!r}')
        check_no_index(source, data_idx)
        return single[source], None


def _place_text(site: str, level: int) -> Any:
    return site if level is None else f'{site}[{level}]'


def _not_plain(connector: Any) -> str | None:
    """What makes a connector more than a plain 1 x 1 convolution; None if nothing does."""
    if kind_of(connector) != 'ConvModuleConnector':
        return f'is a {type_text(connector)}'
    for key, value in connector.items():
        if key not in (*_PLAIN_CONVOLUTION, *_IDLE):
            return f'has the unknown key {key!r}'
        if key in _PLAIN_CONVOLUTION and value not in _PLAIN_CONVOLUTION[key]:
            return f'has {key}={value!r}'
    if 'act_cfg' not in connector:
        return 'has no act_cfg, which means ReLU'
    if connector.act_cfg is not None:
        return f'has act_cfg={connector.act_cfg!r}'
    if connector.get('in_channel') == connector.get('out_channel'):
        return f'goes from {connector.get("in_channel")} channels to as many'
    return None
