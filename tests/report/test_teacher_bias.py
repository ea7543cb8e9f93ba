"""What a teacher gets wrong: the counts against loops, the report's files, the command."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from btkd_det.bias import is_right, rectify
from btkd_det.errors import ConfigError
from btkd_det.report import bias_report
from btkd_det.report.pictures import crop
from btkd_det.report.rows import Rows, walk
from btkd_det.report.teacher_bias import EXAMPLES, KINDS, BiasCount, Examples, examine

from ..classifiers import build_classifier, image_batch, tiny_resnet
from ..conftest import detection_batch

TOOL = Path(__file__).parents[2] / 'tools/bias_report.py'
NAMES = ('cat', 'dog', 'hen')


@pytest.fixture
def rows():
    """Logits of 200 rows over three classes and background, a third of them right."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(200, 4, generator=generator)
    labels = torch.randint(0, 4, (200,), generator=generator)
    return logits, labels


def counted(logits, labels, background=True, parts=3, **where):
    count = BiasCount(logits.shape[1], background)
    for index in torch.arange(len(logits)).chunk(parts):
        count.update(logits[index], labels[index], **{k: v[index] for k, v in where.items()})
    return count.result(NAMES if background else None)


def test_the_counts_are_those_of_a_loop(rows):
    logits, labels = rows
    found = counted(logits, labels)
    choices = [max(range(4), key=row.__getitem__) for row in logits.tolist()]
    pairs = list(zip(labels.tolist(), choices, strict=True))
    wrong = [(label, choice) for label, choice in pairs if label != choice]
    assert (found['rows'], found['batches']) == (200, 3)
    assert found['right'] == 200 - len(wrong)
    assert found['right_rate'] == found['right'] / 200
    assert found['confusion'] == [[pairs.count((i, j)) for j in range(4)] for i in range(4)]
    assert found['background']['rows'] == labels.tolist().count(3)
    assert found['foreground']['right'] == sum(a == b < 3 for a, b in pairs)
    assert found['kinds'] == dict(
        another_class=sum(a < 3 and b < 3 for a, b in wrong),
        object_as_background=sum(b == 3 for _, b in wrong),
        background_as_object=sum(a == 3 for a, _ in wrong),
    )
    assert sum(found['kinds'].values()) == len(wrong)
    dog = found['classes'][1]
    mistakes = {name: pairs.count((1, i)) for i, name in enumerate((*NAMES, 'background'))}
    mistakes.pop('dog')
    assert dog['name'] == 'dog'
    assert dog['taken_for'] == mistakes
    assert list(dog['taken_for'].values()) == sorted(mistakes.values(), reverse=True)


def test_confidence_is_counted_apart_for_right_and_wrong_rows(rows):
    logits, labels = rows
    found = counted(logits, labels)['confidence']
    right = is_right(logits, labels)
    top = logits.softmax(dim=1).amax(dim=1)
    for name, mask in (('right', right), ('wrong', ~right)):
        expected = torch.histc(top[mask], bins=found['bins'], min=0, max=1)
        assert found[name] == expected.long().tolist()


def test_what_the_rules_do_is_what_rectify_does(rows):
    logits, labels = rows
    found = {(r['rule'], r['space']): r for r in counted(logits, labels)['rules']}
    wrong = ~is_right(logits, labels)
    logits, labels = logits[wrong], labels[wrong]
    assert ('label_revision', 'probs') in found
    assert not [key for key in found if key[0] in ('none', 'drop')]
    for (rule, space), numbers in found.items():
        after = rectify(logits, labels, rule, space)
        after = after if space == 'probs' else after.softmax(dim=1)
        own = after.gather(1, labels[:, None])
        moved = (after - logits.softmax(dim=1)).abs().sum(dim=1) / 2
        assert numbers['put_right'] == pytest.approx((after.argmax(1) == labels).double().mean())
        assert numbers['label_probability'] == pytest.approx(own.mean().item(), rel=1e-5)
        assert numbers['moved'] == pytest.approx(moved.mean().item(), rel=1e-5)
    assert found['swap', 'logits']['put_right'] == 1


def test_rois_are_counted_by_size_and_by_overlap():
    logits = torch.eye(4)[[0, 1, 2, 3, 0, 0]]
    labels = torch.tensor([0, 1, 2, 3, 1, 3])
    areas = torch.tensor([1023.0, 1024.0, 9216.0, 100.0, 9215.0, 100.0])
    overlaps = torch.tensor([0.69, 0.7, 1.0, 0.0, 0.55, 0.1])
    found = counted(logits, labels, areas=areas, overlaps=overlaps)
    pairs = lambda table: {k: (v['right'], v['rows']) for k, v in table.items()}
    assert pairs(found['sizes']) == dict(small=(1, 1), medium=(1, 2), large=(1, 1))
    assert pairs(found['overlaps']) == {
        '0.0 to 0.1': (1, 1),
        '0.1 to 0.3': (0, 1),
        '0.3 to 0.5': (0, 0),
        '0.5 to 0.7': (1, 2),
        '0.7 to 1.0': (2, 2),
    }


