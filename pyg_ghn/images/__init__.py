from pyg_ghn.images.augment import Augmentation
from pyg_ghn.images.by_name import IMAGE_SETS, ImageData, ImageSplit, data_root, get_image_data

__all__ = [
    "IMAGE_SETS",
    "Augmentation",
    "ImageData",
    "ImageSplit",
    "data_root",
    "get_image_data",
]
