/* tokenizer_json.c - tokenizers in files: Hugging Face's tokenizer.json, and GPT-2's vocab.json
 * with merges.txt.
 *
 * Strict: a key that is not known, or a known one with a value that would change the ids and is not
 * implemented, is refused by its JSON path, since ids that are silently different ruin a model.
 * Format: Hugging Face tokenizers' documentation and the files that it writes; merges as "a b" or,
 * since 0.20, ["a", "b"]. */
#include <stdio.h>
#include <string.h>

#include "graph/io.h"
#include "graph/json.h"
#include "tools/bpe_impl.h"

enum { JSON_LIMIT = 64 << 20 }; /* bytes of a file; the largest public ones are below 40 MB */

/* ---- JSON values ---- */
static weft_status read_json(weft_arena *a, const char *path, weft_json **out)
{
    char *data;
    size_t n;
    WEFT_TRY(weft_read_file(a, path, JSON_LIMIT, &data, &n));
    if (!weft_json_parse_file(a, path, data, n, out))
        return WEFT_OK;
    size_t i = 0;
    while (i < n && strchr(" \t\r\n", data[i]) && data[i])
        i++;
    weft_ctx *c = weft_arena_ctx(a);
    return i < n && data[i] == '{'
               ? c->status
               : weft_note(c, "a tokenizer is a tokenizer.json, a vocab.json with "
                              "merges.txt beside it, or a folder with either");
}

/* A value as messages show it: scalars themselves, the rest by kind. */
static const char *show(char *buf, size_t n, const weft_json *v)
{
    if (v->kind == WEFT_JSON_STRING)
        return bpe_quote(buf, n, v->text);
    if (v->kind == WEFT_JSON_INT) {
        snprintf(buf, n, "%lld", (long long)v->i);
    } else if (v->kind == WEFT_JSON_REAL) {
        snprintf(buf, n, "%.6g", v->f);
        if (!strpbrk(buf, ".e"))
            strcat(buf, ".0");
    } else {
        snprintf(buf, n, "%s", weft_json_name(v));
    }
    return buf;
}

static weft_status fail_found(weft_ctx *c, weft_status s, const char *where, const weft_json *v,
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
    {"single_word", FALSE | TRUE, "true or false"},
    {"lstrip", FALSE | TRUE, "true or false"},
    {"rstrip", FALSE | TRUE, "true or false"},
    {"normalized", FALSE | TRUE, "true or false"}, /* there is no normalizer */
    {"special", FALSE | TRUE, "true or false"},
    {NULL, 0, NULL},
};

/* The bits of `allow` that a value satisfies; 0: it is of no kind that a rule names. */
static unsigned kind_of(const weft_json *v)
{
    const char *s = v->text;
    if (v->kind == WEFT_JSON_STRING)
        return !*s                       ? EMPTY
               : !strcmp(s, "ByteLevel") ? BYTE_LEVEL | TEXT
               : !strcmp(s, "BPE")       ? BPE | TEXT
                                         : TEXT;
    switch (v->kind) {
    case WEFT_JSON_NULL:
        return NUL;
    case WEFT_JSON_FALSE:
        return FALSE;
    case WEFT_JSON_TRUE:
        return TRUE;
    case WEFT_JSON_INT:
        return v->i == 0 ? ZERO : 0;
    case WEFT_JSON_REAL:
        return v->f == 0 ? ZERO : 0;
    default:
        return 0;
    }
}

/* Every member must be known, and have a value that leaves the ids as we compute them. */
static weft_status check_parts(weft_ctx *c, const char *file, const char *path,
                               const weft_json *object, const rule *rules)
{
    for (const weft_json *v = object->child; v; v = v->next) {
        char name[96], where[512];
        const rule *r = rules;
        while (r->key && strcmp(r->key, v->key))
            r++;
        if (!r->key)
            return weft_fail(c, WEFT_UNSUPPORTED,
                             "%s: %s%s: an unknown part, which might change the ids", file, path,
                             bpe_quote(name, sizeof name, v->key));
        snprintf(where, sizeof where, "%s: %s%s", file, path, v->key);
        if (r->allow != ANY && !(kind_of(v) & r->allow))
            return fail_found(c, WEFT_UNSUPPORTED, where, v, r->expected);
    }
    return WEFT_OK;
}

