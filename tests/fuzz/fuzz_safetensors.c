/* fuzz_safetensors.c - safetensors files and indexes of shards: opened, measured, converted,
 * written again with the same bytes in every tensor.
 *
 * A plain file is model.safetensors; with marks the parts are files of one folder. */
#include "graph/safetensors.h"
#include "tests/fuzz/fuzz.h"

enum { LARGEST = 1 << 16 }; /* bytes of a tensor that is converted */

static void read_all(weft_ctx *c, weft_tensor_file *f)
{
    static uint64_t to[LARGEST];
    for (int i = 0; i < weft_tensor_file_count(f); i++) {
        const weft_tensor_entry *e = weft_tensor_file_at(f, i);
        FUZZ_REQUIRE(weft_tensor_file_find(f, e->name), "'%s' is not found", e->name);
        int64_t count = 1;
        for (int k = 0; k < e->rank; k++)
            count = count <= LARGEST ? count * (e->dim[k] < LARGEST ? e->dim[k] : LARGEST) : count;
        for (int t = WEFT_F32; t <= WEFT_BOOL && count <= LARGEST && e->bytes <= LARGEST; t++)
            fuzz_done(c, weft_tensor_file_read(f, e, (weft_dtype)t, t & 1, to));
        if (count > 1 && count <= LARGEST)
            fuzz_done(c,
                      weft_tensor_file_read_part(f, e, WEFT_F32, false, (size_t)count - 1, 1, to));
    }
}

/* The tensors that are of a type of ours as a file of their own. */
static void write_again(weft_ctx *c, weft_tensor_file *f)
{
    static uint8_t data[8][LARGEST / 8], back[LARGEST / 8];
    weft_tensor_out out[8];
    int n = 0;
    for (int i = 0; i < weft_tensor_file_count(f) && n < 8; i++) {
        const weft_tensor_entry *e = weft_tensor_file_at(f, i);
        if (!e->type->native || e->bytes > sizeof *data)
            continue;
        out[n] = (weft_tensor_out){e->name, {e->type->native, e->rank, {0}}, data[n]};
        memcpy(out[n].type.dim, e->dim, sizeof e->dim);
        if (fuzz_done(c, weft_tensor_file_read(f, e, e->type->native, false, data[n])))
            n++;
    }
    weft_tensor_file *g;
    if (!fuzz_done(c, weft_tensor_file_write(c, "again.safetensors", out, n, f->meta, f->n_meta,
                                             NULL, NULL)))
        return;
    weft_status s = weft_tensor_file_open(c, "again.safetensors", &g);
    FUZZ_REQUIRE(!s || s == WEFT_NOMEM, "%s", weft_error(c));
    for (int i = 0; !s && i < n; i++) {
        const weft_tensor_entry *e = weft_tensor_file_find(g, out[i].name);
        FUZZ_REQUIRE(e && !weft_tensor_file_read(g, e, out[i].type.dtype, false, back) &&
                         !memcmp(back, data[i], e->bytes),
                     "tensor '%s' changed", out[i].name);
    }
    weft_tensor_file_close(s ? NULL : g);
    fuzz_done(c, s);
}

/* As weft weights looks at them. */
static void measure(weft_ctx *c, const char *path)
{
    weft_tensors *t;
    weft_tensor_info x;
    if (!fuzz_done(c, weft_tensors_open(c, path, &t)))
        return;
    for (int i = 0; weft_tensors_at(t, i, &x); i++)
        if (x.bytes <= LARGEST)
            fuzz_done(c, weft_tensors_measure(t, i, &x));
    weft_tensors_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    weft_tensor_file *f;
    int parts = fuzz_split(data, n, "model.safetensors", part);
    weft_ctx *c = fuzz_open((size_t)128 << 20, true);
    fuzz_files("m", part, parts);
    if (fuzz_done(c, weft_tensor_file_open(c, "m/model.safetensors", &f))) {
        read_all(c, f);
        write_again(c, f);
        weft_tensor_file_close(f);
    }
    measure(c, "m");
    measure(c, "m/model.safetensors.index.json");
    fuzz_close(c);
    return 0;
}
