"""What every other package uses: errors, files, memory, processes."""
