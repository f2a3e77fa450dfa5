/* number.c - numbers as text and back, the same in every locale that the program has set.
 *
 * The C library reads and writes numbers with the decimal point of the locale: under de_DE "0.5"
 * is zero with something behind it. Files, attributes and logs have one form. The "C" locale is
 * part of the C library: to name it allocates nothing. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/util.h"

typedef struct {
    locale_t c, before;
} neutral;

static neutral enter(void)
{
    neutral l = {.c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    l.before = l.c ? uselocale(l.c) : (locale_t)0;
    return l;
}

static void leave(neutral l)
{
    if (!l.c)
        return;
    uselocale(l.before);
    freelocale(l.c);
}

double weft_strtod(const char *s, char **end)
{
    neutral l = enter();
    double v = strtod(s, end);
    leave(l);
    return v;
}

int weft_vsnprintf(char *out, size_t n, const char *fmt, va_list ap)
{
    neutral l = enter();
    int k = vsnprintf(out, n, fmt, ap);
    leave(l);
    return k;
}

int weft_snprintf(char *out, size_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int k = weft_vsnprintf(out, n, fmt, ap);
    va_end(ap);
    return k;
}

bool weft_same_word(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        int x = weft_is_alpha(*a) ? *a | 32 : *a, y = weft_is_alpha(*b) ? *b | 32 : *b;
        if (x != y)
            return false;
    }
    return *a == *b;
}
