import pytest
import torch


@pytest.fixture(
    params=[
        'cpu',
        pytest.param(
            'cuda',
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU'),
        ),
    ]
)
def device(request):
    return request.param
