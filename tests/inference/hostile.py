"""Changes of a bundle by someone who can compute checksums, and the sentence that each has to be refused with."""

import json
import os
import pickle
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from mefusion.common.files import sha256
from mefusion.inference.bundle import _ENTRIES, description_text


def content_of(bundle):
    return json.loads((bundle / "bundle.json").read_text())


def rewrite(bundle, **changes):
    (bundle / "bundle.json").write_text(description_text(content_of(bundle) | changes))


def entries(**changes):
    """Change entries of bundle.json."""
    return lambda bundle: rewrite(bundle, **changes)


def inside(entry, **changes):
    """Change values of an entry of bundle.json."""
    return lambda bundle: rewrite(bundle, **{entry: {**content_of(bundle)[entry], **changes}})


def arguments(**changes):
    """Change arguments of the network."""

    def change(bundle):
        network = content_of(bundle)["network"]
        rewrite(bundle, network={**network, "arguments": {**network["arguments"], **changes}})

    return change


def preparation(**changes):
    def change(bundle):
        content = content_of(bundle)
        length = {"clip_length": changes["clip_length"]} if "clip_length" in changes else {}
        rewrite(bundle, preparation={**content["preparation"], **changes}, **length)

    return change


def faces(**changes):
    def change(bundle):
        plain = content_of(bundle)["preparation"]
        rewrite(bundle, preparation={**plain, "faces": {**plain["faces"], **changes}})

    return change


def weights(change):
    """Change the tensors, with a new checksum."""

    def changed(bundle):
        path = bundle / "model.safetensors"
        tensors = load_file(path)
        save_file(change(tensors) or tensors, path)
        rewrite(bundle, files={"model.safetensors": sha256(path)})

    return changed


def raw_weights(content):
    """Replace the file of the weights, with a new checksum."""

    def change(bundle):
        path = bundle / "model.safetensors"
        path.write_bytes(content)
        rewrite(bundle, files={"model.safetensors": sha256(path)})

    return change


def text(content):
    """Replace bundle.json."""
    return lambda bundle: (bundle / "bundle.json").write_bytes(content.encode("utf-8", "surrogatepass"))


def edited(old, new):
    """Replace a part of the text of bundle.json."""

    def change(bundle):
        path = bundle / "bundle.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


def without(entry):
    def change(bundle):
        content = content_of(bundle)
        del content[entry]
        (bundle / "bundle.json").write_text(description_text(content))

    return change


def linked(name, target):
    def change(bundle):
        (bundle / name).unlink()
        (bundle / name).symlink_to(target)

    return change


def moved_out(name):
    """Put a file elsewhere, with a link to it."""

    def change(bundle):
        shutil.move(bundle / name, bundle.parent / "elsewhere")
        (bundle / name).symlink_to(bundle.parent / "elsewhere")

    return change


def piped(name):
    def change(bundle):
        (bundle / name).unlink()
        os.mkfifo(bundle / name)

    return change


def sparse(name, size):
    def change(bundle):
        with (bundle / name).open("r+b") as file:
            file.truncate(size)

    return change


def both(first, second):
    def change(bundle):
        first(bundle)
        second(bundle)

    return change


def classes(names):
    return entries(classes=[*names])


def first_of(tensors):
    return next(name for name, tensor in tensors.items() if tensor.is_floating_point())


def reshaped(tensors):
    name = next(name for name, tensor in tensors.items() if tensor.dim() > 1)
    return {**tensors, name: tensors[name].flatten()}


def halved(tensors):
    return {name: tensor.half() for name, tensor in tensors.items()}


def complex_one(tensors):
    return {**tensors, first_of(tensors): torch.zeros(3, dtype=torch.complex64)}


def one_more(tensors):
    return {**tensors, "x\x1b[2J": torch.zeros(1)}


def with_nan(tensors):
    tensors[first_of(tensors)].view(-1)[0] = torch.nan


def enormous(tensors):
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.fill_(3e38)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of a bundle was run",))


def header(**tensors):
    """A safetensors file of a header alone."""
    plain = json.dumps(tensors).encode()
    return struct.pack("<Q", len(plain)) + plain


