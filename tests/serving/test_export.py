"""Exported models: what they answer elsewhere, what they hold, and that a bad one never appears."""

import json
import os
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.protobuf import saved_model_pb2

from tests import command_line
from tests.models.trained_models import trained_model
from tests.training import tiny
from youtube8m_mod import export as export_command
from youtube8m_mod.data import records
from youtube8m_mod.distribution.placement import Placement
from youtube8m_mod.errors import UserError
from youtube8m_mod.models.hidden_vectors import hidden_vectors
from youtube8m_mod.models.mod import MOD
from youtube8m_mod.serving import blessing, export
from youtube8m_mod.serving.warmup import prediction_log
from youtube8m_mod.training import checkpoint_store, checkpoints
from youtube8m_mod.training.optimizer import FusedAdam

FOUR = Placement(("CPU:0", "CPU:1", "CPU:2", "CPU:3"))
CLASSES = [7, 19, 0]
NAMES = [f"name {number}" for number in range(20)]


class Recorder(blessing.Recorder):
    """Records more than an export does: single videos and batches of 32, of 1 to 310 frames.

    Most of a batch have one of three lengths: videos of one length are answered together by the trained model.
    """

    def requests(self):
        lengths = self.random.integers(1, 311, 3)
        many = self.random.permutation([1, 2, 5, 299, 300, 301, 310, *self.random.choice(lengths, 25)])
        assert len(many) == 32
        recorded = [request for lengths in ((1,), (310,), many) for request in self.videos(lengths)]
        return [
            *recorded,
            self.segments(1),
            self.segments(10),
            self.segments(310),
            self.serialized_examples((1,)),
            self.serialized_examples(many),
        ]


# The client's script, which then says what its process has, and has not.
WITNESS = f"""
import json, os, runpy, sys
runpy.run_path({blessing._CLIENT!r}, run_name="__main__")
import tensorflow as tf
try:
    import youtube8m_mod.export
    importable = True
except ImportError:
    importable = False
with open(os.environ["WITNESSED"], "a") as file:
    print(json.dumps([importable, len(tf.config.list_logical_devices())]), file=file)
"""


@pytest.fixture(scope="module")
def exporting(tmp_path_factory):
    """Exports are blessed on the requests of `Recorder`; the file in which their processes tell of themselves."""
    folder = tmp_path_factory.mktemp("exporting")
    (folder / "client.py").write_text(WITNESS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "Recorder", Recorder)
        patch.setattr(blessing, "_CLIENT", str(folder / "client.py"))
        patch.setenv("WITNESSED", str(folder / "witnessed"))
        yield folder / "witnessed"


@pytest.fixture
def in_process(monkeypatch):
    """Exports are blessed in this process: starting one with TensorFlow takes seconds."""

    def call(path, requests):
        if path.endswith(".tflite"):
            runner = tf.lite.Interpreter(model_path=path).get_signature_runner("serving_default")
            return [runner(**request.inputs) for request in requests]
        signatures = tf.saved_model.load(path).signatures
        answers = []
        for request in requests:
            tensors = {name: tf.constant(value) for name, value in request.inputs.items()}
            answers.append({name: value.numpy() for name, value in signatures[request.signature](**tensors).items()})
        return answers

    monkeypatch.setattr(blessing, "call_in_fresh_process", call)


@pytest.fixture(scope="module")
def root(tmp_path_factory, exporting):
    """The root of a model on four devices: (path, model, summary)."""
    model = trained_model(branching=(4,), max_frames=300, placement=FOUR)
    path = str(tmp_path_factory.mktemp("root") / "1")
    return path, model, export.Export().save_model(model, path)


@pytest.fixture(scope="module")
def leaf(tmp_path_factory, exporting):
    """A leaf of a model of segments, some classes: (path, model, summary)."""
    model = trained_model(branching=(2, 2), max_frames=300, segments=True, placement=FOUR)
    path = str(tmp_path_factory.mktemp("leaf") / "1")
    wanted = export.Export(node="1/0", classes=CLASSES, label_names=NAMES, top_k=2)
    return path, model, wanted.save_model(model, path)


