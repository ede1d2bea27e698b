r"""Mimetic initialization: self-attention that looks like that of trained networks."""

import warnings

import torch
from torch import Tensor, nn


@torch.no_grad()
def initialize_mimetic(
    model: nn.Module,
    alpha1: float = 0.7,
    beta1: float = 0.7,
    alpha2: float = 0.4,
    beta2: float = 0.4,
    generator: torch.Generator | None = None,
) -> nn.Module:
    r"""Initializes the self-attention layers of a model in place as in the `"Mimetic Initialization
    of Self-Attention Layers" <https://arxiv.org/abs/2305.09828>`_ paper, so that

    .. math::
        \mathbf{W}_Q \mathbf{W}_K^{\top} \approx \alpha_1 \mathbf{Z} + \beta_1 \mathbf{I}, \qquad
        \mathbf{W}_V \mathbf{W}_{\textrm{proj}} = \alpha_2 \mathbf{Z} - \beta_2 \mathbf{I}, \qquad
        \mathbf{Z}_{ij} \sim \mathcal{N}(0, 1 / d),

    the first product for each head with a :math:`\mathbf{Z}` of its own, as well as the head's size
    allows. Factors are from singular value decompositions. Biases and position embeddings stay as
    they are.

    A self-attention layer is a module with a number of heads and two weights, its own or of linear
    layers right in it: one of shape :math:`[3d, d]` for queries, keys and values, each head by
    head, and one of shape :math:`[d, d]`. So are :class:`torch.nn.MultiheadAttention` and the
    attention of torchvision's and timm's ViT and Swin.

    Args:
        model (torch.nn.Module): The model.
        alpha1 (float): Size of the noise for queries and keys. (default: :obj:`0.7`)
        beta1 (float): Size of their identity. (default: :obj:`0.7`)
        alpha2 (float): Size of the noise for values and projection. (default: :obj:`0.4`)
        beta2 (float): Size of their negative identity. (default: :obj:`0.4`)
        generator (torch.Generator, optional): Draws the noise. (default: :obj:`None`, one with the
            seed 0)

    Returns:
        The model.

    Warns:
        UserWarning: If the model has no such layer, and is left as it is.
    """
    generator = generator or torch.Generator().manual_seed(0)
    found = 0
    for module in model.modules():
        numbers = (getattr(module, name, None) for name in ("num_heads", "n_heads", "heads"))
        heads = next((number for number in numbers if isinstance(number, int)), None)
        owners = [module, *(child for child in module.children() if isinstance(child, nn.Linear))]
        weights = [p for owner in owners for p in owner.parameters(recurse=False) if p.dim() == 2]
        pairs = [
            (qkv, proj)
            for qkv in weights
            for proj in weights
            if proj.shape == (qkv.size(1),) * 2 and qkv.size(0) == 3 * qkv.size(1)
        ]
        if heads is None or len(pairs) != 1:
            continue
        found += 1
        ((qkv, proj),) = pairs
        query, key, value = qkv.chunk(3)
        by_head = (weight.unflatten(0, (heads, -1)) for weight in (query, key))
        for query, key in zip(*by_head, strict=True):
            left, right = _factors(qkv, alpha1, beta1, generator)
            query.copy_(left.mT[: len(query)])  # a linear layer multiplies by its weight transposed
            key.copy_(right[: len(key)])
        left, right = _factors(qkv, alpha2, -beta2, generator)
        value.copy_(left.mT)
        proj.copy_(right.mT)
    if not found:
        warnings.warn(
            f"{type(model).__name__} has no self-attention layer with one weight for queries, keys "
            "and values: mimetic initialization leaves it as it is.",
            stacklevel=2,
        )
    return model


def _factors(
    like: Tensor, alpha: float, beta: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Two square matrices whose product is noise and a multiple of the identity. The first columns
    of one and rows of the other make the best approximation of their rank."""
    dim, dtype = like.size(1), torch.promote_types(like.dtype, torch.float32)
    noise = torch.randn(dim, dim, generator=generator, device=generator.device).to(
        like.device, dtype
    )
    identity = torch.eye(dim, device=like.device, dtype=dtype)
    u, s, vh = torch.linalg.svd(alpha * dim**-0.5 * noise + beta * identity)
    return (u * s.sqrt()).to(like), (s.sqrt()[:, None] * vh).to(like)
