"""Feeds `sklsdm.load` thousands of altered files; tests/test_hostile_files.py runs it.

It runs in a process of its own, in which running code, importing a module and writing a file are
caught by an audit hook, and the largest memory can be told. It prints how many files there were and
what came of them.
"""

import json
import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

import sklsdm
from sklsdm.matchers import MDNMatcher
from sklsdm.saving.classes import known_modules, known_objects
from sklsdm.saving.container import pack, unpack
from sklsdm.saving.estimators import FORMAT

# Of CPython's audit events, those of code that starts, or reaches beyond the process.
WATCHED = ("exec", "compile", "import", "os.", "subprocess.", "socket.", "ctypes.", "pickle.",
           "marshal.", "shutil.", "builtins.input", "code.__new__", "function.__new__")  # fmt: skip
JUNK = [
    None,
    True,
    -1,
    0,
    3,
    10**6,
    2**40,
    2**63,
    -(2**70),
    10**40,
    0.5,
    1e308,
    "",
    "x",
    "a0",
    "__class__",
    "os.system",
    "../../etc/passwd",
    "cuda:99",
    [],
    {},
    [0] * 50,
    [10**9] * 3,
]


def write_model(path):
    """A small model that has every kind of content: forests, categories, networks, texts."""
    import pandas as pd
    from sklearn.preprocessing import FunctionTransformer

    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(60, 2))
    frame = pd.DataFrame({"a": numbers[:, 0], "b": [f"level {i % 40}" for i in range(60)]})
    est = sklsdm.LSDMRegressor(
        condition_encoder="trees", matcher=MDNMatcher(2, widths=(8,), max_steps=3), random_state=0
    ).set_params(condition_encoder__n_estimators=50, condition_encoder__min_samples_leaf=5)
    pipeline = sklsdm.make_sampling_pipeline(FunctionTransformer(), est).fit(frame, numbers)
    sklsdm.save(pipeline, path)
    return pipeline, frame


def altered_bytes(content, rng):
    """A file in which bytes were changed, left out, put in or moved; its checksum stays."""
    data = bytearray(content)
    kind, place = rng.randrange(5), rng.randrange(len(data))
    if rng.random() < 0.5:  # the header is smaller than the arrays, and more can go wrong there
        place = rng.randrange(8 + int.from_bytes(data[:8], "little"))
    if kind == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = rng.randbytes(rng.randrange(1, 100))
    elif kind == 3:
        del data[place : place + rng.randrange(1, 100)]
    else:
        data[place : place + 50] = data[place - 50 : place]
    return bytes(data)


def containers(node):
    """All lists and dicts inside a JSON value."""
    found = [node] if isinstance(node, list | dict) and node else []
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found += containers(item)
    return found


def altered_content(content, rng, names):
    """A file with a right checksum, in which values of the document or arrays were replaced."""
    document, arrays = unpack(content)
    document = json.loads(document)
    for _ in range(rng.choice([1, 1, 1, 3, 10])):
        if rng.random() < 0.25:
            name = rng.choice(list(arrays))
            arrays[name] = altered_array(arrays[name], rng)
            continue
        places = containers(document)
        place = rng.choice(places)
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        new = json.loads(json.dumps(rng.choice([*JUNK, rng.choice(names), rng.choice(places)])))
        if rng.random() < 0.1:
            del place[key]
        elif isinstance(place, dict) and rng.random() < 0.1:
            place[rng.choice(["fit", "__class__", "__setstate__", "checkpoint", "memory"])] = new
        else:
            place[key] = new
    document.setdefault("format", FORMAT)
    return pack(json.dumps(document), arrays)


def altered_array(array, rng):
    if rng.random() < 0.3:
        return np.zeros(rng.choice([(), (0,), (3,), (2, 2), (1, 10**5)]), dtype=rng.choice(
            ["f4", "f8", "i8", "u1", "?", "u4", "f2"]))  # fmt: skip
    array = array.copy()
    flat = array.reshape(-1)
    if len(flat) and array.dtype != bool:
        place = rng.randrange(len(flat))
        flat[place] = rng.choice([-1, 0, 1, 127]) if array.dtype.kind != "u" else 127
    return array


def edited(content, edit):
    """A file with a right checksum after `edit(document, arrays)`, which may return a new text."""
    document, arrays = unpack(content)
    document = json.loads(document)
    text = edit(document, arrays)
    return pack(text or json.dumps(document), arrays)