HUGE = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}

CASES = {
    # Files.
    "name that leads out": (inside("files", **{"../../etc/passwd": "0"}), "no usable checksum of ../../etc/passwd"),
    "absolute name": (inside("files", **{"/etc/passwd": "0"}), "no usable checksum of /etc/passwd"),
    "checksum that is no text": (inside("files", **{"model.safetensors": 1}), "no usable checksum of model"),
    "checksum of another file": (inside("files", **{"model.safetensors": "0" * 64}), "is damaged or was changed"),
    "onnx that is not there": (inside("files", **{"model.onnx": "0" * 64}), "model.onnx is missing"),
    "weights that link out": (moved_out("model.safetensors"), "model.safetensors is a link to a file outside"),
    "description that links out": (moved_out("bundle.json"), "bundle.json is a link to a file outside the bundle"),
    "link to a secret": (linked("model.safetensors", "/etc/passwd"), "is a link to a file outside"),
    "link to endless zeros": (linked("model.safetensors", "/dev/zero"), "is a link to a file outside"),
    "link to itself": (linked("model.safetensors", "model.safetensors"), "is no usable path"),
    "link to nothing": (linked("bundle.json", "nowhere.json"), "is no bundle, since it has no bundle.json"),
    "weights that are a pipe": (piped("model.safetensors"), "model.safetensors cannot be read (no regular file)"),
    "description that is a pipe": (piped("bundle.json"), "cannot be read as JSON (no regular file)"),
    "weights of a terabyte": (sparse("model.safetensors", 2**40), "model.safetensors has more than 4294967296 bytes"),
    "description of a terabyte": (sparse("bundle.json", 2**40), "bundle.json has more than 16777216 bytes"),
    # JSON.
    "deep lists": (text("[" * 10**6 + "]" * 10**6), "cannot be read as JSON"),
    "lists as deep as Python goes": (text('{"format": 1, "a": ' + "[" * 900 + "]" * 900 + "}"), "bundle.json"),
    "no object": (text("[1]"), "is of format None"),
    "no JSON": (text("format: 1"), "cannot be read as JSON"),
    "no text": (lambda bundle: (bundle / "bundle.json").write_bytes(b"\xff\xfe\x00"), "cannot be read as JSON"),
    "half a letter": (edited('"format": 1', '"format": 1, "x": "\\ud800"'), "cannot be read as JSON"),
    "a number of many digits": (edited('"image_size": 28', f'"image_size": {"9" * 5000}'), "cannot be read as JSON"),
    "infinity": (edited('"temperature": 1.0', '"temperature": Infinity'), "Infinity is no number"),
    "not a number": (edited('"temperature": 1.0', '"temperature": NaN'), "NaN is no number"),
    "infinity in other words": (edited('"temperature": 1.0', '"temperature": 1e999'), "is damaged or was changed"),
    "newer format": (entries(format=2), "format 2, and this version of mefusion reads format 1"),
    "format of another type": (entries(format=True), "is of format True"),
    "format of a megabyte": (entries(format="x" * 10**6), "reads format 1"),
    # Entries.
    **{f"no {name}": (without(name), f"has no usable '{name}'") for name in _ENTRIES},
    **{f"{name} null": (entries(**{name: None}), "no usable") for name in _ENTRIES},
    "classes of numbers": (entries(classes=[1, 2, 3]), "classes is 1, not str"),
    "classes that move the cursor": (entries(classes=["a", "b", "\x1b[2J"]), "is no name"),
    "units of text": (entries(action_units=["1"]), "action_units is '1', not int"),
    "units that there are not": (entries(action_units=[1, 3]), "action_units must be different ones of 1, 2, 4"),
    "units that the network has not": (entries(action_units=[1, 2]), "does not fit its network, which fails"),
    "classes of a megabyte": (entries(classes=["a", "b", "c" * 10**6]), "is no name"),
    "name of lines": (entries(name="a\nb"), "is no name"),
    "temperature of a huge number": (entries(temperature=10**400), "temperature is 1000"),
    "temperature near 0": (entries(temperature=1e-9), "not from 0.01 to 100"),
    "std of 0": (inside("normalisation", std=[0, 1, 1]), "normalisation.std must be above 0"),
    "mean of another length": (inside("normalisation", mean=[0, 0]), "2 means for 3 channels"),
    "mean of texts": (inside("normalisation", mean=["0", "0", "0"]), "mean is '0', not float"),
    "unknown backend": (preparation(backend="os.system"), "faces=os.system is not known"),
    "huge pictures": (preparation(canvas=10**9), "preparation.canvas is 1000000000, not from 1 to 2048 px"),
    "negative pictures": (preparation(small=-1), "preparation.small is -1"),
    "huge windows": (preparation(clip_length=10**9), "a window of 1000000000 pictures of 144 px is too large"),
    "windows of one picture": (preparation(clip_length=1), "a window needs at least 2 frames"),
    "sides in words": (preparation(canvas="144"), "preparation.canvas is '144', not int"),
    "unknown treatment": (preparation(short_clips="eat"), "'eat' is not a valid ShortClips"),
    "huge input": (entries(image_size=10**9), "image_size is 1000000000"),
    "input of another size": (entries(image_size=29), "does not fit its network"),
    "another view": (entries(view="canvas"), "does not fit its network"),
    "faces that are far away": (faces(enlarge=1e9), "preparation.faces.enlarge is 1000000000.0, above 20"),
    "faces of a folder": (faces(folder="/home/someone"), "is a path of another machine"),
    "labels of a list": (inside("labels", classes=["a"]), "labels.classes is ['a'], not dict"),
    "labels of a column": (inside("labels", column="subject"), "labels.column=subject"),
    "study without a seed": (inside("study", seed=None), "study.seed is None, not int"),
    "contents of numbers": (inside("data", contents=[1]), "data.contents is 1, not str"),
    "frame rate of one number": (inside("data", fps=[1]), "data.fps must be the smallest and the largest"),
    # The network.
    **{
        f"network {name}": (inside("network", **{"class": name}), "is none of mefusion's, and a bundle has no code")
        for name in ("os.system", "builtins.eval", "mefusion.models.importlib", "mefusion.models.__import__", "FDP")
    },
    "network of a list": (inside("network", **{"class": ["os"]}), "network.class is ['os'], not str"),
    "network that moves the cursor": (inside("network", **{"class": "a.\x1b[2J"}), "is no name"),
    "no arguments": (inside("network", arguments=None), "network must have arguments"),
    "no number of classes": (inside("network", arguments={}), "num_classes"),
    "many classes": (arguments(num_classes=10**9), "network.arguments has a number above 100000"),
    "as many classes as told": (
        both(classes(f"c{number}" for number in range(90000)), arguments(num_classes=90000)),
        "has the weights of another network",
    ),
    "arguments of arguments": (arguments(image_size={"_target_": "os.system"}), "that cannot be built"),
    "a long list of arguments": (arguments(channels=[1] * 10**4), "more than 1000 entries"),
    "the path of a file": (arguments(image_size="/etc/passwd"), "that cannot be built"),
    # The weights.
    "pickle": (raw_weights(pickle.dumps(Bomb())), "model.safetensors cannot be read"),
    "empty weights": (raw_weights(b""), "model.safetensors cannot be read"),
    "header of a terabyte": (raw_weights(struct.pack("<Q", 2**40) + b"{}"), "model.safetensors cannot be read"),
    "tensor that is not there": (raw_weights(header(a=HUGE)), "model.safetensors cannot be read"),
    "no tensor": (weights(lambda tensors: {"x": torch.zeros(1)}), "has the weights of another network"),
    "one more tensor": (weights(one_more), "(1 tensors differ, such as x?[2J)"),
    "another shape": (weights(reshaped), "(1 tensors differ"),
    "another precision": (weights(halved), "tensors differ"),
    "complex numbers": (weights(complex_one), "differ"),
    "a weight that is no number": (weights(with_nan), "that are not finite"),
    "weights that overflow": (weights(enormous), "gives no finite numbers"),
}  # fmt: skip