/* A part that is an object of a kind, or (if optional) null. */
static weft_status check_byte_level(weft_ctx *c, const char *file, const weft_json *root,
                                    const char *key, const rule *rules, bool optional)
{
    char where[512], path[64];
    const weft_json *v = weft_json_get(root, key);
    bool none = !v || weft_json_is(v, WEFT_JSON_NULL);
    snprintf(where, sizeof where, "%s: %s", file, key);
    snprintf(path, sizeof path, "%s.", key);
    if (optional && none)
        return WEFT_OK;
    if (!weft_json_is(v, WEFT_JSON_OBJECT))
        return fail_found(c, none ? WEFT_UNSUPPORTED : WEFT_MALFORMED, where, v,
                          "an object of type \"ByteLevel\"");
    WEFT_TRY(check_parts(c, file, path, v, rules));
    if (!weft_json_get(v, "type"))
        return weft_fail(c, WEFT_MALFORMED, "%s: %stype: missing, expected \"ByteLevel\"", file,
                         path);
    return WEFT_OK;
}

/* A template that gives a text back as it is, with nothing put before or behind it; how two texts
 * would be joined does not matter. */
static bool is_bare_template(const weft_json *v)
{
    const weft_json *type = weft_json_get(v, "type"), *single = weft_json_get(v, "single");
    if (!weft_json_is(type, WEFT_JSON_STRING) || strcmp(type->text, "TemplateProcessing") ||
        !weft_json_is(single, WEFT_JSON_ARRAY) || single->n != 1)
        return false;
    const weft_json *id = weft_json_get(weft_json_get(single->child, "Sequence"), "id");
    return weft_json_is(id, WEFT_JSON_STRING) && !strcmp(id->text, "A");
}

/* ---- added tokens ---- */
/* Places of tokens in a list, by their text: a vocabulary is too long to search. */
typedef struct {
    const char *file;
    const weft_json *vocab, *added; /* added may be NULL */
    const weft_json **member;       /* of the vocabulary, by place */
    const weft_json **listed;       /* of the added tokens; NULL if they are no list */
    weft_map *in_vocab, *in_added;  /* text -> place */
    int64_t n_new;                  /* added tokens that are not in the vocabulary */
} source;

static const char *text_of(const weft_json *v, const char *key)
{
    const weft_json *m = weft_json_get(v, key);
    return weft_json_is(m, WEFT_JSON_STRING) ? m->text : NULL;
}

/* The vocabulary's entry for a text, or NULL. */
static const weft_json *vocab_entry(const source *s, const char *text)
{
    int place = weft_map_get(s->in_vocab, text, -1);
    return place < 0 ? NULL : s->member[place];
}

static weft_status index_vocab(weft_arena *a, source *s)
{
    weft_ctx *c = weft_arena_ctx(a);
    int place = 0;
    s->in_vocab = weft_map_new(a);
    s->in_added = weft_map_new(a);
    s->member = weft_arena_array(a, (size_t)s->vocab->n + 1, sizeof *s->member);
    if (!s->in_vocab || !s->in_added || !s->member)
        return c->status;
    for (const weft_json *v = s->vocab->child; v; v = v->next) {
        s->member[place] = v;
        if (!weft_map_set(s->in_vocab, v->key, place++))
            return c->status;
    }
    return WEFT_OK;
}

