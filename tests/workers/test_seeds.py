"""Streams of random numbers."""

from __future__ import annotations

from workers.seeds import Stream, stream, torch_generator


def test_streams_of_random_numbers_are_apart() -> None:
    seeds = {
        torch_generator(stream(seed, purpose, epoch)).initial_seed()
        for seed in (0, 1, 2**63)
        for purpose in Stream
        for epoch in (1, 2)
    }
    assert len(seeds) == 3 * len(Stream) * 2


def test_a_stream_is_its_seeds() -> None:
    assert stream(3, Stream.ORDER, 1).entropy == stream(3, Stream.ORDER, 1).entropy
    first, second = (torch_generator(stream(3, Stream.ORDER, 1)).initial_seed() for _ in range(2))
    assert first == second
