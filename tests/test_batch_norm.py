"""Batch normalization with activation equals torch's pair, and keeps less for the way back."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fewlabels import batch_norm_gradient
from fewlabels.batch_norm import BatchNormActivation
from fewlabels.batch_norm_gradient import ACTIVATIONS
from fewlabels.errors import ConfigError
from fewlabels.graph import Graph, node
from fewlabels.graph_files import load, save

OF_TORCH = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
LAYOUTS = {
    "channels_last": ((4, 3, 5, 6), torch.channels_last),
    "contiguous": ((4, 3, 5, 6), torch.contiguous_format),
    "flat": ((7, 3), torch.contiguous_format),
}
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


@pytest.fixture(params=["torch's kernel", "blocks"])
def way_back(request, monkeypatch) -> None:
    """Both ways of the backward pass, whatever the size: at once, and in place by blocks."""
    if request.param == "blocks":
        monkeypatch.setattr(batch_norm_gradient, "LARGE_BYTES", {False: 0, True: 0})
        monkeypatch.setattr(batch_norm_gradient, "BLOCK_VALUES", 50)


def drawn(shape: tuple[int, ...], layout: torch.memory_format, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values.contiguous(memory_format=layout)


def both(activation: str, n_channels: int = 3) -> tuple[BatchNormActivation, nn.Sequential]:
    """The module and torch's pair in the same state, which is not the initial one."""
    own = BatchNormActivation(n_channels, activation)
    with torch.no_grad():
        own.weight.copy_(torch.linspace(-1.5, 2, n_channels))
        own.bias.copy_(torch.linspace(0.7, -0.4, n_channels))
        own.running_mean.copy_(torch.linspace(-1, 1, n_channels))
        own.running_var.copy_(torch.linspace(0.5, 2, n_channels))
    norm = nn.BatchNorm2d(n_channels)
    norm.load_state_dict(own.state_dict())
    return own, nn.Sequential(norm, OF_TORCH[activation]())


def through(module: nn.Module, maps: Tensor, gradient: Tensor) -> Iterator[Tensor]:
    """Output, gradients of input, weight and bias, and the state, after one pass there and back."""
    maps = maps.detach().requires_grad_()
    output = module(maps)
    output.backward(gradient.to(output.dtype))
    norm = module[0] if isinstance(module, nn.Sequential) else module
    yield from (output.detach(), maps.grad, norm.weight.grad, norm.bias.grad)
    yield from (value.detach() for value in norm.state_dict().values())


def assert_equal(expected: Iterator[Tensor], found: Iterator[Tensor], **tolerance: float) -> None:
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, **tolerance)


