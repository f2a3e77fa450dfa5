/* version.c - what the library was built with, and the small public calls on a context. */
#include <omp.h>
#include <protobuf-c/protobuf-c.h>

#include "graph/dnnl.h"
#include "graph/util.h"

void weft_text_free(weft_ctx *c, char *text) { weft_free(c, text); }

weft_status weft_threads_set(weft_ctx *c, int threads)
{
    if (threads < 1 || threads > WEFT_MOST_THREADS)
        return weft_fail(c, WEFT_USAGE, "threads=%d is out of range 1..%d", threads,
                         WEFT_MOST_THREADS);
    if (!weft_threads_start(threads))
        return weft_fail(c, WEFT_USAGE, "threads=%d: the system does not start as many", threads);
    c->threads = threads;
    return WEFT_OK;
}

weft_status weft_build_text(weft_ctx *c, char **out)
{
    weft_string s;
    weft_string_init(&s, c);
    weft_string_printf(&s, "weft       %s\n", weft_version());
#ifdef __clang__
    weft_string_printf(&s, "compiler   clang %s\n", __clang_version__);
#else
    weft_string_printf(&s, "compiler   gcc %s\n", __VERSION__);
#endif
#ifdef _OPENMP
    weft_string_printf(&s, "openmp     %d, %d threads\n", _OPENMP, weft_threads(c));
#else /* clang without its own OpenMP library: our loops run on one thread */
    weft_string_printf(&s, "openmp     none\n");
#endif
    weft_string_printf(&s, "onednn     %s\n", weft_dnnl_version());
    weft_string_printf(&s, "protobuf-c %s\n", protobuf_c_version());
    return weft_string_take(&s, out);
}
