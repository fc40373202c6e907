"""The DAG of modules: a network declared as data, run in order, each value freed when unread.

    graph = Graph(
        {
            "stem": node(nn.Conv2d(3, 8, 5), "image"),
            "left": node(nn.ReLU(), "stem"),
            "right": node(nn.Tanh(), "stem"),
            "sum": node(Add(), "left", "right"),
        },
        inputs={"image": (3, 96, 96)},
        outputs=("sum",),
    )
    features = graph(images)
    layers = graph(images, wanted=("stem", "sum"))  # {"stem": ..., "sum": ...}

Shapes are without the batch dimension, which comes first in every tensor and may be any number.
To exchange a module, build another graph: `Graph({**graph.nodes, "sum": node(...)}, ...)`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from torch import Tensor, nn

from fewlabels import graph_backward, notebook
from fewlabels.errors import ConfigError, DataError
from fewlabels.graph_backward import Gradients, LossGradient, Recording
from fewlabels.graph_checks import (
    NodeFacts as NodeFacts,
)
from fewlabels.graph_checks import (
    check_inputs,
    check_names,
    execution_order,
    infer_shapes,
    known,
)
from fewlabels.graph_plans import Step, plan, run


@dataclass(frozen=True, eq=False)
class Node:
    """A module and the names of what it reads, given to it as positional arguments."""

    module: nn.Module
    inputs: tuple[str, ...]


def node(module: nn.Module, *inputs: str) -> Node:
    """A node that runs `module` on the values named `inputs`, in this order.

    Raises TypeError if `module` is no nn.Module, ConfigError if it reads nothing.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"a node runs an nn.Module; got {type(module).__name__}: wrap it in one")
    if not inputs:
        raise ConfigError(f"a node reads at least one value; {module} has none: name its inputs")
    return Node(module, inputs)


class _Layers(nn.ModuleDict):
    """Modules that stay: the steps hold them too, as a look-up by name costs 2 % of small ones."""

    def __setitem__(self, name: str, module: nn.Module) -> None:
        raise TypeError(
            f"the modules of a graph stay: build Graph({{**graph.nodes, {name!r}: ...}})"
        )

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"the modules of a graph stay: build another one without {name!r}")


