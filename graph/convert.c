/* convert.c - what import and export of weights share: settings, descriptions, tensors as they are
 * written. */
#include "graph/convert.h"

#include <stdio.h>
#include <string.h>

#include "graph/ir.h"

enum { DESCRIPTION_LIMIT = 16 << 20 };

/* ---- what was known and found ---- */
static bool is_set_by(char *const *set, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (!strncmp(set[i], name, len) && set[i][len] == '=')
            return true;
    return false;
}

/* Does the map speak of this parameter, in a shape, a key or a form? */
static bool is_mentioned(const weft_conversion *j, const char *name)
{
    const Weft__Names *n = j->names.msg;
    if (weft_params_find(&j->match.params, name, strlen(name)))
        return true;
    for (size_t i = 0; i < n->n_form; i++) {
        for (size_t k = 0; k < n->form[i]->n_field; k++)
            if (n->form[i]->field[k]->param && !strcmp(n->form[i]->field[k]->param, name))
                return true;
        if (is_set_by(n->form[i]->set, n->form[i]->n_set, name) ||
            is_set_by(n->form[i]->assume, n->form[i]->n_assume, name))
            return true;
    }
    return false;
}

static bool is_set_again(const weft_conversion *j, int i, size_t n)
{
    for (int k = i + 1; k < j->o->n_set; k++)
        if (!strncmp(j->o->set[i], j->o->set[k], n + 1))
            return true;
    return false;
}

weft_status weft_convert_bind(weft_conversion *j, bool strict)
{
    for (int i = 0; i < j->o->n_set; i++) {
        const char *text = j->o->set[i];
        size_t n = strcspn(text, "=");
        double v;
        if (!n || !text[n] || !weft_parse_f64(text + n + 1, &v))
            return weft_fail(j->ctx, WEFT_USAGE, "setting '%s': expected NAME=NUMBER", text);
        if (is_set_again(j, i, n))
            continue;
        const char *name = weft_arena_strndup(j->arena, text, n);
        if (!name)
            return WEFT_NOMEM;
        if (strict && !is_mentioned(j, name)) {
            if (j->o->more_settings)
                continue;
            return weft_fail(j->ctx, WEFT_USAGE, "setting '%s': %s knows no such parameter", text,
                             j->names.label);
        }
        WEFT_TRY(weft_match_bind(&j->match, name, v, "--set"));
    }
    return WEFT_OK;
}

weft_status weft_convert_bind_new(weft_conversion *j, const char *name, double v,
                                  const char *origin)
{
    if (weft_params_find(&j->match.params, name, strlen(name)))
        return WEFT_OK;
    name = weft_arena_strdup(j->arena, name);
    return name ? weft_match_bind(&j->match, name, v, origin) : WEFT_NOMEM;
}

