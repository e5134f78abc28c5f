"""The stream that all secrets are made of."""

import os
from multiprocessing import get_context

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from components.privacy import secret_bits
from components.privacy.secret_bits import SecretBits


def test_the_words_are_the_counter_mode_of_aes_256(monkeypatch):
    """Encrypting the counters one by one, as NIST SP 800-38A, section 6.5, defines the mode."""
    key = bytes(range(32))
    monkeypatch.setattr(secret_bits.os, "urandom", lambda size: key[:size])
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()
    expected = b"".join(block.update(counter.to_bytes(16, "big")) for counter in range(50))
    bits = SecretBits("test")
    assert bits.words(60).tobytes() + bits.words(40).tobytes() == expected


def test_long_draws_and_draws_into_given_memory_go_on_with_the_same_stream():
    one, other = SecretBits("test", 7), SecretBits("test", 7)
    room = np.empty(2**15 + 2, np.uint64)
    pieces = [other.words(2**15, room).copy(), other.words(2**15)]
    np.testing.assert_array_equal(one.words(2**16), np.concatenate(pieces))


def test_every_stream_has_a_key_of_its_own_unless_a_seed_is_fixed():
    streams = [SecretBits("a"), SecretBits("a"), SecretBits("a", 5), SecretBits("b", 5), SecretBits("a", 6)]
    assert len({s.words(2).tobytes() for s in streams}) == len(streams)
    assert SecretBits("a", 5).words(2).tobytes() == SecretBits("a", 5).words(2).tobytes()


def test_the_key_is_256_bits_of_the_operating_system(monkeypatch):
    asked, real = [], os.urandom
    monkeypatch.setattr(secret_bits.os, "urandom", lambda size: asked.append(size) or real(size))
    SecretBits("test").words(5)
    assert asked == [32]


def test_a_forked_process_does_not_draw_what_its_parent_draws():
    bits = SecretBits("test")
    bits.words(3)
    fork = get_context("fork")
    receiver, sender = fork.Pipe()
    child = fork.Process(target=lambda: sender.send(bits.words(2).tobytes()))
    child.start()
    drawn = receiver.recv()
    child.join()
    assert drawn != bits.words(2).tobytes()


def test_numbers_below_a_bound_are_each_as_likely():
    counts = np.bincount(SecretBits("test", 1).below(5, 50_000), minlength=5)
    assert len(counts) == 5 and np.abs(counts - 10_000).max() < 500
