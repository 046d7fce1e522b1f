"""What every other package uses: errors, files, progress, names and units."""
