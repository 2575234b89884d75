"""What ``pycocotools.coco.COCO`` answers, for images of noise with two objects and five captions each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_CATEGORIES = (1, 18)  # of a person and a dog


class FakeCoco:
    """The part of the API that data sets and training scripts ask."""

    def __init__(self, files: list[str], count: int, size: tuple[int, int]) -> None:
        height, width = size
        self.imgs: dict[int, dict[str, Any]] = {
            i: {"id": i, "file_name": files[i % len(files)], "height": height, "width": width} for i in range(count)
        }
        self.cats = {i: {"id": i, "name": f"category_{i}", "supercategory": "any"} for i in range(1, 91)}

    @property
    def anns(self) -> dict[int, dict[str, Any]]:
        """All annotations by their numbers."""
        return {a["id"]: a for a in self.loadAnns(self.getAnnIds(list(self.imgs)))}

    @property
    def imgToAnns(self) -> dict[int, list[dict[str, Any]]]:  # noqa: N802 - the API's own name
        """The annotations of each image."""
        return {i: self.loadAnns(self.getAnnIds(i)) for i in self.imgs}

    def getImgIds(self, *_: Any, **__: Any) -> list[int]:  # noqa: ANN401, N802
        """Return the numbers of all images."""
        return list(self.imgs)

    def getCatIds(self, *_: Any, **__: Any) -> list[int]:  # noqa: ANN401, N802
        """Return the numbers of all categories."""
        return list(self.cats)

    def getAnnIds(self, imgIds: int | Iterable[int] = (), *_: Any, **__: Any) -> list[int]:  # noqa: ANN401, N802, N803
        """Return the numbers of the annotations of some images: two each."""
        images = [imgIds] if isinstance(imgIds, int) else imgIds
        return [2 * image + k for image in images for k in range(2)]

    def loadImgs(self, ids: int | Iterable[int] = ()) -> list[dict[str, Any]]:  # noqa: N802
        """Return what is known of some images."""
        return [self.imgs[i] for i in ([ids] if isinstance(ids, int) else ids)]

    def loadCats(self, ids: int | Iterable[int] = ()) -> list[dict[str, Any]]:  # noqa: N802
        """Return what is known of some categories."""
        return [self.cats[i] for i in ([ids] if isinstance(ids, int) else ids)]

    def loadAnns(self, ids: int | Iterable[int] = ()) -> list[dict[str, Any]]:  # noqa: N802
        """Return some annotations: a box, its polygon and a caption."""
        return [self._annotation(i) for i in ([ids] if isinstance(ids, int) else ids)]

    def _annotation(self, number: int) -> dict[str, Any]:
        image = self.imgs[number // 2]
        height, width = image["height"] // 4, image["width"] // 4
        x = y = 10.0 + 20 * (number % 2)
        return {
            "id": number, "image_id": image["id"], "category_id": _CATEGORIES[number % 2], "iscrowd": 0,
            "bbox": [x, y, float(width), float(height)], "area": float(width * height), "num_keypoints": 0,
            "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]], "keypoints": [0] * 51,
            "caption": f"a picture of noise, number {number}",
        }  # fmt: skip
