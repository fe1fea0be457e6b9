"""A trained model as a file, in the format that the file's suffix names.

    .pt2     torch.export: runs in PyTorch without growres
    .onnx    for ONNX runtimes
    .pt      growres's own: what load_model reads, without the store

The first two take float32 images (N, C, H, W) in [0, 1], named `images` in ONNX, for any N, and give logits (N, K),
named `logits`. They carry `growres.json` (an extra file, or a metadata property of that name): class names, channels,
image size, and how to convert an image.

Whatever is written was run first: no file whose logits are not the network's gets its name.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import importlib.util
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from growres.errors import ConfigError, ExportError
from growres.trained.loading import EXPORTED
from growres.trained.model import TrainedModel
from growres.training.checkpoint import encode

METADATA = "growres.json"
LARGEST_DIFFERENCE = 1e-4
"""Between the logits of the network and of the file, over the largest logit. Other kernels round otherwise: up to 5e-6
were measured (Inception-v3 in onnxruntime); an operation that an exporter gets wrong makes 1e-2 and more."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NEEDED_FOR_ONNX = ("onnx", "onnxscript", "onnxruntime")


def export(model: TrainedModel, path: Path, *, overwrite: bool = False) -> None:
    """The model stands in the file, whole; what stood there before stands until then.

    Raises:
        ConfigError: if the suffix names no format, the file exists and may not be overwritten, its folder does not
            exist or cannot be written, or the format needs a library that is not installed.
        ExportError: if the exported network gives other logits, or the disk refuses.
    """
    check_target(path, overwrite=overwrite)
    chosen = _FORMATS[path.suffix.lower()]
    on_cpu = copy.deepcopy(model).cpu().eval()
    with _quiet():
        content = chosen.encode(on_cpu)
        _check_logits(on_cpu, path, lambda images: chosen.run(content, images))
    _write_whole(path, content)


def check_target(path: Path, *, overwrite: bool = False) -> None:
    """Nothing, where `export` could write the file; to be asked before a network is loaded.

    Raises:
        ConfigError: as `export` does.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(
            f"Cannot export to {path}: its suffix names no format. Allowed: .pt2 (torch.export), .onnx, .pt (growres)."
        )
    if path.is_dir() or not path.absolute().parent.is_dir():
        reason = "it is a folder" if path.is_dir() else f"there is no folder {path.absolute().parent}"
        raise ConfigError(f"Cannot export to {path}: {reason}. Name a file in a folder that exists.")
    if path.exists() and not overwrite:
        raise ConfigError(f"Cannot export to {path}: it exists. Name another file, or overwrite it with --force.")
    if path.suffix.lower() == ".onnx":
        _check_onnx()
    _check_folder(path)


def _check_folder(path: Path) -> None:
    try:  # asked of the folder itself: permissions alone do not tell, as of /proc, where nobody writes
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError as error:
        if error.errno in _FULL:
            return  # it can be written, and by then there may be room
        raise ConfigError(
            f"Cannot export to {path}: nothing can be written in {path.absolute().parent} ({error.strerror}). Name a "
            f"file in a folder that can be written."
        ) from error


def _check_onnx() -> None:
    missing = [name for name in _NEEDED_FOR_ONNX if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Cannot export to .onnx without {', '.join(missing)}. "
            f"Install with: pip install 'growres[onnx]'. A .pt2 file needs nothing more than PyTorch."
        )


def describe(model: TrainedModel) -> dict[str, Any]:
    """What a program that runs the exported file needs to know of it."""
    return {
        "source": model.source,
        "class_names": list(model.class_names),
        "channels": model.channels,
        "image_size": model.image_size,
        "input": f"images: float32 (N, {model.channels}, {model.image_size}, {model.image_size}) in [0, 1], "
        "pixels / 255, grey or RGB, resized bilinearly with antialiasing; normalised inside",
        "output": f"logits: float32 (N, {len(model.class_names)}); softmax gives probabilities",
        "architecture": model.architecture,
    }


# ------------------------------------------------------------------------------------------------------ the formats


@dataclass(frozen=True, slots=True)
class _Format:
    encode: Callable[[TrainedModel], bytes]
    """The file's content."""
    run: Callable[[bytes, Tensor], Tensor]
    """The logits that the content gives of a batch of images."""


