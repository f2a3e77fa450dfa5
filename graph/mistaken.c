/* mistaken.c - what a file is that cannot be read as the message it was taken for: another one of
 * ours, JSON, or a folder. */
#include <string.h>

#include "graph/load.h"
#include "graph/reflect.h"
#include "graph/told.h"
#include "names.pb-c.h"

/* ---- the outermost field names of a text ---- */
/* Goes on behind a comment, a string, or one other character. */
static const char *skip(const char *p, const char *end, int *depth)
{
    if (*p == '#')
        while (p < end && *p != '\n')
            p++;
    else if (*p == '"' || *p == '\'') {
        char quote = *p++;
        while (p < end && *p != quote)
            p += *p == '\\' && p + 1 < end ? 2 : 1;
        p += p < end;
    } else {
        *depth += strchr("{<[", *p) && *p ? 1 : strchr("}>]", *p) && *p ? -1 : 0;
        p++;
    }
    return p;
}

/* Has the text names outside of all brackets before ':' or '{', and are all of them fields of d? */
static bool reads_as(const char *p, const char *end, const ProtobufCMessageDescriptor *d)
{
    int depth = 0, found = 0;
    while (p < end) {
        char word[64];
        size_t n = 0;
        while (p + n < end && (weft_is_alnum(p[n]) || p[n] == '_'))
            n++;
        if (!n) {
            p = skip(p, end, &depth);
            continue;
        }
        const char *next = p + n;
        while (next < end && weft_is_space(*next))
            next++;
        if (depth == 0 && next < end && (*next == ':' || *next == '{')) {
            if (n >= sizeof word)
                return false;
            memcpy(word, p, n);
            word[n] = 0;
            if (!protobuf_c_message_descriptor_get_field_by_name(d, word))
                return false;
            found++;
        }
        p += n;
    }
    return found > 0;
}

/* ---- JSON ---- */
static bool is_json(const char *p, const char *end)
{
    while (p < end && weft_is_space(*p))
        p++;
    return p < end && (*p == '{' || *p == '[');
}

static bool has(const char *data, size_t n, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= n; i++)
        if (data[i] == word[0] && !memcmp(data + i, word, len))
            return true;
    return false;
}

static const char *json_kind(const char *data, size_t n)
{
    return has(data, n, "\"merges\"")       ? "JSON, a tokenizer as it looks"
           : has(data, n, "\"model_type\"") ? "JSON, a config.json as it looks"
           : has(data, n, "\"weight_map\"") ? "JSON, an index of safetensors as it looks"
                                            : "JSON";
}

/* ---- folders ---- */
static bool holds(weft_arena *a, const char *folder, const char *name)
{
    const char *path = weft_arena_printf(a, "%s/%s", folder, name);
    int kind = 0;
    return path && !weft_look(weft_arena_ctx(a), path, &kind) && kind == 1;
}

static bool holds_weights(weft_arena *a, const char *folder)
{
    static const char *const name[] = {"config.json", "model.safetensors",
                                       "model.safetensors.index.json", "pytorch_model.bin"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++)
        if (holds(a, folder, name[i]))
            return true;
    return false;
}

/* The run whose checkpoint, or folder of all checkpoints, this is; NULL: none's. */
static const char *run_above(weft_arena *a, const char *folder, bool *all)
{
    weft_ctx *c = weft_arena_ctx(a);
    const char *up = weft_parent_dir(a, folder), *run = NULL;
    const char *home = up ? weft_arena_printf(a, "%s/checkpoints", up) : NULL;
    *all = false;
    if (!home || weft_same_file(c, folder, home, all) || weft_run_of(a, folder, &run))
        return NULL;
    run = *all ? up : run ? weft_parent_dir(a, up) : NULL;
    return run && holds(a, run, "recipe.txtpb") ? run : NULL;
}

weft_status weft_folder_mistaken(weft_arena *a, const char *path)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_status s = weft_error_status(c);
    int kind = 0;
    bool all;
    if (s != WEFT_MISSING || weft_look(c, path, &kind) || kind != 2)
        return weft_error_status(c);
    if (holds(a, path, "recipe.txtpb"))
        return weft_note(c, "%s is the folder of a run; its recipe is %s/recipe.txtpb", path, path);
    const char *run = run_above(a, path, &all);
    if (run)
        return weft_note(c, "%s %s of a run: name the run, %s", path,
                         all ? "holds the checkpoints" : "is a checkpoint", run);
    if (!holds_weights(a, path))
        return weft_note(c, "it is no run directory, as there is no recipe.txtpb in it: name a "
                            "file, a recipe or a model");
    weft_note(c,
              "it is a model of another program, as it looks: weft generate %s and weft eval %s "
              "take it as it is,",
              path, path);
    return weft_note(c,
                     "and weft import makes a file of it, for --weights and for a recipe's load");
}

/* ---- messages ---- */
static const char *name_of(const ProtobufCMessageDescriptor *d)
{
    return d == &weft__model__descriptor    ? "a model"
           : d == &weft__recipe__descriptor ? "a recipe"
                                            : "a name map";
}

static weft_status take_recipe(weft_ctx *c, const char *path)
{
    weft_fail(c, WEFT_MALFORMED,
              "%s is a model; expected a recipe, which says on what and how a model is trained",
              path);
    weft_note(
        c, "these lines are one; save them as recipe.txtpb beside the model, and name that file:");
    weft_note(c, "model: \"%s\"", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
    weft_note(
        c,
        "data { train: \"data/train.bin\" val: \"data/val.bin\" }  # made by weft tokenize encode");
    weft_note(c, "train { steps: 1000 batch: 8 }");
    return weft_note(c, "schedule { lr: 1e-3 }");
}

weft_status weft_message_mistaken(weft_ctx *c, const ProtobufCMessageDescriptor *want,
                                  const char *path, const char *data, size_t n)
{
    static const ProtobufCMessageDescriptor *const ours[] = {
        &weft__model__descriptor, &weft__recipe__descriptor, &weft__names__descriptor};
    weft_status s = weft_error_status(c);
    const char *end = data + n;
    if (s == WEFT_MALFORMED && memchr(data, 0, n) && !strstr(path, ".binpb"))
        return weft_note(c, "it is no text, so it was read as %s in protobuf's binary form",
                         name_of(want));
    if (s != WEFT_MALFORMED || reads_as(data, end, want))
        return s; /* it is one, with a mistake */
    for (int i = 0; i < 3; i++) {
        if (ours[i] == want || !reads_as(data, end, ours[i]))
            continue;
        weft_error_clear(c);
        if (want == &weft__recipe__descriptor && ours[i] == &weft__model__descriptor)
            return take_recipe(c, path);
        weft_fail(c, WEFT_MALFORMED, "%s is %s; expected %s", path, name_of(ours[i]),
                  name_of(want));
        return want == &weft__model__descriptor && ours[i] == &weft__recipe__descriptor
                   ? weft_note(c, "the model that a recipe trains is named by its field 'model'")
                   : WEFT_MALFORMED;
    }
    if (!is_json(data, end))
        return s;
    weft_error_clear(c);
    return weft_fail(c, WEFT_MALFORMED, "%s is %s; expected %s", path, json_kind(data, n),
                     name_of(want));
}
