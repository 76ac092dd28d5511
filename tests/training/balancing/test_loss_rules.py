"""Each rule that weighs losses, against the paper's formula in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_mtl.training.balancing import (
    FAMO,
    GeometricMean,
    ImpartialLosses,
    LogLosses,
    RandomLossWeighting,
    SmoothTchebycheff,
)

LOSSES = np.array([0.5, 2.0, 3.0])
RULES = [FAMO, GeometricMean, ImpartialLosses, LogLosses, RandomLossWeighting, SmoothTchebycheff]


def prepared(rule):
    rule.prepare({"a": 1.0, "b": 2.0, "c": 1.0})
    return rule


def total(rule, losses):
    found = rule.total([ops.convert_to_tensor(each, "float32") for each in losses])
    return float(ops.convert_to_numpy(ops.stop_gradient(found)))


def factors_after(rule, losses):
    rule.after_step([ops.convert_to_tensor(each, "float32") for each in losses])
    return ops.convert_to_numpy(rule.task_factors())


def warmed():
    """Its usual losses are (2, 2 x 3, 4), the fixed weight of b in them."""
    rule = prepared(SmoothTchebycheff(mu=0.5, warmup=2))
    rule.on_epoch_end([1.0, 2.0, 4.0])
    rule.on_epoch_end([3.0, 4.0, 4.0])
    rule.on_epoch_end([9.0, 9.0, 9.0])  # after the warmup, it counts no more
    return rule


def test_the_formulas():
    assert total(prepared(GeometricMean()), LOSSES) == pytest.approx(3 ** (1 / 3))
    assert total(prepared(LogLosses()), LOSSES) == pytest.approx(np.log(3))
    impartial = prepared(ImpartialLosses())
    scales = np.array([0.3, -1.0, 0.5])
    impartial.log_scale.assign(scales)
    expected = (np.exp(scales) * LOSSES - scales).sum()
    assert total(impartial, LOSSES) == pytest.approx(expected, rel=1e-5)
    assert total(prepared(SmoothTchebycheff()), LOSSES) == pytest.approx(np.log(3))
    relative = np.log(LOSSES / [2, 6, 4])
    expected = 3 * 0.5 * np.log(np.exp(relative / 0.5).sum())
    assert total(warmed(), LOSSES) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("make", [GeometricMean, LogLosses, SmoothTchebycheff, warmed])
def test_the_factors_are_the_derivatives(make):
    rule = make() if make is warmed else prepared(make())
    slopes = [(total(rule, LOSSES + h) - total(rule, LOSSES - h)) / 0.02 for h in 0.01 * np.eye(3)]
    np.testing.assert_allclose(factors_after(rule, LOSSES), slopes, rtol=2e-3)


@pytest.mark.parametrize("make", [GeometricMean, LogLosses, SmoothTchebycheff, warmed])
def test_a_task_without_labels_is_left_out(make):
    rule = make() if make is warmed else prepared(make())
    without = LOSSES * [1, 0, 1]
    if make is GeometricMean:
        expected = np.sqrt(0.5 * 3)
    elif make is warmed:
        expected = 1.5 * np.log(((LOSSES / [2, 6, 4]) ** 2)[[0, 2]].sum())
    else:
        expected = np.log(0.5 * 3)
    assert total(rule, without) == pytest.approx(expected, rel=1e-5)
    assert factors_after(rule, without)[1] == 0
    assert np.isfinite(total(rule, 0 * LOSSES))
    assert (factors_after(rule, 0 * LOSSES) == 0).all()


def test_random_weights_are_drawn_anew():
    rule = prepared(RandomLossWeighting(seed=1))
    first = ops.convert_to_numpy(rule.task_factors()).copy()
    assert total(rule, LOSSES) == pytest.approx((first * LOSSES).sum(), rel=1e-5)
    drawn = np.stack([factors_after(rule, LOSSES).copy() for _ in range(50)])
    np.testing.assert_allclose(drawn.sum(1), 3, rtol=1e-5)
    assert len(np.unique(drawn[:, 0])) == 50
    again = prepared(RandomLossWeighting(seed=1))
    np.testing.assert_array_equal(ops.convert_to_numpy(again.task_factors()), first)


def test_famo_is_algorithm_1_with_adam():
    """In the third step, the second task has no label."""
    rule = prepared(FAMO(rate=0.1, decay=0.01))
    logits, first, second = np.zeros(3), np.zeros(3), np.zeros(3)
    rng = np.random.default_rng(0)
    for step in range(1, 5):
        before, after = rng.uniform(0.5, 4, (2, 3))
        there = np.array([True, step != 3, True])
        before[~there] = after[~there] = 0
        share = np.where(there, np.exp(logits), 0)
        weights = np.where(there, share / np.where(there, before, 1), 0)
        weights /= weights.sum()
        expected = (weights * before)[there] @ np.log(before[there])
        assert total(rule, before) == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(factors_after(rule, before), weights, rtol=1e-4)
        rule.after_update([ops.convert_to_tensor(each, "float32") for each in after])
        share /= share.sum()
        fell = np.zeros(3)
        fell[there] = np.log(before[there] / after[there])
        jacobian = np.diag(share) - np.outer(share, share)  # of the softmax
        slope = jacobian @ fell + 0.01 * logits
        first[there] = (0.9 * first + 0.1 * slope)[there]
        second[there] = (0.999 * second + 0.001 * slope**2)[there]
        adam = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        logits = np.where(there, logits - 0.1 * adam, logits)
        np.testing.assert_allclose(ops.convert_to_numpy(rule.logits), logits, atol=1e-4)


@pytest.mark.once("torch", "for it differentiates what it has just computed")
def test_famo_descends_by_its_weights():
    import torch

    rule = prepared(FAMO())
    rule.logits.assign([0.5, -1.0, 0.0])
    losses = torch.tensor([0.5, 2.0, 0.0], requires_grad=True)
    slopes = torch.autograd.grad(rule.total(list(losses)), losses)[0].numpy()
    expected = np.exp([0.5, -1.0]) / [0.5, 2.0]
    np.testing.assert_allclose(slopes, [*(expected / expected.sum()), 0], rtol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_what_its_configuration_says(rule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule()))
    assert type(again) is rule
    assert again.get_config() == rule().get_config() | {"name": again.name}


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match="mu is 0, expected a number above 0"):
        SmoothTchebycheff(mu=0)
    with pytest.raises(ValueError, match="warmup"):
        SmoothTchebycheff(warmup=0)
