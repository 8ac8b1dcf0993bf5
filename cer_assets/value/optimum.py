"""The search for maximum likelihood that the models of value share; the likelihoods are theirs."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from cer_assets.value.histories import Floats

log = logging.getLogger(__name__)

# Parameters are searched on the log scale between e^-12 and e^12: beyond, a mixture is as good as
# degenerate and the likelihood flat.
LOG_BOUND = 12.0

Objective = Callable[[Floats], tuple[float, Floats]]


def maximum_likelihood(mean_log_likelihood: Objective, starts: Sequence[Sequence[float]]) -> tuple[Floats, float]:
    """Positive parameters that maximise a mean log-likelihood, by L-BFGS-B from several starts.

    Args:
        mean_log_likelihood: at positive parameters, its value and its gradient in the parameters.
        starts: positive parameters to start from.

    Returns:
        The best parameters found, of shape (parameters,), and the mean log-likelihood there.
    """

    def negated(log_parameters: Floats) -> tuple[float, Floats]:
        parameters = np.exp(log_parameters)
        value, gradient = mean_log_likelihood(parameters)
        return -value, -gradient * parameters

    # With four parameters a second BLAS thread only waits, and could add up in another order.
    with threadpool_limits(limits=1):
        found = [
            minimize(
                negated,
                np.log(np.asarray(start, dtype=np.float64)),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-LOG_BOUND, LOG_BOUND)] * len(start),
                options={"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12, "gtol": 1e-9, "maxcor": 20},
            )
            for start in starts
        ]
    best = min(found, key=lambda result: float(result.fun))
    log.debug("maximum likelihood %.6f after %d evaluations", -best.fun, best.nfev)
    return np.exp(np.asarray(best.x, dtype=np.float64)), -float(best.fun)
