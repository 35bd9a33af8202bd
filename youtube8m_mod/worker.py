"""A worker: lends this machine's devices to the training run on another.

    python -m youtube8m_mod.worker --port=2345 --task=0

It serves one run at a time. When the run ends, however it ends, the worker starts afresh, so that nothing of it stays
in memory. Whoever reaches its ports can run anything that TensorFlow can, file access included: TensorFlow's gRPC
carries no authentication. So it listens on this machine only, unless `--host` says otherwise: the address in a private
network.
"""

import argparse
import json
import os
import select
import socket
import sys

from youtube8m_mod.errors import UserError, run_main


def main(argv):
    parser = argparse.ArgumentParser(prog="python -m youtube8m_mod.worker", description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, help="port that --cluster names (default: that of TF_CONFIG)")
    parser.add_argument("--task", type=int, help="place in --cluster, from 0 (default: that of TF_CONFIG, or 0)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all of this machine's")
    parser.add_argument("--runtime_port", type=int, default=0, help="port of TensorFlow's runtime (default: any free)")
    args = parser.parse_args(argv)

    from youtube8m_mod.distribution import cluster

    task, address = cluster.own_task(os.environ.get("TF_CONFIG"))
    task = args.task if args.task is not None else task or 0
    port = args.port or (address and cluster.split_address(address, "TF_CONFIG")[1])
    if not port:
        raise UserError("--port must name the port to listen on.")
    try:
        listener = socket.create_server((args.host, port))
    except (OSError, OverflowError) as error:
        raise UserError(f"Cannot listen on {args.host}:{port}: {error}.") from error
    with listener:
        runtime_port = start_runtime(task, args.host, args.runtime_port)
        print(f"worker {task} listens on {args.host}:{port}, TensorFlow's runtime on port {runtime_port}", flush=True)
        serve(listener, task, runtime_port)
    start_afresh()


def start_runtime(task, host, port):
    """Starts TensorFlow's server; returns its port."""
    import tensorflow as tf

    from youtube8m_mod.distribution.cluster import keep_to_loopback

    loopback = host.startswith("127.") or host == "localhost"
    try:
        server = tf.distribute.Server(
            {"worker": {task: f"{'127.0.0.1' if loopback else host}:{port}"}},
            job_name="worker",
            task_index=task,
            start=False,
        )
    except tf.errors.OpError as error:
        raise UserError(f"Cannot start TensorFlow's runtime on {host}:{port}: {error.message}.") from error
    port = int(server.target.rpartition(":")[2])
    if loopback:
        keep_to_loopback(port)
    server.start()
    return port


def serve(listener, task, runtime_port):
    """Greets one run, answers it until it ends or says nothing for its timeout; others are told that we are busy."""
    from youtube8m_mod.distribution.cluster import LONGEST_TIMEOUT, read_line

    run, timeout = None, None
    while True:
        ready, _, _ = select.select([listener, run] if run else [listener], [], [], timeout)
        if run and (not ready or run in ready):
            try:
                if not ready or read_line(run) != "ping":
                    return
                run.sendall(b"pong\n")
            except OSError:
                return
        if listener in ready:
            caller, _ = listener.accept()
            caller.settimeout(5)
            try:
                words = read_line(caller).split()
                seconds = float(words[1]) if words[:1] == ["hello"] else 0
                seconds = seconds if 1 <= seconds <= LONGEST_TIMEOUT else None
                caller.sendall(
                    json.dumps({"task": task, "runtime_port": None if run else runtime_port}).encode() + b"\n"
                )
            except (OSError, ValueError, IndexError):
                seconds = None
            if run or not seconds:
                caller.close()
            else:
                run, timeout = caller, seconds


def start_afresh():
    """Replaces this process by a new one with the same command line."""
    sys.stdout.flush()
    os.closerange(3, 65536)  # TensorFlow's listening socket would live on.
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
