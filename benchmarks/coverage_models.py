r"""The models of which ``coverage.py`` makes graphs: what each library lists, built on meta."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is downloaded


class Case(NamedTuple):
    r"""A model to make a graph of.

    Attributes:
        family: What it is a variant of: the module that defines it or its configuration's type.
        name: Its name within the library.
        build: Makes it, in the mode (train or eval) to trace it in.
        inputs: Makes the arguments of :func:`~pyg_ghn.graph.from_module` beside the model.
    """

    family: str
    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]] = dict


class LayersOnMeta(TorchFunctionMode):
    r"""Within this context the weights of layers take no memory. Unlike ``torch.device("meta")`` it
    leaves alone the tensors that a constructor computes with."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def torchvision_cases() -> Iterator[Case]:
    r"""Classification, segmentation, detection in both modes, video, optical flow, and the models
    that can be quantized, before they are."""
    from torchvision import models

    for name in models.list_models(module=models):
        yield _torchvision_case(name)
    for name in models.list_models(module=models.segmentation):
        yield _torchvision_case(name, weights_backbone=None)
    for name in models.list_models(module=models.detection):
        yield from _detection_cases(name)
    for name in models.list_models(module=models.video):
        side = 112 if "resnet" in models.get_model_builder(name).__module__ else 224
        yield _torchvision_case(name)._replace(inputs=partial(dict, input_size=(3, 16, side, side)))
    for name in models.list_models(module=models.optical_flow):
        yield _torchvision_case(name)._replace(inputs=_two_frames)
    for name in models.list_models(module=models.quantization):
        yield _torchvision_case(name, quantize=False)


def _torchvision_case(name: str, **options: Any) -> Case:
    from torchvision import models

    family = models.get_model_builder(name).__module__.removeprefix("torchvision.models.")
    build = partial(models.get_model, name, weights=None, **options)
    return Case(family, name, partial(_on_meta, build))


def _detection_cases(name: str) -> Iterator[Case]:
    """Not on meta: they count boxes, and some run their backbone when they are built."""
    from torchvision import models

    sides = {} if name.startswith("ssd") else {"min_size": 96, "max_size": 96}
    case = _torchvision_case(name)
    build = partial(models.get_model, name, weights=None, weights_backbone=None, **sides)
    yield case._replace(build=build, inputs=_images_with_targets)
    yield case._replace(name=f"{name} (eval)", build=lambda: build().eval(), inputs=_images)


def _on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with LayersOnMeta():
        return build()


def _images() -> dict[str, Any]:
    return {"example_inputs": ([torch.rand(3, 96, 96), torch.rand(3, 96, 96)],)}


def _images_with_targets() -> dict[str, Any]:
    target = {
        "boxes": torch.tensor([[5.0, 5.0, 60.0, 60.0], [10.0, 10.0, 90.0, 80.0]]),
        "labels": torch.tensor([1, 1]),
        "masks": torch.ones(2, 96, 96, dtype=torch.uint8),
        "keypoints": torch.ones(2, 17, 3),
    }
    images = [torch.rand(3, 96, 96), torch.rand(3, 96, 96)]
    return {"example_inputs": (images, [target, target])}


def _two_frames() -> dict[str, Any]:
    return {"example_inputs": (torch.rand(1, 3, 128, 128), torch.rand(1, 3, 128, 128))}


def timm_cases() -> Iterator[Case]:
    r"""Every architecture that timm registers."""
    import timm

    modules = {
        name: module for module in timm.list_modules() for name in timm.list_models(module=module)
    }
    for name in timm.list_models():
        build = partial(timm.create_model, name, pretrained=False)
        yield Case(modules[name], name, partial(_on_meta, build))


