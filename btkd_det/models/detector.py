"""What all distilled detectors share: the site ``fpn``, and the teacher's one forward."""

import contextlib
import functools

import torch

from ..errors import ConfigError
from .distilled import Distilled, undisturbed_rng
from .gate import Objects, map_gate
from .probe import probed


class DistilledDetectorMixin(Distilled):
    """Mixin for detectors that have ``extract_feat``.

    A subclass adds the sites of its heads: it overrides :meth:`host_loss` to note what they saw,
    and :meth:`distill_heads`.

    Sites: ``fpn``, the maps that ``extract_feat`` gives.
    """

    sites = {'fpn': 'FeatureLoss'}
    _maps = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.distill:
            self.check_teacher()
            fit_features(self.distill, self, self.teacher.model, self.probe)

    @property
    def gated(self):
        """Whether a loss at ``fpn`` asks for the teacher's judgement."""
        return 'fpn' in self._judged_sites()

    def check_teacher(self):
        """Raise a ConfigError where the teacher cannot serve the sites."""
        for site in self._judged_sites():
            raise ConfigError(
                f"distill.{site}.gate: got 'teacher_right', but {type(self).__name__} has no box "
                "head to judge with; valid: None, 'foreground', or a two-stage detector"
            )

    def _judged_sites(self):
        return [
            site
            for site in ('fpn', 'backbone')
            for loss in self.distill.at(site)
            if getattr(loss, 'gate', None) == 'teacher_right'
        ]

    def probe(self, model, features):
        """Shapes of what a model's sites see.

        Args:
            model (nn.Module): The student or the teacher.
            features (Sequence[Tensor]): What its ``extract_feat`` gave.

        Returns:
            dict[str, list[tuple]]: Site name to the (C, H, W) of its maps.
        """
        return {'fpn': [tuple(part.shape[1:]) for part in features]}

    def host_loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and what its heads saw on the way."""
        return super().loss(batch_inputs, batch_data_samples), None

    def distill_heads(self, seen, features, speaking):
        """The losses at the heads; none here.

        Args:
            seen: What :meth:`host_loss` noted.
            features (Sequence[Tensor]): What the teacher's ``extract_feat`` gave.
            speaking (set[str]): The sites that are not silent.

        Returns:
            dict[str, Tensor]: Their entries.
        """
        return {}

    def loss(self, batch_inputs, batch_data_samples):
        """The plain detector's losses, and the distillation's beside them.

        Args:
            batch_inputs (Tensor): (N, 3, H, W).
            batch_data_samples (list[DetDataSample]): The annotations.

        Returns:
            dict[str, Tensor]: The plain detector's entries first, unchanged, then
            ``distill.<site>.<entry>``.
        """
        speaking = self.distill.speaking()
        if not speaking:
            return {**super().loss(batch_inputs, batch_data_samples), **self.distill.silence()}
        below = self if 'backbone' in speaking else None
        with outputs_of(below, 'backbone') as student_backbone:
            self._maps = []
            try:
                losses, seen = self.host_loss(batch_inputs, batch_data_samples)
                student = self._maps[0]
            finally:
                self._maps = None
        shapes = [sample.img_shape[:2] for sample in batch_data_samples]
        guest, device = self.teacher, batch_inputs.device.type
        below = guest.model if 'backbone' in speaking else None
        with guest.at_work(device), outputs_of(below, 'backbone') as teacher_backbone:
            teacher = guest.extract_feat(guest.images(batch_inputs, shapes))
        losses.update(self.distill_heads(seen, teacher, speaking))
        maps = {'fpn': (student, teacher)}
        if 'backbone' in speaking:
            maps['backbone'] = student_backbone[0], teacher_backbone[0]
        gates = self._gates(teacher, batch_inputs, batch_data_samples)
        for site, (ours, its) in maps.items():
            if site in speaking:
                branches = _branches(ours, its)
                its = [part.repeat(branches, 1, 1, 1) for part in its] if branches > 1 else its
                losses.update(self.distill.evaluate(site, ours, its, gate=gates(its, branches)))
        losses.update(self.distill.silence())
        return losses

    def extract_feat(self, batch_inputs):
        """As the host's; notes the maps while a loss is computed."""
        maps = super().extract_feat(batch_inputs)
        if self._maps is not None:
            self._maps.append(maps)
        return maps

    def _gates(self, features, batch_inputs, samples):
        """A function that gives, for the teacher's maps of a site, each loss there its gate.

        The teacher judges the objects once, however many losses ask, and not at all if none does:
        the plain foreground mask needs the annotations alone.
        """

        @functools.cache
        def objects(kind):
            if kind == 'foreground':
                return annotated(samples)
            with self.teacher.at_work(batch_inputs.device.type):
                return self.objects(features, samples)

        def at(maps, branches=1):
            sizes = [tuple(part.shape[2:]) for part in maps]
            padded = tuple(batch_inputs.shape[2:])

            def gate(loss):
                if loss.gate is None:
                    return None
                weight = loss.background_weight
                seen = [*objects(loss.gate)] * branches
                return map_gate(seen, sizes, padded, loss.gate, weight)

            return gate

        return at


