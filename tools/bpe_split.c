/* bpe_split.c - GPT-2's pre-tokenizer: cuts a text into the pieces inside which tokens are merged.
 *
 * A hand-written scanner instead of a regular-expression engine: no stack, and "white space" is
 * spelled out, since engines disagree about \s (U+0085, U+180E, U+FEFF).  Letters and numbers are
 * utf8proc's general categories, so text in letters assigned by a newer Unicode than utf8proc's is
 * split as if they were symbols. */
#include <utf8proc.h>

#include "tools/bpe_impl.h"

enum { OTHER, LETTER, NUMBER, SPACE };

/* The Unicode property White_Space beyond ASCII (PropList.txt; unchanged since Unicode 6.3). */
static bool is_wide_space(int32_t cp)
{
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool bpe_is_space(int32_t code)
{
    return code == ' ' || (code >= 9 && code <= 13) || is_wide_space(code);
}

static int class_beyond_ascii(const unsigned char *p, size_t n, size_t *len)
{
    utf8proc_int32_t cp;
    utf8proc_ssize_t used = utf8proc_iterate(p, n < 4 ? (utf8proc_ssize_t)n : 4, &cp);
    if (used <= 0) { /* not UTF-8: one byte by itself */
        *len = 1;
        return OTHER;
    }
    *len = (size_t)used;
    if (is_wide_space(cp))
        return SPACE;
    utf8proc_category_t c = utf8proc_category(cp);
    if (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO)
        return LETTER;
    return c >= UTF8PROC_CATEGORY_ND && c <= UTF8PROC_CATEGORY_NO ? NUMBER : OTHER;
}

/* Class and length in bytes of the character at p, with n > 0 bytes there. */
static inline int class_at(const unsigned char *p, size_t n, size_t *len)
{
    unsigned c = *p;
    if (c >= 0x80)
        return class_beyond_ascii(p, n, len);
    *len = 1;
    if ((c | 32) - 'a' < 26)
        return LETTER;
    if (c - '0' < 10)
        return NUMBER;
    return c == ' ' || c - 9 < 5 ? SPACE : OTHER;
}

/* End of the run of characters of one class that starts at `at`. */
static size_t run_end(const unsigned char *p, size_t n, size_t at, int class)
{
    size_t len;
    while (at < n && class_at(p + at, n - at, &len) == class)
        at += len;
    return at;
}

/* 's 't 'm 'd 're 've 'll; lower case only, as published. 0 if there is none. */
static size_t contraction(const unsigned char *p, size_t n)
{
    if (n < 2)
        return 0;
    if (p[1] == 's' || p[1] == 't' || p[1] == 'm' || p[1] == 'd')
        return 2;
    if (n < 3)
        return 0;
    return (p[1] == 'r' && p[2] == 'e') || (p[1] == 'v' && p[2] == 'e') ||
                   (p[1] == 'l' && p[2] == 'l')
               ? 3
               : 0;
}

/* White space: all of it at the end of the text, else all but its last character, which may be the
 * space that begins the next piece; a single one stands alone. */
static size_t space_piece(const unsigned char *p, size_t n)
{
    size_t at = 0, last = 0, len;
    while (at < n && class_at(p + at, n - at, &len) == SPACE) {
        last = at;
        at += len;
    }
    return at < n && last > 0 ? last : at;
}

size_t weft_split(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t len, next;
    if (*p == '\'' && (len = contraction(p, n)) > 0)
        return len;
    int class = class_at(p, n, &len);
    if (class != SPACE)
        return run_end(p, n, len, class);
    if (*p == ' ' && n > 1 && (class = class_at(p + 1, n - 1, &next)) != SPACE)
        return run_end(p, n, 1 + next, class);
    return space_piece(p, n);
}

/* Whether the bytes before p + at end a white-space character beyond ASCII. */
static bool ends_wide_space(const unsigned char *p, size_t at)
{
    size_t len;
    return (at >= 2 && class_at(p + at - 2, 2, &len) == SPACE && len == 2) ||
           (at >= 3 && class_at(p + at - 3, 3, &len) == SPACE && len == 3);
}

/* A piece never holds white space after another character, and what follows such a place does not
 * change what is before it.  Only ASCII white space is looked for. */
size_t weft_split_point(const char *text, size_t at)
{
    const unsigned char *p = (const unsigned char *)text;
    for (; at > 0; at--) {
        bool space = p[at] == ' ' || p[at] - 9u < 5;
        bool solid = p[at - 1] != ' ' && p[at - 1] - 9u >= 5;
        if (space && solid && !ends_wide_space(p, at))
            return at;
    }
    return 0;
}
