"""Windows cut from prepared clips, and the LightningDataModule of a fold."""
