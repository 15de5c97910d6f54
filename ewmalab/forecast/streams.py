"""Random streams: one per forecast, derived by hashing what the forecast is for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RandomStream:
    """A source of randomness that depends on its key alone.

    Keys are hashed: with keys affine in a prompt's index, neighbouring prompts were found to share nearly all
    their paths, which no marginal test notices.

    Parameters
    ----------
    key : tuple of two int
        128 bits as two unsigned 64-bit halves.

    Examples
    --------
    >>> RandomStream.of(1, "BTC", "24h", 1768435200) == RandomStream.of(1, "BTC", "24h", 1768435200)
    True
    """

    key: tuple[int, int]

    @classmethod
    def of(cls, seed: int, asset: str, competition: str, start_time: int) -> RandomStream:
        """Return the stream of one prompt; other prompts, workers and the order of work do not influence it.

        Parameters
        ----------
        seed : int
        asset, competition : str
        start_time : int
            Seconds since 1970-01-01 UTC.
        """
        text = f"ewmalab/1\0{seed}\0{asset}\0{competition}\0{start_time}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return cls((int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")))

    def derived(self, label: str) -> RandomStream:
        """Return the stream of one part of the forecast, independent of this one and of those of other labels."""
        text = f"ewmalab/derived/1\0{self.key[0]}\0{self.key[1]}\0{label}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        return RandomStream((int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")))

    def lanes(self, count: int) -> npt.NDArray[np.uint32]:
        """Return `count` xoshiro128++ states for the path kernels: (4, count) uint32."""
        from ewmalab.forecast.draws import seed_lanes

        return seed_lanes(np.uint64(self.key[0]), np.uint64(self.key[1]), count)  # type: ignore[no-any-return]

    def generator(self) -> np.random.Generator:
        """Return a numpy generator (Philox) on this stream, for forecasters written without kernels."""
        return np.random.Generator(np.random.Philox(key=self.key[0] | self.key[1] << 64))
