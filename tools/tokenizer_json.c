/* tokenizer_json.c - tokenizers in files: Hugging Face's tokenizer.json, and GPT-2's vocab.json
 * with merges.txt.
 *
 * Strict: a key that is not known, or a known one with a value that would change the ids and is not
 * implemented, is refused by its JSON path, since ids that are silently different ruin a model.
 * Format: Hugging Face tokenizers' documentation and the files that it writes; merges as "a b" or,
 * since 0.20, ["a", "b"]. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "graph/io.h"
#include "tools/bpe_impl.h"

enum { JSON_LIMIT = 64 << 20 }; /* bytes of a file; the largest public ones are below 40 MB */

/* ---- JSON values ---- */
static weft_status read_json(weft_arena *a, const char *path, json_t **out)
{
    char *data, what[JSON_ERROR_TEXT_LENGTH * 2];
    size_t n;
    json_error_t e;
    weft_ctx *c = weft_arena_ctx(a);
    WEFT_TRY(weft_read_file(a, path, JSON_LIMIT, &data, &n));
    *out = json_loadb(data, n, JSON_REJECT_DUPLICATES, &e);
    if (*out)
        return WEFT_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return weft_fail(c, WEFT_NOMEM, "%s: out of memory while parsing %zu bytes of JSON", path,
                         n);
    return weft_fail(c, WEFT_MALFORMED, "%s:%d:%d: not valid JSON: %s", path, e.line, e.column,
                     weft_printable(what, sizeof what, e.text));
}

/* A value as messages show it: scalars themselves, the rest by kind. */
static const char *show(char *buf, size_t n, const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        snprintf(buf, n, "an object");
        break;
    case JSON_ARRAY:
        snprintf(buf, n, "an array");
        break;
    case JSON_STRING:
        bpe_quote(buf, n, json_string_value(v));
        break;
    case JSON_INTEGER:
        snprintf(buf, n, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL:
        snprintf(buf, n, "%.6g", json_real_value(v));
        break;
    default:
        snprintf(buf, n, "%s", json_is_null(v) ? "null" : json_is_true(v) ? "true" : "false");
    }
    return buf;
}

static weft_status fail_found(weft_ctx *c, weft_status s, const char *where, const json_t *v,
                              const char *expected)
{
    char buf[96];
    if (!v)
        return weft_fail(c, s, "%s: missing, expected %s", where, expected);
    return weft_fail(c, s, "%s: found %s, expected %s", where, show(buf, sizeof buf, v), expected);
}

/* ---- which parts may be there: a table per object ---- */
enum {
    NUL = 1,
    FALSE = 2,
    TRUE = 4,
    EMPTY = 8,
    TEXT = 16,
    ZERO = 32,
    ANY = 255,
    BYTE_LEVEL = 256,
    BPE = 512
};

typedef struct {
    const char *key;
    unsigned allow; /* ANY is checked elsewhere, or does not matter for ids */
    const char *expected;
} rule;

static const rule top_rules[] = {
    {"version", ANY, ""},        {"truncation", NUL, "null"},
    {"padding", NUL, "null"},    {"added_tokens", ANY, ""},
    {"normalizer", NUL, "null"}, {"pre_tokenizer", ANY, ""},
    {"post_processor", ANY, ""}, {"decoder", ANY, ""},
    {"model", ANY, ""},          {NULL, 0, NULL},
};
static const rule pre_tokenizer_rules[] = {
    {"type", BYTE_LEVEL, "\"ByteLevel\""},
    {"add_prefix_space", FALSE, "false"},
    {"trim_offsets", ANY, ""}, /* offsets only */
    {"use_regex", TRUE, "true"},
    {NULL, 0, NULL},
};
/* A byte-level post-processor or decoder changes offsets and text, never ids. */
static const rule byte_level_rules[] = {
    {"type", BYTE_LEVEL, "\"ByteLevel\""},
    {"add_prefix_space", ANY, ""},
    {"trim_offsets", ANY, ""},
    {"use_regex", ANY, ""},
    {NULL, 0, NULL},
};
/* With a complete byte alphabet nothing is ever unknown, so unk_token and fuse_unk do not matter.
 */