def _branches(student, teacher):
    """How many maps of each image the student has for one of the teacher.

    TridentNet's backbone trains on three, one for each dilation, the images of a branch together.
    """
    first = lambda maps: maps if isinstance(maps, torch.Tensor) else maps[0]
    counts = len(first(student)), len(first(teacher))
    return counts[0] // counts[1] if counts[1] and counts[0] % counts[1] == 0 else 1


def annotated(samples):
    """The annotated objects of a batch, judged by nobody: every box counts as right.

    Args:
        samples (list[DetDataSample]): The annotations.

    Returns:
        list[Objects]: One entry for each image.
    """
    # The classifier shares this module, and needs no MMDetection.
    from mmdet.structures.bbox import get_box_tensor

    objects = []
    for sample in samples:
        boxes = get_box_tensor(sample.gt_instances.bboxes)
        right = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
        objects.append(Objects(boxes, right, sample.img_shape[:2]))
    return objects


def fit_features(sites, student, teacher, probe):
    """Tell the feature losses the shapes that they will see, of a black image.

    Args:
        sites (Sites): Whose losses.
        student (nn.Module): The student; its mode and the random numbers stay as they are.
        teacher (nn.Module): The teacher, in eval mode.
        probe (Callable): Called with a model and what its ``extract_feat`` gave; see
            :meth:`DistilledDetectorMixin.probe`.

    Raises:
        ConfigError: A loss cannot do with them.
    """
    fitting = [(site, loss) for site in sites for loss in sites[site] if hasattr(loss, 'fit')]
    if not fitting:
        return

    def shapes(model, image):
        with outputs_of(model, 'backbone') as backbone:
            found = probe(model, model.extract_feat(image))
        return dict(found, backbone=[tuple(maps.shape[1:]) for maps in backbone[0]])

    training = student.training
    student.eval()
    with undisturbed_rng(), torch.no_grad():
        (ours, its), _ = probed({'model': student, 'teacher.config': teacher}, shapes)
        for site, loss in fitting:
            try:
                loss.fit(ours[site], its[site])
            except ConfigError as error:
                raise ConfigError(f'distill.{site}.{error}') from error
    student.train(training)


@contextlib.contextmanager
def outputs_of(model, name):
    """Within this context, note what a part of a model gives.

    Args:
        model (nn.Module | None): The model; nothing is noted of ``None``.
        name (str): The attribute that the part is.

    Yields:
        list: One entry for each call.
    """
    seen = []
    if model is None:
        yield seen
        return
    hook = getattr(model, name).register_forward_hook(
        lambda module, args, result: seen.append(result)
    )
    try:
        yield seen
    finally:
        hook.remove()
