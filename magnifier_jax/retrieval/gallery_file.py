"""Reading `.npz` files, whatever they turn out to be."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError

_DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, NotImplementedError)


def read_arrays(path: Path, *, only: Collection[str], wanted: str) -> dict[str, NDArray[Any]]:
    """Reads some arrays of an `.npz` file.

    Args:
      path: The file.
      only: Names of the arrays; those that are not there are left out.
      wanted: What the file should be, for messages.

    Raises:
      UserError: if it is not there, cannot be read, is no `.npz` file or has none of the arrays.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give {wanted}")
    try:
        with path.open("rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise UserError(f"{path} holds a single array without a name; give {wanted}")
            with file:
                found = {name: file[name] for name in file.files if name in only}
                others = sorted(file.files)
    except UserError:
        raise
    except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error) if path.stat().st_size else "it is empty"
        raise UserError(f"{path} cannot be read: {reason}; give {wanted}") from error
    if not found:
        raise UserError(f"{path} has only the arrays {', '.join(others)}; give {wanted}")
    return found