static const rule model_rules[] = {
    {"type", BPE, "\"BPE\""},
    {"dropout", NUL | ZERO, "null"},
    {"unk_token", NUL | EMPTY | TEXT, "null or a token"},
    {"continuing_subword_prefix", NUL | EMPTY, "null"},
    {"end_of_word_suffix", NUL | EMPTY, "null"},
    {"fuse_unk", FALSE | TRUE, "true or false"},
    {"byte_fallback", FALSE, "false"},
    {"ignore_merges", FALSE, "false"},
    {"vocab", ANY, ""},
    {"merges", ANY, ""},
    {NULL, 0, NULL},
};
static const rule added_rules[] = {
    {"id", ANY, ""},
    {"content", ANY, ""},
    {"single_word", FALSE, "false"},
    {"lstrip", FALSE, "false"},
    {"rstrip", FALSE, "false"},
    {"normalized", FALSE | TRUE, "true or false"}, /* there is no normalizer */
    {"special", FALSE | TRUE, "true or false"},
    {NULL, 0, NULL},
};

static unsigned kind_of(const json_t *v)
{
    const char *s = json_string_value(v);
    if (s)
        return !*s                       ? EMPTY
               : !strcmp(s, "ByteLevel") ? BYTE_LEVEL | TEXT
               : !strcmp(s, "BPE")       ? BPE | TEXT
                                         : TEXT;
    if (json_is_number(v))
        return json_number_value(v) == 0 ? ZERO : 0;
    return json_is_null(v) ? NUL : json_is_false(v) ? FALSE : json_is_true(v) ? TRUE : 0;
}

static weft_status check_parts(weft_ctx *c, const char *file, const char *path, json_t *object,
                               const rule *rules)
{
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v)
    {
        char name[96], where[512];
        const rule *r = rules;
        while (r->key && strcmp(r->key, key))
            r++;
        if (!r->key)
            return weft_fail(c, WEFT_UNSUPPORTED,
                             "%s: %s%s: an unknown part, which might change the ids", file, path,
                             bpe_quote(name, sizeof name, key));
        snprintf(where, sizeof where, "%s: %s%s", file, path, key);
        if (r->allow != ANY && !(kind_of(v) & r->allow))
            return fail_found(c, WEFT_UNSUPPORTED, where, v, r->expected);
    }
    return WEFT_OK;
}

/* A part that is an object of a kind, or (if optional) null. */
static weft_status check_byte_level(weft_ctx *c, const char *file, json_t *root, const char *key,
                                    const rule *rules, bool optional)
{
    char where[512], path[64];
    json_t *v = json_object_get(root, key);
    snprintf(where, sizeof where, "%s: %s", file, key);
    snprintf(path, sizeof path, "%s.", key);
    if (optional && (!v || json_is_null(v)))
        return WEFT_OK;
    if (!json_is_object(v))
        return fail_found(c, v && !json_is_null(v) ? WEFT_MALFORMED : WEFT_UNSUPPORTED, where, v,
                          "an object of type \"ByteLevel\"");
    WEFT_TRY(check_parts(c, file, path, v, rules));
    if (!json_object_get(v, "type"))
        return weft_fail(c, WEFT_MALFORMED, "%s: %stype: missing, expected \"ByteLevel\"", file,
                         path);
    return WEFT_OK;
}

/* ---- added tokens ---- */
typedef struct {
    const char *file;
    json_t *vocab, *added; /* added may be NULL */
    weft_map *by_content;  /* text of an added token -> its index */
    int64_t n_new;         /* added tokens that are not in the vocabulary */
} source;

