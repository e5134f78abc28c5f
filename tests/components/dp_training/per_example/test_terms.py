"""Every way to a norm and to a sum gives the same, whatever the shape."""

import numpy as np
import pytest
import tensorflow as tf

from components.dp_training.per_example.terms import Direct, Outer, Rows, merged

WEIGHTS = tf.constant([0.5, 0.0, 2.0])


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]


def assert_alike(term, gradients):
    flat = gradients.reshape(3, -1)
    np.testing.assert_allclose(term.squared_norms(), np.sum(flat**2, 1), rtol=2e-5)
    np.testing.assert_allclose(term.materialised(), gradients, rtol=1e-4, atol=1e-5)
    expected = np.tensordot(WEIGHTS.numpy(), gradients, 1)
    np.testing.assert_allclose(term.weighted_sum(WEIGHTS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["ghost", "materialised"])
@pytest.mark.parametrize("k, f", [(2, 5), (5, 2)])
@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_outer_products_every_way(way, k, f, blocks):
    lead = (3, blocks) if blocks else (3,)
    x, g = arrays((*lead, 4, k), (*lead, 4, f))
    term = Outer(x, g, (k, blocks, f) if blocks else (k, f))
    term.way = way
    equation = "nbpk,nbpf->nkbf" if blocks else "npk,npf->nkf"
    assert_alike(term, np.einsum(equation, x, g))


@pytest.mark.parametrize("way", ["ghost", "materialised"])
@pytest.mark.parametrize("k, f", [(2, 5), (5, 2)])
def test_blocks_that_come_first_and_share_g(way, k, f):
    x, g = arrays((3, 2, 4, k), (3, 1, 4, f))
    term = Outer(x, g, (2, k, f), blocks_first=True)
    term.way = way
    assert_alike(term, np.einsum("nbpk,npf->nbkf", x, g[:, 0]))


def test_the_cheaper_way_is_taken():
    def way(positions, k, f):
        return Outer(tf.zeros((1, positions, k)), tf.zeros((1, positions, f)), (k, f)).way

    assert way(1, 512, 32) == "factorised"
    assert way(196, 64, 16) == "materialised"
    assert way(4, 1024, 512) == "ghost"


@pytest.mark.parametrize("positions", [4, 100])
def test_rows_of_a_table(positions):
    (g,) = arrays((3, positions, 2))
    ids = np.random.default_rng(1).integers(0, 5, (3, positions))
    one_hot = np.eye(7)[ids]
    assert_alike(Rows(tf.constant(ids), g, (7, 2)), np.einsum("npv,npd->nvd", one_hot, g))


def test_terms_of_different_forms_on_one_weight_are_added():
    x, g, direct = arrays((3, 4, 2), (3, 4, 5), (3, 2, 5))
    both = merged([Outer(x, g, (2, 5)), Direct(direct)], None)
    assert_alike(both, np.einsum("npk,npf->nkf", x, g) + direct.numpy())


def cancelling(gain, width, apart):
    """Two positions that nearly cancel, an example each of three: x, and g of the size of `gain`."""
    x, noise = arrays((3, 1, width), (3, 1, width))
    (g,) = arrays((3, 1, width))
    return tf.concat([x, x + apart * noise], 1), gain * tf.concat([g, -g], 1)


def assert_no_example_adds_more_than_one(term):
    """At a clip norm of 1, in float64 what float32 weights and sums really give; one example at a time."""
    weights = np.minimum(1.0, 1.0 / np.sqrt(np.maximum(term.squared_norms().numpy().astype(np.float64), 1e-30)))
    for example in range(3):
        one = tf.constant(np.where(np.arange(3) == example, weights, 0.0), tf.float32)
        assert np.linalg.norm(np.asarray(term.weighted_sum(one), np.float64)) <= 1 + 1e-5


@pytest.mark.parametrize("gain", [1.0, 1e2, 1e6, 1e12])
@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5, 1e-3])
@pytest.mark.parametrize("width", [8, 512])
@pytest.mark.parametrize("way", ["ghost", "materialised"])
def test_positions_that_cancel_are_clipped_to_the_norm(way, width, apart, gain):
    x, g = cancelling(gain, width, apart)
    term = Outer(x, g, (width, width))
    term.way = way
    assert_no_example_adds_more_than_one(term)


def test_positions_that_cancel_keep_their_norm_when_they_are_taken_as_a_ghost():
    x, g = cancelling(100.0, 64, 1e-3)
    term = Outer(x, g, (64, 64))
    term.way = "ghost"
    exact = np.einsum("npk,npf->nkf", x.numpy().astype(np.float64), g.numpy().astype(np.float64)).reshape(3, -1)
    np.testing.assert_allclose(np.sqrt(term.squared_norms()), np.linalg.norm(exact, axis=1), rtol=1e-3)


@pytest.mark.parametrize("positions", [4, 64, 200])
@pytest.mark.parametrize("gain", [1.0, 1e4, 1e8])
def test_rows_with_alternating_signs_are_clipped_to_the_norm(gain, positions):
    signs = np.where(np.arange(positions) % 2, -1.0, 1.0)[:, None]
    rest = 1e-6 * np.random.default_rng(0).normal(size=(3, positions, 8))
    g = gain * (signs * np.random.default_rng(1).normal(size=(3, 1, 8)) + rest)
    assert_no_example_adds_more_than_one(Rows(tf.zeros((3, positions), tf.int32), tf.constant(g, tf.float32), (5, 8)))
