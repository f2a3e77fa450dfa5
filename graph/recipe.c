/* recipe.c - reading a training recipe: which kind of file it is, defaults, settings, and the
 * checks of its values. */
#include "graph/recipe.h"

#include <stdio.h>
#include <string.h>

#include "graph/io.h"
#include "graph/reflect.h"

enum { SNIFF_LIMIT = 1 << 26 };

/* ---- model file or recipe? ---- */
static bool has_field(const ProtobufCMessageDescriptor *d, const char *name, size_t n)
{
    char word[64];
    if (n >= sizeof word)
        return false;
    memcpy(word, name, n);
    word[n] = 0;
    return protobuf_c_message_descriptor_get_field_by_name(d, word) != NULL;
}

/* End of the quoted string that begins at p. */
static const char *skip_string(const char *p)
{
    char quote = *p++;
    for (; *p && *p != quote; p++)
        p += *p == '\\' && p[1];
    return *p ? p + 1 : p;
}

/* Looks at the names of the outermost fields until one belongs to only one of the two messages. */
static weft_file_kind sniff_text(const char *p)
{
    const ProtobufCMessageDescriptor *model = &weft__model__descriptor,
                                     *recipe = &weft__recipe__descriptor;
    for (int depth = 0; *p;) {
        if (*p == '#')
            p += strcspn(p, "\n");
        else if (*p == '"' || *p == '\'')
            p = skip_string(p);
        else if (weft_is_alpha(*p)) {
            size_t n = 1;
            while (weft_is_alnum(p[n]) || p[n] == '_')
                n++;
            bool m = has_field(model, p, n), r = has_field(recipe, p, n);
            if (depth == 0 && m != r)
                return m ? WEFT_FILE_MODEL : WEFT_FILE_RECIPE;
            p += n;
        } else {
            depth += (*p == '{' || *p == '<' || *p == '[') - (*p == '}' || *p == '>' || *p == ']');
            p++;
        }
    }
    return WEFT_FILE_MODEL;
}

/* A broken model can pass as a recipe whose `set` strings are its modules; true settings are
 * "name=value". */
static bool has_settings_only(const Weft__Recipe *r)
{
    for (size_t i = 0; i < r->n_set; i++) {
        if (!strchr(r->set[i], '='))
            return false;
        for (const char *s = r->set[i]; *s; s++)
            if ((unsigned char)*s < 0x20)
                return false;
    }
    return true;
}

/* Binary: a recipe is what unpacks as one and not as a model. */
static weft_file_kind sniff_binary(weft_arena *a, const char *data, size_t n, const char *path)
{
    ProtobufCMessage *m;
    weft_ctx *c = weft_arena_ctx(a);
    const uint8_t *bytes = (const uint8_t *)data;
    if (!weft_binary_parse(a, &weft__model__descriptor, bytes, n, path, NULL, &m))
        return WEFT_FILE_MODEL;
    weft_error_clear(c);
    bool recipe = !weft_binary_parse(a, &weft__recipe__descriptor, bytes, n, path, NULL, &m) &&
                  has_settings_only((const Weft__Recipe *)m);
    weft_error_clear(c);
    return recipe ? WEFT_FILE_RECIPE : WEFT_FILE_MODEL;
}

weft_status weft_file_sniff(weft_ctx *c, const char *path, weft_file_kind *out)
{
    char *data;
    size_t n;
    *out = WEFT_FILE_MODEL;
    if (weft_is_shipped(path))
        return WEFT_OK;
    weft_arena *a = weft_arena_new(c, 0);
    if (!a)
        return weft_error_status(c);
    weft_status s = weft_read_file(a, path, SNIFF_LIMIT, &data, &n);
    if (!s) {
        bool binary = false;
        for (size_t i = 0; i < n && i < 512 && !binary; i++)
            binary = (unsigned char)data[i] < 0x20 && !weft_is_space(data[i]);
        size_t suffix = strlen(path);
        binary |= suffix > 6 && !strcmp(path + suffix - 6, ".binpb");
        *out = binary ? sniff_binary(a, data, n, path) : sniff_text(data);
    } else
        s = weft_folder_mistaken(a, path);
    weft_arena_free(a);
    return s;
}

