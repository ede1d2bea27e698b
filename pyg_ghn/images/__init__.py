from pyg_ghn.images.data import IMAGE_SETS, ImageData, data_root, get_image_data
from pyg_ghn.images.split import ImageSplit

__all__ = [
    "IMAGE_SETS",
    "ImageData",
    "ImageSplit",
    "data_root",
    "get_image_data",
]