static weft_status check_added(weft_ctx *c, source *s, size_t i)
{
    char path[64], where[600], name[96];
    json_t *v = json_array_get(s->added, i), *id, *known;
    snprintf(path, sizeof path, "added_tokens[%zu].", i);
    snprintf(where, sizeof where, "%s: added_tokens[%zu]", s->file, i);
    if (!json_is_object(v))
        return fail_found(c, WEFT_MALFORMED, where, v, "an object");
    WEFT_TRY(check_parts(c, s->file, path, v, added_rules));
    const char *content = json_string_value(json_object_get(v, "content"));
    if (!content || !*content)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s.content: missing or empty, expected the text of a token", where);
    id = json_object_get(v, "id");
    if (!json_is_integer(id))
        return weft_fail(c, WEFT_MALFORMED, "%s.id: missing or no integer", where);
    if (weft_map_get(s->by_content, content, -1) >= 0)
        return weft_fail(c, WEFT_MALFORMED, "%s.content: %s is listed twice", where,
                         bpe_quote(name, sizeof name, content));
    known = json_object_get(s->vocab, content);
    if (known && (!json_is_integer(known) || json_integer_value(known) != json_integer_value(id)))
        return weft_fail(c, WEFT_MALFORMED,
                         "%s.id: found %lld, but model.vocab has %s with another id", where,
                         (long long)json_integer_value(id), bpe_quote(name, sizeof name, content));
    s->n_new += !known;
    return weft_map_set(s->by_content, content, (int)i) ? WEFT_OK : c->status;
}

static weft_status check_all_added(weft_ctx *c, source *s)
{
    char where[512];
    snprintf(where, sizeof where, "%s: added_tokens", s->file);
    if (s->added && !json_is_array(s->added))
        return fail_found(c, WEFT_MALFORMED, where, s->added, "an array");
    for (size_t i = 0; i < json_array_size(s->added); i++)
        WEFT_TRY(check_added(c, s, i));
    return WEFT_OK;
}

/* ---- vocabulary ---- */
static weft_status add_vocab(weft_bpe *t, const source *s, bpe_place at)
{
    const char *text;
    json_t *id;
    json_object_foreach(s->vocab, text, id)
    {
        char name[96], where[600];
        if (!json_is_integer(id)) {
            snprintf(where, sizeof where, "%s: %s[%s]", at.file, at.path,
                     bpe_quote(name, sizeof name, text));
            return fail_found(t->ctx, WEFT_MALFORMED, where, id, "an integer id");
        }
        bool special = weft_map_get(s->by_content, text, -1) >= 0;
        WEFT_TRY(bpe_add_token(t, at, text, json_integer_value(id), special));
    }
    return WEFT_OK;
}

static weft_status add_added(weft_bpe *t, const source *s)
{
    for (size_t i = 0; i < json_array_size(s->added); i++) {
        json_t *v = json_array_get(s->added, i);
        const char *text = json_string_value(json_object_get(v, "content"));
        char path[64];
        snprintf(path, sizeof path, "added_tokens[%zu]", i);
        if (!json_object_get(s->vocab, text))
            WEFT_TRY(bpe_add_token(t, (bpe_place){s->file, path}, text,
                                   json_integer_value(json_object_get(v, "id")), true));
    }
    return WEFT_OK;
}

/* Tokens of both kinds; on success *out is open and waits for its merges. */
static weft_status make_tokens(weft_ctx *c, source *s, bpe_place at, weft_bpe **out)
{
    char where[600];
    snprintf(where, sizeof where, "%s: %s", at.file, *at.path ? at.path : "the whole");
    if (!json_is_object(s->vocab))
        return fail_found(c, WEFT_MALFORMED, where, s->vocab, "an object of tokens and their ids");
    WEFT_TRY(check_all_added(c, s));
    int64_t n = (int64_t)json_object_size(s->vocab) + s->n_new;
    if (n > BPE_MAX_VOCAB)
        return weft_fail(c, WEFT_MALFORMED, "%s: %lld tokens, expected at most %d", where,
                         (long long)n, BPE_MAX_VOCAB);
    WEFT_TRY(bpe_open(c, n, out));
    WEFT_TRY(add_vocab(*out, s, at));
    return add_added(*out, s);
}

