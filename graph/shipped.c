/* shipped.c - model files that are carried in the library, by the name "shipped:gpt2": they are
 * there wherever the tool runs, and no file of the same name comes before them. */
#include <stdio.h>
#include <string.h>

#include "graph/load.h"

static const char prefix[] = "shipped:";

bool weft_is_shipped(const char *path) { return !strncmp(path, prefix, sizeof prefix - 1); }

/* Length without ".txtpb". */
static size_t stem_length(const char *name)
{
    size_t n = strlen(name);
    return n > 6 && !strcmp(name + n - 6, ".txtpb") ? n - 6 : n;
}

weft_status weft_shipped_find(weft_ctx *c, const char *path, const weft_shipped_file **out)
{
    const char *name = path + sizeof prefix - 1;
    char list[512] = "", shown[128];
    size_t n = stem_length(name);
    for (const weft_shipped_file *f = weft_models_shipped; f->name; f++) {
        size_t at = strlen(list);
        *out = f;
        if (strlen(f->name) == n && !memcmp(f->name, name, n))
            return WEFT_OK;
        snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", f->name);
    }
    *out = NULL;
    return weft_fail(c, WEFT_MISSING, "%s: no such model file comes with Weft; there are %s",
                     weft_printable(shown, sizeof shown, path), list);
}
