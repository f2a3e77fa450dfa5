/* threads.c - how many threads may be asked for: OpenMP's runtimes end the process, or crash, where
 * they cannot start as many as the environment says. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include <omp.h>

#include "graph/util.h"

int weft_cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > WEFT_MOST_THREADS ? WEFT_MOST_THREADS : (int)n;
}

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t all;
    bool go;
} gate;

static void *wait_at(void *arg)
{
    gate *g = arg;
    pthread_mutex_lock(&g->lock);
    while (!g->go)
        pthread_cond_wait(&g->all, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static void open_gate(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->go = true;
    pthread_cond_broadcast(&g->all);
    pthread_mutex_unlock(&g->lock);
}

bool weft_threads_start(int n)
{
    static pthread_t thread[WEFT_MOST_THREADS];
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER; /* at a time */
    gate g = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    int started = 0;
    if (n <= weft_cores())
        return true;
    pthread_mutex_lock(&one);
    while (started < n - 1 && !pthread_create(&thread[started], NULL, wait_at, &g))
        started++;
    open_gate(&g);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    pthread_mutex_unlock(&one);
    return started == n - 1;
}

int weft_threads_bound(int wanted)
{
    int n = wanted < 1 ? 1 : wanted > WEFT_MOST_THREADS ? WEFT_MOST_THREADS : wanted;
    return weft_threads_start(n) ? n : weft_cores();
}

int weft_threads_take(int wanted, int *asked)
{
    int most = omp_get_max_threads();
    *asked = wanted > 0 ? wanted : most;
    int n = weft_threads_bound(*asked);
    if (most > WEFT_MOST_THREADS || (wanted <= 0 && n < most))
        omp_set_num_threads(n); /* for regions that are not ours */
    return n;
}
