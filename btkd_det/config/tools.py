"""The tools, which lie beside the configs: by a link in a checkout, as copies in a wheel."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / '.mim' / 'tools'


def tool_command(name: str) -> list[str]:
    """How a tool is called from where the user stands.

    Args:
        name (str): Such as ``'test'``.

    Returns:
        list[str]: The words of the command, to which its arguments are added.
    """
    path = Path('tools', f'{name}.py')
    if path.is_file() and path.samefile(FOLDER / path.name):
        return ['python', str(path)]
    return ['python', '-m', 'btkd_det', name]
