"""Either library may be missing: mpq_torch imports all the same, and says what to use instead."""

import json
import subprocess
import sys

import pytest

BRANCHES = """
import json, os, sys, traceback, warnings
warnings.simplefilter("ignore")
import torch, torch.export, torch._dynamo, mpq_plugins.search.sweep  # what takes time and needs neither library
folder, cases, shared = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
for name, (blocked, target, script) in cases.items():
    if os.fork() == 0:
        sys.stdout = open(f"{folder}/{name}", "w")
        sys.modules.update(dict.fromkeys(blocked))
        try:
            exec(shared + script, {"target": target})
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""

SHARED = """
import torch
from torch import nn
import mpq_plugins as mpq
import mpq_torch
from mpq_torch import fx
model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(16, 4)
recipe = fx.search(model, [x], target, weight_bits=4, activation_bits=8)
simulated = fx.simulate(fx.constrain(model, recipe), recipe)
def message(call):
    try:
        call()
    except mpq.MPQError as error:
        return str(error)
    return "no error"
def import_pt2e():
    from mpq_torch import pt2e
"""

FX_SCRIPT = """
print(message(lambda: fx.quantize(model, recipe, x)))
from mpq_torch import pt2e
pt2e.verify(pt2e.quantize(model, recipe, x), simulated, x).raise_if_different()
print("pt2e")
"""

CASES = {
    "torchao": (["torchao"], "torch-x86", "print(message(import_pt2e)); fx.quantize(model, recipe, x); print('fx')"),
    "fx": (["torch.ao.quantization.quantize_fx"], "torch-pt2e", FX_SCRIPT),
    "both": (
        ["torch.ao.quantization", "torchao"],
        "torch-x86",
        "print(message(lambda: fx.get_qconfig_mapping(recipe)), simulated(x).shape)",
    ),
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each case prints, of a process without its libraries: a branch of one that has imported the rest."""
    folder = tmp_path_factory.mktemp("printed")
    command = [sys.executable, "-c", BRANCHES, str(folder), json.dumps(CASES), SHARED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {name: (folder / name).read_text() for name in CASES}


def test_without_torchao_fx_works_and_pt2e_says_what_to_install(printed):
    assert "mpq_torch.pt2e needs torchao" in printed["torchao"]
    assert "pip install 'mpq-plugins[pt2e]'" in printed["torchao"]
    assert printed["torchao"].endswith("fx\n")


def test_without_torch_ao_s_fx_mode_pt2e_works_and_fx_says_to_use_it(printed):
    assert "this torch has no FX graph mode quantization" in printed["fx"]
    assert "use mpq_torch.pt2e" in printed["fx"]
    assert printed["fx"].endswith("pt2e\n")


def test_without_all_of_torch_ao_and_torchao_search_and_simulation_work(printed):
    assert "use mpq_torch.pt2e" in printed["both"]
    assert "torch.Size([16, 2])" in printed["both"]
