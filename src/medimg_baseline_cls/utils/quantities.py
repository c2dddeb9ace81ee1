"""Durations and sizes in words."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def format_duration(seconds: float) -> str:
    r"""Return a duration in the two largest units.

    >>> [format_duration(s).replace("\xa0", " ") for s in (42.4, 754, 8000)]
    ['42 s', '12 min 34 s', '2 h 13 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60}\u00a0s"
    return f"{whole // 3600}\u00a0h {whole % 3600 // 60}\u00a0min"


def format_bytes(number: int) -> str:
    """Return a number of bytes in the unit of a disk's label, such as "1.2 GB".

    >>> [format_bytes(number) for number in (0, 999, 1_234_567, 53_000_000_000)]
    ['0 bytes', '999 bytes', '1.2 MB', '53 GB']
    """
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.{1 if unit and value < 9.95 else 0}f} {_UNITS[unit]}"
