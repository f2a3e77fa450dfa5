/* recipe_settings.c - what a recipe says, field by field, as --set takes it: defaults included, and
 * paths as the working directory sees them. */
#include <stdio.h>
#include <string.h>

#include "graph/recipe.h"
#include "graph/reflect.h"

/* Strings as --set takes them, without quotes; a newline would end the setting. */
static void add_value(weft_string *s, const weft_field *f, const void *at)
{
    const char *text;
    if (f->type != PROTOBUF_C_TYPE_STRING) {
        weft_field_print(s, f, at);
        return;
    }
    memcpy(&text, at, sizeof text);
    for (; text && *text; text++)
        weft_string_printf(s, *text == '\n' ? "\\n" : "%c", *text);
}

/* A scalar that is neither set nor has a default says nothing. */
static size_t value_count(const ProtobufCMessage *m, const weft_field *f)
{
    size_t n = weft_field_count(m, f);
    return f->label != PROTOBUF_C_LABEL_REPEATED && f->default_value ? 1 : n;
}

/* Recipes nest two deep, so recursion is bounded by the schema. */
static void add_fields(weft_string *s, const char *prefix, const ProtobufCMessage *m)
{
    char name[256];
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const weft_field *f = &m->descriptor->fields[i];
        bool list = f->label == PROTOBUF_C_LABEL_REPEATED;
        for (size_t k = 0; k < value_count(m, f); k++) {
            const ProtobufCMessage *sub;
            snprintf(name, sizeof name, list ? "%s%s[%zu]" : "%s%s", prefix, f->name, k);
            if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
                strncat(name, ".", sizeof name - strlen(name) - 1);
                memcpy(&sub, weft_field_at(m, f, k), sizeof sub);
                add_fields(s, name, sub);
                continue;
            }
            weft_string_printf(s, "%s=", name);
            add_value(s, f, weft_field_at(m, f, k));
            weft_string_add(s, "\n", 1);
        }
    }
}

static char *meant(const weft_recipe *r, const char *path)
{
    return (char *)(uintptr_t)weft_recipe_absolute(r, path);
}

/* The recipe with its paths as the working directory sees them: other recipes, with other roots,
 * may mean the same. */
static weft_status copy_meant(const weft_recipe *r, Weft__Recipe *m, Weft__Data *d)
{
    *m = *r->msg;
    *d = *m->data;
    m->data = d;
    m->root = NULL;
    m->n_set = 0; /* r->set has the last word on each */
    m->name = (char *)(uintptr_t)r->name;
    char **const path[] = {&d->train, &d->val, &d->tokenizer, &d->labels, &d->val_labels};
    for (int i = 0; i < 5; i++)
        *path[i] = r->file[i] ? meant(r, r->file[i]) : *path[i];
    m->load = weft_arena_array(r->arena, m->n_load + 1, sizeof *m->load);
    Weft__Load *load = weft_arena_array(r->arena, m->n_load + 1, sizeof *load);
    for (size_t i = 0; m->load && load && i < m->n_load; i++) {
        load[i] = *r->msg->load[i];
        load[i].file = meant(r, r->load_file[i]);
        m->load[i] = &load[i];
    }
    return weft_error_status(r->ctx);
}

weft_status weft_recipe_settings(const weft_recipe *r, char **out)
{
    weft_string s;
    Weft__Recipe m;
    Weft__Data data;
    *out = NULL;
    WEFT_TRY(copy_meant(r, &m, &data));
    weft_string_init(&s, r->ctx);
    add_fields(&s, "", &m.base);
    for (int i = 0; i < r->n_set; i++)
        weft_string_printf(&s, "%s\n", r->set[i]);
    return weft_string_take(&s, out);
}