/* ---- reading ---- */
/* "runs/NAME.txtpb" -> "NAME" */
static const char *stem(weft_arena *a, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    return weft_arena_strndup(a, base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

static void *make_part(weft_arena *a, const ProtobufCMessageDescriptor *d)
{
    ProtobufCMessage *m = weft_arena_alloc(a, d->sizeof_message);
    if (m)
        protobuf_c_message_init(d, m);
    return m;
}

static weft_status fill_parts(weft_recipe *r)
{
    Weft__Recipe *m = r->msg;
    if (!m->data)
        m->data = make_part(r->arena, &weft__data__descriptor);
    if (!m->train)
        m->train = make_part(r->arena, &weft__train__descriptor);
    if (!m->optimizer)
        m->optimizer = make_part(r->arena, &weft__optimizer__descriptor);
    if (!m->schedule)
        m->schedule = make_part(r->arena, &weft__schedule__descriptor);
    if (!m->eval)
        m->eval = make_part(r->arena, &weft__eval__descriptor);
    if (!m->checkpoint)
        m->checkpoint = make_part(r->arena, &weft__checkpoint__descriptor);
    return weft_error_status(r->ctx);
}

static weft_status add_setting(weft_recipe *r, const char *text, size_t name)
{
    if ((name == 1 && *text == 'B') || (name == 1 && *text == 'T'))
        return weft_fail(r->ctx, WEFT_USAGE, "'%s': a recipe sets %s by %s; use that", text,
                         *text == 'B' ? "B" : "T", *text == 'B' ? "train.batch" : "train.length");
    for (int i = 0; i < r->n_set; i++)
        if (!strncmp(r->set[i], text, name + 1)) {
            r->set[i] = text;
            return WEFT_OK;
        }
    if (!WEFT_GROW(r->arena, r->set, r->n_set, r->cap_set))
        return weft_error_status(r->ctx);
    r->set[r->n_set++] = text;
    return WEFT_OK;
}

/* "train.steps=5" and "name=x" are fields of the recipe, "d=64" a parameter of the model. */
static weft_status apply(weft_recipe *r, const char *setting)
{
    const char *text = weft_arena_strdup(r->arena, setting);
    size_t n = text ? strcspn(text, "=") : 0;
    if (!text)
        return WEFT_NOMEM;
    size_t valid = weft_utf8_prefix(text, strlen(text));
    if (text[valid]) /* the recipe that a run keeps could not be read */
        return weft_fail(r->ctx, WEFT_USAGE,
                         "setting '%s': not valid UTF-8 (byte 0x%02x, number %zu)", text,
                         (unsigned char)text[valid], valid + 1);
    if (!n || text[n] != '=')
        return weft_fail(r->ctx, WEFT_USAGE, "setting '%s': expected name=value", setting);
    if (!memchr(text, '.', n) && !has_field(&weft__recipe__descriptor, text, n))
        return add_setting(r, text, n);
    const char *name = weft_arena_strndup(r->arena, text, n);
    if (!name)
        return WEFT_NOMEM;
    return weft_message_set(r->arena, &r->msg->base, name, text + n + 1);
}

/* A setting from outside of the file: messages name it instead of a line. */
static weft_status give(weft_recipe *r, const char *setting)
{
    const char *meant = weft_recipe_own_path(r, setting);
    WEFT_TRY(meant ? apply(r, meant) : WEFT_NOMEM);
    const char *text = weft_arena_strdup(r->arena, setting);
    if (!text || !WEFT_GROW(r->arena, r->given, r->n_given, r->cap_given))
        return WEFT_NOMEM;
    r->given[r->n_given++] = text;
    return WEFT_OK;
}

static weft_status load(weft_recipe *r, const char *file, const char *path, const char *const *set,
                        int n_set)
{
    ProtobufCMessage *m;
    r->path = weft_arena_strdup(r->arena, path);
    r->lines = weft_lines_new(r->arena);
    file = weft_arena_strdup(r->arena, file); /* lines keep it */
    if (!r->path || !r->lines || !file)
        return weft_error_status(r->ctx);
    WEFT_TRY(weft_message_load(r->arena, &weft__recipe__descriptor, file, r->lines, &m));
    r->msg = (Weft__Recipe *)m;
    WEFT_TRY(fill_parts(r));
    for (size_t i = 0; i < r->msg->n_set; i++)
        WEFT_TRY(apply(r, r->msg->set[i]));
    for (int i = 0; i < n_set; i++)
        WEFT_TRY(give(r, set[i]));
    r->name = r->msg->name && *r->msg->name ? r->msg->name : stem(r->arena, path);
    WEFT_TRY(weft_recipe_settle(r));
    return weft_recipe_check(r, true);
}

static weft_recipe *make_recipe(weft_ctx *c)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_recipe *r = a ? weft_arena_alloc(a, sizeof *r) : NULL;
    if (!r) {
        weft_arena_free(a);
        return NULL;
    }
    r->ctx = c;
    r->arena = a;
    return r;
}

static weft_status make(weft_ctx *c, const char *file, const char *path, const char *const *set,
                        int n_set, weft_recipe **out)
{
    *out = NULL;
    weft_recipe *r = make_recipe(c);
    if (!r || load(r, file, path, set, n_set)) {
        weft_recipe_free(r);
        return weft_error_status(c);
    }
    *out = r;
    return WEFT_OK;
}

weft_status weft_recipe_load(weft_ctx *c, const char *path, const char *const *set, int n_set,
                             weft_recipe **out)
{
    return make(c, path, path, set, n_set, out);
}

weft_status weft_recipe_load_as(weft_ctx *c, const char *file, const char *path, weft_recipe **out)
{
    return make(c, file, path, NULL, 0, out);
}

weft_status weft_recipe_set(weft_recipe *r, const char *setting)
{
    weft_recipe_unsettle(r);
    WEFT_TRY(give(r, setting));
    WEFT_TRY(weft_recipe_settle(r));
    return weft_recipe_check(r, r->msg->model != NULL);
}

weft_status weft_recipe_default(weft_ctx *c, const char *loss, weft_recipe **out)
{
    *out = NULL;
    weft_recipe *r = make_recipe(c);
    if (r && (r->msg = make_part(r->arena, &weft__recipe__descriptor)) && !fill_parts(r)) {
        r->path = r->name = "default recipe";
        r->msg->train->loss = weft_arena_strdup(r->arena, loss);
        weft_recipe_settle(r);
    }
    if (weft_error_status(c)) {
        weft_recipe_free(r);
        return weft_error_status(c);
    }
    *out = r;
    return WEFT_OK;
}

void weft_recipe_free(weft_recipe *r)
{
    if (r)
        weft_arena_free(r->arena);
}

const char *weft_recipe_name(const weft_recipe *r) { return r->name; }
const char *weft_recipe_loss(const weft_recipe *r) { return r->msg->train->loss; }
const char *weft_recipe_eval_loss(const weft_recipe *r)
{
    const char *own = r->msg->eval->loss;
    return own && *own ? own : r->msg->train->loss;
}

static const Weft__Data no_data = WEFT__DATA__INIT;
const char *weft_recipe_label_value(const weft_recipe *r)
{
    return (r ? r->msg->data : &no_data)->label_value;
}
const char *weft_recipe_score_value(const weft_recipe *r)
{
    return (r ? r->msg->data : &no_data)->score_value;
}

const char *weft_recipe_file(const weft_recipe *r, weft_recipe_path which)
{
    return r->file[which];
}

/* What the model has no parameter for may be meant as a field of the recipe: lr is schedule.lr. */
static weft_status set_parameter(weft_recipe *r, weft_model *m, const char *setting)
{
    char hint[200] = "";
    const char *name = weft_arena_strndup(r->arena, setting, strcspn(setting, "= "));
    if (!name)
        return weft_error_status(r->ctx);
    if (!weft_model_has(m, name))
        weft_path_hint(hint, sizeof hint, &weft__recipe__descriptor, name,
                       !weft_model_near(m, name));
    if (*hint)
        return weft_fail(
            r->ctx, WEFT_USAGE,
            "setting %s: neither a parameter of module '%s' nor a field of the recipe; "
            "did you mean %s?",
            name, m->main->name, hint);
    weft_status s = weft_model_set(m, setting);
    return s == WEFT_USAGE && !weft_model_has(m, name)
               ? weft_note(r->ctx, "fields of the recipe are named with their part, like "
                                   "train.steps or schedule.lr (docs/training.md)")
               : s;
}

weft_status weft_recipe_model(weft_recipe *r, int64_t batch, int64_t length, weft_model **out)
{
    const Weft__Train *t = r->msg->train;
    *out = NULL;
    weft_status s = weft_model_load(r->ctx, r->model, NULL, 0, out);
    for (int i = 0; i < r->n_set && !s; i++)
        s = set_parameter(r, *out, r->set[i]);
    if (!s)
        s = weft_model_size(*out, batch ? batch : t->batch,
                            length          ? length
                            : t->has_length ? t->length
                                            : 0);
    if (!s)
        return WEFT_OK;
    weft_model_free(*out);
    *out = NULL;
    return weft_note(r->ctx, "in recipe %s", r->path);
}

/* ---- writing ---- */
/* Makes every scalar default explicit, so that the file still says what was run when a default
 * changes. */
static void write_defaults(ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset && f->default_value)
            *(protobuf_c_boolean *)((char *)m + f->quantifier_offset) = 1;
    }
}

