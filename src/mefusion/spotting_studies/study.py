"""A spotting study: what it is called, its recordings, and the run over them."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mefusion.clips.cache import settings_hash
from mefusion.clips.table import file_name, folder_name
from mefusion.common.errors import MefusionError
from mefusion.common.files import remove_leftovers, try_lock
from mefusion.datasets.reading.recordings import RecordingSource
from mefusion.processes.parallel import parallel_map
from mefusion.spotting.recording import SPOTTING
from mefusion.spotting.settings import Method, SpottingSettings
from mefusion.spotting_studies.durations import half_durations
from mefusion.spotting_studies.recognition import Recogniser, label_truth
from mefusion.spotting_studies.record import gather, recorded_facts, score_study, write_study
from mefusion.spotting_studies.work import Job, Outcome, Show, read_outcome, work_on


@dataclass(frozen=True)
class SpottingStudy:
    """All recordings of a dataset, and how they are spotted.

    Attributes:
        directory: `outputs/spot/<study>`.
        recordings: with the columns of `mefusion.datasets.reading.recordings.RECORDING_DTYPES`.
        truth: their expressions, with those of `EVENT_DTYPES`; and with a recogniser `label`, their class.
        jobs: one for each recording.
        recogniser: who names the events; None if nobody does.
        facts: content of `spotting.json` that is known before the run.
    """

    directory: Path
    recordings: pd.DataFrame
    truth: pd.DataFrame
    jobs: Sequence[Job]
    recogniser: Recogniser | None
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the study and of its directory."""
        return self.directory.name


def plan_study(
    source: RecordingSource,
    settings: SpottingSettings,
    recogniser: Recogniser | None,
    *,
    output_dir: Path,
    workers: int | None = None,
) -> SpottingStudy:
    """Read a dataset's tables and name its study by what decides the results.

    Args:
        source: of the recordings.
        settings: of spotting. Where `k` of the method apex_score is None, it comes from the other subjects' labels.
        recogniser: see `mefusion.spotting_studies.recognition.read_recogniser`.
        output_dir: folder of all spotting studies.
        workers: number of processes, for a set that has to be rendered.

    Raises:
        MefusionError: the dataset cannot be read.
    """
    recordings, truth = source.recordings(workers=workers)
    if recogniser is not None:
        truth = truth.assign(label=label_truth(truth, recogniser, source))
    content = {
        "data": source.name,
        "recordings": recordings.drop(columns="path").to_csv(index=False),
        "truth": truth.to_csv(index=False),
        "spotting": asdict(settings),
        "version": SPOTTING,
        "recogniser": recogniser.digest if recogniser else None,
    }
    digest = settings_hash(content)
    directory = output_dir / folder_name(f"{source.name}-{settings.method}-{digest}")
    jobs = _jobs(directory, source, recordings, truth, settings, recogniser)
    not_recognised = sorted(job.recording for job in jobs if recogniser and job.network is None)
    facts = {
        "study": directory.name,
        "data": source.name,
        "method": str(settings.method),
        "spotting": asdict(settings),
        "k": {job.recording: job.settings.k for job in jobs if job.settings.k != settings.k},
        "recognised_by": _recognised_by(recogniser) if recogniser else None,
        "not_recognised": not_recognised,
        "problems": list(source.problems),
        "config_hash": digest,
    }
    return SpottingStudy(directory, recordings, truth, jobs, recogniser, facts)


def _recognised_by(recogniser: Recogniser) -> dict[str, Any]:
    kind = "bundle" if recogniser.networks is None else "study"
    return {"name": recogniser.name, "kind": kind, "classes": [*recogniser.classes], "labels": recogniser.labels.name}


def _jobs(
    directory: Path,
    source: RecordingSource,
    recordings: pd.DataFrame,
    truth: pd.DataFrame,
    settings: SpottingSettings,
    recogniser: Recogniser | None,
) -> list[Job]:
    derived = settings.method == Method.apex_score and settings.k is None
    own = {
        str(subject): replace(settings, k=half_durations(truth, recordings, str(subject))) if derived else settings
        for subject in recordings["subject"].unique()
    }
    return [
        Job(
            recording=str(row.recording),
            path=Path(str(row.path)),
            fps=None if pd.isna(row.fps) else float(row.fps),
            folder=directory / "recordings" / file_name(str(row.recording)),
            settings=own[str(row.subject)],
            network=recogniser.network_of(source.clip_subject(str(row.subject))) if recogniser else None,
            digest=recogniser.digest if recogniser else "",
        )
        for row in recordings.itertuples()
    ]


def run_study(
    study: SpottingStudy,
    show: Show,
    *,
    provenance: Mapping[str, Any],
    overlay: bool = False,
    workers: int | None = None,
    quiet: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Spot all recordings that are not done yet, then write tables and scores of the whole.

    Args:
        study: from `plan_study`.
        show: draws a recording's result.
        provenance: command, versions and so on, for `spotting.json`.
        overlay: whether overlay videos are written.
        workers: number of recordings at once; None means one for each core.
        quiet: whether nothing is told on stdout.

    Returns:
        Content of `scores.json`, and of `spotting.json`.

    Raises:
        MefusionError: another process is working on the study, or no recording could be read.
    """
    with try_lock(study.directory) as mine:
        if not mine:
            raise MefusionError(f"{study.directory}: another process is working on it; wait for it to end")
        remove_leftovers(study.directory)
        facts = {**study.facts, **provenance}
        outcomes = {job.recording: outcome for job in study.jobs if (outcome := read_outcome(job, overlay=overlay))}
        left = [job for job in study.jobs if job.recording not in outcomes]
        if left:
            write_study(study.directory, facts | {"complete": False})
        else:  # the result is what it was when all was done
            recorded = recorded_facts(study.directory)
            facts |= {name: recorded[name] for name in provenance if name in recorded}
        work = functools.partial(work_on, show, str(provenance["command"]), overlay)
        description = "" if quiet else "Spotting"
        for job, outcome in parallel_map(work, left, description=description, unit="recordings", workers=workers):
            outcomes[job.recording] = outcome
        return _finish(study, facts, outcomes)


def _finish(
    study: SpottingStudy, facts: Mapping[str, Any], outcomes: Mapping[str, Outcome]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write tables and scores; returns the scores and all facts."""
    places = study.recordings.set_index("recording")["subject"].to_dict()
    left_out = [
        {"recording": job.recording, "subject": str(places[job.recording]), "reason": reason}
        for job in study.jobs
        if (reason := outcomes[job.recording].left_out)
    ]
    problems = [f"{job.recording}: {text}" for job in study.jobs for text in outcomes[job.recording].problems]
    if len(left_out) == len(study.jobs):
        raise MefusionError(f"no recording of data={study.facts['data']} could be read: {left_out[0]['reason']}")
    gone = {row["recording"] for row in left_out}
    spotted = gather([job for job in study.jobs if job.recording not in gone], study.recordings)
    facts = {**facts, "left_out": left_out, "recording_problems": problems, "complete": True}
    return score_study(study.directory, facts, study.recordings, study.truth, spotted), facts
