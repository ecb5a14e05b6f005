"""What ultralytics takes of torchvision, for torch's CPU build: the published torchvision opens with CUDA's torch only.

On the path of the training scripts' smoke runs, and nowhere else.
"""

from torchvision import ops

__version__ = "0.28.0"
__all__ = ["ops"]
