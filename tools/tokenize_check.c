/* tokenize_check.c - what is no text is not tokenized: archives, tables, UTF-16, binary files, and
 * JSON lines, which are text, but whose braces and keys hardly anybody means to train on. */
#include <string.h>

#include "graph/io.h"
#include "graph/json.h"
#include "graph/sniff.h"
#include "tools/bpe_impl.h"
#include "tools/tokenize.h"

enum { LINES_BYTES = 1 << 20, LINES = 64 }; /* of a file that may hold JSON lines */

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

static weft_status refuse_lines(weft_ctx *c, const char *path, char *text, size_t n)
{
    char shown[512], name[96];
    const char *key = NULL;
    weft_arena *a = weft_arena_new(c, 0);
    bool lines = a && json_lines(a, text, n, &key);
    if (lines)
        weft_fail(
            c, WEFT_MALFORMED,
            "%s: every line is a JSON object, expected text. Write the text in them first: "
            "python3 -c 'import json, sys; [print(json.loads(l)[%s], end=\"<|endoftext|>\\n\") "
            "for l in sys.stdin]' <FILE >FILE.txt %s",
            weft_printable(shown, sizeof shown, path),
            key ? bpe_quote(name, sizeof name, key) : "\"text\"", anyway);
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

weft_status tokenize_check_file(weft_ctx *c, const char *path)
{
    char *text = NULL, shown[512];
    size_t n = 0;
    weft_status s = read_head(c, path, &text, &n);
    if (!s) {
        size_t look = n < WEFT_SNIFF_BYTES ? n : WEFT_SNIFF_BYTES;
        const char *is = weft_kind_of(text, look);
        is = is ? is : weft_no_text(text, look);
        s = is ? weft_fail(c, WEFT_MALFORMED, "%s: this is %s, expected text %s",
                           weft_printable(shown, sizeof shown, path), is, anyway)
               : refuse_lines(c, path, text, n);
    }
    weft_free(c, text);
    return s;
}
