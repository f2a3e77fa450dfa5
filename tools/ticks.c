/* ticks.c - the marks of a plot's axis. */
#include "tools/ticks.h"

#include <math.h>

ticks ticks_in(double low, double high, int want)
{
    double raw = (high - low) / want, power = pow(10, floor(log10(raw))), part = raw / power;
    double step = power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
    double first = ceil(low / step), last = floor(high / step), n = last - first + 1;
    /* beyond 2^53 steps from 0 neighbours are one number */
    if (!(step > 0) || !isfinite(step) || !(n >= 1 && n <= TICKS_MOST) ||
        fmax(fabs(first), fabs(last)) > 0x1p53)
        return (ticks){0};
    return (ticks){first * step, step, (int)n};
}

double ticks_at(const ticks *t, int i)
{
    return (round(t->first / t->step) + i) * t->step + 0.0; /* 0, never -0 */
}

int ticks_decimals(const ticks *t)
{
    double d = t->n ? -floor(log10(t->step) + 1e-9) : 0;
    return d > 0 ? d < 300 ? (int)d : 300 : 0;
}