@pytest.mark.usefixtures("way_back")
@every_activation
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_is_that_of_finite_differences(activation, layout, training):
    own = both(activation)[0].double().train(training)
    shape, order = LAYOUTS[layout]
    maps = drawn((3, 3, 2, 2) if len(shape) == 4 else shape, order)

    def run(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        parameters = {"weight": weight, "bias": bias}
        buffers = {name: buffer.clone() for name, buffer in own.named_buffers()}
        return torch.func.functional_call(own, {**parameters, **buffers}, maps)

    given = (maps.requires_grad_(), own.weight, own.bias)

    assert torch.autograd.gradcheck(run, given)


@pytest.mark.usefixtures("way_back")
@every_activation
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("training", [True, False])
def test_it_equals_torch_s_pair(activation, layout, training):
    shape, order = LAYOUTS[layout]
    own, pair = both(activation)
    if len(shape) == 2:
        pair[0] = nn.BatchNorm1d(3)
        pair[0].load_state_dict(own.state_dict())
    own.train(training), pair.train(training)
    maps, gradient = (drawn(shape, order, seed).float() for seed in range(2))

    for _ in range(2):
        assert_equal(
            through(pair, maps, gradient), through(own, maps, gradient), atol=1e-5, rtol=1e-5
        )


@every_activation
@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 4), (6, 3, 1, 1), (2, 3, 1, 1), (5, 3, 7), (2, 3, 2, 3, 4)]
)
def test_it_equals_torch_s_pair_for_one_image_one_pixel_and_other_numbers_of_sides(
    activation, shape
):
    own, pair = both(activation)
    if len(shape) != 4:
        pair[0] = (nn.BatchNorm1d if len(shape) == 3 else nn.BatchNorm3d)(3)
        pair[0].load_state_dict(own.state_dict())
    maps, gradient = (drawn(shape, torch.contiguous_format, seed).float() for seed in range(2))

    assert_equal(through(pair, maps, gradient), through(own, maps, gradient), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("way_back")
@every_activation
@pytest.mark.parametrize("far", [1.0, 10.0])
def test_it_equals_torch_s_pair_for_weights_that_cannot_be_undone(activation, far):
    own, pair = both(activation, n_channels=5)
    weights = torch.tensor([0.0, -1.0, 1e-6, 3.0, 1e-20])
    for module in (own, pair[0]):
        module.weight.data.copy_(weights)
    maps, gradient = (drawn((8, 5, 4, 4), torch.channels_last, seed).float() for seed in range(2))

    assert_equal(
        through(pair, maps + far, gradient),
        through(own, maps + far, gradient),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.usefixtures("way_back")
@every_activation
def test_constant_channels_give_the_activated_bias_and_no_nan(activation):
    own, pair = both(activation)
    maps = torch.tensor([0.0, 1.0, -0.5]).view(1, 3, 1, 1).expand(4, 3, 2, 2)
    gradient = drawn((4, 3, 2, 2), torch.contiguous_format).float()
    expected = OF_TORCH[activation]()(own.bias.detach()).view(1, 3, 1, 1).expand(4, 3, 2, 2)
    found = list(through(own, maps, gradient))

    # a difference of one unit in the last place is divided by sqrt(eps)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=0)
    assert all(value.isfinite().all() for value in found)
    assert_equal(through(pair, maps, gradient), iter(found), atol=1e-5, rtol=1e-4)


@every_activation
def test_a_single_value_has_no_variance_to_learn_from(activation):
    own, _ = both(activation)
    own.momentum = 0.25
    mean_before, variance_before = own.running_mean.clone(), own.running_var.clone()
    maps = torch.tensor([[0.5, -1.0, 0.0]], requires_grad=True)
    output = own(maps)
    output.sum().backward()
    expected = OF_TORCH[activation]()(own.bias)

    torch.testing.assert_close(output[0], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(own.running_mean, 0.75 * mean_before + 0.25 * maps[0].detach())
    assert torch.equal(variance_before, own.running_var)
    torch.testing.assert_close(maps.grad, torch.zeros(1, 3), atol=0.1, rtol=0)
    assert all(p.grad.isfinite().all() for p in own.parameters())


@every_activation
def test_no_images_give_no_images(activation):
    own, _ = both(activation)
    before = own.running_mean.clone()
    maps = torch.empty(0, 3, 4, 4, requires_grad=True)
    own(maps).sum().backward()

    assert (0, 3, 4, 4) == maps.grad.shape
    assert torch.equal(before, own.running_mean)


def test_running_statistics_by_hand():
    own = BatchNormActivation(1, "identity", eps=1.0, momentum=0.5)
    output = own(torch.tensor([[1.0], [3.0]]))  # mean 2, variance 1, unbiased 2

    torch.testing.assert_close(output, torch.tensor([[-1.0], [1.0]]) / 2**0.5)
    assert [1.0, 1.5, 1] == [own.running_mean, own.running_var, own.num_batches_tracked]


def test_without_momentum_the_running_mean_is_that_of_all_batches():
    own, norm = BatchNormActivation(3, momentum=None), nn.BatchNorm1d(3, momentum=None)
    for seed in range(4):
        maps = drawn((6, 3), torch.contiguous_format, seed).float()
        own(maps), norm(maps)

    torch.testing.assert_close(own.running_mean, norm.running_mean)
    torch.testing.assert_close(own.running_var, norm.running_var)


@pytest.mark.usefixtures("way_back")
@every_activation
@pytest.mark.parametrize("layout", LAYOUTS)
def test_low_precision_is_as_near_to_the_truth_as_torch_s_pair(activation, layout):
    shape, order = LAYOUTS[layout]
    shape = (64, *shape[1:])
    own, pair = both(activation)
    if len(shape) == 2:
        pair[0] = nn.BatchNorm1d(3)
        pair[0].load_state_dict(own.state_dict())
    truth = nn.Sequential(type(pair[0])(3).double(), pair[1])
    truth[0].load_state_dict(own.state_dict())
    maps, gradient = (drawn(shape, order, seed).bfloat16() for seed in range(2))
    exact = list(through(truth, maps.double(), gradient.double()))

    for found, of_torch, right in zip(
        through(own, maps, gradient), through(pair, maps, gradient), exact, strict=True
    ):
        # where h is g, which is not rounded, torch's sum h x' is exact, and ours rounds x'
        room = 4e-3 if activation == "identity" else 2e-3
        room *= right.double().abs().max().item()
        error = (found.double() - right).abs().max().item()
        assert of_torch.dtype == found.dtype
        assert error <= 1.5 * (of_torch.double() - right).abs().max().item() + room


@pytest.mark.usefixtures("way_back")
@every_activation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_that_is_in_low_precision_itself_has_statistics_in_float32(activation, dtype):
    own, pair = both(activation)
    maps, gradient = (
        drawn((64, 3, 4, 4), torch.channels_last, seed).to(dtype) for seed in range(2)
    )
    expected = through(pair, maps.float(), gradient.float())

    for one, other in zip(expected, through(own.to(dtype), maps, gradient), strict=True):
        assert other.dtype in (dtype, torch.long)
        torch.testing.assert_close(other.to(one.dtype), one, atol=0.05, rtol=0.02)


@every_activation
def test_autocast_changes_nothing_but_the_convolution(activation):
    own, _ = both(activation)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), own, nn.Conv2d(3, 2, 3))
    with torch.autocast("cpu", torch.bfloat16):
        net(drawn((4, 2, 9, 9), torch.channels_last).float()).float().square().sum().backward()

    assert torch.float32 == own.weight.grad.dtype == own.running_mean.dtype
    assert all(p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in net.parameters())


def test_a_gradient_that_lies_otherwise_in_memory_is_the_same_gradient():
    own, pair = both("gelu")
    maps = drawn((4, 3, 5, 6), torch.channels_last).float()
    gradient = torch.ones(()).expand(4, 3, 5, 6)
    turned = drawn((6, 3, 5, 4), torch.contiguous_format).float().permute(3, 1, 2, 0)

    for given in (maps, turned, maps[::2]):
        part = gradient[: len(given)]
        assert_equal(through(pair, given, part), through(own, given, part), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", ["maps", "weight", "bias", "maps weight", "weight bias"])
@pytest.mark.usefixtures("way_back")
@pytest.mark.parametrize("training", [True, False])
def test_gradients_that_nobody_wants_are_not_made(frozen, training):
    own, pair = both("silu")
    maps, upstream = (drawn((4, 3, 5, 6), torch.channels_last, seed).float() for seed in range(2))
    found = []
    for module, norm in ((own, own), (pair, pair[0])):
        module.train(training)
        given = {"maps": maps.clone(), "weight": norm.weight, "bias": norm.bias}
        for name, tensor in given.items():
            tensor.requires_grad_(name not in frozen.split())
        module(given["maps"]).backward(upstream)
        found.append([tensor.grad for tensor in given.values()])

    for own_gradient, of_torch in zip(*found, strict=True):
        assert (own_gradient is None) == (of_torch is None)
        if of_torch is not None:
            torch.testing.assert_close(own_gradient, of_torch, atol=1e-5, rtol=1e-5)


def kept_bytes(module: nn.Module, maps: Tensor) -> int:
    """Bytes kept for the way back, each piece of memory once, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # memory that is freed could come again under the same address

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held.append(tensor)
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(maps)
    assert output.requires_grad
    return sum(sizes.values())


def chain(norms: list[nn.Module]) -> nn.Sequential:
    convolutions = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(len(norms) + 1)]
    layers = [layer for pair in zip(convolutions, norms, strict=False) for layer in pair]
    return nn.Sequential(*layers, convolutions[-1])


@pytest.mark.parametrize(
    "activation, dtype, kept, of_torch",
    [
        ("gelu", torch.float32, 2, 3),
        ("silu", torch.float32, 2, 3),
        ("leaky-relu", torch.float32, 1, 3),
        ("identity", torch.float32, 1, 2),
        ("relu", torch.float32, 2, 2),
        ("gelu", torch.bfloat16, 2, 3),
        ("silu", torch.bfloat16, 2, 3),
        ("leaky-relu", torch.bfloat16, 2, 3),
        ("identity", torch.bfloat16, 1, 2),
        ("relu", torch.bfloat16, 2, 2),
    ],
)
@pytest.mark.usefixtures("way_back")
def test_less_is_kept_for_the_way_back_between_convolutions(activation, dtype, kept, of_torch):
    maps = drawn((16, 8, 8, 8), torch.channels_last).to(dtype)
    own = chain([BatchNormActivation(8, activation) for _ in range(4)]).to(dtype)
    pairs = chain([nn.Sequential(nn.BatchNorm2d(8), OF_TORCH[activation]()) for _ in range(4)])
    in_tensors = [kept_bytes(net, maps) / maps.nbytes for net in (own, pairs.to(dtype))]

    # the input of the first convolution beside; statistics are small
    assert in_tensors == pytest.approx([1 + 4 * kept, 1 + 4 * of_torch], rel=0.02)


def test_nothing_is_kept_where_nobody_asks_for_gradients():
    own, pair = both("gelu")
    maps = drawn((4, 3, 5, 6), torch.channels_last).float().requires_grad_()
    with torch.no_grad():
        output = own(maps)

    assert not output.requires_grad
    torch.testing.assert_close(output, pair(maps).detach(), atol=1e-5, rtol=1e-5)


def test_the_state_loads_into_torch_s_module_and_back():
    own, norm = BatchNormActivation(3), nn.BatchNorm2d(3)
    own(drawn((4, 3, 5, 6), torch.channels_last).float())
    norm.load_state_dict(own.state_dict())
    back = BatchNormActivation(3)
    back.load_state_dict(norm.state_dict())

    assert list(own.state_dict()) == list(norm.state_dict())
    assert all(torch.equal(v, back.state_dict()[k]) for k, v in own.state_dict().items())


def test_a_graph_with_it_is_saved_loaded_and_frozen(tmp_path):
    graph = Graph(
        {"norm": node(BatchNormActivation(3, "silu", eps=1e-3, momentum=None), "image")},
        inputs={"image": (3, 5, 6)},
        outputs=("norm",),
    )
    images = drawn((4, 3, 5, 6), torch.channels_last).float()
    graph(images)
    save(graph.freeze("norm").train(), tmp_path)
    loaded = load(tmp_path).train()
    before = loaded.layers["norm"].running_mean.clone()

    assert torch.equal(graph(images), loaded(images))
    assert torch.equal(before, loaded.layers["norm"].running_mean)
    assert "3, silu, eps=0.001, momentum=None" in repr(loaded)


def test_it_can_be_exported():
    own, _ = both("gelu")
    maps = drawn((4, 3, 5, 6), torch.contiguous_format).float()
    exported = torch.export.export(own.eval(), (maps,))

    torch.testing.assert_close(exported.module()(maps), own(maps), atol=1e-5, rtol=1e-5)


def test_wrong_arguments_are_refused_in_one_line():
    with pytest.raises(ValueError, match="identity, relu, leaky-relu, gelu, silu; got 'tanh'"):
        BatchNormActivation(3, "tanh")
    with pytest.raises(ValueError, match="eps is above 0"):
        BatchNormActivation(3, eps=0.0)
    with pytest.raises(ValueError, match="momentum is in"):
        BatchNormActivation(3, momentum=2.0)
    with pytest.raises(ValueError, match=r"shape \(N, 3, ...\); got \(2, 4, 5, 5\)"):
        BatchNormActivation(3)(torch.zeros(2, 4, 5, 5))
    with pytest.raises(ConfigError, match="node 'norm'"):
        Graph({"norm": node(BatchNormActivation(3), "image")}, {"image": (4, 5, 5)}, ("norm",))
