"""Sequences, volumes, graphs, detectors; wrapped, compiled, in half precision, with hooks."""

import pytest
import torch
import torchvision
from torch import nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GAT, GCNConv, GraphSAGE, global_mean_pool

from pyg_ghn.errors import GraphError
from pyg_ghn.graph import from_module

EDGES = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])


def test_sequences_volumes_and_token_ids(see):
    sequences = [nn.Conv1d(4, 8, 3, groups=2), nn.BatchNorm1d(8), nn.MaxPool1d(2)]
    sequences += [nn.ConvTranspose1d(8, 8, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()]
    expected = "input sep_conv bias bn max_pool conv bias glob_avg conv bias".split()
    assert see(nn.Sequential(*sequences, nn.Linear(8, 3)), (4, 32)).ops == expected
    volumes = [nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.AvgPool3d(2), nn.Flatten()]
    graph = see(nn.Sequential(*volumes, nn.Linear(4, 3)), (1, 4, 4, 4))
    assert graph.ops == "input conv bias bn avg_pool conv bias".split()
    assert graph.data.param_shape[1] is None and graph.data.param_name[2] == "0.bias"
    assert graph.left == {"0.weight": "more than four dimensions"}
    model, ids = nn.Sequential(nn.EmbeddingBag(10, 4), nn.Linear(4, 2)), torch.ones(2, 3).long()
    assert see(model, example_inputs=ids).ops == "input pos_enc conv bias".split()


@pytest.mark.parametrize("training", [True, False])
def test_transformer_of_torch(training, see):
    model = nn.Transformer(16, 2, 2, 2, 32, batch_first=True).train(training)
    graph = see(model, example_inputs=(torch.ones(2, 5, 16), torch.ones(2, 6, 16)))
    assert not graph.left and graph.ops.count("msa") == 6


def test_graph_neural_networks(see, complete, left):
    inputs = (torch.ones(4, 8), EDGES)
    assert not complete(GraphSAGE(8, 16, 2, 3), example_inputs=inputs).unsupported
    attention = complete(GAT(8, 16, 2, 3), example_inputs=inputs)
    assert left(attention)["used by no supported operation (mul)"] == {"att_src", "att_dst"}

    def of_graphs(self, data):
        x = self.conv(data.x, data.edge_index)
        return self.head(global_mean_pool(x, data.batch))

    batch = Batch.from_data_list([Data(x=torch.ones(4, 8), edge_index=EDGES)] * 2)
    graph = see(of_graphs, example_inputs=batch, conv=GCNConv(8, 4), head=nn.Linear(4, 2))
    names = [None, "conv.lin.weight", "head.weight", "head.bias"]
    assert graph.data.param_name == names and torch.equal(batch.x, torch.ones(8, 8))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_segmentation_video_and_flow(models_on_meta, complete):
    with models_on_meta():
        fcn = torchvision.models.segmentation.fcn_resnet50(weights_backbone=None, aux_loss=True)
        video = torchvision.models.video.swin3d_t()
        flow = torchvision.models.optical_flow.raft_small()
        quantizable = torchvision.models.quantization.mobilenet_v2(quantize=False)
    assert not complete(fcn, input_size=(3, 64, 64)).unsupported
    assert complete(video, input_size=(3, 4, 64, 64)).unsupported_reason[0].startswith("more than")
    frame = torch.ones(1, 3, 128, 128)
    inputs = {"image1": frame, "image2": frame, "num_flow_updates": 1}
    assert not complete(flow, example_inputs=inputs).unsupported
    assert not complete(quantizable).unsupported


@pytest.mark.parametrize("training", [True, False])
def test_detector(training, complete):
    """The number of boxes depends on values, so a real pass is recorded."""
    torch.manual_seed(0)
    model = torchvision.models.detection.ssdlite320_mobilenet_v3_large(
        weights_backbone=None, num_classes=3
    ).train(training)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    target = {"boxes": torch.tensor([[5.0, 5.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    inputs = (images, [target, target]) if training else (images,)
    statistics = model.backbone.features[0][0][1].running_mean.clone()
    assert not complete(model, example_inputs=inputs).unsupported
    assert torch.equal(model.backbone.features[0][0][1].running_mean, statistics)


def test_wrapped_compiled_low_precision_frozen_and_on_meta(complete):
    def model():
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    whole, part = torch.compile(model()), model()
    part[0] = torch.compile(part[0])
    part[2].compile()
    for wrapped in (whole, part, nn.DataParallel(model())):
        data = complete(wrapped, input_size=(4,))
        assert data.num_nodes == 5 and not data.unsupported
    frozen = torchvision.models.resnet18().bfloat16().requires_grad_(False)
    assert not complete(frozen, input_size=(3, 64, 64)).unsupported
    assert {p.dtype for p in frozen.parameters()} == {torch.bfloat16}
    with torch.device("meta"):
        data = complete(nn.Linear(4, 2), input_size=(4,))
    assert not data.x.is_meta and not data.edge_index.is_meta


@pytest.mark.parametrize(
    "model, inputs, message",
    [
        (nn.Bilinear(3, 4, 2), {}, "needs 'input1', 'input2': pass them as example_inputs"),
        (nn.Embedding(3, 4), {}, "looks up integers, token ids"),
        (
            nn.Conv2d(3, 4, 3),
            {"input_size": (1, 8, 8)},
            r"on a float32 tensor of shape \(2, 1, 8, 8\) failed in module 'model' \(Conv2d\).*"
            "Check input_size",
        ),
        (nn.Sequential(nn.LazyLinear(3)), {"input_size": (4,)}, "run one batch through it first"),
    ],
)
def test_errors_tell_the_way_out(model, inputs, message):
    with pytest.raises(GraphError, match=message):
        from_module(model, **inputs)
