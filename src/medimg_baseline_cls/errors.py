"""The error family: every mistake that a user can fix is one of these::

    MedimgError                 one sentence: what was found, what was expected, what to do
      ConfigError               a setting, a flag or a settings file
      DataError                 the folder of images, its labels, its splits
        BadImageError           one file that cannot be decoded
        LeakageError            a patient or a file in more than one split
      ModelError                an architecture, a layer name
        WeightsError            pretrained weights that are missing or do not fit
      TrainingError             training cannot continue (a loss that is not finite, a bad resume)
      RunError                  a run folder that is incomplete or was changed
      ResourceError             disk, memory or a permission that the machine refuses
    RunInterrupted              Ctrl-C or SIGTERM: a normal end, with the command that resumes
      RunPruned                 a sweep has stopped the training of a trial

The command line prints a MedimgError as one sentence and exits with code 2. Names in a sentence are
shown there with control characters escaped, line breaks too: a list below the sentence is passed as
further arguments, one line each.
"""

from pathlib import Path


class MedimgError(Exception):
    """A mistake that the user can fix; its text is the whole message, its arguments the lines."""

    def __str__(self) -> str:
        """Return the lines, those after the first indented."""
        return "\n  ".join(map(str, self.args))


class ConfigError(MedimgError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(MedimgError):
    """The images, labels or splits are invalid."""


class BadImageError(DataError):
    """A file cannot be decoded as an image."""


class LeakageError(DataError):
    """A patient or a byte-identical file is in more than one split."""


class ModelError(MedimgError):
    """An architecture or a layer is unknown or unsuitable."""


class LayerError(ModelError):
    """The layer for heat maps does not exist, or gives no map."""


class WeightsError(ModelError):
    """Pretrained weights are missing, unreadable or do not fit the network."""


class TrainingError(MedimgError):
    """Training cannot continue or resume."""


class RunError(MedimgError):
    """A run folder lacks a file or was changed after the fact."""


class ResourceError(MedimgError):
    """The machine refused disk space, memory or access; what was written before is intact.

    `place` is the affected file or folder, None where it is unknown; `then` ends the sentence.
    """

    def __init__(self, fault: str, place: Path | None = None, *, then: str = "") -> None:
        super().__init__(fault + then)
        self.fault = fault
        self.place = place


class RunInterrupted(Exception):
    """The user or the system requested a stop; the run folder is whole and can be resumed."""


class RunPruned(RunInterrupted):
    """The sweep that a run is a trial of has stopped its training: other trials are better."""
