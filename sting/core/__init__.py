"""Pure functions of plain floats: au, km/s, Msun, rad, arcsec. No I/O and no state."""
