/* visible.c - text of files and options as a terminal may have it: what would move the cursor, turn
 * the direction of writing, hide or change other text is escaped, in every message, whoever writes
 * it. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "graph/util.h"

static bool is_hidden(utf8proc_int32_t code)
{
    utf8proc_category_t c = utf8proc_category(code);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CS ||
           c == UTF8PROC_CATEGORY_CN || c == UTF8PROC_CATEGORY_CO || c == UTF8PROC_CATEGORY_ZL ||
           c == UTF8PROC_CATEGORY_ZP;
}

size_t weft_visible(char out[WEFT_VISIBLE], const char *s, size_t n)
{
    utf8proc_int32_t code;
    utf8proc_ssize_t len =
        utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, &code);
    if (*s == '\n')
        memcpy(out, "\\n", 3);
    else if (len > 0 && !is_hidden(code)) {
        memcpy(out, s, (size_t)len);
        out[len] = 0;
    } else
        for (int i = 0; !i || i < len; i++)
            snprintf(out + 4 * i, 5, "\\x%02x", (unsigned char)s[i]);
    return len > 0 ? (size_t)len : 1;
}

/* Appends s[0..len) to out[0..n) at `at`, whole characters only; returns the new end. */
static size_t put_visible(char *out, size_t n, size_t at, const char *s, size_t len)
{
    char c[WEFT_VISIBLE];
    for (size_t i = 0; i < len;) {
        i += weft_visible(c, s + i, len - i);
        size_t k = strlen(c);
        if (k >= n - at)
            break;
        memcpy(out + at, c, k);
        at += k;
    }
    return at;
}

const char *weft_printable(char *out, size_t n, const char *s)
{
    out[put_visible(out, n, 0, s, strlen(s))] = 0;
    return out;
}

/* ---- printf, in which %s is visible ---- */
typedef struct {
    char *out;
    size_t n, at; /* at < n always */
} sink;

/* One conversion, "%-8.3f" and the like, as the C library writes it. */
static void put_number(sink *o, const char *spec, ...) WEFT_PRINTF(2, 3);
static void put_number(sink *o, const char *spec, ...)
{
    va_list ap;
    va_start(ap, spec);
    int k = weft_vsnprintf(o->out + o->at, o->n - o->at, spec, ap);
    va_end(ap);
    size_t room = o->n - o->at - 1;
    o->at += k < 0 ? 0 : (size_t)k < room ? (size_t)k : room;
}

static void put_fill(sink *o, size_t k)
{
    while (k-- && o->at + 1 < o->n)
        o->out[o->at++] = ' ';
}

/* `most` < 0: all of it. A character that `most` cuts is left out. */
static void put_text(sink *o, const char *s, int width, int most)
{
    s = s ? s : "(null)";
    size_t len = most < 0 ? strlen(s) : strnlen(s, (size_t)most), all = len;
    while (most >= 0 && len && s[all] && (s[len] & 0xc0) == 0x80 && all - len < 4)
        len--;
    size_t fill = width < 0 ? (size_t)-(width + 1) + 1 : (size_t)width;
    fill = fill > len ? fill - len : 0;
    put_fill(o, width > 0 ? fill : 0);
    o->at = put_visible(o->out, o->n, o->at, s, len);
    put_fill(o, width < 0 ? fill : 0);
}

/* "%-*.3lld": what stands between % and its letter. */
typedef struct {
    char flags[8];
    int width, precision; /* precision -1: none */
    char size;            /* 0 int, l long, q long long, z size_t, j intmax_t */
    char letter;
} conversion;

typedef struct {
    va_list ap;
} arguments;

/* A number, or * for one of the arguments. */
static const char *read_count(const char *p, arguments *a, int *out)
{
    if (*p == '*') {
        *out = va_arg(a->ap, int);
        return p + 1;
    }
    for (*out = 0; *p >= '0' && *p <= '9'; p++)
        *out = *out < 100000 ? *out * 10 + (*p - '0') : *out;
    return p;
}

static const char *read_conversion(const char *p, arguments *a, conversion *k)
{
    *k = (conversion){.precision = -1};
    for (size_t i = 0; *p && strchr("-+ #0", *p); p++)
        if (i + 1 < sizeof k->flags)
            k->flags[i++] = *p;
    p = read_count(p, a, &k->width);
    if (*p == '.')
        p = read_count(p + 1, a, &k->precision);
    for (; *p && strchr("lzjh", *p); p++)
        if (*p != 'h') /* promoted to int */
            k->size = k->size == 'l' ? 'q' : *p;
    k->letter = *p;
    return *p ? p + 1 : p;
}

static intmax_t next_signed(arguments *a, char size)
{
    return size == 'l'   ? va_arg(a->ap, long)
           : size == 'q' ? va_arg(a->ap, long long)
           : size == 'z' ? (intmax_t)va_arg(a->ap, size_t)
           : size == 'j' ? va_arg(a->ap, intmax_t)
                         : va_arg(a->ap, int);
}

static uintmax_t next_unsigned(arguments *a, char size)
{
    return size == 'l'   ? va_arg(a->ap, unsigned long)
           : size == 'q' ? va_arg(a->ap, unsigned long long)
           : size == 'z' ? va_arg(a->ap, size_t)
           : size == 'j' ? va_arg(a->ap, uintmax_t)
                         : va_arg(a->ap, unsigned);
}

static void put_spec(sink *o, const conversion *k, arguments *a)
{
    char spec[32];
    const char *j = strchr("efg", k->letter) ? "" : "j";
    snprintf(spec, sizeof spec, "%%%s*.*%s%c", k->flags, j, k->letter);
    if (!*j)
        put_number(o, spec, k->width, k->precision, va_arg(a->ap, double));
    else if (k->letter == 'd' || k->letter == 'i')
        put_number(o, spec, k->width, k->precision, next_signed(a, k->size));
    else
        put_number(o, spec, k->width, k->precision, next_unsigned(a, k->size));
}

/* False: a letter that is none of these; nothing behind it can be read. */
static bool put_conversion(sink *o, const conversion *k, arguments *a)
{
    char c;
    if (!k->letter || !strchr("diuxXoefgcs%p", k->letter))
        return false;
    switch (k->letter) {
    case '%':
        o->at = put_visible(o->out, o->n, o->at, "%", 1);
        break;
    case 'c':
        c = (char)va_arg(a->ap, int);
        o->at = put_visible(o->out, o->n, o->at, &c, 1);
        break;
    case 's':
        put_text(o, va_arg(a->ap, const char *), strchr(k->flags, '-') ? -k->width : k->width,
                 k->precision);
        break;
    case 'p':
        put_number(o, "%p", va_arg(a->ap, void *));
        break;
    default:
        put_spec(o, k, a);
    }
    return true;
}

size_t weft_format(char *out, size_t n, const char *fmt, va_list ap)
{
    sink o = {out, n, 0};
    arguments a;
    conversion k;
    bool known = true;
    va_copy(a.ap, ap);
    while (*fmt && known && o.at + 1 < n)
        if (*fmt != '%')
            o.out[o.at++] = *fmt++;
        else {
            fmt = read_conversion(fmt + 1, &a, &k);
            known = put_conversion(&o, &k, &a);
        }
    va_end(a.ap);
    out[o.at] = 0;
    return o.at;
}
