"""Forward hooks are part of the graph or refused by name; wrappers are taken off or refused by name."""

import pytest
import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub, fuse_modules, get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

import mpq_plugins as mpq
from integration_tests.reading.converting import converted, error_of, searched
from mpq_torch import fx
from mpq_torch.reader.reading import read_model

X = torch.randn(16, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


def test_what_a_hook_adds_on_grids_is_computed_on_grids():
    model = network()
    model[0].register_forward_hook(lambda module, given, output: torch.relu(output + output))
    graph = read_model(model, (X,)).graph
    assert [node.op for node in graph.nodes] == ["argument", "input", "conv2d", "add", "conv2d"]
    assert error_of(converted(model, X), model, X) < 0.05


@pytest.mark.parametrize(
    ("register", "hook", "name"),
    [
        ("register_forward_pre_hook", lambda module, given: (torch.cumsum(given[0], 1),), "0__hooks.cumsum"),
        ("register_forward_hook", lambda module, given, output: torch.cumprod(output, 1), "0__hooks.cumprod"),
    ],
)
def test_what_a_hook_adds_without_an_integer_form_is_float(register, hook, name):
    model = network()
    getattr(model[0], register)(hook)
    assert searched(model, X).float_ops == (name,)
    assert error_of(converted(model, X), model, X) < 0.05


def test_a_hook_on_a_container_belongs_to_the_graph():
    model = nn.Sequential(network()[:2], nn.Conv2d(8, 4, 1)).eval()
    model[0].register_forward_hook(lambda module, given, output: output + output)
    assert "add" in [node.op for node in read_model(model, (X,)).graph.nodes]
    converted(model, X)


def test_a_hook_that_only_looks_on_sees_tensors_and_changes_nothing():
    model, seen = network(), []
    model[0].register_forward_hook(lambda module, given, output: seen.append(output.detach().numpy().shape))
    converted(model, X)
    assert set(seen) <= {(n, 8, 7, 7) for n in range(1, 17)}


SEEN = {}


class Recording(nn.Module):
    """What two hooks record is joined at the end. hooks: makes the hook of the first layer, and that of the second."""

    def __init__(self, hooks, first=lambda model: model.seen["a"], second=lambda model: model.seen["b"]):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.head, self.seen, self.first, self.second = nn.Conv2d(16, 4, 1), SEEN, first, second
        for layer, hook in zip((self.a, self.b), hooks(self), strict=True):
            layer.register_forward_hook(hook)

    def keep(self, module, given, output):
        self.seen["a" if module is self.a else "b"] = output

    def forward(self, x):
        self.b(self.a(x))
        return self.head(torch.cat([self.first(self), self.second(self)], 1))


def into_a_global(model):
    def made(name):
        def hook(module, given, output):
            SEEN[name] = output

        return hook

    return made("a"), made("b")


def into_a_closure(model):
    model.seen = {}
    return lambda m, i, o: model.seen.update(a=o), lambda m, i, o: model.seen.update(b=o)


def of_a_method(model):
    model.seen = {}
    return model.keep, model.keep


def into_layers(model):
    model.first, model.second = (lambda own: own.a.seen), (lambda own: own.b.seen)
    return (lambda module, given, output: setattr(module, "seen", output),) * 2


@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize("hooks", [into_a_global, into_a_closure, of_a_method, into_layers])
def test_what_hooks_record_and_forward_reads_is_part_of_the_graph(hooks, called_before):
    torch.manual_seed(0)
    model = Recording(hooks).eval()
    if called_before:
        model(torch.zeros(2, 3, 9, 9))
    nodes = read_model(model, (X,)).graph.nodes
    assert [node.op for node in nodes] == ["argument", "input", "conv2d", "conv2d", "concat", "conv2d"]
    assert nodes[-2].inputs == ("a", "b.0")
    assert error_of(converted(model, X), model, X) < 0.2
    SEEN.clear()


def test_a_forward_that_is_set_from_outside_is_that_of_the_copy_that_is_read():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    model.forward = lambda x: model[1](model[0](x)) + 1
    assert "0" in [node.name for node in read_model(model, (X,)).graph.nodes]


def test_a_hook_on_the_model_itself_is_refused_by_name():
    def doubles(module, given, output):
        return output * 2

    model = network()
    model.register_forward_hook(doubles)
    with pytest.raises(mpq.ModelError, match=r"forward hook of its own.*doubles.*on a module inside"):
        searched(model, X)


def test_what_a_hook_writes_into_a_tensor_belongs_to_the_graph():
    def writes(module, given, output):
        output.mul_(2)

    model = network()
    model[0].register_forward_hook(writes)
    assert error_of(converted(model, X), model, X) < 0.05


WRAPPED = {
    "DataParallel": lambda model: nn.DataParallel(model),
    "compiled": lambda model: torch.compile(model),
    "averaged": lambda model: torch.optim.swa_utils.AveragedModel(model),
    "twice": lambda model: torch.compile(nn.DataParallel(model)),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_model_is_the_model_inside(kind):
    model = network()
    recipe = searched(WRAPPED[kind](model), X)
    assert recipe == searched(model, X)
    on_grid = fx.constrain(WRAPPED[kind](model), recipe, [X])
    fx.verify(fx.quantize(on_grid, recipe, X), fx.simulate(on_grid, recipe), [X]).raise_if_different()


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_wrapped_module_inside_a_model_is_the_module_itself(kind):
    model = nn.Sequential(WRAPPED[kind](network()), nn.Conv2d(4, 2, 1)).eval()
    assert "0.0.weight" in [site.name for site in fx.inventory(model, X)]
    converted(model, X)


def test_a_wrapped_model_can_be_trained():
    search = fx.Search(nn.DataParallel(network()), X, target="torch-x86", weight_bits=4, activation_bits=8)
    assert type(search.float_model()) is nn.Sequential


@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, X)])
def test_a_scripted_model_is_refused_with_the_way_out(make):
    with pytest.raises(mpq.ModelError, match=r"the model is scripted .*; pass the module that it was made of"):
        searched(make(network()), X)
    with pytest.raises(mpq.ModelError, match=r"module '0' is scripted"):
        searched(nn.Sequential(make(network()), nn.ReLU()), X)


