import pytest
from mmengine.logging import MessageHub


@pytest.fixture(autouse=True)
def no_runner():
    """A message hub of its own for every test: it outlives runners in one process."""
    before = dict(MessageHub._instance_dict)
    MessageHub._instance_dict.clear()
    yield
    MessageHub._instance_dict.clear()
    MessageHub._instance_dict.update(before)


@pytest.fixture
def hub():
    """The hub of a training of 5 epochs of 8 iterations."""
    hub = MessageHub.get_instance('training')
    hub.update_info_dict(dict(iter=0, epoch=0, max_iters=40, max_epochs=5))
    return hub
