import numpy as np
import pytest

from pyg_ghn.graph import PRIMITIVES
from pyg_ghn.graph.draw.layout import lay_out
from pyg_ghn.graph.draw.nodes import nodes_of
from pyg_ghn.graph.draw.placement import ARROW
from pyg_ghn.graph.draw.style import OUTLINES, STYLES

NAMES = ["resnet50", "densenet121", "googlenet", "vit_b_16", 0, 3, 11, 20, 33]


@pytest.fixture(scope="session")
def layout_of(graph_of):
    layouts = {}

    def layout(name):
        if name not in layouts:
            layouts[name] = lay_out(nodes_of(graph_of(name)), str(name))
        return layouts[name]

    return layout


def edges_of_boxes(boxes):
    x, y, width, height = np.array(boxes).reshape(-1, 4).T
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def bezier(points):
    """Points along a curve."""
    points = np.array(points)
    parts = np.stack([points[:-1:3], points[1::3], points[2::3], points[3::3]])
    t = np.linspace(0, 1, 9)[:, None, None]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return sum(w * part for w, part in zip(weights, parts, strict=True)).reshape(-1, 2)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_do_not_overlap_and_are_on_the_page(name, layout_of):
    layout = layout_of(name)
    boxes = [shape.box for shape in [*layout.nodes, *layout.legend]]
    left, top, right, bottom = edges_of_boxes(boxes)
    assert left.min() > 0 and top.min() > 0
    assert right.max() < layout.width and bottom.max() < layout.height
    apart = (left[:, None] > right) | (right[:, None] < left)
    apart |= (top[:, None] > bottom) | (bottom[:, None] < top)
    assert (apart | np.eye(len(boxes), dtype=bool)).all()


@pytest.mark.parametrize("name", NAMES)
def test_edges_join_their_nodes_and_pass_by_all_others(name, layout_of, graph_of):
    layout, graph = layout_of(name), graph_of(name)
    assert sorted((c.source, c.target) for c in layout.curves) == sorted(
        map(tuple, graph.edge_index.t().tolist())
    )
    left, top, right, bottom = edges_of_boxes([shape.box for shape in layout.nodes])
    for source, target, points in layout.curves:
        a, b = layout.nodes[source].box, layout.nodes[target].box
        assert points[0] == pytest.approx((a.x, a.y + a.height / 2))
        assert points[-1] == pytest.approx((b.x, b.y - b.height / 2 - ARROW))
        x, y = bezier(points)[:, :, None].swapaxes(0, 1)
        hits = (x > left + 1e-6) & (x < right - 1e-6) & (y > top + 1e-6) & (y < bottom - 1e-6)
        assert not hits.any()
        assert x.min() > 0 and x.max() < layout.width
        assert y.min() > 0 and y.max() < layout.height


@pytest.mark.parametrize("name", NAMES)
def test_frames_hold_whole_nodes_and_do_not_overlap(name, layout_of):
    layout = layout_of(name)
    left, top, right, bottom = edges_of_boxes([shape.box for shape in layout.nodes])
    frames = list(zip(*edges_of_boxes(layout.frames), strict=True))
    assert frames
    for start, up, end, down in frames:
        inside = (left > start) & (right < end) & (top > up) & (bottom < down)
        outside = (left > end) | (right < start) | (top > down) | (bottom < up)
        assert inside.any() and (inside | outside).all()


@pytest.mark.parametrize("name", NAMES)
def test_legend_holds_what_occurs(name, layout_of, graph_of):
    ops = [PRIMITIVES[op] for op in graph_of(name).x.view(-1).tolist()]
    layout = layout_of(name)
    assert [shape.op for shape in layout.legend] == [op for op in STYLES if op in ops]
    counts = [text.text for text in layout.texts if text.text.startswith("\N{MULTIPLICATION SIGN}")]
    expected = [f"\N{MULTIPLICATION SIGN} {ops.count(shape.op)}" for shape in layout.legend]
    assert counts == expected


def chain(n):
    return [(i, i + 1) for i in range(n - 1)]


def random_edges(n):
    rng = np.random.default_rng(0)
    return sorted(
        {*chain(n), *((int(i), int(i + min(n - 1 - i, rng.integers(1, 20)))) for i in range(n - 1))}
    )


@pytest.mark.parametrize(
    ("edges", "num_nodes", "named"),
    [
        (chain(600), 600, False),
        (chain(600), 600, True),
        ([(i % 3, i) for i in range(3, 249)] + [(i, 249) for i in range(3, 249)], 250, False),
        (random_edges(600), 600, False),
        ([], 600, False),
    ],
    ids=["chain", "chain of modules", "parallel", "random skips", "no edges"],
)
def test_hundreds_of_nodes_fit_a_page(edges, num_nodes, named, make_graph):
    names = [f"stage{i // 30}.{i // 6 % 5}.layer{i % 6}.weight" for i in range(num_nodes)]
    graph = make_graph(edges, num_nodes, names if named else None)
    layout = lay_out(nodes_of(graph), "hundreds of nodes")
    assert 0.5 < layout.width / layout.height < 3
    assert max(layout.width, layout.height) < 90  # inches


@pytest.mark.parametrize("name", NAMES)
def test_networks_fit_a_page(name, layout_of):
    layout = layout_of(name)
    assert 0.7 < layout.width / layout.height < 2
    assert layout.width * layout.height < 2.5 * len(layout.nodes)  # square inches


def test_one_node(make_graph):
    layout = lay_out(nodes_of(make_graph([], 1, ops=["input"])), "one node")
    assert len(layout.nodes) == 1 and not layout.curves and not layout.frames


def test_labels(layout_of):
    labels = [shape.label for shape in layout_of("resnet50").nodes]
    times = "\N{MULTIPLICATION SIGN}"
    assert labels[:4] == [
        "input",
        f"conv1\n64{times}3{times}7{times}7",
        "bn1\n64",
        f"max_pool\n3{times}3",
    ]
    assert f"conv downsample.0\n256{times}64{times}1{times}1" in labels
    assert layout_of("resnet50").nodes[5].description.endswith("bn layer1.0.bn1.weight 64")


def test_order_of_nodes_does_not_matter(make_graph):
    """Nodes may come in any order; places follow the flow of data."""
    names = ["c.weight", "a.weight", "b.weight"]
    nodes = nodes_of(make_graph([(1, 2), (2, 0)], 3, names))
    assert [(node.index, node.name, node.preds) for node in nodes] == [
        (1, "a.weight", ()),
        (2, "b.weight", (0,)),
        (0, "c.weight", (1,)),
    ]


def test_styles():
    assert set(STYLES) == set(PRIMITIVES)
    shapes = [style.shape for style in STYLES.values()]
    assert len(set(shapes)) == len(shapes) and set(shapes) == set(OUTLINES)
    for corners in OUTLINES.values():
        assert np.abs(corners).max() == 0.5


@pytest.mark.parametrize("op", STYLES)
def test_text_is_legible_on_every_fill(op):
    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    contrast = (luminance(STYLES[op].fill) + 0.05) / (luminance("#1c1f24") + 0.05)
    assert contrast > 6  # WCAG asks for 4.5
