"""A Trainer's loop runs a search as a loop written by hand does."""

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F

from mpq_plugins.errors import MPQError
from mpq_torch.lightning import SearchCallback
from mpq_torch.training.tests import digits
from mpq_torch.training.tests.test_search import search

pytestmark = pytest.mark.filterwarnings("ignore")
STEPS = 6


class Module(L.LightningModule):
    def __init__(self, trained, automatic=True):
        super().__init__()
        self.search, self.net = trained, trained.model
        self.automatic_optimization = automatic

    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.search.parameter_groups(lr=0.005), momentum=0.9)


def fit(trained, steps, tmp_path, callback=None, checkpoint=None, **options):
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback or SearchCallback(trained, 1000)],
        default_root_dir=tmp_path,
        **options,
    )
    loader = torch.utils.data.DataLoader(digits.batches(0), batch_size=None)
    trainer.fit(Module(trained), loader, ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize("method", ["hmq", "sdq"])
def test_the_callback_trains_what_a_loop_written_by_hand_trains(method, tmp_path):
    by_hand, by_trainer = search(method), search(method)
    digits.run(by_hand, STEPS)
    fit(by_trainer, STEPS, tmp_path)
    assert by_trainer.steps_done == STEPS
    wanted, found = by_hand.model.state_dict(), by_trainer.model.state_dict()
    for key in wanted:
        torch.testing.assert_close(found[key], wanted[key], rtol=1e-4, atol=1e-5)


def test_the_search_is_hardened_when_its_steps_are_done(tmp_path):
    trained = search("hmq")
    fit(trained, 4, tmp_path, SearchCallback(trained, harden_after=3))
    assert trained.harden().average_weight_bits <= 4
    assert float(trained.penalty()) == 0


def test_gradients_of_several_batches_make_one_step_of_the_search(tmp_path):
    trained = search("po2_gradient")
    fit(trained, 2, tmp_path, accumulate_grad_batches=3)
    assert trained.steps_done == 2


def test_a_checkpoint_of_the_trainer_holds_the_search(tmp_path):
    whole = search("po2_gradient")
    fit(whole, 2, tmp_path).save_checkpoint(tmp_path / "two.ckpt", weights_only=False)
    again = search("po2_gradient")
    again.load_state_dict(torch.load(tmp_path / "two.ckpt", weights_only=False)["callbacks"]["SearchCallback"])
    assert again.steps_done == 2


def test_manual_optimization_is_refused_with_what_to_do():
    trained = search("msqe")
    with pytest.raises(MPQError, match=r"call search.step\(\) after"):
        SearchCallback(trained).on_fit_start(None, Module(trained, automatic=False))
