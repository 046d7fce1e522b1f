"""Options that all networks have."""

VARIANTS = ("paper", "released")


def check_option(allowed: bool, name: str, value: object, choices: object) -> None:
    """Raise an error if an option's value is not allowed.

    Args:
        allowed: Whether the value is allowed.
        name: Name of the option.
        value: Value of the option.
        choices: The allowed values, for the message.

    Raises:
        ValueError: The value is not allowed; the message has name, value and choices.
    """
    if not allowed:
        raise ValueError(f"{name} = {value!r} is not allowed; allowed: {choices}")
