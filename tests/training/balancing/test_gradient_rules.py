"""Each rule that weighs gradients, against the paper's steps on vectors in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.optimize import minimize, nnls

from keras_mtl.training.balancing import (
    DBMTL,
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    FairGrad,
    GradDrop,
    GradNorm,
    GradVac,
    NashMTL,
    PCGrad,
    SDMGrad,
    UPGrad,
)

RULES = [
    AlignedMTL,
    CAGrad,
    DBMTL,
    FairGrad,
    GradNorm,
    GradVac,
    IMTLG,
    MGDA,
    NashMTL,
    PCGrad,
    SDMGrad,
    UPGrad,
]
TASKS = 4


def draw(tasks=TASKS, seed=0):
    """Gradients `(tasks, 6)`, some of which oppose others, and losses."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(tasks, 6)) * 10 ** rng.uniform(-0.5, 0.5, (tasks, 1))
    gradients[-1] -= gradients[0]
    return gradients, rng.uniform(0.5, 4, tasks)


def prepared(rule):
    rule.prepare({str(task): 1.0 for task in range(TASKS)})
    return rule


def weigh(rule, gradients, losses):
    found = rule.weigh(tensor(gradients @ gradients.T), tensor(losses))
    return ops.convert_to_numpy(found).astype(float)


def tensor(x):
    return ops.convert_to_tensor(x, "float32")


def direction(x):
    return x / np.linalg.norm(x)


ORDER = np.array([[0, 3, 1, 2], [2, 1, 0, 3], [3, 0, 2, 1], [1, 0, 2, 3]])


def test_pcgrad_projects():
    gradients, _ = draw()
    rule = prepared(PCGrad())
    found = ops.convert_to_numpy(rule.projected(tensor(gradients @ gradients.T), tensor_of(ORDER)))
    for i, order in enumerate(ORDER):  # Algorithm 1
        left = gradients[i].copy()
        for j in order:
            if j != i and left @ gradients[j] < 0:
                left -= left @ gradients[j] / (gradients[j] @ gradients[j]) * gradients[j]
        np.testing.assert_allclose(found[i] @ gradients, left, atol=1e-4)


def tensor_of(order):
    return ops.convert_to_tensor(order, "int32")


def test_gradvac_turns():
    rule = prepared(GradVac(rate=0.5))
    usual = np.zeros((TASKS, TASKS))
    for seed in range(3):
        gradients, _ = draw(seed=seed)
        found, after = rule.turned(tensor(gradients @ gradients.T), tensor_of(ORDER))
        rule.usual.assign(after)
        for i, order in enumerate(ORDER):
            left = gradients[i].copy()
            for j in order:
                if j == i:
                    continue
                mine, other, aim = np.linalg.norm(left), np.linalg.norm(gradients[j]), usual[i, j]
                cosine = left @ gradients[j] / mine / other
                if cosine < aim:  # Eq. 4
                    turn = aim * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - aim**2)
                    left += mine * turn / (other * np.sqrt(1 - aim**2)) * gradients[j]
                usual[i, j] = 0.5 * aim + 0.5 * cosine  # Eq. 5
            found_here = ops.convert_to_numpy(found)[i] @ gradients
            np.testing.assert_allclose(found_here, left, atol=1e-3)
    np.testing.assert_allclose(ops.convert_to_numpy(rule.usual), usual, atol=1e-4)


def test_mgda_opposes_no_task():
    gradients, losses = draw()
    together = weigh(MGDA(), gradients, losses) @ gradients
    # Of the shortest vector in the hull every gradient has a part as long as itself, or longer.
    assert (gradients @ together >= together @ together - 1e-4).all()


@pytest.mark.parametrize("c", [0.0, 0.4, 0.9])
def test_cagrad_helps_the_worst_task_most(c):
    gradients, losses = draw()
    mean = gradients.mean(0)
    found = weigh(CAGrad(c=c), gradients, losses) @ gradients
    assert np.linalg.norm(found - mean) <= c * np.linalg.norm(mean) * (1 + 1e-4) + 1e-4
    best = -np.inf
    for start in np.random.default_rng(0).normal(size=(5, 6)):  # Eq. 1, as it is
        near = {
            "type": "ineq",
            "fun": lambda x: c**2 * (mean @ mean) - ((x[:6] - mean) ** 2).sum(),
        }
        worst = {"type": "ineq", "fun": lambda x: gradients @ x[:6] - x[6]}
        begin = np.append(mean + 0.01 * start, (gradients @ mean).min())
        solved = minimize(
            lambda x: -x[6], begin, constraints=[near, worst], method="SLSQP", tol=1e-12
        )
        if solved.success:
            best = max(best, -solved.fun)
    scale = np.abs(gradients @ mean).max()
    assert (gradients @ found).min() == pytest.approx(
        max(best, (gradients @ mean).min()), abs=2e-3 * scale
    )


