"""What every room may use: errors, files, memory, processes."""
