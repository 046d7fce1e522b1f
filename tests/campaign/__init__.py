"""Many bad inputs and many interruptions of the real commands, far more than the tests have time for.

    python -m tests.campaign --kills 100 --inputs all --seed 0 --jobs 2
    python -m tests.campaign --only overrides            # one table, or one case of it: --only overrides/rule=best
    python -m tests.campaign --only kills/train --kills 20

`tables/` lists the bad inputs, one line each; `kills.py` says what is interrupted. The report is written to
outputs/campaign/. Linux only: processes that are left behind are found in /proc.
"""
