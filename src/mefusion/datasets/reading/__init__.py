"""What the datasets share to be read: the base classes, folders, tables, action units and counts."""