weft_status weft_convert_json(weft_conversion *j, const char *folder, const char *name,
                              const char **path, weft_json **out)
{
    char *text;
    size_t n;
    *out = NULL;
    *path = weft_arena_printf(j->arena, "%s/%s", folder, name);
    if (!*path)
        return WEFT_NOMEM;
    int kind;
    WEFT_TRY(weft_look(j->ctx, *path, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_read_file(j->arena, *path, DESCRIPTION_LIMIT, &text, &n));
    return weft_json_parse_file(j->arena, *path, text, n, out);
}

const char *weft_convert_folder(weft_conversion *j, const char *path)
{
    int kind;
    if (weft_look(j->ctx, path, &kind))
        return NULL;
    return kind == 2 ? path : weft_parent_dir(j->arena, path);
}

weft_status weft_convert_match(weft_conversion *j)
{
    for (int k = 0; k < j->set.n; k++)
        for (int i = 0; i < j->set.file[k]->n; i++)
            WEFT_TRY(
                weft_match_add(&j->match, j->set.file[k], weft_tensor_file_at(j->set.file[k], i)));
    return weft_match_finish(&j->match);
}

/* ---- writing items ---- */
weft_type weft_convert_type(const weft_match_item *it)
{
    int64_t dim[WEFT_MAX_RANK];
    int rank = it->entry->rank;
    for (int i = 0; i < rank; i++)
        dim[i] = it->entry->dim[it->rule->transpose ? rank - 1 - i : i];
    return weft_type_make(WEFT_F32, rank, dim);
}

weft_status weft_convert_wrote(weft_conversion *j, const char *path)
{
    if (!WEFT_GROW(j->arena, j->written, j->n_written, j->cap_written))
        return j->ctx->status;
    j->written[j->n_written++] = path;
    return WEFT_OK;
}

weft_status weft_convert_write(weft_conversion *j, const char *path, const char *prefix, int first,
                               int n, const weft_meta *meta, int n_meta)
{
    weft_tensor_out *out = weft_arena_array(j->arena, (size_t)n, sizeof *out);
    weft_tensor_source *source = weft_arena_array(j->arena, (size_t)n, sizeof *source);
    weft_stream *stream = weft_arena_array(j->arena, (size_t)n, sizeof *stream);
    int64_t bytes;
    if (!out || !source || !stream)
        return j->ctx->status;
    for (int i = 0; i < n; i++) {
        const weft_match_item *it = &j->match.item[first + i];
        stream[i] = (weft_stream){.item = it,
                                  .ctx = j->ctx,
                                  .to = j->to,
                                  .type = weft_convert_type(it),
                                  .scratch = j->scratch,
                                  .path = j->match.from};
        source[i] = (weft_tensor_source){j->to->name, weft_stream_put, &stream[i]};
        out[i] = (weft_tensor_out){.name = it->name, .type = stream[i].type};
        if (*prefix && !it->rule->bare)
            out[i].name = weft_arena_printf(j->arena, "%s%s", prefix, it->name);
        if (!out[i].name)
            return j->ctx->status;
        j->r->parameters += weft_type_count(&out[i].type);
    }
    WEFT_TRY(weft_convert_wrote(j, path)); /* a file can be there whose writing failed at the end */
    WEFT_TRY(weft_tensor_file_stream(j->ctx, path, out, source, n, meta, n_meta, &bytes));
    j->r->bytes += bytes;
    j->r->tensors += n;
    j->r->files++;
    return WEFT_OK;
}

/* ---- beginning and end ---- */
weft_status weft_convert_begin(weft_conversion *j, weft_ctx *c, const weft_convert_options *o,
                               weft_convert_result *r)
{
    *r = (weft_convert_result){0};
    *j = (weft_conversion){.ctx = c, .arena = weft_arena_new(c, 0), .o = o, .r = r};
    if (!j->arena)
        return c->status;
    weft_string_init(&j->known, c);
    weft_string_init(&j->notes, c);
    j->set.arena = j->arena;
    j->scratch = weft_realloc(c, NULL, WEFT_CONVERT_BYTES); /* not zeroed */
    return j->scratch ? weft_names_load(j->arena, o->names, &j->names) : c->status;
}

static weft_status note_known(weft_conversion *j)
{
    char number[40];
    const weft_params *p = &j->match.params;
    for (int i = 0; i < p->n; i++)
        weft_string_printf(&j->known, "%s=%s\n", p->p[i].name,
                           weft_names_number(number, sizeof number, p->p[i].value));
    return j->known.failed || j->notes.failed ? j->ctx->status : WEFT_OK;
}

weft_status weft_convert_end(weft_conversion *j, weft_status s)
{
    if (!j->arena)
        return s;
    if (!s)
        s = note_known(j);
    if (!s) {
        j->r->ignored = j->match.ignored;
        j->r->tied = j->match.tied;
        j->r->outside = j->match.outside;
        j->r->set = j->known.s;
        j->r->notes = j->notes.s;
    } else {
        weft_string_free(&j->known);
        weft_string_free(&j->notes);
    }
    if (j->match.ctx)
        weft_match_free(&j->match);
    weft_tensor_set_close(&j->set);
    weft_free(j->ctx, j->scratch);
    weft_arena_free(j->arena);
    return s;
}

void weft_convert_result_free(weft_ctx *c, weft_convert_result *r)
{
    weft_text_free(c, r->set);
    weft_text_free(c, r->notes);
    r->set = r->notes = NULL;
}
