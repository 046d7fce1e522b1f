"""How far a model's labels agree with those of people, and with its own in another run."""
