"""The few constants of the core, taken from astropy and numpy once."""

import math

from astropy import constants
from astropy import units as u
from numpy.polynomial import legendre

#: Heliocentric gravitational constant, au (km/s)^2 / Msun.
GM_SUN: float = float((constants.G * u.Msun).to_value(u.au * u.km**2 / u.s**2))

#: One au divided by one km/s, in years.
YEAR_PER_AU_KMS: float = float((u.au / (u.km / u.s)).to(u.yr))

#: One au in pc.
PC_PER_AU: float = float(u.au.to(u.pc))

#: One km/s divided by one au, in 1/s.
HERTZ_PER_KMS_AU: float = float((u.km / u.s / u.au).to(1 / u.s))

TWO_PI: float = 2 * math.pi

#: FWHM of a Gaussian of unit standard deviation.
FWHM: float = math.sqrt(8 * math.log(2))

#: Gauss-Legendre rule of 16 points on [-1, 1].
GAUSS_NODES, GAUSS_WEIGHTS = (tuple(map(float, values)) for values in legendre.leggauss(16))
