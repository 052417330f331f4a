"""Either library may be missing: mpq_torch imports all the same, and says what to use instead."""

import subprocess
import sys

WITHOUT = """
import sys, warnings
warnings.simplefilter("ignore")
import torch
from torch import nn
for name in {blocked!r}:
    sys.modules[name] = None
import mpq_plugins as mpq
import mpq_torch
from mpq_torch import fx
model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval(), torch.randn(16, 4)
recipe = fx.search(model, [x], {target!r}, weight_bits=4, activation_bits=8)
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


def printed(blocked, target, script):
    program = WITHOUT.format(blocked=blocked, target=target) + script
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_torchao_fx_works_and_pt2e_says_what_to_install():
    text = printed(["torchao"], "torch-x86", "print(message(import_pt2e)); fx.quantize(model, recipe, x); print('fx')")
    assert "mpq_torch.pt2e needs torchao" in text
    assert "pip install 'mpq-plugins[pt2e]'" in text
    assert text.endswith("fx\n")


FX_SCRIPT = """
print(message(lambda: fx.quantize(model, recipe, x)))
from mpq_torch import pt2e
pt2e.verify(pt2e.quantize(model, recipe, x), simulated, x).raise_if_different()
print("pt2e")
"""


def test_without_torch_ao_s_fx_mode_pt2e_works_and_fx_says_to_use_it():
    text = printed(["torch.ao.quantization.quantize_fx"], "torch-pt2e", FX_SCRIPT)
    assert "this torch has no FX graph mode quantization" in text
    assert "use mpq_torch.pt2e" in text
    assert text.endswith("pt2e\n")


def test_without_all_of_torch_ao_and_torchao_search_and_simulation_work():
    text = printed(
        ["torch.ao.quantization", "torchao"],
        "torch-x86",
        "print(message(lambda: fx.get_qconfig_mapping(recipe)), simulated(x).shape)",
    )
    assert "use mpq_torch.pt2e" in text
    assert "torch.Size([16, 2])" in text
