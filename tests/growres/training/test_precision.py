from __future__ import annotations

import pytest
import torch

from growres.training.precision import choose_precision

CPU = torch.device("cpu")


def test_auto_is_plain_fp32_on_digits_whatever_the_machine(make_trial) -> None:
    precision = choose_precision(make_trial().training, image_size=8, device=CPU)
    assert not precision.bf16
    assert precision.memory_format == torch.contiguous_format


def test_auto_is_channels_last_at_32_pixels_and_bf16_where_the_processor_has_it(make_trial) -> None:
    precision = choose_precision(make_trial().training, image_size=32, device=CPU)
    capabilities = torch.cpu.get_capabilities()
    assert precision.bf16 == any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    assert precision.memory_format == torch.channels_last


@pytest.mark.parametrize("image_size", [8, 32])
def test_what_the_file_says_is_taken_as_it_is(make_trial, image_size: int) -> None:
    trial = make_trial(training={"precision": "bf16", "channels_last": False})
    precision = choose_precision(trial.training, image_size=image_size, device=CPU)
    assert precision.bf16 and precision.memory_format == torch.contiguous_format
    with precision.autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