def _encode_pt2(model: TrainedModel) -> bytes:
    program = torch.export.export(model, (_images(model, 2),), dynamic_shapes=_DYNAMIC)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(describe(model))})
    return buffer.getvalue()


def _run_pt2(content: bytes, images_NCHW: Tensor) -> Tensor:
    logits_NK = torch.export.load(io.BytesIO(content)).module()(images_NCHW)
    assert isinstance(logits_NK, Tensor)
    return logits_NK


def _encode_onnx(model: TrainedModel) -> bytes:
    program = torch.onnx.export(
        model,
        (_images(model, 2),),
        dynamo=True,
        dynamic_shapes=_DYNAMIC,
        input_names=["images"],
        output_names=["logits"],
        verbose=False,
    )
    assert program is not None, "dynamo=True gives a program"
    program.model.metadata_props[METADATA] = json.dumps(describe(model))
    content: bytes = program.model_proto.SerializeToString()
    return content


def _run_onnx(content: bytes, images_NCHW: Tensor) -> Tensor:
    from onnxruntime import InferenceSession

    (logits_NK,) = InferenceSession(content, providers=["CPUExecutionProvider"]).run(
        ["logits"], {"images": images_NCHW.numpy()}
    )
    return torch.from_numpy(logits_NK)


def _encode_checkpoint(model: TrainedModel) -> bytes:
    return encode({**model.state(), "source": model.source})


def _run_checkpoint(content: bytes, images_NCHW: Tensor) -> Tensor:
    logits_NK = TrainedModel.from_state(torch.load(io.BytesIO(content), weights_only=True))(images_NCHW)
    assert isinstance(logits_NK, Tensor)
    return logits_NK


_FORMATS = {
    ".pt2": _Format(_encode_pt2, _run_pt2),
    ".onnx": _Format(_encode_onnx, _run_onnx),
    EXPORTED: _Format(_encode_checkpoint, _run_checkpoint),
}

# Exported with two images: of one the exporters would conclude that there is never more than one.
_DYNAMIC = {"images_NCHW": {0: Dim("N", min=1)}}


def _images(model: TrainedModel, num_images: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_images)
    return torch.rand(num_images, model.channels, model.image_size, model.image_size, generator=generator)


@torch.inference_mode()
def _check_logits(model: TrainedModel, path: Path, run: Callable[[Tensor], Tensor]) -> None:
    for num_images in (1, 3):
        images_NCHW = _images(model, num_images)
        logits_NK = model(images_NCHW)
        difference = float((run(images_NCHW) - logits_NK).abs().max() / logits_NK.abs().max().clamp(min=1e-6))
        if not difference <= LARGEST_DIFFERENCE:
            raise ExportError(
                f"Nothing is written to {path}: of {num_images} random images the exported network's logits differ "
                f"from the network's by {difference:.2g} of the largest; allowed is {LARGEST_DIFFERENCE:g}. The "
                f"exporter of PyTorch {torch.__version__} gets a layer of {model.architecture['name']} wrong. "
                f"Export to another format."
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters talk of their own steps, as warnings and as log lines; what goes wrong is raised."""
    exporters = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in exporters]
    for logger in exporters:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(exporters, levels, strict=True):
            logger.setLevel(level)


def _write_whole(path: Path, content: bytes) -> None:
    """A reader sees what stood at the path before, or all of what is written."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        advice = "Free some space, or name" if error.errno in _FULL else "Name"
        raise ExportError(
            f"Cannot write {path} ({len(content)} bytes): {error.strerror}. {advice} a file in a folder that can be "
            f"written."
        ) from error
