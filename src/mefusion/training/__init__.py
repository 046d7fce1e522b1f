"""The LightningModule, the tasks' losses, checkpoints, logging and resuming."""
