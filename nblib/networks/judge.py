"""A judge of pairs: finds the two like parts of a picture, and says what each one looks like from that part alone."""

import torch
from torch import Tensor, nn

PARTS = 2


class PairJudge(nn.Module):
    """Find both eyes of a face, or both wheels of a car, and name the properties of each from a small crop.

    Two networks in one: `points` sees the whole picture and returns two places; `answers` sees the square around one
    place and nothing else, so that its verdict on one part cannot lean on the other.

    Parameters
    ----------
    classes : sequence of int
        Number of classes of each property, such as 9 designs and 5 finishes of a rim.
    crop : int, default 12
        Side of the square around a part in pixels, even; less than the parts' distance, or one crop shows both.
    width : int, default 32
        Channels of the first layer that sees a crop.

    Raises
    ------
    ValueError
        If there is no property, one has fewer than two classes, or the crop is odd or smaller than 8.

    Examples
    --------
    >>> judge = PairJudge([9, 5], crop=16).eval()
    >>> judge.points(torch.zeros(4, 3, 64, 64)).shape, judge(torch.zeros(4, 3, 64, 64)).shape
    (torch.Size([4, 2, 2]), torch.Size([4, 2, 15]))
    """

    def __init__(self, classes: list[int], crop: int = 12, width: int = 32):
        super().__init__()
        if not classes or min(classes) < 2:
            raise ValueError(f"classes={classes}: a property has at least two classes, and there is at least one")
        if crop < 8 or crop % 2:
            raise ValueError(f"crop={crop}: the side of a crop is even, and at least 8 pixels")
        self.classes, self.crop, self.width = list(classes), crop, width
        self.finder = nn.Sequential(
            *_layer(5, 16, stride=2), *_layer(16, 32, stride=2), *_layer(32, 32), *_layer(32, 32),
            nn.Conv2d(32, PARTS, 1),
        )  # fmt: skip
        self.reader = nn.Sequential(
            *_layer(3, width), *_layer(width, width), *_layer(width, 2 * width, stride=2), *_layer(2 * width, width),
            nn.Flatten(), nn.Linear(width * (crop // 2) ** 2, sum(classes) + 1),
        )  # fmt: skip

    def points(self, images: Tensor) -> Tensor:
        """Return the places of the left and the right part in pixels (x, y), shape (B, 2, 2).

        Parameters
        ----------
        images : Tensor, float (B, 3, H, W)
            In [-1, 1].
        """
        height, width = images.shape[-2:]
        x, y = torch.meshgrid(_places(width, images), _places(height, images), indexing="xy")  # (H, W)
        where = torch.stack([x, y]).expand(len(images), -1, -1, -1)
        heat = self.finder(torch.cat([images, where], dim=1)).float()  # (B, 2, H/4, W/4)
        heat = heat.flatten(2).softmax(-1).view_as(heat)
        across, down = heat.sum(2) @ _places(heat.shape[3], heat), heat.sum(3) @ _places(heat.shape[2], heat)  # (B, 2)
        return torch.stack([(across + 1) * width / 2, (down + 1) * height / 2], dim=2) - 0.5

    def crops(self, images: Tensor, points: Tensor) -> Tensor:
        """Return the squares around points (B, P, 2), shape (B, P, 3, crop, crop), to the nearest pixel.

        Beyond the border of a picture its last row or column is repeated.
        """
        steps = torch.arange(self.crop, device=images.device) - self.crop // 2
        corner = (points + 0.5).round().long()  # between pixels: an even side has no pixel in the middle
        columns = (corner[..., 0, None] + steps).clamp(0, images.shape[3] - 1)  # (B, P, crop)
        rows = (corner[..., 1, None] + steps).clamp(0, images.shape[2] - 1)
        pictures = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
        return images.permute(0, 2, 3, 1)[pictures, rows[..., :, None], columns[..., None, :]].permute(0, 1, 4, 2, 3)

    def answers(self, crops: Tensor) -> Tensor:
        """Return logits (B, P, K + 1) for crops (B, P, 3, crop, crop): the classes of each property in turn.

        The last one says whether the crop shows such a part at all.
        """
        return self.reader(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the left and the right part, (B, 2, K + 1), for images (B, 3, H, W) in [-1, 1]."""
        return self.answers(self.crops(images, self.points(images)))


def _layer(before: int, after: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)


def _places(cells: int, like: Tensor) -> Tensor:
    """Return the centres of equal cells along a side that goes from -1 to 1."""
    return ((torch.arange(cells, device=like.device) + 0.5) * 2 / cells - 1).to(like.dtype)
