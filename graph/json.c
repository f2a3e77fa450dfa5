/* json.c - JSON text into a tree in an arena: strict, iterative, strings decoded in place. */
#include "graph/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    weft_arena *arena;
    char *text, *s, *end;
    weft_json_error *error;
    weft_json *open[WEFT_JSON_DEPTH], *last[WEFT_JSON_DEPTH];
    int depth;
    bool wide; /* whole numbers beyond int64 are reals */
} parser;

static bool fail(parser *p, const char *at, const char *what)
{
    p->error->at = (size_t)(at - p->text);
    p->error->what = what;
    return false;
}

static void skip_space(parser *p)
{
    while (p->s < p->end && (*p->s == ' ' || *p->s == '\n' || *p->s == '\r' || *p->s == '\t'))
        p->s++;
}

static char peek(const parser *p) { return p->s < p->end ? *p->s : 0; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* ---- strings ---- */
/* Length of the well-formed UTF-8 sequence at s, 0 if there is none (Unicode 15, table 3-7). */
static int utf8_length(const unsigned char *s, const unsigned char *end)
{
    int n = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;
    if (!n || end - s < n)
        return 0;
    unsigned char low = *s == 0xe0 ? 0xa0 : *s == 0xf0 ? 0x90 : 0x80;
    unsigned char high = *s == 0xed ? 0x9f : *s == 0xf4 ? 0x8f : 0xbf;
    if (n > 1 && (s[1] < low || s[1] > high))
        return 0;
    for (int i = 2; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
        return out;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *out++ = (char)(lead[more] | c >> 6 * more);
    while (more--)
        *out++ = (char)(0x80 | (c >> 6 * more & 0x3f));
    return out;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hex digits at s, or -1. */
static int32_t hex4(const parser *p, const char *s)
{
    int32_t x = 0;
    if (p->end - s < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(s[i]);
        if (d < 0)
            return -1;
        x = x * 16 + d;
    }
    return x;
}

/* "\uXXXX", or the two of a surrogate pair, at p->s. */
static bool unicode_escape(parser *p, char **out)
{
    const char *start = p->s;
    int32_t c = hex4(p, p->s + 2);
    if (c < 0)
        return fail(p, start, "\\u without four hex digits");
    p->s += 6;
    if (c >= 0xd800 && c < 0xdc00 && p->end - p->s >= 6 && p->s[0] == '\\' && p->s[1] == 'u') {
        int32_t low = hex4(p, p->s + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            p->s += 6;
        }
    }
    if (!c || (c >= 0xd800 && c < 0xe000))
        return fail(p, start, c ? "lone surrogate" : "\\u0000 is not supported");
    *out = put_utf8(*out, (uint32_t)c);
    return true;
}

static bool escape(parser *p, char **out)
{
    static const char code[] = "bfnrt\"\\/", plain[] = "\b\f\n\r\t\"\\/";
    char c = p->end - p->s > 1 ? p->s[1] : 0;
    if (c == 'u')
        return unicode_escape(p, out);
    const char *k = c ? strchr(code, c) : NULL;
    if (!k)
        return fail(p, p->s, "unknown escape");
    *(*out)++ = plain[k - code];
    p->s += 2;
    return true;
}

/* A string at p->s, decoded to its own place: no escape is shorter than what it stands for. */
static const char *parse_string(parser *p)
{
    char *start = p->s, *out = ++p->s;
    while (p->s < p->end && *p->s != '"') {
        int n = utf8_length((unsigned char *)p->s, (unsigned char *)p->end);
        if (*p->s == '\\') {
            if (!escape(p, &out))
                return NULL;
            continue;
        }
        if (!n || (unsigned char)*p->s < 0x20) {
            fail(p, p->s, n ? "control character in a string" : "invalid UTF-8");
            return NULL;
        }
        memmove(out, p->s, (size_t)n);
        out += n;
        p->s += n;
    }
    if (p->s == p->end) {
        fail(p, start, "string without an end");
        return NULL;
    }
    p->s++;
    *out = 0;
    return start + 1;
}

/* ---- numbers and words ---- */
static const char *skip_digits(const parser *p, const char *s)
{
    while (s < p->end && is_digit(*s))
        s++;
    return s;
}

/* End of the number at p->s by JSON's grammar, NULL if it is none; *whole: neither fraction nor
 * exponent. */
static const char *number_end(const parser *p, bool *whole)
{
    const char *s = p->s + (*p->s == '-'), *e;
    if (s == p->end || !is_digit(*s))
        return NULL;
    *whole = true;
    s = *s == '0' ? s + 1 : skip_digits(p, s);
    if (s < p->end && *s == '.') {
        *whole = false;
        e = skip_digits(p, s + 1);
        if (e == s + 1)
            return NULL;
        s = e;
    }
    if (s < p->end && (*s | 32) == 'e') {
        *whole = false;
        s += s + 1 < p->end && (s[1] == '+' || s[1] == '-') ? 2 : 1;
        e = skip_digits(p, s);
        return e == s ? NULL : e;
    }
    return s;
}

static bool parse_number(parser *p, weft_json *j)
{
    bool whole;
    const char *e = number_end(p, &whole);
    if (!e)
        return fail(p, p->s, "not a number");
    char *end = p->text + (e - p->text), after = *end;
    *end = 0; /* text[n] is ours too */
    bool ok = whole && weft_parse_i64(p->s, &j->i);
    if (!ok && (!whole || p->wide)) {
        whole = false;
        ok = isfinite(j->f = weft_strtod(p->s, NULL));
    }
    *end = after;
    if (!ok)
        return fail(p, p->s, "number too large for 64 bits");
    j->kind = whole ? WEFT_JSON_INT : WEFT_JSON_REAL;
    p->s = end;
    return true;
}

static bool parse_word(parser *p, weft_json *j)
{
    static const struct {
        const char *text;
        weft_json_kind kind;
    } words[] = {{"null", WEFT_JSON_NULL}, {"false", WEFT_JSON_FALSE}, {"true", WEFT_JSON_TRUE}};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i].text);
        if ((size_t)(p->end - p->s) >= n && !memcmp(p->s, words[i].text, n)) {
            j->kind = words[i].kind;
            p->s += n;
            return true;
        }
    }
    return fail(p, p->s, p->s < p->end ? "expected a value" : "ends where a value was expected");
}

