from pyg_ghn.transforms.acyclic import AddTopologicalLevel, RequireAcyclic
from pyg_ghn.transforms.degree import AddDegreeEncoding
from pyg_ghn.transforms.random_width import RandomWidth
from pyg_ghn.transforms.shortest_path import AddShortestPathEncoding

__all__ = [
    "AddDegreeEncoding",
    "AddShortestPathEncoding",
    "AddTopologicalLevel",
    "RandomWidth",
    "RequireAcyclic",
]
