"""Sequences of commands over a few small files that are damaged, renamed, repeated: kinds of `benchmarks.fuzz`.

After each command: it gave what was asked for, all of it and nothing else, or it ended with a sentence and left the
outputs as they were. Commands are called in this process, with arithmetic in place of trained models.
"""

import contextlib
import io
import os
import shutil
from unittest import mock

import numpy as np
from absl import flags

from youtube8m_mod import files
from youtube8m_mod.errors import UserError

CLASSES, SIZE, SEGMENT_CLASSES = 8, 3, [1, 4, 6]
REFUSED, RESULT = "error of ours", "result"


def call(module, arguments):
    """Runs a command; raises what it raises."""
    from youtube8m_mod.commands import command, strict_flags

    names = command.define(module.define_flags)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return module.main(strict_flags.parse([module.__name__, *arguments]))
    finally:
        for name in names:
            delattr(flags.FLAGS, name)


class Shards:
    """TFRecord files of videos, of which it is known what is readable in them.

    Args:
        folder: where they are.
        random: a `random.Random`.
        count: files.
    """

    def __init__(self, folder, random, count, videos=(1, 5)):
        self.folder, self.random = folder, random
        self.originals, self.layouts, number = {}, {}, 0
        os.makedirs(folder, exist_ok=True)
        for shard in range(count):
            own = [f"v{number + place:03d}" for place in range(random.randint(*videos))]
            number += len(own)
            self.write(f"x{shard}.tfrecord", own)

    def write(self, name, ids):
        """Writes a good file of videos with random frames."""
        from youtube8m_mod.data.records import frame_level_record, write_shard

        generator = np.random.default_rng(self.random.getrandbits(32))
        layout, serialized, place = [], [], 0
        for video_id in ids:
            frames = generator.integers(0, 256, (int(generator.integers(5, 13)), SIZE), np.uint8)
            labels = [int(label) for label in generator.choice(CLASSES, 2, replace=False)]
            ratings = [(0, int(generator.choice(SEGMENT_CLASSES)), int(generator.integers(2)))]
            serialized.append(frame_level_record(video_id, labels, {"rgb": frames}, ratings))
            layout.append((video_id, frames, place, place + len(serialized[-1]) + 16))
            place = layout[-1][3]
        write_shard(f"{self.folder}/{name}", serialized)
        self.layouts[name], self.originals[name] = layout, self.content(name)

    def content(self, name):
        with open(f"{self.folder}/{name}", "rb") as file:
            return file.read()

    def put(self, name, content):
        with open(f"{self.folder}/{name}", "wb") as file:
            file.write(content)

    def names(self):
        return sorted(os.listdir(self.folder))

    def readable(self, name):
        """([(id, frames)] that can be read, number of records of the original that cannot, whether there is damage)."""
        content, original, good = self.content(name), self.originals[name], []
        for video_id, frames, start, end in self.layouts[name]:
            if content[start:end] != original[start:end]:
                break
            good.append((video_id, frames))
        end = self.layouts[name][len(good) - 1][3] if good else 0
        return good, len(self.layouts[name]) - len(good), len(content) > end

    def disturb(self):
        """Does one thing to one file."""
        names = self.names()
        name = self.random.choice(names)
        kind = self.random.choice(
            ("flip", "cut", "append", "mend", "touch", "remove", "rename", "copy", "empty", "anew")
        )
        content = self.content(name)
        if kind == "flip" and content:
            place = self.random.randrange(len(content))
            byte = content[place] ^ 1 << self.random.randrange(8)
            self.put(name, content[:place] + bytes([byte]) + content[place + 1 :])
        elif kind == "cut":
            self.put(name, content[: self.random.randrange(len(content) + 1)])
        elif kind == "append":
            self.put(name, content + self.random.randbytes(self.random.randint(1, 40)))
        elif kind == "mend":
            self.put(name, self.originals[name])
        elif kind == "touch":
            os.utime(f"{self.folder}/{name}")
        elif kind == "remove" and len(names) > 1:
            self._drop(name)
        elif kind in ("rename", "copy"):
            new = f"x{self.random.randrange(12)}{self.random.choice(('', 'b', '[1]'))}.tfrecord"
            if new not in names:
                shutil.copyfile(f"{self.folder}/{name}", f"{self.folder}/{new}")
                self.layouts[new], self.originals[new] = self.layouts[name], self.originals[name]
                if kind == "rename":
                    self._drop(name)
        elif kind == "empty":
            self.put(name, b"")
        elif kind == "anew":
            self.write(name, [video_id for video_id, *_ in self.layouts[name]])

    def mend_all(self):
        """Everything readable, each video once."""
        seen = set()
        for name in self.names():
            ids = {video_id for video_id, *_ in self.layouts[name]}
            if ids & seen:
                self._drop(name)
            else:
                self.put(name, self.originals[name])
                seen |= ids

    def _drop(self, name):
        os.remove(f"{self.folder}/{name}")


