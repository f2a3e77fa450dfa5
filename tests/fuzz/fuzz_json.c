/* fuzz_json.c - the JSON reader against a recogniser of RFC 8259 that shares nothing with it, and
 * against itself: what it read is written and read back as the same. */
#include <math.h>

#include "graph/json.h"
#include "tests/fuzz/fuzz.h"

/* ---- the recogniser: true iff the text is one JSON value ---- */
typedef struct {
    const uint8_t *s, *end;
    int deepest;
} judge;

static int peek(const judge *j) { return j->s < j->end ? *j->s : -1; }
static bool digit(int c) { return c >= '0' && c <= '9'; }
static bool hex(int c) { return digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static void space(judge *j)
{
    while (peek(j) == ' ' || peek(j) == '\t' || peek(j) == '\n' || peek(j) == '\r')
        j->s++;
}

static bool eat(judge *j, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(j->end - j->s) < n || memcmp(j->s, word, n))
        return false;
    j->s += n;
    return true;
}

static int digits(judge *j)
{
    int n = 0;
    for (; digit(peek(j)); j->s++)
        n++;
    return n;
}

static bool number(judge *j)
{
    eat(j, "-");
    if (!eat(j, "0") && !digits(j))
        return false;
    if (eat(j, ".") && !digits(j))
        return false;
    if (eat(j, "e") || eat(j, "E")) {
        if (!eat(j, "+"))
            eat(j, "-");
        return digits(j) > 0;
    }
    return true;
}

