"""What ``tools/test.py`` reads, writes and says: the tool in this process, on a tiny classifier."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from btkd_det import preflight
from btkd_det.preflight import learned_classes
from btkd_det.preflight.work_dir import check_work_dir
from tests.classifiers import distilled_resnet, save_teacher, tiny_resnet, write_images
from tests.conftest import same_globals

TOOL = Path(__file__).parents[2] / 'tools' / 'test.py'
CLASSES = ('cat', 'dog', 'hen')


@pytest.fixture
def folder(tmp_path):
    """A distilled config with images of three classes, its teacher and a student's checkpoint."""
    write_images(tmp_path / 'data', CLASSES, per_class=2)
    student, teacher = tiny_resnet(num_classes=3), tiny_resnet(width=4, num_classes=3)
    save_teacher(tmp_path / 'teacher.pth', teacher, classes=CLASSES)
    save_teacher(tmp_path / 'epoch_1.pth', student, classes=CLASSES)
    teacher = dict(config=dict(model=teacher), checkpoint=str(tmp_path / 'teacher.pth'))
    dataset = dict(
        type='CustomDataset',
        data_root=str(tmp_path / 'data'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
    Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['btkd_det']),
            model=distilled_resnet(teacher, dict(logits=dict(type='btkd_det.KDLoss')), student),
            test_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dataset,
            ),
            test_cfg=dict(),
            test_evaluator=dict(type='Accuracy', topk=(1,)),
        )
    ).dump(tmp_path / 'mine.py')
    return tmp_path


@pytest.fixture
def evaluate(folder, monkeypatch, capsys):
    """Run the tool; gives what it prints."""

    def run(*args, config='mine.py', checkpoint='epoch_1.pth'):
        given = [str(folder / config), str(folder / checkpoint), *map(str, args)]
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *given])
        monkeypatch.setenv('LOCAL_RANK', '0')
        # Two runs of one second have one name, and MMEngine keeps what it made under it.
        with same_globals():
            runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize('kind', [dict(type='Evaluator'), dict()])
def test_an_evaluator_around_its_metrics_is_taken(folder, evaluate, kind):
    cfg = Config.fromfile(folder / 'mine.py')
    plain = evaluate()
    cfg.test_evaluator = dict(kind, metrics=[cfg.test_evaluator])
    cfg.dump(folder / 'around.py')
    text = evaluate(config='around.py')
    assert text.replace('around.py', 'mine.py') == plain
    assert '(beyond the teacher)' in text


def test_numbers_of_any_kind_are_written_as_json(folder, evaluate):
    cfg = Config.fromfile(folder / 'mine.py')
    # The confusion matrix is a tensor; nothing is ever chosen of most classes: NaN.
    kinds = [dict(type='ConfusionMatrix'), dict(type='SingleLabelMetric', average=None)]
    cfg.test_evaluator = [cfg.test_evaluator, *kinds]
    cfg.dump(folder / 'several.py')
    evaluate('--out', folder / 'found.json', config='several.py')
    metrics = json.loads((folder / 'found.json').read_text(), parse_constant=pytest.fail)['metrics']
    matrix = metrics['confusion_matrix/result']
    assert sum(map(sum, matrix)) == 6
    right = sum(matrix[i][i] for i in range(3))
    assert metrics['accuracy/top1'] == pytest.approx(100 * right / 6)
    assert len(metrics['single-label/recall_classwise']) == 3


@pytest.mark.parametrize(
    ('learned', 'words'),
    [
        (CLASSES, None),
        (CLASSES[::-1], 'hen, dog, cat, and the test data have the same in another order, cat'),
        (('cat', 'dog', 'cow'), 'cat, dog, cow, and the test data have others, cat, dog, hen'),
        (None, None),
    ],
)
def test_classes_that_the_checkpoint_learned_otherwise_are_warned_of(
    folder, evaluate, monkeypatch, learned, words
):
    logged = []
    monkeypatch.setattr(learned_classes, 'print_log', lambda text, *_, level: logged.append(text))
    save_teacher(folder / 'other.pth', tiny_resnet(num_classes=3), classes=learned)
    evaluate(checkpoint='other.pth')
    assert len(logged) == (words is not None)
    if logged:
        assert logged[0].startswith(f'CKPT: {folder}/other.pth learned the classes {words}')


def test_a_compiled_models_weights_are_those_that_are_tested(folder, evaluate):
    plain = evaluate()
    saved = torch.load(folder / 'epoch_1.pth', weights_only=False)
    saved['state_dict'] = {f'_orig_mod.{k}': v for k, v in saved['state_dict'].items()}
    torch.save(saved, folder / 'compiled.pth')
    assert evaluate(checkpoint='compiled.pth').replace('compiled.pth', 'epoch_1.pth') == plain


def test_a_trainings_work_dir_keeps_its_config(folder, evaluate):
    work_dir = folder / 'W'
    work_dir.mkdir()
    cfg = preflight.load_config(str(folder / 'mine.py'), {'work_dir': str(work_dir)})
    cfg.dump(work_dir / 'mine.py')
    (folder / 'epoch_1.pth').rename(work_dir / 'epoch_1.pth')
    before = (work_dir / 'mine.py').read_text()

    text = evaluate('--work-dir', work_dir, checkpoint='W/epoch_1.pth')

    assert (work_dir / 'mine.py').read_text() == before
    check_work_dir(cfg)
    log = Path(text.splitlines()[-1].removeprefix('Log: ').partition(' (')[0])
    assert log.parent.parent == work_dir
    assert {path.name for path in work_dir.iterdir()} == {'mine.py', 'epoch_1.pth', log.parent.name}
    tested = Config.fromfile(log.parent / 'mine.py')
    assert tested.model.teacher is None
    assert (log.parent / f'{log.stem}.json').is_file()