/* An added token is in the vocabulary with the same id, or it brings an id of its own. */
static weft_status check_added(weft_ctx *c, source *s, const weft_json *v, int i)
{
    char path[64], where[600], name[96];
    snprintf(path, sizeof path, "added_tokens[%d].", i);
    snprintf(where, sizeof where, "%s: added_tokens[%d]", s->file, i);
    if (v->kind != WEFT_JSON_OBJECT)
        return fail_found(c, WEFT_MALFORMED, where, v, "an object");
    WEFT_TRY(check_parts(c, s->file, path, v, added_rules));
    const char *content = text_of(v, "content");
    const weft_json *id = weft_json_get(v, "id");
    if (!content || !*content)
        return weft_fail(c, WEFT_MALFORMED,
                         "%s.content: missing or empty, expected the text of a token", where);
    if (!weft_json_is(id, WEFT_JSON_INT))
        return weft_fail(c, WEFT_MALFORMED, "%s.id: missing or no integer", where);
    if (weft_map_get(s->in_added, content, -1) >= 0)
        return weft_fail(c, WEFT_MALFORMED, "%s.content: %s is listed twice", where,
                         bpe_quote(name, sizeof name, content));
    const weft_json *known = vocab_entry(s, content);
    if (known && (known->kind != WEFT_JSON_INT || known->i != id->i))
        return weft_fail(c, WEFT_MALFORMED,
                         "%s.id: found %lld, but model.vocab has %s with another id", where,
                         (long long)id->i, bpe_quote(name, sizeof name, content));
    s->n_new += !known;
    return weft_map_set(s->in_added, content, i) ? WEFT_OK : c->status;
}

static weft_status check_all_added(weft_arena *a, source *s)
{
    weft_ctx *c = weft_arena_ctx(a);
    char where[512];
    int i = 0;
    snprintf(where, sizeof where, "%s: added_tokens", s->file);
    if (!s->added)
        return WEFT_OK;
    if (s->added->kind != WEFT_JSON_ARRAY)
        return fail_found(c, WEFT_MALFORMED, where, s->added, "a list");
    if (!(s->listed = weft_arena_array(a, (size_t)s->added->n + 1, sizeof *s->listed)))
        return c->status;
    for (const weft_json *v = s->added->child; v; v = v->next, i++) {
        s->listed[i] = v;
        WEFT_TRY(check_added(c, s, v, i));
    }
    return WEFT_OK;
}

/* ---- vocabulary ---- */
static bool is_true(const weft_json *v, const char *key)
{
    return weft_json_is(weft_json_get(v, key), WEFT_JSON_TRUE);
}

/* How the added token in a place of the list is found; NULL: no such place. Of a vocab.json, which
 * has no list, it is the end of text. */
static const bpe_added *how_added(const source *s, int place, bpe_added *out)
{
    const weft_json *v = s->listed && place >= 0 ? s->listed[place] : NULL;
    if (place < 0)
        return NULL;
    if (!v)
        return &bpe_special;
    *out = (bpe_added){.single_word = is_true(v, "single_word"),
                       .lstrip = is_true(v, "lstrip"),
                       .rstrip = is_true(v, "rstrip"),
                       .normalized = is_true(v, "normalized"),
                       .special = is_true(v, "special")};
    return out;
}

static weft_status add_vocab(weft_bpe *t, const source *s, bpe_place at)
{
    for (const weft_json *v = s->vocab->child; v; v = v->next) {
        char name[96], where[600];
        if (v->kind != WEFT_JSON_INT) {
            snprintf(where, sizeof where, "%s: %s[%s]", at.file, at.path,
                     bpe_quote(name, sizeof name, v->key));
            return fail_found(t->ctx, WEFT_MALFORMED, where, v, "an integer id");
        }
        bpe_added how;
        const bpe_added *added = how_added(s, weft_map_get(s->in_added, v->key, -1), &how);
        WEFT_TRY(bpe_add_token(t, at, v->key, v->i, added));
    }
    return WEFT_OK;
}