/* One character of UTF-8 by its value: shortest form, no surrogate, below 0x110000. */
static bool character(judge *j)
{
    uint32_t c = *j->s++;
    int more = c < 0x80 ? 0 : c >> 5 == 6 ? 1 : c >> 4 == 14 ? 2 : c >> 3 == 30 ? 3 : -1;
    if (more <= 0)
        return more == 0;
    c &= 0x3fu >> more;
    for (int i = 0; i < more; i++, j->s++) {
        if (peek(j) < 0 || (*j->s & 0xc0) != 0x80)
            return false;
        c = c << 6 | (*j->s & 0x3f);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    return c >= least[more] && c < 0x110000 && (c < 0xd800 || c > 0xdfff);
}

static bool string(judge *j)
{
    if (!eat(j, "\""))
        return false;
    while (!eat(j, "\"")) {
        if (peek(j) < 0x20)
            return false;
        if (!eat(j, "\\")) {
            if (!character(j))
                return false;
        } else if (eat(j, "u")) {
            for (int i = 0; i < 4; i++, j->s++)
                if (!hex(peek(j)))
                    return false;
        } else if (peek(j) > 0 && strchr("\"\\/bfnrt", peek(j))) {
            j->s++;
        } else {
            return false;
        }
    }
    return true;
}

static bool scalar(judge *j)
{
    if (eat(j, "true") || eat(j, "false") || eat(j, "null"))
        return true;
    return peek(j) == '"' ? string(j) : number(j);
}

/* "key": before a value of an object. */
static bool key(judge *j)
{
    space(j);
    if (!string(j))
        return false;
    space(j);
    return eat(j, ":");
}

/* Closes what ends here; *open is what is open, innermost first. True: a value is complete. */
static bool valid(judge *j)
{
    static char open[1 << 16];
    int depth = 0;
    for (;;) {
        space(j);
        bool opened = eat(j, "[") || eat(j, "{");
        if (opened) {
            open[depth++] = (char)j->s[-1];
            j->deepest = depth > j->deepest ? depth : j->deepest;
            space(j);
            bool object = open[depth - 1] == '{';
            if (peek(j) != (object ? '}' : ']')) {
                if (object && !key(j))
                    return false;
                continue;
            }
        } else if (!scalar(j)) {
            return false;
        }
        for (;;) {
            space(j);
            if (!depth)
                return j->s == j->end;
            if (eat(j, ",")) {
                if (open[depth - 1] == '{' && !key(j))
                    return false;
                break;
            }
            if (!eat(j, open[depth - 1] == '{' ? "}" : "]"))
                return false;
            depth--;
        }
    }
}

/* ---- the tree as text ---- */
static void write_value(weft_string *s, const weft_json *v)
{
    static const char *const word[] = {"", "null", "false", "true"};
    if (v->key) {
        weft_string_json(s, v->key);
        weft_string_printf(s, ":");
    }
    switch (v->kind) {
    case WEFT_JSON_INT:
        weft_string_printf(s, "%lld", (long long)v->i);
        break;
    case WEFT_JSON_REAL:
        FUZZ_REQUIRE(isfinite(v->f), "a number that is not finite");
        weft_string_printf(s, "%.17e", v->f);
        break;
    case WEFT_JSON_STRING:
        weft_string_json(s, v->text);
        break;
    case WEFT_JSON_ARRAY:
        weft_string_printf(s, "[");
        break;
    case WEFT_JSON_OBJECT:
        weft_string_printf(s, "{");
        break;
    default:
        weft_string_printf(s, "%s", word[v->kind]);
    }
}

/* Depth first with the way down kept, which the reader bounds. */
static void write_tree(weft_string *s, const weft_json *v)
{
    const weft_json *way[WEFT_JSON_DEPTH + 1];
    int depth = 0;
    for (;;) {
        write_value(s, v);
        bool inner = v->kind == WEFT_JSON_ARRAY || v->kind == WEFT_JSON_OBJECT;
        FUZZ_REQUIRE(depth <= WEFT_JSON_DEPTH, "nested deeper than the reader allows");
        if (inner && v->n) {
            way[depth++] = v;
            v = v->child;
            continue;
        }
        if (inner)
            weft_string_printf(s, v->kind == WEFT_JSON_OBJECT ? "}" : "]");
        while (depth && !v->next) {
            v = way[--depth];
            weft_string_printf(s, v->kind == WEFT_JSON_OBJECT ? "}" : "]");
        }
        if (!depth)
            return;
        weft_string_printf(s, ",");
        v = v->next;
    }
}

static bool known_limit(const weft_json_error *e)
{
    /* What the reader refuses of valid JSON (json.h). */
    static const char *const why[] = {"duplicate", "u0000", "surrogate", "number", "integer",
                                      "deep",      "nest",  "range",     "large"};
    for (size_t i = 0; e->what && i < sizeof why / sizeof *why; i++)
        if (strstr(e->what, why[i]))
            return true;
    return false;
}

static void again(weft_ctx *c, weft_arena *a, const weft_json *tree)
{
    weft_string one, two;
    weft_json_error e;
    weft_string_init(&one, c);
    weft_string_init(&two, c);
    write_tree(&one, tree);
    char *copy = one.failed ? NULL : weft_arena_strndup(a, one.s, one.len);
    if (copy) {
        const weft_json *t = weft_json_parse(a, copy, one.len, &e);
        FUZZ_REQUIRE(t, "%s at byte %zu of %s", e.what, e.at, one.s);
        write_tree(&two, t);
        FUZZ_REQUIRE(two.failed || !strcmp(one.s, two.s), "%s\nread back as\n%s", one.s, two.s);
    }
    weft_string_free(&one);
    weft_string_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 65536)
        return 0;
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    weft_arena *a = weft_arena_new(c, 0);
    char *text = weft_arena_alloc(a, n + 1);
    judge j = {.s = data, .end = data + n};
    weft_json_error e = {0};
    if (n)
        memcpy(text, data, n);
    const weft_json *tree = weft_json_parse(a, text, n, &e);
    bool sound = valid(&j);
    FUZZ_REQUIRE(!tree || sound, "the reader took what is no JSON, from byte %td", j.s - data);
    FUZZ_REQUIRE(tree || !sound || j.deepest > WEFT_JSON_DEPTH || known_limit(&e),
                 "the reader refused valid JSON at byte %zu: %s", e.at, e.what);
    if (tree)
        again(c, a, tree);
    weft_arena_free(a);
    fuzz_close(c);
    return 0;
}