def test_imtl_g_is_equally_long_along_all():
    gradients, losses = draw()
    weights = weigh(IMTLG(), gradients, losses)
    along = gradients @ (weights @ gradients) / np.linalg.norm(gradients, axis=1)  # Eq. 3
    np.testing.assert_allclose(along, along[0], rtol=1e-3)
    assert weights.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("rule, power", [(NashMTL(), 1), (FairGrad(2.0), 0.5), (FairGrad(0.5), 2)])
def test_fair_and_nash_solve_their_equation(rule, power):
    gradients, losses = draw()
    weights = weigh(rule, gradients, losses)
    np.testing.assert_allclose(gradients @ (weights @ gradients) * weights**power, 1, rtol=1e-3)


def test_aligned_mtl_is_the_singular_values_made_alike():
    gradients, losses = draw()
    left, values, right = np.linalg.svd(gradients, full_matrices=False)  # Eq. 12, 13
    expected = np.full(TASKS, 1 / TASKS) @ (values.min() * left @ right)
    found = weigh(AlignedMTL(), gradients, losses) @ gradients
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_upgrad_projects_onto_what_opposes_none():
    gradients, losses = draw()
    expected = np.zeros(6)
    for gradient in gradients:
        # The nearest with G x >= 0 is g + J'v, v >= 0 with the least |g + J'v|.
        v, _ = nnls(gradients.T, -gradient)
        expected += (gradient + gradients.T @ v) / TASKS
    np.testing.assert_allclose(weigh(UPGrad(), gradients, losses) @ gradients, expected, atol=1e-3)


def test_sdmgrad_descends_from_where_it_was():
    rule = prepared(SDMGrad(strength=0.5, rate=0.2, steps=3))
    kept, equal = np.full(TASKS, 1 / TASKS), np.full(TASKS, 1 / TASKS)
    for seed in range(2):
        gradients, losses = draw(seed=seed)
        gramian = gradients @ gradients.T
        gramian *= TASKS / gramian.trace()
        for _ in range(3):
            stepped = kept - 0.2 * gramian @ (kept + 0.5 * equal)
            kept = minimize(
                lambda w, to=stepped: ((w - to) ** 2).sum(),
                equal,
                bounds=[(0, 1)] * TASKS,
                constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
                options={"ftol": 1e-14},
            ).x
        found = weigh(rule, gradients, losses)
        np.testing.assert_allclose(found, (kept + 0.5 * equal) / 1.5, atol=1e-4)


def test_gradnorm_lets_those_behind_pull_harder():
    rule = prepared(GradNorm(alpha=0.5, rate=0.1))
    factors, first = np.ones(TASKS), None
    for seed in range(3):
        gradients, losses = draw(seed=seed)
        first = losses if first is None else first
        np.testing.assert_allclose(weigh(rule, gradients, losses), factors, rtol=1e-4)
        lengths = np.linalg.norm(gradients, axis=1)
        behind = losses / first / (losses / first).mean()
        aim = (factors * lengths).mean() * behind**0.5  # Eq. 1 and 2
        factors = factors - 0.1 * np.sign(factors * lengths - aim) * lengths / lengths.mean()
        factors = np.maximum(factors, 1e-3)
        factors *= TASKS / factors.sum()
    np.testing.assert_allclose(ops.convert_to_numpy(rule.factors), factors, rtol=1e-4)


def test_db_mtl_makes_gradients_of_logarithms_equally_long():
    gradients, losses = draw()
    weighed = weigh(DBMTL(), gradients, losses)[:, None] * gradients
    of_logarithms = gradients / losses[:, None]
    longest = np.linalg.norm(of_logarithms, axis=1).max()
    np.testing.assert_allclose(np.linalg.norm(weighed, axis=1), longest, rtol=1e-4)


def test_graddrop_passes_one_sign_at_each_place():
    gradients = np.random.default_rng(0).normal(size=(3, 20_000)) + 0.3
    rule = GradDrop(seed=1)
    rule.prepare(dict.fromkeys("abc", 1.0))
    found = rule.combine([[tensor(each) for each in gradients]], tensor(np.ones(3)))[0]
    found = ops.convert_to_numpy(found)
    positive, negative = (np.where(s * gradients > 0, gradients, 0).sum(0) for s in (1, -1))
    up = np.isclose(found, positive, atol=1e-5)
    assert (up | np.isclose(found, negative, atol=1e-5)).all()
    mixed = (positive != 0) & (negative != 0)
    chance = (1 + gradients.sum(0) / np.abs(gradients).sum(0)) / 2  # Eq. 1
    assert up[mixed].mean() == pytest.approx(chance[mixed].mean(), abs=0.02)


