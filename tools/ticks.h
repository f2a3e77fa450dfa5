/* ticks.h - the marks of a plot's axis: counted beforehand, so that no range makes a loop run for
 * ever. */
#ifndef WEFT_TOOLS_TICKS_H
#define WEFT_TOOLS_TICKS_H

enum { TICKS_MOST = 64 };

/* Multiples of `step`, from `first` on; none (n 0) where the range is empty, not finite, or finer
 * than a double can tell. */
typedef struct {
    double first, step;
    int n; /* at most TICKS_MOST */
} ticks;
/* About `want` ticks in low..high; the step is 1, 2 or 5 times a power of ten. */
ticks ticks_in(double low, double high, int want);
double ticks_at(const ticks *t, int i);
int ticks_decimals(const ticks *t); /* with which neighbours read differently */

#endif
