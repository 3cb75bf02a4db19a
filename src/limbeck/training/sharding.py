"""FSDP2 through torch's `fully_shard`: each process holds a share of weights, gradients and moments.

(On a CPU accelerate ignores FSDP without a word, so this is torch's own.)
"""

import warnings

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(module: nn.Module) -> None:
    """Shards the parameters in place over all processes: each repeated layer by itself, the rest together.

    A layer is a member of an `nn.ModuleList` that holds parameters; the list nearest the root counts. A list
    of one is no repetition, and its layer may run several times in a forward (ALBERT's): it stays with the
    rest.
    """
    inside: set[nn.Module] = set()
    for layers in module.modules():
        if isinstance(layers, nn.ModuleList) and len(layers) > 1 and layers not in inside:
            for layer in layers:
                inside.update(layer.modules())
                if any(True for _ in layer.parameters()):
                    fully_shard(layer)
    fully_shard(module)
    # It warns of outputs that are views, in case that they are changed in place: no step does (see `Step`).
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)


def whole(tensor: Tensor) -> Tensor:
    """All of a sharded tensor, in every process (each must ask); any other tensor as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole `tensor`, as `like` is sharded; `tensor` itself if that is whole."""
    if not isinstance(like, DTensor) or tensor.ndim != like.ndim:  # a step counter is whole everywhere
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


@torch.no_grad()
def collect(sharded: nn.Module, target: nn.Module | None) -> None:
    """Copies the whole weights of a sharded module into `target`, its plain twin; None: only takes part."""
    twins = dict(target.named_parameters()) if target is not None else {}
    for name, parameter in sharded.named_parameters():
        found = whole(parameter)
        if target is not None:
            twins[name].copy_(found)
    if target is not None:
        buffers = dict(target.named_buffers())
        for name, buffer in sharded.named_buffers():
            buffers[name].copy_(buffer)


@torch.no_grad()
def spread(source: nn.Module, sharded: nn.Module) -> None:
    """Copies the weights of a plain module, the same in every process, into its sharded twin."""
    twins = dict(source.named_parameters())
    for name, parameter in sharded.named_parameters():
        parameter.copy_(share_of(twins[name], parameter))
    buffers = dict(source.named_buffers())
    for name, buffer in sharded.named_buffers():
        buffer.copy_(buffers[name])