def test_the_weight_of_a_wrong_row_is_the_curriculums(rows):
    logits, labels = rows
    found = counted(logits, labels)
    from btkd_det.bias import curriculum

    right = is_right(logits, labels)
    weights = curriculum(right, 0.25)
    ratio = weights[~right][0] / weights[right][0]
    assert found['curriculum']['0.25'] == pytest.approx(ratio.item(), rel=1e-5)
    assert counted(logits, logits.argmax(dim=1))['curriculum'] == {}


def test_the_surest_mistakes_are_kept_one_of_a_kind_and_image():
    examples = Examples(background=3)
    pictures = torch.arange(40)[:, None, None, None].expand(-1, 3, 8, 8).byte()
    generator = torch.Generator().manual_seed(1)
    labels, choice = (torch.randint(0, 4, (400,), generator=generator) for _ in range(2))
    confidence = torch.rand(400, generator=generator)
    images = torch.arange(400) % 40
    rows = Rows(torch.zeros(400, 4), labels, images)
    for part in torch.arange(40).chunk(4):
        own = (images[:, None] == part).any(dim=1)
        batch = Rows(rows.logits[own], labels[own], images[own] - part[0])
        right = labels[own] == choice[own]
        examples.add(batch, choice[own], confidence[own], right, pictures[part])
    table = list(zip(labels.tolist(), choice.tolist(), confidence.tolist(), strict=True))
    best = {kind: {} for kind in KINDS}
    for row, (label, chosen, sure) in enumerate(table):
        if label != chosen:
            kind = KINDS[2] if label == 3 else KINDS[1] if chosen == 3 else KINDS[0]
            own = best[kind]
            own[row % 40] = max(own.get(row % 40, 0), sure)
    for kind, found in examples.best().items():
        assert [e['confidence'] for e in found] == sorted(best[kind].values())[: -EXAMPLES - 1 : -1]
        assert all(best[kind][int(e['picture'][0, 0, 0])] == e['confidence'] for e in found)


def test_a_detectors_rows_are_its_sampled_rois(detector):
    batches = [detection_batch(seed=0), detection_batch(seed=1)]
    torch.manual_seed(0)
    [(count, examples)] = examine(detector, batches)
    torch.manual_seed(0)
    seen = [parts[0] for _, parts in walk(detector, batches)]
    logits = torch.cat([part.logits for part in seen])
    labels = torch.cat([part.labels for part in seen])
    found = count.result(NAMES)
    assert found['right'] == int(is_right(logits, labels).sum())
    assert found['names'] == [*NAMES, 'background']
    assert sum(v['rows'] for v in found['overlaps'].values()) == len(labels)
    above = found['overlaps']['0.5 to 0.7']['rows'] + found['overlaps']['0.7 to 1.0']['rows']
    assert above == found['foreground']['rows'] == int((labels < 3).sum()) > 0
    assert any(examples.best().values())


def test_areas_are_those_before_the_image_was_resized(detector):
    batch = detection_batch()
    torch.manual_seed(0)
    before = examine(detector, [batch])[0][0].sizes
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(scale_factor=(0.01, 0.01)))
    torch.manual_seed(0)
    after = examine(detector, [batch])[0][0].sizes
    assert before[2].sum() == 0
    assert torch.equal(after.sum(dim=0), after[2])
    assert after.sum() == before.sum() > 0


def test_a_classifiers_rows_are_its_images():
    pytest.importorskip('mmpretrain')
    model = build_classifier(tiny_resnet())
    batch = image_batch(count=30)
    [(count, examples)] = examine(model, [batch])
    found = count.result()
    with torch.no_grad():
        data = model.data_preprocessor(batch, training=False)
        choice = model.head(model.extract_feat(data['inputs'])).argmax(dim=1)
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    assert found['rows'] == 30
    assert found['right'] == int((choice == labels).sum())
    assert found['kinds'] == dict(another_class=30 - found['right'])
    assert not {'foreground', 'sizes', 'overlaps'} & set(found)
    kept = examples.best()['another_class']
    assert len(kept) == EXAMPLES
    assert all(any(torch.equal(e['picture'], image) for image in batch['inputs']) for e in kept)


def test_no_batch_is_an_error(detector):
    with pytest.raises(ConfigError, match='gave no batch'):
        examine(detector, [])


def test_a_crop_shows_the_box_in_its_middle():
    image = Image.new('RGB', (60, 40), (0, 0, 255))
    image.paste((255, 255, 255), (20, 10, 40, 30))
    part = crop(image, (20, 10, 40, 30), 100, [((20, 10, 40, 30), (255, 0, 0))])
    assert part.size == (100, 100)
    assert part.getpixel((50, 50)) == (255, 255, 255)
    assert part.getpixel((25, 50)) == (255, 0, 0)
    assert part.getpixel((10, 50)) == (0, 0, 255)
    whole = crop(image, None, 100)
    assert whole.getpixel((50, 2)) == (0, 0, 0)
    assert whole.getpixel((2, 50)) == (0, 0, 255)


