"""Entry points: one thin file a command."""