class _Arithmetic:
    """Stands for a folded model; another checkpoint gives other numbers."""

    fuse = None  # Calls that it still answers, where it is to be interrupted.

    def __init__(self, train_dir, classes):
        with open(f"{train_dir}/checkpoint-00000001/variables.index", "rb") as file:
            seed = int(file.read())
        weights = np.random.default_rng(seed).normal(size=(SIZE, CLASSES)) / 90
        self.weights = weights if classes is None else weights[:, classes]

    def predict(self, features, num_frames, present_frames, padded_frames=None):
        if _Arithmetic.fuse is not None:
            _Arithmetic.fuse -= 1
            if _Arithmetic.fuse < 0:
                raise KeyboardInterrupt
        features, present = np.asarray(features, np.float64), np.asarray(present_frames)
        mask = np.arange(features.shape[1]) < present[:, np.newaxis]
        mean = (features * mask[..., np.newaxis]).sum(1) / np.maximum(present, 1)[:, np.newaxis]
        return (1 / (1 + np.exp(-mean @ self.weights))).astype(np.float32)


class Inferences:
    """inference.py: interrupted, its input damaged, mended, renamed, repeated, exchanged, its model replaced."""

    def __init__(self, folder):
        import tensorflow  # noqa: F401  So that no case pays for it.

        self.folder = folder

    def __call__(self, random):
        place = f"{self.folder}/inference"
        shutil.rmtree(place, ignore_errors=True)
        self.random, self.train_dir, self.out = random, f"{place}/model", f"{place}/out[1]"
        self._save_model(0)
        self.shards = Shards(f"{place}/data", random, random.randint(1, 4))
        other = None
        self.options = self._options()
        self.share = random.choice((0.01, 0.3, 0.6))
        for _ in range(random.randint(2, 5)):
            for _ in range(random.choice((0, 1, 1, 2))):
                self.shards.disturb()
            kind = random.random()
            if kind < 0.1:
                self._save_model(random.randrange(3))
            elif kind < 0.2:
                self.options = self._options()
            elif kind < 0.3:  # Another folder whose files have the same names.
                other = other or Shards(f"{place}/data2", random, random.randint(1, 4))
                self.shards, other = other, self.shards
            self._command(interrupt=random.random() < 0.4)
        self.shards.mend_all()
        if self._command() == REFUSED:
            shutil.rmtree(self._parts(), ignore_errors=True)
            assert self._command() == RESULT, self.sentence
            return {RESULT: 1}
        return {RESULT: 1}

    def _options(self):
        kinds = self.random.choice((("videos",), ("submission",), ("submission", "videos", "segments")))
        return {"kinds": kinds, "skip": self.random.random() < 0.5, "exponent": self.random.choice(("0.05", "0.5"))}

    def _save_model(self, seed):
        from youtube8m_mod import config
        from youtube8m_mod.training.run import Run

        self.seed = seed
        fields = ["feature_names=rgb", f"feature_sizes={SIZE}", f"num_classes={CLASSES}", "max_frames=12"]
        model = config.model_config("dbof_tiny", fields)
        Run(model, config.PHASES["finetune"], classes=SEGMENT_CLASSES).save(self.train_dir)
        with files.write_file(f"{self.train_dir}/checkpoint-00000001/variables.index") as file:
            file.write(str(seed))

    def _paths(self):
        return {kind: f"{self.out}/{kind}.csv" for kind in self.options["kinds"]}

    def _parts(self):
        paths = self._paths()
        return next(paths[kind] for kind in ("submission", "videos", "segments") if kind in paths) + ".parts"

    def _command(self, interrupt=False):
        from youtube8m_mod.commands import inference
        from youtube8m_mod.inference import localizer

        flag = {"submission": "output_file", "videos": "video_predictions_file", "segments": "segment_predictions_file"}
        arguments = [
            f"--train_dir={self.train_dir}",
            f"--input_data_pattern={self.shards.folder}/x*.tfrecord",
            "--top_k=8",
            *(
                [f"--video_exponent={self.options['exponent']}", "--fill_empty"]
                if "submission" in self._paths()
                else []
            ),
            *(f"--{flag[kind]}={path}" for kind, path in self._paths().items()),
            *(["--skip_bad_records"] if self.options["skip"] else []),
        ]
        before = {path: _read(path) for path in self._paths().values()}
        rename, self.fuse = files.rename, self.random.randrange(8) if interrupt and self.random.random() < 0.5 else None

        def interrupted_rename(source, target):
            if self.fuse is not None:
                self.fuse -= 1
                if self.fuse < 0:
                    raise KeyboardInterrupt
            rename(source, target)

        _Arithmetic.fuse = self.random.randrange(6) if interrupt and self.fuse is None else None
        try:
            with (
                mock.patch.object(localizer, "_GROUP_BYTES", self.random.choice((1, 300, 1 << 20))),
                mock.patch.object(localizer, "_MAX_BAD_SHARE", self.share),
                mock.patch.object(files, "rename", interrupted_rename),
                mock.patch(
                    "youtube8m_mod.inference.run.fold_checkpoint",
                    lambda train_dir, node, precision, classes, *_, **__: _Arithmetic(train_dir, classes),
                ),
            ):
                call(inference, arguments)
        except KeyboardInterrupt:
            assert interrupt
            self._leave_behind()
            return "interrupted"
        except UserError as error:
            self.sentence = str(error)
            assert self.sentence.strip() and "\n" not in self.sentence
            after = {path: _read(path) for path in before}
            assert after == before, f"an output has changed beside: {error}"
            return REFUSED
        self._check()
        return RESULT

    def _leave_behind(self):
        """What a kill leaves, which lets nothing be removed."""
        if os.path.isdir(self._parts()) and self.random.random() < 0.5:
            from youtube8m_mod.lock import _this_process

            owner = _this_process() | {"pid": 2**22 + 1, "started": 1, "token": "x", "since": "", "beat": 0}
            files.write_json(f"{self._parts()}/lock.json", owner)
            with open(f"{self._parts()}/part-000000.npz.partial-0123", "wb") as file:
                file.write(b"half")

    def _check(self):
        """What a command that ended well has written is exactly what the input holds."""
        from youtube8m_mod.formats.predictions import format_lines, read_predictions
        from youtube8m_mod.formats.submission import read_submission

        videos, bad, lost = [], 0, 0
        for name in self.shards.names():
            good, behind, damaged = self.shards.readable(name)
            videos += good
            bad += damaged
            lost += max(behind - 1, 0) if damaged else 0
        ids = sorted(video_id for video_id, _ in videos)
        assert len(set(ids)) == len(ids), f"a video that occurs twice was let pass: {ids}"
        assert self.options["skip"] or not bad, "bad records were skipped though they must not be"
        # About so many are lost, by the bytes: records are unequal, so the bound is a wide one.
        assert bad + lost <= self.share * (len(ids) + bad + lost) * 2 + 2, (bad, lost, ids)
        paths, model = self._paths(), _Arithmetic(self.train_dir, None)
        _Arithmetic.fuse = None
        if "videos" in paths:
            expected = {
                video_id: format_lines([video_id], model.predict(frames[np.newaxis], None, [len(frames)]), 8)[0]
                for video_id, frames in videos
            }
            with open(paths["videos"], encoding="utf-8") as file:
                assert file.read() == "VideoId,LabelConfidencePairs\n" + "".join(map(expected.get, ids))
        segments = {f"{video_id}:{start}" for video_id, frames in videos for start in range(0, len(frames), 5)}
        if "segments" in paths:
            found = [line_id for line_id, *_ in read_predictions(paths["segments"])]
            assert sorted(found) == sorted(segments)
        if "submission" in paths:
            whole = {f"{video_id}:{5 * place}" for video_id, frames in videos for place in range(len(frames) // 5)}
            rows = [(name, text.decode().split()) for _, name, text in read_submission(paths["submission"])]
            lists = {int(name): listed for name, listed in rows if name != b"Class"}
            assert sorted(lists) == SEGMENT_CLASSES
            for listed in lists.values():
                assert sorted(listed) == sorted(whole)
        assert not os.path.exists(self._parts())


class Evaluations:
    """eval_map.py: its records and label cache exchanged, predictions joined, repeated, saved by a spreadsheet."""

    def __init__(self, folder):
        import tensorflow  # noqa: F401  So that no case pays for it.

        self.folder = folder

    def __call__(self, random):
        from youtube8m_mod.commands import eval_map

        place = f"{self.folder}/evaluation"
        shutil.rmtree(place, ignore_errors=True)
        shards = Shards(f"{place}/data", random, random.randint(1, 3))
        other = None
        ended = REFUSED
        for _ in range(random.randint(2, 6)):
            for _ in range(random.choice((0, 0, 1))):
                shards.disturb()
            if random.random() < 0.15:
                other = other or Shards(f"{place}/data2", random, random.randint(1, 3))
                shards, other = other, shards
            if random.random() < 0.15 and os.path.exists(f"{place}/cache.csv"):
                _save_again(random, f"{place}/cache.csv", cut=True)
            known = [video_id for name in shards.names() for video_id, *_ in shards.layouts[name]]
            lines = [f"{video_id},1 0.5 4 0.25\n" for video_id in dict.fromkeys(known)]
            if random.random() < 0.2:
                lines.append(random.choice(lines))
            with open(f"{place}/videos.csv", "w", encoding="utf-8") as file:
                file.writelines(["VideoId,LabelConfidencePairs\n", *lines])
            with open(f"{place}/submission.csv", "w", encoding="utf-8") as file:
                listed = " ".join(f"{video_id}:0" for video_id in dict.fromkeys(known))
                file.writelines(f"{label},{listed}\n" for label in SEGMENT_CLASSES)
            for name in ("videos", "submission"):
                if random.random() < 0.5:
                    _save_again(random, f"{place}/{name}.csv")
            arguments = [
                f"--submission_file={place}/submission.csv",
                f"--video_predictions_file={place}/videos.csv",
                f"--eval_data_pattern={shards.folder}/x*.tfrecord",
                f"--output_file={place}/result.json",
                f"--num_classes={CLASSES}",
            ]
            with contextlib.suppress(FileNotFoundError):
                os.remove(f"{place}/result.json")
            try:
                call(eval_map, [*arguments, f"--label_cache={place}/cache.csv"])
            except UserError as error:
                assert str(error).strip() and "\n" not in str(error) and not os.path.exists(f"{place}/result.json")
                continue
            ended, cached = RESULT, files.read_json(f"{place}/result.json")
            readable = [shards.readable(name) for name in shards.names()]
            assert not any(damaged for *_, damaged in readable), "damaged records were let pass"
            found = [video_id for good, *_ in readable for video_id, _ in good]
            assert len(lines) == len(set(lines)) and len(found) == len(set(found)), "a repeated video was let pass"
            assert all(0 <= cached["videos"][name] <= 1 for name in ("gap", "hit_at_1", "perr"))
            assert cached["videos"]["videos"] == len(found) and not cached["videos"]["videos_without_predictions"]
            call(eval_map, arguments)  # Without the cache.
            assert files.read_json(f"{place}/result.json") == cached, "the label cache gives other numbers"
        return {ended: 1}


def _save_again(random, path, cut=False):
    """The file as another program writes it, with `cut` not to its end at times."""
    content = _read(path)
    kind = random.randrange(4 + cut)
    if kind == 0 and not content.startswith(b"\xef\xbb\xbf"):
        content = b"\xef\xbb\xbf" + content
    elif kind == 1:
        content = content.replace(b"\r", b"").replace(b"\n", b"\r\n")
    elif kind == 2 and b'"' not in content:
        lines = content.decode("utf-8-sig").splitlines()
        content = "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in lines).encode()
    elif kind == 3:
        content = content.replace(b"\n", b" \n\n")
    elif kind == 4:
        content = content[: random.randrange(len(content) + 1)]
    with open(path, "wb") as file:
        file.write(content)


class Trainings:
    """train.py and finetune.py up to the first step: the run, its files and its start, in one train_dir or another."""

    def __init__(self, folder):
        import tensorflow  # noqa: F401  So that no case pays for it.

        self.folder = folder

    def __call__(self, random):
        from youtube8m_mod import config
        from youtube8m_mod.data.records import ReaderSettings, RecordKeys
        from youtube8m_mod.training.run import Run
        from youtube8m_mod.training.train_dir import note_start, prepare
        from youtube8m_mod.training.trainer import TrainingOptions

        place = f"{self.folder}/training"
        shutil.rmtree(place, ignore_errors=True)
        shards = Shards(f"{place}/data", random, random.randint(1, 3))
        other = Shards(f"{place}/data2", random, random.randint(1, 3))
        begun, ended = {}, REFUSED
        for _ in range(random.randint(3, 8)):
            if random.random() < 0.4:
                shards.disturb()
            if random.random() < 0.2:
                shards, other = other, shards
            for name in ("p", "q"):  # Pretrained models.
                if random.random() < 0.4 or not os.path.exists(f"{place}/{name}"):
                    with files.write_file(f"{place}/{name}/checkpoint-00000007/variables.index") as file:
                        file.write(str(random.randrange(3)))
            train_dir = f"{place}/run{random.randrange(2)}"
            accept, anew = random.random() < 0.2, random.random() < 0.1
            start = random.choice((None, "p", "q", "./p"))
            paths = files.glob(f"{shards.folder}/x*.tfrecord")
            data = {path: os.path.getsize(path) for path in paths}
            started = start and f"{place}/{start}"
            run = Run(config.MODELS["nextvlad_tiny"], config.PHASES["finetune"], started_from=started)
            # Only where a checkpoint was written is there a run that binds.
            earlier = None if anew else begun.get(train_dir)
            settings = ReaderSettings(
                RecordKeys(labels=random.choice(("", "", "", "tags"))), random.choice(("error", "error", "mean"))
            )
            choice = random.choice(("last", "last", "best"))
            eigenvalues = None
            if random.random() < 0.2:
                eigenvalues = f"{place}/eigenvalues{random.randrange(2)}.npy"
                with open(eigenvalues, "w") as file:
                    file.write(str(random.randrange(2)))
            asked = (started and os.path.normpath(started), choice if start else None, settings, _read(eigenvalues))
            options = TrainingOptions(
                accept_changed_data=accept,
                start_new_model=anew,
                eigenvalues=eigenvalues,
                pretrained_checkpoint=choice,
                reader=settings,
            )
            busy = random.random() < 0.1
            with contextlib.redirect_stderr(io.StringIO()):
                try:
                    if busy:
                        self._let_somebody_train(train_dir)
                    lock = prepare(run, train_dir, options, paths)
                    if anew:
                        begun.pop(train_dir, None)
                    if start and not earlier:
                        note_start(run, train_dir, 7)
                    if random.random() < 0.8:
                        lock.release()
                except UserError as error:
                    assert str(error).strip() and "\n" not in str(error)
                    if busy:
                        os.remove(f"{train_dir}/lock.json")
                    else:
                        same = earlier and earlier["asked"] == asked and (accept or earlier["data"] == data)
                        assert earlier and not same, f"refused without reason: {error}"
                    continue
            assert not busy, "two processes train in one train_dir"
            assert not earlier or earlier["asked"] == asked, "goes on with other flags"
            assert not earlier or accept or earlier["data"] == data, "goes on with other files"
            ended = RESULT
            if earlier or random.random() < 0.7:
                begun[train_dir] = {"asked": asked, "data": data}
                with files.write_file(f"{train_dir}/checkpoint-00000001/variables.index") as file:
                    file.write("1")
        return {ended: 1}

    def _let_somebody_train(self, train_dir):
        """Process 1 of this machine."""
        from youtube8m_mod.lock import _started, _this_process

        owner = _this_process() | {"pid": os.getppid(), "started": _started(os.getppid())}
        files.write_json(f"{train_dir}/lock.json", owner | {"token": "x", "since": "", "beat": 0})


def _read(path):
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


TARGETS = {"inferences": Inferences, "evaluations": Evaluations, "trainings": Trainings}