def find(document, name):
    """The part of the document that describes an object or a module of this class."""
    return next(
        node
        for node in containers(document)
        if isinstance(node, dict) and node.get("class") == name
    )


def put_in(document, value):
    """Let the value of an attribute be built from `value`."""
    find(document, "LSDMRegressor")["state"]["extra_"] = value


def with_module(kind, **config):
    node = {"is": "module", "class": kind, "config": config, "arrays": {}}
    return lambda document, arrays: put_in(document, node)


def with_value(value):
    return lambda document, arrays: put_in(document, value)


def with_setting(kind, part, **settings):
    return lambda document, arrays: find(document, kind)[part].update(settings)


def with_nodes(field, change):
    """Change one field of the forest's nodes."""

    def edit(document, arrays):
        fields = dict(find(document, "ExtraTreesRegressor")["trees"]["items"])["nodes"]["items"]
        change(arrays[dict(fields)[field]["name"]])

    return edit


def with_boosted_nodes(field, change, changed=None):
    """Change one field of the nodes, or `changed`, of the first booster with more than a root."""

    def edit(document, arrays):
        for node in containers(document):
            if isinstance(node, dict) and node.get("is") == "booster":
                packed = dict(node["content"]["items"])
                name = dict(packed["nodes"]["items"])[field]["name"]
                if len(arrays[name]) > len(arrays[packed["counts"]["name"]]):
                    change(arrays[packed[changed]["name"] if changed else name])
                    return
        raise LookupError("no booster of more than roots")

    return edit


def to_root(children):
    children[children >= 0] = 0


def set_all(values):
    values[:] = 1


def far_away(values):
    values[values >= 0] = 10**9


def with_forest_of_one_tree(document, arrays):
    trees = dict(find(document, "ExtraTreesRegressor")["trees"]["items"])
    arrays[trees["counts"]["name"]] = np.array([3])


def twice(document, arrays):
    put_in(document, {"is": "array", "name": next(iter(arrays)), "by_columns": False})


def nested(depth, start, end):
    return lambda document, arrays: json.dumps(document).replace(
        '"model":', f'"more": {start * depth}{end * depth}, "model":'
    )


