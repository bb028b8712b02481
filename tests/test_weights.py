"""From a name to weights with cards."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nblib import checkpoints, evaluation, inpainters, weights
from nblib.datasets.imageset import ImageSet
from nblib.images import uint8_to_signed
from nblib.networks import dcgan
from nblib.networks.classifier import AttributeClassifier
from nblib.recipes import cvae


def stripes(n: int = 60, size: int = 16) -> ImageSet:
    """Pictures that are bright on the left or on the right; the attribute says which."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(n, generator=generator) < 0.5
    images = torch.randint(0, 60, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    images[left, :, :, : size // 2] += 150
    images[~left, :, :, size // 2 :] += 150
    names = np.array([f"{k:03d}.png" for k in range(n)])
    return ImageSet(images, attributes=left[:, None], attribute_names=["Left"], files=names, name="stripes")


@pytest.mark.parametrize(
    ("hyper", "length", "message"),
    [
        ({"widht": 8}, {"steps": 1}, "did you mean 'width'"),
        ({"width": "wide"}, {"steps": 1}, "not of type int"),
        ({"task": "smiling"}, {"steps": 1}, "task='smiling': dcgan has no tasks; cvae and cvae-fine have"),
        ({}, {}, "how long"),
        ({}, {"epochs": 0.0}, "epochs=0.0: how long"),
    ],
)
def test_wrong_settings_are_found_first(hyper, length, message):
    with pytest.raises(ValueError, match=message):
        weights.settled("dcgan", hyper, **length)


def test_a_gan_leaves_both_players_and_their_cards(tmp_path):
    small = {"width": 4, "batch_size": 8, "latent_dim": 6}
    written = weights.train("dcgan", stripes(), tmp_path, steps=3, hyper=small)
    assert [path.name for path in written] == ["dcgan-g.safetensors", "dcgan-d.safetensors"]
    generator, discriminator = (checkpoints.load(path) for path in written)
    pictures = generator(torch.zeros(2, generator.latent_dim))
    assert discriminator(pictures).shape[0] == 2
    card = checkpoints.card(written[0])
    assert (card["data"], card["steps"], card["pictures"]) == ("stripes", 3, len(stripes().split("train")))
    assert (tmp_path / "metrics.csv").exists()


def test_epochs_are_turned_into_steps(tmp_path):
    images = stripes()
    batches = len(images.split("train")) // 8
    written = weights.train("classifier", images, tmp_path, epochs=1.5, hyper={"batch_size": 8, "width": 4})
    assert checkpoints.card(written[0])["steps"] == -(-3 * batches // 2)


def test_a_classifiers_card_tells_balanced_accuracies(tmp_path):
    written = weights.train("classifier", stripes(400), tmp_path, steps=60, hyper={"batch_size": 16, "width": 4})
    metrics = checkpoints.card(written[0])["metrics"]
    assert metrics["by_attribute"]["Left"] > 0.95
    assert metrics["balanced_accuracy"] == metrics["by_attribute"]["Left"]


def test_balanced_accuracy_by_hand():
    """One of one "yes" and one of three "no" are right: the mean of 1 and 1/3."""
    images = ImageSet(
        torch.zeros(4, 3, 16, 16, dtype=torch.uint8),
        attributes=torch.tensor([[True, True], [False, True], [False, True], [False, True]]),
        attribute_names=["Some", "All"],
    )

    class Fixed(AttributeClassifier):
        def forward(self, images):
            return torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])

    found = weights.accuracies(Fixed(2, 4), images)
    assert found["by_attribute"] == {"Some": pytest.approx(2 / 3, abs=1e-4)}  # all have "All": nothing to balance
    assert found["accuracy"] == 0.75


FAST = {"width": 8, "batch_size": 8}
SMALL = {"width": 8, "hidden": 8, "batch_size": 8, "approx_steps": 2}


def test_a_refiner_leaves_its_approximator_and_d_beside_it_and_can_be_evaluated(tmp_path):
    hyper = SMALL | {"adversarial": "0.5", "warm_up": 1}
    written = weights.train("refiner", stripes(100), tmp_path, steps=5, hyper=hyper)
    names = ["refiner.safetensors", "approxnet.safetensors", "refiner-d.safetensors"]
    assert [path.name for path in written] == names
    refiner, approximator, _ = (checkpoints.card(path) for path in written)
    assert refiner["approximator"]["sha256"] == approximator["sha256"]
    for card in (refiner, approximator):
        metrics = card["metrics"]
        assert (metrics["protocol"], metrics["images"]) == ("seed", len(stripes(100).split("test")))
        assert metrics["hole_psnr"]["low"] <= metrics["hole_psnr"]["mean"] <= metrics["hole_psnr"]["high"]
    methods = ["gray", f"mine={tmp_path}"]
    result = evaluation.evaluate(stripes(100), "seed", methods, batch_size=50, progress=False)
    score = result.scores["mine"]["hole_psnr"].mean
    assert score == pytest.approx(refiner["metrics"]["hole_psnr"]["mean"], abs=0.05)  # half precision


def test_an_approxnet_is_trained_for_epochs_and_fills(tmp_path):
    images = stripes()
    written = weights.train("approxnet", images, tmp_path, epochs=2, hyper={"hidden": 4, "batch_size": 8})
    assert [path.name for path in written] == ["approxnet.safetensors"]
    assert checkpoints.card(written[0])["steps"] == 2 * (len(images.split("train")) // 8)
    assert inpainters.load(f"mine={tmp_path}").name == "mine"


def test_pictures_of_a_training_of_fillers_are_validation_pictures(tmp_path):
    images = stripes(100)
    made = weights.RECIPES["approxnet"](images.split("train"), hidden=4, batch_size=8)
    weights.show_validation(made, images.split("val"))
    known = uint8_to_signed(images.split("val").images)
    found = [(known == picture).flatten(1).all(1).any() for picture in made.training.shown[0]]
    assert all(found)
    assert made.training.shown[1].any()


def test_steps_that_leave_nothing_for_the_refiner_are_refused(tmp_path):
    with pytest.raises(ValueError, match="steps=2: the first 2 go to approx_steps=2, so the network"):
        weights.train("refiner", stripes(), tmp_path, steps=2, hyper=SMALL)
    assert not (tmp_path / "metrics.csv").exists()


def test_a_context_encoder_is_measured_on_the_holes_that_it_was_trained_on(tmp_path):
    written = weights.train("context-encoder", stripes(100), tmp_path, steps=3, hyper=FAST | {"width_D": 4})
    assert [path.name for path in written] == ["context-encoder.safetensors", "context-encoder-d.safetensors"]
    result = evaluation.evaluate(stripes(100), "center", [f"mine={tmp_path}"], batch_size=50, progress=False)
    told = checkpoints.card(written[0])["metrics"]
    assert (told["protocol"], told["images"]) == ("center", result.settings.n)
    assert told["hole_psnr"]["mean"] == pytest.approx(result.scores["mine"]["hole_psnr"].mean, abs=0.05)


def test_an_encoder_s_card_tells_its_error_beside_that_of_a_guess(data_dir, tmp_path):
    checkpoints.save_weights(dcgan.Generator(4, 4, 16), data_dir / "checkpoints" / "stripes" / "dcgan-g")
    (written,) = weights.train("encoder", stripes(), tmp_path, steps=3, hyper=FAST)
    told = checkpoints.card(written)["metrics"]
    assert told["z_rms"] > 0
    assert told["z_rms_of_mean"] == pytest.approx(3**-0.5, rel=0.1)  # of U[-1, 1]
    assert inpainters.load(f"mine={tmp_path}").stochastic


def test_a_vae_leaves_averaged_weights_and_its_d_when_fine_tuned(tmp_path):
    images, small = stripes(60, 64), {"width": 4, "latent_dim": 6, "batch_size": 8}
    (first,) = weights.train("cvae", images, tmp_path / "first", steps=3, hyper=small | {"task": "general-big"})
    told = checkpoints.card(first)
    assert told["hyper_parameters"]["task"] == "general-big"
    assert {"reconstruction", "divergence", "hole_l1"} < set(told["metrics"])
    hyper = {"start": str(tmp_path / "first"), "batch_size": 8, "width_D": 4}
    written = weights.train("cvae-fine", images, tmp_path / "fine", steps=3, hyper=hyper)
    assert [path.name for path in written] == ["cvae-fine.safetensors", "cvae-fine-d.safetensors"]
    assert checkpoints.card(written[0])["hyper_parameters"]["task"] == "general-big"
    assert inpainters.load(f"mine={tmp_path / 'fine'}").stochastic
    with pytest.raises(ValueError, match="steps=1: the first 1 go to warm_up=1"):
        weights.train("cvae-fine", images, tmp_path / "short", steps=1, hyper=hyper)


def test_what_is_written_are_the_averaged_weights():
    training = cvae(stripes(16, 64), width=4, latent_dim=6, batch_size=8, ema=0.5).training
    with torch.no_grad():
        training.net.mu.weight.fill_(7.0)
    (net,) = weights.trained("cvae", training).values()
    assert net is training.averaged()
    assert not torch.equal(net.mu.weight, training.net.mu.weight)


@pytest.mark.slow
def test_two_processes_train_and_the_first_alone_writes(tmp_path):
    hyper = ["--set", "width=4", "--set", "latent_dim=6", "--batch-size", "16"]
    line = [Path(sys.executable).with_name("nblib"), "train", "dcgan", "--n", "600", "--steps", "4", "--devices", "2"]
    done = subprocess.run([*line, *hyper, "--out", tmp_path], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "weights" / f"dcgan-{player}.safetensors") for player in "gd"]
    assert checkpoints.card(tmp_path / "weights" / "dcgan-g.safetensors")["steps"] == 4
