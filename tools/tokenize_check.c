/* tokenize_check.c - what is no text is not tokenized: archives, tables, UTF-16, binary files, and
 * JSON (lines or an array of objects), which is text, but whose braces and keys hardly anybody
 * means to train on. */
#include <string.h>

#include "graph/io.h"
#include "graph/json.h"
#include "graph/sniff.h"
#include "tools/bpe_impl.h"
#include "tools/tokenize.h"

enum { LINES_BYTES = 1 << 20, LINES = 64 }; /* of a file that may hold JSON */

static const char *const anyway = "(--as-text takes it as it is)";

/* The member of an object that holds the longest text; NULL: none does. */
static const char *longest_text(const weft_json *object)
{
    const char *best = NULL;
    size_t longest = 0;
    for (const weft_json *v = object->child; v; v = v->next)
        if (v->kind == WEFT_JSON_STRING && strlen(v->text) >= longest) {
            longest = strlen(v->text);
            best = v->key;
        }
    return best;
}

/* Are text[0..n) lines of JSON objects, all that are whole, and at least two of them? *key: what
 * the first one has its text in. The text is written over. */
static bool json_lines(weft_arena *a, char *text, size_t n, const char **key)
{
    int lines = 0;
    for (char *end; lines < LINES && n && (end = memchr(text, '\n', n)); lines++) {
        size_t len = (size_t)(end - text);
        weft_json_error e;
        const weft_json *j = len && *text == '{' ? weft_json_parse(a, text, len, &e) : NULL;
        if (!weft_json_is(j, WEFT_JSON_OBJECT) || !j->n)
            return false;
        *key = lines ? *key : longest_text(j);
        text = end + 1;
        n -= len + 1;
    }
    return lines > 1 && (!n || *text == '{');
}

/* The end of the object that text[0..n) begins with; NULL: it does not end here. */
static char *object_end(char *text, size_t n)
{
    int64_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted) {
            quoted = text[i] != '"';
            i += text[i] == '\\';
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == '{' || text[i] == '[') {
            depth++;
        } else if ((text[i] == '}' || text[i] == ']') && --depth == 0) {
            return text + i + 1;
        }
    }
    return NULL;
}

static char *behind_blanks(char *text, const char *end)
{
    while (text < end && weft_is_space(*text))
        text++;
    return text;
}

/* Is text[0..n) a JSON array of objects, as far as its first one tells? *key and text as above. */
static bool json_array(weft_arena *a, char *text, size_t n, const char **key)
{
    char *const end = text + n;
    char *p = behind_blanks(text, end);
    if (p == end || *p != '[')
        return false;
    p = behind_blanks(p + 1, end);
    char *last = p < end && *p == '{' ? object_end(p, (size_t)(end - p)) : NULL;
    char *next = last ? behind_blanks(last, end) : end;
    if (next == end || (*next == ']' ? behind_blanks(next + 1, end) != end : *next != ','))
        return false;
    weft_json_error e;
    const weft_json *j = weft_json_parse(a, p, (size_t)(last - p), &e);
    if (!weft_json_is(j, WEFT_JSON_OBJECT) || !j->n)
        return false;
    *key = longest_text(j);
    return true;
}

/* What holds texts, but is none: `name` is a file, or standard input. */
static weft_status refuse_json(weft_ctx *c, const char *name, char *text, size_t n)
{
    char shown[512], quoted[96];
    const char *key = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    bool array = a && json_array(a, text, n, &key);
    if (array || (a && json_lines(a, text, n, &key))) {
        const char *field = key ? bpe_quote(quoted, sizeof quoted, key) : "\"text\"";
        weft_fail(c, WEFT_MALFORMED,
                  "%s: %s, expected text. Write the text in them first: python3 -c 'import json, "
                  "sys; [print(%s[%s], end=\"<|endoftext|>\\n\") for %s]' <FILE >FILE.txt %s",
                  weft_printable(shown, sizeof shown, name),
                  array ? "this is a JSON array of objects" : "every line is a JSON object",
                  array ? "d" : "json.loads(l)", field,
                  array ? "d in json.load(sys.stdin)" : "l in sys.stdin", anyway);
    }
    weft_arena_free(a);
    return c->status;
}

/* The first bytes of a file; *text is the caller's. */
static weft_status read_head(weft_ctx *c, const char *path, char **text, size_t *n)
{
    int fd;
    WEFT_TRY(weft_open_read(c, path, &fd));
    int64_t size = weft_size(c, fd);
    *n = size < 0 ? 0 : size < LINES_BYTES ? (size_t)size : LINES_BYTES;
    *text = size < 0 ? NULL : weft_alloc(c, *n + 1);
    weft_status s = size < 0 ? weft_io_fail(c, WEFT_MISSING, "read", path)
                    : *text  ? weft_read_at(c, fd, path, *text, *n, 0)
                             : c->status;
    weft_close_fd(c, fd);
    return s;
}

/* text[0..n) is written over. */
static weft_status check_head(weft_ctx *c, const char *name, char *text, size_t n)
{
    char shown[512];
    size_t look = n < WEFT_SNIFF_BYTES ? n : WEFT_SNIFF_BYTES;
    const char *is = weft_kind_of(text, look);
    is = is ? is : weft_no_text(text, look);
    return is ? weft_fail(c, WEFT_MALFORMED, "%s: this is %s, expected text %s",
                          weft_printable(shown, sizeof shown, name), is, anyway)
              : refuse_json(c, name, text, n);
}

weft_status tokenize_check_file(weft_ctx *c, const char *path)
{
    char *text = NULL;
    size_t n = 0;
    weft_status s = read_head(c, path, &text, &n);
    if (!s)
        s = check_head(c, path, text, n);
    weft_free(c, text);
    return s;
}

weft_status tokenize_check_text(weft_ctx *c, const char *name, const char *text, size_t n)
{
    n = n < LINES_BYTES ? n : LINES_BYTES;
    char *head = weft_alloc(c, n + 1);
    if (!head)
        return c->status;
    if (n)
        memcpy(head, text, n);
    weft_status s = check_head(c, name, head, n);
    weft_free(c, head);
    return s;
}