# What an edited file is refused for, in words of the message.
HOSTILE = [
    ("needs your class 'os.system'", with_setting("LSDMRegressor", "state", extra_={
        "is": "object", "class": "os.system", "state": {}})),
    ("needs your class 'Popen'", with_value({"is": "object", "class": "Popen", "state": {}})),
    ("no attribute '__class__'", with_setting("LSDMRegressor", "state", __class__=1)),
    ("no attribute 'sample'", with_setting("LSDMRegressor", "state", sample=1)),
    ("names a folder", with_setting("LSDMRegressor", "state", checkpoint="../../home")),
    ("names a folder", with_setting("SamplingPipeline", "state", memory="/tmp/cache")),
    ("do not fit its weights", with_setting("MixtureDensity", "config", latent_dim=10**6)),
    ("do not fit its weights", with_setting("MixtureDensity", "config", n_components=10**9)),
    ("do not fit its weights", with_setting("MixtureDensity", "config", widths=[10**11])),
    ("do not fit its weights", with_setting("MixtureDensity", "config", widths=[1] * 1000)),
    ("do not fit its weights", with_setting("MixtureDensity", "config",
                                            image_shape=[1, 10**9, 10**9])),
    ("1000 members at most", with_setting("MixtureDensity", "config", widths=[1] * 10**5)),
    ("do not fit its weights", with_module("ConvField", condition_dim=0, code_shape=[4, 7, 7],
                                           channels=64, n_blocks=10**9)),
    ("do not fit its weights", with_module("ConvField", condition_dim=0,
                                           code_shape=[1, 10**6, 10**6], channels=64)),
    ("do not fit its weights", with_module("GroupSortCritic", condition_dim=1, latent_dim=10**6,
                                           widths=[10**6])),
    ("do not fit its weights", with_module("LinearCoder", width=1, latent_dim=10**6)),
    ("do not fit its weights", with_module("TimeConditionedField", condition_dim=0,
                                           latent_dim=10**5, widths=[])),
    ("1000 members at most", with_module("ConvCoder", shape=[2**62] * 10**5, latent_dim=1,
                                         channels=[], hidden=1)),
    ("", with_module("ConvCoder", shape=[2**62] * 999, latent_dim=1, channels=[], hidden=1)),
    ("lead to no later node", with_nodes("left_child", to_root)),
    ("lead to no later node", with_nodes("right_child", far_away)),
    ("lead to no later node", with_nodes("feature", far_away)),
    ("do not fit its nodes", with_forest_of_one_tree),
    ("lead to no later node", with_boosted_nodes("left", to_root)),
    ("lead to no later node", with_boosted_nodes("right", far_away)),
    ("lead to no later node", with_boosted_nodes("feature_idx", far_away)),
    ("lead to no later node", with_boosted_nodes("is_categorical", set_all)),
    ("do not fit their nodes", with_boosted_nodes("left", far_away, "counts")),
    ("OneHotEncoder do not fit", with_setting("OneHotEncoder", "state", _n_features_outs=[3])),
    ("OneHotEncoder do not fit", with_setting("OneHotEncoder", "state",
                                              _infrequent_enabled=False)),
    ("OneHotEncoder with drop", with_setting("OneHotEncoder", "state", drop="first")),
    ("is missing or used twice", twice),
    ("belong to nothing", lambda document, arrays: arrays.update(more=np.zeros(10**6))),
    ("too large", with_value(2**65)),
    ("is none of sklsdm.save", lambda document, arrays: json.dumps(document).replace(
        f'"format": {FORMAT}', f'"format": 1{"0" * 10**5}')),
    (f"format {FORMAT + 1}, of sklsdm", lambda document, arrays: document.update(
        format=FORMAT + 1)),
    ("is none of sklsdm.save", nested(10**5, "[", "]")),
    ("is none of sklsdm.save", lambda document, arrays: json.dumps(document) + "Infinity"),
    ("inside each other", lambda document, arrays: document.update(
        model=json.loads("[" * 400 + "]" * 400))),
    ("not in such files", with_value({"is": "scalar", "dtype": "U1000000", "value": "x"})),
    ("cannot be loaded", with_value({"is": "objects", "shape": [10**12], "items": []})),
    ("cannot be loaded", with_value({"is": "text", "codes": {"is": "scalar", "dtype": "<f8",
                                                             "value": 1.0}})),
]  # fmt: skip


def main(n_bytes, n_content):
    folder = Path(tempfile.mkdtemp())
    path, rng = folder / "model", random.Random(0)
    model, frame = write_model(path)
    content, draws = path.read_bytes(), model.sample(frame, 2, random_state=0)
    names = [*known_objects(), *known_modules(), "Popen", "builtins.eval"]
    caught, watching = [], [False]

    def watch(event, args):
        if watching[0] and event.startswith(WATCHED):
            caught.append((event, str(args)[:200]))

    def try_to_load():
        """The estimator, or the message of the error."""
        watching[0] = True
        try:
            return sklsdm.load(path)
        except ValueError as error:
            message = str(error)
        finally:
            watching[0] = False
        assert message.startswith(f"{path} cannot be loaded: "), message
        return message

    sys.addaudithook(watch)
    warnings.simplefilter("ignore")
    watching[0] = True
    eval("1 + 1")
    watching[0] = False
    assert {event for event, _ in caught} >= {"compile", "exec"}  # the hook works
    assert (try_to_load().sample(frame, 2, random_state=0) == draws).all()
    caught.clear()  # also what the first load imports

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"hostile": 0, "refused": 0, "equal": 0, "loaded": 0}
    for reason, edit in HOSTILE:
        path.write_bytes(edited(content, edit))
        message = try_to_load()
        assert isinstance(message, str), f"loaded, but should be refused: {reason}"
        assert reason in message, (reason, message)
        found["hostile"] += 1
    for _ in range(n_bytes):
        path.write_bytes(altered_bytes(content, rng))
        loaded = try_to_load()
        if not isinstance(loaded, str):
            assert (loaded.sample(frame, 2, random_state=0) == draws).all()
        found["refused" if isinstance(loaded, str) else "equal"] += 1
    for _ in range(n_content):
        path.write_bytes(altered_content(content, rng, names))
        found["refused" if isinstance(try_to_load(), str) else "loaded"] += 1
    assert not caught, caught[:5]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    megabytes = grown / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({**found, "grown_MB": round(megabytes, 1)}))  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
