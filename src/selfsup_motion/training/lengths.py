"""How long a run is and how often it does something: values that would train nothing."""

from __future__ import annotations

from omegaconf import DictConfig

from selfsup_motion.errors import UserError

_NOTHING = "nothing would be trained"
_ENDLESS = (
    "training data are endless, so a share of them means nothing; give a number of batches or null"
)


def check_lengths(trainer: DictConfig) -> None:
    """Make sure that a trainer makes at least one step.

    Validation may be left out with `limit_val_batches=0`.

    Raises:
        UserError: with the key and what it may be.
    """
    for key, least, why in (
        ("accumulate_grad_batches", 1, "expected 1 or more"),
        ("val_check_interval", 1, "expected 1 or more steps, or null"),
        ("check_val_every_n_epoch", 1, "expected 1 or more, or null"),
        ("log_every_n_steps", 0, "expected 1 or more, or 0 for never"),
        ("gradient_clip_val", 0, "expected a norm above 0, or null"),
    ):
        value = trainer.get(key)
        if isinstance(value, int | float) and value < least:
            raise UserError(f"trainer.{key}={value}: {why}.")
    for key, unit in (("max_steps", "steps"), ("max_epochs", "epochs")):
        if trainer.get(key) == 0:
            raise UserError(f"trainer.{key}=0: {_NOTHING}; give a number of {unit}.")
    if trainer.get("limit_train_batches") == 0:
        raise UserError(f"trainer.limit_train_batches=0: {_NOTHING}; give 1 or more, or null.")
    ends = trainer.get("fast_dev_run") or (
        (trainer.get("max_epochs") or -1) > 0
        and (trainer.get("limit_train_batches") or trainer.get("overfit_batches"))
    )
    if trainer.get("max_steps") == -1 and not ends:
        raise UserError(
            "trainer.max_steps=-1: the learning rate's schedule depends on the number of steps; "
            "give one, and trainer.max_time to end earlier."
        )
    for key in ("limit_train_batches", "overfit_batches"):
        value = trainer.get(key)
        if isinstance(value, float) and 0 < value < 1:
            raise UserError(f"trainer.{key}={value:g}: {_ENDLESS}.")


def check_measured(cfg: DictConfig) -> None:
    """Make sure that a sweep's metric is going to be measured.

    Raises:
        UserError: it is one of the validation, which the config leaves out.
    """
    if str(cfg.optimized_metric).startswith("val/") and has_no_validation(cfg.trainer):
        raise UserError(
            f"optimized_metric={cfg.optimized_metric}: trainer.limit_val_batches=0 leaves out the "
            "validation that measures it, give a number of batches or null."
        )


def has_no_validation(trainer: DictConfig) -> bool:
    """Whether a config leaves validation out."""
    return trainer.get("limit_val_batches") == 0 and not trainer.get("fast_dev_run")


def explained(text: str, trainer: DictConfig) -> str:
    """A complaint of Lightning about its own settings, as a sentence with the key.

    Args:
        text: of its `MisconfigurationException`.
        trainer: the settings.
    """
    share = trainer.get("limit_val_batches")
    if isinstance(share, float) and 0 < share < 1 and "val_dataloader" in text:
        return (
            f"trainer.limit_val_batches={share:g}: that is less than one batch of this validation; "
            "give a larger share, a number of batches, or 0 for no validation."
        )
    return f"trainer: {' '.join(text.split())}"
