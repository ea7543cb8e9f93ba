"""What makes a teacher's forward faster: folded normalization, layout, precision, compilation."""

import contextlib
import copy
import statistics

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.registry import MODELS, DefaultScope

from btkd_det.models import Teacher

from .measure import alternate, clock_of, environment, peak_memory, summary
from .models import PRECISIONS, detector, image_batch, image_size, training_step

AS_IS = 'as it is'


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--teacher', type=int, default=101, help="depth of the teacher's ResNet")
    parser.add_argument('--student', type=int, default=18, help="depth of the student's ResNet")
    parser.add_argument('--size', type=image_size, default=(256, 256), metavar='HxW')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--amp', choices=PRECISIONS, help="of the student's training")
    parser.add_argument('--rounds', type=int, default=10)
    parser.add_argument('--no-compile', dest='compile', action='store_false')


def run(
    device='cpu',
    teacher=101,
    student=18,
    size=(256, 256),
    batch=1,
    amp=None,
    rounds=10,
    compile=True,
    seed=0,
):
    """Time the backbone and neck of a Faster R-CNN with FPN as a teacher, in several forms.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        teacher (int): Depth of its ResNet.
        student (int): Depth of the student's, whose plain step the second stream runs beside.
        size (tuple[int, int]): Height and width of the images in pixels.
        batch (int): Images in a batch.
        amp (str, optional): Mixed precision of the student's training.
        rounds (int): Counted calls of each form.
        compile (bool): Whether ``torch.compile`` is measured too, which takes a minute.
        seed (int): Of weights and images.

    Returns:
        dict: ``setting``, ``environment``, ``seconds`` of each form, ``time_to_as_it_is`` (of
        medians), ``relative_difference`` of the maps of each form to those in float32,
        ``peak_bytes``; on a GPU also ``second_stream``.
    """
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(seed)
        guest = Teacher(detector(teacher)).to(device)
        plain = MODELS.build(detector(student)).to(device).train()
    _settle(guest.model)
    data = plain.data_preprocessor(image_batch(size, batch, seed), training=True)
    forms = _forms(guest.model, data['inputs'], amp, compile)
    expected = [part.float() for part in _forward(guest.model, data['inputs'], 'float32')()]
    differences, usable = {}, {}
    for name, form in forms.items():
        try:
            differences[name] = _difference(form(), expected)
            usable[name] = lambda _, form=form: form()
        except Exception as error:
            differences[name] = f'fails: {type(error).__name__}: {str(error).splitlines()[0][:200]}'
    seconds = alternate(usable, rounds, device=device, clock=clock_of(device))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(
        setting=dict(
            teacher=f'Faster R-CNN R{teacher}-FPN, backbone and neck',
            image=list(size),
            batch=batch,
            amp=amp,
            rounds=rounds,
            seed=seed,
        ),
        environment=environment(device),
        seconds={name: summary(values) for name, values in seconds.items()},
        time_to_as_it_is={name: round(value / median[AS_IS], 4) for name, value in median.items()},
        relative_difference=differences,
        peak_bytes={name: peak_memory(form, device) for name, form in usable.items()},
        **_second_stream(guest, plain, data, amp, rounds, device, seed),
    )


def _settle(model):
    """Statistics as training leaves them: those of new layers fold into nothing."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def _forms(model, inputs, amp, compile):
    """A function without arguments for each form, by name."""
    lower = amp or 'bfloat16'
    folded = fuse_conv_bn(copy.deepcopy(model).eval())
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    both = fuse_conv_bn(copy.deepcopy(last))
    moved = inputs.contiguous(memory_format=torch.channels_last)
    half = copy.deepcopy(folded).to(getattr(torch, lower))
    low = inputs.to(getattr(torch, lower))
    forms = {
        AS_IS: _forward(model, inputs, amp),
        f'mixed precision, {lower}': _forward(model, inputs, lower),
        'folded': _forward(folded, inputs, amp),
        'channels last': _forward(last, moved, amp),
        'folded, channels last': _forward(both, moved, amp),
        f'folded, weights in {lower}': _forward(half, low, None),
        f'folded, channels last, weights in {lower}': _forward(
            copy.deepcopy(half).to(memory_format=torch.channels_last),
            low.contiguous(memory_format=torch.channels_last),
            None,
        ),
    }
    if compile:
        forms['compiled'] = _forward(model, inputs, amp, compiled=True)
        forms['folded, channels last, compiled'] = _forward(both, moved, amp, compiled=True)
    return forms


def _forward(model, inputs, precision, compiled=False):
    function = torch.compile(model.extract_feat) if compiled else model.extract_feat

    @torch.no_grad()
    def run():
        cast = contextlib.nullcontext()
        if precision not in (None, 'float32'):
            cast = torch.autocast(inputs.device.type, getattr(torch, precision))
        with cast:
            return function(inputs)

    return run


def _difference(maps, expected):
    """The largest relative difference of a level's map."""
    found = [
        ((a.float() - b).norm() / b.norm()).item() for a, b in zip(maps, expected, strict=True)
    ]
    return float(f'{max(found):.3g}')


def _second_stream(guest, plain, data, amp, rounds, device, seed):
    """The teacher after the student's step, and on a stream of its own beside it."""
    if device != 'cuda':
        return {}
    step = training_step(plain, data, seed, amp)
    forward = _forward(guest.model, data['inputs'], amp)
    stream = torch.cuda.Stream()

    def after(number):
        step(number)
        forward()

    def beside(number):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            forward()
        step(number)
        torch.cuda.current_stream().wait_stream(stream)

    seconds = alternate(
        {'one after the other': after, 'on two streams': beside}, rounds, device=device
    )
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return dict(
        second_stream=dict(
            seconds={name: summary(values) for name, values in seconds.items()},
            ratio=round(medians['on two streams'] / medians['one after the other'], 4),
        )
    )
