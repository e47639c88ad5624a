"""Configuration keys and values of earlier releases: an old name is an error that names the new one."""

from __future__ import annotations

from gluelamp.errors import InputError

RENAMED_KEYS = {
    "method.learning_rate": "trainer.learning_rate",
    "method.head_learning_rate": "trainer.head_learning_rate",
    "trainer.together": "trainer.profiles_per_pass",
    "task.users": "task.profiles",
}
RENAMED_VALUES = {"task.profiles": {"each": "per_user", "shared_then_each": "shared_then_per_user"}}


def refuse_renamed(key: str, value: object) -> None:
    """Raise an error if a key or its value has another name now.

    Args:
        key: dotted, such as ``trainer.epochs``.
        value: of the key.

    Raises:
        InputError: naming the new key and value.
    """
    new_key = RENAMED_KEYS.get(key, key)
    new_value = RENAMED_VALUES.get(new_key, {}).get(str(value), value)
    if (new_key, new_value) != (key, value):
        raise InputError(f"{key}={value} has another name now. Write {new_key}={new_value}.")
