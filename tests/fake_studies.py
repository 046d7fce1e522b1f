"""Study directories as a run leaves them, with hand-made predictions."""

import json

import pandas as pd
import yaml

from mefusion.evaluation.predictions import sample_list_hash
from mefusion.training.losses import DynamicImage, Flow, Landmarks, Rank

CLASSES = ["negative", "positive", "surprise"]
MEASURED = {"flow": Flow, "landmarks": Landmarks, "dynamic_image": DynamicImage, "rank": Rank}


def measures_of(task):
    """What a task's numbers are, as `study.json` has it."""
    return MEASURED[task].report.to_plain()


def fold_table(subject, study="mol-fake", labels=CLASSES, predictions=CLASSES, **columns):
    """A fold's prediction table: one clip a label, the predicted class at .8."""
    probabilities = {
        f"probability_{name}": [0.8 if name == guess else 0.1 for guess in predictions] for name in CLASSES
    }
    return pd.DataFrame(
        {
            "study": study,
            "dataset": "synthetic",
            "subject": subject,
            "clip_id": [f"{subject}_{i}" for i in range(len(labels))],
            "fold": subject,
            "seed": 0,
            "label": labels,
            "prediction": predictions,
            **probabilities,
            "rule": "last",
            "epoch": 30,
            "flow_epe": 0.2,
            "flow_epe_zero": 0.5,
            "landmarks_nme": [4.0] * (len(labels) - 1) + [10.0],
        }
        | columns
    )


def write_run(directory, table, several=False, **origin):
    """One complete fold of one seed; `DONE` comes last."""
    fold, seed = table["fold"].iloc[0], table["seed"].iloc[0]
    run = directory / "folds" / fold / (f"seed{seed}" if several else "")
    run.mkdir(parents=True, exist_ok=True)
    table.to_parquet(run / "predictions.parquet", index=False)
    (run / "metrics.csv").write_text(
        "epoch,step,train/accuracy,train/loss,train/flow_loss\n0,1,0.4,1.2,0.5\n1,3,0.8,0.7,0.3\n"
    )
    origin = {"git_revision": "0123abc", "device": "cpu", "versions": {"torch": "2.13.0"}} | origin
    (run / "fold.json").write_text(json.dumps(origin))
    (run / "DONE").touch()


def write_study(directory, tables=None, config=(), **entries):
    """A study of two folds: all of s1 right; of s2, its surprise taken for positive."""
    name = directory.name
    if tables is None:
        wrong = ["negative", "positive", "positive"]
        tables = [fold_table("s1", study=name), fold_table("s2", study=name, predictions=wrong)]
    seeds = list(dict.fromkeys(int(table["seed"].iloc[0]) for table in tables))
    study = {
        "study": name,
        "config_hash": "c0ffee",
        "classes": CLASSES,
        "folds": list(dict.fromkeys(table["fold"].iloc[0] for table in tables)),
        "labels": "three",
        "data": "synthetic",
        "model": "mol",
        "tasks": {"recognition": 1.0, "flow": 10.0, "landmarks": 1.0},
        "sample_list_hash": sample_list_hash(pd.concat(tables).query("seed == @seeds[0]")),
        "seeds": seeds,
        "rule": "last",
        "partial": [],
        "versions": {"torch": "2.13.0"},
        "git_revision": "0123abc",
        "device": "cpu",
    }
    study |= entries
    if isinstance(study["tasks"], dict):
        study.setdefault("measures", {name: measures_of(name) for name in study["tasks"] if name in MEASURED})
    directory.mkdir(parents=True)
    (directory / "study.json").write_text(json.dumps(study))
    settings = {"model": {"name": "mol"}, "seeds": seeds, "output_dir": str(directory.parent)}
    (directory / "config.yaml").write_text(yaml.safe_dump(settings | dict(config), sort_keys=False))
    for table in tables:
        write_run(directory, table, several=len(seeds) > 1)
    return directory
