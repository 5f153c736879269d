"""What a device multiplies fast."""

import torch


def supports_bfloat16(device: torch.device) -> bool:
    """Say whether the hardware itself multiplies bfloat16, not merely whether PyTorch can imitate it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