/* ---- the tree ---- */
/* A scalar, or the opening of a list or object. */
static bool parse_head(parser *p, weft_json *j)
{
    char c = peek(p);
    if (c == '[' || c == '{') {
        if (p->depth == WEFT_JSON_DEPTH)
            return fail(p, p->s, "nested too deeply");
        j->kind = c == '[' ? WEFT_JSON_ARRAY : WEFT_JSON_OBJECT;
        p->last[p->depth] = NULL;
        p->open[p->depth++] = j;
        p->s++;
        return true;
    }
    if (c == '"') {
        j->kind = WEFT_JSON_STRING;
        return (j->text = parse_string(p)) != NULL;
    }
    return c == '-' || is_digit(c) ? parse_number(p, j) : parse_word(p, j);
}

static bool parse_key(parser *p, const char **key)
{
    if (peek(p) != '"')
        return fail(p, p->s, "expected a key in quotes");
    *key = parse_string(p);
    if (!*key)
        return false;
    skip_space(p);
    if (peek(p) != ':')
        return fail(p, p->s, "expected ':'");
    p->s++;
    skip_space(p);
    return true;
}

static weft_json *parse_member(parser *p)
{
    int d = p->depth - 1;
    weft_json *j = weft_arena_alloc(p->arena, sizeof *j);
    if (!j)
        return NULL;
    j->at = (uint32_t)(p->s - p->text);
    if (d >= 0 && p->open[d]->kind == WEFT_JSON_OBJECT && !parse_key(p, &j->key))
        return NULL;
    if (!parse_head(p, j))
        return NULL;
    if (d >= 0) {
        *(p->last[d] ? &p->last[d]->next : &p->open[d]->child) = j;
        p->last[d] = j;
        p->open[d]->n++;
    }
    return j;
}

static int by_key(const void *pa, const void *pb)
{
    const weft_json *a = *(const weft_json *const *)pa, *b = *(const weft_json *const *)pb;
    int order = strcmp(a->key, b->key);
    return order ? order : a->at < b->at ? -1 : 1;
}

/* Sorted, equal keys are neighbours: n log n, whatever the input. */
static bool check_keys(parser *p, const weft_json *object)
{
    weft_ctx *c = weft_arena_ctx(p->arena);
    const weft_json **sorted = weft_alloc(c, (size_t)object->n * sizeof(weft_json *));
    if (!sorted)
        return false;
    int n = 0;
    for (const weft_json *j = object->child; j; j = j->next)
        sorted[n++] = j;
    if (n > 1)
        qsort(sorted, (size_t)n, sizeof *sorted, by_key);
    bool ok = true;
    for (int i = 1; i < n && ok; i++)
        if (!strcmp(sorted[i - 1]->key, sorted[i]->key))
            ok = fail(p, p->text + sorted[i]->at, "duplicate key");
    weft_free(c, sorted);
    return ok;
}

/* After a value: closes what ends here; true when another member follows, false at the end of all
 * or on error. */
