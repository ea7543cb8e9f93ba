"""Each address gives its own file, as it is there now."""

import functools
import http.server
import os
import threading

import pytest
import torch
from mmengine.runner import CheckpointLoader

from btkd_det.checkpoint import read_checkpoint, weights_only
from btkd_det.checkpoint.download import downloaded
from btkd_det.errors import ConfigError


class Site(http.server.SimpleHTTPRequestHandler):
    """Counts what it is asked for, and can break off or tell nothing of a file's state."""

    asked, cut, tells = [], False, True

    def do_GET(self):
        Site.asked.append(self.path)
        super().do_GET()

    def send_header(self, name, value):
        if self.tells or name not in ('Last-Modified', 'ETag'):
            super().send_header(name, value)

    def copyfile(self, source, outputfile):
        outputfile.write(source.read(100 if self.cut else -1))

    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder, and the address at which it is served."""
    folder = tmp_path / 'site'
    for name in ('a', 'b'):
        (folder / name).mkdir(parents=True)
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    for name, value in (('asked', []), ('cut', False), ('tells', True)):
        monkeypatch.setattr(Site, name, value)
    handler = functools.partial(Site, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def put(path, value, time=None):
    torch.save({'state_dict': {'w': torch.full((3,), float(value))}}, path)
    if time is not None:
        os.utime(path, (time, time))


def value(address):
    return read_checkpoint(address, 'field')[0]['w'][0].item()


def test_two_addresses_with_one_file_name_give_their_own_files(site):
    folder, address = site
    put(folder / 'a' / 'epoch_1.pth', 1)
    put(folder / 'b' / 'epoch_1.pth', 2)
    assert [value(f'{address}/{name}/epoch_1.pth') for name in 'aba'] == [1, 2, 1]
    with weights_only():
        for name, expected in (('a', 1), ('b', 2)):
            found = CheckpointLoader.load_checkpoint(f'{address}/{name}/epoch_1.pth', 'cpu')
            assert found['state_dict']['w'][0] == expected


def test_a_file_that_was_replaced_is_downloaded_anew(site):
    folder, address = site
    put(folder / 'a' / 'x.pth', 1, time=1_000_000)
    assert value(f'{address}/a/x.pth') == 1
    first = downloaded(f'{address}/a/x.pth')
    assert first == downloaded(f'{address}/a/x.pth')
    put(folder / 'a' / 'x.pth', 2, time=2_000_000)
    assert value(f'{address}/a/x.pth') == 2


def test_a_server_that_tells_no_state_is_asked_each_time(site, monkeypatch):
    folder, address = site
    monkeypatch.setattr(Site, 'tells', False)
    for number in (1, 2):
        put(folder / 'a' / 'x.pth', number)
        assert value(f'{address}/a/x.pth') == number


def test_a_name_with_the_files_hash_is_enough(site):
    folder, address = site
    put(folder / 'a' / 'net-0123abcd.pth', 1)
    assert value(f'{address}/a/net-0123abcd.pth') == 1
    count = len(Site.asked)
    assert value(f'{address}/a/net-0123abcd.pth') == 1
    assert len(Site.asked) == count


def test_a_server_that_is_gone_leaves_the_last_file(site, monkeypatch):
    said = []
    log = lambda text, *options: said.append(text)
    monkeypatch.setattr('btkd_det.checkpoint.download.print_log', log)
    folder, address = site
    put(folder / 'a' / 'x.pth', 1)
    gone = 'http://127.0.0.1:9/a/x.pth'
    with pytest.raises(ConfigError, match=r'^field: .* could not be downloaded'):
        value(gone)
    kept = downloaded(f'{address}/a/x.pth')
    own = downloaded.__globals__
    kept.rename(kept.with_name(f'x-{own["_short"](gone)}-{"0" * 16}.pth'))
    assert value(gone) == 1
    assert [gone in text and 'cannot be reached' in text for text in said] == [True]


def test_half_a_file_is_no_file(site, monkeypatch):
    folder, address = site
    put(folder / 'a' / 'x.pth', 1)
    monkeypatch.setattr(Site, 'cut', True)
    with pytest.raises(ConfigError, match='could not be downloaded'):
        value(f'{address}/a/x.pth')
    monkeypatch.setattr(Site, 'cut', False)
    assert value(f'{address}/a/x.pth') == 1


def test_what_is_not_there_is_one_line_in_mmengines_loader_too(site):
    _, address = site
    with weights_only(), pytest.raises(ConfigError, match='404'):
        CheckpointLoader.load_checkpoint(f'{address}/a/no.pth', 'cpu')
