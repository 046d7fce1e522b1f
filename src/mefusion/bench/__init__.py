"""What `mefusion-bench` measures."""