def prepared(model):
    return prepare_fx(model, get_default_qconfig_mapping("x86"), (X,))


def observed(model):
    prepared_model = prepared(model)
    prepared_model(X)
    return prepared_model


CHANGED = {
    "prepared": (prepared, r"activation_post_process_0 is a HistogramObserver of a model that was prepared"),
    "converted": (lambda model: convert_fx(observed(model)), r"of a converted model; pass the float model"),
    "exported": (lambda model: torch.export.export(model, (X,)).module(), "exported by torch.export.*pass the module"),
    "a program": (lambda model: torch.export.export(model, (X,)), "got ExportedProgram; pass the module"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_model_that_torch_has_changed_already_is_refused_with_the_way_out(kind):
    change, sentence = CHANGED[kind]
    with pytest.raises(mpq.ModelError, match=sentence):
        searched(change(network()), X)


class Quantizable(nn.Module):
    """A model as torch.ao's eager mode wants it: stubs, functions as modules, fused layers."""

    def __init__(self):
        super().__init__()
        self.quant, self.dequant, self.functions = QuantStub(), DeQuantStub(), nn.quantized.FloatFunctional()
        self.first = fuse_modules(
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval(), ["0", "1", "2"]
        )
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x):
        y = self.first(self.quant(x))
        joined = self.functions.cat([self.functions.add_relu(y, y), self.functions.mul_scalar(y, 0.5)], 1)
        return self.dequant(self.last(joined)) / torch.sqrt(torch.tensor(x.shape[1]))


def test_a_model_written_to_be_quantized_by_torch_is_a_float_model():
    torch.manual_seed(0)
    model = Quantizable().eval()
    assert searched(model, X).float_ops == ()
    assert error_of(converted(model, X), model, X) < 0.05


def test_a_module_named_by_a_word_of_python_s_is_refused_by_name():
    model = network()
    model.add_module("class", nn.Conv2d(4, 2, 1))
    with pytest.raises(mpq.ModelError, match=r"called 'class', a word of Python's own.*rename it"):
        searched(model, X)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_type_is_refused_with_the_way_out(dtype):
    with pytest.raises(mpq.ModelError, match=r"0\.weight is .*float.*; pass model\.float\(\), and inputs\.float\(\)"):
        searched(network().to(dtype), X.to(dtype))
    with pytest.raises(mpq.ModelError, match=r"argument 0 is .*float"):
        searched(network(), X.to(dtype))
