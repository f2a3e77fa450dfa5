/* textlex.c - tokens of the protobuf text format.
 *
 * Follows protobuf.dev, "Text Format Language Specification". */
#include "graph/textlex.h"

#include <stdio.h>
#include <string.h>

/* ASCII only: the classes of <ctype.h> follow the locale. */
static bool is_digit(int c) { return c >= '0' && c <= '9'; }
static bool is_octal(int c) { return c >= '0' && c <= '7'; }
static bool is_letter(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Value of a digit of base 16, or -1. */
static int hex_digit(int c)
{
    if (is_digit(c))
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at i, or -1 behind the end. */
static int peek(const weft_lexer *x, size_t i) { return i < x->n ? (unsigned char)x->s[i] : -1; }

static void advance(weft_lexer *x, size_t to)
{
    for (; x->at < to; x->at++) {
        if (x->s[x->at] == '\n') {
            x->line++;
            x->col = 1;
        } else if ((x->s[x->at] & 0xc0) != 0x80) {
            x->col++; /* not for continuation bytes: columns count characters */
        }
    }
}

/* Error at byte i of the current token or at the cursor. */
static void bad(weft_lexer *x, size_t i, const char *what)
{
    if (x->kind == WEFT_TOKEN_BAD)
        return;
    x->kind = WEFT_TOKEN_BAD;
    snprintf(x->error, sizeof x->error, "%s", what);
    x->error_line = x->token_line;
    x->error_col = x->token_col;
    for (size_t k = x->start; k < i; k++)
        x->error_col += (x->s[k] & 0xc0) != 0x80;
}

/* Some editors begin a file with a byte order mark; it is no part of the text. */
void weft_lexer_init(weft_lexer *x, const char *text, size_t n)
{
    *x = (weft_lexer){.s = text, .n = n, .line = 1, .col = 1};
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        x->at = 3;
}

/* Whitespace and comments. NUL is an error even in a comment: such a file is not text. */
static void skip(weft_lexer *x)
{
    size_t i = x->at;
    bool comment = false;
    for (int c; (c = peek(x, i)) > 0; i++) {
        if (c == '\n')
            comment = false;
        else if (c == '#')
            comment = true;
        else if (!comment && !is_space(c))
            break;
    }
    advance(x, i);
}

/* After an error the token stays BAD: the first message is the one that matters. */
static void end_token(weft_lexer *x, weft_token kind, size_t end)
{
    if (x->kind == WEFT_TOKEN_BAD)
        return;
    x->kind = kind;
    x->len = end - x->start;
    advance(x, end);
}

static size_t digits(const weft_lexer *x, size_t i)
{
    while (is_digit(peek(x, i)))
        i++;
    return i;
}

/* A decimal number from i on: digits, point, exponent, f. */
static size_t decimal(weft_lexer *x, size_t i, bool *is_float)
{
    i = digits(x, i);
    if (peek(x, i) == '.') {
        *is_float = true;
        i = digits(x, i + 1);
    }
    if ((peek(x, i) | 32) == 'e') {
        *is_float = true;
        i++;
        i += peek(x, i) == '+' || peek(x, i) == '-';
        if (!is_digit(peek(x, i)))
            bad(x, i, "exponent without digits");
        i = digits(x, i);
    }
    if ((peek(x, i) | 32) == 'f') {
        *is_float = true;
        i++;
    }
    return i;
}

/* "0x1F", "017", "12", ".5e-3f". What follows must not look like more of it: "10bar" is a slip, not
 * two tokens. */
static void number(weft_lexer *x)
{
    size_t i = x->at;
    bool is_float = false;
    x->base = 10;
    if (peek(x, i) == '0' && (peek(x, i + 1) | 32) == 'x') {
        x->base = 16;
        for (i += 2; hex_digit(peek(x, i)) >= 0; i++)
            ;
        if (i == x->at + 2)
            bad(x, i, "hexadecimal number without digits");
    } else if (peek(x, i) == '0' && is_digit(peek(x, i + 1))) {
        x->base = 8;
        while (is_octal(peek(x, i)))
            i++;
        if (is_digit(peek(x, i)) || peek(x, i) == '.')
            bad(x, i, "a number with a leading 0 is octal and has only the digits 0 to 7");
    } else {
        i = decimal(x, i, &is_float);
    }
    if (is_letter(peek(x, i)) || is_digit(peek(x, i)) || peek(x, i) == '.')
        bad(x, i, "a number must be followed by a space or a separator");
    end_token(x, is_float ? WEFT_TOKEN_FLOAT : WEFT_TOKEN_INT, i);
}

/* To the closing quote; escapes are read later, by weft_lexer_unescape, which knows where the value
 * goes. */
static void string(weft_lexer *x)
{
    int quote = peek(x, x->at);
    size_t i = x->at + 1;
    for (int c; (c = peek(x, i)) != quote; i++) {
        if (c < 0 || c == '\n') {
            bad(x, x->start,
                c < 0 ? "string is not closed before the end of the file"
                      : "string is not closed on its line (write \\n for a new line)");
            return;
        }
        if (c == 0) {
            bad(x, i, "NUL byte; a text file must not hold any");
            return;
        }
        if (c == '\\' && peek(x, i + 1) > 0 && peek(x, i + 1) != '\n')
            i++;
    }
    end_token(x, WEFT_TOKEN_STRING, i + 1);
}

/* A character that begins no token; typographic quotes of word processors end up here. */
static void stray(weft_lexer *x, int c)
{
    char what[96];
    if (c == 0)
        snprintf(what, sizeof what, "NUL byte; a text file must not hold any");
    else if (c < 0x20 || c > 0x7e)
        snprintf(what, sizeof what, "unexpected byte 0x%02x outside a string", c);
    else
        snprintf(what, sizeof what, "unexpected character '%c'", c);
    bad(x, x->start, what);
}

void weft_lexer_next(weft_lexer *x)
{
    if (x->kind == WEFT_TOKEN_BAD)
        return;
    skip(x);
    x->start = x->at;
    x->len = 0;
    x->token_line = x->line;
    x->token_col = x->col;
    x->kind = WEFT_TOKEN_END;
    int c = peek(x, x->at);
    if (c < 0)
        return;
    if (is_letter(c)) {
        size_t i = x->at;
        while (is_letter(peek(x, i)) || is_digit(peek(x, i)))
            i++;
        end_token(x, WEFT_TOKEN_NAME, i);
    } else if (is_digit(c) || (c == '.' && is_digit(peek(x, x->at + 1)))) {
        number(x);
    } else if (c == '"' || c == '\'') {
        string(x);
    } else if (c && strchr(":,;-[]{}<>/.", c)) {
        end_token(x, WEFT_TOKEN_SYMBOL, x->at + 1);
    } else {
        stray(x, c);
    }
}

bool weft_lexer_is(const weft_lexer *x, char symbol)
{
    return x->kind == WEFT_TOKEN_SYMBOL && x->s[x->start] == symbol;
}

/* Not strtoull: it skips spaces, takes signs and needs an end mark. */
bool weft_lexer_u64(const weft_lexer *x, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = x->start + (x->base == 16 ? 2 : 0); i < x->start + x->len; i++)
        if (__builtin_mul_overflow(v, (uint64_t)x->base, &v) ||
            __builtin_add_overflow(v, (uint64_t)hex_digit(x->s[i]), &v))
            return false;
    *out = v;
    return true;
}

/* ---- escapes ---- */
/* Up to `max` digits of base 8 or 16 at *i; returns their number. */
static int escape_digits(const weft_lexer *x, size_t *i, int base, int max, uint32_t *v)
{
    int n = 0;
    *v = 0;
    for (int d; n < max && (d = hex_digit(peek(x, *i))) >= 0 && d < base; n++, ++*i)
        *v = *v * (uint32_t)base + (uint32_t)d;
    return n;
}

/* RFC 3629: the lead byte says how many follow, each of which carries six bits. */
static size_t put_utf8(char *out, uint32_t v)
{
    static const uint8_t mark[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (size_t k = n; k-- > 1; v >>= 6)
        out[k] = (char)(0x80 | (v & 0x3f));
    out[0] = (char)(v | mark[n]);
    return n;
}

/* \uXXXX (also a surrogate pair of two) and \UXXXXXXXX, the cursor behind the letter. */
static size_t escape_unicode(weft_lexer *x, size_t *i, char letter, char *out)
{
    size_t from = *i - 2;
    int want = letter == 'u' ? 4 : 8;
    uint32_t v, low;
    if (escape_digits(x, i, 16, want, &v) != want) {
        bad(x, from,
            letter == 'u' ? "\\u needs four hexadecimal digits"
                          : "\\U needs eight hexadecimal digits");
        return 0;
    }
    if (letter == 'u' && v >= 0xd800 && v < 0xdc00 && peek(x, *i) == '\\' &&
        peek(x, *i + 1) == 'u') {
        *i += 2;
        if (escape_digits(x, i, 16, 4, &low) == 4 && low >= 0xdc00 && low < 0xe000)
            v = 0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00);
    }
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) {
        bad(x, from,
            v > 0x10ffff ? "escape beyond U+10FFFF" : "escape is half of a surrogate pair");
        return 0;
    }
    return put_utf8(out, v);
}

