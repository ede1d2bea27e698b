r"""The networks of DeepNets-1M, their generator and graphs; torchvision models for small images."""

from pyg_ghn._lazy import lazy

_MODULES = {
    "OPERATIONS": "pyg_ghn.architectures.operations",
    "SPLITS": "pyg_ghn.architectures.splits",
    "Genotype": "pyg_ghn.architectures.genotype",
    "Network": "pyg_ghn.architectures.network",
    "Split": "pyg_ghn.architectures.splits",
    "adapt_to_small_images": "pyg_ghn.architectures.small_images",
    "architecture_key": "pyg_ghn.architectures.sampler",
    "build_for_images": "pyg_ghn.architectures.by_name",
    "build_model": "pyg_ghn.architectures.by_name",
    "count_parameters": "pyg_ghn.architectures.plan",
    "draw_width": "pyg_ghn.architectures.sampler",
    "evaluation_architectures": "pyg_ghn.architectures.sampler",
    "network_from_args": "pyg_ghn.architectures.network",
    "network_graph": "pyg_ghn.architectures.plan_graph",
    "sample_net_args": "pyg_ghn.architectures.sampler",
    "split_net_args": "pyg_ghn.architectures.sampler",
    "torchvision_model": "pyg_ghn.architectures.by_name",
}

__all__ = [*_MODULES]
__getattr__, __dir__ = lazy(__name__, _MODULES)
