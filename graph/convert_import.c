/* convert_import.c - weights of other programs into a file of ours. */
#include <stdio.h>
#include <string.h>

#include "graph/convert.h"

/* ---- what the files say ---- */
static const weft_match_item *item_from(const weft_match *m, const char *from)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->item[i].rule->from, from))
            return &m->item[i];
    return NULL;
}

/* Copies leave the list, but only if they are copies. */
static weft_status drop_tied(weft_conversion *j)
{
    weft_match *m = &j->match;
    int kept = 0;
    for (int i = 0; i < m->n; i++)
        if (m->item[i].rule->tie) {
            const weft_match_item *of = item_from(m, m->item[i].rule->tie);
            bool same = false;
            if (of)
                WEFT_TRY(weft_tensor_same(m->item[i].file, m->item[i].entry, of->file, of->entry,
                                          &same));
            if (!same)
                return weft_fail(
                    j->ctx, WEFT_MISMATCH,
                    "%s: %s is not a copy of %s, but the model has one weight for both: save it "
                    "with tied embeddings, or read it into a model file whose head has a weight of "
                    "its own",
                    m->from, m->item[i].entry->name, m->item[i].rule->tie);
            m->tied++;
        }
    for (int i = 0; i < m->n; i++)
        if (!m->item[i].rule->tie)
            m->item[kept++] = m->item[i];
    m->n = kept;
    return WEFT_OK;
}

/* What stands beside the weights, or in them. */
static weft_status read_description(weft_conversion *j, const char *path)
{
    const Weft__Names *n = j->names.msg;
    if (!n->config) {
        const weft_description d = {.label = j->match.from, .meta = j->set.file[0]};
        return weft_names_read(&j->match, &d);
    }
    const char *folder = weft_convert_folder(j, path), *file;
    weft_json *json;
    WEFT_TRY(folder ? weft_convert_json(j, folder, n->config, &file, &json) : WEFT_NOMEM);
    if (!json && n->required)
        return weft_fail(j->ctx, WEFT_MISSING,
                         "%s: no such file, and without it nobody can tell what the weights mean",
                         file);
    if (!json) {
        weft_string_printf(&j->notes, "there is no %s: parameters are those that shapes tell\n",
                           n->config);
        return WEFT_OK;
    }
    weft_description d = {.label = file, .json = json};
    if (n->settings)
        WEFT_TRY(weft_settings_read(j->arena, folder, n->settings, &d.settings_label,
                                    (weft_json **)&d.settings));
    return weft_names_read(&j->match, &d);
}

/* Parameters that the form speaks of and nobody knows. */
static void note_unknown(weft_conversion *j)
{
    const Weft__Names *n = j->names.msg;
    const Weft__Form *form = j->match.form ? j->match.form : n->n_form ? n->form[0] : NULL;
    for (size_t k = 0; form && k < form->n_field; k++) {
        const char *p = form->field[k]->param;
        if (p && !weft_params_find(&j->match.params, p, strlen(p)))
            weft_string_printf(&j->notes, "%s is not told by these files: give --set %s=NUMBER%s\n",
                               p, p,
                               j->o->more_settings ? "; checked with the model's default" : "");
    }
}

static weft_status put_id(weft_conversion *j, const char *key, int64_t id, const char *list,
                          weft_meta *meta, int *n)
{
    if (id >= 0)
        meta[(*n)++] = (weft_meta){key, weft_ids_text(j->arena, id, list)};
    return weft_error_status(j->ctx);
}

static weft_status find_meta(weft_conversion *j, weft_meta **out, int *n)
{
    char number[40];
    const weft_params *p = &j->match.params;
    weft_meta *meta = weft_arena_array(j->arena, (size_t)p->n + 3, sizeof *meta);
    for (int i = 0; meta && i < p->n; i++) {
        weft_names_number(number, sizeof number, p->p[i].value);
        meta[i + 1] = (weft_meta){weft_arena_printf(j->arena, "param.%s", p->p[i].name),
                                  weft_arena_strdup(j->arena, number)};
    }
    if (j->ctx->status)
        return j->ctx->status;
    meta[0] = (weft_meta){"format", "pt"};
    *out = meta;
    *n = p->n + 1;
    WEFT_TRY(put_id(j, "bos_token_id", j->match.bos, NULL, meta, n));
    return put_id(j, "eos_token_id", j->match.eos, j->match.eos_list, meta, n);
}

/* ---- the file that is written ---- */
/* What is replaced is an earlier import at most: never other data, never what is being read. */
static weft_status check_output(weft_conversion *j, const char *out)
{
    weft_tensor_file *f;
    char shown[512];
    int kind;
    bool same;
    WEFT_TRY(weft_look_out(j->ctx, out, &kind));
    if (!kind)
        return WEFT_OK;
    weft_printable(shown, sizeof shown, out);
    for (int i = 0; i < j->set.n; i++) {
        WEFT_TRY(weft_same_file(j->ctx, out, j->set.file[i]->path, &same));
        if (same)
            return weft_fail(j->ctx, WEFT_CANTCREATE,
                             "%s: is a file of what is imported; choose another", shown);
    }
    weft_status s = weft_tensor_file_open(j->ctx, out, &f);
    weft_tensor_file_close(f);
    if (!s || s == WEFT_NOMEM || s == WEFT_IO)
        return s;
    weft_error_clear(j->ctx);
    return weft_fail(j->ctx, WEFT_CANTCREATE,
                     "%s: is there already, and no safetensors file; choose another", shown);
}

static weft_status import(weft_conversion *j, const char *path, const char *out)
{
    weft_meta *meta;
    const char *guess;
    int n_meta;
    j->to = weft_file_dtype_of(WEFT_F32);
    WEFT_TRY(weft_tensor_set_open(&j->set, path, j->names.msg->weights));
    WEFT_TRY(check_output(j, out));
    weft_match_init(&j->match, j->arena, &j->names, false, "", path);
    WEFT_TRY(weft_convert_match(j));
    if (!j->match.n)
        return weft_fail(j->ctx, WEFT_MISMATCH, "%s: there is no tensor", path);
    WEFT_TRY(read_description(j, path));
    WEFT_TRY(weft_convert_bind(j, true));
    WEFT_TRY(weft_names_assume(&j->match, &guess));
    WEFT_TRY(weft_names_bounds(&j->match));
    WEFT_TRY(drop_tied(j));
    if (guess)
        weft_string_printf(&j->notes, "%s\n", guess);
    note_unknown(j);
    WEFT_TRY(find_meta(j, &meta, &n_meta));
    return weft_convert_write(j, out, j->o->prefix ? j->o->prefix : "", 0, j->match.n, meta,
                              n_meta);
}

weft_status weft_weights_import(weft_ctx *c, const char *path, const char *out,
                                const weft_convert_options *o, weft_convert_result *r)
{
    weft_conversion j;
    weft_status s = weft_convert_begin(&j, c, o, r);
    if (!s)
        s = import(&j, path, out);
    return weft_convert_end(&j, s);
}
