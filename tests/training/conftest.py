import pytest
import tensorflow as tf

from tests.training import tiny


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def five_steps(data, tmp_path_factory):
    """The train_dir of `tiny.run(max_steps=5)`, taken eagerly and disturbed by nothing; it is only read."""
    train_dir = tmp_path_factory.mktemp("five_steps")
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        tiny.trainer(data, train_dir, tiny.run(max_steps=5)).train()
    finally:
        tf.config.run_functions_eagerly(eagerly)
    return train_dir