/* ---- merges ---- */
/* "a b" in place: two parts around the only space. */
static bool cut_pair(char *line, char **right)
{
    char *space = strchr(line, ' ');
    if (!space || space == line || !space[1] || strchr(space + 1, ' '))
        return false;
    *space = 0;
    *right = space + 1;
    return true;
}

static weft_status add_json_merge(weft_bpe *t, weft_arena *a, const char *where, const json_t *v)
{
    const char *left = json_string_value(json_array_get(v, 0)),
               *right = json_string_value(json_array_get(v, 1));
    if (json_array_size(v) == 2 && left && right && *left && *right)
        return bpe_add_merge(t, where, left, right);
    char *second, *line = json_is_string(v) ? weft_arena_strdup(a, json_string_value(v)) : NULL;
    if (line && cut_pair(line, &second))
        return bpe_add_merge(t, where, line, second);
    return fail_found(t->ctx, WEFT_MALFORMED, where, v, "\"left right\" or [\"left\", \"right\"]");
}

static weft_status add_json_merges(weft_bpe *t, weft_arena *a, const char *file,
                                   const json_t *merges)
{
    char where[600];
    snprintf(where, sizeof where, "%s: model.merges", file);
    if (!json_is_array(merges))
        return fail_found(t->ctx, WEFT_MALFORMED, where, merges, "an array");
    WEFT_TRY(
        bpe_begin_merges(t, (bpe_place){file, "model.vocab"}, (int64_t)json_array_size(merges)));
    for (size_t i = 0; i < json_array_size(merges); i++) {
        snprintf(where, sizeof where, "%s: model.merges[%zu]", file, i);
        WEFT_TRY(add_json_merge(t, a, where, json_array_get(merges, i)));
    }
    return WEFT_OK;
}

/* Lines "left right"; the first may be "#version: 0.2". */
static weft_status add_merge_lines(weft_bpe *t, const char *path, char *text)
{
    char where[600];
    for (int line = 1; *text; line++) {
        char *end = text + strcspn(text, "\n"), *next = *end ? end + 1 : end, *right;
        *end = 0;
        if (end > text && end[-1] == '\r')
            end[-1] = 0;
        snprintf(where, sizeof where, "%s:%d", path, line);
        bool skip = (line == 1 && !strncmp(text, "#version", 8)) || (!*text && !*next);
        if (!skip && !cut_pair(text, &right)) {
            char name[96];
            return weft_fail(t->ctx, WEFT_MALFORMED,
                             "%s: found %s, expected two tokens with one space between", where,
                             bpe_quote(name, sizeof name, text));
        }
        if (!skip)
            WEFT_TRY(bpe_add_merge(t, where, text, right));
        text = next;
    }
    return WEFT_OK;
}

static weft_status read_merges(weft_bpe *t, weft_arena *a, const char *vocab_path, const char *path)
{
    char *text;
    size_t n;
    int64_t lines = 1;
    WEFT_TRY(weft_read_file(a, path, JSON_LIMIT, &text, &n));
    if (strlen(text) != n)
        return weft_fail(t->ctx, WEFT_MALFORMED, "%s: byte %zu is NUL, expected text", path,
                         strlen(text));
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    WEFT_TRY(bpe_begin_merges(t, (bpe_place){vocab_path, ""}, lines));
    return add_merge_lines(t, path, text);
}

