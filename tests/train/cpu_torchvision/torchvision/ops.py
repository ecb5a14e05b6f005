"""Non-maximum suppression in torch alone."""

import torch


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy suppression of `boxes` (n, 4: left, top, right, bottom) by `scores` (n,) -> kept indices, best first."""
    order = scores.argsort(descending=True)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(best)
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        both = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corner).clamp(min=0).prod(dim=1)
        order = order[both <= iou_threshold * (area[best] + area[order] - both)]
    return torch.stack(kept) if kept else order
