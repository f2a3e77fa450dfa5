/* names_run.h - imports and exports by name maps in a folder of their own, for test_names*.c. */
#ifndef TESTS_NAMES_RUN_H
#define TESTS_NAMES_RUN_H

#include "graph/names.h"
#include "tests/bundle.h"

static const char *dir; /* from make_dir to clear_dir */

static const char hf_config[] = "{\"model_type\": \"gpt2\", \"n_layer\": 2, \"n_head\": 2, "
                                "\"n_embd\": 8, \"vocab_size\": 12, \"n_positions\": 6}";
static const char lens_config[] =
    "{\"architecture\": \"topk\", \"d_in\": 8, \"d_sae\": 20, \"k\": 3, \"normalize_activations\": "
    "\"layer_norm\", \"apply_b_dec_to_input\": true, \"metadata\": {\"sae_lens_version\": "
    "\"6.1\"}}";

static inline void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

static inline weft_status import(const char *from, const char *names, const char *out, char *error,
                                 char *set)
{
    weft_ctx *c = weft_open(NULL);
    weft_convert_options o = {.names = names};
    weft_convert_result r;
    weft_status s = weft_weights_import(c, from, out, &o, &r);
    snprintf(error, 4096, "%s", weft_error(c));
    if (set)
        snprintf(set, 1024, "%s", s ? "" : r.set);
    weft_convert_result_free(c, &r);
    weft_close(c);
    return s;
}

static inline weft_status export_as(const char *from, const char *folder,
                                    const weft_convert_options *o, char *error)
{
    weft_ctx *c = weft_open(NULL);
    weft_convert_result r;
    weft_status s = weft_weights_export(c, from, folder, o, &r);
    snprintf(error, 4096, "%s", weft_error(c));
    weft_convert_result_free(c, &r);
    weft_close(c);
    return s;
}

static inline void same_files(const char *a, const char *b)
{
    size_t n, m;
    unsigned char *x = get_file(a, &n), *y = get_file(b, &m);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static inline int make_dir(void **state)
{
    (void)state;
    dir = strdup(fresh_dir());
    return 0;
}

static inline int clear_dir(void **state)
{
    (void)state;
    remove_dir(dir);
    free((void *)dir);
    return 0;
}

#endif
