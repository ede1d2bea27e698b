r"""Embedding of node degrees and of the distance from the input."""

from torch import Tensor, nn


class CentralityEncoding(nn.Module):
    r"""Encodes how central a node is in a directed graph, Section 3.3 (Eq. 7) of the
    `"Can We Scale Transformers to Predict Parameters of Diverse ImageNet Models?"
    <https://arxiv.org/abs/2303.04143>`_ paper, with the distance from the input node besides:

    .. math::
        \mathbf{z}_i = \mathbf{z}_{\textrm{deg}^+(i)} + \mathbf{z}_{\textrm{deg}^-(i)} +
        \mathbf{z}_{d(0, i)}

    Larger values take the embedding of the largest known one. See
    :class:`~pyg_ghn.transforms.AddDegreeEncoding` for the inputs.

    Args:
        channels (int): Size of the encoding.
        max_degree (int, optional): Largest known degree; if set to :obj:`None`, degrees are not
            encoded. (default: :obj:`100`)
        max_distance (int, optional): Largest known distance; if set to :obj:`None`, distances are
            not encoded. (default: :obj:`1000`)

    Shapes:
        - **input:** in-degrees :math:`(N)`, out-degrees :math:`(N)`, distances :math:`(N)`
        - **output:** :math:`(N, \text{channels})`
    """

    def __init__(
        self, channels: int, max_degree: int | None = 100, max_distance: int | None = 1000
    ) -> None:
        super().__init__()
        self.channels = channels
        if max_degree is not None:
            self.in_degree = nn.Embedding(max_degree + 1, channels)
            self.out_degree = nn.Embedding(max_degree + 1, channels)
        if max_distance is not None:
            self.input_distance = nn.Embedding(max_distance + 1, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for table in self.children():
            nn.init.trunc_normal_(table.weight, std=self.channels**-0.5)

    def forward(self, in_degree: Tensor, out_degree: Tensor, input_distance: Tensor) -> Tensor:
        r"""Runs the forward pass of the module."""
        values = {
            "in_degree": in_degree,
            "out_degree": out_degree,
            "input_distance": input_distance,
        }
        return sum(
            table(values[name].clamp(max=table.num_embeddings - 1))
            for name, table in self.named_children()
        )

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}({self.channels})"
