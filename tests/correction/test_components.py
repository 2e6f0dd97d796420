"""Principal components without those of single stars, and their slow parts and spikes."""

from __future__ import annotations

import numpy as np
import pytest

from tasoc_mpi.correction.components import clean_components, smooth_noise, split_spikes, weight_entropy


def test_one_huge_variable_among_500_is_taken_out():
    rng = np.random.default_rng(7)
    stars, frames = 500, 400
    time = np.linspace(0, 1, frames)
    trends = np.stack([np.cos(np.pi * time), np.exp(-time / 0.1), np.sin(9 * time)])
    curves = rng.standard_normal((stars, frames)) + rng.standard_normal((stars, 3)) @ trends * 2
    huge = np.sin(2 * np.pi * 37 * time)
    curves[123] += 30 * huge
    curves -= curves.mean(axis=1, keepdims=True)

    def products(q):
        weights = curves @ q
        return curves.T @ weights, weights

    found = clean_components(products, lambda i: curves[i], frames, 8)
    assert found.removed == [123]
    assert (found.entropies > -0.5).all()
    assert np.abs(found.vectors.T @ huge).max() < 0.2 * np.linalg.norm(huge)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(8), atol=1e-9)
    # The three trends are the leading ones, as the singular vectors of the others have it.
    exact = np.linalg.svd(np.delete(curves, 123, axis=0), full_matrices=False)[2][:3]
    turn = np.linalg.svd(exact @ found.vectors[:, :3])[1]
    np.testing.assert_allclose(turn, 1.0, atol=1e-6)


def test_entropy_is_that_of_a_gaussian_for_gaussian_weights():
    rng = np.random.default_rng(2)
    assert weight_entropy(rng.standard_normal(5000)) == pytest.approx(0, abs=0.05)
    # ln(sqrt(12)) - ln(sqrt(2 pi e)) of a uniform distribution.
    assert weight_entropy(rng.uniform(size=5000)) == pytest.approx(-0.176, abs=0.05)


def test_spikes_and_slow_parts_are_told_apart():
    rng = np.random.default_rng(4)
    frames = 600
    orbit = (np.arange(frames) >= 300).astype(np.int32)
    smooth = np.cos(np.linspace(0, 7, frames))
    spikes = np.zeros(frames)
    spikes[[50, 200, 410]] = [3.0, -2.0, 5.0]
    noise = 0.05 * rng.standard_normal(frames)
    vector = (smooth + spikes + noise)[:, None]
    slow, found = split_spikes(vector, orbit, 1800)
    np.testing.assert_allclose(slow + found, vector)
    np.testing.assert_allclose(found[[50, 200, 410], 0], [3.0, -2.0, 5.0], atol=0.3)
    less = smooth_noise(slow, np.array([0.05]), orbit, 1800)[:, 0]
    assert np.std(less - smooth) < 0.6 * np.std(slow[:, 0] - smooth)
    # Without noise nothing is smoothed.
    np.testing.assert_allclose(smooth_noise(slow, np.zeros(1), orbit, 1800), slow)
