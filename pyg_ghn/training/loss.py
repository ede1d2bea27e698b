r"""The meta-training loss, eq. 10 of the paper."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


def meta_loss(
    model: nn.Module,
    params: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    gamma: float = 3e-5,
    label_smoothing: float = 0.0,
    penalty: str = "norm",
) -> tuple[Tensor, Tensor]:
    r"""Loss of one network with predicted parameters, eq. 10 of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper:

    .. math::
        \mathcal{L} = \mathcal{L}_{CE} + \gamma \sum_i \| \mathbf{w}_{pred,i} \|_2

    Args:
        model (torch.nn.Module): The network, for example a skeleton on the meta device.
        params (dict): Its predicted parameters.
        images (Tensor): Images :math:`[B, C, H, W]`.
        labels (Tensor): Classes :math:`[B]`.
        gamma (float): Weight of the penalty. (default: :obj:`3e-5`)
        label_smoothing (float): Label smoothing of the cross-entropy. (default: :obj:`0.0`)
        penalty (str): That of eq. 10, :obj:`"norm"`; :obj:`"squared"` for
            :math:`\gamma \sum_i \| \mathbf{w}_{pred,i} \|_2^2` instead, an ablation of Table 5;
            or :obj:`"none"`. (default: :obj:`"norm"`)

    Returns:
        The loss and the accuracy in [0, 1], both scalars.
    """
    # Of a network that is no skeleton, too, nothing is changed: each step sees the same.
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    logits = functional_call(model, {**buffers, **params}, (images,))
    loss = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    accuracy = (logits.detach().argmax(-1) == labels).float().mean()
    if penalty != "none":
        norms = torch.stack(torch._foreach_norm(list(params.values())))
        loss = loss + gamma * (norms.float().square() if penalty == "squared" else norms).sum()
    return loss, accuracy
