"""Cut windows from prepared clips; the LightningDataModule of a fold."""
