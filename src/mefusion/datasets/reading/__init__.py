"""Code that several datasets use: base classes, folders, annotation tables, action units and clip counts."""
