"""What floating point promises of numbers that were computed in two ways."""

#: Single precision: the outputs, of order one, of a network with two hidden layers of 64 units. Three sums of 64 terms,
#: in whatever order a kernel adds them up, each with a relative rounding of half a unit in the last place.
SINGLE = 3 * 64 * 2.0**-24


def gradient_tolerance(*gradients):
    """Return how far entries of gradients in single precision can be apart: rounding follows the largest of them."""
    return SINGLE * max(float(gradient.abs().max()) for gradient in gradients)
