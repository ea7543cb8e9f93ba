"""What validations teach the run is known to the run that is resumed from it."""

import functools
import json

import pytest
import torch
from mmengine.evaluator import Evaluator

from .test_missed_validation import Killed
from .toy import NEW, PLAIN, BestOfAll, Drawing, train

EPOCHS = 8
# Killed before, within or after the validation of the first or a later epoch.
KILLS = pytest.mark.parametrize('within', [True, False], ids=['in validation', 'after it'])
MOMENTS = pytest.mark.parametrize('epoch', [1, 2, 3])


def run(folder, killed=None, resume=False, hooks=(), hook='MissedValidationHook', **keys):
    if not resume:
        BestOfAll.calls = 0
    return train(
        folder,
        NEW,
        resume=resume,
        hook=False,
        more_hooks=[
            dict(type='btkd_det.ExactResumeHook'),
            dict(type=f'btkd_det.{hook}'),
            *hooks,
            *([] if killed is None else [Killed(*killed)]),
        ],
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
        val_dataloader=dict(NEW, batch_size=4, dataset=Drawing(), sampler=PLAIN),
        val_evaluator=Evaluator(BestOfAll()),
        val_cfg=dict(),
        default_hooks=dict(checkpoint=dict(type='btkd_det.AtomicCheckpointHook', interval=1)),
        **keys,
    )


def early(rule='less', **options):
    return [dict(type='EarlyStoppingHook', monitor='score', rule=rule, **options)]


# The score grows: with less being better each validation but the first is in vain.
@KILLS
@MOMENTS
def test_early_stopping_counts_on(tmp_path, epoch, within):
    whole, weight = run(tmp_path / 'whole', hooks=early(patience=3))
    assert len(whole) == 4 * 4
    parts = tmp_path / 'parts'
    first, _ = run(parts, killed=[4 * epoch, within], hooks=early(patience=3))
    rest, same = run(parts, resume=True, hooks=early(patience=3))
    assert torch.equal(torch.cat([first, rest]), whole)
    assert torch.equal(same, weight)


def test_a_run_that_early_stopping_has_ended_is_over(tmp_path):
    run(tmp_path, hooks=early(patience=2))
    rest, _ = run(tmp_path, resume=True, hooks=early(patience=2))
    assert len(rest) == 0
    # Who has more patience now goes on from what was counted.
    rest, _ = run(tmp_path, resume=True, hooks=early(patience=4))
    assert len(rest) == 2 * 4


def test_so_is_one_that_reached_what_was_asked_for(tmp_path):
    reached = early(rule='greater', stopping_threshold=2.5)
    first, _ = run(tmp_path, hooks=reached)
    rest, _ = run(tmp_path, resume=True, hooks=reached)
    assert (len(first), len(rest)) == (3 * 4, 0)


PLATEAU = dict(
    type='ReduceOnPlateauLR', monitor='score', rule='less', factor=0.1, patience=1, cooldown=1
)


@KILLS
@MOMENTS
def test_a_rate_that_waits_for_the_score_is_the_same(tmp_path, epoch, within):
    keys = dict(param_scheduler=[dict(PLATEAU)])
    whole, weight = run(tmp_path / 'whole', **keys)
    parts = tmp_path / 'parts'
    first, _ = run(parts, killed=[4 * epoch, within], **keys)
    rest, same = run(parts, resume=True, **keys)
    assert torch.equal(torch.cat([first, rest]), whole)
    assert torch.equal(same, weight)
    # The rate did fall, or all of this would hold without a schedule.
    assert not torch.equal(run(tmp_path / 'constant')[1], weight)


def test_saved_within_the_validation_it_does_not_count_twice(tmp_path):
    keys = dict(param_scheduler=[dict(PLATEAU)], hooks=early(patience=4))
    best = dict(type='btkd_det.AtomicCheckpointHook', interval=1, save_best='score', rule='greater')

    def with_best(folder, killed=None, resume=False):
        options = dict(keys, hooks=[*keys['hooks'], dict(best, out_dir=str(folder))])
        return run(folder, killed=killed, resume=resume, **options)

    _, weight = with_best(tmp_path / 'whole')
    parts = tmp_path / 'parts'
    for killed in ([4, True], [8, False], [12, True]):
        with_best(parts, killed=killed, resume=parts.exists())
    assert torch.equal(with_best(parts, resume=True)[1], weight)


def test_an_older_file_and_one_that_is_none(tmp_path):
    run(tmp_path, killed=[8, False], hooks=early(patience=3))
    path = tmp_path / 'last_validation'
    assert json.loads(path.read_text())['iteration'] == 8
    # As it was written before it held more than the iteration.
    path.write_text('8\n')
    assert len(run(tmp_path, resume=True, hooks=early(patience=3))[0]) > 0
    path.write_text('{"iteration": ')
    run(tmp_path, killed=[8, False], hooks=early(patience=3))
    path.write_text('{"iteration": ')
    rest, _ = run(tmp_path, resume=True, hooks=early(patience=3))
    assert len(rest) == 2 * 4


def test_the_scale_of_half_precision_goes_on(tmp_path, monkeypatch):
    # MMEngine refuses it without a GPU; the scaler itself works there.
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper'
    monkeypatch.setattr(f'{module}.is_cuda_available', lambda: True)
    on_cpu = functools.partial(torch.amp.GradScaler, device='cpu')
    monkeypatch.setattr(f'{module}.GradScaler', on_cpu)
    scale = dict(init_scale=4.0, growth_interval=3, growth_factor=2.0)
    wrapper = dict(
        type='AmpOptimWrapper',
        dtype='bfloat16',
        loss_scale=scale,
        optimizer=dict(type='SGD', lr=0.001, momentum=0.9),
    )
    _, weight = run(tmp_path / 'whole', optim_wrapper=dict(wrapper))
    parts = tmp_path / 'parts'
    run(parts, killed=[8, False], optim_wrapper=dict(wrapper))
    _, same = run(parts, resume=True, optim_wrapper=dict(wrapper))
    assert torch.equal(weight, same)
    scalers = [
        torch.load(folder / 'epoch_8.pth', weights_only=False)['optimizer']['loss_scaler']
        for folder in (tmp_path / 'whole', parts)
    ]
    assert scalers[0] == scalers[1]
    assert scalers[0]['scale'] == 4.0 * 2 ** (4 * EPOCHS // 3)
