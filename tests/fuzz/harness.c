/* harness.c - contexts, outcomes and inputs of several files, for all fuzz targets. */
#include <malloc.h>

#include "graph/load.h"
#include "tests/fuzz/fuzz.h"

/* ---- memory ---- */
static struct {
    size_t live, budget;
    bool strict;
} memory;

/* Counts `more` bytes in place of `less`; false: over the budget. */
static bool take(size_t more, size_t less)
{
    if (more > memory.budget || memory.live - less > memory.budget - more) {
        FUZZ_REQUIRE(!memory.strict, "%zu bytes more than %zu, over the budget of %zu", more,
                     memory.live - less, memory.budget);
        return false;
    }
    return true;
}

static void *counted_alloc(void *user, size_t n)
{
    (void)user;
    void *p = take(n, 0) ? malloc(n) : NULL;
    memory.live += p ? malloc_usable_size(p) : 0;
    return p;
}

static void *counted_realloc(void *user, void *old, size_t n)
{
    (void)user;
    size_t before = old ? malloc_usable_size(old) : 0;
    void *p = take(n, before) ? realloc(old, n) : NULL;
    memory.live += p ? malloc_usable_size(p) - before : 0;
    return p;
}

static void counted_free(void *user, void *p)
{
    (void)user;
    memory.live -= p ? malloc_usable_size(p) : 0;
    free(p);
}

/* ---- contexts ---- */
/* Lines of the log are looked at as messages are. */
static void check_text(const char *text, bool lines)
{
    for (const unsigned char *s = (const unsigned char *)text; *s; s++)
        FUZZ_REQUIRE((*s >= 0x20 && *s != 0x7f) || (lines && *s == '\n'),
                     "byte 0x%02x in a message: %s", *s, text);
}

static void log_line(void *user, const char *line)
{
    (void)user;
    check_text(line, true);
}

weft_ctx *fuzz_open(size_t budget, bool strict)
{
    static const weft_allocator counted = {counted_alloc, counted_realloc, counted_free, NULL};
    memory.live = 0;
    memory.budget = budget;
    memory.strict = strict;
    weft_ctx *c = weft_open(
        &(weft_options){.allocator = &counted, .io = &fuzz_io, .threads = 1, .log = log_line});
    FUZZ_REQUIRE(c, "no memory for a context");
    return c;
}

void fuzz_close(weft_ctx *c)
{
    weft_close(c);
    FUZZ_REQUIRE(!memory.live, "%zu bytes are left", memory.live);
    FUZZ_REQUIRE(!fuzz_files_open(), "%d files are left open", fuzz_files_open());
    fuzz_files_clear();
}

bool fuzz_done(weft_ctx *c, weft_status s)
{
    const char *text = weft_error(c);
    FUZZ_REQUIRE(s == weft_error_status(c), "returned %d, recorded %d: %s", s, weft_error_status(c),
                 text);
    FUZZ_REQUIRE(!s == !*text, "status %d with the message '%s'", s, text);
    FUZZ_REQUIRE(s != WEFT_INTERNAL, "%s", text);
    check_text(text, true);
    weft_error_clear(c);
    return s == WEFT_OK;
}

/* ---- inputs of several files ---- */
#define MARK "=====["

static const uint8_t *next_mark(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *m = p < end ? memmem(p, (size_t)(end - p), MARK, strlen(MARK)) : NULL;
    return m ? m : end;
}

int fuzz_split(const uint8_t *data, size_t n, const char *first, fuzz_part part[FUZZ_PARTS])
{
    const uint8_t *end = data + n, *p = next_mark(data, end);
    int count = 0;
    if (p > data) {
        part[count] = (fuzz_part){.data = data, .n = (size_t)(p - data)};
        snprintf(part[count++].name, sizeof part->name, "%s", first);
    }
    while (p < end && count < FUZZ_PARTS) {
        const uint8_t *name = p + strlen(MARK);
        const uint8_t *close = memchr(name, ']', (size_t)(end - name));
        if (!close)
            break;
        fuzz_part *x = &part[count++];
        const uint8_t *body = close + 1 + (close + 1 < end && close[1] == '\n');
        p = next_mark(body, end);
        *x = (fuzz_part){.data = body, .n = (size_t)(p - body)};
        snprintf(x->name, sizeof x->name, "%.*s", (int)(close - name), (const char *)name);
    }
    return count;
}

const fuzz_part *fuzz_find(const fuzz_part *part, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(part[i].name, name))
            return &part[i];
    return NULL;
}

void fuzz_files(const char *folder, const fuzz_part *part, int n)
{
    char path[128];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%.47s", folder, part[i].name);
        fuzz_file(path, part[i].data, part[i].n);
    }
}

int fuzz_lines(const fuzz_part *p, char **text, int most)
{
    char *s = p && p->n ? malloc(p->n + 1) : NULL;
    int n = 0;
    if (!s)
        return 0;
    memcpy(s, p->data, p->n);
    s[p->n] = 0;
    for (text[n++] = s; n < most && (s = strchr(s, '\n')); text[n++] = s)
        *s++ = 0;
    return n;
}

/* ---- messages ---- */
static void require_ok(weft_arena *a, weft_status s, const char *what)
{
    weft_ctx *c = weft_arena_ctx(a);
    FUZZ_REQUIRE(!s || s == WEFT_NOMEM, "%s: %s", what, weft_error(c));
}

void fuzz_message_again(weft_arena *a, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    weft_ctx *c = weft_arena_ctx(a);
    ProtobufCMessage *from_text = NULL, *from_bytes = NULL;
    uint8_t *bytes, *again;
    size_t n, k;
    weft_string text, twice;
    weft_string_init(&text, c);
    weft_string_init(&twice, c);
    require_ok(a, weft_text_print(m, &text), "printing a message");
    if (text.s && text.len)
        require_ok(a, weft_text_parse(a, d, text.s, text.len, "again", NULL, &from_text),
                   "reading back printed text");
    if (from_text)
        require_ok(a, weft_text_print(from_text, &twice), "printing it again");
    if (from_text && twice.s)
        FUZZ_REQUIRE(!strcmp(text.s, twice.s), "read back as\n%s\ninstead of\n%s", twice.s, text.s);
    require_ok(a, weft_binary_pack(a, m, &bytes, &n), "packing a message");
    if (!weft_error_status(c) && n)
        require_ok(a, weft_binary_parse(a, d, bytes, n, "again", NULL, &from_bytes),
                   "reading back packed bytes");
    if (from_bytes && !weft_binary_pack(a, from_bytes, &again, &k))
        FUZZ_REQUIRE(n == k && !memcmp(bytes, again, n), "other bytes after reading back");
    weft_string_free(&text);
    weft_string_free(&twice);
    weft_error_clear(c);
}
