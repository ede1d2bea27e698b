"""What is where in a picture, read from the figure."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from torch import nn

from pyg_ghn.drawing import draw_graph
from pyg_ghn.drawing.style import STYLES
from pyg_ghn.graph import PRIMITIVES, from_module

NAMES = ["resnet50", "densenet121", "googlenet", "vit_b_16", 0, 3, 11, 20, 33]
TIMES = "\N{MULTIPLICATION SIGN}"


def read_picture(graph):
    """Boxes (left, top, right, bottom) of nodes, legend and frames, paths of edges, texts."""
    with pytest.MonkeyPatch.context() as patch:
        found = []
        patch.setattr("pyg_ghn.drawing.graph.save_figure", lambda figure, *_: found.append(figure))
        draw_graph(graph, "unused.svg", "title")
    (axes,) = found[0].axes

    def boxes(patches):
        corners = [patch.get_path().get_extents(patch.get_patch_transform()) for patch in patches]
        return np.array([(c.xmin, c.ymin, c.xmax, c.ymax) for c in corners]).reshape(-1, 4)

    by_id = {patch.get_gid(): patch for patch in axes.patches if patch.get_gid()}
    return SimpleNamespace(
        nodes=boxes(by_id[f"n{i}"] for i in range(graph.num_nodes)),
        legend=boxes(patch for gid, patch in by_id.items() if gid.startswith("legend")),
        ops=[gid.removeprefix("legend-") for gid in by_id if gid.startswith("legend")],
        frames=boxes(patch for patch in axes.patches if isinstance(patch, Rectangle)),
        edges={
            tuple(map(int, gid[1:].split("-"))): patch.get_path()
            for gid, patch in by_id.items()
            if gid.startswith("e")
        },
        texts=[text.get_text() for text in axes.texts],
        page=(axes.get_xlim()[0], axes.get_ylim()[1], axes.get_xlim()[1], axes.get_ylim()[0]),
    )


@pytest.fixture(scope="module")
def picture_of(graph_of):
    pictures = {}

    def picture(name):
        if name not in pictures:
            pictures[name] = read_picture(graph_of(name))
        return pictures[name]

    return picture


def frame_names(graph):
    picture = read_picture(graph)
    return picture.texts[: len(picture.frames)]


@pytest.mark.parametrize("name", NAMES)
def test_picture(name, picture_of, graph_of):
    graph, picture = graph_of(name), picture_of(name)
    boxes, page = np.concatenate([picture.nodes, picture.legend]), picture.page
    left, top, right, bottom = boxes.T
    apart = (left[:, None] > right) | (right[:, None] < left)
    apart |= (top[:, None] > bottom) | (bottom[:, None] < top)
    assert (apart | np.eye(len(boxes), dtype=bool)).all()
    width, height = page[2] - page[0], page[3] - page[1]
    assert 0.7 < width / height < 2 and width * height < 2.5 * len(picture.nodes)

    # Edges join their nodes and pass by all others.
    assert sorted(picture.edges) == sorted(map(tuple, graph.edge_index.t().tolist()))
    left, top, right, bottom = picture.nodes.T
    ways = [path.to_polygons(closed_only=False)[0] for path in picture.edges.values()]
    for (source, target), way in zip(picture.edges, ways, strict=True):
        assert way[0] == pytest.approx([(left + right)[source] / 2, bottom[source]], abs=2e-3)
        assert way[-1] == pytest.approx([(left + right)[target] / 2, top[target] - 0.05], abs=2e-3)
        x, y = way.T[:, :, None]
        hits = (x > left + 2e-3) & (x < right - 2e-3) & (y > top + 2e-3) & (y < bottom - 2e-3)
        assert not hits.any()
    for corners in (boxes[:, :2], boxes[:, 2:], *ways):
        assert (corners > page[:2]).all() and (corners < page[2:]).all()

    # Frames hold whole nodes.
    assert len(picture.frames)
    for start, up, end, down in picture.frames:
        inside = (left > start) & (right < end) & (top > up) & (bottom < down)
        outside = (left > end) | (right < start) | (top > down) | (bottom < up)
        assert inside.any() and (inside | outside).all()

    ops = [PRIMITIVES[op] for op in graph.x.view(-1).tolist()]
    assert picture.ops == [op for op in STYLES if op in ops]
    counts = [text for text in picture.texts if text.startswith(TIMES)]
    assert counts == [f"{TIMES} {ops.count(op)}" for op in picture.ops]


def test_labels(picture_of):
    texts = picture_of("resnet50").texts
    assert "input" in texts and "sum" in texts and f"max_pool\n3{TIMES}3" in texts
    assert f"conv1\n64{TIMES}3{TIMES}7{TIMES}7" in texts and "bn1\n64" in texts
    assert f"conv downsample.0\n256{TIMES}64{TIMES}1{TIMES}1" in texts
    assert "title: 127 nodes, 142 edges" in texts
    assert any(text.startswith("…layers.encoder_layer_11") for text in picture_of("vit_b_16").texts)


def test_frames_of_stages_branches_and_modules_that_take_turns(graph_of):
    stages = [f"layer{i + 1}.{j}" for i, depth in enumerate((3, 4, 6, 3)) for j in range(depth)]
    assert frame_names(graph_of("resnet50")) == stages
    names = frame_names(graph_of("googlenet"))
    assert {"inception3a", "inception5b", "aux1"} <= set(names) and len(names) == 14

    class TakingTurns(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1, bias=False) for _ in range(20))
            self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(20))

        def forward(self, x):
            for conv, norm in zip(self.convs, self.norms, strict=True):
                x = norm(conv(x))
            return x

    assert frame_names(from_module(TakingTurns())) == ["convs", "norms"] * 20


def random_edges(n):
    rng = np.random.default_rng(0)
    skips = {(i, i + min(n - 1 - i, int(rng.integers(1, 20)))) for i in range(n - 1)}
    return sorted(skips | {(i, i + 1) for i in range(n - 1)})


CHAIN = [(i, i + 1) for i in range(599)]


@pytest.mark.parametrize(
    ("edges", "num_nodes", "named"),
    [
        (CHAIN, 600, False),
        (CHAIN, 600, True),
        ([(i % 3, i) for i in range(3, 249)] + [(i, 249) for i in range(3, 249)], 250, False),
        (random_edges(600), 600, False),
        ([], 600, False),
        ([], 1, False),
    ],
    ids=["chain", "chain of modules", "parallel", "random skips", "no edges", "one node"],
)
def test_any_graph_fits_a_page(edges, num_nodes, named, make_graph):
    names = [f"stage{i // 30}.{i // 6 % 5}.layer{i % 6}.weight" for i in range(num_nodes)]
    left, top, right, bottom = read_picture(make_graph(edges, num_nodes, named and names)).page
    width, height = right - left, bottom - top
    assert 0.5 < width / height < 4 and max(width, height) < 90  # inches


def test_styles_and_any_order_of_nodes(make_graph):
    assert set(STYLES) == set(PRIMITIVES)
    for style in STYLES.values():
        assert np.abs(style.outline.vertices).max() == pytest.approx(0.5)
    names = ["c.weight", "a.weight", "b.weight"]
    picture = read_picture(make_graph([(1, 2), (2, 0)], 3, names))
    left, top, _, _ = picture.nodes.T
    assert np.lexsort([top, left.round()]).tolist() == [1, 2, 0]  # down, then in the next column