@pytest.fixture(scope="module")
def signatures(root):
    """{name: function} of the exported root."""
    return tf.saved_model.load(root[0]).signatures


@pytest.mark.parametrize("exported", ("root", "leaf"))
def test_served_in_a_process_without_package_and_devices(exported, request):
    """The export itself ran the requests of `Recorder` there."""
    _, _, summary = request.getfixturevalue(exported)
    assert 0 < summary["largest_difference"] <= 1e-5


def test_a_relative_folder_is_found_in_a_fresh_process(tmp_path, monkeypatch):
    """Which has a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 1, stderr="out of order")

    monkeypatch.setattr(blessing.subprocess, "run", run)
    with pytest.raises(UserError, match="does not run in a fresh process: out of order"):
        blessing.call_in_fresh_process("served/1", [])
    assert commands[0][2] == f"{tmp_path}/served/1"


def test_no_package_and_no_other_device_is_needed(root, leaf, exporting):
    """All exports of this file, these two among them, were served without."""
    witnessed = [json.loads(line) for line in exporting.read_text().splitlines()]
    assert len(witnessed) >= 2 and all(line == [False, 1] for line in witnessed)


def test_signatures(leaf):
    signatures = tf.saved_model.load(leaf[0]).signatures
    found = {
        name: (
            {key: (spec.dtype, spec.shape.as_list()) for key, spec in signature.structured_input_signature[1].items()},
            {key: (spec.dtype, spec.shape.as_list()) for key, spec in signature.structured_outputs.items()},
        )
        for name, signature in signatures.items()
    }
    lengths = {"num_frames": (tf.int32, [None, 1])}
    predictions = {"predictions": (tf.float32, [None, 3])}
    assert found == {
        "serving_default": ({"rgb_and_audio": (tf.float32, [None, None, 32])} | lengths, predictions),
        "quantized": ({"rgb_and_audio": (tf.uint8, [None, None, 32])} | lengths, predictions),
        "segments": (
            {"rgb_and_audio": (tf.float32, [None, None, 32])} | lengths,
            {"start_times": (tf.int32, [None, None]), "predictions": (tf.float32, [None, None, 3])},
        ),
        "serialized_examples": (
            {"examples": (tf.string, [None])},
            {
                "ids": (tf.string, [None]),
                "class_indexes": (tf.int32, [None, 2]),
                "predictions": (tf.float32, [None, 2]),
            },
        ),
    }


def test_every_weight_is_stored_once(root):
    path, model, _ = root
    weights = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) * 4
    stored = os.path.getsize(f"{path}/variables/variables.data-00000-of-00001")
    assert stored < weights  # Folding away the expansion saves more than the biases that it brings.
    with open(f"{path}/saved_model.pb", "rb") as file:
        library = saved_model_pb2.SavedModel.FromString(file.read()).meta_graphs[0].graph_def.library
    constants = [
        tf.make_ndarray(node.attr["value"].tensor).size
        for function in library.function
        for node in function.node_def
        if node.op == "Const"
    ]
    assert max(constants) < 200  # Names of the variables to restore; no weight.


def test_summary_and_label_names(leaf):
    path, _, summary = leaf
    with open(f"{path}/assets/label_names.txt", encoding="utf-8") as file:
        assert file.read() == "name 7\nname 19\nname 0\n"
    with open(f"{path}/assets.extra/export.json", encoding="utf-8") as file:
        stored = json.load(file)
    assert summary == stored | {"bytes": summary["bytes"]}
    assert (stored["node"], stored["classes"], stored["segments"]) == ("1/0", CLASSES, True)
    assert 0 < stored["largest_difference"] <= 1e-5


def test_devices_are_seen(root, tmp_path):
    class Pinned(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([])])
        def double(self, value):
            with tf.device("CPU:2"):
                return value * 2

    tf.saved_model.save(Pinned(), str(tmp_path))
    assert blessing.device_strings(str(tmp_path)) == ["/device:CPU:2"]
    assert not blessing.device_strings(root[0])


def test_bad_records_are_refused_by_the_graph(signatures):
    call = signatures["serialized_examples"]
    frames = np.zeros((2, 32), np.uint8)
    good = records.frame_level_record("abcd", [], {"rgb": frames[:, :24], "audio": frames[:, 24:]})
    short = records.frame_level_record("abcd", [], {"rgb": frames[:, :23], "audio": frames[:, 24:]})
    assert call(examples=tf.constant([good]))["ids"].numpy() == [b"abcd"]
    endless = good[: good.index(b"\n\x18") + 1] + b"\xff" * 8 + b"\x7f" + good[good.index(b"\n\x18") + 10 :]
    for bad in (short, b"", b"no record", endless):
        with pytest.raises((tf.errors.InvalidArgumentError, tf.errors.DataLossError)):
            call(examples=tf.constant([good, bad]))


@pytest.mark.parametrize("join, node", [("concatenate", ""), ("mean", "1")])
def test_embeddings(in_process, tmp_path, join, node):
    model = trained_model(branching=(2, 2), segments=True)
    path = str(tmp_path / "1")
    export.Export(node=node, embeddings=join).save_model(model, path)
    signatures = tf.saved_model.load(path).signatures
    assert set(signatures) == {"serving_default", "quantized", "segments", "serialized_examples", "embeddings"}
    features = np.random.default_rng(0).integers(0, 256, (3, 5, 32), np.uint8)
    inputs = {"rgb_and_audio": records.dequantize(features), "num_frames": tf.fill([3, 1], 5)}
    found = signatures["embeddings"](**{name: tf.constant(value) for name, value in inputs.items()})["embeddings"]
    leaves = ["0/0", "0/1", "1/0", "1/1"] if not node else ["1/0", "1/1"]
    vectors = [hidden_vectors(model, features, leaf)[:, 0] for leaf in leaves]
    expected = np.concatenate(vectors, axis=1) if join == "concatenate" else np.mean(vectors, axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    wrong = {"rgb_and_audio": tf.zeros([1, 3, 31]), "num_frames": tf.constant([[3]])}
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected rgb_and_audio of shape"):
        signatures["embeddings"](**wrong)


def test_embeddings_that_differ_are_refused(in_process, tmp_path, monkeypatch):
    model = trained_model()
    right = blessing.hidden_vectors
    monkeypatch.setattr(blessing, "hidden_vectors", lambda *arguments: right(*arguments) + 0.1)
    with pytest.raises(UserError, match="embeddings differs from the trained model by 0.0?[0-9]+ in a component"):
        export.Export(embeddings="mean").save_model(model, str(tmp_path / "1"))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("signature", ["serving_default", "segments"])
def test_wrong_inputs_get_a_sentence(signatures, signature):
    call = signatures[signature]
    good = {"rgb_and_audio": [2, 7, 32], "num_frames": [[7], [3]]}
    for wrong in (
        {"rgb_and_audio": [7, 32]},
        {"rgb_and_audio": [1, 2, 7, 32]},
        {"rgb_and_audio": [2, 7, 31]},
        {"rgb_and_audio": [3, 7, 32]},
        {"num_frames": [[7], [0]]},
        {"num_frames": [[8], [3]]},
        {"num_frames": [[7]]},
    ):
        inputs = good | wrong
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"expected rgb_and_audio of shape \(batch, frames, 32\)"
        ):
            call(rgb_and_audio=tf.zeros(inputs["rgb_and_audio"]), num_frames=tf.constant(inputs["num_frames"]))


def test_videos_that_a_server_batches_stay_apart(signatures):
    call = signatures["segments"]
    videos = tf.random.stateless_uniform([2, 12, 32], [0, 1], -2, 2)
    together = call(rgb_and_audio=videos, num_frames=tf.constant([[12], [6]]))
    assert together["start_times"].numpy().tolist() == [[0, 5, 10], [0, 5, -1]]
    for row, count, slots in ((0, 12, 3), (1, 6, 2)):
        alone = call(rgb_and_audio=videos[row : row + 1, :count], num_frames=tf.constant([[count]]))
        np.testing.assert_allclose(alone["predictions"][0], together["predictions"][row, :slots], atol=1e-6)
    assert not together["predictions"][1, 2].numpy().any()


def test_floats_are_clipped_as_the_dataset_was(root, signatures):
    _, model, _ = root
    features = tf.constant(np.random.default_rng(3).normal(0, 2.5, (2, 6, 32)), tf.float32)
    clipped = tf.clip_by_value(features, *records.FLOAT_RANGE)
    as_bytes = tf.constant(records.quantize(features))
    counts = tf.constant([[6], [4]])
    for name in ("serving_default", "segments"):
        found = signatures[name](rgb_and_audio=features, num_frames=counts)["predictions"]
        expected = signatures[name](rgb_and_audio=clipped, num_frames=counts)["predictions"]
        np.testing.assert_array_equal(found, expected)
    quantized = signatures["quantized"](rgb_and_audio=as_bytes, num_frames=counts)["predictions"]
    found = signatures["serving_default"](rgb_and_audio=features, num_frames=counts)["predictions"]
    assert np.abs(found - quantized).max() < 0.02  # What quantising costs.
    batch = {"num_frames": counts[:, 0], "present_frames": counts[:, 0]}
    trained = [model.tree({"features": values} | batch).probabilities for values in (features, clipped)]
    np.testing.assert_array_equal(*trained)


def test_bfloat16(tmp_path, in_process, bfloat16):
    model = trained_model()
    summary = export.Export(precision="bfloat16").save_model(model, str(tmp_path / "1"))
    assert 1e-5 < summary["largest_difference"] < 0.02


def test_a_model_that_answers_otherwise_never_appears(tmp_path, monkeypatch, in_process):
    answer = blessing.Recorder._answer
    monkeypatch.setattr(blessing.Recorder, "_answer", lambda *args: answer(*args) + np.float32(1e-3))
    with pytest.raises(
        UserError,
        match="serving_default differs from the trained model by 0.001 in a probability, at most 1e-05 was expected",
    ):
        export.Export().save_model(trained_model(), str(tmp_path / "1"))
    assert not os.listdir(tmp_path)


def test_a_model_that_cannot_be_loaded(tmp_path):
    with pytest.raises(UserError, match="The exported model does not run in a fresh process: .*does not exist"):
        blessing.call_in_fresh_process(str(tmp_path / "none"), [])


def test_what_is_there_is_not_replaced(tmp_path):
    with pytest.raises(UserError, match="exists: a new folder was expected"):
        export.Export().save_model(None, f"{tmp_path}/")


@pytest.mark.parametrize(
    "fields, message",
    (
        ({"label_names": ["one"]}, "The label names must be 20 lines, one a class of the vocabulary, got 1."),
        ({"top_k": 0}, "top_k must be at least 1, got 0."),
    ),
)
def test_wrong_options(tmp_path, fields, message):
    with pytest.raises(UserError) as error:
        export.Export(**fields).save_model(trained_model(), str(tmp_path / "1"))
    assert str(error.value) == message
    assert not os.listdir(tmp_path)


def _prediction_log_class():
    """`tensorflow.serving.PredictionLog`, as far as a warm-up request needs it, from its published field numbers."""
    file = descriptor_pb2.FileDescriptorProto(
        name="prediction_log_for_test.proto",
        package="for_test",
        syntax="proto3",
        dependency=["tensorflow/core/framework/tensor.proto"],
    )

    def message(name, *fields, parent=file.message_type):
        added = parent.add(name=name)
        for number, field, kind in fields:
            repeated = kind == ".for_test.PredictRequest.InputsEntry"
            added.field.add(
                name=field,
                number=number,
                label=3 if repeated else 1,
                type=9 if kind == "string" else 11,
                type_name=None if kind == "string" else kind,
            )
        return added

    message("ModelSpec", (1, "name", "string"), (3, "signature_name", "string"))
    request = message(
        "PredictRequest",
        (1, "model_spec", ".for_test.ModelSpec"),
        (2, "inputs", ".for_test.PredictRequest.InputsEntry"),
    )
    entry = message(
        "InputsEntry", (1, "key", "string"), (2, "value", ".tensorflow.TensorProto"), parent=request.nested_type
    )
    entry.options.map_entry = True
    message("PredictLog", (1, "request", ".for_test.PredictRequest"))
    message("PredictionLog", (6, "predict_log", ".for_test.PredictLog"))
    pool = descriptor_pool.Default()  # Where TensorFlow's messages are.
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("for_test.PredictionLog"))


def test_warm_up_requests(leaf):
    log_class = _prediction_log_class()
    inputs = {"many": np.arange(300, dtype=np.float32).reshape(2, 150), "text": np.array([b"a\0", b"bc"], object)}
    serialized = prediction_log("m", "s", inputs)
    log = log_class.FromString(serialized)
    assert log.SerializeToString(deterministic=True) == serialized  # All of it was understood.
    assert (log.predict_log.request.model_spec.name, log.predict_log.request.model_spec.signature_name) == ("m", "s")
    for name, value in inputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(log.predict_log.request.inputs[name]), value)

    signatures = tf.saved_model.load(leaf[0]).signatures
    answered = set()
    for record in tf.data.TFRecordDataset(f"{leaf[0]}/{export.WARMUP_FILE}").as_numpy_iterator():
        request = log_class.FromString(record).predict_log.request
        tensors = {name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
        signatures[request.model_spec.signature_name](**tensors)
        answered.add(request.model_spec.signature_name)
    assert answered == set(signatures)


@pytest.fixture(scope="module")
def train_dir(tmp_path_factory):
    """A train_dir of a finetuned model, with random weights."""
    path = str(tmp_path_factory.mktemp("train_dir"))
    run = tiny.run("finetune", model=("branching=2",))
    run.classes = [3, 5, 11]
    run.save(path)
    model = MOD.for_phase(run.model, run.phase)
    optimizer = FusedAdam(1e-3)
    optimizer.build(model.trainable_variables)
    checkpoints.save(path, model, optimizer, checkpoint_store.new_state(1), keep=1)
    return path


def test_command(train_dir, tmp_path, capsys, in_process):
    command_line.call(
        export_command, [f"--train_dir={train_dir}", f"--output_dir={tmp_path}/1", "--node=1", "--classes=segment"]
    )
    assert f"{tmp_path}/1" in capsys.readouterr().out
    signature = tf.saved_model.load(f"{tmp_path}/1").signatures["serving_default"]
    model, _ = checkpoints.load_model(train_dir)
    features = np.random.default_rng(0).integers(0, 256, (2, 5, 8), np.uint8)
    expected = model.tree({"features": tf.constant(features)}).children[1].probabilities.numpy()[:, [3, 5, 11]]
    found = signature(rgb_and_audio=records.dequantize(features), num_frames=tf.fill([2, 1], 5))["predictions"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "flags, message",
    (
        (["--format=tflite"], "refused without an accuracy check"),
        (["--accuracy_data_pattern=x"], "goes with --format=tflite"),
        (["--format=tflite", "--accuracy_data_pattern=x", "--precision=bfloat16"], "does not go with it"),
    ),
)
def test_command_refuses(train_dir, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        command_line.call(export_command, [f"--train_dir={train_dir}", f"--output_dir={tmp_path}/1", *flags])


def test_segment_classes_of_a_pretrained_model():
    with pytest.raises(UserError, match="but somewhere was not finetuned"):
        export_command.chosen_classes("segment", tiny.run("pretrain"), "somewhere")


def test_tflite(tmp_path, train_dir, in_process):
    data = tiny.write_data(tmp_path / "data")
    model, _ = checkpoints.load_model(train_dir)
    pattern = f"{data}/validate-*.tfrecord"
    with pytest.raises(
        UserError,
        match="The MAP on .* fell from .* in float32 to .* with 8-bit weights, a loss of at most -1 was expected",
    ):
        export.Export().save_tflite(model, str(tmp_path / "1"), pattern, max_loss=-1)
    assert not (tmp_path / "1").exists()
    summary = export.Export().save_tflite(model, str(tmp_path / "1"), pattern, max_loss=1)
    assert sorted(os.listdir(tmp_path / "1")) == ["export.json", "model.tflite"]
    assert 0 < summary["float32_map"] <= 1 and 0 < summary["int8_map"] <= 1
    assert summary["largest_difference"] < 0.1
