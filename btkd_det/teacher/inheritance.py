"""A student that starts with its teacher's weights, class by class where classes are mapped."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..hints import Model
from .class_map import ClassMap

#: Of every weight's name the first part, where no weight of that part belongs to a class.
CLASS_FREE = ('neck', 'rpn_head', 'encoder', 'decoder')

_BOX = dict(fc_cls='scores', fc_reg='classes')
_SCORES = dict(fc_cls='scores')
_MASK = dict(conv_logits='classes')

#: The layers that have outputs for each class, by the class of MMDetection or MMPretrain that
#: makes the head's layers, and how they lie there; see :func:`_rows`.
HEADS = {
    **dict.fromkeys(('BBoxHead', 'ConvFCBBoxHead', 'Shared2FCBBoxHead'), _BOX),
    **dict.fromkeys(('Shared4Conv1FCBBoxHead', 'DoubleConvFCBBoxHead'), _BOX),
    **dict.fromkeys(('SABLHead', 'DIIHead'), _SCORES),
    **dict.fromkeys(('FCNMaskHead', 'HTCMaskHead', 'SCNetMaskHead'), _MASK),
    **dict.fromkeys(
        ('RetinaHead', 'RetinaSepBNHead', 'FreeAnchorRetinaHead', 'FSAFHead'),
        dict(retina_cls='anchors'),
    ),
    **dict.fromkeys(('AnchorHead', 'AnchorFreeHead', 'FCOSHead'), dict(conv_cls='anchors')),
    **dict.fromkeys(('ATSSHead', 'PAAHead', 'DDODHead'), dict(atss_cls='anchors')),
    **dict.fromkeys(('GFLHead', 'LDHead'), dict(gfl_cls='anchors')),
    **dict.fromkeys(('RTMDetHead', 'RTMDetSepBNHead'), dict(rtm_cls='anchors')),
    'TOODHead': dict(tood_cls='anchors'),
    'VFNetHead': dict(vfnet_cls='anchors'),
    'YOLOXHead': dict(multi_level_conv_cls='anchors'),
    'LinearClsHead': dict(fc='classes'),
    'VisionTransformerClsHead': {'layers.head': 'classes'},
}


def inherit(student: Model, teacher: Model, class_map: Sequence[int] | None = None) -> None:
    """Give a student the teacher's weights wherever name and shape agree, but in the backbone.

    With a ``class_map`` the student's class ``i`` gets what the teacher learned for its class
    ``class_map[i]``, in heads whose layout is known (:data:`HEADS`). A head that is not keeps its
    own initial weights: nothing that might belong to another class is copied.

    Args:
        student (nn.Module): Takes the weights.
        teacher (nn.Module): Gives them.
        class_map (Sequence[int], optional): The teacher's index of each of the student's classes.

    Raises:
        ConfigError: ``class_map`` does not go with the heads' numbers of classes.
    """
    given = teacher.state_dict()
    # Shapes that agree are of equally many classes: the same ones in the same order are no map.
    if class_map is not None and list(class_map) != list(range(len(class_map))):
        given = _in_students_classes(given, student, teacher, ClassMap(class_map))
    fits, differs = {}, []
    for name, value in student.state_dict().items():
        if name.startswith(('backbone.', 'distill.', 'data_preprocessor.')):
            continue
        if name in given and given[name].shape == value.shape:
            fits[name] = given[name]
        else:
            differs.append(name)
    student.load_state_dict(fits, strict=False)
    print_log(
        f"teacher.init_student: the student starts with the teacher's {', '.join(_parts(fits))}; "
        f'{len(differs)} weights do not fit ({", ".join(_parts(differs)) or "none"})',
        'current',
    )


def _in_students_classes(
    given: Any, student: Model, teacher: Any, class_map: Any
) -> dict[str, Tensor]:
    """Those of the teacher's weights of which it is known what they say of the student's classes.

    Returns:
        dict[str, Tensor]: By name; weights that belong to no class as they are.
    """
    mapped = {name: value for name, value in given.items() if name.split('.')[0] in CLASS_FREE}
    for prefix, head in teacher.named_modules():
        layout = _layout(head)
        if layout is None or prefix.split('.')[0] in CLASS_FREE:
            continue
        own = _module(student, prefix)
        if own is None or _layout(own) != layout:
            continue
        class_map.check(own.num_classes, head.num_classes, f"'s {prefix}")
        for name, value in head.state_dict().items():
            value = _of_head(head, layout, name, value, class_map)
            if value is not None:
                mapped[f'{prefix}.{name}'] = value
    return mapped


def _layout(head: Model) -> Any:
    """The entry of :data:`HEADS` for a module; ``None`` for one that is not known.

    A subclass of one's own counts as what it inherits from while it makes no layers itself.
    """
    for cls in type(head).__mro__:
        if '__init__' in vars(cls) or '_init_layers' in vars(cls):
            known = cls.__module__.startswith(('mmdet.', 'mmpretrain.'))
            return HEADS.get(cls.__name__) if known else None
    return None


def _module(model: Any, name: str) -> Any:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _of_head(head: Model, layout: Any, name: str, value: Any, class_map: Any) -> Any:
    """A weight of a teacher's head in the student's classes; ``None`` where that is not known."""
    # A loss may count samples by class (Seesaw).
    if name.startswith('loss_'):
        return None
    kind = next((layout[layer] for layer in layout if name.startswith(f'{layer}.')), None)
    if kind is None:
        return value
    rows = _rows(head, kind, len(value), class_map)
    return None if rows is None else value[rows.to(value.device)]


def _rows(head: Model, kind: str, count: int, class_map: list[int]) -> Tensor | None:
    """Which of a layer's rows say something of the student's classes, in their order.

    Args:
        head (nn.Module): The teacher's head.
        kind (str): ``'scores'``, one row for each class and background last; ``'classes'``,
            equally many for each class, those of a class side by side; ``'anchors'``, for each
            anchor of a position what ``'scores'`` has.
        count (int): How many rows there are.
        class_map (list[int]): See :func:`inherit`.

    Returns:
        Tensor | None: Indices; ``None`` where the rows lie otherwise.
    """
    classes = head.num_classes
    rows, chosen = torch.arange(count), torch.tensor(class_map)
    agnostic = getattr(head, 'reg_class_agnostic', False) or getattr(head, 'class_agnostic', False)
    if kind == 'classes':
        if agnostic:
            return rows
        return None if count % classes else rows.view(classes, -1)[chosen].flatten()
    width = count if kind == 'scores' else head.cls_out_channels
    if width not in (classes, classes + 1):
        return None
    if width > classes:
        chosen = torch.cat([chosen, torch.tensor([classes])])
    return rows.view(-1, width)[:, chosen].flatten()


def _parts(names: Any) -> list[Any]:
    """The first two components of parameter names, each once: ``neck.fpn_convs``."""
    return sorted({'.'.join(name.split('.')[:2]) for name in names})
