import pytest

from tests.eagerly import eagerly
from tests.training import tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def five_steps(data, tmp_path_factory):
    """The train_dir of `tiny.run(max_steps=5)`, taken eagerly and disturbed by nothing; it is only read."""
    train_dir = tmp_path_factory.mktemp("five_steps")
    with eagerly():
        tiny.trainer(data, train_dir, tiny.run(max_steps=5)).train()
    return train_dir
