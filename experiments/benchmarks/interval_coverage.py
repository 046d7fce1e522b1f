"""How often the 95 % interval over subjects holds the truth, by simulation.

    python experiments/benchmarks/interval_coverage.py

Subjects of a study have 9 clips of three classes (half, three and two tenths), recognised at rates of .35 to .85;
what is not recognised is guessed. Every study draws its subjects from that one population, whose UF1 is known.
"""

from collections.abc import Sequence

import numpy as np

from mefusion.evaluation.bootstrap import resample_counts, resampled_scores
from mefusion.evaluation.metrics import uf1

SUBJECTS = (4, 6, 10, 16, 30, 68)
STUDIES = 2000
ENDS = (0.025, 0.975)


def draw(
    seed: int | Sequence[int], *, subjects: int, clips: int = 9, right: float = 0.6, spread: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers [subjects, clips] of labels and guesses; subjects are recognised with rates around a mean."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(3, (subjects, clips), p=[0.5, 0.3, 0.2])
    rates = np.clip(right + generator.uniform(-spread, spread, (subjects, 1)), 0, 1)
    known = generator.random((subjects, clips)) < rates
    return labels, np.where(known, labels, generator.integers(3, size=(subjects, clips)))


def matrices_of(seed: int | Sequence[int], *, subjects: int) -> np.ndarray:
    """Confusion matrices [1, subjects, 3, 3] of a simulated study."""
    matrices = np.zeros((1, subjects, 3, 3))
    labels, guesses = draw(seed, subjects=subjects)
    np.add.at(matrices, (0, np.arange(subjects)[:, None], labels, guesses), 1)
    return matrices


def true_uf1() -> float:
    """UF1 of the population, from 20,000 subjects."""
    return float(uf1(matrices_of(0, subjects=20_000).sum(axis=(0, 1))))


def coverage(subjects: int, *, studies: int) -> tuple[float, float]:
    """Share of the studies whose interval holds the truth, and the mean width of the intervals."""
    truth, counts = true_uf1(), resample_counts(["simulated"] * subjects, resamples=1000)
    studied = (matrices_of((1, seed), subjects=subjects) for seed in range(studies))
    ends = np.array([np.quantile(resampled_scores(matrices, counts), ENDS) for matrices in studied])
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()), float((ends[:, 1] - ends[:, 0]).mean())


def main() -> None:
    """Print a line for each number of subjects."""
    print(f"true UF1 {true_uf1():.3f}, {STUDIES} studies each")
    for subjects in SUBJECTS:
        share, width = coverage(subjects, studies=STUDIES)
        print(f"{subjects} subjects: {share:.1%} of the intervals hold it, mean width {width:.2f}")


if __name__ == "__main__":
    main()