# For classes whose default configuration does not tell, or that read more than an image.
INPUTS: dict[str, Callable[[], dict[str, Any]]] = {
    "DepthProForDepthEstimation": lambda: {"input_size": (3, 1536, 1536)},
    "ImageGPTForImageClassification": lambda: {
        "example_inputs": torch.ones(2, 16, dtype=torch.long)
    },
    "OneFormerForUniversalSegmentation": lambda: {
        "example_inputs": {
            "pixel_values": torch.rand(2, 3, 224, 224),
            "task_inputs": torch.ones(2, 77, dtype=torch.long),
        }
    },
    "RfDetrForObjectDetection": lambda: {"input_size": (3, 448, 448)},
    "Siglip2ForImageClassification": lambda: {"example_inputs": _patches()},
    "Siglip2Model": lambda: {"example_inputs": {"input_ids": _ids(), **_patches()}},
    "VideomtForUniversalSegmentation": lambda: {"input_size": (2, 3, 640, 640)},
    "VJEPA2ForVideoClassification": lambda: {"input_size": (16, 3, 256, 256)},
}


def _ids() -> Tensor:
    return torch.ones(2, 8, dtype=torch.long)


def _patches() -> dict[str, Any]:
    return {
        "pixel_values": torch.rand(2, 256, 768),
        "pixel_attention_mask": torch.ones(2, 256, dtype=torch.long),
        "spatial_shapes": torch.full((2, 2), 16),
    }


# What tells classes of transformers that read images; of several the first comes first.
TASKS = """
    IMAGE_CLASSIFICATION BACKBONE IMAGE SEMANTIC_SEGMENTATION DEPTH_ESTIMATION OBJECT_DETECTION
    MASKED_IMAGE_MODELING IMAGE_SEGMENTATION UNIVERSAL_SEGMENTATION IMAGE_TO_IMAGE
    KEYPOINT_DETECTION VIDEO_CLASSIFICATION ZERO_SHOT_IMAGE_CLASSIFICATION
""".split()


def transformers_cases() -> Iterator[Case]:
    r"""Every class of Hugging Face's transformers that reads images, from its default
    configuration."""
    import transformers
    from transformers.models.auto import modeling_auto

    transformers.logging.set_verbosity_error()
    seen = set()
    for task in TASKS:
        classes = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES")
        for family, names in classes.items():
            for name in (names,) if isinstance(names, str) else names:
                if name not in seen:
                    seen.add(name)
                    build = partial(_from_default_config, family, name)
                    is_zero_shot = task.startswith("ZERO_SHOT")
                    inputs = partial(_image_and_text, family) if is_zero_shot else dict
                    inputs = INPUTS.get(name, inputs)
                    yield Case(family, name, partial(_on_meta, build), inputs)


def _from_default_config(family: str, name: str) -> nn.Module:
    import transformers

    config = transformers.CONFIG_MAPPING[family]()
    return getattr(transformers, name)(config).eval()


def _image_and_text(family: str) -> dict[str, Any]:
    import transformers

    config = transformers.CONFIG_MAPPING[family]()
    side = getattr(getattr(config, "vision_config", None), "image_size", 224)
    images = torch.rand(2, 3, side, side)
    return {"example_inputs": {"input_ids": _ids(), "pixel_values": images}}


def torch_geometric_cases() -> Iterator[Case]:
    r"""PyG's ready-made graph neural networks."""
    from torch_geometric.nn import models

    pna = {"aggregators": ["mean", "max"], "scalers": ["identity"], "deg": torch.tensor([0, 3, 2])}
    for name in ("GCN", "GraphSAGE", "GIN", "GAT", "PNA", "EdgeCNN"):
        options = pna if name == "PNA" else {}
        yield Case(name, name, partial(getattr(models, name), 8, 16, 2, 3, **options), _a_graph)


def _a_graph() -> dict[str, Any]:
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])
    return {"example_inputs": (torch.rand(4, 8), edge_index)}


LIBRARIES: dict[str, Callable[[], Iterator[Case]]] = {
    "torchvision": torchvision_cases,
    "timm": timm_cases,
    "transformers": transformers_cases,
    "torch_geometric": torch_geometric_cases,
}
r"""Name of a library, as it is imported, to its models."""
