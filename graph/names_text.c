/* names_text.c - name maps as text: which are shipped, one of them, and its scope. */
#include <string.h>

#include "graph/names.h"

/* "hf-gpt2  Hugging Face GPT-2: models/gpt2.txtpb" */
static weft_status list_names(weft_ctx *c, weft_string *s)
{
    for (const weft_shipped_file *f = weft_names_shipped; f->name; f++) {
        weft_names names;
        weft_arena *a = weft_arena_new(c, 0);
        weft_status st = a ? weft_names_load(a, f->name, &names) : c->status;
        if (!st)
            weft_string_printf(s, "%-12s %s\n", f->name, names.msg->doc ? names.msg->doc : "");
        weft_arena_free(a);
        WEFT_TRY(st);
    }
    return WEFT_OK;
}

weft_status weft_names_scope(weft_ctx *c, const char *name, char **out)
{
    weft_string s;
    weft_names names;
    *out = NULL;
    weft_string_init(&s, c);
    weft_arena *a = weft_arena_new(c, 0);
    weft_status st = a ? weft_names_load(a, name, &names) : c->status;
    if (!st)
        weft_string_printf(&s, "%s", names.msg->scope ? names.msg->scope : "");
    weft_arena_free(a);
    if (!st)
        return weft_string_take(&s, out);
    weft_string_free(&s);
    return st;
}

weft_status weft_names_text(weft_ctx *c, const char *name, char **out)
{
    weft_string s;
    weft_names names;
    *out = NULL;
    weft_string_init(&s, c);
    weft_status st = WEFT_OK;
    const weft_shipped_file *f = weft_names_shipped;
    while (name && f->name && strcmp(f->name, name))
        f++;
    if (!name)
        st = list_names(c, &s);
    else if (f->name)
        weft_string_add(&s, f->text, f->n);
    else {
        weft_arena *a = weft_arena_new(c, 0);
        st = a ? weft_names_load(a, name, &names) : c->status; /* says what there is */
        if (!st)
            st = weft_text_print(&names.msg->base, &s);
        weft_arena_free(a);
    }
    if (!st)
        return weft_string_take(&s, out);
    weft_string_free(&s);
    return st;
}