static weft_status copy_for(weft_recipe *r, const char *path, const char *model, Weft__Recipe *out)
{
    Weft__Recipe copy = *r->msg;
    copy.model = weft_arena_strdup(r->arena, model);
    copy.name = (char *)weft_utf8_text(r->arena, r->name); /* of a file's name, any bytes */
    copy.set = (char **)r->set;
    copy.n_set = (size_t)r->n_set;
    copy.root = (char *)(uintptr_t)weft_recipe_root_from(r, path);
    if (!copy.model || !copy.name || !copy.root)
        return weft_error_status(r->ctx);
    if (copy.root[weft_utf8_prefix(copy.root, strlen(copy.root))])
        return weft_fail(r->ctx, WEFT_CANTCREATE,
                         "%s: the recipe there cannot say where its data are: the folder's name is "
                         "no UTF-8; a run below that folder need not",
                         path);
    ProtobufCMessage *const part[] = {&copy.train->base, &copy.optimizer->base,
                                      &copy.schedule->base, &copy.eval->base,
                                      &copy.checkpoint->base};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        write_defaults(part[i]);
    *out = copy;
    return WEFT_OK;
}

weft_status weft_recipe_text(weft_recipe *r, const char *path, const char *model, char **out)
{
    Weft__Recipe copy;
    weft_string s;
    *out = NULL;
    WEFT_TRY(copy_for(r, path, model, &copy));
    weft_string_init(&s, r->ctx);
    if (!weft_text_print(&copy.base, &s))
        return weft_string_take(&s, out);
    weft_string_free(&s);
    return weft_error_status(r->ctx);
}

weft_status weft_recipe_save(weft_recipe *r, const char *path, const char *model)
{
    Weft__Recipe copy;
    WEFT_TRY(copy_for(r, path, model, &copy));
    return weft_message_save(r->ctx, &copy.base, path);
}
