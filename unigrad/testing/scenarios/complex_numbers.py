"""Complex arguments (S14): the gradient of a real scalar points to steepest ascent.

For real ``s`` of ``z = a + ib`` that is ``∂s/∂a + i ∂s/∂b``; a holomorphic map pulls ``u`` back
to ``conj(f'(z)) u``. The opposite convention gives the conjugate of all of these.
"""

from __future__ import annotations

import numpy as np

from unigrad.testing.scenario import Scenario, draw

__all__ = ["SCENARIOS"]

_Z = draw(161, 3) + 1j * draw(162, 3)
_W = draw(163, 3) + 1j * draw(164, 3)
_TAGS = frozenset({"complex"})

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "squared modulus",
        "complex",
        lambda xp, z: xp.sum(xp.real(z) ** 2 + xp.imag(z) ** 2),
        (_Z,),
        gradient=lambda u, z: u * 2 * z,
        hvp=lambda u, v, z: u * 2 * v,
        tags=_TAGS,
    ),
    Scenario(
        "z times its conjugate",
        "complex",
        lambda xp, z: xp.sum(xp.real(z * xp.conj(z))),
        (_Z,),
        gradient=lambda u, z: u * 2 * z,
        hvp=lambda u, v, z: u * 2 * v,
        tags=_TAGS,
    ),
    Scenario(
        "imaginary part",
        "complex",
        lambda xp, z: xp.sum(xp.imag(z) ** 3),
        (_Z,),
        gradient=lambda u, z: u * 3j * z.imag**2,
        hvp=lambda u, v, z: u * 6j * z.imag * v.imag,
        tags=_TAGS,
    ),
    Scenario(
        "holomorphic square",
        "complex",
        lambda xp, z: z**2,
        (_Z,),
        output="array",
        gradient=lambda u, z: np.conj(2 * z) * u,
        hvp=lambda u, v, z: np.conj(2 * v) * u,
        tags=_TAGS,
    ),
    Scenario(
        "holomorphic exponential",
        "complex",
        lambda xp, z: xp.exp(z),
        (_Z,),
        output="array",
        gradient=lambda u, z: np.conj(np.exp(z)) * u,
        hvp=lambda u, v, z: np.conj(np.exp(z) * v) * u,
        tags=_TAGS,
    ),
    Scenario(
        "holomorphic product",
        "complex",
        lambda xp, z, w: z * w,
        (_Z, _W),
        output="array",
        gradient=lambda u, z, w: (np.conj(w) * u, np.conj(z) * u),
        hvp=lambda u, v, z, w: (np.conj(v[1]) * u, np.conj(v[0]) * u),
        tags=_TAGS,
    ),
    Scenario(
        "conjugate",
        "complex",
        lambda xp, z: xp.conj(z) * z * z,
        (_Z,),
        output="array",
        gradient=lambda u, z: 2 * np.abs(z) ** 2 * u + z**2 * np.conj(u),
        hvp=lambda u, v, z: 4 * np.real(np.conj(z) * v) * u + 2 * z * v * np.conj(u),
        tags=_TAGS,
    ),
    Scenario(
        "complex linear map",
        "complex",
        lambda xp, z, m: xp.sum(xp.real(xp.matmul(m, z) * xp.conj(xp.matmul(m, z)))),
        (_Z,),
        (draw(165, 2, 3) + 1j * draw(166, 2, 3),),
        gradient=lambda u, z, m: u * 2 * m.conj().T @ (m @ z),
        hvp=lambda u, v, z, m: u * 2 * m.conj().T @ (m @ v),
        tags=_TAGS,
    ),
    Scenario(
        "real argument, complex inside",
        "complex",
        lambda xp, x, m: xp.sum(xp.real(xp.exp(m * xp.astype(x, m.dtype))) ** 2),
        (draw(167, 3),),
        (_W,),
        gradient=lambda u, x, m: u * 2 * np.exp(m * x).real * (m * np.exp(m * x)).real,
        hvp=lambda u, v, x, m: (
            u
            * v
            * 2
            * ((m * np.exp(m * x)).real ** 2 + np.exp(m * x).real * (m**2 * np.exp(m * x)).real)
        ),
        tags=_TAGS,
    ),
)
