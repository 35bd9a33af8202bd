"""What a Ray actor of training does. TensorFlow is imported when its process is prepared for it, and not before."""

import os
import threading

from youtube8m_mod import environment


class TensorFlowServer:
    """A Ray actor that lends its node's devices: a `tf.distribute.Server` in its process."""

    def __init__(self):
        environment.prepare()
        self._over = threading.Event()

    def start(self, task: int, host: str) -> str:
        """Starts the server as `worker:<task>`; returns its "host:port"."""
        import tensorflow as tf

        from youtube8m_mod.distribution.servers import keep_to_loopback

        self._server = tf.distribute.Server(
            {"worker": {task: f"{host}:0"}}, job_name="worker", task_index=task, start=False
        )
        port = int(self._server.target.rpartition(":")[2])
        if host.startswith("127."):
            keep_to_loopback(port)
        self._server.start()
        return f"{host}:{port}"

    def ping(self) -> int:
        """A sign of life: the number of its process."""
        return os.getpid()

    def live(self) -> None:
        """Ends with the actor: who waits for it knows of its death at once."""
        self._over.wait()
