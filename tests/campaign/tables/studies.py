"""Studies that are damaged, as mefusion-report reads them, or mefusion-train goes on with them."""

import json

from ..cases import Expected, table
from ..changes import both, cell, cut, drop, entry, flip, make_pipe, put_file, put_folder, put_link, remove, rows, write
from ..templates import DATA, SMALL

STUDY = "outputs/mol/mol_tiny*"
FOLD = f"{STUDY}/folds/synthetic-sub02"
JSON, CONFIG = f"{STUDY}/study.json", f"{STUDY}/config.yaml"
TABLE, METRICS, ORIGIN, EXAMPLES = (f"{FOLD}/{name}" for name in ("predictions.parquet", "metrics.csv", "fold.json", "examples.safetensors"))  # fmt: skip
REPORT = "mefusion-report outputs/mol"
TRAIN = " ".join(["mefusion-train", *DATA, *SMALL, "trainer.max_epochs=2 output_dir=outputs/mol"])

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
STUDIES = [
    ("study.json is gone", remove(JSON), "outputs/mol"),
    ("study.json is empty", write(JSON, ""), "study.json"),
    ("study.json is no JSON", write(JSON, "{"), "study.json"),
    ("study.json is a list", write(JSON, "[]"), "study.json"),
    ("study.json is nested", write(JSON, "[" * 99_999), "study.json"),
    ("study.json is binary", write(JSON, bytes(range(256))), "study.json"),
    ("study.json is cut", cut(JSON, 0.7), "study.json"),
    ("study.json is a folder", put_folder(JSON), "outputs/mol"),
    ("study.json is a link to itself", put_link(JSON, "study.json"), "outputs/mol"),
    *(
        (f"study.json: {key} {json.dumps(value)[:20] if value is not ... else 'gone'}", entry(JSON, key, value), "study.json", key)
        for key, values in {
            "study": (..., None, 3, "", "../x", "a/b"),
            "model": (..., None, 3, ""),
            "tasks": (..., None, [], {}, {"flow": "much"}),
            "classes": (..., None, [], ["a", "a"], "abc", [1]),
            "folds": (..., None, [], [""], ["../x"], ["a", "a"], 3),
            "seeds": (..., None, [], ["0"], [0, 0], 0.5),
            "rule": (..., None, 3),
            "sample_list_hash": (..., None, 3),
            "partial": (None, 3, [1]),
            "versions": (..., None, []),
            "measures": (None, [], {"flow": 3}, {"flow": {}}),
        }.items()
        for value in values
    ),
    ("another study's name", entry(JSON, "study", "other"), "other"),
    ("another class", entry(JSON, "classes", ["a", "b", "c"]), "class"),
    ("a fold more", entry(JSON, "folds", ["synthetic-sub01", "synthetic-sub02", "synthetic-sub03"]), "synthetic-sub03"),
    ("a seed more", entry(JSON, "seeds", [0, 1]), "seed"),
    ("another rule", entry(JSON, "rule", "average"), "rule"),
    ("other clips", entry(JSON, "sample_list_hash", "0" * 12), "sample list"),
    ("config.yaml is gone", remove(CONFIG), "config.yaml"),
    ("config.yaml is empty", write(CONFIG, ""), "config.yaml"),
    ("config.yaml is no YAML", write(CONFIG, "a: ["), "config.yaml"),
    ("config.yaml is a list", write(CONFIG, "- a\n"), "config.yaml"),
    ("config.yaml is binary", write(CONFIG, bytes(range(256))), "config.yaml"),
    ("config.yaml is nested", write(CONFIG, "[" * 99_999), "config.yaml"),
    ("config.yaml holds itself", write(CONFIG, "model: &a {again: *a}\n"), "config.yaml"),
    ("config.yaml is an alias bomb", write(CONFIG, BOMB), "config.yaml"),
    ("config.yaml with a command", write(CONFIG, "a: !!python/object/apply:os.system [touch yaml-was-run]\n"), "config.yaml"),
    ("config.yaml has number tasks", write(CONFIG, "tasks: 3\n"), "config.yaml"),
    ("config.yaml is a folder", put_folder(CONFIG), "config.yaml"),
]  # fmt: skip
FOLDS = [
    ("a fold is gone", remove(FOLD), "synthetic-sub02"),
    ("a fold is a file", put_file(FOLD), "synthetic-sub02"),
    ("a fold is not done", remove(f"{FOLD}/DONE"), "synthetic-sub02"),
    ("DONE is a folder", put_folder(f"{FOLD}/DONE"), "synthetic-sub02"),
    ("no table", remove(TABLE), "predictions.parquet"),
    ("the table is empty", write(TABLE, b""), "predictions.parquet"),
    ("the table is text", write(TABLE, "a,b\n"), "predictions.parquet"),
    ("the table is a folder", put_folder(TABLE), "predictions.parquet"),
    ("half a table", cut(TABLE, 0.5), "predictions.parquet"),
    *((f"a bit of the table at {share:.1%}", flip(TABLE, share), "synthetic-sub02") for share in (0.0, 0.001, 0.01, 0.05, 0.999)),
    ("a table without rows", rows(TABLE, lambda table: table.iloc[:0]), "predictions.parquet"),
    ("a clip lost", rows(TABLE, lambda table: table.iloc[1:]), "outputs/mol"),
    ("a clip twice", rows(TABLE, lambda table: table.iloc[[0, *range(len(table))]]), "twice"),
    ("a table of another fold", rows(TABLE, lambda table: table.assign(fold="synthetic-sub01")), "fold"),
    ("a table of another study", rows(TABLE, lambda table: table.assign(study="other")), "other"),
    ("a table of another rule", rows(TABLE, lambda table: table.assign(rule="oracle")), "oracle"),
    ("a table of another seed", rows(TABLE, lambda table: table.assign(seed=5)), "seed"),
    *((f"a table without {name}", drop(TABLE, name), "predictions.parquet", name) for name in ("study", "subject", "clip_id", "label", "prediction", "probability_positive", "flow_epe", "landmarks_nme", "epoch")),
    *(
        (f"{name} {value!r}", cell(TABLE, name, value), "predictions.parquet", name)
        for name, values in {
            "probability_positive": (2.0, -1.0, float("nan"), "high", None),
            "label": ("happy", None, 3),
            "prediction": ("happy", None),
            "flow_epe": (float("nan"), -1.0, "small", float("inf")),
            "landmarks_nme": (float("nan"), -1.0),
            "epoch": (float("nan"), "two", -1),
            "clip_id": (None, 3),
            "subject": (None, 3),
        }.items()
        for value in values
    ),
    ("a prediction that is not the largest", rows(TABLE, lambda table: table.assign(prediction=table["prediction"].map({"positive": "negative"}).fillna("positive"))), "largest"),
    ("fold.json is gone", remove(ORIGIN), "fold.json"),
    ("fold.json is empty", write(ORIGIN, ""), "fold.json"),
    ("fold.json is a list", write(ORIGIN, "[]"), "fold.json"),
    ("fold.json without versions", entry(ORIGIN, "versions", ...), "fold.json"),
    ("fold.json with number versions", entry(ORIGIN, "versions", 3), "fold.json"),
    ("fold.json is nested", write(ORIGIN, "[" * 99_999), "fold.json"),
]  # fmt: skip
EXTRAS = [
    ("metrics.csv is binary", write(METRICS, bytes(range(256))), "metrics.csv"),
    ("metrics.csv with an open quote", write(METRICS, 'a,"b\n'), "metrics.csv"),
    ("metrics.csv without epochs", write(METRICS, "a,b\n1,2\n"), "epoch"),
    ("metrics.csv with a text", write(METRICS, "epoch,train/loss\n0,high\n"), "train/loss"),
    ("metrics.csv with a huge epoch", write(METRICS, "epoch,train/loss\n" + 400 * "9" + ",1\n"), "epoch"),
    ("metrics.csv is a folder", put_folder(METRICS), "metrics.csv"),
    ("examples are empty", write(EXAMPLES, b""), "examples.safetensors"),
    ("examples are text", write(EXAMPLES, "text"), "examples.safetensors"),
    ("half the examples", cut(EXAMPLES, 0.5), "examples.safetensors"),
    ("examples are a folder", put_folder(EXAMPLES), "examples.safetensors"),
]
LINES = [
    ("a folder that is not there", "mefusion-report nowhere", "nowhere"),
    ("a file", "mefusion-report data/synthetic/three-a1de788a31/manifest.csv", "manifest.csv"),
    ("a folder without studies", "mefusion-report cache", "cache"),
    ("an unknown reference", "mefusion-report outputs/mol outputs/majority --reference nothing", "nothing"),
    ("a reference that fits several", "mefusion-report outputs/mol outputs/majority --reference synthetic", "fits 2"),
    ("an output that cannot be", "mefusion-report outputs/mol --output /proc/nothing", "/proc/nothing"),
]
TRAINED = [
    ("train: study.json is no JSON", both(remove(f"{FOLD}/DONE"), write(JSON, "{")), "study.json"),
    ("train: a table is cut", cut(TABLE, 0.5), "predictions.parquet"),
    ("train: fold.json is gone", remove(ORIGIN), "fold.json"),
    ("train: a fold is a file", put_file(FOLD), "synthetic-sub02"),
    ("train: folds are a file", put_file(f"{STUDY}/folds"), "folds"),
    ("train: the study is a file", put_file(STUDY), "outputs/mol"),
    ("train: a table of another study", rows(TABLE, lambda table: table.assign(study="other")), "other"),
    ("train: metrics.csv is a folder", both(remove(f"{FOLD}/DONE"), put_folder(METRICS)), "metrics.csv"),
]
NO_LOG = [
    ("train: metrics.csv is binary", both(remove(f"{FOLD}/DONE"), write(METRICS, bytes(range(256)))), "pooled over 6 clips"),
    ("train: metrics.csv is empty", both(remove(f"{FOLD}/DONE"), write(METRICS, "")), "pooled over 6 clips"),
]  # fmt: skip
GOES_ON = [
    ("train: no pooled table", remove(f"{STUDY}/predictions.parquet"), "pooled over 6 clips"),
    ("train: a pooled table that is text", write(f"{STUDY}/predictions.parquet", "text"), "pooled over 6 clips"),
    ("train: no summary", remove(f"{STUDY}/summary.json"), "pooled over 6 clips"),
    ("train: a fold is gone", remove(FOLD), "pooled over 6 clips"),
]  # fmt: skip
CASES = [
    *table("studies", "studies", REPORT, [*STUDIES, *FOLDS]),
    *table("studies", "studies", REPORT, EXTRAS),
    *table("studies", "studies", REPORT, [("study.json is a pipe", make_pipe(JSON), "outputs/mol")]),
    *(case for name, line, word in LINES for case in table("studies", "studies", line, [(name, None, word)])),
    *table("studies", "studies", f"{REPORT} --output taken", [("an output that is a file", write("taken", "a file\n"), "taken")]),
    *table("studies", "studies", TRAIN, TRAINED),
    *table("studies", "studies", TRAIN, GOES_ON, expected=Expected.works),
    *table("studies", "studies", TRAIN, NO_LOG, expected=Expected.works, may_go=("metrics.csv",)),
    *table("studies", "studies", f"{REPORT} outputs/majority", [("the others are reported", write(CONFIG, "a: ["), "config.yaml", "majority")], expected=Expected.told),
]  # fmt: skip
