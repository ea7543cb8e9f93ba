"""The evaluators' annotations are those of the data that they are given, and VOC's folders."""

from pathlib import Path
from xml.etree import ElementTree

from mmengine.logging import print_log

from ..config_file import type_name
from ..datasets.coco_json import read_json
from ..errors import ConfigError
from ..models.data_classes import shown

#: Annotation files of VOC that are read to see which classes they name.
MOST_XML = 200
VOC = ('VOCDataset', 'XMLDataset')
COCO_EVALUATORS = ('CocoMetric', 'CocoAP')


def check_evaluator(cfg, split):
    """Hold the annotation file of an evaluator against that of its data loader.

    Args:
        cfg (Config): The whole config, its data's files checked.
        split (str): ``'val'`` or ``'test'``.

    Raises:
        ConfigError: The file is missing, or lists other images or categories than the data.
    """
    given, loader = cfg.get(f'{split}_evaluator'), cfg.get(f'{split}_dataloader')
    if not given or not loader:
        return
    several = isinstance(given, (list, tuple))
    datasets = _coco_files(loader.get('dataset'), f'{split}_dataloader.dataset')
    for i, evaluator in enumerate(given if several else [given]):
        if not isinstance(evaluator, dict) or type_name(evaluator) not in COCO_EVALUATORS:
            continue
        path = evaluator.get('ann_file')
        field = f'{split}_evaluator[{i}].ann_file' if several else f'{split}_evaluator.ann_file'
        if not path or '://' in str(path):
            continue
        if not Path(path).is_file():
            raise ConfigError(
                f'{field}: no file {path} (looked in {Path.cwd()}); valid is the annotation file '
                f'of {split}_dataloader' + _named(datasets)
            )
        if datasets:
            _check_same_images(Path(path), datasets, field)


def _check_same_images(path, datasets, field):
    """Raise where an evaluator's file lists other images or categories than the data's files."""
    if all(path.resolve() == other.resolve() for _, other in datasets):
        return
    own = _listed(path)
    images, categories = {}, {}
    for _, other in datasets:
        found = _listed(other)
        if found is None or own is None:
            return
        images |= found[0]
        categories |= found[1]
    differing = [i for i in images if own[0].get(i, images[i]) != images[i]]
    lacking = [i for i in images if i not in own[0]]
    extra = [i for i in own[0] if i not in images]
    for what, ids in (
        ('lists other file names for', differing),
        ('does not list', lacking),
        ('expects', extra),
    ):
        if ids:
            also = ' more' if ids is extra else ''
            raise ConfigError(
                f'{field}: {path} {what} {len(ids)}{also} images (id {ids[0]!r}) '
                f'{"than" if ids is extra else "of"} the data{_named(datasets)}, so what is '
                f'predicted would be held against other images; valid: '
                f'{", ".join(str(other) for _, other in datasets)}'
            )
    if own[1] != categories:
        raise ConfigError(
            f'{field}: {path} has the categories {shown(list(own[1]))} under the ids '
            f'{list(own[1].values())[:10]}, but the data{_named(datasets)} '
            f'{shown(list(categories))} under {list(categories.values())[:10]}; valid: '
            f'{", ".join(str(other) for _, other in datasets)}'
        )


def _listed(path):
    """File name by image id and id by category name; ``None`` of a file that is no COCO."""
    try:
        content = read_json(path)
        images = {entry['id']: entry.get('file_name') for entry in content['images']}
        return images, {entry['name']: entry['id'] for entry in content['categories']}
    except (ValueError, KeyError, TypeError, AttributeError):
        # Its own check says what is wrong with it.
        return None


def _coco_files(dataset, field):
    """The annotation files of a possibly wrapped data set, (field, path); [] of a subset of one."""
    if not isinstance(dataset, dict):
        return []
    if 'dataset' in dataset:
        return _coco_files(dataset['dataset'], f'{field}.dataset')
    if 'datasets' in dataset:
        parts = [_coco_files(part, f'{field}.datasets') for part in dataset['datasets']]
        return sum(parts, []) if all(parts) else []
    path = dataset.get('ann_file')
    if not path or dataset.get('indices') is not None or Path(path).suffix != '.json':
        return []
    path = Path(dataset.get('data_root') or '', path)
    return [(field, path)] if path.is_file() else []


def _named(datasets):
    return f' ({datasets[0][0]}: {datasets[0][1]})' if datasets else ''


def check_voc(dataset, field, classes):
    """Look at the folders of a VOC set, and at the class names in its XML files.

    Args:
        dataset (dict): Config of MMDetection's ``VOCDataset`` or ``XMLDataset``.
        field (str): Where it stands in the config.
        classes (Sequence[str] | None): Names that the data set keeps.

    Raises:
        ConfigError: A folder is missing, or no object in the files is of any of the classes.
    """
    if not dataset.get('ann_file'):
        return
    root = Path(dataset.get('data_root') or '')
    prefix = dataset.get('data_prefix') or {}
    root = root / (prefix.get('sub_data_root') or '') if isinstance(prefix, dict) else root
    folders = {}
    for key, default in (('ann_subdir', 'Annotations'), ('img_subdir', 'JPEGImages')):
        folders[key] = root / (dataset.get(key) or default)
        if not folders[key].is_dir():
            raise ConfigError(
                f'{field}.{key}: no folder {folders[key]}; valid is a folder below '
                f'data_prefix.sub_data_root ({root}), by default {default}'
            )
    listed = Path(dataset.get('data_root') or '', dataset['ann_file'])
    if classes and listed.is_file():
        _check_voc_names(listed, folders['ann_subdir'], classes, field)


def _check_voc_names(listed, folder, classes, field):
    names = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
    step = max(len(names) // MOST_XML, 1)
    found = {}
    for name in names[::step]:
        try:
            tree = ElementTree.fromstring((folder / f'{name}.xml').read_bytes())
        except (OSError, ElementTree.ParseError):
            continue
        for label in tree.iterfind('object/name'):
            found[label.text] = found.get(label.text, 0) + 1
    unknown = [name for name in found if name not in classes]
    if found and len(unknown) == len(found):
        raise ConfigError(
            f'{field}.metainfo.classes: {shown(list(classes))}, but the objects in {folder} are '
            f'called {shown([str(name) for name in unknown])}, so none would be left; valid are '
            'the names in the XML files'
        )
    if unknown:
        number = sum(found[name] for name in unknown)
        print_log(
            f'{field}: {number} of {sum(found.values())} objects in {folder} are of classes that '
            f'metainfo.classes does not name ({shown([str(name) for name in unknown])}); the data '
            'set leaves them out',
            'current',
            level=30,
        )