/* Those that the vocabulary does not have. */
static weft_status add_added(weft_bpe *t, const source *s)
{
    int i = 0;
    for (const weft_json *v = s->added ? s->added->child : NULL; v; v = v->next, i++) {
        char path[64];
        bpe_added how;
        const char *text = text_of(v, "content");
        snprintf(path, sizeof path, "added_tokens[%d]", i);
        if (!vocab_entry(s, text))
            WEFT_TRY(bpe_add_token(t, (bpe_place){s->file, path}, text, weft_json_get(v, "id")->i,
                                   how_added(s, i, &how)));
    }
    return WEFT_OK;
}

/* Tokens of both kinds; on success *out is open and waits for its merges. */
static weft_status make_tokens(weft_ctx *c, const source *s, bpe_place at, weft_bpe **out)
{
    int64_t n = s->vocab->n + s->n_new;
    if (n > BPE_MAX_VOCAB)
        return weft_fail(c, WEFT_MALFORMED, "%s: %s: %lld tokens, expected at most %d", at.file,
                         at.path, (long long)n, BPE_MAX_VOCAB);
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

static weft_status add_json_merge(weft_bpe *t, weft_arena *a, const char *where, const weft_json *v)
{
    const weft_json *l = v->kind == WEFT_JSON_ARRAY && v->n == 2 ? v->child : NULL;
    bool texts = l && l->kind == WEFT_JSON_STRING && l->next->kind == WEFT_JSON_STRING;
    if (texts && *l->text && *l->next->text)
        return bpe_add_merge(t, where, l->text, l->next->text);
    char *right, *line = v->kind == WEFT_JSON_STRING ? weft_arena_strdup(a, v->text) : NULL;
    if (line && cut_pair(line, &right))
        return bpe_add_merge(t, where, line, right);
    return fail_found(t->ctx, WEFT_MALFORMED, where, v, "\"left right\" or [\"left\", \"right\"]");
}

static weft_status add_json_merges(weft_bpe *t, weft_arena *a, const char *file,
                                   const weft_json *merges)
{
    char where[600];
    int i = 0;
    snprintf(where, sizeof where, "%s: model.merges", file);
    if (!weft_json_is(merges, WEFT_JSON_ARRAY))
        return fail_found(t->ctx, WEFT_MALFORMED, where, merges, "a list");
    WEFT_TRY(bpe_begin_merges(t, (bpe_place){file, "model.vocab"}, merges->n));
    for (const weft_json *v = merges->child; v; v = v->next) {
        snprintf(where, sizeof where, "%s: model.merges[%d]", file, i++);
        WEFT_TRY(add_json_merge(t, a, where, v));
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
    WEFT_TRY(bpe_begin_merges(t, (bpe_place){vocab_path, "vocabulary"}, lines));
    return add_merge_lines(t, path, text);
}

/* ---- whole files ---- */
/* Before anything is made: what cannot be read is refused at once. */
static weft_status check_all_parts(weft_ctx *c, const char *path, const weft_json *root)
{
    const weft_json *model = weft_json_get(root, "model");
    char where[512];
    snprintf(where, sizeof where, "%s: model", path);
    if (!weft_json_is(model, WEFT_JSON_OBJECT))
        return fail_found(c, WEFT_MALFORMED, where, model, "an object");
    WEFT_TRY(check_parts(c, path, "", root, top_rules));
    WEFT_TRY(check_parts(c, path, "model.", model, model_rules));
    WEFT_TRY(check_byte_level(c, path, root, "pre_tokenizer", pre_tokenizer_rules, false));
    if (!is_bare_template(weft_json_get(root, "post_processor")))
        WEFT_TRY(check_byte_level(c, path, root, "post_processor", byte_level_rules, true));
    WEFT_TRY(check_byte_level(c, path, root, "decoder", byte_level_rules, true));
    snprintf(where, sizeof where, "%s: model.vocab", path);
    const weft_json *vocab = weft_json_get(model, "vocab");
    if (!weft_json_is(vocab, WEFT_JSON_OBJECT))
        return fail_found(c, WEFT_MALFORMED, where, vocab, "an object of tokens and their ids");
    return WEFT_OK;
}

static weft_status load_tokenizer(weft_arena *a, const char *path, const weft_json *root,
                                  weft_bpe **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    WEFT_TRY(check_all_parts(c, path, root));
    const weft_json *model = weft_json_get(root, "model");
    source s = {.file = path,
                .vocab = weft_json_get(model, "vocab"),
                .added = weft_json_get(root, "added_tokens")};
    WEFT_TRY(index_vocab(a, &s));
    WEFT_TRY(check_all_added(a, &s));
    WEFT_TRY(make_tokens(c, &s, (bpe_place){path, "model.vocab"}, out));
    return add_json_merges(*out, a, path, weft_json_get(model, "merges"));
}

/* The file of merges that stands beside a vocabulary. */
static weft_status find_merges(weft_arena *a, const char *path, const char **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    static const char *const names[] = {"merges.txt", "vocab.bpe"};
    const char *dir = weft_parent_dir(a, path);
    for (int i = 0; dir && i < 2; i++) {
        int kind;
        const char *p = weft_arena_printf(a, "%s/%s", dir, names[i]);
        if (!p)
            return c->status;
        WEFT_TRY(weft_look(c, p, &kind));
        if (kind == 1) {
            *out = p;
            return WEFT_OK;
        }
    }
    return weft_fail(c, WEFT_MISSING,
                     "%s: neither merges.txt nor vocab.bpe stands beside this vocabulary", path);
}

/* vocab.json has no list of specials: <|endoftext|> is one if it is there. */
static weft_status load_pair(weft_arena *a, const char *path, const weft_json *root, weft_bpe **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    const char *merges = NULL;
    source s = {.file = path, .vocab = root};
    WEFT_TRY(index_vocab(a, &s));
    if (!weft_map_set(s.in_added, WEFT_END_OF_TEXT, 0))
        return c->status;
    WEFT_TRY(make_tokens(c, &s, (bpe_place){path, "vocabulary"}, out));
    WEFT_TRY(find_merges(a, path, &merges));
    return read_merges(*out, a, path, merges);
}

/* A vocabulary has nothing but integers; a tokenizer.json has these. */
static bool is_tokenizer(const weft_json *root)
{
    static const char *const keys[] = {"model", "version", "added_tokens", "pre_tokenizer"};
    for (int i = 0; i < 4; i++) {
        const weft_json *v = weft_json_get(root, keys[i]);
        if (v && v->kind != WEFT_JSON_INT)
            return true;
    }
    return false;
}

static weft_status load_file(weft_arena *a, const char *path, weft_bpe **out)
{
    weft_json *root = NULL;
    WEFT_TRY(read_json(a, path, &root));
    WEFT_TRY(is_tokenizer(root) ? load_tokenizer(a, path, root, out)
                                : load_pair(a, path, root, out));
    return bpe_finish(*out);
}

/* What to read in a folder. */
static const char *find_in_folder(weft_arena *a, const char *dir)
{
    weft_ctx *c = weft_arena_ctx(a);
    static const char *const names[] = {"tokenizer.json", "vocab.json", "encoder.json"};
    for (int i = 0; i < 3; i++) {
        int kind;
        const char *p = weft_arena_printf(a, "%s/%s", dir, names[i]);
        if (!p || weft_look(c, p, &kind))
            return NULL;
        if (kind == 1)
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
    int kind = 0;
    if (a && !weft_look(c, path, &kind) && kind == 2)
        path = find_in_folder(a, path);
    if (a && path && !c->status)
        load_file(a, path, &t);
    weft_arena_free(a);
    if (c->status) {
        weft_bpe_free(t);
        return c->status;
    }
    *out = t;
    return WEFT_OK;
}