/* ---- whole files ---- */
static weft_status load_tokenizer(weft_arena *a, const char *path, json_t *root, weft_bpe **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    char where[512];
    json_t *model = json_object_get(root, "model");
    snprintf(where, sizeof where, "%s: model", path);
    if (!json_is_object(model))
        return fail_found(c, WEFT_MALFORMED, where, model, "an object");
    WEFT_TRY(check_parts(c, path, "", root, top_rules));
    WEFT_TRY(check_parts(c, path, "model.", model, model_rules));
    WEFT_TRY(check_byte_level(c, path, root, "pre_tokenizer", pre_tokenizer_rules, false));
    WEFT_TRY(check_byte_level(c, path, root, "post_processor", byte_level_rules, true));
    WEFT_TRY(check_byte_level(c, path, root, "decoder", byte_level_rules, true));
    source s = {.file = path,
                .vocab = json_object_get(model, "vocab"),
                .added = json_object_get(root, "added_tokens")};
    if (!(s.by_content = weft_map_new(a)))
        return c->status;
    WEFT_TRY(make_tokens(c, &s, (bpe_place){path, "model.vocab"}, out));
    return add_json_merges(*out, a, path, json_object_get(model, "merges"));
}

/* The file of merges that stands beside a vocabulary. */
static weft_status find_merges(weft_arena *a, const char *path, const char **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    static const char *const names[] = {"merges.txt", "vocab.bpe"};
    const char *dir = weft_parent_dir(a, path);
    for (int i = 0; dir && i < 2; i++) {
        const char *p = weft_arena_printf(a, "%s/%s", dir, names[i]);
        if (p && c->io->exists(c->io->user, p) == 1) {
            *out = p;
            return WEFT_OK;
        }
    }
    return weft_fail(c, WEFT_MISSING,
                     "%s: neither merges.txt nor vocab.bpe stands beside this vocabulary", path);
}

/* vocab.json has no list of specials: <|endoftext|> is one if it is there. */
static weft_status load_pair(weft_arena *a, const char *path, json_t *root, weft_bpe **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    const char *merges = NULL;
    source s = {.file = path, .vocab = root, .by_content = weft_map_new(a)};
    if (!s.by_content || !weft_map_set(s.by_content, WEFT_END_OF_TEXT, 0))
        return c->status;
    WEFT_TRY(make_tokens(c, &s, (bpe_place){path, ""}, out));
    WEFT_TRY(find_merges(a, path, &merges));
    return read_merges(*out, a, path, merges);
}

/* A vocabulary has nothing but integers; a tokenizer.json has these. */
static bool is_tokenizer(const json_t *root)
{
    static const char *const keys[] = {"model", "version", "added_tokens", "pre_tokenizer"};
    for (int i = 0; i < 4; i++) {
        json_t *v = json_object_get(root, keys[i]);
        if (v && !json_is_integer(v))
            return true;
    }
    return false;
}

static weft_status load_file(weft_arena *a, const char *path, weft_bpe **out)
{
    json_t *root = NULL;
    WEFT_TRY(read_json(a, path, &root));
    weft_status s =
        is_tokenizer(root) ? load_tokenizer(a, path, root, out) : load_pair(a, path, root, out);
    json_decref(root);
    return s;
}

/* What to read in a folder. */
static const char *find_in_folder(weft_arena *a, const char *dir)
{
    weft_ctx *c = weft_arena_ctx(a);
    static const char *const names[] = {"tokenizer.json", "vocab.json", "encoder.json"};
    for (int i = 0; i < 3; i++) {
        const char *p = weft_arena_printf(a, "%s/%s", dir, names[i]);
        if (p && c->io->exists(c->io->user, p) == 1)
            return p;
    }
    weft_fail(c, WEFT_MISSING,
              "%s: none of tokenizer.json, vocab.json, encoder.json is in this folder", dir);
    return NULL;
}

weft_status weft_bpe_load(weft_ctx *c, const char *path, weft_bpe **out)
{
    weft_arena *a = weft_arena_new(c, 0);
    weft_bpe *t = NULL;
    if (a && c->io->exists(c->io->user, path) == 2)
        path = find_in_folder(a, path);
    if (a && path)
        load_file(a, path, &t);
    weft_arena_free(a);
    if (c->status) {
        weft_bpe_free(t);
        return c->status;
    }
    *out = t;
    return WEFT_OK;
}
