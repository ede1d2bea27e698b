from pyg_ghn.transforms.acyclic import AddTopologicalLevel, RequireAcyclic
from pyg_ghn.transforms.encodings import AddDegreeEncoding, AddShortestPathEncoding
from pyg_ghn.transforms.random_width import RandomWidth

__all__ = [
    "AddDegreeEncoding",
    "AddShortestPathEncoding",
    "AddTopologicalLevel",
    "RandomWidth",
    "RequireAcyclic",
]