@pytest.mark.parametrize("rule", RULES)
def test_a_task_without_labels_changes_nothing(rule):
    """Zeros in the Gramian: what the others weigh is what they weigh without it."""
    gradients, losses = draw(3)
    three = rule(**({"seed": 1} if rule in (PCGrad, GradVac) else {}))
    three.prepare(dict.fromkeys("abc", 1.0))
    four = prepared(rule(**({"seed": 1} if rule in (PCGrad, GradVac) else {})))
    if rule in (PCGrad, GradVac):  # the order is drawn for each number of tasks
        gradients[1:] = [gradients[0], -gradients[0]]
    given = ops.convert_to_tensor
    with_none = np.insert(gradients, 2, 0, 0)
    found = four.combine(
        [[given(each, "float32") for each in with_none]], tensor(np.insert(losses, 2, 0))
    )[0]
    expected = three.combine([[given(each, "float32") for each in gradients]], tensor(losses))[0]
    found, expected = map(ops.convert_to_numpy, (found, expected))
    if rule is GradNorm:
        expected = found if np.allclose(direction(found), direction(expected)) else expected
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", [*RULES, GradDrop])
def test_no_task_at_all_has_a_label(rule):
    nothing = [[tensor(np.zeros(5))] * TASKS]
    rule = prepared(rule())
    found = ops.convert_to_numpy(rule.combine(nothing, tensor(np.zeros(TASKS)))[0])
    assert (found == 0).all()
    assert all(np.isfinite(ops.convert_to_numpy(v)).all() for v in rule.variables)


@pytest.mark.parametrize("rule", [*RULES, GradDrop])
def test_a_step_that_overflows_fails_nowhere(rule):
    rule = prepared(rule())
    gradients = [[tensor(np.full(5, np.inf)), *[tensor(np.ones(5))] * (TASKS - 1)]]
    found = ops.convert_to_numpy(rule.combine(gradients, tensor(np.ones(TASKS)))[0])
    assert not np.isfinite(found).all()  # the optimizer sees it, and leaves the step out


@pytest.mark.parametrize("rule", [*RULES, GradDrop])
def test_a_rule_is_what_its_configuration_says(rule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(rule()))
    assert type(again) is rule
    assert again.get_config() == rule().get_config() | {"name": again.name}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: PCGrad(of="weights"), "of is 'weights', expected one of 'features', 'variables'"),
        (lambda: CAGrad(c=-1), "c is -1, expected a number from 0 on"),
        (lambda: FairGrad(alpha=0), "alpha is 0, expected a number above 0"),
        (lambda: GradVac(rate=2), "rate is 2, expected a number in 0..1"),
        (lambda: GradDrop(leak=-0.5), "leak is -0.5, expected"),
        (lambda: GradNorm(rate=-1), "rate is -1, expected a number from 0 on"),
        (lambda: SDMGrad(steps=0), "steps"),
    ],
)
def test_what_is_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.once("torch", "torchjd is for PyTorch")
def test_as_torchjd():
    import torch
    from torchjd import aggregation
    from torchjd.linalg import QuadprogProjector

    exactly = QuadprogProjector(norm_eps=1e-12, reg_eps=1e-9)
    peers = {
        AlignedMTL: aggregation.AlignedMTL(scale_mode="min"),
        IMTLG: aggregation.IMTLG(),
        UPGrad: aggregation.UPGrad(projector=exactly),
    }
    for seed in range(4):
        gradients, losses = draw(seed=seed)
        scale = np.linalg.norm(gradients)
        for rule, peer in peers.items():
            expected = peer(torch.tensor(gradients)).numpy()
            found = weigh(rule(), gradients, losses) @ gradients
            np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
        stepwise = aggregation.MGDA(epsilon=1e-9, max_iters=1000)(torch.tensor(gradients)).numpy()
        shortest = np.linalg.norm(weigh(MGDA(), gradients, losses) @ gradients)
        # Frank-Wolfe's steps come near it.
        assert -1e-5 * scale < np.linalg.norm(stepwise) - shortest < 1e-2 * scale
    pair = draw(2, seed=5)[0]
    pair[1] -= 2 * pair[0]
    expected = aggregation.PCGrad()(torch.tensor(pair)).numpy()  # of two, in any order
    np.testing.assert_allclose(weigh(PCGrad(), pair, np.ones(2)) @ pair, expected, atol=1e-4)
