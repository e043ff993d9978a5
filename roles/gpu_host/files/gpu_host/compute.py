# Copyright: the algo.trading authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Computes with PyTorch on each GPU, and on the CPU. Run by the environment's Python; prints JSON.

Each device multiplies two matrices in single precision. The CPU does the same in double precision, and the results are
compared.
"""

from __future__ import annotations

import json
import time
from typing import Any

_SIZE = 2048
# Relative to the largest element. Measured: single precision 3e-7, TensorFloat-32 3e-4.
_TOLERANCE = 1e-5


def compute() -> dict[str, Any]:
    import torch

    torch.manual_seed(20)
    left, right = (torch.randn(_SIZE, _SIZE, dtype=torch.float32) for _matrix in range(2))
    expected = left.double() @ right.double()
    torch.set_float32_matmul_precision("highest")

    def device(name: str) -> dict[str, Any]:
        began = time.monotonic()
        result = (left.to(name) @ right.to(name)).cpu()
        error = float((result.double() - expected).abs().max() / expected.abs().max())
        # A NaN is not below the tolerance either.
        return {"device": name, "error": error, "correct": error < _TOLERANCE, "seconds": time.monotonic() - began}

    devices = [device("cpu")]
    found: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda or ""}
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        about = {
            "name": torch.cuda.get_device_name(number),
            "capability": ".".join(map(str, torch.cuda.get_device_capability(number))),
            "memory_free_mib": free >> 20,
            "memory_total_mib": total >> 20,
        }
        try:
            devices.append({**about, **device(f"cuda:{number}")})
        except RuntimeError as error:  # PyTorch has no more precise one for all that a driver refuses
            said = str(error).strip().splitlines()[0]
            devices.append({**about, "device": f"cuda:{number}", "correct": False, "reason": said})
    return {**found, "devices": devices}


if __name__ == "__main__":
    print(json.dumps(compute()))
