/* waiting.c - how long threads that wait for each other spin before they sleep.
 *
 * At the end of a parallel loop OpenMP's threads spin, since waking one that sleeps takes some
 * microseconds. Where another process wants the cores as well, a thread that spins keeps away the
 * very thread that it waits for: gcc's runtime spins for 300,000 pauses, many milliseconds, and a
 * training step has hundreds of loops. A bound of thirty microseconds costs nothing on an
 * idle machine, where the others are there within that time, and little on a busy one
 * (docs/performance.md has the figures). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "graph/util.h"

enum { SPIN_NS = 30000, BLOCK_MS = 1, MOST_PATH = 4096 };

/* clang's runtime (and Intel's) has a call for it; no other runtime defines it. */
extern void kmp_set_blocktime(int ms) __attribute__((weak));

/* What the user says about waiting stands. */
static bool user_decides(void)
{
    static const char *const names[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
                                        "KMP_LIBRARY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]))
            return true;
    return false;
}

void weft_waiting_bound_runtime(void)
{
    if (kmp_set_blocktime && !user_decides())
        kmp_set_blocktime(BLOCK_MS);
}

/* ---- gcc's runtime: reads the environment once, when it is loaded ----------------------------
 */
static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Pauses in SPIN_NS. One takes 5 ns on some CPUs and 50 on others; the least of a few
 * measurements, because a thread may be interrupted in one. */
static int64_t spin_count(void)
{
    enum { PAUSES = 1000 };
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t start = now_ns();
        for (int k = 0; k < PAUSES; k++)
#ifdef __x86_64__
            __builtin_ia32_pause();
#else
            __asm__ volatile("" ::: "memory");
#endif
        int64_t ns = now_ns() - start;
        least = ns < least ? ns : least;
    }
    return least > 0 ? (int64_t)SPIN_NS * PAUSES / least : SPIN_NS;
}

void weft_waiting_bound(char **argv)
{
    char path[MOST_PATH], count[32];
    if (kmp_set_blocktime || user_decides())
        return;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0 || n == sizeof path - 1)
        return;
    path[n] = 0;
    snprintf(count, sizeof count, "%lld", (long long)spin_count());
    if (!setenv("GOMP_SPINCOUNT", count, 0))
        execv(path, argv); /* the variable is there now: this does not come by again */
}
