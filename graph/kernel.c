/* kernel.c - what an op's kernel callback uses while its step is being made (compile time). */
#include "graph/plan.h"

static weft_build *build_of(const weft_kernel *k) { return k->pass; }

const weft_tensor *weft_kernel_in(weft_kernel *k, int i)
{
    static const weft_tensor absent;
    return i < k->n_in ? &k->in_tensor[i] : &absent;
}

const weft_tensor *weft_kernel_out(weft_kernel *k, int i) { return &k->out_tensor[i]; }
int weft_kernel_threads(const weft_kernel *k) { return build_of(k)->session->threads; }

void *weft_kernel_data(weft_kernel *k, size_t bytes)
{
    weft_build *b = build_of(k);
    void *p = weft_arena_alloc(b->arena, bytes);
    k->failed = k->failed || !p;
    b->step->run.data = p;
    return p;
}

void weft_kernel_scratch(weft_kernel *k, size_t bytes)
{
    weft_step *s = build_of(k)->step;
    if (bytes > SIZE_MAX / 4 - s->scratch_bytes) {
        weft_call_fail(k, "scratch memory of %zu bytes is too large", bytes);
        return;
    }
    s->scratch_bytes += (bytes + 63) / 64 * 64;
}

void weft_kernel_run(weft_kernel *k, void (*run)(const weft_run *r))
{
    build_of(k)->step->fn = run;
}
void weft_kernel_impl(weft_kernel *k, const char *name) { build_of(k)->step->impl = name; }