def test_a_right_teacher_and_a_single_class_have_a_report_too(tmp_path):
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    count = BiasCount(2, background=True)
    count.update(logits, torch.tensor([0, 1]))
    result = count.result(['thing'])
    bias_report.write_report(tmp_path, [result], [Examples(1).best()], {})
    text = bias_report.bias_table(result)
    assert '100.0' in text
    assert 'right on 100 % of the rows' in text
    assert 'swap' not in text
    assert (tmp_path / 'report.html').stat().st_size > 10_000


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_command_writes_numbers_pictures_and_a_page(monkeypatch, folder, capsys):
    out = folder / 'new' / 'report'
    given = [folder / 'config.py', folder / 'teacher.pth', '--out', out, '--device', 'cpu']
    run_tool(monkeypatch, *given)
    said = capsys.readouterr().out
    content = json.loads((out / 'bias.json').read_text())
    [stage] = content['stages']
    assert (content['data'], content['batches'], stage['batches']) == ('train_dataloader', 2, 2)
    assert stage['names'] == [*NAMES, 'background']
    assert f'all {stage["rows"]} {stage["right"]}' in ' '.join(said.split())
    page = (out / 'report.html').read_text()
    advice = content['advice']
    assert f'Advice: --distill {advice["preset"]}.' in said
    assert advice['reasons'][0] in said.replace('\n', ' ')
    assert advice['reasons'][0] in page
    pictures = sorted(path.stem for path in (out / 'pictures').iterdir())
    assert set(pictures) >= {'classes', 'confusion', 'confidence'}
    assert page.count('<img ') == len(pictures)
    for path in (out / 'pictures').iterdir():
        with Image.open(path) as image:
            assert len(image.convert('L').getcolors()) > 2, path
    first = (out / 'bias.json').read_text()
    run_tool(monkeypatch, *given)
    assert (out / 'bias.json').read_text() == first


def test_a_student_as_good_as_its_teacher_is_advised_against(monkeypatch, folder, capsys):
    same = [folder / 'config.py', folder / 'teacher.pth']
    out = folder / 'report'
    run_tool(monkeypatch, *same, '--student', *same, '--out', out, '--device', 'cpu')
    assert 'Advice: do not distill the logits' in capsys.readouterr().out
    content = json.loads((out / 'bias.json').read_text())
    assert content['advice']['preset'] is None
    assert content['student'] == ' '.join(map(str, same))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nowhere.py', 'teacher.pth'], 'error: CONFIG'),
        (['config.py', 'nowhere.pth'], 'error: CKPT'),
        (['config.py', 'teacher.pth', '--max-iters', '0'], 'error: --max-iters: 0'),
        (['config.py', 'teacher.pth', '--data', 'val'], 'error: CONFIG.val_dataloader: missing'),
        (['retinanet.py', 'retinanet.pth'], 'error: CONFIG.model.type: RetinaNet gives no logits'),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(monkeypatch, folder, arguments, message):
    out = folder / 'report'
    retinanet(folder)
    places = [folder / arguments[0], folder / arguments[1]]
    with pytest.raises(SystemExit) as end:
        run_tool(monkeypatch, *places, *arguments[2:], '--out', out)
    assert str(end.value).startswith(message)
    assert not out.exists()


def test_a_file_in_the_way_is_named_before_anything_runs(monkeypatch, folder):
    out = folder / 'teacher.pth'
    with pytest.raises(SystemExit, match=r'error: --out: .*teacher.pth is a file'):
        run_tool(monkeypatch, folder / 'nowhere.py', out, '--out', out)


def retinanet(folder):
    """A config of a detector without RoIs, beside the other."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    cfg = Config.fromfile(folder / 'config.py')
    cfg.model = Config.fromfile(
        Path(sys.modules['mmdet'].__file__).parent
        / '.mim/configs/_base_/models/retinanet_r50_fpn.py'
    ).model
    cfg.model.backbone.update(depth=18, init_cfg=None)
    cfg.model.neck.update(in_channels=[64, 128, 256, 512])
    cfg.model.bbox_head.num_classes = 3
    cfg.dump(folder / 'retinanet.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'retinanet.pth')


@pytest.mark.parametrize(
    ('wrong', 'words'),
    [
        (0, ['right on 100 % of the rows', '100, 85, 50, 15 and 2 % are left', 'KDLoss']),
        (1, ['right on 99.50 % of the rows', 'hardly anything to put right']),
        (40, ['rows of a batch are wrong']),
        (200, ['right on no row', 'starts without any distillation']),
    ],
)
def test_the_report_says_what_the_curriculum_does_with_a_right_teacher(wrong, words):
    labels = torch.arange(200) % 3
    logits = torch.eye(3)[labels]
    logits[:wrong] = logits[:wrong].roll(1, dims=1)
    line = bias_report.curriculum_line(counted(logits, labels, background=False))
    for word in words:
        assert word in line


def test_the_shares_that_are_left_are_the_curriculums():
    from btkd_det.bias import curriculum

    right = torch.ones(5, dtype=torch.bool)
    shares = [100 * curriculum(right, e).sum().item() for e in (0, 0.25, 0.5, 0.75, 0.9)]
    assert [round(share) for share in shares] == [100, 85, 50, 15, 2]