class Graph(nn.Module):
    """A network as a directed acyclic graph of modules.

    Parameters
    ----------
    nodes : name -> node, or pairs of them; run in this order where every node reads only what
        stands above it, else sorted. A module may stand in several nodes and is then shared
    inputs : name -> shape without the batch dimension, in the order that `forward` takes them
    outputs : names of what `forward` returns

    Attributes
    ----------
    shapes : name -> shape without the batch dimension, of every input and node
    layers : name -> module, in order of execution; a module cannot be replaced

    Raises
    ------
    ConfigError : names that clash or are unknown, a cycle, or a node that cannot take its inputs
    """

    def __init__(
        self,
        nodes: Mapping[str, Node] | Iterable[tuple[str, Node]],
        inputs: Mapping[str, Sequence[int]],
        outputs: Sequence[str],
    ) -> None:
        super().__init__()
        pairs = list(nodes.items() if isinstance(nodes, Mapping) else nodes)
        for name, declared_node in pairs:
            if not isinstance(declared_node, Node):
                raise TypeError(f"{name!r} is a {type(declared_node).__name__}: use node(...)")
        self.inputs = check_inputs(inputs)
        check_names([*inputs, *(name for name, _ in pairs)], {n: d.inputs for n, d in pairs})
        declared = dict(pairs)
        self.outputs = known(outputs, [*inputs, *declared], "the graph has no output")
        if not self.outputs:
            raise ConfigError("a graph has at least one output; got none: name a node")
        order = execution_order(inputs, {name: declared[name].inputs for name in declared})
        self.sources = {name: declared[name].inputs for name in order}
        self.layers = _Layers()
        for name in order:
            try:
                self.layers.add_module(name, declared[name].module)
            except KeyError as error:
                raise ConfigError(
                    f"PyTorch keeps the name {name!r} for itself ({error.args[0]}): "
                    "give the node another"
                ) from None
        self.shapes = infer_shapes(dict(self.layers.items()), self.sources, self.inputs)
        self._frozen: set[str] = set()
        self._plans: dict[tuple[str, ...], tuple[Step, ...]] = {}
        self._input_shapes = list(self.inputs.values())
        self._any_size = False
        self._recording: Recording | None = None

    @property
    def nodes(self) -> dict[str, Node]:
        """name -> node, in order of execution (a copy: changing it changes nothing)."""
        return {name: Node(module, self.sources[name]) for name, module in self.layers.items()}

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the frozen nodes, in order of execution."""
        return tuple(name for name in self.layers if name in self._frozen)

    def forward(
        self, *tensors: Tensor, wanted: Sequence[str] | None = None
    ) -> Tensor | tuple[Tensor, ...] | dict[str, Tensor]:
        """Run what is needed for the outputs, or for the values `wanted` by name.

        Parameters
        ----------
        tensors : one per input, in the order of `inputs`, of shape (n_images, *shape)
        wanted : names of nodes or inputs; None for the outputs

        Returns
        -------
        the output tensor (a tuple, in order, where there are several outputs); with `wanted`,
        a dict name -> tensor. Every other value is freed after its last reader has run.

        Raises DataError if an input has another shape, ConfigError if a wanted name is unknown.
        """
        values = self._by_name(tensors)
        if wanted is None:
            asked = self.outputs
        else:
            asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        steps = self._plans.get(asked)
        if steps is None:
            known(asked, [*self.inputs, *self.layers], "the graph has no node or input")
            steps = self._plans[asked] = plan(asked, dict(self.layers.items()), self.sources)
        run(steps, values)
        if wanted is not None:
            return {name: values[name] for name in asked}
        return values[asked[0]] if len(asked) == 1 else tuple(values[name] for name in asked)

    def record(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs, as `forward` gives them, with every node remembered for one `backward`.

        Each module runs once, in its own mode (in training, running statistics move as in
        `forward`). The outputs know no history: PyTorch's own backward stops at them. All values
        stay in memory until `backward` or the next `record`.

        Raises DataError if an input has another shape.
        """
        self._recording = graph_backward.record(
            self.sources, dict(self.layers.items()), self._by_name(tensors), self.outputs
        )
        outputs = tuple(self._recording.outputs[name] for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def backward(self, loss_gradient: LossGradient) -> Gradients:
        """Backpropagation through what `record` remembered, which is used up; see `Gradients`.

        Parameters
        ----------
        loss_gradient : of the loss with respect to the output, of its shape; for several outputs
            a tuple in their order, or a dict by name, which may leave some out

        Raises ConfigError without a recording, DataError if a gradient is of another shape.
        """
        recording = self._recording
        if recording is None:
            raise ConfigError(
                "backward needs a recording, and each serves once: call graph.record(...) first"
            )
        values = graph_backward.gradients_of_outputs(recording.outputs, self.outputs, loss_gradient)
        self._recording = None
        walk = graph_backward.walk_back(recording.ran, values)
        parameters = dict(self.named_parameters())
        return graph_backward.add_up(walk, values, self.shapes, self.inputs, parameters)

    def _by_name(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        if [tensor.shape[1:] for tensor in tensors] == self._input_shapes:
            return dict(zip(self.inputs, tensors, strict=True))
        if self._any_size and len(tensors) == len(self.inputs):
            return dict(zip(self.inputs, tensors, strict=True))
        if len(tensors) != len(self.inputs):
            raise TypeError(f"the graph takes {', '.join(self.inputs)}; got {len(tensors)} tensors")
        pairs = zip(self.inputs.items(), tensors, strict=True)
        name, shape, got = next((n, s, t.shape) for (n, s), t in pairs if t.shape[1:] != s)
        raise DataError(
            f"input {name!r} is of shape ({', '.join(('n_images', *map(str, shape)))}); "
            f"got {tuple(got)}: resize the images, or build the graph for their size"
        )

    @contextmanager
    def any_size(self) -> Iterator[None]:
        """Inside the block inputs may have any height and width that the modules can take."""
        self._any_size = True
        try:
            yield
        finally:
            self._any_size = False

    def freeze(self, *names: str) -> Self:
        """Fix the nodes `names` (all, if none is named): parameters and running statistics.

        A frozen node stays in evaluation mode under `train()`. A node that shares its module
        with a named one is frozen with it.
        """
        self._frozen |= self._sharing(names)
        self._hold_frozen()
        return self

    def unfreeze(self, *names: str) -> Self:
        """Let the nodes `names` (all, if none is named) learn again: all of their parameters."""
        thawed = self._sharing(names)
        self._frozen -= thawed
        for name in thawed:
            self.layers[name].requires_grad_(True).train(self.training)
        self._hold_frozen()
        return self

    def train(self, mode: bool = True) -> Self:
        """As for any module, except that frozen nodes stay in evaluation mode."""
        super().train(mode)
        self._hold_frozen()
        return self

    def _hold_frozen(self) -> None:
        for name in self._frozen:
            # requires_grad_(False) alone lets running statistics drift
            self.layers[name].requires_grad_(False).eval()

    def _sharing(self, names: Sequence[str]) -> set[str]:
        """`names` (all, if there are none) and the nodes with the same modules."""
        modules = {self.layers[name] for name in known(names, self.layers, "the graph has no node")}
        return {name for name in self.layers if not names or self.layers[name] in modules}

    def _repr_html_(self) -> str:
        """For notebooks: the drawing, and what modules show of themselves."""
        from fewlabels import drawing  # which draws graphs, so it loads this file

        tellers = (getattr(one, "_repr_html_", None) for one in dict.fromkeys(self.layers.values()))
        parts = [tell() for tell in tellers if callable(tell)]
        title = f"a network of {len(self.layers)} modules"
        svg = notebook.drawing(drawing.as_svg(self), drawing.as_text(self))
        return notebook.block(title, [svg, *parts])

    def describe(self) -> tuple[NodeFacts, ...]:
        """The facts of every node, in order of execution; `drawing` makes pictures of them."""
        first_with: dict[nn.Module, str] = {}
        facts = []
        for name, module in self.layers.items():
            first = first_with.setdefault(module, name)
            facts.append(
                NodeFacts(
                    name=name,
                    module=module,
                    inputs=self.sources[name],
                    shape=self.shapes[name],
                    n_parameters=sum(p.numel() for p in module.parameters()),
                    n_buffer_values=sum(b.numel() for b in module.buffers()),
                    frozen=name in self._frozen,
                    is_output=name in self.outputs,
                    shared_with=None if first == name else first,
                )
            )
        return tuple(facts)