/* One escape, the cursor on the backslash; returns the bytes written, 0 after an error. */
static size_t escape(weft_lexer *x, size_t *i, char *out)
{
    static const char from[] = "abfnrtv?\\'\"", to[] = "\a\b\f\n\r\t\v?\\'\"";
    size_t begin = *i;
    int c = peek(x, begin + 1);
    uint32_t v;
    const char *simple = c > 0 ? strchr(from, c) : NULL;
    *i += 2;
    if (simple) {
        *out = to[simple - from];
        return 1;
    }
    if (c == 'u' || c == 'U')
        return escape_unicode(x, i, (char)c, out);
    if (is_octal(c)) {
        --*i;
        escape_digits(x, i, 8, 3, &v);
        if (v > 255)
            bad(x, begin, "octal escape beyond \\377");
    } else if (c != 'x' || !escape_digits(x, i, 16, 2, &v)) {
        bad(x, begin,
            c == 'x' ? "\\x needs one or two hexadecimal digits"
                     : "unknown escape (known: \\a \\b \\f \\n \\r \\t \\v \\? \\\\ \\' \\\" \\ooo "
                       "\\xhh "
                       "\\uhhhh \\Uhhhhhhhh)");
        return 0;
    }
    *out = (char)v;
    return x->kind != WEFT_TOKEN_BAD;
}

bool weft_lexer_unescape(weft_lexer *x, char *out, size_t *n)
{
    size_t k = 0, end = x->start + x->len - 1;
    for (size_t i = x->start + 1; i < end && x->kind != WEFT_TOKEN_BAD;) {
        if (x->s[i] == '\\')
            k += escape(x, &i, out + k);
        else
            out[k++] = x->s[i++];
    }
    *n = k;
    return x->kind != WEFT_TOKEN_BAD;
}
