r"""One network of each family of torchvision, adapted to 8 x 8 digits: how much of it is predicted,
and how many held-out digits it then classifies, beside its own random initialization.

``python benchmarks/small_images.py [CHECKPOINT]`` prints the last table of ``docs/prediction.md``.
"""

from __future__ import annotations

import sys
import warnings

import torch

import pyg_ghn
from pyg_ghn.architectures import torchvision_model
from pyg_ghn.evaluation import accuracy
from pyg_ghn.images import get_image_data

NETWORKS = """
    alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5
    mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 shufflenet_v2_x0_5
    squeezenet1_1 swin_t swin_v2_t vgg11_bn vit_b_32
""".split()


def main(checkpoint: str = "ghn3-digits") -> None:
    ghn, images = pyg_ghn.from_pretrained(checkpoint), get_image_data("digits")
    print("| network | values predicted | tiled up to (out x in) | top-1 | random |")
    print("|---|---|---|---|---|")
    for name in NETWORKS:
        torch.manual_seed(0)
        model = torchvision_model(name, images.num_classes, images.input_size)
        params = ghn.predict(model, images.input_size)
        tiles = (max(times) for times in zip(*(p.tiles for p in params.report), strict=True))
        share = params.report.num_predicted / params.report.num_values
        top1 = (accuracy(model, some, images.test)["top1"] for some in (params, None))
        cells = (name, f"{share:.2%}", "{} x {}".format(*tiles), *(f"{a:.1%}" for a in top1))
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*torch.jit.script")  # PyG's own import
    main(*sys.argv[1:])
