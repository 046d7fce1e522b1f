"""Hide the messages of libraries that tell a user nothing."""

import logging
import warnings


def quiet_matplotlib() -> None:
    """Hide what matplotlib tells of its cache where there is no home folder."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def quiet_lightning() -> None:
    """Hide Lightning's messages, except warnings that need the user's attention."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists.*",
        ".*Experiment logs directory.*",
        ".*`srun` command is available on your system but is not used.*",  # folds need no srun
    ):
        warnings.filterwarnings("ignore", message=message)
