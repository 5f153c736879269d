"""The encoder on a processor: each convolution of the CNN is one call of oneDNN, with all that follows it folded in.

    convolution ─► batch norm ─► activation      one pass over channels-last tensors

Batch norm goes into weights and bias, in float32; the activation is worked out while the sums are still in registers;
weights are bfloat16 where the processor multiplies it, and laid out once as oneDNN reads them fastest. These are the
operations that torch.compile would choose, without its compiler. `torch.fx` shows what follows what, so that nothing is
folded that something else reads too; what isn't recognised runs as it is.
"""

import copy
from operator import attrgetter

import torch
from timm.layers import BatchNormAct2d, Conv2dSame, DropPath
from timm.layers.padding import get_same_padding
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tweetcap.data.precision import supports_bfloat16
from tweetcap.model import TweetCapEncoderOutput
from tweetcap.model.modeling_tweetcap import TweetCapEncoder

CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
ACTIVATIONS = {nn.ReLU: "relu", nn.SiLU: "swish", nn.Hardswish: "hardswish"}  # as oneDNN calls them
WITHOUT_EFFECT = (nn.Identity, _DropoutNd, DropPath)  # in evaluation


class FastEncoder:
    """Answers as the encoder that it was made from, in float32, at a multiple of its speed; threads may share it.

    Args:
        encoder: on a CPU, in evaluation mode. Its weights are copied as they are now, and are left alone.
    """

    def __init__(self, encoder: TweetCapEncoder):
        if encoder.training:
            raise ValueError("The encoder is in training mode; call its eval() before it is made fast.")
        self._encoder = encoder
        if not torch.backends.mkldnn.is_available():
            return
        dtype = torch.bfloat16 if supports_bfloat16(torch.device("cpu")) else torch.float32
        try:
            folded = _FoldedNetwork(encoder.cnn, dtype)
        except Exception:  # whatever a network raises whose code asks for values and so can't be followed
            return
        # The same encoder around another CNN, so that regions and concepts are made in one place alone.
        self._encoder = copy.copy(encoder)
        self._encoder._modules = encoder._modules | {"cnn": folded}

    @torch.inference_mode()
    def __call__(self, pixel_values: torch.Tensor) -> TweetCapEncoderOutput:
        """Encode photos (batch, 3, height, width), normalised by the image processor, in any memory format."""
        return self._encoder(pixel_values)


class _FoldedNetwork(nn.Module):
    """A timm network's `forward_features`, with everything folded that can be, in its own copy of the weights."""

    def __init__(self, cnn: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        self.folded = fold(cnn, dtype)

    def forward_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the feature map (batch, channels, rows, columns), float32."""
        return self.folded(pixel_values.to(self.dtype, memory_format=torch.channels_last)).float()


class _Convolution(nn.Module):
    """A convolution, the batch norm behind it in its weights and the activation behind that in oneDNN's call."""

    def __init__(self, module: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: tuple, dtype: torch.dtype):
        super().__init__()
        self.same_padding = isinstance(module, Conv2dSame)
        self.kernel_size, self.stride, self.dilation = module.kernel_size, module.stride, module.dilation
        self.padding, self.groups = module.padding, module.groups
        self.activation = activation
        weight, bias = module.weight, module.bias
        if norm is not None:
            figures = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
            weight, bias = fuse_conv_bn_weights(weight, bias, *figures)
        self.weight = weight.detach().to(dtype, copy=True, memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(dtype, copy=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        padding = self.padding
        if self.same_padding:
            inputs, padding = self._pad(inputs)
        weight = self.weight
        if not weight.is_mkldnn:
            # The best layout hangs on the size of the input. Threads that meet here both lay out the same weights.
            self.weight = weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight, padding, self.stride, self.dilation, self.groups, inputs.shape
            )
        return torch.ops.mkldnn._convolution_pointwise.default(
            inputs, weight, self.bias, padding, self.stride, self.dilation, self.groups, *self.activation
        )

    def _pad(self, inputs: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return inputs and the padding that they still need: oneDNN's call knows only the symmetric kind."""
        height, width = map(get_same_padding, inputs.shape[2:], self.kernel_size, self.stride, self.dilation)
        if height % 2 == width % 2 == 0:
            return inputs, (height // 2, width // 2)
        top, left = height // 2, width // 2
        return F.pad(inputs, (left, width - left, top, height - top)), (0, 0)


class _Tracer(fx.Tracer):
    traced_func_name = "forward_features"

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.BatchNorm2d) or next(module.children(), None) is None


def fold(cnn: nn.Module, dtype: torch.dtype) -> fx.GraphModule:
    """Return a network that computes `forward_features` of a timm network in evaluation mode, convolutions folded."""
    graph = _Tracer().trace(cnn)
    modules = dict(cnn.named_modules(remove_duplicate=False))

    def follower(node: fx.Node) -> tuple[fx.Node | None, nn.Module | None]:
        """Return the one node that reads this one, and its module; None where several do or it calls no module."""
        reader = next(iter(node.users)) if len(node.users) == 1 else None
        return reader, modules[reader.target] if reader is not None and reader.op == "call_module" else None

    def swallow(node: fx.Node) -> None:
        node.replace_all_uses_with(node.args[0])
        graph.erase_node(node)

    for node in graph.find_nodes(op="call_module"):
        if isinstance(modules[node.target], WITHOUT_EFFECT):
            swallow(node)
    parts: dict[str, object] = {}  # what the new network is made of
    for node in graph.find_nodes(op="call_module"):
        module = modules[node.target]
        if type(module) not in CONVOLUTIONS or isinstance(module.padding, str) or module.padding_mode != "zeros":
            continue
        reader, norm = follower(node)
        if type(norm) not in NORMS or norm.running_mean is None:
            norm = None
        elif type(norm) is BatchNormAct2d and not isinstance(norm.act, WITHOUT_EFFECT):
            reader.target += ".act"  # what is left to do where the norm was
        else:
            swallow(reader)
        reader, follows = follower(node)
        activation = ("none", (), "")
        if isinstance(follows, nn.Hardtanh):  # ReLU6 among them
            activation = ("hardtanh", (follows.min_val, follows.max_val), "")
        elif type(follows) in ACTIVATIONS:
            activation = (ACTIVATIONS[type(follows)], (), "")
        if activation[0] != "none":
            swallow(reader)
        node.target = f"convolution_{len(parts)}"  # a name of its own: a network may use one module in two places
        parts[node.target] = _Convolution(module, norm, activation, dtype)
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target not in parts:
            parts[node.target] = copy.deepcopy(attrgetter(node.target)(cnn))
    graph.lint()
    return fx.GraphModule(parts, graph).eval().to(dtype)
