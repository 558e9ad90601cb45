"""FlexTCN and CKCNN written as a textbook would: the kernel formed, transformed, multiplied.

The reference of the speed benchmark where no checkout of the authors' code is given. It shares
the kernel networks, masks and read-out with the plugin, and nothing of how it is made fast.
"""

from __future__ import annotations

import torch
from seqbench_ckconv import CKCNN, CKCNNConfig
from seqbench_flexconv import FlexConvNet, FlexConvNetConfig
from torch import Tensor, nn

from seqbench.model import Model
from seqbench.nn.activation import BatchNormReLUDropout, ReLUDropout
from seqbench.nn.continuous import KernelConvolution
from seqbench.spec import Signature


class Textbook(nn.Module):
    """A causal convolution: kernel in time, two transforms, a sum over channels, one back."""

    def __init__(self, layer: KernelConvolution) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Convolve with the whole kernel formed anew."""
        kernel = self.layer.sampled_kernel(x.shape[-1])
        n = x.shape[-1] + kernel.shape[-1] - 1
        product = torch.einsum("bif,oif->bof", torch.fft.rfft(x, n=n), torch.fft.rfft(kernel, n=n))
        y = torch.fft.irfft(product, n=n)[..., : x.shape[-1]]
        return y + self.layer.bias[:, None]


def plain(module: nn.Module) -> nn.Module:
    """The same operation by PyTorch's own modules."""
    if isinstance(module, BatchNormReLUDropout):
        return nn.Sequential(nn.BatchNorm1d(module.num_features), plain(module.activation))
    if isinstance(module, ReLUDropout):
        return nn.Sequential(nn.ReLU(), nn.Dropout(module.rate))
    return module


class TextbookNetwork(nn.Module):
    """Blocks of textbook convolutions with PyTorch's own dropout, all outputs at every call."""

    def __init__(self, network: Model) -> None:
        super().__init__()
        self.network = network
        for block in network.blocks:
            block.conv1, block.conv2 = Textbook(block.conv1), Textbook(block.conv2)
            block.norm1, block.norm2 = plain(block.norm1), plain(block.norm2)
            block.activation = plain(block.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Every step, then the read-out."""
        for block in self.network.blocks:
            x = block(x)
        return self.network.head(x)


def flextcn(signature: Signature, width: float) -> nn.Module:
    """The FlexTCN of two blocks."""
    return TextbookNetwork(FlexConvNet(FlexConvNetConfig(mask_width=width), signature))


def ckcnn(signature: Signature) -> nn.Module:
    """The 100k CKCNN."""
    return TextbookNetwork(CKCNN(CKCNNConfig(), signature))
