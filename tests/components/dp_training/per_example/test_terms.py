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
