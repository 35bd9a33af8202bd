"""Random damage: to bytes, to text, to JSON, to records. Each function takes a `random.Random` first."""

import json

RECORD_BYTES = 1 << 22  # Frames are copied up to about so many.
NUMBERS = (
    -1,
    0,
    1,
    3,
    5,
    294,
    295,
    296,
    299,
    300,
    301,
    3861,
    3862,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32,
    2**63 - 1,
    -(2**63),
)
FLOATS = (0.0, 1.0, 0.5, -1.0, 1e-45, 1e38, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    b"",
    b" ",
    b",",
    b":",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b"'",
    b'"',
    b"b'",
    b"-",
    b"+",
    b".",
    b"e",
    b"-1",
    b"0",
    b"1.0",
    b"nan",
    b"inf",
    b"1e309",
    b"9" * 30,
    b"Class,Segments",
    b"VideoId,LabelConfidencePairs",
    b"{}",
    b"__import__('os')",
    b"%s%n",
    b"../..",
    b"\x80\x04K\x01.",
    "\u0661".encode(),
    b"_1",
    b"0x1f",
    b"a" * 3000,
)
VALUES = (
    None,
    True,
    False,
    -1,
    0,
    1,
    2**31,
    2**64,
    10**40,
    -(10**40),
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "rgb",
    "nan",
    "x" * 5000,
    "\ud800",
    "/etc/passwd",
    [],
    {},
    [[]],
    [1, 2, 3],
    [None],
    [True],
    ["rgb", "rgb"],
    [10**9, 10**9],
    {"a": {"b": []}},
    [1e308],
)


def mutate_bytes(random, content, most=4):
    """Bytes with bits flipped, parts cut out, doubled, overwritten, cut off, or pieces of text put in."""
    content = bytearray(content)
    for _ in range(random.randint(1, most)):
        size = len(content)
        start = random.randrange(size + 1)
        end = min(size, start + random.choice((1, 2, 4, 8, 30, 200)))
        kind = random.randrange(8)
        if kind <= 1 and size:
            content[min(start, size - 1)] ^= 1 << random.randrange(8)
        elif kind == 2:
            del content[start:end]
        elif kind == 3:
            content[start:start] = content[start:end]
        elif kind == 4:
            content[start:end] = random.choice((b"\xff", b"\x00", b"\x7f")) * (end - start)
        elif kind == 5:
            content[start:end] = random.randbytes(end - start)
        elif kind == 6:
            content[start:start] = random.choice(TEXTS)
        elif random.random() < 0.3:
            del content[start:]
    return bytes(content)


def mutate_text(random, text):
    """The bytes of a text of lines, damaged line by line and field by field, or as `mutate_bytes` does."""
    if random.random() < 0.4:
        return mutate_bytes(random, text)
    lines = text.splitlines(keepends=True)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        kind = random.randrange(6)
        if kind == 0:
            lines.insert(place, random.choice(lines))
        elif kind == 1:
            lines[place] = lines[place].rstrip(b"\n") + random.choice((b"", b"\r\n", b"\n\n", b" \n"))
        elif kind == 2:
            random.shuffle(lines)
        elif kind == 3 and len(lines) > 1:
            del lines[place]
        else:
            separator = random.choice((b",", b" ", b":"))
            fields = lines[place].split(separator)
            fields[random.randrange(len(fields))] = random.choice(TEXTS)
            lines[place] = separator.join(fields)
    return b"".join(lines)


def mutate_json(random, value):
    """JSON text of a value in which some parts were replaced, left out or added; NaN and lone surrogates as well."""
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        parent = value
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = random.choice(keys)
            if isinstance(parent[key], (dict, list)) and parent[key] and random.random() < 0.8:
                parent = parent[key]
                continue
            kind = random.random()
            if kind < 0.5:
                parent[key] = _alike(random, parent[key])
            elif kind < 0.55:
                del parent[key]
            elif isinstance(parent, dict) and kind < 0.6:
                parent[random.choice(("a", "", "name", "__class__"))] = random.choice(VALUES)
            else:
                parent[key] = random.choice(VALUES)
            break
    text = json.dumps(value).encode()
    if random.random() < 0.1:
        text = random.choice((b"[" * 100_000, text * 2, b"\xef\xbb\xbf" + text, text[:-1], b"", b"NaN", b"9" * 10_000))
    return mutate_bytes(random, text) if random.random() < 0.2 else text


def _alike(random, value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value * 2, value // 2, -value, 0, 1, 8, 10**9, 10**40))
    if isinstance(value, float):
        return random.choice((value * 2, value / 1000, -value, 1.0, 0, 1e308, 1e-320))
    if isinstance(value, str):
        return random.choice(("rgb", "dbof", "nextvlad", "", value + "x", value.upper(), "a/b"))
    if isinstance(value, list):
        return random.choice((value[:-1], value * 2, value[::-1], [], [1], [2, 2], [1] * 50, ["a", "b"]))
    return 1


def mutate_record(random, serialized):
    """A serialized record with wrong ids, types, sizes, counts or numbers, or with damaged bytes."""
    import tensorflow as tf

    if random.random() < 0.25:
        return mutate_bytes(random, serialized)
    record = tf.train.SequenceExample.FromString(serialized)
    for _ in range(random.choice((1, 1, 2, 3))):
        context, lists = record.context.feature, record.feature_lists.feature_list
        if lists and random.random() < 0.5:
            _mutate_frames(random, lists)
        else:
            _mutate_feature(random, context[random.choice(sorted(context) or ["id"])])
        if random.random() < 0.05:
            del context[random.choice(sorted(context) or ["id"])]
    return record.SerializeToString(deterministic=True)


def _mutate_feature(random, feature):
    count = random.choice((0, 1, 2, 7, 7, 20_000))
    kind = random.randrange(5)
    if kind == 0:
        feature.bytes_list.value[:] = [random.choice(TEXTS) for _ in range(min(count, 5))]
    elif kind == 1:
        feature.float_list.value[:] = [random.choice(FLOATS) for _ in range(count)]
    elif kind == 2:
        feature.int64_list.value[:] = [random.choice(NUMBERS) for _ in range(count)]
    else:  # Of the type that it has.
        values = getattr(feature, feature.WhichOneof("kind") or "int64_list").value
        pool = {"bytes_list": TEXTS, "float_list": FLOATS}.get(feature.WhichOneof("kind"), NUMBERS)
        if kind == 3 and len(values):
            values[random.randrange(len(values))] = random.choice(pool)
        else:
            values.append(random.choice(pool))


def _mutate_frames(random, lists):
    name = random.choice(sorted(lists))
    frames = lists[name].feature
    kind = random.randrange(7)
    if kind == 0:
        del lists[name]
    elif kind == 1:
        lists[random.choice(("RGB", "", "rgb "))].CopyFrom(lists[name])
    elif kind == 2:
        copies = random.choice((1, 2, 400, 3000))
        # A frame may be of 20,000 values by now: thousands of that are a file for which 512 MB are not enough.
        for _ in range(min(copies, RECORD_BYTES // max(frames[0].ByteSize(), 1)) if len(frames) else 0):
            frames.add().CopyFrom(frames[0])
    elif kind == 3 and len(frames):
        del frames[random.randrange(len(frames))]
    elif kind == 4:
        del frames[:]
    elif len(frames):
        _mutate_feature(random, frames[random.randrange(len(frames))])
