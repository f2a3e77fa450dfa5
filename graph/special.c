/* special.c - which tokens begin and end a text, by the files of a tokenizer. Whole tokenizers are
 * read by the tool; here only these two ids are looked up. */
#include <string.h>

#include "graph/told.h"

enum { TOKENIZER_LIMIT = 1 << 28 };

static const char end_of_text[] = "<|endoftext|>";

weft_status weft_tokenizer_in(weft_arena *a, const char *folder, const char **out)
{
    static const char *const name[] = {"tokenizer.json", "vocab.json", "encoder.json"};
    *out = NULL;
    for (size_t i = 0; i < sizeof name / sizeof *name && !*out; i++) {
        const char *path = weft_arena_printf(a, "%s/%s", folder, name[i]);
        int kind = 0;
        WEFT_TRY(path ? weft_look(weft_arena_ctx(a), path, &kind) : WEFT_NOMEM);
        *out = kind == 1 ? path : NULL;
    }
    return WEFT_OK;
}

/* RUN of RUN/checkpoints/NAME, as people write it, if that is the same folder. */
static weft_status shorten(weft_arena *a, const char *checkpoint, const char **run)
{
    static const char between[] = "/checkpoints/";
    const size_t k = sizeof between - 1;
    const char *last = strrchr(checkpoint, '/');
    size_t n = last ? (size_t)(last - checkpoint) + 1 : 0;
    bool same = false;
    if (n <= k || strncmp(checkpoint + n - k, between, k))
        return WEFT_OK;
    const char *own = weft_arena_strndup(a, checkpoint, n - k);
    WEFT_TRY(own ? weft_same_file(weft_arena_ctx(a), own, *run, &same) : WEFT_NOMEM);
    *run = same ? own : *run;
    return WEFT_OK;
}

/* The run that holds a checkpoint: the folder of checkpoints lies between, so that no file of
 * another project, which happens to lie two folders above, is taken for the run's. */
weft_status weft_run_of(weft_arena *a, const char *checkpoint, const char **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    const char *above = weft_arena_printf(a, "%s/..", checkpoint);
    const char *run = weft_arena_printf(a, "%s/../..", checkpoint);
    const char *home = weft_arena_printf(a, "%s/../../checkpoints", checkpoint);
    bool yes = false;
    *out = NULL;
    if (!above || !run || !home)
        return weft_error_status(c);
    WEFT_TRY(weft_same_file(c, above, home, &yes));
    if (yes)
        WEFT_TRY(shorten(a, checkpoint, &run));
    *out = yes ? run : NULL;
    return WEFT_OK;
}

weft_status weft_tokenizer_of(weft_arena *a, const char *weights, const char **out)
{
    const char *run = NULL;
    WEFT_TRY(weft_tokenizer_in(a, weights, out));
    if (!*out)
        WEFT_TRY(weft_run_of(a, weights, &run));
    return run ? weft_tokenizer_in(a, run, out) : WEFT_OK;
}

/* *out stays NULL without such a file. */
static weft_status read_json(weft_arena *a, const char *path, weft_json **out)
{
    char *text;
    size_t n;
    int kind = 0;
    *out = NULL;
    WEFT_TRY(path ? weft_look(weft_arena_ctx(a), path, &kind) : WEFT_NOMEM);
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(a, path, TOKENIZER_LIMIT, &text, &n));
    return weft_json_parse_wide(a, path, text, n, out);
}

/* The text of "eos_token": "..." or {"content": "..."}; "<|endoftext|>" where nobody says
 * anything, NULL where it is said that there is none. */
static const char *declared(const weft_json *const *file, int n, const char *key)
{
    for (int i = 0; i < n; i++) {
        const weft_json *v = file[i] ? weft_json_get(file[i], key) : NULL;
        if (weft_json_is(v, WEFT_JSON_OBJECT))
            v = weft_json_get(v, "content");
        if (v)
            return weft_json_is(v, WEFT_JSON_STRING) ? v->text : NULL;
    }
    return end_of_text;
}

static int64_t id_of(const weft_json *root, const char *text)
{
    const weft_json *list = weft_json_get(root, "added_tokens"), *id = NULL;
    const weft_json *model = weft_json_get(root, "model");
    const weft_json *vocab =
        weft_json_is(model, WEFT_JSON_OBJECT) ? weft_json_get(model, "vocab") : root;
    if (!text)
        return -1;
    for (const weft_json *v = weft_json_is(list, WEFT_JSON_ARRAY) ? list->child : NULL; v;
         v = v->next) {
        const weft_json *content =
            weft_json_is(v, WEFT_JSON_OBJECT) ? weft_json_get(v, "content") : NULL;
        if (weft_json_is(content, WEFT_JSON_STRING) && !strcmp(content->text, text))
            id = weft_json_get(v, "id");
    }
    if (!id && weft_json_is(vocab, WEFT_JSON_OBJECT))
        id = weft_json_get(vocab, text);
    return weft_json_is(id, WEFT_JSON_INT) && id->i >= 0 ? id->i : -1;
}

/* Only a tokenizer of a usual name has the files beside it that declare tokens. */
static bool is_usual(const char *path)
{
    static const char *const name[] = {"tokenizer.json", "vocab.json", "encoder.json"};
    const char *slash = strrchr(path, '/');
    for (int i = 0; i < 3; i++)
        if (!strcmp(slash ? slash + 1 : path, name[i]))
            return true;
    return false;
}

weft_status weft_special_ids(weft_arena *a, const char *path, int64_t *bos, int64_t *eos)
{
    static const char *const beside[] = {"tokenizer_config.json", "special_tokens_map.json"};
    weft_json *root = NULL, *file[2] = {NULL, NULL};
    weft_ctx *c = weft_arena_ctx(a);
    int kind = 0;
    *bos = *eos = -1;
    WEFT_TRY(path ? weft_look(c, path, &kind) : WEFT_OK);
    const char *folder = kind == 2 ? path : NULL;
    if (folder)
        WEFT_TRY(weft_tokenizer_in(a, folder, &path));
    if (!path || !(folder = folder ? folder : weft_parent_dir(a, path)))
        return weft_error_status(c);
    WEFT_TRY(read_json(a, path, &root));
    for (int i = 0; i < 2 && is_usual(path); i++)
        WEFT_TRY(read_json(a, weft_arena_printf(a, "%s/%s", folder, beside[i]), &file[i]));
    if (!weft_json_is(root, WEFT_JSON_OBJECT))
        return weft_error_status(c);
    *bos = id_of(root, declared((const weft_json *const *)file, 2, "bos_token"));
    *eos = id_of(root, declared((const weft_json *const *)file, 2, "eos_token"));
    return WEFT_OK;
}

weft_status weft_tokenizer_ids(weft_ctx *c, const char *path, int64_t *bos, int64_t *eos)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_status s = a ? weft_special_ids(a, path, bos, eos) : weft_error_status(c);
    weft_arena_free(a);
    return s;
}