static bool next_member(parser *p, bool *ok)
{
    for (*ok = true; p->depth;) {
        weft_json *top = p->open[p->depth - 1];
        bool object = top->kind == WEFT_JSON_OBJECT;
        skip_space(p);
        if (peek(p) == ',') {
            p->s++;
            return true;
        }
        if (peek(p) != (object ? '}' : ']'))
            *ok = fail(p, p->s, object ? "expected ',' or '}'" : "expected ',' or ']'");
        else if (object)
            *ok = check_keys(p, top);
        if (!*ok)
            return false;
        p->s++;
        p->depth--;
    }
    return false;
}

static bool closes_empty(parser *p)
{
    const weft_json *top = p->depth ? p->open[p->depth - 1] : NULL;
    return top && !top->n && peek(p) == (top->kind == WEFT_JSON_OBJECT ? '}' : ']');
}

static weft_json *parse(weft_arena *a, char *text, size_t n, bool wide, weft_json_error *e)
{
    parser p = {
        .arena = a, .text = text, .s = text, .end = text + n, .error = e, .wide = wide};
    *e = (weft_json_error){0};
    if (n > WEFT_JSON_LIMIT) {
        fail(&p, text, "larger than 2 GiB");
        return NULL;
    }
    bool more = true, ok = true;
    skip_space(&p);
    weft_json *root = parse_member(&p);
    if (!root)
        return NULL;
    for (bool opened = p.depth > 0; more;) {
        skip_space(&p);
        int depth = p.depth;
        if (depth && !(opened && closes_empty(&p)) && !parse_member(&p))
            return NULL;
        opened = p.depth > depth;
        if (!opened)
            more = next_member(&p, &ok);
    }
    skip_space(&p);
    if (ok && p.s < p.end)
        ok = fail(&p, p.s, "text after the end");
    return ok ? root : NULL;
}

weft_json *weft_json_parse(weft_arena *a, char *text, size_t n, weft_json_error *e)
{
    return parse(a, text, n, false, e);
}

static weft_status parse_file(weft_arena *a, const char *path, char *text, size_t n, bool wide,
                              weft_json **out)
{
    weft_ctx *c = weft_arena_ctx(a);
    weft_json_error e;
    char file[512];
    weft_printable(file, sizeof file, path);
    *out = parse(a, text, n, wide, &e);
    if (!*out && !e.what)
        return weft_note(c, "while parsing %s", file);
    if (*out && (*out)->kind == WEFT_JSON_OBJECT)
        return WEFT_OK;
    if (*out)
        return weft_fail(c, WEFT_MALFORMED, "%s: the file is %s, expected an object", file,
                         weft_json_name(*out));
    int line = 1, column = 1;
    for (size_t i = 0; i < e.at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return weft_fail(c, WEFT_MALFORMED, "%s:%d:%d: %s", file, line, column, e.what);
}

weft_status weft_json_parse_file(weft_arena *a, const char *path, char *text, size_t n,
                                 weft_json **out)
{
    return parse_file(a, path, text, n, false, out);
}

weft_status weft_json_parse_wide(weft_arena *a, const char *path, char *text, size_t n,
                                 weft_json **out)
{
    return parse_file(a, path, text, n, true, out);
}

const weft_json *weft_json_get(const weft_json *j, const char *key)
{
    const weft_json *m = j && j->kind == WEFT_JSON_OBJECT ? j->child : NULL;
    while (m && strcmp(m->key, key))
        m = m->next;
    return m;
}

bool weft_json_is(const weft_json *j, weft_json_kind kind) { return j && j->kind == kind; }

const char *weft_json_name(const weft_json *j)
{
    static const char *const names[] = {"nothing",  "null",           "false",
                                        "true",     "a whole number", "a fraction",
                                        "a string", "a list",         "an object"};
    return names[j ? j->kind : 0];
}

/* ---- writing strings ---- */
static void add_escaped(weft_string *s, const char *text)
{
    static const char plain[] = "\b\f\n\r\t\"\\", code[] = "bfnrt\"\\";
    for (const char *end = text + strlen(text); text < end;) {
        int len = utf8_length((const unsigned char *)text, (const unsigned char *)end);
        const char *k = strchr(plain, *text);
        if (k)
            weft_string_printf(s, "\\%c", code[k - plain]);
        else if ((unsigned char)*text < 0x20)
            weft_string_printf(s, "\\u%04x", (unsigned char)*text);
        else if (!len)
            weft_string_printf(s, "\\ufffd");
        else
            weft_string_add(s, text, (size_t)len);
        text += len ? len : 1;
    }
}

void weft_string_json2(weft_string *s, const char *text, const char *more)
{
    weft_string_printf(s, "\"");
    add_escaped(s, text ? text : "");
    add_escaped(s, more ? more : "");
    weft_string_printf(s, "\"");
}

void weft_string_json(weft_string *s, const char *text) { weft_string_json2(s, text, NULL); }
