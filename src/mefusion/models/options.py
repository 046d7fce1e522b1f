"""Options that all networks have."""

VARIANTS = ("paper", "released")


def check_option(allowed: bool, name: str, value: object, choices: object) -> None:
    """Refuse an option's value.

    Args:
        allowed: Whether it is allowed.
        name: The option's name.
        value: Its value.
        choices: The allowed values, as a sentence would name them.

    Raises:
        ValueError: It is not allowed; the message has name, value and choices.
    """
    if not allowed:
        raise ValueError(f"{name} = {value!r} is not allowed; allowed: {choices}")
