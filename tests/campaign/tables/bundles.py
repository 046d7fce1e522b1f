"""Bundles that are damaged or made up, clips that cannot be named, and studies that cannot be exported."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cases import Change, Expected, table
from ..changes import cut, find, flip, make_pipe, put_file, put_folder, remove, write

PREDICT = "mefusion-predict bundle videos/face.mp4 --no-overlay"
CLIPS = "mefusion-predict bundle --clips clips/manifest.csv"
EXPORT = "mefusion-export study --to new"
JSON, WEIGHTS, MANIFEST = "bundle/bundle.json", "bundle/model.safetensors", "clips/manifest.csv"


def say(**changed: Any) -> Change:
    """Change entries of `bundle.json`, with its checksum, as somebody would who means harm; `a__b` is b of a."""

    def change(folder: Path) -> None:
        from mefusion.inference.bundle import description_text

        path = find(folder, JSON)
        content = json.loads(path.read_text())
        for key, value in changed.items():
            place: Mapping[str, Any] = content
            *above, last = key.split("__")
            for name in above:
                place = place[name]
            place[last] = value  # type: ignore[index]
        path.write_text(description_text(content))

    return change


def weights(content: bytes) -> Change:
    """Put other weights into the bundle, with their checksum."""

    def change(folder: Path) -> None:
        find(folder, WEIGHTS).write_bytes(content)
        say(files={"model.safetensors": hashlib.sha256(content).hexdigest()})(folder)

    return change


DAMAGED: list[tuple[str, Change | None, str]] = [
    ("no bundle.json", remove(JSON), "is no bundle"),
    ("bundle.json is empty", write(JSON, ""), "bundle.json"),
    ("bundle.json is text", write(JSON, "text"), "bundle.json"),
    ("bundle.json is binary", write(JSON, bytes(range(256))), "bundle.json"),
    ("bundle.json is a list", write(JSON, "[]"), "bundle.json"),
    ("bundle.json of nests", write(JSON, "[" * 100_000), "bundle.json"),
    ("bundle.json is cut", cut(JSON, 0.5), "bundle.json"),
    ("bundle.json is a folder", put_folder(JSON), "bundle.json"),
    ("bundle.json is a pipe", make_pipe(JSON), "bundle.json"),
    ("bundle.json of a later format", say(format=99), "format 99"),
    ("no weights", remove(WEIGHTS), "model.safetensors"),
    ("half the weights", cut(WEIGHTS, 0.5), "model.safetensors"),
    ("a flipped bit in the weights", flip(WEIGHTS, 0.5), "model.safetensors"),
    ("weights are text", write(WEIGHTS, "text"), "model.safetensors"),
    ("weights are a folder", put_folder(WEIGHTS), "model.safetensors"),
    ("weights are a pipe", make_pipe(WEIGHTS), "model.safetensors"),
    ("weights of nothing, with their checksum", weights(b""), "model.safetensors"),
    ("weights with a huge header, with their checksum", weights(b"\xff" * 64), "model.safetensors"),
    ("weights that are a pickle, with their checksum", weights(b"\x80\x04\x95cos\nsystem\n(S'touch x-was-run'\ntR."), "model.safetensors"),
]  # fmt: skip
MADE_UP: list[tuple[str, Change | None, str]] = [
    ("a network that is a command", say(network__class="os.system"), "os.system"),
    ("a network that is none of the package's", say(network__class="mefusion.models.load_released"), "load_released"),
    ("a network that is text", say(network=7), "network"),
    ("an argument too many", say(network__arguments__magic=1), "bundle.json"),
    ("a width of nothing", say(network__arguments__width=0), "bundle.json"),
    ("another width", say(network__arguments__width=0.125), "model.safetensors"),
    ("no classes", say(classes=[]), "classes"),
    ("a class twice", say(classes=["a", "a", "b"]), "classes"),
    ("four classes", say(classes=["a", "b", "c", "d"]), "classes"),
    ("classes that are numbers", say(classes=[1, 2, 3]), "classes"),
    ("an unknown view", say(view="nothing"), "nothing"),
    ("pictures below zero", say(image_size=-1), "image_size"),
    ("pictures without end", say(image_size=10**9), "image_size"),
    ("a clip length of nothing", say(clip_length=0, preparation__clip_length=0), "clip_length"),
    ("a canvas without end", say(preparation__canvas=10**6), "canvas"),
    ("a canvas that is text", say(preparation__canvas="large"), "canvas"),
    ("an unknown detector", say(preparation__backend="magic"), "magic"),
    ("preparation that is empty", say(preparation={}), "bundle.json"),
    ("a mean that is no number", say(normalisation__mean=[float("nan")]), "mean"),
    ("a deviation of nothing", say(normalisation__std=[0.0]), "std"),
    ("means of five channels", say(normalisation__mean=[0.0] * 5), "mean"),
    ("a temperature of nothing", say(temperature=0), "temperature"),
    ("a temperature that is no number", say(temperature=float("nan")), "temperature"),
    ("windows of an unknown kind", say(windows="magic"), "magic"),
    ("labels that are empty", say(labels={}), "bundle.json"),
    ("data that are empty", say(data={}), "data"),
    ("a study that is empty", say(study={}), "study"),
]
LINES = [
    ("a bundle that is not there", "mefusion-predict nowhere videos/face.mp4", "nowhere"),
    ("a bundle that is a file", "mefusion-predict videos/face.mp4 videos/face.mp4", "face.mp4"),
    ("a bundle that is a study", "mefusion-predict study videos/face.mp4", "study"),
    ("a bundle that is the weights", f"mefusion-predict {WEIGHTS} videos/face.mp4", "model.safetensors"),
    ("no recording", "mefusion-predict bundle", "give recordings"),
    ("recordings and clips", f"{CLIPS} videos/face.mp4", "give recordings"),
    ("a recording that is not there", "mefusion-predict bundle nowhere.mp4", "nowhere.mp4"),
    ("a manifest that is not there", "mefusion-predict bundle --clips nowhere.csv", "nowhere.csv"),
    ("a manifest that is a folder", "mefusion-predict bundle --clips clips", "clips"),
    ("an output that cannot be", f"{CLIPS} --output /proc/nothing", "/proc/nothing"),
    ("a study that is not there", "mefusion-export nowhere", "nowhere"),
    ("a study that is a file", "mefusion-export videos/face.mp4", "face.mp4"),
    ("a study that is a bundle", "mefusion-export bundle", "bundle"),
    ("a bundle that is there already", "mefusion-export study --to bundle", "is there already"),
    ("a bundle that cannot be", "mefusion-export study --to /proc/nothing/a", "/proc/nothing"),
    ("scores that are not there", f"{EXPORT} --scores nowhere", "nowhere"),
    ("scores of the study itself", f"{EXPORT} --scores study", "study"),
    ("scores of a bundle", f"{EXPORT} --scores bundle", "bundle"),
]
CLIP_TABLES: list[tuple[str, Change | None, str]] = [
    ("a manifest that is empty", write(MANIFEST, ""), "manifest.csv"),
    ("a manifest of other columns", write(MANIFEST, "a,b\n1,2\n"), "manifest.csv"),
    ("a manifest that is binary", write(MANIFEST, bytes(range(256))), "manifest.csv"),
    ("a manifest without clips", write(MANIFEST, "clip_id,subject,path,emotion\n"), "manifest.csv"),
]
STUDIES: list[tuple[str, Change | None, str]] = [
    ("study.json is gone", remove("study/study.json"), "study"),
    ("study.json is text", write("study/study.json", "text"), "study.json"),
    ("study.json is a list", write("study/study.json", "[]"), "study.json"),
    ("config.yaml is gone", remove("study/config.yaml"), "config.yaml"),
    ("config.yaml is text", write("study/config.yaml", "text"), "config.yaml"),
    ("config.yaml is a mapping of nothing", write("study/config.yaml", "{}"), "config.yaml"),
    ("the training is gone", remove("study/folds"), "study"),
    ("the weights are gone", remove("study/folds/*/*.ckpt"), "study"),
    ("half the weights of the study", cut("study/folds/*/*.ckpt", 0.5), "study"),
    ("the weights of the study are text", write("study/folds/*/*.ckpt", "text"), "study"),
    ("a bundle's place is a file", put_file("new"), "new"),
]
CASES = [
    *table("bundles", "bundles", PREDICT, DAMAGED),
    *table("bundles", "bundles", CLIPS, MADE_UP),
    *(case for name, line, word in LINES for case in table("bundles", "bundles", line, [(name, None, word)])),
    *table("bundles", "bundles", CLIPS, CLIP_TABLES),
    *table("bundles", "bundles", CLIPS, [("a clip that is gone", remove("clips/frames", place=0), "manifest.csv")]),
    *table("bundles", "bundles", CLIPS, [("no model card", remove("bundle/README.md"), "clips predicted")], expected=Expected.works),
    *table("bundles", "bundles", EXPORT, STUDIES),
    *table("bundles", "bundles", EXPORT, [("a study without a score", None, "no score stands for it")], expected=Expected.works),
]  # fmt: skip
